// Draws the masks of a moment over the video, from small maps: red the track, green the probability, blue the attention.

export const HEAT = [[0, 0, 4], [65, 15, 110], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

export class Paint {
  constructor(canvas, about) {
    this.canvas = canvas;
    this.about = about;
    this.map = about.map;
    this.maps = [];
    this.buffer = document.createElement("canvas");
    this.buffer.width = this.map.width;
    this.buffer.height = this.map.height;
    this.pixels = this.buffer.getContext("2d").createImageData(this.map.width, this.map.height);
    this.sources = new Uint8Array(256); // of each track
    this.colours = [[0, 0, 0]];
    about.sources.forEach((source, place) => {
      this.colours.push(source.colour);
      for (const track of source.tracks) this.sources[track] = place + 1;
    });
  }

  get count() {
    return this.maps.length;
  }

  async load(parts) {
    for (let strip = 0; strip < this.map.strips; strip++) {
      const answer = await fetch(new URL(`maps${strip}.png`, parts));
      if (!answer.ok) throw new Error("A part of this result is no longer here. Give the video again.");
      this.unpack(await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" }));
    }
  }

  unpack(picture) {
    const { width, height } = this.map, size = width * height;
    const canvas = document.createElement("canvas");
    canvas.width = picture.width;
    canvas.height = picture.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    for (let row = 0; row * height < picture.height; row++) {
      const data = context.getImageData(0, row * height, width, height).data, kept = new Uint8Array(size * 3);
      for (let i = 0; i < size; i++) {
        kept[3 * i] = this.sources[data[4 * i]];
        kept[3 * i + 1] = data[4 * i + 1];
        kept[3 * i + 2] = data[4 * i + 2];
      }
      this.maps.push(kept);
    }
  }

  // The source that is marked at a place of the picture or hardly beside it.
  sourceAt(frame, x, y) {
    const kept = this.maps[frame], { width, height } = this.map, reach = 3;
    if (!kept) return null;
    const column = Math.min(width - 1, Math.floor(x * width)), row = Math.min(height - 1, Math.floor(y * height));
    let best = null, least = reach * reach + 1;
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const own = row + dy >= 0 && row + dy < height && column + dx >= 0 && column + dx < width ? kept[3 * ((row + dy) * width + column + dx)] : 0;
        if (own && dx * dx + dy * dy < least) [best, least] = [this.about.sources[own - 1], dx * dx + dy * dy];
      }
    }
    return best;
  }

  // The mask nearest in time.
  nearest(time) {
    const { times } = this.about;
    let low = 0, high = times.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < time) low = middle + 1; else high = middle;
    }
    return low > 0 && time - times[low - 1] < times[low] - time ? low - 1 : low;
  }

  fit() {
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) [this.canvas.width, this.canvas.height] = [width, height];
  }

  draw(frame, { view, hidden, shown, opacity }) {
    const context = this.canvas.getContext("2d"), kept = this.maps[frame];
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!kept || !shown) return;
    if (view === "overlay" || view === "mask") this.fillSources(kept, view, hidden, opacity); else this.fillHeat(kept, view, opacity);
    this.buffer.getContext("2d").putImageData(this.pixels, 0, 0);
    context.imageSmoothingQuality = "high";
    const scale = Math.min(this.canvas.width / this.about.width, this.canvas.height / this.about.height);
    const width = this.about.width * scale, height = this.about.height * scale;
    context.drawImage(this.buffer, (this.canvas.width - width) / 2, (this.canvas.height - height) / 2, width, height);
  }

  fillSources(kept, view, hidden, opacity) {
    const data = this.pixels.data, { width, height } = this.map, size = width * height;
    const visible = [0, ...this.about.sources.map((source, place) => (hidden.has(source.id) ? 0 : place + 1))];
    const id = (i) => (i < 0 || i >= size ? 0 : visible[kept[3 * i]]);
    const fill = Math.round(255 * opacity), dark = Math.round(210 * opacity);
    for (let i = 0; i < size; i++) {
      const own = id(i), [red, green, blue] = this.colours[own];
      let rgba;
      if (view === "mask") rgba = [red, green, blue, 255];
      else if (!own) rgba = [0, 0, 0, dark];
      else if (id(i - 1) !== own || id(i + 1) !== own || id(i - width) !== own || id(i + width) !== own) rgba = [255, 255, 255, 230];
      else rgba = [red, green, blue, fill];
      data.set(rgba, 4 * i);
    }
  }

  fillHeat(kept, view, opacity) {
    const data = this.pixels.data, channel = view === "heat" ? 1 : 2, size = this.map.width * this.map.height;
    for (let i = 0; i < size; i++) {
      const value = kept[3 * i + channel] / 255 * (HEAT.length - 1), low = Math.min(Math.floor(value), HEAT.length - 2);
      const share = value - low;
      for (let c = 0; c < 3; c++) data[4 * i + c] = HEAT[low][c] * (1 - share) + HEAT[low + 1][c] * share;
      data[4 * i + 3] = Math.min(255, 255 * opacity * 1.5);
    }
  }
}

// The videos that were chosen: each is sent at once, looked at by the server, and may be trimmed while one waits.
import { Problem, ask, bytes, clock, element, upload } from "./api.js";

const AT_ONCE = 2; // uploads

export class Chosen {
  constructor(list, about, say) {
    Object.assign(this, { list, about, say, items: [], sending: 0, number: 0 });
  }

  get count() {
    return this.items.length;
  }

  add(...files) {
    this.say("");
    for (const file of files) this.items.push(this.make(file));
    this.next();
  }

  make(file) {
    const id = `video-${++this.number}`, item = { file, id, url: URL.createObjectURL(file) };
    item.text = element("span", { className: "hint" }, `${bytes(file.size)}, waiting`);
    item.bar = element("progress", { max: 1, value: 0, ariaLabel: `Upload of ${file.name}` });
    item.error = element("p", { className: "error", id: `${id}-error` });
    item.error.setAttribute("role", "alert");
    const remove = element("button", { type: "button", ariaLabel: `Remove ${file.name}`, onclick: () => this.remove(item) }, "Remove");
    item.trim = element("div", { className: "trim" });
    item.row = element("li", {}, element("div", { className: "line" }, element("strong", {}, file.name), item.text, remove), item.bar, item.trim, item.error);
    this.list.append(item.row);
    item.ready = new Promise((resolve) => { item.settle = resolve; });
    return item;
  }

  next() {
    for (const item of this.items) {
      if (this.sending >= AT_ONCE) return;
      if (!item.started) this.send(item);
    }
  }

  async send(item) {
    item.started = true;
    this.sending++;
    try {
      if (item.file.size > this.about.max_bytes) {
        throw new Problem({ detail: `${item.file.name} has ${bytes(item.file.size)}; the limit is ${bytes(this.about.max_bytes)}. Cut it first.` }, 413);
      }
      item.sent = upload(item.file, item.file.name, (share) => {
        item.bar.value = share;
        item.text.textContent = share < 1 ? `${Math.round(100 * share)} % of ${bytes(item.file.size)}` : "being looked at …";
      });
      item.upload = await item.sent;
      const { width, height, duration, has_audio: heard } = item.upload;
      item.text.textContent = [bytes(item.file.size), `${width}×${height}`, duration === null ? "" : clock(duration)].filter(Boolean).join(", ");
      if (!heard) item.error.textContent = "This video has no sound, so nothing can be found that makes it.";
      this.offerTrim(item);
      this.offerTracks(item);
    } catch (error) {
      item.error.textContent = error.message;
      item.text.textContent = bytes(item.file.size);
    }
    item.bar.hidden = true;
    this.sending--;
    item.settle();
    this.next();
  }

  offerTrim(item) {
    const total = item.upload.duration ?? this.about.max_seconds, long = total > this.about.max_seconds;
    const video = element("video", { src: item.url, controls: true, preload: "metadata", playsInline: true, ariaLabel: `Preview of ${item.file.name}` });
    const field = (name, text, value) => {
      const input = element("input", { type: "number", id: `${item.id}-${name}`, min: 0, max: Math.ceil(10 * total) / 10, step: 0.1, value: value.toFixed(1) });
      input.setAttribute("aria-describedby", item.error.id);
      const here = element("button", { type: "button", onclick: () => { input.value = video.currentTime.toFixed(1); } }, "here");
      here.setAttribute("aria-label", `${text} where the preview is now`);
      item[name] = input;
      return element("span", { className: "edge" }, element("label", { htmlFor: input.id }, text), input, here);
    };
    const end = Math.floor(10 * Math.min(total, this.about.max_seconds)) / 10;
    item.whole = long ? null : end;
    const details = element("details", { open: long }, element("summary", {}, "Trim"), video,
      element("p", { className: "edges" }, field("start", "Starts at second", 0), field("end", "ends at second", end)));
    if (long) item.error.textContent = `Only ${clock(this.about.max_seconds, 0)} of its ${clock(total, 0)} can be marked at once. Choose which.`;
    item.trim.replaceChildren(details);
  }

  // A file with several sound tracks may be heard by another one than the usual.
  offerTracks(item) {
    const { audio_tracks: tracks, heard } = item.upload;
    if (tracks.length < 2) return;
    const name = (track) => [`${track.number}`, track.language, track.title, track.codec].filter(Boolean).join(", ");
    const usual = heard.length ? `the usual one (${name(tracks[heard[0] - 1])})` : "the usual one";
    const select = element("select", { id: `${item.id}-track` }, element("option", { value: "" }, usual),
      ...tracks.map((track) => element("option", { value: String(track.number), disabled: Boolean(track.problem) }, name(track))), element("option", { value: "mix" }, "all of them mixed"));
    select.setAttribute("aria-describedby", item.error.id);
    item.audio_track = select;
    item.trim.append(element("p", { className: "edge" }, element("label", { htmlFor: select.id }, "Sound track"), select));
  }

  part(item) {
    const start = Number(item.start.value), end = Number(item.end.value), track = item.audio_track?.value;
    const part = end === item.whole ? { start } : { start, end };
    return track ? { ...part, audio_track: Number(track) || track } : part;
  }

  remove(item) {
    item.sent?.abort();
    if (item.upload) ask(`v1/uploads/${item.upload.id}`, { method: "DELETE" }).catch(() => {});
    this.drop(item);
  }

  drop(item) {
    URL.revokeObjectURL(item.url);
    item.row.remove();
    this.items = this.items.filter((other) => other !== item);
    this.next();
  }

  // Waits for each upload and submits it; what went wrong stays in the list, with its reason.
  async submit(make, tell) {
    const jobs = [];
    for (const item of [...this.items]) {
      await item.ready;
      if (!item.upload || !this.items.includes(item)) continue;
      try {
        jobs.push(await make(item.upload, this.part(item)));
        this.drop(item);
      } catch (error) {
        item.error.textContent = error.message;
        for (const { field } of error.errors) item[field]?.setAttribute?.("aria-invalid", "true");
        tell(error);
      }
    }
    return jobs;
  }
}

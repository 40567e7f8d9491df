// Plays a result: the video with its masks on it, views to switch, sources to hide, a timeline to scrub.
"use strict";

const $ = (id) => document.getElementById(id);
const video = $("video"), paint = $("paint"), timeline = $("timeline");
const PLAY = "M8 5v14l11-7z", PAUSE = "M7 5h4v14H7zm6 0h4v14h-4z";
const LOUD = "M3 9v6h4l5 5V4L7 9zm13.5 3a4.5 4.5 0 0 0-2.5-4v8a4.5 4.5 0 0 0 2.5-4z";
const QUIET = "M3 9v6h4l5 5V4L7 9zm18 .5L19.5 8 17 10.500 14.500 8 13 9.500 15.500 12 13 14.500 14.500 16 17 13.500 19.500 16 21 14.500 18.500 12z";
const SHOWN = 12; // chips; all further sources share one
const HEAT = [[0, 0, 4], [65, 15, 110], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];
const state = { view: "overlay", hidden: new Set(), frame: -1, maps: [], dirty: true };
let about, map, buffer, pixels;

async function start() {
  const answer = await fetch("view.json");
  if (!answer.ok) throw new Error("This result is no longer here. Run the video again.");
  about = await answer.json();
  map = about.map;
  buffer = document.createElement("canvas");
  buffer.width = map.width;
  buffer.height = map.height;
  pixels = buffer.getContext("2d").createImageData(map.width, map.height);
  makeViews();
  makeSources();
  listen();
  fit();
  for (let strip = 0; strip < map.strips; strip++) await load(strip);
  document.body.dataset.ready = "true";
}

// The maps of a strip, as bytes; three of four are of use.
async function load(strip) {
  const answer = await fetch(`maps${strip}.png`);
  if (!answer.ok) throw new Error("A part of this result is no longer here. Run the video again.");
  const picture = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" });
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const size = map.width * map.height;
  for (let row = 0; row * map.height < picture.height; row++) {
    const data = context.getImageData(0, row * map.height, map.width, map.height).data;
    const kept = new Uint8Array(size * 3);
    for (let i = 0; i < size; i++) {
      kept[3 * i] = data[4 * i];
      kept[3 * i + 1] = data[4 * i + 1];
      kept[3 * i + 2] = data[4 * i + 2];
    }
    state.maps.push(kept);
  }
  state.dirty = true;
}

function makeViews() {
  const names = { overlay: "Overlay", mask: "Mask", heat: "Heat", attention: "Attention" };
  for (const [name, text] of Object.entries(names)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.dataset.view = name;
    button.setAttribute("role", "radio");
    if (name === "attention" && !about.attention) {
      button.disabled = true;
      button.title = "This model has no attention map: it is not one with TPAVI.";
    }
    button.onclick = () => choose(name);
    $("views").append(button);
  }
  choose("overlay");
}

function choose(name) {
  state.view = name;
  state.dirty = true;
  for (const button of $("views").children) button.setAttribute("aria-checked", String(button.dataset.view === name));
  const heat = name === "heat" || name === "attention";
  const legend = $("legend");
  legend.hidden = !heat;
  if (!heat) return;
  const bar = document.createElement("i");
  bar.style.background = `linear-gradient(90deg, ${HEAT.map((c) => `rgb(${c})`).join(", ")})`;
  const text = name === "heat" ? `probability that a pixel sounds, 0 to 1 (masked above ${about.threshold})`
    : "attention: how much a pixel takes from the sound of its second";
  legend.replaceChildren(bar, text);
}

function makeSources() {
  const total = (source) => source.area.reduce((a, b) => a + b, 0);
  const sorted = [...about.sources].sort((a, b) => total(b) - total(a));
  const few = sorted.slice(0, SHOWN).sort((a, b) => a.id - b.id);
  const rest = sorted.slice(SHOWN);
  for (const source of few) chip(source.name, source.colour, [source.id]);
  if (rest.length) chip(`${rest.length} small ones`, [174, 185, 200], rest.map((source) => source.id));
  if (!sorted.length) $("sources").textContent = "Nothing in sight sounds here.";
}

function chip(name, colour, ids) {
  const button = document.createElement("button");
  button.type = "button";
  button.style.setProperty("--own", `rgb(${colour})`);
  button.setAttribute("aria-pressed", "true");
  button.title = "Hide or show";
  button.append(document.createElement("i"), name);
  button.onclick = () => {
    const hide = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!hide));
    for (const id of ids) hide ? state.hidden.add(id) : state.hidden.delete(id);
    state.dirty = true;
    drawTimeline();
  };
  $("sources").append(button);
}

function listen() {
  const toggle = () => (video.paused ? video.play() : video.pause());
  const icons = () => {
    $("play").querySelector("path").setAttribute("d", video.paused ? PLAY : PAUSE);
    $("mute").querySelector("path").setAttribute("d", video.muted ? QUIET : LOUD);
  };
  icons();
  $("play").onclick = toggle;
  video.onclick = toggle;
  $("mute").onclick = () => { video.muted = !video.muted; icons(); };
  video.onplay = video.onpause = icons;
  video.onerror = () => fail(new Error("This browser can't play the video. The files can still be downloaded."));
  document.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) seek(video.currentTime + step * (event.shiftKey ? 5 : 1));
    else if (event.key === " " && event.target.tagName !== "BUTTON") toggle();
    else return;
    event.preventDefault();
  };
  const scrub = (event) => seek((event.clientX - timeline.getBoundingClientRect().left) / timeline.clientWidth * about.duration);
  timeline.onpointerdown = (event) => { timeline.setPointerCapture(event.pointerId); scrub(event); };
  timeline.onpointermove = (event) => { if (event.buttons) scrub(event); };
  new ResizeObserver(fit).observe($("player"));
  requestAnimationFrame(tick);
}

function seek(time) {
  video.currentTime = Math.min(Math.max(time, 0), about.duration - 0.01);
  drawTimeline();
}

function tick() {
  const frame = nearest(video.currentTime);
  if (frame !== state.frame || state.dirty) {
    state.frame = frame;
    state.dirty = false;
    drawMasks();
  }
  if (state.drawn !== video.currentTime) drawTimeline();
  requestAnimationFrame(tick);
}

function nearest(time) {
  const times = about.times;
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1; else high = middle;
  }
  return low > 0 && time - times[low - 1] < times[low] - time ? low - 1 : low;
}

// ---- the picture ----------------------------------------------------------------------------------------------------

function drawMasks() {
  const context = paint.getContext("2d");
  context.clearRect(0, 0, paint.width, paint.height);
  const kept = state.maps[state.frame];
  document.body.dataset.frame = kept ? String(state.frame) : "";
  if (!kept) return;
  (state.view === "overlay" || state.view === "mask" ? fillSources : fillHeat)(kept);
  buffer.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingQuality = "high";
  const box = pictureBox();
  context.drawImage(buffer, box.x, box.y, box.width, box.height);
}

function fillSources(kept) {
  const data = pixels.data, width = map.width, size = width * map.height;
  const colours = new Map(about.sources.map((source) => [source.id, source.colour]));
  const id = (i) => (i < 0 || i >= size || state.hidden.has(kept[3 * i]) ? 0 : kept[3 * i]);
  for (let i = 0; i < size; i++) {
    const own = id(i), colour = colours.get(own);
    let rgba;
    if (state.view === "mask") rgba = own ? [...colour, 255] : [0, 0, 0, 255];
    else if (!own) rgba = [0, 0, 0, 95];
    else if (id(i - 1) !== own || id(i + 1) !== own || id(i - width) !== own || id(i + width) !== own) rgba = [255, 255, 255, 230];
    else rgba = [...colour, 110];
    data.set(rgba, 4 * i);
  }
}

function fillHeat(kept) {
  const data = pixels.data, channel = state.view === "heat" ? 1 : 2, size = map.width * map.height;
  for (let i = 0; i < size; i++) {
    const value = kept[3 * i + channel] / 255 * (HEAT.length - 1), low = Math.min(Math.floor(value), HEAT.length - 2);
    const share = value - low;
    for (let c = 0; c < 3; c++) data[4 * i + c] = HEAT[low][c] * (1 - share) + HEAT[low + 1][c] * share;
    data[4 * i + 3] = 175;
  }
}

// Where the picture lies within the element, in pixels of the canvas.
function pictureBox() {
  const scale = Math.min(paint.width / about.width, paint.height / about.height);
  const width = about.width * scale, height = about.height * scale;
  return { x: (paint.width - width) / 2, y: (paint.height - height) / 2, width, height };
}

// ---- the timeline ---------------------------------------------------------------------------------------------------

function drawTimeline() {
  state.drawn = video.currentTime;
  const context = timeline.getContext("2d"), ratio = devicePixelRatio || 1;
  const width = timeline.width / ratio, height = timeline.height / ratio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const x = (time) => time / about.duration * width, place = x(video.currentTime);
  const lanes = [["sound", drawSound], ["presence", drawPresence], ["area", drawArea]].filter(([name]) =>
    name === "sound" ? about.sound : name === "presence" ? about.presence : true);
  const each = (height - 4) / lanes.length;
  lanes.forEach(([name, draw], lane) => {
    const top = 2 + lane * each, bottom = top + each - 6;
    context.fillStyle = "#171a20";
    context.fillRect(0, top, width, bottom - top);
    const fact = draw(context, x, top, bottom, place);
    context.font = "11px system-ui, sans-serif";
    for (const [text, right] of [[name, false], [fact, true]]) {
      if (!text) continue;
      const long = context.measureText(text).width + 10, at = right ? width - long - 4 : 4;
      context.fillStyle = "#101216d0";
      context.fillRect(at, top + 3, long, 16);
      context.fillStyle = "#dfe5ec";
      context.fillText(text, at + 5, top + 15);
    }
  });
  context.fillStyle = "#fff";
  context.fillRect(place - 1, 0, 2, height);
  $("clock").textContent = `${clock(video.currentTime)} / ${clock(about.duration)}`;
  timeline.setAttribute("aria-valuemax", about.duration.toFixed(1));
  timeline.setAttribute("aria-valuenow", video.currentTime.toFixed(1));
  timeline.setAttribute("aria-valuetext", clock(video.currentTime));
}

function drawSound(context, x, top, bottom, place) {
  const { seconds, peak, rms } = about.sound, loudest = Math.max(...peak, 1e-4), middle = (top + bottom) / 2;
  const step = Math.max(1, x(seconds) / peak.length);
  for (let i = 0; i < peak.length; i++) {
    const at = x(seconds) * i / peak.length;
    for (const [row, light, dark] of [[peak, "#4a525e", "#2f353e"], [rms, "#aeb9c8", "#5d6776"]]) {
      const half = Math.sqrt(row[i] / loudest) * (bottom - top) / 2;
      context.fillStyle = at <= place ? light : dark;
      context.fillRect(at, middle - half, step, Math.max(1, 2 * half));
    }
  }
  return "";
}

function drawPresence(context, x, top, bottom) {
  context.strokeStyle = "#56b4e9";
  context.lineWidth = 2;
  context.beginPath();
  about.presence.forEach((value, i) => context.lineTo(x(about.times[i]), bottom - 1 - value * (bottom - top - 2)));
  context.stroke();
  return state.frame < 0 ? "" : about.presence[state.frame].toFixed(2);
}

function drawArea(context, x, top, bottom) {
  const visible = about.sources.filter((source) => !state.hidden.has(source.id));
  const total = about.times.map((_, i) => visible.reduce((sum, source) => sum + source.area[i], 0));
  const highest = Math.max(...total, 0.02);
  const last = about.times.length - 1;
  about.times.forEach((time, i) => {
    const from = x(i ? (about.times[i - 1] + time) / 2 : 0), to = x(i < last ? (time + about.times[i + 1]) / 2 : about.duration);
    let low = bottom;
    for (const source of visible) {
      const high = low - source.area[i] / highest * (bottom - top - 2);
      context.fillStyle = `rgb(${source.colour})`;
      context.fillRect(from, high, to - from + 0.5, low - high);
      low = high;
    }
  });
  return state.frame < 0 ? "" : `${(100 * (total[state.frame] || 0)).toFixed(1)} % of the picture`;
}

function clock(time) {
  const minutes = Math.floor(time / 60);
  return `${minutes}:${(time - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

function fit() {
  const ratio = devicePixelRatio || 1;
  for (const canvas of [paint, timeline]) {
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  }
  state.dirty = true;
  drawTimeline();
  const frame = window.frameElement; // of our own page
  if (frame) frame.style.height = `${$("player").offsetHeight}px`;
}

function fail(error) {
  $("fault").textContent = error.message;
  $("fault").hidden = false;
}

start().catch(fail);

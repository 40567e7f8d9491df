// The time line: the sound, the presence score, and a row for each source with the times at which it is heard.
import { clock, element } from "./api.js";

export class Lanes {
  constructor(place, about, actions) {
    Object.assign(this, { place, about, actions, rows: [] });
    this.ruler = element("div", { className: "ruler", tabIndex: 0 });
    this.ruler.setAttribute("role", "slider");
    this.ruler.setAttribute("aria-label", "Time");
    this.ruler.setAttribute("aria-valuemin", "0");
    this.ruler.setAttribute("aria-valuemax", about.duration.toFixed(1));
    this.needle = element("i", { className: "needle", ariaHidden: "true" });
    if (about.sound) this.canvasLane("Sound", (...given) => this.drawSound(...given));
    this.heard = this.rows[0]?.value;
    this.heard?.classList.add("heard");
    if (about.presence) this.canvasLane("Presence", (...given) => this.drawPresence(...given));
    for (const source of about.sources) this.sourceLane(source);
    if (!about.sources.length) place.append(element("p", { className: "hint nothing" }, "Nothing in sight sounds here."));
    this.ruler.append(this.needle);
    place.append(this.ruler);
    this.listen();
  }

  canvasLane(name, draw) {
    const canvas = element("canvas", { ariaHidden: "true" }), value = element("span", { className: "value" });
    this.place.append(element("div", { className: "lane" }, element("span", { className: "head" }, name, " ", value), canvas));
    this.rows.push({ canvas, draw, value });
  }

  sourceLane(source) {
    const { name, id, spans, sound } = source, when = spans.map(([from, to]) => `${clock(from)} to ${clock(to)}`);
    const heard = spans.reduce((sum, [from, to]) => sum + to - from, 0);
    const box = element("input", { type: "checkbox", id: `source-${id}`, checked: true, onchange: () => this.actions.toggle(id) });
    const label = element("label", { htmlFor: box.id }, element("i", { className: "dot", ariaHidden: "true" }), element("span", {}, name, source.sound ? element("small", { className: "does" }, source.sound) : ""), element("span", { className: "visually-hidden" }, `, heard ${when.slice(0, 20).join(", ")}`));
    const only = element("button", { type: "button", className: "only", onclick: () => this.actions.only(id) }, "Only");
    only.setAttribute("aria-label", `Only ${name}`);
    only.setAttribute("aria-pressed", "false");
    const canvas = element("canvas", { ariaHidden: "true" });
    const lane = element("div", { className: "lane source" }, element("span", { className: "head" }, box, label, only), canvas);
    lane.title = `${name}${sound ? ` (${sound})` : ""}: heard for ${heard.toFixed(1)} s`;
    lane.style.setProperty("--own", `rgb(${source.colour})`);
    this.place.append(lane);
    this.rows.push({ canvas, source, lane, box, only, draw: (...given) => this.drawSource(source, ...given) });
  }

  show(hidden) {
    const visible = this.about.sources.filter((source) => !hidden.has(source.id));
    for (const { source, lane, box, only } of this.rows) {
      if (!source) continue;
      box.checked = !hidden.has(source.id);
      lane.classList.toggle("off", hidden.has(source.id));
      only.setAttribute("aria-pressed", String(visible.length === 1 && visible[0] === source && this.about.sources.length > 1));
    }
  }

  listen() {
    const scrub = (event) => {
      const box = this.ruler.getBoundingClientRect();
      this.actions.seek((event.clientX - box.left) / box.width * this.about.duration);
    };
    const time = (event) => { // of a place on the ruler
      const box = this.ruler.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.about.duration;
    };
    let from = null; // where a stretch begins that is dragged over
    this.ruler.onpointerdown = (event) => {
      try { this.ruler.setPointerCapture?.(event.pointerId); } catch { /* a pointer that is gone already */ }
      from = this.actions.pointing() ? time(event) : null;
      if (from === null) scrub(event);
    };
    this.ruler.onpointermove = (event) => {
      if (!event.buttons) return;
      if (from === null) scrub(event); else this.stretch([from, time(event)]);
    };
    this.ruler.onpointerup = (event) => {
      if (from === null) return;
      const [low, high] = [from, time(event)].sort((a, b) => a - b);
      from = null;
      if (high - low > 0.02 * this.about.duration) this.actions.stretch(low, high, { left: event.clientX, top: event.clientY });
      else { this.stretch(null); scrub(event); }
    };
    this.ruler.onpointercancel = () => { from = null; this.stretch(null); };
    this.ruler.addEventListener("keydown", (event) => {
      const time = { Home: 0, End: this.about.duration }[event.key];
      if (time === undefined) return;
      this.actions.seek(time);
      event.preventDefault();
    });
  }

  // Shows the stretch that is dragged over; null for none.
  stretch(edges) {
    this.dragged ||= this.ruler.appendChild(element("i", { className: "stretch", ariaHidden: "true" }));
    this.dragged.hidden = !edges;
    if (edges) this.lay(this.dragged, ...edges.toSorted((a, b) => a - b));
  }

  lay(part, from, to) {
    const whole = Math.max(this.about.duration, 1e-9);
    part.style.left = `${100 * from / whole}%`;
    part.style.width = `${100 * (Math.min(to, whole) - from) / whole}%`;
  }

  // Shows what a person said: stretches in which all is wrong, things that are never marked.
  correct(said) {
    for (const part of this.ruler.querySelectorAll(".wrong")) part.remove();
    for (const item of said) {
      if (item.kind !== "nothing" && item.kind !== "other") continue;
      const part = element("i", { className: "wrong", ariaHidden: "true" });
      this.lay(part, item.start, item.end);
      this.ruler.prepend(part);
    }
    const only = said.filter((item) => item.kind === "only" && item.id).map((item) => item.id);
    for (const { source, lane } of this.rows) {
      if (!source) continue;
      const never = said.some((item) => item.kind === "never" && item.id === source.id) || (only.length > 0 && !only.includes(source.id));
      lane.classList.toggle("never", never);
    }
  }

  at(time, frame) {
    this.needle.style.left = `${100 * time / Math.max(this.about.duration, 1e-9)}%`;
    this.ruler.setAttribute("aria-valuenow", time.toFixed(1));
    this.ruler.setAttribute("aria-valuetext", clock(time));
    if (this.heard && this.about.heard) this.heard.textContent = this.about.heard[frame]?.join(", ") ?? "";
    for (const { value, source, lane } of this.rows) {
      if (value?.dataset.presence) value.textContent = this.about.presence[frame]?.toFixed(2) ?? "";
      if (source) lane.classList.toggle("now", source.spans.some(([from, to]) => from <= time && time < to));
    }
  }

  fit() {
    const ratio = devicePixelRatio || 1, style = getComputedStyle(this.place);
    for (const { canvas, draw, value } of this.rows) {
      canvas.width = Math.round(canvas.clientWidth * ratio);
      canvas.height = Math.round(canvas.clientHeight * ratio);
      const context = canvas.getContext("2d");
      context.scale(ratio, ratio);
      draw(context, canvas.clientWidth, canvas.clientHeight, (name) => style.getPropertyValue(name).trim(), value);
    }
    const first = this.rows[0]?.canvas, last = this.rows.at(-1)?.canvas;
    if (!first) return;
    const own = this.place.getBoundingClientRect(), top = first.getBoundingClientRect(), bottom = last.getBoundingClientRect();
    this.ruler.style.left = `${top.left - own.left}px`;
    this.ruler.style.width = `${top.width}px`;
    this.ruler.style.top = `${top.top - own.top}px`;
    this.ruler.style.height = `${bottom.bottom - top.top}px`;
  }

  drawSound(context, width, height, colour) {
    const { seconds, peak, rms } = this.about.sound, loudest = Math.max(...peak, 1e-4);
    const long = seconds / this.about.duration * width, step = Math.max(1, long / peak.length);
    for (const [row, name] of [[peak, "--peak"], [rms, "--rms"]]) {
      context.fillStyle = colour(name);
      for (let i = 0; i < row.length; i++) {
        const half = Math.sqrt(row[i] / loudest) * height / 2;
        context.fillRect(long * i / row.length, height / 2 - half, step, Math.max(1, 2 * half));
      }
    }
  }

  drawPresence(context, width, height, colour, value) {
    value.dataset.presence = "true";
    context.strokeStyle = colour("--sound");
    context.lineWidth = 2;
    context.beginPath();
    this.about.presence.forEach((one, i) => context.lineTo(this.about.times[i] / this.about.duration * width, height - 1 - one * (height - 2)));
    context.stroke();
  }

  drawSource(source, context, width, height) {
    const { times, duration } = this.about, last = times.length - 1, highest = Math.max(...source.area, 1e-4);
    context.fillStyle = `rgb(${source.colour})`;
    context.globalAlpha = 0.35;
    for (const [from, to] of source.spans) context.fillRect(from / duration * width, 3, Math.max(2, (to - from) / duration * width), height - 6);
    context.globalAlpha = 1;
    source.area.forEach((area, i) => {
      if (!area) return;
      const from = i ? (times[i - 1] + times[i]) / 2 : 0, to = i < last ? (times[i] + times[i + 1]) / 2 : duration;
      const high = Math.sqrt(area / highest) * (height - 6);
      context.fillRect(from / duration * width, height - 3 - high, Math.max(2, (to - from) / duration * width), high);
    });
  }
}

// Plays a result: the video with its masks on it, views to switch, sources to hide, a time line to scrub.
import { $, clock, element } from "./api.js";
import { Lanes } from "./lanes.js";
import { HEAT, Paint } from "./paint.js";

const PLAY = "M8 5v14l11-7z", PAUSE = "M7 5h4v14H7zm6 0h4v14h-4z";
const LOUD = "M3 9v6h4l5 5V4L7 9zm13.5 3a4.5 4.5 0 0 0-2.5-4v8a4.5 4.5 0 0 0 2.5-4z";
const QUIET = "M3 9v6h4l5 5V4L7 9zm18 .5L19.5 8 17 10.500 14.500 8 13 9.500 15.500 12 13 14.500 14.500 16 17 13.500 19.500 16 21 14.500 18.500 12z";
const VIEWS = {
  overlay: ["Overlay", "each source in its colour, the rest darker"],
  mask: ["Mask", "the sources alone"],
  heat: ["Heat", "how probable it is that a pixel sounds"],
  attention: ["Attention", "how much a pixel takes from the sound"],
};

export class Player {
  constructor(parts) {
    this.parts = parts;
    this.video = $("video");
    this.hidden = new Set(); // of sources
    this.view = "overlay";
    this.onHidden = this.onPoint = this.onStretch = this.onPointing = () => {};
    this.pointing = false; // whether a click says what is wrong, in place of playing
    this.said = [];
  }

  async start() {
    const answer = await fetch(new URL("view.json", this.parts));
    if (!answer.ok) throw new Error("This result is no longer here. Give the video again.");
    this.about = await answer.json();
    this.video.src = new URL("preview.mp4", this.parts);
    this.video.style.aspectRatio = `${this.about.width} / ${this.about.height}`;
    this.paint = new Paint($("paint"), this.about);
    this.lanes = new Lanes($("lanes"), this.about, {
      seek: (time) => this.seek(time), toggle: (id) => this.toggle(id), only: (id) => this.only(id),
      pointing: () => this.pointing, stretch: (...given) => this.onStretch(...given),
    });
    this.offerViews();
    this.listen();
    this.fit();
    this.repaint();
    await this.paint.load(this.parts);
    this.repaint();
    this.tick();
  }

  offerViews() {
    for (const [name, [text, title]] of Object.entries(VIEWS)) {
      const off = name === "attention" && !this.about.attention;
      const button = element("button", { type: "button", disabled: off, title: off ? "This model has no attention map." : title, onclick: () => this.choose(name) }, text);
      button.dataset.view = name;
      button.setAttribute("role", "radio");
      $("views").append(button);
    }
    $("views").onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!step) return;
      const usable = [...$("views").children].filter((button) => !button.disabled);
      const next = usable[(usable.findIndex((button) => button.dataset.view === this.view) + step + usable.length) % usable.length];
      this.choose(next.dataset.view);
      next.focus();
      event.preventDefault();
      event.stopPropagation();
    };
    this.choose("overlay");
  }

  choose(name) {
    this.view = name;
    for (const button of $("views").children) {
      const chosen = button.dataset.view === name;
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    }
    const heat = name === "heat" || name === "attention";
    $("legend").hidden = !heat;
    if (heat) {
      const bar = element("i");
      bar.style.background = `linear-gradient(90deg, ${HEAT.map((colour) => `rgb(${colour})`).join(", ")})`;
      $("legend").replaceChildren(bar, name === "heat" ? `probability that a pixel sounds, 0 to 1 (marked above ${this.about.threshold})` : "attention: how much a pixel takes from the sound of its second");
    }
    this.repaint();
  }

  toggle(id) {
    if (!this.hidden.delete(id)) this.hidden.add(id);
    this.changed();
  }

  only(id) {
    const others = this.about.sources.filter((source) => source.id !== id).map((source) => source.id);
    const alone = !this.hidden.has(id) && others.every((other) => this.hidden.has(other));
    this.hidden = new Set(alone ? [] : others);
    this.changed();
  }

  // What a person said, with times of this player: it hides what is not to be marked.
  correct(said) {
    this.said = said;
    this.lanes.correct(said);
    this.repaint();
  }

  hiddenAt(time) {
    const now = this.said.filter((item) => item.start <= time && time < item.end), { sources } = this.about;
    if (now.some((item) => item.kind === "nothing" || item.kind === "other")) return new Set(sources.map((source) => source.id));
    const only = now.filter((item) => item.kind === "only" && item.id).map((item) => item.id);
    const never = now.filter((item) => item.kind === "never").map((item) => item.id);
    return new Set(sources.map((source) => source.id).filter((id) => this.hidden.has(id) || never.includes(id) || (only.length && !only.includes(id))));
  }

  // Where a click lies on the picture, and what is marked there.
  pointAt(event) {
    const box = this.video.getBoundingClientRect(), { width, height } = this.about;
    const scale = Math.min(box.width / width, box.height / height);
    const x = (event.clientX - box.left - (box.width - width * scale) / 2) / (width * scale);
    const y = (event.clientY - box.top - (box.height - height * scale) / 2) / (height * scale);
    if (x < 0 || x > 1 || y < 0 || y > 1) return;
    this.video.pause();
    const source = this.paint.sourceAt(this.paint.nearest(this.video.currentTime), x, y);
    this.onPoint({ x, y, source, left: event.clientX, top: event.clientY });
  }

  changed() {
    this.lanes.show(this.hidden);
    this.onHidden(this.hidden);
    this.repaint();
  }

  repaint() {
    this.painted = null;
  }

  toggleMasks() {
    $("shown").checked = !$("shown").checked;
    this.repaint();
  }

  listen() {
    const { video } = this;
    this.play = () => (video.paused ? video.play().catch(() => {}) : video.pause());
    const icons = () => {
      $("play").querySelector("path").setAttribute("d", video.paused ? PLAY : PAUSE);
      $("play").setAttribute("aria-label", video.paused ? "Play (space)" : "Pause (space)");
      $("mute").querySelector("path").setAttribute("d", video.muted ? QUIET : LOUD);
      $("mute").setAttribute("aria-pressed", String(!video.muted));
    };
    icons();
    $("play").onclick = this.play;
    video.onclick = (event) => (this.pointing ? this.pointAt(event) : this.play());
    $("mute").onclick = () => { video.muted = !video.muted; icons(); };
    $("back").onclick = () => this.step(-1);
    $("forth").onclick = () => this.step(1);
    $("shown").onchange = $("opacity").oninput = () => this.repaint();
    video.onplay = video.onpause = icons;
    video.onerror = () => { $("fault").textContent = "This browser can't play the video. The files can still be downloaded."; };
    addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.fit()).observe($("player"));
  }

  key(event) {
    const typing = event.target.matches("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = event.target.matches("button, a, summary, input");
    const slides = event.target.matches("input[type=range], [role=radio]");
    const second = { ArrowLeft: -1, ArrowRight: 1 }[event.key], frame = { ",": -1, ".": 1 }[event.key];
    if (second && !slides) this.seek(this.video.currentTime + second * (event.shiftKey ? 5 : 1));
    else if (frame) this.step(frame);
    else if (event.key === " " && !onButton) this.play();
    else if (event.key === "m") this.toggleMasks();
    else if (event.key === "c") this.onPointing();
    else return;
    event.preventDefault();
  }

  step(frames) {
    this.video.pause();
    const { fps } = this.about, now = Math.round(this.video.currentTime * fps - 0.5);
    this.seek((now + frames + 0.5) / fps); // the middle of a frame, so that rounding shows no other one
  }

  seek(time) {
    this.video.currentTime = Math.min(Math.max(time, 0), Math.max(0, this.about.duration - 0.01));
  }

  tick() {
    const time = this.video.currentTime, frame = this.paint.nearest(time);
    const state = `${frame} ${this.paint.count}`;
    if (state !== this.painted) {
      this.painted = state;
      document.body.dataset.frame = frame;
      this.paint.draw(frame, { view: this.view, hidden: this.hiddenAt(time), shown: $("shown").checked, opacity: Number($("opacity").value) });
    }
    if (time !== this.told) {
      this.told = time;
      $("clock").textContent = `${clock(time)} / ${clock(this.about.duration)}`;
      this.lanes.at(time, frame);
    }
    requestAnimationFrame(() => this.tick());
  }

  fit() {
    this.paint.fit();
    this.lanes.fit();
    this.repaint();
    this.told = null;
  }
}

// What a person says of a result: a thing never or alone, seconds in which all is wrong. The player shows it at once.
import { $, ask, clock, element, post } from "./api.js";

const WORDS = { only: "only", never: "never", sounds: "sounds too", silent: "doesn't sound", nothing: "nothing sounds", other: "something else sounds" };

export class Correct {
  constructor(job, player) {
    Object.assign(this, { job, player, path: `v1/jobs/${encodeURIComponent(job.id)}/corrections`, said: [] });
    this.start = player.about.start || 0;
  }

  async begin() {
    const { sources, duration } = this.player.about;
    $("correct").hidden = false;
    $("thing").replaceChildren(...sources.map((source) => element("option", { value: source.id }, source.name)));
    for (const id of ["thing", "say-only", "say-never"]) $(id).disabled = !sources.length;
    $("to").value = Math.min(1, duration).toFixed(1);
    $("from").max = $("to").max = duration.toFixed(1);
    $("keep").href = new URL(this.path, new URL("..", location.href));
    for (const kind of ["only", "never"]) $(`say-${kind}`).onclick = () => this.say({ kind, source: Number($("thing").value), time: this.now });
    for (const kind of ["nothing", "other"]) $(`say-${kind}`).onclick = () => this.sayStretch(kind, Number($("from").value), Number($("to").value));
    for (const kind of ["sounds", "silent"]) $(`say-${kind}`).onclick = () => this.say({ kind, time: this.now, x: Number($("across").value) / 100, y: Number($("down").value) / 100 });
    $("pointing").onclick = () => this.point(!this.player.pointing);
    $("again").onclick = () => this.again();
    $("load").onchange = () => this.load($("load").files[0]);
    this.player.onPoint = (place) => this.offerThing(place);
    this.player.onStretch = (from, to, place) => this.offerStretch(from, to, place);
    this.player.onPointing = () => this.point(!this.player.pointing);
    $("menu").onkeydown = (event) => { if (event.key === "Escape") { this.close(); $("pointing").focus(); event.stopPropagation(); } };
    this.show(await ask(this.path));
  }

  get now() {
    return this.player.video.currentTime + this.start;
  }

  point(on) {
    this.player.pointing = on;
    $("pointing").setAttribute("aria-pressed", String(on));
    $("player").classList.toggle("pointing", on);
    if (on) { this.player.video.pause(); $("player").scrollIntoView({ block: "nearest" }); }
    this.close();
    this.tell(on ? "Click a thing on the picture, or drag over seconds on the time line." : "");
  }

  offerThing({ x, y, source, left, top }) {
    const time = this.now, at = { time, x, y };
    if (source) {
      this.open(`${source.name}, ${clock(this.player.video.currentTime)}`, left, top, [
        ["Only this one", () => this.say({ kind: "only", ...at })], ["Never this one", () => this.say({ kind: "never", ...at })],
        ["Not this part", () => this.say({ kind: "silent", ...at })]]);
    } else {
      this.open("Nothing is marked here", left, top, [["This sounds", () => this.say({ kind: "sounds", ...at })]]);
    }
  }

  offerStretch(from, to, { left, top }) {
    [$("from").value, $("to").value] = [from.toFixed(1), to.toFixed(1)];
    this.open(`${clock(from)} to ${clock(to)}`, left, top, [
      ["Nothing sounds", () => this.sayStretch("nothing", from, to)], ["Something else sounds", () => this.sayStretch("other", from, to)]]);
  }

  open(text, left, top, choices) {
    const menu = $("menu");
    $("menu-head").textContent = text;
    $("menu-buttons").replaceChildren(...[...choices, ["Leave it", () => {}]].map(([word, act]) => element("button", { type: "button", onclick: () => { this.close(); act(); } }, word)));
    menu.hidden = false;
    const player = $("player").getBoundingClientRect();
    menu.style.left = `${Math.max(6, Math.min(left - player.left, player.width - menu.offsetWidth - 6))}px`;
    menu.style.top = `${Math.max(6, Math.min(top - player.top + 8, player.height - menu.offsetHeight - 6))}px`;
    $("menu-buttons").firstChild.focus({ preventScroll: true });
  }

  close() {
    $("menu").hidden = true;
    this.player.lanes.stretch(null);
  }

  sayStretch(kind, from, to) {
    this.say({ kind, start: from + this.start, end: to + this.start });
  }

  say(item) {
    return this.change(() => post(this.path, item), (said) => `Noted: ${this.words(said.at(-1))}.`);
  }

  async change(how, words) {
    $("error-correct").textContent = "";
    try {
      const file = await how();
      this.show(file);
      this.tell(words(file.corrections));
    } catch (error) {
      $("error-correct").textContent = error.message;
    }
  }

  tell(text) {
    $("said-now").textContent = text;
  }

  words(item) {
    const at = (time) => clock(time - this.start);
    if (item.kind === "nothing" || item.kind === "other") return `${at(item.start)} to ${at(item.end)}: ${WORDS[item.kind]}`;
    const where = `${Math.round(100 * item.x)} % across, ${Math.round(100 * item.y)} % down`;
    const what = item.name || (item.kind in { sounds: 1, silent: 1 } ? `the place ${where}` : `what was at ${where}`);
    return item.kind in { sounds: 1, silent: 1 } ? `${at(item.time)}: ${what} ${WORDS[item.kind]}` : `${WORDS[item.kind]} ${what} (${at(item.time)})`;
  }

  show({ corrections }) {
    this.said = corrections;
    $("said").replaceChildren(...corrections.map((item, place) => {
      const back = element("button", { type: "button", className: "only" }, "Take back");
      back.setAttribute("aria-label", `Take back: ${this.words(item)}`);
      back.onclick = () => this.change(() => ask(`${this.path}/${place + 1}`, { method: "DELETE" }), () => "Taken back.").then(() => ($("said").querySelectorAll("button")[place] || $("pointing")).focus());
      return element("li", {}, element("span", {}, this.words(item)), " ", back);
    }));
    $("keep").hidden = $("teach").hidden = !corrections.length;
    $("again").disabled = !corrections.length && !this.job.corrections;
    this.player.correct(corrections.map((item) => ({ ...item, start: (item.start ?? this.start) - this.start, end: (item.end ?? Infinity) - this.start })));
  }

  load(file) {
    if (!file) return;
    this.change(async () => ask(this.path, { method: "PUT", headers: { "Content-Type": "application/json" }, body: await file.text() }), (said) => `Loaded: ${said.length} corrections.`);
    $("load").value = "";
  }

  async again() {
    $("again").disabled = true;
    try {
      location.href = (await post(`v1/jobs/${encodeURIComponent(this.job.id)}/corrected`, {})).page;
    } catch (error) {
      $("error-correct").textContent = error.message;
      $("again").disabled = false;
    }
  }
}

// The first page: choose videos, choose what to make, see all jobs.
import { $, ask, begin, bytes, duration, element, listen, marked, post, progress } from "./api.js";
import { Chosen } from "./chosen.js";
import { offerRecording } from "./record.js";

const COMMON = { overlay: "Video with marks", cutout: "Only what sounds", "alpha-mov": "For a video editor", masks: "Masks as PNG" };
const FIELDS = ["upload", "model", "rate", "formats", "threshold", "min_presence", "smooth", "hold", "expand", "feather", "min_area", "only", "not", "prompt"];
let about, chosen;

async function start() {
  about = await begin();
  for (const text of about.warnings) $("warnings").append(element("p", { className: "card warning" }, text));
  $("limits").textContent = `Up to ${bytes(about.max_bytes)} each and ${duration(about.max_seconds)} of it; removed after ${duration(about.keep_seconds)}.`;
  for (const model of about.models) $("model").append(element("option", { value: model.name }, model.name));
  $("model").onchange = () => {
    const model = about.models[$("model").selectedIndex];
    $("about-model").textContent = model.about;
    $("names").hidden = !model.names.length;
    $("prompts").hidden = !model.prompts;
    $("known").textContent = `${model.names.map((name) => name.replaceAll("_", " ")).join(", ")}; and AudioSet's names of sounds, such as speech, bark or siren.`;
  };
  $("model").onchange();
  for (const format of about.formats) offerFormat(format);
  chosen = new Chosen($("chosen"), about, (text) => say("upload", text));
  takeFiles();
  $("own").onchange = () => { $("threshold-field").hidden = $("own").checked; };
  for (const [name, digits] of [["threshold", 2], ["presence", 2], ["smooth", 1]]) {
    $(name).oninput = () => { $(`${name}-shown`).textContent = Number($(name).value).toFixed(digits); };
  }
  if (about.keeps_results) $("restart").textContent = ", and after the server was restarted";
  $("form").onsubmit = (event) => { event.preventDefault(); run(); };
  follow();
  document.body.dataset.ready = "true";
}

function offerFormat({ name, suffix, about: text }) {
  const id = `format-${name}`;
  const box = element("input", { type: "checkbox", id, value: name, name: "formats", checked: name === "overlay", "aria-describedby": `${id}-about` });
  const label = element("label", { htmlFor: id }, COMMON[name] || name, " ", element("small", {}, suffix));
  const hint = element("span", { id: `${id}-about`, className: "hint" }, ...marked(text));
  $(name in COMMON ? "formats" : "formats-more").append(element("div", { className: "format" }, box, label, hint));
}

function takeFiles() {
  const drop = $("drop");
  $("files").onchange = () => { chosen.add(...$("files").files); $("files").value = ""; };
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // a miss must not leave the page
  drop.addEventListener("drop", (event) => chosen.add(...event.dataTransfer.files));
  $("example").onclick = async () => {
    const answer = await fetch("static/three_things.mp4");
    if (!answer.ok) return say("upload", "There is no example here.");
    chosen.add(new File([await answer.blob()], "three_things.mp4", { type: "video/mp4" }));
    if (about.models.some((model) => model.name === "avs_mini.synthetic")) {
      $("model").value = "avs_mini.synthetic";
      $("model").onchange();
    }
  };
  offerRecording((file) => chosen.add(file), (text) => say("upload", text));
}

function say(field, text) {
  const place = $(`error-${FIELDS.includes(field) ? field : "form"}`);
  place.textContent = text;
  const details = place.closest("details");
  if (text && details) details.open = true;
}

function clear() {
  for (const place of document.querySelectorAll("#form > .error, .field .error, fieldset .error, #error-upload")) place.textContent = "";
}

async function run() {
  clear();
  if (!chosen.count) {
    say("upload", "Give a video first: choose one, drop one here, record one, or try the example.");
    $("files").focus();
    return;
  }
  const formats = [...document.querySelectorAll("input[name=formats]:checked")].map((box) => box.value);
  if (!formats.length) {
    say("formats", "Tick at least one kind of file.");
    document.querySelector("input[name=formats]").focus();
    return;
  }
  const rate = $("rate").value;
  const options = {
    model: $("model").value, rate: Number(rate) || rate, formats,
    threshold: $("own").checked ? null : Number($("threshold").value), min_presence: Number($("presence").value),
    smooth: Number($("smooth").value), hold: Number($("hold").value), expand: Number($("expand").value),
    feather: $("feather").value === "" ? null : Number($("feather").value), min_area: Number($("min_area").value),
  };
  if (!$("prompts").hidden) options.prompt = words("prompt");
  if (!$("names").hidden) Object.assign(options, { only: words("only"), not: words("not") });
  $("run").disabled = true;
  $("status").textContent = "Sending …";
  try {
    const jobs = await chosen.submit((upload, part) => post("v1/jobs", { ...options, ...part, upload: upload.id }), tell);
    if (jobs.length === 1 && !chosen.count) location.href = jobs[0].page;
    else if (jobs.length) $("jobs").focus();
  } finally {
    $("run").disabled = false;
    $("status").textContent = "";
  }
}

const words = (id) => $(id).value.split(",").map((word) => word.trim()).filter(Boolean);

// What is wrong goes beside the option that it is about; of one video, beside that video.
function tell(error) {
  for (const { field, detail } of error.errors) if (FIELDS.includes(field) && field !== "upload") say(field, detail);
}

// ---- my videos ------------------------------------------------------------------------------------------------------

const rows = new Map();

function follow() {
  let boot = about.boot;
  listen("v1/events", (jobs) => show(jobs), () => {}, async () => {
    const before = rows.size, now = await ask("v1/about").catch(() => null);
    if (now && now.boot !== boot) {
      boot = document.body.dataset.boot = now.boot;
      const here = await ask("v1/jobs");
      show(here);
      if (here.length < before) {
        $("lost").textContent = `The server was restarted, and ${here.length ? "some" : "all"} of the videos that were here are gone. Give them again.`;
      }
    }
  });
}

function show(jobs) {
  const here = new Set(jobs.map((job) => job.id));
  for (const [id, row] of rows) if (!here.has(id)) { row.item.remove(); rows.delete(id); }
  for (const job of [...jobs].reverse()) {
    if (!rows.has(job.id)) {
      rows.set(job.id, makeRow(job));
      $("list").prepend(rows.get(job.id).item);
    }
    rows.get(job.id).show(job);
  }
  $("none").hidden = jobs.length > 0;
}

function makeRow(job) {
  const link = element("a", { href: job.page }, job.name), text = element("span", { className: "state" });
  const bar = element("progress", { max: 1, ariaLabel: `Progress of ${job.name}` });
  const when = element("time", { className: "hint", dateTime: new Date(1000 * job.submitted).toISOString() }, new Date(1000 * job.submitted).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
  const button = element("button", { type: "button" });
  const item = element("li", { className: "card job" }, element("div", {}, link, when), element("div", {}, text, bar), button);
  const row = { item };
  row.show = (now) => {
    const over = !["queued", "running"].includes(now.state);
    item.dataset.state = now.state;
    text.textContent = now.error || progress(now);
    bar.hidden = over;
    if (now.done) bar.value = now.done; else bar.removeAttribute("value");
    button.textContent = over ? "Delete" : "Stop";
    button.setAttribute("aria-label", `${over ? "Delete" : "Stop"} ${now.name}`);
    button.onclick = () => (over ? ask(`v1/jobs/${now.id}`, { method: "DELETE" }) : post(`v1/jobs/${now.id}/cancel`)).catch((error) => { text.textContent = error.message; });
  };
  return row;
}

start().catch((error) => { $("error-form").textContent = error.message; });

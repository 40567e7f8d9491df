// The page of one job: how far it is, then what came out.
import { $, ask, begin, duration, element, listen, marked, post, progress } from "./api.js";
import { Correct } from "./correct.js";
import { Player } from "./player.js";

const id = decodeURIComponent(location.pathname.split("/").pop());
let about, shown = 0, player;

async function start() {
  about = await begin();
  show(await ask(`v1/jobs/${encodeURIComponent(id)}`));
  $("stop").onclick = () => post(`v1/jobs/${id}/cancel`).then(show, trouble);
  $("delete").onclick = async () => {
    await ask(`v1/jobs/${id}`, { method: "DELETE" }).catch(trouble);
    location.href = "../#jobs";
  };
  listen(`v1/jobs/${encodeURIComponent(id)}/events`, show, async (source) => {
    try {
      show(await ask(`v1/jobs/${encodeURIComponent(id)}`));
    } catch (error) {
      trouble(error);
      if (error.status === 404) source.close();
    }
  });
}

// Gives whether the job is over.
function show(job) {
  const over = !["queued", "running"].includes(job.state);
  document.title = over ? `${job.name} – sonomask` : `${progress(job)} – ${job.name}`;
  document.body.dataset.state = job.state;
  $("name").textContent = job.name;
  $("progress").hidden = over;
  $("after").hidden = !over;
  if (!over) $("trouble").hidden = true;
  say(progress(job));
  if (job.done) $("bar").value = job.done; else $("bar").removeAttribute("value");
  if (!over && job.preview > shown) {
    shown = job.preview;
    const picture = new Image();
    picture.onload = () => { $("preview").src = picture.src; $("preview").hidden = false; };
    picture.src = new URL(`v1/jobs/${id}/preview?number=${shown}`, new URL("..", location.href));
  }
  if (job.state === "failed" || job.state === "cancelled") {
    trouble(new Error(job.error || "It was stopped."));
  } else if (job.state === "done" && !player) {
    finish(job);
  }
  return over;
}

let said = "";
function say(text) {
  if (text !== said) $("stage-text").textContent = said = text;
}

function finish(job) {
  $("result").hidden = false;
  const follows = job.corrections ? [`These files follow ${job.corrections === 1 ? "one correction" : `${job.corrections} corrections`}.`] : [];
  $("notes").replaceChildren(...[...follows, ...job.warnings].map((text) => element("li", {}, text)));
  $("kept").textContent = `It is removed after ${duration(about.keep_seconds)}.`;
  const texts = new Map(about.formats.map((format) => [format.name, format.about]));
  const items = Object.entries(job.files).map(([name, address]) =>
    element("li", {}, element("a", { href: address, className: "button", download: "" }, name), element("span", { className: "hint" }, ...marked(texts.get(name) || ""))));
  if (items.length > 1) {
    items.push(element("li", {}, element("a", { href: job.archive, className: "button", download: "" }, "everything"), element("span", { className: "hint" }, "all of these in one zip")));
  }
  $("files").replaceChildren(...items);
  player = new Player(new URL(`v1/jobs/${id}/view/`, new URL("..", location.href)));
  player.start().then(async () => { offerAlone(); await new Correct(job, player).begin(); document.body.dataset.ready = "true"; }).catch((error) => { $("fault").textContent = error.message; });
}

// Each source can be had alone: another job on the same video, with a page of its own.
function offerAlone() {
  const { sources } = player.about;
  $("alone").hidden = sources.length < 2;
  $("each").replaceChildren(...sources.map((source) => {
    const dot = element("i", { className: "dot", ariaHidden: "true" });
    dot.style.setProperty("--own", `rgb(${source.colour})`);
    const button = element("button", { type: "button" }, dot, source.name);
    button.setAttribute("aria-label", `Make files of ${source.name} alone`);
    button.onclick = () => take(button, [source.id]);
    return element("li", {}, button);
  }));
  player.onHidden = (hidden) => { $("ticked").disabled = !hidden.size || hidden.size === sources.length; };
  $("ticked").onclick = () => take($("ticked"), sources.map((source) => source.id).filter((one) => !player.hidden.has(one)));
}

async function take(button, sources) {
  button.disabled = true;
  try {
    location.href = (await post(`v1/jobs/${id}/sources`, { sources })).page;
  } catch (error) {
    $("error-alone").textContent = error.message;
    button.disabled = false;
  }
}

function trouble(error) {
  $("progress").hidden = true;
  $("trouble").hidden = false;
  $("after").hidden = false;
  const again = element("a", { href: "../" }, "Give a video");
  $("trouble").replaceChildren(element("p", {}, error.message), element("p", {}, again));
}

start().catch((error) => { $("name").textContent = "This video is not here"; trouble(error); $("after").hidden = true; });

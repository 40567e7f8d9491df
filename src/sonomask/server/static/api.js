// Talks to the REST service, and tells numbers to people.

export const root = new URL(document.body.dataset.root, location.href);
export const $ = (id) => document.getElementById(id);

// An error of the service: one line for people, and what is wrong with each option.
export class Problem extends Error {
  constructor(body, status) {
    super(body.detail || `The server answered ${status}.`);
    this.status = status;
    this.errors = body.errors || [];
    this.restarted = this.errors.some((error) => error.field === "restart");
  }
}

const GONE = "The server can't be reached. Is it still running?";

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(new URL(path, root), options);
  } catch {
    throw new Problem({ detail: GONE }, 0);
  }
  if (answer.status === 204) return null;
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(body, answer.status);
  return body;
}

export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: body === undefined ? null : JSON.stringify(body) });

// The cookie by which this browser finds its jobs again; a token in the address has become one too.
export async function begin() {
  const address = new URL(location.href);
  if (address.searchParams.has("token")) {
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }
  await ask("v1/session", { method: "POST" });
  return ask("v1/about");
}

// Sends a file; gives a promise of the upload with `abort`.
export function upload(file, name, onProgress) {
  const request = new XMLHttpRequest();
  const promise = new Promise((resolve, reject) => {
    request.open("POST", new URL(`v1/uploads?name=${encodeURIComponent(name.slice(0, 200))}`, root));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / Math.max(event.total, 1));
    request.onload = () => request.status === 201 ? resolve(request.response) : reject(new Problem(request.response || {}, request.status));
    request.onerror = () => reject(new Problem({ detail: GONE }, 0));
    request.onabort = () => reject(new Problem({ detail: "Stopped." }, 0));
    request.send(file);
  });
  promise.abort = () => request.abort();
  return promise;
}

// Listens to server-sent events until `onEvent` gives true; `onLost` is told when the line breaks, and it is tried again;
// `onOpen` whenever it stands.
export function listen(path, onEvent, onLost, onOpen = null) {
  const source = new EventSource(new URL(path, root));
  source.onopen = onOpen;
  source.onmessage = (event) => { if (onEvent(JSON.parse(event.data))) source.close(); };
  source.onerror = () => onLost(source);
  return source;
}

export function clock(time, digits = 1) {
  const minutes = Math.floor(time / 60), seconds = time - 60 * minutes;
  return `${minutes}:${seconds.toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
}

export function bytes(count) {
  const units = ["bytes", "KB", "MB", "GB"];
  let unit = 0;
  while (count >= 1024 && unit < 3) { count /= 1024; unit++; }
  return `${unit ? count.toFixed(1).replace(".0", "") : count} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

// Text in which `names` stand between backticks, as elements.
export const marked = (text) => text.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));

// What a job is doing, in words.
export function progress(job) {
  if (job.state === "queued") return job.ahead ? `Waiting; ${job.ahead} before it` : "Waiting";
  if (job.state === "running") {
    if (!job.done) return "Watching and listening …";
    return `${Math.round(100 * job.done)} %${job.left === null ? "" : `, about ${duration(job.left)} left`}`;
  }
  return { done: "Done", failed: "Failed", cancelled: "Stopped" }[job.state];
}

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value; else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Shows a live stream, how far behind it is, and how much of it sounded in the last minute.
import { $, ask, clock } from "./api.js";

const PLAY = "M8 5v14l11-7z", PAUSE = "M7 5h4v14H7zm6 0h4v14h-4z", SECONDS = 60;
const points = [];
let running = true;

function watch(on) {
  running = on;
  $("stream").src = new URL(on ? "v1/live/stream" : `v1/live/picture`, location.href);
  $("play").setAttribute("aria-label", on ? "Pause" : "Go on");
  $("play").querySelector("path").setAttribute("d", on ? PAUSE : PLAY);
}

async function look() {
  if (!running) return;
  try {
    const state = await ask("v1/live");
    $("fault").textContent = "";
    $("clock").textContent = clock(state.time);
    $("state").textContent = state.pictures ? `${(100 * state.share).toFixed(1)} % of the picture sounds, ${state.delay.toFixed(2)} s behind` : "waiting for the source";
    if (state.pictures) points.push([state.time, state.share]);
    while (points.length && points[0][0] < state.time - SECONDS) points.shift();
    draw(state.time);
  } catch (error) {
    $("fault").textContent = error.message;
  }
}

function draw(now) {
  const canvas = $("share"), context = canvas.getContext("2d"), ratio = devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const highest = Math.max(0.02, ...points.map(([, share]) => share));
  context.fillStyle = getComputedStyle(canvas).getPropertyValue("--sound");
  for (const [time, share] of points) {
    const height = share / highest * canvas.height;
    context.fillRect((1 - (now - time) / SECONDS) * canvas.width, canvas.height - height, Math.max(2, canvas.width / SECONDS), height);
  }
}

$("play").onclick = () => watch(!running);
$("stream").onerror = () => { $("fault").textContent = "The stream broke off. Is it still running?"; };
if (new URL(location.href).searchParams.has("token")) history.replaceState(null, "", location.pathname);
addEventListener("load", () => setTimeout(() => watch(true))); // a stream that never ends must not hold up the page itself
setInterval(look, 1000);
look();

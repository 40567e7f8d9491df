// What sounds, alone on a clear ground: a browser source for OBS and its like. ?mask=cutout shows the things themselves.
const canvas = document.getElementById("mask"), context = canvas.getContext("2d");
const shows = new URL(location.href).searchParams.get("mask") === "cutout" ? "cutout" : "mask";
let number = -1;

async function next() {
  const answer = await fetch(`v1/live/mask?shows=${shows}&after=${number}`);
  if (!answer.ok) throw new Error(answer.statusText);
  number = Number(answer.headers.get("Picture-Number"));
  if (answer.status === 204) return clear(); // an old mask would lie on another picture
  const picture = await createImageBitmap(await answer.blob());
  if (canvas.width !== picture.width || canvas.height !== picture.height) Object.assign(canvas, { width: picture.width, height: picture.height });
  clear();
  context.drawImage(picture, 0, 0);
  picture.close();
}

function clear() {
  context.clearRect(0, 0, canvas.width, canvas.height);
}

async function follow() {
  for (;;) {
    try {
      await next();
    } catch {
      clear();
      number = -1; // another run counts anew
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

follow();

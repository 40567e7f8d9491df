// Records with the camera and the microphone; what comes out is a file like any other.
import { $ } from "./api.js";

export function offerRecording(take, say) {
  let stream, recorder;
  const close = () => {
    if (recorder?.state === "recording") recorder.stop();
    stream?.getTracks().forEach((track) => track.stop());
    stream = recorder = null;
    $("recorder").hidden = true;
    $("record").focus();
  };
  $("record").onclick = async () => {
    say("");
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
    } catch {
      say("The camera and the microphone can't be used: there are none, or this browser was told not to.");
      return;
    }
    $("recorder").hidden = false;
    $("camera").srcObject = stream;
    await $("camera").play();
    $("shoot").focus();
  };
  $("shoot").onclick = () => {
    if (recorder?.state === "recording") {
      recorder.stop();
      return;
    }
    const pieces = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      $("shoot").textContent = "Start recording";
      const kind = pieces[0]?.type || "video/webm";
      take(new File(pieces, `recording.${kind.includes("mp4") ? "mp4" : "webm"}`, { type: kind }));
      close();
    };
    recorder.start(1000);
    $("shoot").textContent = "Stop recording";
  };
  $("close").onclick = close;
}

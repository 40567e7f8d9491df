"""From file to overlay: this package beside the floor and beside what else a user could pick, in one run on one clip.

    python benchmarks/whole.py CLIP.mp4 [--model NAME] [--rounds 3]

Everyone draws the same masks on the same video on the same cores. sonomask, MoviePy and the floor encode with libx264; OpenCV
and supervision can only write MPEG-4 Part 2, which costs less, so the loop of OpenCV is there a second time with the floor's
encoder. Peers are given the masks, and write neither a timeline nor sound; whoever uses one runs the model too, which the last
column adds:

    floor        decode and encode with PyAV, nothing drawn
    model        masks alone, no output
    sonomask     `sonomask.segment`, overlay with its timeline and the sound
    supervision  `VideoSink` and `MaskAnnotator` on frames of OpenCV
    OpenCV       a loop of `VideoCapture`, `addWeighted`, `VideoWriter`
    OpenCV, x264 the same loop, encoded as the floor is
    MoviePy      `VideoFileClip.transform`

Peers that are not installed are left out. Wall seconds and processor seconds, the best of the rounds; the order of the rounds
turns, so that load from outside meets everyone.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np

import sonomask
from sonomask.api import Segmenter, load_fast
from sonomask.media.reader import VideoReader

SETTINGS = {"preset": "veryfast", "crf": "20", "x264-params": "cpu-independent=1"}
COLOUR = np.array([255, 140, 0], np.uint8)


def floor(clip: str, out: Path) -> None:
    """Decode and encode, nothing between."""
    with av.open(clip) as source, av.open(str(out), "w") as target:
        video = source.streams.video[0]
        video.thread_type = "AUTO"
        made = target.add_stream("libx264", rate=video.average_rate)
        made.width, made.height, made.pix_fmt, made.options = video.width, video.height, "yuv420p", SETTINGS
        for frame in source.decode(video):
            target.mux(made.encode(frame))
        target.mux(made.encode())


class X264:
    """OpenCV's writer, with the encoder of the floor."""

    def __init__(self, out: Path, fps: float, size: tuple[int, int]) -> None:
        self.file = av.open(str(out), "w")
        self.stream = self.file.add_stream("libx264", rate=round(fps))
        self.stream.width, self.stream.height, self.stream.options = *size, SETTINGS
        self.stream.pix_fmt = "yuv420p"

    def write(self, frame: np.ndarray) -> None:
        """Add a BGR picture."""
        self.file.mux(self.stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))

    def release(self) -> None:
        """End the file."""
        self.file.mux(self.stream.encode())
        self.file.close()


def supervised(clip: str, out: Path, mask_at: Callable[[float], np.ndarray]) -> None:
    """As supervision's documentation does it."""
    import supervision as sv

    info = sv.VideoInfo.from_video_path(clip)
    annotator = sv.MaskAnnotator()
    with sv.VideoSink(str(out), info) as sink:
        for i, frame in enumerate(sv.get_video_frames_generator(clip)):
            mask = mask_at(i / info.fps)[None]
            found = sv.Detections(xyxy=sv.mask_to_xyxy(mask), mask=mask, class_id=np.zeros(1, int))
            sink.write_frame(annotator.annotate(frame, found) if mask.any() else frame)


def looped(clip: str, out: Path, mask_at: Callable[[float], np.ndarray], *, x264: bool = False) -> None:
    """The loop that tutorials of OpenCV show, with its own writer or the floor's encoder."""
    capture = cv2.VideoCapture(clip)
    fps = capture.get(cv2.CAP_PROP_FPS)
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = X264(out, fps, size) if x264 else cv2.VideoWriter(str(out), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
    i = 0
    while True:
        good, frame = capture.read()
        if not good:
            break
        tinted = frame.copy()
        tinted[mask_at(i / fps)] = COLOUR[::-1]
        writer.write(cv2.addWeighted(tinted, 0.4, frame, 0.6, 0))
        i += 1
    writer.release()
    capture.release()


def moved(clip: str, out: Path, mask_at: Callable[[float], np.ndarray]) -> None:
    """MoviePy's way."""
    from moviepy import VideoFileClip

    def draw(get: Callable[[float], np.ndarray], t: float) -> np.ndarray:
        frame, mask = get(t).copy(), mask_at(t)
        frame[mask] = frame[mask] * 0.6 + COLOUR * 0.4
        return frame

    with VideoFileClip(clip) as video:
        video.transform(draw).write_videofile(str(out), codec="libx264", preset="veryfast", logger=None)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds, those of child processes too."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    began = time.perf_counter()
    work()
    wall = time.perf_counter() - began
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return wall, sum(a.ru_utime + a.ru_stime - b.ru_utime - b.ru_stime for a, b in zip(after, before, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--model", default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", help="only these beside the first three")
    args = parser.parse_args()
    scorer = load_fast(args.model)
    segmenter = Segmenter(scorer)
    with VideoReader(args.clip) as reader:
        info = reader.info
        found = [(masks.times[0], masks.mask[0]) for masks in segmenter(reader)]
    times = np.array([moment for moment, _ in found])

    def mask_at(moment: float) -> np.ndarray:
        return found[int(np.abs(times - moment).argmin())][1]

    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        rows: dict[str, Callable[[], object]] = {
            "floor": lambda: floor(args.clip, out),
            "model": lambda: sum(1 for _ in segmenter(args.clip)),
            "sonomask": lambda: sonomask.segment(args.clip, folder, scorer, overwrite=True),
            "OpenCV": lambda: looped(args.clip, out, mask_at),
            "OpenCV, x264": lambda: looped(args.clip, out, mask_at, x264=True),
        }
        if find_spec("supervision"):
            rows["supervision"] = lambda: supervised(args.clip, out, mask_at)
        if find_spec("moviepy"):
            rows["MoviePy"] = lambda: moved(args.clip, out, mask_at)
        if args.rows:
            rows = {name: rows[name] for name in dict.fromkeys(("floor", "model", "sonomask", *args.rows))}
        best = {name: (float("inf"), float("inf")) for name in rows}
        names = list(rows)
        for turn in range(args.rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                wall, work = timed(rows[name])
                best[name] = min(best[name][0], wall), min(best[name][1], work)
    seconds = info.duration or 1.0
    size, load = f"{info.width}×{info.height}", os.getloadavg()[0]
    print(f"{size}, {seconds:.1f} s at {float(info.fps):g} fps, {os.cpu_count()} cores, load {load:.1f}\n")
    print("| | wall s | processor s | of real time | with the model: wall, processor s |\n|---|--:|--:|--:|--:|")
    for name, (wall, work) in best.items():
        own = name in ("model", "sonomask")
        whole = f"{wall + best['model'][0] * (not own):.2f}, {work + best['model'][1] * (not own):.2f}"
        print(f"| {name} | {wall:.2f} | {work:.2f} | {wall / seconds:.2f} | {whole} |")
    for i, kind in enumerate(("wall", "processor")):
        whole = best["floor"][i] + best["model"][i]
        print(f"\nsonomask / (floor + model), {kind} seconds: {best['sonomask'][i] / whole:.2f}")


if __name__ == "__main__":
    main()

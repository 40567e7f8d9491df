"""What it costs a stream to hear the past second alone, and what that gains: mean IoU by pairing, and delays over loopback.

    python benchmarks/pairing.py accuracy CLIPS [--model world_duo.real] [--rate 1]
    python benchmarks/pairing.py delay CLIPS [--model world_duo.real] [--pairing end] [--onsets 60] [--format flv]

CLIPS is a folder with `labels.csv` (clip, time, mask, sounding, quality), `videos/CLIP.mp4` and `masks`.

*accuracy*: mean IoU of the frames in which something sounds, a clip's mean first, with the sound around each frame (centre) and
with the second before it (end).

*delay*: a stream of 1280×720 at 25 pictures a second, H.264 and AAC in FLV (as RTMP carries it) or MPEG-TS (which tells the
end of a picture only with the next one), which FFmpeg sends over TCP on loopback in real time. Each
labelled moment gives 3.5 s: its picture stands in silence for 1.5 s, then the clip goes on with its sound for 2 s. Told are the
medians of capture to mask and of onset to mask, as `sonomask live` measures them.
"""
# ruff: noqa: S603, S607 - FFmpeg from the path

import argparse
import os
import platform
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import sleep

import numpy as np

from sonomask.benchmark.labelled import iou, mark, read_labels
from sonomask.inference.loading import load_fast
from sonomask.inference.segmenter import Segmenter
from sonomask.live.run import LiveRun, Outputs
from sonomask.live.segmenter import LiveSegmenter
from sonomask.media.live.source import parse_source

SILENT, HEARD = 1.5, 2.0  # seconds


def accuracy(folder: Path, model: str, rate: float, pairings: list[str]) -> None:
    """Print the mean IoU of each pairing."""
    clips = read_labels(folder)
    for pairing in pairings:
        scorer = load_fast(model, "cpu")
        scorer.config = replace(scorer.config, pairing=pairing)
        segmenter, means = Segmenter(scorer, rate=rate), []
        for clip, labels in clips.items():
            masks = mark(segmenter, folder / "videos" / f"{clip}.mp4", labels)
            means.append(np.mean([iou(mask, label.truth()) for mask, label in zip(masks, labels, strict=True)]))
        print(f"{pairing:>7} {np.mean(means):.3f} mean IoU of {len(means)} clips, {rate:g} masks a second", flush=True)


def make(folder: Path, onsets: int, out: Path) -> int:
    """Write the stream; the number of its onsets."""
    parts = [(clip, label.time) for clip, labels in read_labels(folder).items() for label in labels][:onsets]
    for index, (clip, time) in enumerate(parts):
        picture = (
            f"scale=1280:720:force_original_aspect_ratio=decrease,pad=1280:720:-1:-1,setsar=1,fps=25,"
            f"tpad=start_duration={SILENT}:start_mode=clone:stop_duration={HEARD}:stop_mode=clone,format=yuv420p"
        )
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", "-ss", str(time), "-t", str(HEARD), "-i", folder / "videos" / f"{clip}.mp4",
             "-vf", picture, "-af", f"aresample=44100,adelay={round(1000 * SILENT)}:all=1,apad", "-ac", "2",
             "-t", str(SILENT + HEARD), "-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "25",
             "-c:a", "aac", out.with_name(f"{index}.mkv")], check=True,
        )  # fmt: skip
    names = "".join(f"file '{index}.mkv'\n" for index in range(len(parts)))
    out.with_suffix(".txt").write_text(names)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "concat", "-i", out.with_suffix(".txt"), "-c", "copy", out], check=True
    )
    return len(parts)


@contextmanager
def sent(stream: Path, form: str, seconds: float | None = None, words: str = "") -> Iterator[str]:
    """A stream that FFmpeg sends in real time to whoever comes, with options of its own; the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    until = [] if seconds is None else ["-t", str(seconds)]
    with subprocess.Popen(
        ["ffmpeg", "-v", "error", "-re", *until, "-i", stream, "-c", "copy", "-f", form, "-flush_packets", "1",
         *words.split(), f"{address}?listen=1"]
    ) as sender:  # fmt: skip
        try:
            while not listening(int(address.rpartition(":")[2])):
                sleep(0.01)
            yield address
        finally:
            sender.kill()


def delay(folder: Path, model: str, onsets: int, pairing: str, kept: Path | None, form: str, words: str) -> None:
    """Print the report of a run over loopback."""
    with tempfile.TemporaryDirectory() as place:
        stream = kept or Path(place) / "stream.mkv"
        if not stream.exists():
            print(f"{make(folder, onsets, stream)} onsets", flush=True)
        segmenter = LiveSegmenter(load_fast(model, "cpu"), pairing=pairing)
        with sent(stream, form, (SILENT + HEARD) * onsets, words) as address:
            run = LiveRun(
                segmenter, parse_source(address), outputs=Outputs(json=os.devnull, overwrite=True), patience=0.1
            )
            try:
                run.run()
            except Exception as error:  # the stream is over
                print(error)
        print(f"{form} {words}, {pairing}: {run.report()}; {segmenter.onsets.missed} onsets never seen")


def listening(port: int) -> bool:
    """Whether something listens at a port of this machine, told without a connection."""
    wanted = f":{port:04X} "
    return any(wanted in line and " 0A " in line for line in Path("/proc/net/tcp").read_text().splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["accuracy", "delay"])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--model", default="world_duo.real")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--onsets", type=int, default=60)
    parser.add_argument("--pairing", default="end", choices=["end", "model"])
    parser.add_argument("--pairings", nargs="+", default=["centre", "end"])
    parser.add_argument("--format", default="flv", choices=["flv", "mpegts"])
    parser.add_argument("--sender", default="", help="options for FFmpeg, such as '-pes_payload_size 0'")
    parser.add_argument("--stream", type=Path, help="keep the stream in this .mkv, or take it from there")
    args = parser.parse_args()
    print(platform.machine(), os.cpu_count(), "cores; load", os.getloadavg()[0])
    if args.what == "accuracy":
        accuracy(args.clips, args.model, args.rate, args.pairings)
    else:
        delay(args.clips, args.model, args.onsets, args.pairing, args.stream, args.format, args.sender)


if __name__ == "__main__":
    main()

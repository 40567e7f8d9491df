"""How steady masks are: regions of a mask, and mean IoU of neighbouring masks while the sound is steady.

    python benchmarks/flicker.py VIDEO… [--model world_duo.real] [--rates 5 native] [--smooth 0.4] [--drawn]

The earlier mask of a pair is moved along with the picture first (`sonomask.metrics.flicker`); masks have the model's size.
*Steady* counts the pairs with steady sound of which at least one mask marks something, *appear* those of them in which a mask
appears or disappears as a whole, whose IoU is 0; *others* is the IoU without these. `--drawn` also measures the video that
`segment` makes for editors (the format `matte`), in which every frame has a mask.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from sonomask.api import segment
from sonomask.inference.loading import load_fast
from sonomask.inference.segmenter import Segmenter
from sonomask.media.motion import grey
from sonomask.media.reader import VideoReader
from sonomask.metrics.flicker import flicker, steady
from sonomask.outputs.regions import connected_regions


def fitted(mask, size):
    return cv2.resize(mask.astype(np.uint8) * 255, size[::-1], interpolation=cv2.INTER_AREA) > 127


def made(video, scorer, rate, smooth):
    """Times, masks and pictures at the model's size, and the number of regions of each mask at the video's own."""
    times, masks, pictures, regions = [], [], [], []
    for piece in Segmenter(scorer, rate=rate, smooth=smooth)(video):
        times.append(piece.times[0])
        pictures.append(piece.pictures[0])
        masks.append(fitted(piece.mask[0], pictures[-1].shape))
        regions.append(len(connected_regions(piece.mask[0].view(np.uint8))))
    return times, np.stack(masks), np.stack(pictures), regions


def drawn(video, scorer, rate, smooth, size):
    """The same of the frames of the matte."""
    with tempfile.TemporaryDirectory() as folder:
        file = segment(video, folder, scorer, formats="matte", rate=rate, smooth=smooth).files["matte"]
        with VideoReader(file) as reader:
            found = [grey(frame.image) > 127 for frame in reader.frames()]
    with VideoReader(video) as reader:
        frames = [(frame.time, grey(frame.image)) for frame in reader.frames(size=size)][: len(found)]
    times, pictures = zip(*frames, strict=True)
    regions = [len(connected_regions(mask.view(np.uint8))) for mask in found]
    return times, np.stack([fitted(mask, size) for mask in found]), np.stack(pictures), regions


def row(video, name, times, masks, pictures, regions):
    with VideoReader(video) as reader:
        still = steady(np.concatenate(list(reader.waveform())), times)
    marked = masks.any((1, 2))
    still &= marked[1:] | marked[:-1]
    both = still & marked[1:] & marked[:-1]
    counts = [count for count in regions if count]
    whole, others = (1 - flicker(masks, pictures, pairs) for pairs in (still, both))
    cells = [Path(video).stem, name, f"{np.mean(counts or [0]):.1f} ({max(regions)})", f"{whole:.3f}"]
    cells += [str(still.sum()), str((still & ~both).sum()), f"{others:.3f}"]
    print(f"| {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--model", default="world_duo.real")
    parser.add_argument("--rates", nargs="+", default=["5", "native"])
    parser.add_argument("--smooth", type=float, default=0.4)
    parser.add_argument("--drawn", action="store_true")
    asked = parser.parse_args()
    scorer = load_fast(asked.model)
    print("| video | masks | regions, mean (most) | IoU | steady | appear | others |\n|---|---|--:|--:|--:|--:|--:|")
    for video in asked.videos:
        for text in asked.rates:
            rate = float(text) if text.replace(".", "").isdecimal() else text
            found = made(video, scorer, rate, asked.smooth)
            row(video, f"{text} a second" if text != rate else text, *found)
            if asked.drawn:
                row(
                    video, f"frames of the matte, {text}", *drawn(video, scorer, rate, asked.smooth, found[2].shape[1:])
                )


if __name__ == "__main__":
    main()

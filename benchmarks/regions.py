"""What a picture of regions costs, by its maker.

    uv run python benchmarks/regions.py [--video FILE] [--side 224 384] [--makers superpixels maskrcnn maskrcnn_v2 sam sam2]

Prints Markdown: processor and wall seconds a frame, after one frame that does not count, beside the cheapest maker's in the
same run. Weights are random unless `--weights MAKER=FILE` names some: a backbone costs what it costs with trained ones; the
part after it depends on how much is found, and random weights find less, so Mask R-CNN's figure is a lower bound.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sonomask.media.reader import VideoReader
from sonomask.regions import Maker, MaskRCNN, Sam, Superpixels

VIDEO = Path(__file__).parents[1] / "examples" / "three_things.mp4"
MAKERS = ("superpixels", "maskrcnn", "maskrcnn_v2", "sam", "sam2")


def build(name: str, weights: str | None, folder: Path) -> Maker:
    if name == "superpixels":
        return Superpixels()
    if name.startswith("maskrcnn"):
        return MaskRCNN(weights or random_mask_rcnn(name, folder))
    return Sam(weights or random_sam(name, folder))


def random_mask_rcnn(name: str, folder: Path) -> Path:
    from torchvision.models import detection

    make = detection.maskrcnn_resnet50_fpn_v2 if name.endswith("v2") else detection.maskrcnn_resnet50_fpn
    torch.save(make(weights=None, weights_backbone=None).state_dict(), folder / f"{name}.pth")
    return folder / f"{name}.pth"


def random_sam(name: str, folder: Path) -> Path:
    """SAM with ViT-B, SAM 2 with Hiera-T: the smallest of each, and transformers' defaults."""
    import transformers as t

    model, pictures = (t.SamModel(t.SamConfig()), t.SamImageProcessor()) if name == "sam" else (
        t.Sam2Model(t.Sam2Config()), t.Sam2ImageProcessorFast()
    )  # fmt: skip
    model.save_pretrained(folder / name)
    pictures.save_pretrained(folder / name)
    return folder / name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--video", default=str(VIDEO))
    parser.add_argument("--side", type=int, nargs="+", default=[224, 384], help="COMBO's and VCT's pictures")
    parser.add_argument("--makers", nargs="+", default=MAKERS, choices=MAKERS)
    parser.add_argument("--weights", nargs="*", default=[], help="MAKER=FILE")
    parser.add_argument("--frames", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    named = dict(pair.split("=", 1) for pair in args.weights)
    print(
        f"{platform.machine()} CPU, 1 thread, torch {torch.__version__}, {args.frames} frames of {Path(args.video).name}\n"
    )
    print("| maker | weights | side | processor s a frame | wall s a frame | × |\n|---|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for side in args.side:
            with VideoReader(args.video) as reader:
                frames = [f.image for f, _ in zip(reader.frames(rate=1.0, size=(side, side)), range(args.frames))]
            images, base = np.stack(frames), 0.0
            for name in args.makers:
                maker = build(name, named.get(name), Path(folder))
                maker(images[:1])
                wall, processor = time.perf_counter(), time.process_time()
                maker(images)
                wall, processor = (
                    (time.perf_counter() - wall) / len(images),
                    (time.process_time() - processor) / len(images),
                )
                base = base or processor
                kind = "none" if name == "superpixels" else "given" if name in named else "random"
                print(
                    f"| {name} | {kind} | {side} | {processor:.2f} | {wall:.2f} | {processor / base:.0f} |", flush=True
                )


if __name__ == "__main__":
    main()

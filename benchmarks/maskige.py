"""The cost of a maskige, by its maker.

    uv run python benchmarks/maskige.py [--video FILE] [--side 224 384] [--makers superpixels maskrcnn maskrcnn_v2 sam sam2]

Prints Markdown: processor and wall seconds a frame, after one frame that does not count, beside the cheapest maker's in the
same run. Weights are random unless `--weights MAKER=FILE` names some. An encoder (backbone) and SAM's decoder, which is asked
about 1,024 points whatever the picture, cost what they cost with trained weights. What comes after depends on how much is
found, and random weights find little or nothing, so the whole is then a lower bound, and the picture means nothing.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sonomask.inference.maskige import Maker, MaskRCNN, Sam, Superpixels
from sonomask.media.reader import VideoReader

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


class Stopwatch:
    """Processor seconds inside some modules; one of them holds no other."""

    def __init__(self, *modules: torch.nn.Module) -> None:
        self.spent = self.since = 0.0
        for module in modules:
            module.register_forward_pre_hook(self._start)
            module.register_forward_hook(self._stop)

    def _start(self, *_: object) -> None:
        self.since = time.process_time()

    def _stop(self, *_: object) -> None:
        self.spent += time.process_time() - self.since


def clocks(maker: Maker) -> tuple[Stopwatch, Stopwatch]:
    """Of the encoder, and of the network after it."""
    if isinstance(maker, MaskRCNN):
        return Stopwatch(maker.model.backbone), Stopwatch(maker.model.rpn, maker.model.roi_heads)
    if isinstance(maker, Sam):
        return Stopwatch(maker._find.model.vision_encoder), Stopwatch(maker._find.model.mask_decoder)
    return Stopwatch(), Stopwatch()


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
    print("| maker | weights | side | encoder s | rest of the network s | all, processor s a frame | wall s | × |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for side in args.side:
            with VideoReader(args.video) as reader:
                frames = [f.image for f, _ in zip(reader.frames(rate=1.0, size=(side, side)), range(args.frames))]
            images, base = np.stack(frames), 0.0
            for name in args.makers:
                maker = build(name, named.get(name), Path(folder))
                maker(images[:1])
                parts = clocks(maker)
                wall, processor = time.perf_counter(), time.process_time()
                maker(images)
                processor, wall = time.process_time() - processor, time.perf_counter() - wall
                base = base or processor
                kind = "none" if name == "superpixels" else "given" if name in named else "random"
                cells = [f"{value / len(images):.2f}" for value in (*(c.spent for c in parts), processor, wall)]
                print(f"| {name} | {kind} | {side} | {' | '.join(cells)} | {processor / base:.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""The whole job in one call: `sonomask.segment("clip.mp4")`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import unquote, urlsplit

from torch import nn

from sonomask.checkpoints.folder import load
from sonomask.inference.maskige import Maker, make
from sonomask.inference.segmenter import Rate, Segmenter, choose_device
from sonomask.media.opening import Limits
from sonomask.media.sandbox.reader import open_reader
from sonomask.models.catalog import PRESETS, create_model, list_models
from sonomask.models.optimize import optimize
from sonomask.outputs.formats import Format, paths_of
from sonomask.outputs.write import open_outputs
from sonomask.structures import ModelConfig

__all__ = [
    "DEFAULT_MODEL",
    "Result",
    "Segmenter",
    "check_names",
    "create_model",
    "list_models",
    "load",
    "load_fast",
    "load_regions",
    "output_stem",
    "segment",
]

DEFAULT_MODEL = "avs_lite.real"  # in the package

Progress = Callable[[float, float | None], None]


@dataclass(frozen=True)
class Result:
    """What became of a video.

    Attributes:
        source: Path or address.
        files: What was written, by format.
        frames: How many masks.
        area: Mean share of the picture that is masked, 0 to 1.
        warnings: What could not be read.
        regions: What made the picture of regions, of a model that reads one.
    """

    source: str
    files: dict[Format, Path]
    frames: int
    area: float
    warnings: tuple[str, ...] = ()
    regions: str | None = None


def segment(
    source: str | Path,
    out: str | Path | None = None,
    model: str | Path | nn.Module | None = None,
    *,
    rate: Rate = 5.0,
    threshold: float | None = None,
    min_presence: float = 0.0,
    regions: str | Maker | None = None,
    device: str = "auto",
    formats: Sequence[Format] = ("overlay",),
    overwrite: bool = False,
    sandbox: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Result:
    """Mark the pixels of what sounds in a video, and write the result.

    Args:
        source: Path or address of a video.
        out: Folder; that of the video unless given (the current one for an address). Files are named after the video.
        model: Name or folder for `load`, or a model, which is used as it is; the built-in one unless given.
        rate: Masks per second, "native" or "avsbench", see `Segmenter`. The overlay has every frame in any case, with the
            mask nearest in time.
        threshold: A pixel is masked if its probability is above it; the model's own unless given.
        min_presence: Frames with a lower presence score get an empty mask.
        regions: What makes the picture of regions that COMBO and VCT read: "superpixels" (unless given), "maskrcnn:FILE" or
            "sam:FOLDER", see `sonomask.inference.maskige`.
        device: "auto", "cpu", "cuda" or "mps".
        formats: Any of `sonomask.outputs.formats.FORMATS`, "overlay" (a video), "masks" (PNG), "coco", …; all come from one
            pass of the model.
        overwrite: Replace existing outputs.
        sandbox: Decode in a child process with limits, for files that nobody vouches for (`sonomask.media.sandbox.reader`).
        limits: What the video may cost; by default any length, and pictures up to 67 million pixels.
        progress: Called after each frame with the seconds done and those of the whole, if known.

    Raises:
        MediaError: The video can't be read or has no sound, or an output exists.
        WeightsError: There is no such model.
        ValueError: An argument is out of range.
    """
    paths = paths_of(output_stem(source, out), formats)
    network = model if isinstance(model, nn.Module) else load_fast(model, device)
    maker = load_regions(regions, device) if isinstance(regions, str) else regions
    segmenter = Segmenter(
        network, device=device, rate=rate, threshold=threshold, min_presence=min_presence, regions=maker
    )
    config = segmenter.config
    facts = {
        "source": str(source),
        "model": config.name,
        "rate": rate,
        "threshold": config.threshold if threshold is None else threshold,
    }
    used = None if segmenter.regions is None else segmenter.regions.name
    if used is not None:
        facts["regions"] = used
    frames, area = 0, 0.0
    with open_reader(source, limits, sandbox=sandbox) as reader:
        with open_outputs(reader, paths, facts=facts, classes=class_names(config), overwrite=overwrite) as write:
            for masks in segmenter(reader):
                write(masks)
                frames, area = frames + len(masks), area + float(masks.mask.float().mean((1, 2)).sum())
                if progress is not None:
                    progress(masks.times[-1], reader.info.duration)
        warnings = tuple(dict.fromkeys(reader.warnings))
    return Result(str(source), paths, frames, area / max(frames, 1), warnings, used)


def class_names(config: ModelConfig) -> tuple[str, ...]:
    """Names of a semantic model's classes, background first, by number where it has none; () for a binary one."""
    count = {**PRESETS.get(config.name, {}), **config.options}.get("num_classes", 1)
    return config.classes or (("background", *(f"class {i}" for i in range(1, count))) if count > 1 else ())


def output_stem(source: str | Path, out: str | Path | None = None) -> Path:
    """Where the outputs of a video go, without their suffixes."""
    address = "://" in str(source)
    path = Path(unquote(urlsplit(str(source)).path)) if address else Path(source)
    folder = Path(out) if out is not None else Path() if address else path.parent
    return folder / (path.stem or "video")


def load_fast(
    model: str | Path | None = None, device: str = "auto", backend: Literal["torch", "onnx"] = "torch"
) -> nn.Module:
    """A model by name, folder or `.onnx` file (the built-in one unless given), on its device and fit for inference.

    Args:
        model: A file that ends with `.onnx` is run by onnxruntime in any case.
        device: Of torch; onnxruntime takes the CPU.
        backend: "onnx" exports the model first, which takes some seconds, and runs what came out.

    Raises:
        WeightsError: There is no such model, or it can't be exported.
        ValueError: There is no such device.
        MissingExtraError: onnxruntime is not installed.
    """
    if str(model).endswith(".onnx"):
        from sonomask.export.runtime import load_onnx

        return load_onnx(str(model))
    if backend == "torch":
        return optimize(load(DEFAULT_MODEL if model is None else model, choose_device(device)), in_place=True)
    from sonomask.export.runtime import load_onnx
    from sonomask.export.write import NAMES, export

    with TemporaryDirectory() as folder:
        made = export(load(DEFAULT_MODEL if model is None else model), Path(folder) / "model")
        return load_onnx(made.folder / NAMES["onnx"])


def load_regions(word: str | None, device: str = "auto") -> Maker | None:
    """What makes pictures of regions, by its word (`sonomask.inference.maskige.make`), on its device; None for none.

    Raises:
        ValueError: The word is unknown.
        WeightsError: Its weights can't be read.
        MissingExtraError: It needs an extra.
    """
    return None if word is None else make(word, choose_device(device))


def check_names(sources: Sequence[str | Path], out: str | Path | None = None) -> None:
    """Make sure that the outputs of several videos do not get one name.

    Raises:
        ValueError: Two of them would.
    """
    stems: dict[Path, str | Path] = {}
    for source in sources:
        stem = output_stem(source, out).absolute()
        if stem in stems:
            raise ValueError(f"{stems[stem]} and {source} would both be written as {stem.name}. Give them separately.")
        stems[stem] = source

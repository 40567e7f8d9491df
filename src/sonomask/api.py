"""The whole job in one call: `sonomask.segment("clip.mp4")`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from sonomask.errors import MissingExtraError
from sonomask.inference import loading
from sonomask.inference.journal import Journal
from sonomask.inference.loading import DEFAULT_MODEL, Backend
from sonomask.inference.scorer import Scorer, precision_of
from sonomask.inference.segmenter import Segmenter
from sonomask.media.arrays import check_source, on_disk
from sonomask.media.opening import Limits
from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.reader import open_reader
from sonomask.media.waiting import PictureQueue, fits, noting
from sonomask.outputs.corrected import Corrector, traced
from sonomask.outputs.formats import Format
from sonomask.outputs.names import names_a_file, output_paths, output_stem, output_stems
from sonomask.outputs.write import one_video, open_outputs
from sonomask.request import EDITING, Request
from sonomask.safe_reading.corrections import Corrections, read_corrections
from sonomask.structures import Masks, ModelConfig

if TYPE_CHECKING:
    from sonomask.inference.maskige import Maker

__all__ = [
    "DEFAULT_MODEL",
    "Request",
    "Result",
    "Segmenter",
    "load_fast",
    "load_maker",
    "names_a_file",
    "output_paths",
    "output_stem",
    "output_stems",
    "segment",
    "write_masks",
]

Progress = Callable[[float, float | None], None]


@dataclass(frozen=True)
class Result:
    """The result of segmenting a video.

    Attributes:
        source: Path or address.
        files: Files that were written, by format.
        frames: Number of masks.
        area: Mean share of the picture that is masked, 0 to 1.
        warnings: Warnings about parts of the video that could not be read.
        maskige: Name of what made the second picture, for a model that reads one.
        audio_track: Sound track that was used, such as "2 of 3 (aac, eng)".
    """

    source: str
    files: dict[Format, Path]
    frames: int
    area: float
    warnings: tuple[str, ...] = ()
    maskige: str | None = None
    audio_track: str = "none"


def segment(
    source: str | Path | IO[bytes],
    out: str | Path | None = None,
    model: Any = None,
    request: Request | None = None,
    *,
    formats: Format | Sequence[Format] = ("overlay",),
    overwrite: bool = False,
    labels: bool = False,
    sandbox: bool = False,
    resume: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
    stem: Path | None = None,
    name: str | None = None,
    maker: Maker | None = None,
    corrections: str | Path | Corrections | None = None,
    **options: Any,
) -> Result:
    """Mark the pixels of what sounds in a video, and write the result.

    Args:
        source: Path or address of a video, or a file open for reading bytes.
        out: Folder, or a file name for a single format; if None the folder of the video (the current folder for an address
            or an open file). Files are named after the video; those of an open file "video".
        model: Name, folder or `.onnx` file, or a network or scorer, which is used as it is; the built-in one if None.
        request: Options of the masks; `Request()` if None. The overlay has every frame at any rate, with the mask that is
            nearest in time.
        formats: One or several of `sonomask.outputs.formats.FORMATS`, "overlay" (a video), "masks" (PNG), "coco", …; all
            come from one pass of the model.
        overwrite: Replace existing outputs.
        labels: Whether the overlay shows the names of what sounds.
        sandbox: Decode in a child process with limits, for files from strangers (`sonomask.media.sandbox.reader`).
        resume: Keep the model's output in a folder beside the results ("talk.resume"; about 0.13 GB for a thousand masks
            of the built-in model) until they are complete, and continue from what a killed run has left there. Results
            that exist already are skipped. The results have the same bytes as without.
        limits: Limits on the video; by default any length, and pictures up to 67 million pixels.
        progress: Function called after each frame with the seconds done and those of the whole, if known.
        stem: Path of the outputs without their suffixes, as `output_stems` gives it for several videos.
        name: Name of the video in manifests and in the result; the source if None.
        maker: Maker of the second picture that COMBO and VCT read, instead of `request.maskige`.
        corrections: A person's corrections of this video's masks, or the path of their file (`sonomask.read_corrections`);
            every format follows them. If a thing has no trail yet, the video is read once before, to find where it is.
        **options: Fields of `Request`, such as `rate=1.0`, in place of those of `request`.

    Raises:
        MediaError: The video can't be read or has no sound, or an output exists.
        WeightsError: There is no such model.
        ValueError: An argument is out of range.
        TypeError: `Request` has no such field.
    """
    if not isinstance(source, str | Path) and hasattr(source, "read"):
        if resume:
            raise ValueError(
                "`resume`: expected the path of a video, got an open file, which may be another the next time."
            )
        with on_disk(source) as path:
            return segment(
                path, out or Path(), model, request, formats=formats, labels=labels, overwrite=overwrite, sandbox=sandbox,
                limits=limits, progress=progress, maker=maker, corrections=corrections, **options,
            )  # fmt: skip
    source = check_source(source)
    paths = output_paths(source, out, [formats] if isinstance(formats, str) else formats, stem=stem)
    named = out is not None and names_a_file(out)
    place = Path(out or "").expanduser().with_suffix("") if named else stem or output_stem(source, out)
    if resume and not overwrite:
        there = {form: path for form, path in paths.items() if path.exists()}
        if len(there) == len(paths):
            return Result(name or str(source), {}, 0, 0.0, (f"{', '.join(map(str, there.values()))}: there already.",))
        paths = {form: path for form, path in paths.items() if form not in there}
    asked = replace(request or Request(), **options)
    if resume and asked.rate == "auto":
        raise ValueError("`resume`: the rate 'auto' may differ from run to run. Give a number.")
    if isinstance(corrections, str | Path):
        corrections = read_corrections(corrections)
    segmenter = Segmenter(model, asked, maker=maker)
    with (
        open_reader(source, limits, sandbox=sandbox, **segmenter.request.part) as reader,
        journal_of(source, place, segmenter) if resume else nullcontext() as journal,
    ):
        return write_masks(
            segmenter,
            reader,
            paths,
            overwrite=overwrite,
            labels=labels,
            progress=progress,
            source=name,
            journal=journal,
            corrections=corrections,
        )


def journal_of(source: str | Path, stem: Path, segmenter: Segmenter) -> Journal:
    """Return the journal of a run: the folder in which the model's output for a video is kept.

    Args:
        source: Path of the video.
        stem: Path of the outputs without their suffixes, beside which the journal's folder is.
        segmenter: Model and request, which a later run must share.

    Raises:
        ValueError: The source is no file, or it is not known which weights the model has.
    """
    if not Path(source).is_file():
        raise ValueError(f"`resume`: {source} is no file, so it may be another one the next time. Save it first.")
    if not segmenter.origin.weights:
        raise ValueError(
            f"`resume`: it can't be told whether {segmenter.origin.name} has the same weights the next time. Give the name or "
            "folder of a model."
        )
    facts = Path(source).stat()
    asked = asdict(segmenter.request)
    about = {"size": facts.st_size, "changed": facts.st_mtime_ns, **segmenter.origin.facts, "request": asked}
    maker = None if segmenter.maker is None else segmenter.maker.name
    engine = {"device": segmenter.scorer.device, "precision": precision_of(segmenter.scorer), "maskige": maker}
    return Journal(stem.with_name(f"{stem.name}.resume"), {"source": Path(source).name, **about, **engine})


def write_masks(
    segmenter: Segmenter,
    reader: VideoReader,
    paths: Mapping[Format, Path],
    *,
    source: str | None = None,
    sinks: Sequence[Callable[[Masks], None]] = (),
    overwrite: bool = False,
    labels: bool = False,
    progress: Progress | None = None,
    journal: Journal | None = None,
    corrections: Corrections | None = None,
) -> Result:
    """Run the one loop from an open video through a model to its outputs.

    Args:
        segmenter: Model and request.
        reader: The video.
        paths: Path of each format, from `paths_of`.
        source: Name of the video in manifests and in the result; that of the reader if None.
        sinks: Functions called with the masks of each frame, after the outputs.
        overwrite: Replace existing outputs.
        labels: Whether the overlay shows the names of what sounds.
        progress: Function called after each frame with the seconds done and those of the whole, if known.
        journal: Journal of the maps, which a later run can continue from; None for none.
        corrections: Corrections of the masks of this video; None for none.

    Raises:
        MediaError: The video can't be read or has no sound, an output exists, or the corrections are of another video.
        WeightsError: The model gives something that isn't a number.
    """
    name = reader.info.source if source is None else source
    facts = {"source": name, **manifest_facts(segmenter), **reader.info.facts}
    corrector = None
    if corrections is not None:
        corrector = Corrector(_traced(corrections, segmenter, reader, name), reader.info.start)
        facts["corrections"] = len(corrections)
    frames, area = 0, 0.0
    classes = class_names(segmenter.config)
    waiting = PictureQueue() if one_video(paths) and fits(reader, segmenter.in_flight) else None
    seen = reader if waiting is None else noting(reader, waiting.add)
    with (
        open_outputs(
            reader,
            paths,
            facts=facts,
            classes=classes,
            things=segmenter.config.things,
            overwrite=overwrite,
            labels=labels,
            feather=segmenter.request.feather,
            waiting=waiting,
        ) as write,
        closing(segmenter.overlapped(seen, journal)) as stream,
    ):
        for edited in stream:
            masks = edited if corrector is None else corrector(edited)
            for sink in (write, *sinks):
                sink(masks)
            marked = masks.mask
            frames, area = frames + len(masks), area + np.count_nonzero(marked) / marked[0].size
            if progress is not None:
                progress(masks.times[-1], reader.info.duration)
    warnings = tuple(text.replace(reader.info.source, name) for text in dict.fromkeys(reader.warnings))
    if corrector is not None:
        warnings += tuple(f"{name}: {text}" for text in corrector.notes())
    maker = None if segmenter.maker is None else segmenter.maker.name
    return Result(name, dict(paths), frames, area / max(frames, 1), warnings, maker, reader.info.audio_track)


def _traced(corrections: Corrections, segmenter: Segmenter, reader: VideoReader, name: str) -> Corrections:
    """Corrections of this very video, with the trails of all things."""
    info = reader.info
    length = None if info.duration is None or segmenter.request.end is not None else info.start + info.duration
    corrections.check_video(length, info.width, info.height, name=name)
    if all(item.trail or item.kind not in ("only", "never") for item in corrections.items):
        return corrections
    with closing(segmenter.overlapped(reader)) as stream:
        return traced(corrections, stream, info.start)


def manifest_facts(segmenter: Segmenter) -> dict[str, Any]:
    """Facts about how the masks were made, for manifests."""
    facts: dict[str, Any] = {
        **segmenter.origin.facts,
        "rate": segmenter.request.rate,
        "threshold": segmenter.threshold,
        "precision": precision_of(segmenter.scorer),
        **({"licence": segmenter.config.licence} if segmenter.config.licence else {}),
        **{name: getattr(segmenter.request, name) for name in EDITING},
    }
    request = segmenter.request
    asked = {"only": request.only, "not": request.without, "prompt": request.prompt}
    facts |= {name: list(words) for name, words in asked.items() if words}
    return facts if segmenter.maker is None else {**facts, "maskige": segmenter.maker.name}


def class_names(config: ModelConfig) -> tuple[str, ...]:
    """Names of a semantic model's classes, background first, by number where it has none; () for a binary one."""
    return config.class_names


def load_fast(model: str | Path | None = None, device: str = "auto", backend: Backend = "auto") -> Scorer:
    """`inference.loading.load_fast`, which for the backend "onnx" exports a model without a graph first, in some seconds.

    Raises:
        WeightsError: There is no such model, or it can't be exported.
        ValueError: There is no such device.
        MissingExtraError: The engine is not installed.
    """
    source = str(DEFAULT_MODEL if model is None else model)
    if backend != "onnx" or source.endswith(".onnx") or loading.graph_of(source) is not None:
        return loading.load_fast(source, device, backend)
    try:
        from sonomask.checkpoints.folder import load
        from sonomask.export.write import NAMES, export
    except ModuleNotFoundError as error:
        raise MissingExtraError("Export to ONNX", "torch") from error
    with TemporaryDirectory() as folder:
        return loading.load_onnx(export(load(source), Path(folder) / "model").folder / NAMES["onnx"])


def load_maker(word: str | None, device: str = "auto") -> Maker | None:
    """Load the maker of the second picture of COMBO and VCT by its name (`sonomask.inference.maskige.make`); None for none.

    Raises:
        ValueError: The word is unknown.
        WeightsError: Its weights can't be read.
        MissingExtraError: It needs an extra.
    """
    if word is None:
        return None
    from sonomask.inference.maskige import make
    from sonomask.inference.torch_scorer import choose_device

    return make(word, choose_device(device))

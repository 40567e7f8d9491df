"""The options of masks: one set of names, defaults and checks for the command line, the server and Python."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

__all__ = [
    "DEFAULT",
    "EDITING",
    "FOR_CORPORA",
    "FOR_STREAMS",
    "MAX_RATE",
    "Precision",
    "Rate",
    "Request",
    "check_rate",
    "parse_time",
]

Precision: TypeAlias = Literal["auto", "float32", "tf32", "bf16", "int8"]
Rate: TypeAlias = float | Literal["native", "avsbench", "auto"]

EDITING = (
    "smooth",
    "min_area",
    "hold",
    "expand",
    "feather",
)  # fields for what is done to a model's masks, alike everywhere
MAX_RATE = 1000.0  # masks per second
MOST_SMOOTH = MOST_HOLD = 10.0  # seconds
MOST_PIXELS = 500


@dataclass(frozen=True)
class Request:
    """Options for the masks of one video, stream or corpus.

    `segment`, `live`, `batch`, the server and `Segmenter` accept a `Request`, or its fields as keyword arguments. A new
    field needs a check in `__post_init__` and a line in the tests; the command line picks up its help text by itself.

    Attributes:
        rate: Masks per second; "native" for every frame; "avsbench" for one per second, with frame and sound chosen as in
            that data set; "auto" for as many as this machine makes in real time (`inference.pace`), up to 30. Below 1 the
            model still sees every second, and some masks are left out.
        threshold: Probability above which a pixel is masked; the model's own if None. A semantic model labels each pixel
            with its best class; if a threshold is given, pixels that are not above it become background.
        min_presence: Presence score (`sonomask.inference.presence`) below which a frame gets an empty mask, 0 to 1.
        smooth: Seconds over which masks are smoothed against flicker (`sonomask.inference.smoothing`), up to 10; 0 for no
            smoothing. Masks more than twice as far apart are not smoothed, nor are those at the rate "avsbench".
        device: "auto" for the best one available, "cpu", "cuda", "cuda:1", "mps"; with ONNX Runtime also "coreml" and
            "directml".
        precision: Number format of matrix products: "float32"; "tf32", which keeps 10 of 23 bits, on CUDA; "bf16", which
            keeps 7; "int8", 8-bit integers on a processor, for models that come with such a graph: a third faster, with
            slightly other masks; "auto" for float32, or TF32 on CUDA if it was measured to give the same masks. A stream takes
            what is quickest on this machine for "auto". Manifests record it.
        cuda_graphs: Record the model once for each input shape and replay it, on CUDA. This reduces launch overhead with
            small batches. A model that can't be recorded runs normally, with a warning.
        batch_size: Number of clips that go through the model together; halved, with a warning, if memory is too small.
        maskige: Method that makes the second picture for COMBO and VCT (`sonomask.inference.maskige`): "superpixels",
            "maskrcnn:FILE" or "sam:FOLDER"; superpixels if None.
        only: Names of things or sounds, such as "dog" or "speech"; nothing else is marked. Everything if empty.
        without: Names of things or sounds that are not marked.
        attention: Compute an attention map for each frame (`sonomask.inference.attention`), at the model's size.
        hwaccel: Hardware decoder by FFmpeg's name: "cuda", "vaapi", "qsv", "videotoolbox", "d3d11va". The processor decodes
            if None, and also, with a warning, if the hardware decoder does not start.
        start: Position in the video at which to begin: seconds, or text such as "1:02:03.5"; stored as seconds. Times of
            masks count from there; times in result files count from the beginning of the video.
        end: Position in the video at which to stop; the end of the video if None.
        audio_track: Sound track to listen to: a number from 1, a language or title, or "mix" for all tracks; if None the
            container's default track, or the first that is not silent.

        min_area: Share of the picture below which a connected region of a mask is left out of results, 0 to 1, with
            those of less than a twentieth of the frame's largest; 0 keeps all.
        hold: Seconds, up to 10, for which the last mask stays where nothing is marked, so that pauses don't make it blink;
            not for a corpus, whose frames may be finished in several processes.
        expand: Pixels by which masks grow, up to 500; those of a model with classes don't.
        feather: Pixels over which the edge of cut-outs, transparency and mattes is soft, 0 to 500; if None a 240th of the
            picture's shorter side, and none for mattes. Tables of a corpus have no soft edges.

    Raises:
        ValueError: A value is out of range.
    """

    rate: Rate = field(
        default=5.0,
        metadata={
            "help": "masks per second, 'native' for each frame, 'auto' for as many as this machine makes in real time"
        },
    )
    threshold: float | None = field(
        default=None, metadata={"help": "probability above which a pixel is masked; the model's own unless given"}
    )
    min_presence: float = field(
        default=0.0, metadata={"help": "empty masks where the calibrated presence score is lower, 0 to 1"}
    )
    smooth: float = field(
        default=0.4, metadata={"help": "seconds over which masks are smoothed against flicker; 0 for no smoothing"}
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or mps"})
    precision: Precision = field(
        default="auto",
        metadata={
            "help": "number format of products: int8 is quicker on a CPU, with slightly other masks; tf32 and bf16 are for CUDA"
        },
    )
    cuda_graphs: bool = field(
        default=False, metadata={"help": "on CUDA: record the model once and replay it; faster with small batches"}
    )
    batch_size: int = field(default=4, metadata={"help": "clips that go through the model together"})
    maskige: str | None = field(
        default=None, metadata={"help": "second picture for COMBO and VCT: superpixels, maskrcnn:FILE or sam:FOLDER"}
    )
    only: tuple[str, ...] = field(
        default=(),
        metadata={"help": "mark only things or sounds with these names, such as dog or speech", "metavar": "NAME"},
    )
    without: tuple[str, ...] = field(
        default=(), metadata={"help": "don't mark things or sounds with these names", "flag": "not", "metavar": "NAME"}
    )
    prompt: tuple[str, ...] = field(
        default=(), metadata={"help": "free words for things to mark while they are heard; only for the model open"}
    )
    attention: bool = field(default=False, metadata={"help": "compute an attention map for each frame"})
    hwaccel: str | None = field(
        default=None,
        metadata={"help": "hardware decoder: cuda, vaapi, videotoolbox, …; the processor unless given"},
    )
    start: float | str = field(default=0.0, metadata={"help": "where to begin in the video: seconds or h:mm:ss"})
    end: float | str | None = field(default=None, metadata={"help": "where to end in the video: seconds or h:mm:ss"})
    audio_track: int | str | None = field(
        default=None,
        metadata={"help": "sound track to listen to: number from 1, language, or 'mix'; the default one unless given"},
    )

    min_area: float = field(
        default=0.0005,
        metadata={
            "help": "leave out connected regions with a smaller share of the picture; 0 to keep all",
            "metavar": "SHARE",
        },
    )
    hold: float = field(
        default=0.0,
        metadata={"help": "seconds for which the last mask stays while nothing is marked", "metavar": "SECONDS"},
    )
    expand: int = field(
        default=0, metadata={"help": "pixels by which masks grow; less than 0 to shrink them", "metavar": "PIXELS"}
    )
    feather: float | None = field(
        default=None,
        metadata={
            "help": "pixels over which the edge of videos is soft; by the size of the picture unless given",
            "metavar": "PIXELS",
        },
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", parse_time(self.start, "start"))
        object.__setattr__(self, "end", None if self.end is None else parse_time(self.end, "end"))
        if self.end is not None and self.end <= self.start:  # type: ignore[operator]
            raise ValueError(f"`end`: expected more than the start ({self.start:g} s), got {self.end:g} s.")
        if self.rate != "auto":
            check_rate(self.rate)
        _check_share("threshold", self.threshold)
        _check_share("min_presence", self.min_presence)
        if not 0 <= self.smooth <= MOST_SMOOTH:
            raise ValueError(f"`smooth`: expected 0 to {MOST_SMOOTH:g} seconds, got {self.smooth}.")
        for name in ("only", "without", "prompt"):
            words = getattr(self, name)
            if isinstance(words, str) or not all(isinstance(word, str) and word for word in words):
                raise ValueError(f"`{name}`: expected several names, such as ('dog', 'speech'), got {words!r}.")
            object.__setattr__(self, name, tuple(words))
        if self.precision not in get_args(Precision):
            raise ValueError(f"`precision`: expected {', '.join(get_args(Precision))}, got {self.precision!r}.")
        _check_share("min_area", self.min_area)
        for name, most in (("hold", MOST_HOLD), ("feather", MOST_PIXELS), ("expand", MOST_PIXELS)):
            value = getattr(self, name)
            if value is not None and not (-most if name == "expand" else 0) <= value <= most:
                raise ValueError(f"`{name}`: expected {-most if name == 'expand' else 0} to {most:g}, got {value}.")
        if self.batch_size < 1:
            raise ValueError(f"`batch_size`: expected 1 or more, got {self.batch_size}.")

    @property
    def steadied(self) -> bool:
        """Whether a mask depends on earlier ones, up to `smooth` seconds before."""
        if isinstance(self.rate, str):
            return self.smooth > 0 and self.rate != "avsbench"
        return 1 / max(1.0, self.rate) <= 2 * self.smooth

    @property
    def part(self) -> dict[str, Any]:
        """The options for a reader: `start`, `end`, `audio_track` and `hwaccel`."""
        return {name: getattr(self, name) for name in ("start", "end", "audio_track", "hwaccel")}

    def mask_settings(self) -> dict[str, Any]:
        """The fields that the masks depend on: all but the device and how the model is launched there."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("device", "cuda_graphs")}


def check_rate(rate: Any, most: float = MAX_RATE) -> None:
    """Check a rate.

    Raises:
        ValueError: It is neither a word for one nor a number above 0 and up to `most`.
    """
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not (0 < rate <= most if number else rate in ("native", "avsbench")):
        raise ValueError(f"`rate`: expected 'native', 'avsbench' or masks per second up to {most:g}, got {rate!r}.")


def parse_time(text: float | str, name: str = "time") -> float:
    """Seconds of a time in a video.

    Args:
        text: Seconds, or text in the form of seconds, m:ss or h:mm:ss, with a fraction or without.
        name: Name for the message.

    Raises:
        ValueError: It is none of these, or negative.
    """
    parts = str(text).strip().split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    whole = all(part.isdecimal() for part in parts[:-1]) and all(n < 60 for n in numbers[1:])
    if not 1 <= len(numbers) <= 3 or not whole or not 0 <= numbers[-1] < math.inf or isinstance(text, bool):
        raise ValueError(f"`{name}`: expected seconds, m:ss or h:mm:ss from 0 on, got {text!r}.")
    return sum(n * 60**i for i, n in enumerate(reversed(numbers)))


def _check_share(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"`{name}`: expected 0 to 1, got {value}.")


DEFAULT = Request()
FOR_CORPORA = Request(rate=1.0)  # many videos rather than smooth motion
FOR_STREAMS = Request(rate=30.0)  # an upper bound: pictures that the model has no time for are left out

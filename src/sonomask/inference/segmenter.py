"""A video of any length in, masks out, one frame at a time.

A video is cut into windows of T seconds (`inputs`), whose clips (`clips`) go through the model in batches (`scorer`); the maps
that come back become masks at the video's size (`finish`). Only a window is in memory, at the model's size.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from sonomask.errors import MediaError, WeightsError
from sonomask.inference.clips import by_phase, clips_of, fresh, wanted
from sonomask.inference.editing import MaskEditor
from sonomask.inference.finish import Maps, finish, reduce
from sonomask.inference.inputs import cut, pictures, sound_of, window_seconds
from sonomask.inference.journal import Journal
from sonomask.inference.loading import load_fast
from sonomask.inference.naming import check_words
from sonomask.inference.pace import real_time_rate
from sonomask.inference.scorer import Scored, Waveform, as_asked, origin_of
from sonomask.inference.smoothing import Smoother, smoothed
from sonomask.media.arrays import check_source, on_disk
from sonomask.media.reader import VideoReader
from sonomask.media.windows import Window
from sonomask.request import Request
from sonomask.structures import Masks, ModelConfig, ModelOrigin
from sonomask.threads import ahead

if TYPE_CHECKING:
    from sonomask.inference.maskige import Maker

__all__ = ["Segmenter", "Stream", "check_request", "finished"]

WINDOWS, MASKS = 1, 2  # that may wait between two stages
TOGETHER = 4  # frames that go through a recurrent model at once

logger = logging.getLogger(__name__)


@dataclass
class Stream:
    """The state of one video from window to window.

    Attributes:
        smoother: Steadies its masks.
        past: Past of a recurrent model (`Scored.past`).
        journal: Journal of the model's maps; None for none.
    """

    smoother: Smoother
    past: np.ndarray | None = None
    journal: Journal | None = None


class Segmenter:
    """Marks what sounds in videos.

    Args:
        model: Name of a built-in model, folder or `.onnx` file; the default model if None. Or a network in the interface of
            `docs/design.md`, which is moved to the device and put in eval mode, or a `scorer.Scorer`.
        request: Options of the masks; `Request()` if None.
        maker: What makes the second picture that some models read (`sonomask.inference.maskige`); made from
            `request.maskige` if None.
        **options: Fields of `Request`, such as `rate=1.0`, in place of those of `request`.

    Raises:
        ValueError: A value is out of range, the model has no presence score to be gated by, or there is no such device
            here.
        TypeError: `Request` has no such field.
    """

    def __init__(
        self, model: Any = None, request: Request | None = None, *, maker: Maker | None = None, **options: Any
    ) -> None:
        self.request = replace(request or Request(), **options)
        self.batch_size = self.request.batch_size
        if isinstance(model, str | Path | None):
            model = load_fast(model, self.request.device)
        self.scorer = as_asked(model, self.request)
        self.config: ModelConfig = self.scorer.config
        self.together = getattr(self.scorer, "together", TOGETHER)
        check_request(self.request, self.config)
        if self.request.rate == "auto":
            self.request = replace(self.request, rate=real_time_rate(self.scorer))
        if maker is not None and not self.config.maskige:
            raise ValueError(f"`maskige`: the model {self.config.name} reads no maskige. Leave it out.")
        if self.config.maskige and maker is None:
            from sonomask.inference.maskige import make

            maker = make(self.request.maskige or "superpixels", self.scorer.device)
        self.maker = maker

    @property
    def origin(self) -> ModelOrigin:
        """The model's origin."""
        return origin_of(self.scorer)

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is masked."""
        return self.config.threshold if self.request.threshold is None else self.request.threshold

    def __call__(self, source: str | Path | IO[bytes] | VideoReader) -> Iterator[Masks]:
        """Masks of a video in order, one frame in each.

        Args:
            source: Path, address, file open for reading bytes, or a reader (also that of `from_arrays`), whose `warnings` then
                tell what could not be read (else they are logged).

        Raises:
            MediaError: The video can't be read, or has no sound and the model listens.
            WeightsError: The model gives something that isn't a number.
        """
        if isinstance(source, VideoReader):
            return (yield from self._masks(source))
        if not isinstance(source, str | Path) and hasattr(source, "read"):
            with on_disk(source) as path:
                return (yield from self(path))
        with VideoReader(check_source(source), **self.request.part) as reader:
            yield from self._masks(reader)
            for warning in dict.fromkeys(reader.warnings):
                logger.warning(warning)

    def stream(self, source: str | Path | IO[bytes] | VideoReader, seconds: float = 1.0) -> Iterator[Masks]:
        """The same frames and values as a call gives, in pieces of this many seconds; memory grows only with the piece.

        Raises:
            ValueError: `seconds` is not positive.
        """
        if not seconds > 0:
            raise ValueError(f"`seconds`: expected more than 0, got {seconds}.")
        for _, group in groupby(self(source), key=lambda masks: math.floor(masks.times[0] / seconds)):
            yield _join(list(group))

    @property
    def in_flight(self) -> float:
        """Seconds of video that are between the decoder and the last stage of `overlapped`, at most."""
        return (WINDOWS + 3) * window_seconds(self.config)

    def overlapped(self, reader: VideoReader, journal: Journal | None = None) -> Generator[Masks, None, None]:
        """Like a call, but with decoding, model and finishing in separate threads, one window ahead of one another.

        Close it if you leave it early. A guarded reader is not overlapped, since only one thread may talk to its process.

        Args:
            reader: Reader of the video.
            journal: Journal of the maps, which a later run can continue from; None for none.
        """
        if reader.guarded:
            yield from self._masks(reader, journal)
            return
        with closing(ahead(self._masks(reader, journal, overlap=True), MASKS)) as masks:
            yield from masks

    def _masks(self, reader: VideoReader, journal: Journal | None = None, *, overlap: bool = False) -> Iterator[Masks]:
        size, stream = (reader.info.height, reader.info.width), self.new_stream()
        stream.journal = journal
        windows = cut(reader, self.config, self.request)
        with closing(ahead(windows, WINDOWS) if overlap else windows) as seen:
            yield from map(MaskEditor(self.request), map(self.select, self._marked(seen, reader, size, stream)))

    def select(self, masks: Masks) -> Masks:
        """The masks that are wanted of a frame, before they are edited; all here."""
        return masks

    def _marked(
        self, windows: Iterable[Window], reader: VideoReader, size: tuple[int, int], stream: Stream
    ) -> Iterator[Masks]:
        for window in windows:
            maps = self.maps(window, reader.info.source, stream)
            yield from finished(window, maps, size, self.config, self.request)

    def maps(self, window: Window, source: str, stream: Stream | None = None) -> list[list[Maps]]:
        """The model's stage: maps at its size, by phase and second.

        Args:
            window: Window of the video; all of them are given, in order.
            source: Name of the video, for errors.
            stream: Stream of the video, from `new_stream`, changed by the call; None for one window alone.

        Raises:
            MediaError: The sound holds something that isn't a number.
            WeightsError: The model gives something that isn't a number.
        """
        stream = stream or self.new_stream()
        return smoothed(stream.smoother, window, self._kept(window, source, stream))

    def new_stream(self) -> Stream:
        """Create the state of a video for `maps`."""
        return Stream(Smoother(self.request.smooth if self.request.steadied else 0.0))

    def _kept(self, window: Window, source: str, stream: Stream) -> list[list[Maps]]:
        """Maps of a window from the journal, or from the model."""
        if stream.journal is None:
            return self._scored(window, source, stream)
        kept = stream.journal.next()
        if kept is None:
            maps = self._scored(window, source, stream)
            stream.journal.append(maps, stream.past)
            return maps
        maps, stream.past = kept
        return maps

    def _scored(self, window: Window, source: str, stream: Stream) -> list[list[Maps]]:
        dense = self.config.dense
        clips = clips_of(window, dense=dense)
        sound = sound_of(window, clips, self.config, self.request, source)
        if self.config.recurrent:
            return by_phase(self._go_on(pictures(clips), sound, source, window, stream), window)
        found: list[list[Maps]] = []
        start = 0
        while start < len(clips):
            batch = slice(start, start + self._room())
            images = pictures(clips[batch])
            try:
                scored = self._run(images, None if sound is None else sound[batch])
            except MemoryError as error:
                self.batch_size = self._less(error, len(images), "clip", source)
                continue
            start = batch.stop
            self._check_finite(scored.logits, source, window.first)
            clips_now, seconds = scored.logits.shape[:2]
            found += [[reduce(scored, i, t) for t in range(seconds)] for i in range(clips_now)]
        return by_phase(found[0], window) if dense else found

    def _run(self, images: np.ndarray, sound: np.ndarray | None) -> Scored:
        made = None
        if self.maker is not None:
            made = self.maker(images.reshape(-1, *images.shape[2:])).reshape(images.shape)
        return self.scorer(images, sound, made, attention=self.request.attention)

    def _go_on(
        self, images: np.ndarray, sound: np.ndarray | None, source: str, window: Window, stream: Stream
    ) -> list[Maps]:
        """Maps of consecutive frames of a video, a few at a time, by a recurrent model."""
        found: list[Maps] = []
        start = 0
        times = tuple(frame.time for second in window.frames for frame in second)
        while start < images.shape[1]:
            part = slice(start, start + self.together)
            more: dict[str, Any] = {}
            if getattr(self.scorer, "wants_waveform", False) and window.waveform is not None:
                more = {"waveform": Waveform(window.waveform, window.waveform_start, times[part])}
            try:
                scored = self.scorer(
                    images[:, part], None if sound is None else sound[:, part], past=stream.past, **more
                )
            except MemoryError as error:
                self.together = self._less(error, images[:, part].shape[1], "frame", source)
                continue
            start, stream.past = part.stop, scored.past
            self._check_finite(scored.logits, source, window.first)
            found += [reduce(scored, 0, t) for t in range(scored.logits.shape[1])]
        return found

    def _check_finite(self, logits: np.ndarray, source: str, second: int) -> None:
        if not np.isfinite(logits).all():
            raise WeightsError(
                f"{source}: the model {self.config.name} gives NaN or infinity in the {self.config.clip_length} s "
                f"from {second} s on. Its weights are damaged, or too large for its precision."
            )

    def _room(self) -> int:
        """Number of clips per batch: as requested, if the device has room for them."""
        room = getattr(self.scorer, "room", lambda: None)()
        return self.batch_size if room is None else min(self.batch_size, room)

    def _less(self, error: MemoryError, count: int, what: str, source: str) -> int:
        """Half as many clips or frames, where memory was too small for so many.

        Raises:
            MediaError: There was one only.
        """
        if count == 1:
            raise MediaError(
                f"{source}: the memory of {self.scorer.device} is too small for one {what} of the model "
                f"{self.config.name}. Use a smaller model, or --device cpu."
            ) from error
        device, less = self.scorer.device, count // 2
        logger.warning("%s: too little memory for %d %ss at once; goes on with %d.", device, count, what, less)
        return less


def check_request(request: Request, config: ModelConfig) -> None:
    """Check that a model supports the options of a request.

    Raises:
        ValueError: It has no presence score to be gated by, reads no second picture, or has classes, which don't grow.
    """
    if request.min_presence and config.presence is None:
        raise ValueError(f"`min_presence`: the model {config.name} has no calibrated presence score. Leave it out.")
    if request.maskige is not None and not config.maskige:
        raise ValueError(f"`maskige`: the model {config.name} reads no maskige. Leave it out.")
    if request.expand and config.semantic:
        raise ValueError(f"`expand`: the model {config.name} has classes, whose masks don't grow. Leave it out.")
    check_words([*request.only, *request.without], config)


def finished(
    window: Window, maps: Sequence[Sequence[Maps]], size: tuple[int, int], config: ModelConfig, request: Request
) -> Iterator[Masks]:
    """The last stage: masks of a window's new seconds at the video's size. Of the frames it needs the times only."""
    for second in fresh(window):
        final = window.final and second == len(window.frames) - window.repeated - 1
        if wanted(window.first + second, request.rate, final=final):
            for phase, frame in enumerate(window.frames[second]):
                image = frame.image if frame.image.size else None
                yield finish(frame.time, maps[phase][second], size, config, request, image)


def _join(pieces: Sequence[Masks]) -> Masks:
    def joined(name: str) -> Any:
        found = [getattr(piece, name) for piece in pieces if getattr(piece, name) is not None]
        return np.concatenate(found) if found else None

    return Masks(
        tuple(time for piece in pieces for time in piece.times),
        np.concatenate([piece.probability for piece in pieces]),
        pieces[0].threshold,
        joined("labels"),
        tuple(p for piece in pieces for p in piece.presence or ()) or None,
        joined("attention"),
        tuple(names for piece in pieces for names in piece.names or ()) or None,
        *map(joined, ("pictures", "colours", "ids")),
    )

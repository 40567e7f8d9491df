"""A video of any length in, masks out, one frame at a time.

The model knows clips of T seconds with one frame from each. A video is cut into windows of T seconds; at more frames per
second, *phase* j is the clip of each second's frame j, so that the frames of every clip stay 1 s apart:

    second        0         1         2
    frames        a b c     d e f     g h i
    phase 0       a         d         g
    phase 1         b         e         h

The phases of a window go through the model in batches. Only a window is in memory, at the model's size; frames are brought
to the video's size one by one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sonomask.audio.logmel import PATCH_SECONDS, Align, patches_at
from sonomask.errors import MediaError, WeightsError
from sonomask.inference.attention import Watch
from sonomask.inference.maskige import Maker, make
from sonomask.inference.presence import presence
from sonomask.media.reader import Frame, VideoReader
from sonomask.media.windows import Window, windows
from sonomask.request import Rate, Request
from sonomask.structures import Masks, ModelConfig

__all__ = ["Segmenter", "Stream", "choose_device"]

Scores: TypeAlias = tuple[Tensor, Tensor | None, Tensor | None]
"""Maps; of a semantic model the classes that they belong to; the attention map if it was asked for and there is one."""

TOGETHER = 4  # frames that go through a recurrent model at once

logger = logging.getLogger(__name__)


@dataclass
class Stream:
    """What a recurrent model remembers of one video from window to window (`Output.past`)."""

    past: Tensor | None = None


class Segmenter:
    """Marks what sounds in videos.

    Args:
        model: In the interface of `docs/design.md`, with its `config`; moved to the device and put in eval mode.
        request: What is asked; `Request()` if None.
        maker: What makes the second picture that some models read (`sonomask.inference.maskige`); made from
            `request.maskige` if None.
        config: That of the model if None; for a process that has only the config and runs the first or third stage.
        **options: Fields of `Request`, such as `rate=1.0`, in place of those of `request`.

    Raises:
        ValueError: A value is out of range, the model has no presence score to be gated by, or there is no such device
            here.
        TypeError: `Request` has no such field.
    """

    def __init__(
        self,
        model: nn.Module,
        request: Request | None = None,
        *,
        maker: Maker | None = None,
        config: ModelConfig | None = None,
        **options: Any,
    ) -> None:
        request = replace(request or Request(), **options)
        self.request, self.batch_size = request, request.batch_size
        self.device = choose_device(request.device)
        self.model = model.to(self.device).eval()
        self.config: ModelConfig = config or model.config  # type: ignore[assignment]
        if request.min_presence and self.config.presence is None:
            raise ValueError(
                f"`min_presence`: the model {self.config.name} has no calibrated presence score. Leave it out."
            )
        if (maker is not None or request.maskige is not None) and not self.config.maskige:
            raise ValueError(f"`maskige`: the model {self.config.name} reads no second picture. Leave it out.")
        if self.config.maskige and maker is None:
            maker = make(request.maskige or "superpixels", self.device)
        self.maker = maker

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is masked."""
        return self.config.threshold if self.request.threshold is None else self.request.threshold

    def __call__(self, source: str | Path | VideoReader) -> Iterator[Masks]:
        """Masks of a video in order, one frame in each.

        Args:
            source: Path, address, or a reader, whose `warnings` then tell what could not be read (else they are logged).

        Raises:
            MediaError: The video can't be read, or has no sound and the model listens.
            WeightsError: The model gives something that isn't a number.
        """
        if isinstance(source, VideoReader):
            return (yield from self._masks(source))
        with VideoReader(source) as reader:
            yield from self._masks(reader)
            for warning in dict.fromkeys(reader.warnings):
                logger.warning(warning)

    def stream(self, source: str | Path | VideoReader, seconds: float = 1.0) -> Iterator[Masks]:
        """The same frames and values as of a call, in pieces of so many seconds; memory grows with the piece alone.

        Raises:
            ValueError: `seconds` is not positive.
        """
        if not seconds > 0:
            raise ValueError(f"`seconds`: expected more than 0, got {seconds}.")
        for _, group in groupby(self(source), key=lambda masks: math.floor(masks.times[0] / seconds)):
            yield _join(list(group))

    def clip(
        self, reader: VideoReader, second: float = 0.0
    ) -> tuple[list[Frame], Float[Tensor, "1 T 3 H W"], Float[Tensor, "1 T 1 96 64"] | None]:
        """What the model is given of the window that holds a moment: a frame of each second, images and sound.

        Args:
            reader: Of the video.
            second: The moment; beyond the end, the last window.

        Raises:
            MediaError: The video can't be read, or has no sound and the model listens.
        """
        self._check_sound(reader)
        found: Window | None = None
        size = self.config.size_of(reader.info.height, reader.info.width)
        for window in windows(reader, rate=1.0, seconds=self.config.clip_length, size=size):
            found = window
            if second < window.first + len(window.frames):
                break
        if found is None:
            raise MediaError(f"{reader.info.source}: nothing in it can be shown. Is the file complete?")
        frames = [group[0] for group in found.frames]
        sound = self._sound(found, [frames], reader.info.source).to(self.device) if self.config.listens else None
        return frames, self.prepare(np.stack([[frame.image for frame in frames]])), sound

    def _check_sound(self, reader: VideoReader) -> None:
        if self.config.listens and not reader.info.has_audio:
            raise MediaError(
                f"{reader.info.source}: has no sound stream, and the model {self.config.name} listens. "
                "Add sound, or use a model with fusion `none`."
            )

    def _masks(self, reader: VideoReader) -> Iterator[Masks]:
        size, stream = (reader.info.height, reader.info.width), Stream()
        for window in self.windows(reader):
            yield from self.masks(window, self.scores(window, reader.info.source, stream), size)

    def windows(self, reader: VideoReader) -> Iterator[Window]:
        """First of three stages, which may run in three places: what the model is to see. Needs the model's config only.

        Raises:
            MediaError: The video can't be read, or has no sound and the model listens.
        """
        self._check_sound(reader)
        rate = self.request.rate
        rate = rate if isinstance(rate, str) else max(1.0, rate)
        size = self.config.size_of(reader.info.height, reader.info.width)
        yield from windows(reader, rate=rate, seconds=self.config.clip_length, size=size)

    def scores(self, window: Window, source: str, stream: Stream | None = None) -> list[list[Scores]]:
        """Second stage, the model's: maps at its size, by phase and second.

        Args:
            window: Of the video; a recurrent model is given all of them, in order.
            source: Name of the video, for errors.
            stream: Of the video, changed by the call; only a recurrent model needs it.

        Raises:
            MediaError: The sound holds something that isn't a number.
            WeightsError: The model gives something that isn't a number.
        """
        dense = self.config.dense
        clips = [[frame for second in window.frames for frame in second]] if dense else _phases(window.frames)
        sound = self._sound(window, clips, source) if self.config.listens else None
        if self.config.recurrent:
            return _by_phase(self._go_on(clips[0], sound, source, stream or Stream()), window.frames)
        scores: list[list[Scores]] = []
        start = 0
        while start < len(clips):
            batch = slice(start, start + self.batch_size)
            try:
                logits, looks = self._run(clips[batch], None if sound is None else sound[batch])
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._use_less(error, len(clips[batch]), source)
                continue
            start = batch.stop
            self._check_finite(logits, source, window.first)
            scores += [list(map(reduce, *clip)) for clip in zip(logits, looks, strict=True)]
        return _by_phase(scores[0], window.frames) if dense else scores

    @torch.inference_mode()
    def _go_on(self, frames: Sequence[Frame], sound: Tensor | None, source: str, stream: Stream) -> list[Scores]:
        """Scores of consecutive frames of a video, a few at a time, by a recurrent model."""
        scores: list[Scores] = []
        for start in range(0, len(frames), TOGETHER):
            part = slice(start, start + TOGETHER)
            images = self.prepare(np.stack([[frame.image for frame in frames[part]]]))
            output = self.model(images, None if sound is None else sound[:, part].to(self.device), past=stream.past)
            stream.past = output.past
            self._check_finite(output.logits, source, frames[0].second)
            scores += map(reduce, output.logits[0].float())
        return scores

    def _check_finite(self, logits: Tensor, source: str, second: int) -> None:
        if not torch.isfinite(logits).all():
            raise WeightsError(
                f"{source}: the model {self.config.name} gives NaN or infinity in the {self.config.clip_length} s "
                f"from {second} s on. Its weights are damaged, or too large for its precision."
            )

    def masks(self, window: Window, scores: Sequence[Sequence[Scores]], size: tuple[int, int]) -> Iterator[Masks]:
        """Third stage: masks of the window's new seconds at the video's size. Of the frames it needs the times only."""
        for second in _fresh(window):
            if _wanted(window.first + second, self.request.rate):
                for phase, frame in enumerate(window.frames[second]):
                    yield self.finish(frame.time, scores[phase][second], size)

    def _use_less(self, error: RuntimeError, clips: int, source: str) -> None:
        """Go on with a smaller batch where memory was too small for so many clips.

        Raises:
            MediaError: There was one clip only.
        """
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise error
        if clips == 1:
            raise MediaError(
                f"{source}: the memory of {self.device} is too small for one clip of the model {self.config.name}. "
                "Use a smaller model, or --device cpu."
            ) from error
        self.batch_size = clips // 2
        logger.warning(
            "%s: too little memory for %d clips at once; goes on with %d.", self.device, clips, self.batch_size
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _sound(self, window: Window, clips: Sequence[Sequence[Frame]], source: str) -> Float[Tensor, "B T P 96 64"]:
        """The patches that the model's pairing gives to each frame."""
        if window.waveform is None or not np.isfinite(window.waveform).all():
            raise MediaError(
                f"{source}: its sound near {window.first} s holds NaN or infinity. Decode it to 16-bit wav and mux again."
            )
        pairing = "avsbench" if self.request.rate == "avsbench" and not self.config.recurrent else self.config.pairing
        if (
            pairing == "avsbench" and not self.config.dense
        ):  # patch i starts 0.96·i s into the clip; copies of a last second share its patch
            last = len(window.frames) - window.repeated - 1
            ends = [window.first + PATCH_SECONDS * (min(i, last) + 1) for i in range(len(window.frames))]
            times = ends * len(clips)
        else:
            times = [frame.time for clip in clips for frame in clip]
        waveform = torch.from_numpy(window.waveform)
        align: Align = "centre" if pairing == "centre" else "end"
        patches = patches_at(waveform, times, self.config.patches, start=window.waveform_start, align=align)
        return patches.unflatten(0, (len(clips), -1))

    @torch.inference_mode()
    def _run(
        self, clips: Sequence[Sequence[Frame]], sound: Tensor | None
    ) -> tuple[Float[Tensor, "B T K H W"], Sequence[Sequence[Tensor | None]]]:
        """Logits, and attention maps or None for each frame."""
        pixels = np.stack([[frame.image for frame in clip] for clip in clips])
        images, logmel = self.prepare(pixels), None if sound is None else sound.to(self.device)
        more: dict[str, Tensor] = {}
        if self.maker is not None:
            made = self.maker(pixels.reshape(-1, *pixels.shape[2:])).reshape(pixels.shape)
            more["maskige"] = self.prepare(made)
        looks = None
        if self.request.attention:
            with Watch(self.model) as watch:
                logits = self.model(images, logmel, **more).logits.float()
            looks = watch.maps()
        else:
            logits = self.model(images, logmel, **more).logits.float()
        if looks is None:
            return logits, [[None] * len(clips[0])] * len(clips)
        return logits, [list(clip.float()) for clip in looks]

    def prepare(self, pixels: UInt8[np.ndarray, "*N H W 3"]) -> Float[Tensor, "*N 3 H W"]:
        """RGB pictures of the model's size as it takes them, on its device."""
        images = torch.from_numpy(pixels).to(self.device).movedim(-1, -3) / 255
        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (self.config.mean, self.config.std))
        return (images - mean) / std

    def finish(self, time: float, scores: Scores, size: tuple[int, int]) -> Masks:
        """Bring a frame's maps to the video's size.

        Logits are interpolated, not probabilities: those are nearly 0 or 1, so that an edge between them would sit on the
        model's coarse pixels, while logits tell where between two pixels it runs.
        """
        maps, classes, look = scores
        look = None if look is None else look[None].cpu()
        fit = self.config.presence
        sure = float(presence(maps, fit)[0]) if fit is not None and classes is None else None
        maps = F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0].cpu()
        if classes is None:
            probability = maps.sigmoid()
            if sure is not None and sure < self.request.min_presence:
                probability = torch.zeros_like(probability)
            return Masks((time,), probability, self.threshold, None, None if sure is None else (sure,), look)
        probability = 1 - maps[:1].exp()
        labels = classes.cpu()[maps.argmax(0, keepdim=True)]
        given = self.request.threshold
        if given is not None:
            labels = labels * (probability > given)
        return Masks((time,), probability, 0.5 if given is None else given, labels, None, look)


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        ValueError: There is no such device here.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, here in present.items() if here))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    beyond = device is not None and device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if device is None or not present.get(device.type, False) or beyond:
        here = ", ".join(kind for kind, is_here in present.items() if is_here)
        raise ValueError(f"`device`: expected 'auto' or one that is here ({here}), got {name!r}.")
    return device


def _phases(seconds: Sequence[Sequence[Frame]]) -> list[list[Frame]]:
    """Phase j takes frame j of each second, or the last of a second that has fewer."""
    count = max(len(frames) for frames in seconds)
    return [[frames[min(phase, len(frames) - 1)] for frames in seconds] for phase in range(count)]


def _by_phase(scores: Sequence[Scores], seconds: Sequence[Sequence[Frame]]) -> list[list[Scores]]:
    """The maps of all frames in order, as `_phases` would give them."""
    own = iter(scores)
    grouped = [[next(own) for _ in frames] for frames in seconds]
    count = max(map(len, grouped))
    return [[second[min(phase, len(second) - 1)] for second in grouped] for phase in range(count)]


def _fresh(window: Window) -> Iterable[int]:
    """The seconds of a window that no window before it had."""
    return range(window.fresh) if window.repeated else range(len(window.frames) - window.fresh, len(window.frames))


def _wanted(second: int, rate: Rate) -> bool:
    """Whether a second has a mask: below one per second, that in which the next step ends."""
    if isinstance(rate, str) or rate >= 1:
        return True
    return math.floor((second + 1) * rate + 1e-9) > math.floor(second * rate + 1e-9)


def reduce(logits: Float[Tensor, "K H W"], look: Tensor | None = None) -> Scores:
    """What has to be kept of a frame until its turn comes.

    Of 71 classes: log-probabilities of the background and of each class that wins somewhere, so that hundreds of frames
    fit into memory.
    """
    if len(logits) == 1:
        return logits, None, look
    found = logits.argmax(0).unique()
    classes = torch.cat([found.new_zeros(1), found[found > 0]])
    return logits.log_softmax(0)[classes], classes.to(torch.uint8), look


def _join(pieces: Sequence[Masks]) -> Masks:
    labels = [piece.labels for piece in pieces if piece.labels is not None]
    looks = [piece.attention for piece in pieces if piece.attention is not None]
    return Masks(
        tuple(time for piece in pieces for time in piece.times),
        torch.cat([piece.probability for piece in pieces]),
        pieces[0].threshold,
        torch.cat(labels) if labels else None,
        tuple(p for piece in pieces for p in piece.presence or ()) or None,
        torch.cat(looks) if looks else None,
    )

"""Prepare a model's inputs: windows of a video, pictures as arrays, and the sound that belongs to each frame."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.audio.spectrum import PATCH_SECONDS, Align, patches_at
from sonomask.errors import MediaError
from sonomask.media.reader import Frame, VideoReader
from sonomask.media.windows import Window, windows
from sonomask.request import Request
from sonomask.structures import ModelConfig

__all__ = ["check_sound", "cut", "normalised", "pictures", "sound_of", "window_at", "window_seconds"]


def check_sound(reader: VideoReader, config: ModelConfig) -> None:
    """Make sure that a model that listens has something to listen to.

    Raises:
        MediaError: It has not.
    """
    if config.listens and not reader.info.has_audio:
        raise MediaError(f"{reader.info.source}: {reader.info.sound_missing}")


def window_seconds(config: ModelConfig) -> int:
    """Seconds of a window: a clip, or as much as a recurrent model takes at once, to which a video is one clip however cut."""
    return config.clip_length


def cut(reader: VideoReader, config: ModelConfig, request: Request) -> Generator[Window, None, None]:
    """The windows of a video, with frames at the model's size.

    For a recurrent model, which takes any number of frames, the first frame is a window of its own, so that the first mask does
    not wait for the rest of the first second. Nor is it given a frame twice.

    Raises:
        MediaError: The video can't be read, or has no sound and the model listens.
    """
    check_sound(reader, config)
    size = config.size_of(reader.info.height, reader.info.width)
    rate = request.rate if isinstance(request.rate, str) else max(1.0, request.rate)
    for window in windows(reader, rate=rate, seconds=window_seconds(config), size=size):
        if config.recurrent:
            window = _only_fresh(window)
        if config.recurrent and window.first == 0 and len(window.frames[0]) > 1:
            yield replace(window, frames=(window.frames[0][:1],), fresh=1, final=False)
            window = replace(window, frames=(window.frames[0][1:], *window.frames[1:]))
        yield window


def _only_fresh(window: Window) -> Window:
    """A window without seconds that were in the one before, and without copies of the last."""
    start = 0 if window.repeated else len(window.frames) - window.fresh
    frames = window.frames[start : start + window.fresh]
    return replace(window, first=window.first + start, frames=frames, fresh=len(frames), repeated=0)


def window_at(reader: VideoReader, config: ModelConfig, second: float) -> Window:
    """The window that holds a moment, with one frame in each second; beyond the end, the last window.

    Raises:
        MediaError: The video can't be read, or has no sound and the model listens.
    """
    check_sound(reader, config)
    found: Window | None = None
    size = config.size_of(reader.info.height, reader.info.width)
    for window in windows(reader, rate=1.0, seconds=config.clip_length, size=size):
        found = window
        if second < window.first + len(window.frames):
            break
    if found is None:
        raise MediaError(f"{reader.info.source}: nothing in it can be shown. Is the file complete?")
    return found


def pictures(clips: Sequence[Sequence[Frame]]) -> UInt8[np.ndarray, "B T H W 3"]:
    """The frames of clips of one length."""
    return np.stack([[frame.image for frame in clip] for clip in clips])


def normalised(images: UInt8[np.ndarray, "*N H W 3"], config: ModelConfig) -> Float32[np.ndarray, "*N 3 H W"]:
    """RGB pictures as a network takes them."""
    mean, std = (np.array(values, np.float32) for values in (config.mean, config.std))
    scaled = (images / np.float32(255) - mean) / std
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))


def sound_of(
    window: Window, clips: Sequence[Sequence[Frame]], config: ModelConfig, request: Request, source: str
) -> Float32[np.ndarray, "B T P 96 64"] | None:
    """The log-mel patches of each frame, the latest first, by the model's pairing; None for a model that does not listen.

    Raises:
        MediaError: The sound holds something that isn't a number.
    """
    if not config.listens:
        return None
    if window.waveform is None or not np.isfinite(window.waveform).all():
        raise MediaError(
            f"{source}: its sound near {window.first} s holds NaN or infinity. Decode it to 16-bit wav and mux again."
        )
    pairing = "avsbench" if request.rate == "avsbench" and not config.recurrent else config.pairing
    if pairing == "avsbench" and not config.dense:
        # patch i starts 0.96·i s into the clip; copies of a last second share its patch
        last = len(window.frames) - window.repeated - 1
        ends = [window.first + PATCH_SECONDS * (min(i, last) + 1) for i in range(len(window.frames))]
        times = ends * len(clips)
    else:
        times = [frame.time for clip in clips for frame in clip]
    align: Align = "centre" if pairing == "centre" else "end"
    patches = patches_at(window.waveform, times, config.patches, start=window.waveform_start, align=align)
    return patches.reshape(len(clips), -1, *patches.shape[1:])

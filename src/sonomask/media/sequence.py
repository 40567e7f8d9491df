"""A folder of pictures, with a sound file or without, as a video that the reader reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import ImageOps

from sonomask.errors import MediaError
from sonomask.media.opening import Limits, decoded, media_errors, open_media, open_quietly
from sonomask.media.sound import TRACK_RATE, resampled
from sonomask.media.suffixes import PICTURES, SOUNDS
from sonomask.safe_reading.pictures import open_picture

__all__ = ["USUAL_FPS", "assemble", "sequence_in"]

USUAL_FPS = (
    Fraction(24000, 1001),
    Fraction(24),
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(30),
    Fraction(50),
    Fraction(60),
)
DEFAULT_FPS = Fraction(25)
CLOSE = 0.01  # share by which pictures and sound may differ in length at a usual rate


def sequence_in(folder: Path) -> tuple[list[Path], Path | None]:
    """The pictures of a folder in the order of the numbers in their names, and its sound file if it has just one."""
    files = sorted((path for path in folder.iterdir() if path.is_file()), key=_numbers)
    sounds = [path for path in files if path.suffix.lower() in SOUNDS]
    return [path for path in files if path.suffix.lower() in PICTURES], sounds[0] if len(sounds) == 1 else None


def _numbers(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def assemble(pictures: Sequence[Path], sound: Path | None, target: Path, fps: Fraction | None = None) -> Fraction:
    """Write pictures and sound as a video without loss (FFV1 and PCM in Matroska); gives its frame rate.

    Args:
        pictures: Pictures in order; all of the first one's size.
        sound: Begins with the first picture.
        target: A `.mkv` file.
        fps: Pictures a second; if None, the usual rate at which they are as long as the sound, or 25.

    Raises:
        MediaError: A picture or the sound can't be read, or a picture has another size.
    """
    samples = np.zeros((2, 0), np.float32) if sound is None else _sound(sound)
    rate = fps or _rate(len(pictures), samples.shape[1] / TRACK_RATE)
    with media_errors(str(target), "can't be written"), open_quietly(f"file:{target}", "w", format="matroska") as file:
        video = file.add_stream("ffv1", rate=rate)
        track = file.add_stream("pcm_s16le", rate=TRACK_RATE, layout="stereo") if sound is not None else None
        for index, path in enumerate(pictures):
            frame = _picture(path)
            if index == 0:
                video.width, video.height, video.pix_fmt = frame.width, frame.height, "bgr0"
            if (frame.width, frame.height) != (video.width, video.height):
                raise MediaError(f"{path}: {frame.width}×{frame.height} pixels, the first picture has "
                                 f"{video.width}×{video.height}. Scale it first.")  # fmt: skip
            made = frame.reformat(format="bgr0")
            made.pts, made.time_base = index, 1 / rate
            file.mux(video.encode(made))
            if track is not None:
                begin, end = (round(n / rate * TRACK_RATE) for n in (index, index + 1))
                _write(file, track, samples[:, begin : end if index < len(pictures) - 1 else None], begin)
        file.mux(video.encode())
        if track is not None:
            file.mux(track.encode())
    return rate


def _rate(count: int, seconds: float) -> Fraction:
    if seconds <= 0:
        return DEFAULT_FPS
    best = min(USUAL_FPS, key=lambda fps: abs(count / float(fps) - seconds))
    if abs(count / float(best) - seconds) <= max(CLOSE * seconds, 1.5 / float(best)):
        return best
    return Fraction(count / seconds).limit_denominator(1001) if 1 <= count / seconds <= 120 else DEFAULT_FPS


def _picture(path: Path) -> av.VideoFrame:
    image = ImageOps.exif_transpose(open_picture(path)).convert("RGB")
    return av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")


def _sound(path: Path) -> np.ndarray:
    with open_media(str(path), Limits()) as container:
        if not container.streams.audio:
            raise MediaError(f"{path}: has no sound.")
        frames = decoded(container, container.streams.audio[0], [])
        pieces = [piece for _, piece in resampled(str(path), frames, [], TRACK_RATE, "stereo")]
    return np.concatenate(pieces or [np.zeros((2, 0), np.float32)], axis=1)


def _write(file: av.container.OutputContainer, track: av.AudioStream, samples: np.ndarray, begin: int) -> None:
    if not samples.shape[1]:
        return
    whole = (samples.clip(-1, 1) * 32767).round().astype(np.int16)
    piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole.T).reshape(1, -1), format="s16", layout="stereo")
    piece.sample_rate, piece.pts, piece.time_base = TRACK_RATE, begin, Fraction(1, TRACK_RATE)
    file.mux(track.encode(piece))

"""Videos made on the spot, whose frames tell their own number."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def number(image: np.ndarray) -> int:
    """Which frame of a `make_video` video this is: eight bars, dark or bright, spell it in binary."""
    bars = np.array_split(image.mean((0, 2)), 8)
    return sum(1 << i for i, bar in enumerate(bars) if bar[len(bar) // 4 : -len(bar) // 4 or None].mean() > 128)


def picture(index: int, height: int, width: int) -> np.ndarray:
    bits = np.repeat([255 * (index >> i & 1) for i in range(8)], -(-width // 8))[:width]
    return np.broadcast_to(bits[None, :, None], (height, width, 3)).astype(np.uint8).copy()


@pytest.fixture(scope="session")
def make_video(tmp_path_factory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("videos")

    def make(
        name="video.mp4", *, times=None, fps=Fraction(25), seconds=2.0, size=(64, 96), codec="libx264", pixel="yuv420p",
        tone=440.0, rate=16_000, layout="mono", audio_codec="aac", sound=(0.0, None), aspect=None, options=None,
    ):  # fmt: skip
        path = folder / name
        times = [i / fps for i in range(round(seconds * fps))] if times is None else times
        with av.open(str(path), "w") as file:
            video = file.add_stream(codec, rate=fps, options=options or {"crf": "10"})
            video.height, video.width, video.pix_fmt = *size, pixel
            video.codec_context.time_base = Fraction(1, 12_000)
            if aspect:
                video.codec_context.sample_aspect_ratio = aspect
            audio = file.add_stream(audio_codec, rate=rate, layout=layout) if tone else None
            for index, time in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24").reformat(format=pixel)
                frame.pts, frame.time_base = round(time * 12_000), Fraction(1, 12_000)
                file.mux(video.encode(frame))
            file.mux(video.encode())
            if audio:
                first, last = sound[0], seconds if sound[1] is None else sound[1]
                wave = 0.5 * np.sin(2 * np.pi * tone * np.arange(round((last - first) * rate)) / rate)
                for start in range(0, len(wave), 1024):
                    part = wave[None, start : start + 1024].astype(np.float32).repeat(audio.layout.nb_channels, 0)
                    piece = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
                    piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
                    piece.pts = start + round(first * rate)
                    file.mux(audio.encode(piece))
                file.mux(audio.encode())
        return path

    return make


@pytest.fixture
def numbers() -> Callable[..., list[int]]:
    return lambda frames: [number(frame.image) for frame in frames]

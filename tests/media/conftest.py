"""Videos made on the spot, whose frames tell their own number."""

import heapq
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


WHOLE_TICKS = {
    "mpeg1video",
    "mpeg2video",
    "dvvideo",
    "mpeg4",
    "msmpeg4v3",
    "h263",
    "flv",
}  # clocks that tick once a frame


class Builder:
    """Writes small files of all kinds.

    Its pictures are four patches of colour (or what `paint` gives for a time), its sound a tone that beeps each second.
    """

    PATCHES = ((200, 40, 40), (40, 180, 60), (50, 60, 200), (200, 160, 120))

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def patches(self, height: int = 96, width: int = 128) -> np.ndarray:
        image = np.zeros((height, width, 3), np.uint8)
        for place, colour in enumerate(self.PATCHES):
            rows = slice(None, height // 2) if place < 2 else slice(height // 2, None)
            image[rows, slice(None, width // 2) if place % 2 == 0 else slice(width // 2, None)] = colour
        return image

    def tone(self, seconds: float, rate: int = 16_000, level: float = 0.5, hertz: float = 440.0) -> np.ndarray:
        return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)

    def __call__(
        self, name, *, times=None, seconds=2.0, fps=Fraction(25), paint=None, size=(96, 128), codec="libx264", pixel="yuv420p",
        options=None, colours=None, aspect=None, matrix=None, bframes=None, durations=None,
        sounds=((None, {}),), container=None, container_options=None,
    ):  # fmt: skip
        """`colours`: (matrix, primaries, transfer, full); `sounds`: (samples of each channel or None for a tone, words)."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        times = [float(i / fps) for i in range(round(seconds * fps))] if times is None else times
        with av.open(f"file:{path}", "w", format=container, options=container_options or {}) as file:
            quality = {
                "libx264": {"crf": "5", "preset": "ultrafast"},
                "libx265": {"x265-params": "log-level=none:crf=5:pools=1"},
            }
            chosen = {**quality.get(codec, {}), **(options or {})}
            video = file.add_stream(codec, rate=fps, options=chosen) if times else None
            if video is not None:
                video.height, video.width, video.pix_fmt = *size, pixel
                whole = codec in WHOLE_TICKS or path.suffix in (".avi", ".mxf")
                video.codec_context.time_base = 1 / Fraction(fps) if whole else Fraction(1, 12_000)
                if aspect:
                    video.codec_context.sample_aspect_ratio = aspect
                if bframes is not None:
                    video.codec_context.max_b_frames = bframes
                if colours:
                    context = video.codec_context
                    context.colorspace, context.color_primaries, context.color_trc = colours[:3]
                    context.color_range = 2 if colours[3] else 1
                if matrix:
                    video.set_display_matrix(list(matrix))
                video.codec_context.open()
            tracks = [(self._track(file, words), samples, words) for samples, words in sounds]
            parts = [self._sound(file, stream, samples, words, seconds) for stream, samples, words in tracks]
            if video is not None:
                parts.append(self._pictures(file, video, times, paint, size, pixel, colours, durations))
            for _ in heapq.merge(*parts):  # each is written as its time comes, so that the file is interleaved
                pass
        return path

    def _pictures(self, file, video, times, paint, size, pixel, colours, durations):
        tick = video.codec_context.time_base
        for index, time in enumerate(times):
            image = paint(index, time) if paint else self.patches(*size)
            if isinstance(image, av.VideoFrame):
                frame = image
            else:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24" if image.dtype == np.uint8 else "rgb48le")
                words = (
                    {
                        "dst_colorspace": {10: 9, 6: 5, 2: 5}.get(colours[0], colours[0]),
                        "dst_color_range": 2 if colours[3] else 1,
                    }
                    if colours
                    else {}
                )
                frame = frame.reformat(format=pixel, **words)
            if colours:
                frame.colorspace, frame.color_primaries, frame.color_trc = colours[:3]
                frame.color_range = 2 if colours[3] else 1
            yield time
            frame.pts, frame.time_base = round(time / tick), tick
            if durations:
                frame.duration = round(durations[index] / tick)
            file.mux(video.encode(frame))
        file.mux(video.encode())

    def _track(self, file, words):
        stream = file.add_stream(
            words.get("codec", "aac"), rate=words.get("rate", 16_000), layout=words.get("layout", "mono")
        )
        for key in ("language", "title"):
            if key in words:
                stream.metadata[key] = words[key]
        if "default" in words:
            stream.disposition = av.stream.Disposition.default if words["default"] else av.stream.Disposition(0)
        return stream

    def _sound(self, file, stream, samples, words, seconds):
        rate = words.get("rate", 16_000)
        samples = self.tone(words.get("seconds", seconds), rate) if samples is None else samples
        samples = np.atleast_2d(np.asarray(samples, np.float32)).repeat(1, 0)
        if len(samples) < stream.layout.nb_channels:
            samples = samples.repeat(stream.layout.nb_channels, 0)
        for start in range(0, samples.shape[1], 1024):
            piece = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", stream.layout.name
            )
            piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
            piece.pts = start + round(words.get("offset", 0.0) * rate)
            yield piece.pts / rate
            file.mux(stream.encode(piece))
        file.mux(stream.encode())


@pytest.fixture
def build(tmp_path) -> Builder:
    return Builder(tmp_path)

"""Write videos and sound files that appear under their name only when they are complete."""

from __future__ import annotations

import wave
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import av
import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.errors import MediaError
from sonomask.media.colour import Colours, guessed, tag, to_stored
from sonomask.media.opening import Limits, media_errors, open_media, open_quietly
from sonomask.media.reader import SAMPLE_RATE, VideoReader
from sonomask.media.sound import TRACK_RATE, canonical, sound_stream
from sonomask.media.timecode import has_timecodes
from sonomask.workspace import atomic_path

CLOCK = Fraction(1, 90_000)  # fine enough for every frame rate in use
UNWRITTEN = "can't be written"


@dataclass(frozen=True)
class Encoding:
    """Container, codecs and options of a video file.

    Attributes:
        container: FFmpeg's name of the container.
        encoder: Encoder of the pictures.
        pixels: Pixel format of the encoder's input.
        sound: Encoder of the sound.
        copied: Sound codecs that are copied without encoding, because all players of the container play them.
        options: Options of the encoder.
        container_options: Options of the container.
    """

    container: str
    encoder: str
    pixels: str
    sound: str
    copied: frozenset[str]
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)


FASTSTART = {"movflags": "faststart"}
ENCODINGS: dict[str, Encoding] = {
    "h264": Encoding(  # x264's own choice of code for a CPU gives other bytes from run to run (AVX-512, measured)
        "mp4", "libx264", "yuv420p", "aac", frozenset({"aac", "mp3"}),
        {"preset": "veryfast", "x264-params": "cpu-independent=1"}, FASTSTART,
    ),
    "vp9-alpha": Encoding(  # no frames that wait for others: the encoder can't have them with alpha
        "webm", "libvpx-vp9", "yuva420p", "libopus", frozenset({"opus", "vorbis"}),
        {"auto-alt-ref": "0", "crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
    ),
    "prores-alpha": Encoding(
        "mov", "prores_ks", "yuva444p10le", "aac", frozenset({"aac", "mp3", "pcm_s16le", "pcm_s24le"}),
        {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}, FASTSTART,
    ),
}  # fmt: skip


class VideoWriter:
    """Write a video with sound; use it in a `with` block.

    Args:
        path: File to write.
        size: (height, width) of the pictures; odd sizes are padded by one line.
        rate: Nominal frame rate; each frame has its own time stamp.
        sample_rate: Sample rate of the sound given to `write_audio`; None for none.
        audio_from: Path, URL or reader whose sound is added, copied if the container allows it, otherwise re-encoded.
        overwrite: Replace an existing file.
        quality: Constant rate factor of H.264 (18 is visually lossless, 28 small) and VP9.
        encoding: Container and codecs: H.264 in mp4; or, with transparency, VP9 in WebM or ProRes 4444 in mov.
        colours: Colour space to store and tag; if None, the one that players assume for untagged pictures of that size.
        timecode: Timecode of the first frame; "" for none. Left out at frame rates that have no timecodes.

    Raises:
        MediaError: The file exists or can't be encoded.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: tuple[int, int],
        rate: float | Fraction = 25,
        sample_rate: int | None = None,
        audio_from: str | Path | VideoReader | None = None,
        overwrite: bool = False,
        quality: int = 20,
        encoding: Literal["h264", "vp9-alpha", "prores-alpha"] = "h264",
        colours: Colours | None = None,
        timecode: str = "",
    ) -> None:
        self.path, self.size, self.overwrite = Path(path), size, overwrite
        self.rate, self.quality = max(Fraction(rate).limit_denominator(1001), Fraction(1, 1000)), quality
        self.sample_rate, self.audio_from = sample_rate, audio_from
        self.encoding, self.colours = ENCODINGS[encoding], colours or guessed(*size)
        self.timecode = timecode if has_timecodes(self.rate) else ""
        self.stack = ExitStack()

    def __enter__(self) -> VideoWriter:
        how = self.encoding
        with media_errors(str(self.path), UNWRITTEN), ExitStack() as stack:
            fresh = stack.enter_context(atomic_path(self.path, overwrite=self.overwrite))
            self.container = stack.enter_context(
                open_quietly(f"file:{fresh}", "w", format=how.container, options=dict(how.container_options))
            )
            self.video = self._video_stream()
            self.sound: Any = None
            self.samples = 0
            if self.sample_rate is not None:
                self.sound = self.container.add_stream(how.sound, rate=self.sample_rate, layout="mono")
            self.track = self._track(stack)
            self.last = -1
            self.stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        except BaseException as failure:
            self.stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self.stack.__exit__(kind, error, trace)

    def _track(self, stack: ExitStack) -> _Copied | _Encoded | None:
        if self.audio_from is None:
            return None
        reader = self.audio_from
        if not isinstance(reader, VideoReader):
            reader = stack.enter_context(VideoReader(reader))
        if not reader.info.has_audio:
            return None
        heard = reader.info.heard
        if not (reader.guarded or reader.is_part or reader.info.joined or len(heard) > 1):
            container = stack.enter_context(open_media(reader.source, Limits()))
            stream = sound_stream(container, heard[0])
            if canonical(stream.codec_context) in self.encoding.copied:
                return _Copied(container, stream, self.container)
        return _Encoded(reader, self.container, self.encoding.sound)

    def _flush(self) -> None:
        with media_errors(str(self.path), UNWRITTEN):
            self._mux(self.video.encode())
            if self.sound is not None:
                self._mux(self.sound.encode())
            if self.track is not None:
                self.track.copy_until(None)

    def _video_stream(self) -> Any:
        height, width = (n + n % 2 for n in self.size)
        codec, how = self.encoding.encoder, self.encoding
        if codec == "libx264" and codec not in av.codecs_available:
            codec = "mpeg4"
        if codec not in av.codecs_available:
            raise MediaError(f"{self.path}: this FFmpeg has no encoder {codec}. Choose another format.")
        stream: Any = self.container.add_stream(codec, rate=self.rate)
        stream.width, stream.height, stream.pix_fmt = width, height, how.pixels
        stream.codec_context.time_base = CLOCK
        tag(stream.codec_context, self.colours)
        if self.timecode:
            stream.metadata["timecode"] = self.timecode
        stream.options = {"qscale": "3"} if codec == "mpeg4" else {"crf": str(self.quality), **how.options}
        stream.codec_context.open()  # a size that the encoder can't take is told before the work, not after it
        return stream

    def write(self, image: UInt8[np.ndarray, "H W _C"], time: float) -> None:
        """Add a picture; times must ascend.

        Args:
            image: RGB, grey (H, W, 1), or RGBA (colours not multiplied by alpha) where the encoding has transparency.
            time: Presentation time in seconds.
        """
        if image.shape[:2] != self.size:
            raise ValueError(f"`image`: expected {self.size} pixels, got {image.shape[:2]}.")
        odd = [(0, n % 2) for n in self.size]
        padded = np.pad(image, [*odd, (0, 0)], mode="edge") if any(n % 2 for n in self.size) else image
        with media_errors(str(self.path), UNWRITTEN):
            self._encode(to_stored(padded, self.video.pix_fmt, self.colours), time)

    def write_planes(self, draw: Callable[[tuple[UInt8[np.ndarray, "_h _w"], ...]], None], time: float) -> None:
        """Add a picture by drawing directly into the encoder's planes.

        Args:
            draw: Function that fills the planes Y (the writer's size), U and V (half the height and width, rounded up).
            time: Presentation time in seconds.
        """
        height, width = self.size
        frame = av.VideoFrame(width + width % 2, height + height % 2, "yuv420p")
        whole = [
            np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, -1)[:, : plane.width]  # type: ignore[call-overload]
            for plane in frame.planes
        ]
        views = (whole[0][:height, :width], *whole[1:])
        with media_errors(str(self.path), UNWRITTEN):
            tag(frame, self.colours)
            draw(views)
            if height % 2:
                whole[0][height] = whole[0][height - 1]
            if width % 2:
                whole[0][:, width] = whole[0][:, width - 1]
            self._encode(frame, time)

    def _encode(self, frame: Any, time: float) -> None:
        self.last = max(self.last + 1, round(time / CLOCK))
        frame.pts, frame.time_base = self.last, CLOCK
        self._mux(self.video.encode(frame))
        if self.track is not None:
            self.track.copy_until(time)

    def write_audio(self, waveform: Float32[np.ndarray, " S"]) -> None:
        """Append mono sound in -1..1."""
        if self.sound is None:
            raise ValueError("`write_audio`: this writer was made without `sample_rate`.")
        frame = av.AudioFrame.from_ndarray(np.asarray(waveform, np.float32)[None], format="fltp", layout="mono")
        rate = self.sample_rate or SAMPLE_RATE
        frame.sample_rate, frame.pts, frame.time_base = rate, self.samples, Fraction(1, rate)
        self.samples += len(waveform)
        with media_errors(str(self.path), UNWRITTEN):
            self._mux(self.sound.encode(frame))

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self.container.mux(packet)


class _Copied:
    """The sound of another file, copied packet by packet."""

    def __init__(self, container: Any, stream: Any, target: Any) -> None:
        self.target, self.output = target, target.add_stream_from_template(stream)
        self.origin, self.last = (container.start_time or 0) / av.time_base, -(2**62)
        self.packets = container.demux(stream)

    def copy_until(self, time: float | None) -> None:
        """Copy packets that begin before `time` seconds, or all; damaged packets and those that go back in time are skipped."""
        while True:
            try:
                packet = next(self.packets)
            except (StopIteration, av.FFmpegError, OSError, ValueError):
                return
            if packet.dts is None:
                continue
            begins = packet.dts * packet.time_base - self.origin
            shift = round(self.origin / packet.time_base)
            pts, dts = (packet.pts if packet.pts is not None else packet.dts) - shift, packet.dts - shift
            if dts > self.last:
                packet.pts, packet.dts, packet.stream = max(pts, dts), dts, self.output
                with suppress(av.FFmpegError, OverflowError):
                    self.target.mux(packet)
                    self.last = dts
            if time is not None and begins > time:
                return


class _Encoded:
    """The sound of a reader, re-encoded."""

    def __init__(self, reader: VideoReader, target: Any, encoder: str) -> None:
        self.target, self.output = target, target.add_stream(encoder, rate=TRACK_RATE, layout="stereo")
        self.kind = "flt" if encoder == "libopus" else "fltp"  # interleaved, or channel by channel
        self.pieces, self.samples = reader.track(TRACK_RATE, "stereo"), 0

    def copy_until(self, time: float | None) -> None:
        """Encode the sound up to `time` seconds, or all of it."""
        while time is None or self.samples <= time * TRACK_RATE:
            piece = next(self.pieces, None)
            if piece is None:
                if time is None:
                    self._mux(None)
                return
            if piece.shape[1]:
                sound = np.nan_to_num(piece).clip(-1, 1)
                ordered = np.ascontiguousarray(sound.T).reshape(1, -1) if self.kind == "flt" else sound
                frame = av.AudioFrame.from_ndarray(ordered, self.kind, "stereo")
                frame.sample_rate, frame.pts, frame.time_base = TRACK_RATE, self.samples, Fraction(1, TRACK_RATE)
                self._mux(frame)
                self.samples += piece.shape[1]

    def _mux(self, frame: Any) -> None:
        for packet in self.output.encode(frame):
            self.target.mux(packet)


def write_wav(path: Path, waveform: Float32[np.ndarray, " S"]) -> None:
    """Write a 16 kHz mono wav file with 16 bits, the format of AVSBench's sounds.

    Args:
        path: File to write; its folder is created if necessary.
        waveform: Waveform in -1..1.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((waveform.clip(-1, 1) * 32767).round().astype("<i2").tobytes())

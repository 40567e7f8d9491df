"""Pictures and sound to a file that is playable at any moment, or to a streaming server."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from jaxtyping import Float32, UInt8

from sonomask.errors import MediaError
from sonomask.media.colour import guessed, tag, to_stored
from sonomask.media.live.relay import Sender
from sonomask.media.opening import open_quietly
from sonomask.media.reader import SAMPLE_RATE
from sonomask.media.writer import CLOCK

ADDRESSES = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "srt": "mpegts", "udp": "mpegts", "tcp": "mpegts"}
SUFFIXES = {".mp4": "mp4", ".mkv": "matroska", ".ts": "mpegts"}
AT_ONCE = {"flush_packets": "1"}  # nothing waits in a buffer for the next
FRAGMENTS = {"movflags": "frag_keyframe+delay_moov+default_base_moof"}  # an mp4 that needs no last word
KEY_SECONDS = 2.0  # between whole pictures: how long one who tunes in waits, and what a killed file may lack
LONGEST_PAUSE = 60.0  # seconds of silence that are put in at a time where the source had none


def format_of(target: str) -> tuple[str, bool]:
    """FFmpeg's format for a target, and whether that is an address.

    Raises:
        ValueError: It is neither a file of a kind that can be cut off anywhere, nor an address to stream to.
    """
    scheme, separator, _ = target.partition("://")
    if separator and scheme.lower() in ADDRESSES:
        return ADDRESSES[scheme.lower()], True
    if not separator and Path(target).suffix.lower() in SUFFIXES:
        return SUFFIXES[Path(target).suffix.lower()], False
    raise ValueError(
        f"`out`: expected a file ({', '.join(SUFFIXES)}) or an address ({', '.join(f'{s}://' for s in ADDRESSES)}), "
        f"got {target!r}."
    )


class LiveWriter:
    """Writes H.264 and AAC with little delay; use it in a `with` block.

    A file can be played up to its last fragment even if the process is killed; whatever ends the block finishes it. For an
    address use `RemoteWriter`: a server that does not answer holds up the whole process.

    Args:
        target: Path (.mp4, .mkv, .ts) or address (rtmp, rtsp, srt, udp, tcp).
        size: (height, width) of the pictures; an odd one is padded by a line.
        sound: Whether sound goes along.
        overwrite: Replace an existing file.

    Raises:
        MediaError: The file exists, or the target can't be opened.
        ValueError: The target is of no known kind.
    """

    def __init__(self, target: str, *, size: tuple[int, int], sound: bool, overwrite: bool = False) -> None:
        form, address = format_of(target)
        if not address and Path(target).exists() and not overwrite:
            raise MediaError(f"{target} exists. Use --overwrite to replace it, or give another --out.")
        if not address:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        self.target, self.size = target, size
        options = AT_ONCE | (FRAGMENTS if form == "mp4" else {})
        try:
            try:
                self._open(target if address else f"file:{target}", form, options, sound=sound)
            except av.error.ProtocolNotFoundError:
                if not target.lower().startswith("srt:"):
                    raise
                self._open(Sender(target), form, options, sound=sound)
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{target}: can't be written to ({error}).") from error
        self.first: float | None = None
        self.samples, self.last, self.key = 0, -1, -1e9

    def _open(self, target: Any, form: str, options: dict[str, str], *, sound: bool) -> None:
        self.container = open_quietly(target, "w", format=form, options=options)
        self.video = self._video_stream()
        self.sound: Any = self.container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if sound else None
        self.container.start_encoding()

    def _video_stream(self) -> Any:
        height, width = (n + n % 2 for n in self.size)
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream: Any = self.container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = CLOCK
        tag(stream.codec_context, guessed(*self.size))
        quick = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
        stream.options = quick if codec == "libx264" else {"qscale": "5"}
        return stream

    def __enter__(self) -> LiveWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.first is not None:
                self._mux(self.video.encode())
                if self.sound is not None:
                    self._mux(self.sound.encode())
            self.container.close()
        except (av.FFmpegError, OSError) as failure:
            if kind is None:
                raise MediaError(f"{self.target}: broke off ({failure}).") from failure

    def write(
        self, image: UInt8[np.ndarray, "H W 3"], time: float, sound: Float32[np.ndarray, " S"] | None = None
    ) -> None:
        """Add a picture and the sound up to it.

        Args:
            image: Image of the writer's size.
            time: Seconds, later than the one before; the first may be any.
            sound: 16 kHz mono that ends at `time`.

        Raises:
            MediaError: The server went away, or the disk is full.
            ValueError: The picture has another size.
        """
        if image.shape[:2] != self.size:
            raise ValueError(f"`image`: expected {self.size} pixels, got {image.shape[:2]}.")
        odd = [(0, n % 2) for n in self.size]
        padded = np.pad(image, [*odd, (0, 0)], mode="edge") if any(n % 2 for n in self.size) else image
        self.first = time if self.first is None else self.first
        frame = to_stored(padded, self.video.pix_fmt, guessed(*self.size))
        self.last = max(self.last + 1, round((time - self.first) / CLOCK))
        frame.pts, frame.time_base = self.last, CLOCK
        if time - self.key >= KEY_SECONDS:
            frame.pict_type, self.key = PictureType.I, time
        try:
            self._mux(self.video.encode(frame))
            if self.sound is not None and sound is not None:
                self._write_sound(sound, time - self.first)
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{self.target}: broke off ({error}).") from error

    def _write_sound(self, sound: np.ndarray, until: float) -> None:
        """Write sound that ends at `until`: gaps before it become silence, and what was written already is dropped."""
        end = round(until * SAMPLE_RATE)
        missing = end - len(sound) - self.samples
        while missing > 0:
            piece = min(missing, round(LONGEST_PAUSE * SAMPLE_RATE))
            self._encode_sound(np.zeros(piece, np.float32))
            missing -= piece
        fresh = sound[max(0, len(sound) - max(0, end - self.samples)) :]
        if len(fresh):
            self._encode_sound(fresh)

    def _encode_sound(self, samples: np.ndarray) -> None:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.float32)[None], format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self.samples, Fraction(1, SAMPLE_RATE)
        self.samples += len(samples)
        self._mux(self.sound.encode(frame))

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self.container.mux(packet)

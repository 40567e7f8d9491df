"""Open media files: allowed formats, limits, and one type of error.

Files may come from strangers, so no number in them is trusted: sizes are limited inside the decoders, formats that only
point to other files or addresses are refused for files, and of damaged data only the damaged packet is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel

from sonomask.errors import MediaError

URL = re.compile(r"(https?|rtsps?|rtmps?|srt|udp|rtp)://", re.IGNORECASE)
FILE_PROTOCOLS, URL_PROTOCOLS = "file,crypto,data", "http,https,tcp,tls,udp,rtp,rtsp,rtsps,rtmp,rtmps,srt,crypto,data"
POINTERS = {  # lists, descriptions and devices, through which one file would open others
    "hls", "applehttp", "dash", "concat", "image2", "image2pipe", "sdp", "rtsp", "rtp", "sap", "imf", "hds", "smoothstreaming",
    "webm_dash_manifest", "lavfi", "vobsub", "alsa", "oss", "pulse", "fbdev", "kmsgrab", "x11grab", "xcbgrab", "v4l2",
    "video4linux2", "avfoundation", "dshow", "gdigrab", "tty",
}  # fmt: skip
PLAYLISTS = {".m3u8", ".m3u"}
LARGE = 2**23  # pixels above which frames are decoded one at a time: each thread would hold some


@dataclass(frozen=True)
class Limits:
    """Limits on a source.

    Attributes:
        pixels: Pixels of a frame, as stored and as displayed.
        seconds: Length of the whole; None for any length.
        timeout: Seconds that a source may be silent.
        gap: Seconds between two frames above which the clock is taken to have been set anew.
    """

    pixels: int = 2**26
    seconds: float | None = None
    timeout: float = 30.0
    gap: float = 600.0


@contextmanager
def media_errors(source: str, what: str = "can't be decoded") -> Iterator[None]:
    """Turn whatever FFmpeg's wrapper raises into a `MediaError`.

    Raises:
        MediaError: Something was raised.
    """
    try:
        yield
    except MemoryError as error:
        raise MediaError(f"{source}: needs more memory than there is. Scale it down first.") from error
    except (av.FFmpegError, OSError, ValueError, ArithmeticError, LookupError, TypeError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(f"{source}: {what} ({' '.join(str(reason).split())}).") from error


def open_quietly(*args: Any, **options: Any) -> Any:
    """`av.open`, with FFmpeg's log off, as PyAV has it unless asked.

    With a level set, a decoder's thread that logs waits for Python's lock, while the thread that closes the decoder holds it
    and waits for the other: both wait for ever. Importing torchvision before 0.26 sets one.
    """
    if av.logging.get_level() is not None:
        av.logging.set_level(None)
    return av.open(*args, **options)


def open_media(source: str, limits: Limits, hwaccel: str | None = None) -> Any:
    """A container of PyAV.

    Args:
        source: Path or address.
        limits: Limits on the source.
        hwaccel: Kind of device whose decoder its pictures are given to, as FFmpeg names it; the processor if None.

    Raises:
        MediaError: There is no such file, it is none that FFmpeg may open, or the device doesn't start.
    """
    if URL.match(source):
        return _try_open(source, source, limits, hwaccel, protocols=URL_PROTOCOLS)
    try:
        path = Path(source)
        there, is_file = path.exists(), path.is_file()
        size = path.stat().st_size if is_file else 0
    except (OSError, ValueError) as error:  # a name that no file can have, or a folder that is closed to us
        raise MediaError(f"{source!r}: can't be opened ({error}).") from error
    if not there:
        raise MediaError(f"{source}: no such file.")
    if not is_file:
        raise MediaError(f"{source}: expected a video file, this is a folder or a device.")
    if size == 0:
        raise MediaError(f"{source}: the file is empty. Copy or download it again.")
    if path.suffix.lower() in PLAYLISTS and _starts_with(path, b"#EXTM3U"):
        raise MediaError(
            f"{source}: a playlist, which would open other files. Give the address or the file that it names."
        )
    return _try_open(f"file:{path}", source, limits, hwaccel, protocols=FILE_PROTOCOLS, format_whitelist=file_formats())


def _starts_with(path: Path, word: bytes) -> bool:
    """Whether a word occurs near the beginning of a file."""
    with path.open("rb") as file:
        return word in file.read(64)


@cache
def file_formats() -> str:
    """FFmpeg's formats that a file or a pipe may have: none that opens other files or addresses."""
    return ",".join(sorted(name for name in av.formats_available if not POINTERS & set(name.split(","))))


def _try_open(
    address: str, source: str, limits: Limits, hwaccel: str | None = None, *, protocols: str, **options: str
) -> Any:
    options |= {"protocol_whitelist": protocols, "max_pixels": str(limits.pixels)}
    try:
        device = None if hwaccel is None else HWAccel(device_type=hwaccel)
        container = open_quietly(
            address, options=options, timeout=limits.timeout, metadata_errors="replace", hwaccel=device
        )
    except Exception as error:  # FFmpeg's errors, and Python's where a file's text or numbers are beyond them
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(
            f"{source}: can't be opened as a video ({' '.join(str(reason).split())}). Is it complete, and a media file?"
        ) from error
    return limited(container, limits)


def limited(container: Any, limits: Limits) -> Any:
    """The container, whose decoders refuse pictures that are too large before they take memory for them."""
    for stream in (*container.streams.video, *container.streams.audio):
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(limits.pixels)}
    return container


def _brings_nothing(packet: Any, stream: Any) -> bool:
    """Whether a packet repeats the previous picture, or is the header of another recording that was joined on (Theora)."""
    if packet.size == 0:
        return packet.pts is not None
    return stream.codec_context.name == "theora" and bytes(memoryview(packet)[:1]) >= b"\x80"


def decoded(
    container: Any,
    stream: Any,
    warnings: list[str],
    seen: Callable[[Any], None] | None = None,
    through: Callable[[Iterator[Any]], Iterator[Any]] | None = None,
) -> Iterator[Any]:
    """Iterate over decoded frames; damaged ones are skipped, with one warning.

    Args:
        container: PyAV's.
        stream: One of it.
        warnings: List to which warnings are added.
        seen: Function called with each packet before it is decoded.
        through: Filter that the packets pass through first.
    """
    name = container.name.removeprefix("file:")
    if stream.type == "video" and stream.codec_context.width * stream.codec_context.height > LARGE:
        stream.thread_type = "SLICE"
    packets = container.demux(stream)
    packets = packets if through is None else through(packets)
    bad = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except (av.FFmpegError, OSError, ValueError) as error:
            warnings.append(f"{name}: broken off while reading ({error}).")
            break
        if seen is not None:
            seen(packet)
        if _brings_nothing(packet, stream):
            continue
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, ValueError, ArithmeticError, RuntimeError):
            bad += 1
            continue
        yield from frames
    if bad:
        warnings.append(f"{name}: {bad} damaged {stream.type} packets were left out.")

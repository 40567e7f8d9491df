"""Live sources, and FFmpeg's options for opening them with little delay."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av

from sonomask.errors import MediaError
from sonomask.media.live.relay import DescriptorReader, Receiver
from sonomask.media.opening import FILE_PROTOCOLS, URL, URL_PROTOCOLS, Limits, file_formats, limited, open_quietly

Kind = Literal["address", "file", "device", "pipe"]

PROBE = {"analyzeduration": "2000000", "fflags": "nobuffer"}  # 2 s at most until the streams are known
RTSP = {"rtsp_transport": "tcp"}  # a lost UDP packet smears the picture until the next whole one
DEVICES = {  # FFmpeg's input device and the name of the first one
    ("camera", "linux"): ("video4linux2", "/dev/video0"),
    ("camera", "darwin"): ("avfoundation", "0:none"),
    ("camera", "win32"): ("dshow", "video=Integrated Camera"),
    ("microphone", "linux"): ("alsa", "default"),
    ("microphone", "darwin"): ("avfoundation", "none:0"),
    ("microphone", "win32"): ("dshow", "audio=Microphone"),
}


@dataclass(frozen=True)
class LiveSource:
    """A source of live pictures or sound.

    Attributes:
        text: Text as the user wrote it, for messages.
        address: Address as FFmpeg takes it.
        kind: An address on a network, a file, a device of this machine, or a pipe.
        format: Name of FFmpeg's input device; else None, and FFmpeg finds out.
        audio_track: Number from 1, language or title of the sound track to hear; the default one if None.
    """

    text: str
    address: str
    kind: Kind
    format: str | None = None
    audio_track: int | str | None = None


def parse_source(text: str) -> LiveSource:
    """Understand a source.

    Args:
        text: An address (rtsp, rtmp, http, srt, udp, rtp, tcp), "camera" or "microphone" (or "camera:NAME" with the name of
            the system's device), a path of a file, named pipe or /dev/video*, or "-" for standard input.

    Raises:
        MediaError: It is nothing of this kind, or there is no such file.
        ValueError: It is empty.
    """
    if not text:
        raise ValueError("`source`: expected an address, a path, 'camera', 'microphone' or '-', got nothing.")
    if text == "-":
        return LiveSource("standard input", text, "pipe")
    if URL.match(text) or text.lower().startswith("tcp://"):
        return LiveSource(text, text, "address")
    word, _, name = text.partition(":")
    if word in ("camera", "microphone"):
        return _device(text, word, name)
    if text.startswith("/dev/video"):
        return _device(text, "camera", text)
    path = Path(text)
    if not path.exists():
        raise MediaError(f"{text}: no such file, and no address, camera or microphone either.")
    if stat.S_ISFIFO(path.stat().st_mode):
        return LiveSource(text, text, "pipe")
    if not path.is_file():
        raise MediaError(f"{text}: expected a file, this is a folder or a device.")
    return LiveSource(text, f"file:{text}", "file")


def _device(text: str, word: str, name: str) -> LiveSource:
    if (word, sys.platform) not in DEVICES:
        raise MediaError(
            f"{text}: devices of {sys.platform} are not known. Pipe FFmpeg's output in: `… | sonomask live -`."
        )
    form, first = DEVICES[word, sys.platform]
    return LiveSource(text, name or first, "device", form)


def open_source(source: LiveSource, limits: Limits) -> Any:
    """PyAV's container.

    Args:
        source: Source from `parse_source`.
        limits: Limits on the source: its silence, and the size of its pictures already in the decoder.

    Raises:
        MediaError: It can't be opened.
    """
    try:
        if source.kind == "pipe":
            pipe: Any = Pipe(source.address, limits.timeout)
            options = {**PROBE, "protocol_whitelist": "crypto,data", "format_whitelist": file_formats()}
            return limited(open_quietly(pipe, options=options, metadata_errors="replace"), limits)
        if source.kind == "device":
            return limited(open_quietly(source.address, format=source.format, timeout=limits.timeout), limits)
        address = source.kind == "address"
        options = {"protocol_whitelist": URL_PROTOCOLS if address else FILE_PROTOCOLS, **(PROBE if address else {})}
        if source.address.lower().startswith("rtsp"):
            options |= RTSP
        if not address:
            options["format_whitelist"] = file_formats()
        timeout = limits.timeout if address else None
        try:
            container = open_quietly(source.address, options=options, timeout=timeout, metadata_errors="replace")
        except av.error.ProtocolNotFoundError:
            if not source.address.lower().startswith("srt:"):
                raise
            relayed: Any = Receiver(source.address, limits.timeout)
            try:
                container = open_quietly(relayed, format="mpegts", options=PROBE, metadata_errors="replace")
            except BaseException:
                relayed.close()
                raise
        return limited(container, limits)
    except Exception as error:  # FFmpeg's errors, and Python's where texts or numbers are beyond them
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{source.text}: can't be opened ({reason}). Is it there, and is it media?") from error


class Pipe(DescriptorReader):
    """Bytes of a pipe as they come.

    Args:
        path: Path of a named pipe, or "-" for standard input.
        timeout: Seconds of silence after which it counts as broken.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = self.name = path
        number = sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        super().__init__(number, timeout)

    def close(self) -> None:
        """Close it, unless it is standard input."""
        if not self.closed and self.path != "-":
            os.close(self.number)
        super().close()

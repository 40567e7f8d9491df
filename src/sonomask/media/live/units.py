"""Pictures of an MPEG transport stream without the delay of FFmpeg's parsers.

FFmpeg's parser looks for the end of a picture in the packet that begins the next one, so it holds each back for a frame, on top
of the frame that the format itself costs. In a transport stream a packet is a picture as it stands, and begins with a
delimiter, by which this is known. So the parsers are taken away, and their work is done here:

    picture    what comes is cut at the delimiters; from the first packet without one on, a parser of our own takes over
    sound      decoders take several frames in a packet; from the first that begins within a frame on, a parser of our own too
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import av

__all__ = ["Units", "take_units", "together"]

NO_FILL, NO_PARSE = 0x10, 0x20  # of FFmpeg's AVFormatContext.flags
NOWHERE = 1 << 60  # beyond any source, so that seeking there moves nothing
START = b"\0\0\1"
DELIMITERS = {  # and what whole pictures have: by the type in the first byte after a start code
    "h264": (re.compile(START + b"[\x09\x29\x49\x69]"), re.compile(START + b"[\x05\x25\x45\x65\x07\x27\x47\x67]")),
    "hevc": (re.compile(START + b"[\x46\x47]"), re.compile(START + b"[\x20-\x2b\x40-\x43]")),
}
NEAR = 0.05  # seconds
Stamps = tuple[int | None, ...]  # of presentation and of decoding
SOUNDS = {  # and how a frame begins
    **dict.fromkeys(("aac", "mp2", "mp3"), re.compile(b"\xff[\xe0-\xff]")),
    **dict.fromkeys(("ac3", "eac3"), re.compile(b"\x0b\x77")),
}


class Units:
    """Makes what a decoder takes of the packets of a transport stream without parsers.

    Args:
        video: Track of the pictures, or None.
        audio: Track of the sound, or None.
    """

    def __init__(self, video: Any, audio: Any) -> None:
        self.video, self.audio = video, audio
        self.parsing = False  # whether pictures go through a parser
        self.stamps: deque[Stamps] = deque(maxlen=8)
        self.last: Stamps = (None, None)
        self.cutting = False  # whether sound goes through a parser
        if audio is not None:
            self.sync = SOUNDS[_codec(audio)]
        if video is not None:
            self.delimiter, self.whole = DELIMITERS[_codec(video)]

    def pictures(self, packet: Any) -> Iterator[tuple[Any, bool]]:
        """Packets of a picture each, and whether one can be decoded by itself; an empty packet ends the stream."""
        data = bytes(packet)
        cuts = [found.start() for found in self.delimiter.finditer(data)]
        if data and not self.parsing and (not cuts or cuts[0] > 1):  # a start code may have a zero more in front
            self.parsing = True
        if self.parsing:
            yield from self._parsed(packet, data)
        elif len(cuts) > 1:
            for number, (start, stop) in enumerate(pairwise([0, *cuts[1:], len(data)])):
                stamps = (None if n is None else n + number * self._step(packet) for n in (packet.pts, packet.dts))
                yield _packet(packet, data[start:stop], *stamps), self.whole.search(data, start, stop) is not None
        else:
            yield packet, self.whole.search(data) is not None
        if self.parsing and not data:
            yield packet, True

    def _parsed(self, packet: Any, data: bytes) -> Iterator[tuple[Any, bool]]:
        if packet.pts is not None or packet.dts is not None:
            self.stamps.append((packet.pts, packet.dts))
        for piece in self.video.codec_context.parse(data):
            if self.stamps:
                self.last = self.stamps.popleft()
            else:  # one more in the same packet
                self.last = tuple(None if n is None else n + self._step(packet) for n in self.last)
            yield _packet(packet, piece, *self.last), self.whole.search(bytes(piece)) is not None

    def _step(self, packet: Any) -> int:
        """From a picture to the next, in units of the packet's time."""
        rate = self.video.average_rate or self.video.guessed_rate
        return round(1 / (rate * packet.time_base)) if rate else 0

    def sounds(self, packet: Any) -> Iterator[Any]:
        """What a decoder of sound takes, of which the first has the packet's time; an empty packet ends the stream.

        From the first packet on that begins within a frame, a parser is needed, and the time may be that of the frame before.
        """
        data = bytes(packet)
        if data and not self.cutting and not self.sync.match(data):
            self.cutting = True
        if self.cutting:
            for number, piece in enumerate(self.audio.codec_context.parse(data)):
                yield _packet(packet, piece, *((packet.pts, packet.dts) if number == 0 else (None, None)))
        if not self.cutting or not data:
            yield packet


def together(told: float | None, expected: float | None, length: float) -> float | None:
    """When a frame of sound begins: where the last one ended, unless its packet says that it is elsewhere.

    Args:
        told: Seconds by its packet, or None.
        expected: Seconds at which the last frame ended, or None.
        length: Seconds of a frame.
    """
    if told is None or (expected is not None and abs(told - expected) < max(NEAR, 1.5 * length)):
        return expected
    return told


def take_units(container: Any, video: Any, audio: Any) -> Units | None:
    """Take FFmpeg's parsers away from a container that was just opened, where that can be done.

    Args:
        container: An open one whose source can't be sought in.
        video: Track of the pictures, or None.
        audio: Track of the sound, or None.
    """
    known = (video is None or _codec(video) in DELIMITERS) and (audio is None or _codec(audio) in SOUNDS)
    if container.format.name != "mpegts" or container.size > 0 or container.duration or not known:
        return None
    container.flags |= NO_FILL | NO_PARSE
    with contextlib.suppress(av.FFmpegError, OSError):
        # the parsers that opening it has made go with any seeking; this one leads nowhere
        container.seek(NOWHERE, stream=video or audio, unsupported_byte_offset=True)
    return Units(video, audio)


def _codec(stream: Any) -> str:
    name: str = stream.codec_context.codec.canonical_name
    return name


def _packet(of: Any, data: Any, pts: int | None, dts: int | None) -> Any:
    packet = av.Packet(bytes(data))
    packet.pts, packet.dts, packet.time_base = pts, dts, of.time_base
    return packet

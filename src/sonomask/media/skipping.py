"""Skip decoding of pictures that are not needed, neither themselves nor for other pictures.

For each packet, the decoder is told whether it may skip the picture. What is on screen at a moment depends on the times of
later packets, since pictures are stored in another order than they are shown.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["LATE", "SKIPPABLE", "on_screen_at", "sparing"]

LATE = 15 / 16  # of each step: where AVSBench takes its frame
SKIPPABLE = {"h264", "hevc", "mpeg2video", "mpeg4"}  # decoders that know which pictures others are made from
LOOK = 40  # packets; more than pictures can be out of order


def on_screen_at(pace: float, start: float, stop: float, slack: float) -> Callable[[float, float], bool]:
    """Whether a picture is on screen at (i + 15/16) / `pace` after `start` for some i, or at `stop`.

    Args:
        pace: Steps a second.
        start: Seconds at which they begin.
        stop: Seconds at which they end; a step that is cut short there shows the last picture.
        slack: Seconds by which times may be off.
    """

    def wanted(begin: float, end: float) -> bool:
        first = math.ceil(max(0.0, (begin - slack - start) * pace - LATE))
        return start + (first + LATE) / pace < end + slack or begin - slack < stop <= end + slack

    return wanted


def sparing(
    packets: Iterator[Any], stream: Any, wanted: Callable[[float, float], bool], origin: float, gap: float
) -> Iterator[Any]:
    """Packets, with the decoder set for each: those whose pictures are not wanted may be left out, the last ones never.

    From where times leap on nothing is left out, since the reader's clock then says other times than the packets.

    Args:
        packets: Packets of the stream, in order of decoding.
        stream: PyAV's.
        wanted: Function from begin and end of a picture, in seconds since `origin`, to whether it is wanted.
        origin: Seconds of the container at which time is 0.
        gap: Seconds from one packet to the next that are no leap.
    """
    waiting: deque[Any] = deque()
    times: list[int] = []
    leaps = False
    ended, broken, last = False, None, None
    while True:
        while not ended and len(waiting) < LOOK:
            try:
                packet = next(packets)
            except StopIteration:
                ended = True
            except Exception as error:  # told where it happens: behind what was read before
                ended, broken = True, error
            else:
                waiting.append(packet)
                now = None if packet.dts is None else float(packet.dts * packet.time_base)
                leaps |= now is not None and last is not None and not 0 <= now - last <= gap
                last = last if now is None else now
                if packet.pts is not None:
                    insort(times, packet.pts)
        if not waiting:
            break
        packet = waiting.popleft()
        spared = (
            not (ended or leaps)
            and packet.pts is not None
            and packet.dts is not None
            and _spared(packet, times, wanted, origin)
        )
        stream.codec_context.skip_frame = "NONREF" if spared else "DEFAULT"
        yield packet
        if packet.dts is not None:
            del times[: max(0, bisect_left(times, packet.dts) - LOOK)]
    if broken is not None:
        raise broken


def _spared(packet: Any, times: list[int], wanted: Callable[[float, float], bool], origin: float) -> bool:
    place = bisect_right(times, packet.pts)
    if place == len(times):
        return False
    begin, end = (float(stamp * packet.time_base) - origin for stamp in (packet.pts, times[place]))
    return not wanted(begin, end)

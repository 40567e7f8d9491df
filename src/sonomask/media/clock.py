"""Times of frames that only go forward, whatever a file's timestamps do."""

import math

MOST_FPS = 1000  # frames nearer to one another are left out


class Clock:
    """Gives frames their times.

    Args:
        source: For messages.
        gap: Seconds above which a step forward is taken for a clock that was set anew.
        warnings: Takes what was not as it should be.
        start: Where reading began.
    """

    def __init__(self, source: str, gap: float, warnings: list[str], start: float = 0.0) -> None:
        self.source, self.gap, self.warnings, self.start = source, gap, warnings, start
        self.last, self.shift = -math.inf, 0.0

    def at(self, time: float | None, spare: float) -> float | None:
        """When a frame appears; None for one that is not to be shown.

        A clock that goes back by more than a second, or leaps, was set anew (joined recordings, streams).

        Args:
            time: Of its timestamp.
            spare: Seconds after the frame before, where its timestamp is of no use.
        """
        begun = self.last >= 0
        following = self.last + spare if begun else self.start
        time = following if time is None else time + self.shift
        earliest, latest = (self.last - 1, self.last + self.gap) if begun else (-math.inf, self.start + self.gap)
        if not earliest <= time <= latest:
            self.warnings.append(f"{self.source}: its clock leaps at {following:.1f} s; what follows is joined on.")
            self.shift, time = self.shift + following - time, following
        if time < 0 or time < self.last + 0.9 / MOST_FPS:
            return None  # cut away by an edit list, or not after the one before
        self.last = time
        return time

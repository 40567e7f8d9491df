from fractions import Fraction

import pytest

from sonomask.media.timecode import shifted

NTSC = Fraction(30_000, 1001)


@pytest.mark.parametrize(
    ("timecode", "seconds", "rate", "wanted"),
    [
        ("01:00:00:00", 0, 25, "01:00:00:00"),
        ("01:00:00:00", 2.04, 25, "01:00:02:01"),
        ("23:59:59:24", 0.04, 25, "00:00:00:00"),
        ("00:00:59:29", float(1 / NTSC), NTSC, "00:01:00:00"),
        ("00:00:59;29", float(1 / NTSC), NTSC, "00:01:00;02"),  # two numbers are left out
        ("00:09:59;29", float(1 / NTSC), NTSC, "00:10:00;00"),  # but not in a tenth minute
        ("00:00:00;00", 3600, NTSC, "01:00:00;00"),  # so an hour is an hour
        ("nonsense", 1, 25, ""),
    ],
)
def test_timecodes_of_later_frames(timecode, seconds, rate, wanted):
    assert shifted(timecode, seconds, Fraction(rate)) == wanted

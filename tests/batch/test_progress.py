"""What a log and Prometheus are told of a corpus."""

import urllib.request

import pytest

from sonomask.batch.job import Ending
from sonomask.batch.progress import Counts
from sonomask.monitoring import served


def test_a_line_comes_every_half_minute_and_says_how_long_it_will_take():
    moments, said = [0.0], []
    counts = Counts(said.append, lambda: moments[0])
    for i in range(1, 13):
        moments[0] = 10.0 * i
        counts.ending(Ending("failed", "bad") if i == 3 else Ending("done", seconds=5.0))
        counts.progress(100 + i, 124)
    assert len(said) == 4
    assert said[-1] == "112 of 124 videos, 1 failed, 6.0 a minute, 0.5 s of video a second, about 2 min left"


def test_prometheus_reads_the_counts_while_the_run_lasts():
    pytest.importorskip("prometheus_client")
    counts = Counts(print)
    with served(counts.figures(), "0", "batch") as address:
        for _ in range(3):
            counts.ending(Ending("done", seconds=2.0))
        counts.progress(3, 7)
        counts.summary.clock.update({"decode": 1.5, "model": 4.0})
        text = urllib.request.urlopen(address, timeout=10).read().decode()  # noqa: S310
    assert "sonomask_batch_videos_done 3.0" in text
    assert "sonomask_batch_videos_wanted 7.0" in text
    assert "sonomask_batch_video_seconds 6.0" in text
    assert 'sonomask_batch_stage_seconds{stage="model"} 4.0' in text
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=10)  # noqa: S310


@pytest.mark.parametrize("address", ["x", "host:port", "127.0.0.1:99999"])
def test_a_strange_address_is_refused(address):
    pytest.importorskip("prometheus_client")
    with pytest.raises(ValueError, match="metrics"), served(Counts(print).figures(), address, "batch"):
        pass

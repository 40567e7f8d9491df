"""Coming back to a source that was lost, on a clock that only waiting moves."""

from types import SimpleNamespace

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.live.capture import Capture
from sonomask.live.feed import Feed
from sonomask.media.live.reader import Epoch, LivePicture, LiveSound, StreamClock
from sonomask.media.live.source import LiveSource

ADDRESS = LiveSource("rtsp://camera", "rtsp://camera", "address")
FILE = LiveSource("clip.mp4", "file:clip.mp4", "file")


class Reader:
    """Gives what is in `items`; an exception among them is raised."""

    def __init__(self, items, finite=False, audio=True, video=True):
        self.items, self.finite, self.bursts = items, finite, False
        self.audio, self.video = (True if audio else None), (True if video else None)
        self.left_out = self.damaged = 0
        self.timeline = StreamClock(Epoch())

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def __iter__(self):
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item


def picture(time):
    return LivePicture(time, (4, 4), SimpleNamespace(width=4, height=4))


def capture(clock, readers, source=ADDRESS, listens=False, **options):
    """With these readers, one after the other; an exception among them is raised at opening."""
    queue, said = list(readers), []

    def open_reader(*_args, epoch, **_kwargs):
        one = queue.pop(0) if queue else MediaError("gone.")
        if isinstance(one, Exception):
            raise one
        epoch.settle(clock.now())
        return one

    feed = Feed(clock.now, listens=listens)
    one = Capture(source, feed, clock=clock, say=said.append, open_reader=open_reader, **options)
    one.run()
    return feed, said, one


def test_a_lost_source_is_tried_again_with_longer_and_longer_waits_until_it_is_back(clock):
    readers = [Reader([picture(0)]), *[MediaError("refused.")] * 3, Reader([picture(9)]), MediaError("no")]
    feed, said, one = capture(clock, readers, patience=60)
    assert clock.waits[:4] == [0.5, 1, 2, 4]
    assert [w.picture.time for w in feed.waiting] == [0, 9]
    assert any("back" in line for line in said)
    assert one.losses == 2


def test_waits_do_not_grow_beyond_half_a_minute(clock):
    capture(clock, [Reader([])], patience=200)
    assert max(clock.waits) == 30


def test_after_the_patience_the_source_is_given_up_with_its_reason(clock):
    feed, _, _ = capture(clock, [Reader([MediaError("rtsp://camera: silent for 10 s")])], patience=20)
    with pytest.raises(MediaError, match=r"gone\. It did not come back in 20 s"):
        feed.take(timeout=0)
    assert clock.time <= 20


def test_without_patience_a_loss_is_the_end_at_once(clock):
    feed, _, _ = capture(clock, [Reader([MediaError("broke off")])], patience=0)
    assert clock.waits == []
    with pytest.raises(MediaError, match="broke off"):
        feed.take(timeout=0)


def test_a_long_healthy_time_makes_the_waits_short_again(clock):
    class Long(Reader):
        def __iter__(self):
            clock.time += 20
            yield from self.items

    capture(clock, [Reader([]), MediaError("x"), Long([]), Long([])], patience=25)
    assert clock.waits[:4] == [0.5, 1, 0.5, 0.5]


def test_a_file_is_read_in_real_time_and_its_end_is_the_end(clock):
    feed, _, one = capture(clock, [Reader([picture(0), picture(0.5), picture(2)], finite=True)], source=FILE)
    assert clock.time == pytest.approx(2)
    assert feed.ended
    assert feed.error is None
    assert one.losses == 0
    assert feed.waiting[-1].captured == pytest.approx(2)


def test_a_stream_that_comes_too_early_is_held_back_two_seconds_ahead(clock):
    capture(clock, [Reader([picture(float(i)) for i in range(6)])], patience=0)
    assert clock.time == pytest.approx(3)


def test_the_end_of_a_pipe_is_the_end(clock):
    feed, _, _ = capture(clock, [Reader([picture(0)])], source=LiveSource("standard input", "-", "pipe"))
    assert (feed.ended, feed.error) == (True, None)


def test_the_end_of_a_sound_of_its_own_does_not_end_the_pictures(clock):
    piece = LiveSound(1.0, np.ones(160, np.float32))
    feed, _, _ = capture(clock, [Reader([piece], finite=True)], source=FILE, listens=True, takes="sound", late=0.25)
    assert not feed.ended
    assert feed.ring.end == pytest.approx(0.76)


@pytest.mark.parametrize(("lacking", "takes", "word"), [("audio", "both", "sound"), ("video", "pictures", "pictures")])
def test_a_source_without_what_it_is_there_for_is_refused(clock, lacking, takes, word):
    feed, _, _ = capture(clock, [Reader([], **{lacking: False})], listens=True, takes=takes)
    with pytest.raises(MediaError, match=f"has no {word}"):
        feed.take(timeout=0)


def test_an_error_that_is_not_foreseen_reaches_the_model_s_thread(clock):
    feed, _, _ = capture(clock, [Reader([RuntimeError("odd")])])
    with pytest.raises(RuntimeError, match="odd"):
        feed.take(timeout=0)

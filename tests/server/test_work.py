"""Where a stranger's video is opened, and where not."""

import pytest

from sonomask.errors import MediaError
from sonomask.media import opening
from sonomask.server.jobs import Job, Limits, Wish
from sonomask.server.work import Segment, open_upload

MODEL = "avs_mini.synthetic"


@pytest.fixture
def closed(monkeypatch):
    """This process opens no media."""

    def refuse(*_, **__):
        pytest.fail("an upload was opened in the process of the service")

    monkeypatch.setattr(opening, "_try_open", refuse)


@pytest.mark.usefixtures("closed")
def test_the_service_itself_never_opens_an_upload(clip, tmp_path):
    job = Job("a", tmp_path, "clip.mp4", Wish(MODEL, 2.0, formats=("overlay", "masks")), Limits())
    job.source.write_bytes(clip.read_bytes())
    Segment({MODEL: MODEL}, "cpu")(job)
    assert sorted(job.files) == ["masks", "overlay"]
    assert (tmp_path / "view" / "preview.mp4").stat().st_size > 1000


@pytest.mark.usefixtures("closed")
def test_limits_hold_in_the_child(clip):
    with pytest.raises(MediaError, match="the limit is 1 s"):
        open_upload(clip, Limits(seconds=1.0))
    with pytest.raises(MediaError, match="the limit is 100"):
        open_upload(clip, Limits(pixels=100))

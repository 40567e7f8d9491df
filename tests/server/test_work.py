"""Where a stranger's video is opened, and where not; which part; how many masks."""

import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media import opening
from sonomask.media.reader import VideoReader
from sonomask.server.job import Job, JobOptions
from sonomask.server.limits import ServerLimits
from sonomask.server.problems import InvalidError
from sonomask.server.reading import UploadReader, open_upload
from sonomask.server.work import Segment, check_options, probe

MODEL = "avs_mini.synthetic"
LIMITS = ServerLimits()


@pytest.fixture
def closed(monkeypatch):
    """This process opens no media."""

    def refuse(*_, **__):
        pytest.fail("an upload was opened in the process of the service")

    monkeypatch.setattr(opening, "_try_open", refuse)


@pytest.fixture(scope="module")
def work():
    return Segment({MODEL: MODEL}, "cpu")


def job_of(clip, tmp_path, limits=LIMITS, **options):
    upload, folder = tmp_path / "upload", tmp_path / "job"
    shutil.copyfile(clip, upload)
    folder.mkdir()
    return Job("a", folder, "clip.mp4", JobOptions(MODEL, **{"rate": 2.0, **options}), limits, upload)


@pytest.mark.usefixtures("closed")
def test_the_service_itself_never_opens_an_upload(clip, tmp_path, work):
    job = job_of(clip, tmp_path, formats=("overlay", "masks"))
    work(job)
    assert sorted(job.files) == ["masks", "overlay"]
    assert (job.folder / "view" / "preview.mp4").stat().st_size > 1000
    assert probe(job.source, LIMITS)["has_audio"]


def test_the_service_runs_no_outside_program(clip, tmp_path, monkeypatch):
    started, begin = [], subprocess.Popen.__init__

    def note(self, words, *more, **options):
        started.append(words[0])
        begin(self, words, *more, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", note)
    probe(job_of(clip, tmp_path).source, LIMITS)
    assert set(started) == {sys.executable}


@pytest.mark.usefixtures("closed")
def test_limits_hold_in_the_child(clip):
    with pytest.raises(ValueError, match="the limit is 1 s"):
        open_upload(clip, ServerLimits(seconds=1.0), JobOptions(MODEL))
    with pytest.raises(MediaError, match="the limit is 100"):
        open_upload(clip, ServerLimits(pixels=100), JobOptions(MODEL))


def test_a_part_is_read_as_if_it_were_the_whole(clip):
    with VideoReader(clip) as whole, UploadReader(clip, LIMITS, start=1.0, end=2.0) as part:
        wanted = [f for f in whole.frames() if 1.0 <= f.time < 2.0]
        frames = list(part.frames())
        assert [round(f.time, 3) for f in frames] == [round(f.time - 1.0, 3) for f in wanted]
        np.testing.assert_array_equal(frames[3].image, wanted[3].image)
        sound = np.concatenate(list(whole.waveform(start=1.0, stop=2.0)))
        heard = np.concatenate(list(part.waveform()))
        assert len(heard) == 16000
        assert np.corrcoef(heard, sound)[0, 1] > 0.99
        assert part.info.duration == pytest.approx(1.0)


def test_a_part_that_begins_within_a_frame_begins_with_that_frame(clip):
    with VideoReader(clip) as whole, UploadReader(clip, LIMITS, start=1.05, end=1.3) as part:
        shown = next(f for f in whole.frames() if f.time == pytest.approx(1.0))
        frames = list(part.frames())
        assert frames[0].time == 0.0
        np.testing.assert_array_equal(frames[0].image, shown.image)


def test_trim_gives_masks_and_a_copy_of_the_part_alone(clip, tmp_path, work):
    job = job_of(clip, tmp_path, formats=("jsonl", "overlay"), start=1.0, end=2.0)
    work(job)
    for path in (job.files["overlay"], job.folder / "view" / "preview.mp4"):
        with VideoReader(path) as made:
            assert made.info.duration == pytest.approx(1.0, abs=0.15)
    assert len([line for line in job.files["jsonl"].read_text().splitlines() if '"time"' in line]) == 2


@pytest.mark.parametrize("part", [{"start": 3.5}, {"start": 2.0, "end": 2.0}])
def test_a_part_that_is_not_there_is_refused(clip, part):
    with pytest.raises(ValueError, match=r"`(start|end)`"):
        open_upload(clip, LIMITS, JobOptions(MODEL, **part))


def test_no_more_masks_a_second_than_the_limit_at_native_rate(tmp_path):
    fast = tmp_path / "fps1000.mp4"
    with av.open(str(fast), "w") as out:
        stream = out.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(500):
            out.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        out.mux(stream.encode(None))
    with pytest.raises((ValueError, MediaError), match=r"masks per second"):
        list(open_upload(fast, LIMITS, JobOptions(MODEL, "native")).frames(size=(8, 8)))


def test_a_clip_that_lies_about_its_rate_is_found_out(clip):
    reader = UploadReader(clip, LIMITS, most=8)
    reader.most = 4  # the clip has 8 frames a second
    with reader, pytest.raises(MediaError, match="more than 4 frames in a second"):
        list(reader.frames())


def test_no_more_masks_than_the_limit(clip, tmp_path, work):
    with pytest.raises(ValueError, match="makes 6 masks, and the limit is 3"):
        open_upload(clip, ServerLimits(masks=3), JobOptions(MODEL, 2.0))
    job = job_of(clip, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sonomask.server.work.open_upload", lambda path, *_: UploadReader(path, LIMITS))
        job.limits = ServerLimits(masks=3)
        with pytest.raises(ValueError, match="More than 3 masks"):
            work(job)


def test_a_reader_that_is_killed_ends_with_an_error_at_once(clip):
    with UploadReader(clip, LIMITS) as reader:
        frames = reader.frames()
        next(frames)
        reader.kill()
        with pytest.raises(MediaError):
            list(frames)
        assert reader._child.process.wait(10) is not None


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"model": "/etc/passwd"}, "model"), ({"formats": ()}, "formats"), ({"rate": 121.0}, "rate"),
        ({"threshold": 1.5}, "threshold"), ({"min_presence": float("nan")}, "min_presence"), ({"expand": 1000}, "expand"),
        ({"start": float("inf")}, "start"), ({"start": 1.0, "end": 1.0}, "end"), ({"end": 1000.0}, "end"),
    ],
)  # fmt: skip
def test_a_job_beyond_what_is_offered_is_refused(options, field):
    with pytest.raises(InvalidError) as error:
        check_options(JobOptions(**{"model": MODEL, **options}), [MODEL], LIMITS)
    assert error.value.field == field


def test_the_work_needs_no_web_framework():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['fastapi', 'uvicorn', 'starlette'])); "
        "import sonomask.server.jobs, sonomask.server.work"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_other_program_s_server_is_mounted():
    project = Path(__file__).parents[2]
    mine = [project / "pyproject.toml", *(project / "src" / "sonomask" / "server").rglob("*.py")]
    assert not any("gradio" in path.read_text(encoding="utf-8") for path in mine)

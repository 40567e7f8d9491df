"""What `segment` takes for videos, and how its outputs are called."""

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sonomask.cli import inputs as module
from sonomask.cli.inputs import inputs, opened
from sonomask.cli.main import main
from sonomask.cli.shared import lines, logger, set_verbosity
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import MediaError
from sonomask.media.reader import VideoReader
from sonomask.media.suffixes import VIDEOS, skipped, videos_in
from sonomask.media.writer import write_wav
from sonomask.outputs.names import output_paths, output_stem, output_stems, shortened

QUICK = ["-q", "--model", "avs_mini.synthetic", "--device", "cpu", "--rate", "1"]


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path / "clip.mp4", scene(3, size=(64, 96), seconds=2), 8)
    return tmp_path / "clip.mp4"


@pytest.fixture
def tree(tmp_path):
    for name in ("b.MTS", "a.mp4", "sub/c.mxf", "notes.txt", "d.srt", ".hidden"):
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "films"


def names(found):
    return [Path(item.name).name for item in found]


def test_a_folder_gives_its_videos_and_says_what_it_skips(tree):
    found, notes = inputs([str(tree)])
    assert names(found) == ["a.mp4", "b.MTS", "c.mxf"]
    (note,) = notes
    assert "2 files (.srt, .txt)" in note or "2 files (.txt, .srt)" in note


def test_globs_lists_and_doubles(tree, tmp_path):
    (tmp_path / "list.txt").write_text("# mine\nfilms/a.mp4\n\nhttps://x.org/v.mp4\n")
    found, _ = inputs([str(tree / "*.m*"), str(tree / "**" / "*.mxf"), str(tmp_path / "list.txt"), str(tree / "a.mp4")])
    assert names(found) == ["a.mp4", "c.mxf", "v.mp4"]


@pytest.mark.parametrize("word", ["*.nothing", "empty"])
def test_nothing_is_an_error_in_one_line(tmp_path, word):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match=r"nothing matches|without videos"):
        inputs([str(tmp_path / word)])


@pytest.mark.parametrize(
    ("count", "seconds", "fps"), [(48, 2.0, 24), (50, 2.0, 25), (60, 2.0, 30), (20, 2.0, 10), (12, None, 25)]
)
def test_pictures_and_a_sound_become_a_video_of_the_rate_that_fits(tmp_path, count, seconds, fps):
    folder = tmp_path / "shot"
    folder.mkdir()
    for i in range(count):
        Image.fromarray(np.full((32, 48, 3), 4 * i, np.uint8)).save(folder / f"frame{i}.png")  # in the order of numbers
    if seconds:
        write_wav(folder / "sound.wav", (0.5 * np.sin(np.arange(round(seconds * 16_000)) / 6)).astype(np.float32))
    (item,), _ = inputs([str(folder)])
    assert item.kind == "pictures"
    with opened(item) as path, VideoReader(path) as reader:
        assert reader.info.fps == fps
        assert reader.info.has_audio == bool(seconds)
        assert [frame.image[0, 0, 0] for frame in reader.frames()] == [4 * i for i in range(count)]
        if seconds:
            assert sum(map(len, reader.waveform())) == pytest.approx(32_000, abs=800)
    with opened(item, 12.5) as path, VideoReader(path) as reader:
        assert reader.info.fps == Fraction(25, 2)


def test_standard_input_is_a_video(clip, monkeypatch, tmp_path):
    monkeypatch.setattr(module.sys, "stdin", io.TextIOWrapper(io.BytesIO(clip.read_bytes())))
    monkeypatch.chdir(tmp_path)
    assert main(["segment", "-", *QUICK, "--format", "jsonl", "--out", "r"]) == 0
    assert (tmp_path / "r" / "standard_input.jsonl").stat().st_size > 100


def test_a_folder_is_segmented(clip, tmp_path, capsys):
    assert main(["segment", str(clip.parent), *QUICK, "--format", "jsonl", "srt", "--out", str(tmp_path / "r")]) == 0
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"clip.jsonl", "clip.srt"}
    assert "2 masks" in capsys.readouterr().out


def test_out_may_be_the_file(clip, tmp_path, capsys):
    assert main(["segment", str(clip), *QUICK, "--out", str(tmp_path / "sub" / "result.mp4")]) == 0
    with av.open(str(tmp_path / "sub" / "result.mp4")) as file:
        assert file.streams.video
    for more in (["--format", "srt"], ["--format", "overlay", "dim"], ["--format", "masks"]):
        assert main(["segment", str(clip), *QUICK, "--out", str(tmp_path / "other.mp4"), *more]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "other.mp4").exists()


def test_one_file_for_two_videos_is_refused(clip, tmp_path, capsys):
    (tmp_path / "two.mp4").write_bytes(clip.read_bytes())
    assert main(["segment", str(clip), str(tmp_path / "two.mp4"), *QUICK, "--out", str(tmp_path / "r.mp4")]) == 2
    assert "there are 2 videos" in capsys.readouterr().err


def test_videos_of_one_name_get_distinct_ones(tmp_path):
    def found(*paths, out=tmp_path / "r"):
        return [stem.name for stem in output_stems([tmp_path / path for path in paths], out)]

    assert found("cam1/0001.mp4", "cam2/0001.mp4") == ["cam1_0001", "cam2_0001"]
    assert found("a.mp4", "a.mkv") == ["a_mp4", "a_mkv"]
    assert found("a.mp4", "b.mp4") == ["a", "b"]
    assert found("x/a/1.mp4", "y/a/1.mp4") == ["1", "1_2"]
    assert found("cam1/0001.mp4", "cam2/0001.mp4", out=None) == ["0001", "0001"]  # each beside its video


@pytest.mark.parametrize("name", ["n" * 248, "é" * 124, "字" * 82])
def test_a_name_with_no_room_for_a_suffix_is_shortened(tmp_path, name):
    short = output_stem(tmp_path / f"{name}.mp4").name
    assert len(short.encode()) <= 200
    assert short == shortened(name) != shortened(f"{name}x")
    assert shortened("short") == "short"


def test_a_video_with_a_long_name_is_done_and_the_name_told(clip, tmp_path, capsys):
    long = tmp_path / f"{'n' * 248}.mp4"
    clip.rename(long)
    assert main(["segment", str(long), *QUICK[1:], "--format", "overlay", "masks"]) == 0
    assert "results are called" in capsys.readouterr().err


def test_other_suffixes_are_folders(tmp_path):
    assert output_paths("v.mp4", tmp_path / "2026.11", ["srt"]) == {"srt": tmp_path / "2026.11" / "v.srt"}


def test_a_part_is_asked_for_by_the_clock(clip, tmp_path):
    assert (
        main(
            ["segment", str(clip), *QUICK, "--start", "0:01", "--end", "2", "--format", "masks", "--out", str(tmp_path)]
        )
        == 0
    )
    (mask,) = (tmp_path / "clip.masks").glob("*.png")
    assert float(mask.stem) == pytest.approx(1.94, abs=0.1)


def test_every_verb_has_the_same_list_of_suffixes(tree):
    from sonomask.batch import sources

    assert sources.VIDEOS is VIDEOS
    assert {".mts", ".m2ts", ".vob", ".mxf", ".asf", ".mp4"} <= VIDEOS
    assert [path.name for path in videos_in(tree)] == ["a.mp4", "b.MTS", "c.mxf"]
    assert skipped(tree / "sub") == ""


def test_batch_and_prepare_say_what_they_skip(tree, caplog):
    from sonomask.batch.sources import expand
    from sonomask.data.prepare import _rows

    assert len(expand([str(tree)])) == 3
    assert "skipped" in caplog.text
    caplog.clear()
    assert len(list(_rows(tree))) == 3
    assert "skipped" in caplog.text


def test_a_line_of_progress_comes_every_30_seconds(capsys, monkeypatch):
    monkeypatch.setattr(logger, "level", logger.level)
    clock = iter([0.0, 10.0, 31.0, 31.0, 40.0, 62.0, 62.0]).__next__
    set_verbosity(quiet=False, verbose=False)
    tell = lines("v.mp4", clock)
    for done in (5.0, 15.0, 20.0, 40.0):
        tell(done, 80.0)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "15 s of 80 s (19%)" in said[0].replace("15 of", "15 s of")


COMMAND = [sys.executable, "-c", "from sonomask.cli.main import main; import sys; sys.exit(main())"]


def test_who_reads_the_first_line_only_is_no_error():
    with subprocess.Popen([*COMMAND, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.close()  # as `head` does, but surely before it writes
        assert run.stderr.read() == b""
        assert run.wait() == 0


def test_a_console_that_lacks_a_letter_shows_another(tmp_path):
    import os

    env = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    run = subprocess.run([*COMMAND, "segment", str(tmp_path / "字.mp4")], capture_output=True, env=env, check=False)
    assert run.returncode == 2
    assert b"?.mp4: no such file" in run.stderr

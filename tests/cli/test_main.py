"""The command line as a user meets it, and the one-call face, with the built-in model on the example."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import sonomask
from sonomask.api import output_stem
from sonomask.cli.main import RECIPES, VERBS, main
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / "clip.mp4", scene(3, size=(64, 96), seconds=2), 8)
    return tmp_path / "clip.mp4"


def test_one_command_writes_an_overlay_with_sound(video, capsys):
    assert main(["segment", str(video)]) == 0
    made = video.with_name("clip.overlay.mp4")
    assert str(made) in capsys.readouterr().out
    with av.open(str(made)) as container:
        assert container.streams.audio
        assert sum(1 for _ in container.decode(video=0)) == 16


def test_masks_are_named_by_time_and_told_in_the_manifest(video, tmp_path):
    words = ["--out", str(tmp_path / "o"), "--format", "masks", "npz", "--rate", "2", "--threshold", "0.3"]
    assert main(["segment", str(video), *words]) == 0
    manifest = json.loads((tmp_path / "o" / "clip.masks" / "manifest.json").read_text())
    assert manifest["about"]["threshold"] == 0.3
    assert len(manifest["frames"]) == 4
    with Image.open(tmp_path / "o" / "clip.masks" / manifest["frames"][0]["file"]) as mask:
        assert mask.size == (96, 64)
    assert np.load(tmp_path / "o" / "clip.npz")["probability"].shape == (4, 64, 96)


def test_the_second_video_goes_on_when_the_first_fails(video, tmp_path, capsys):
    assert main(["segment", str(tmp_path / "none.mp4"), str(video), "--rate", "1"]) == 1
    printed = capsys.readouterr()
    assert "none.mp4: no such file." in printed.err
    assert "clip.overlay.mp4" in printed.out


def test_a_name_cannot_act_on_the_terminal(video, tmp_path, capsys):
    odd = "\x1b]0;mine\x07\x1b[2J\rfine\n\u202egpm\x9b"
    good = video.rename(tmp_path / f"{odd}.mp4")
    (tmp_path / f"{odd}.mkv").write_bytes(b"none")
    assert (
        main(["segment", str(good), str(tmp_path / f"{odd}.mkv"), "--rate", "1", "--out", str(tmp_path / "out")]) == 1
    )
    assert main(["segment", str(tmp_path / f"{odd}?"), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert text.strip()
        assert not [letter for letter in text if letter != "\n" and not letter.isprintable()]
    assert "\\x1b" in printed.err


def test_an_existing_output_is_kept_unless_told_otherwise(video, capsys):
    made = video.with_name("clip.overlay.mp4")
    made.write_text("precious")
    assert main(["segment", str(video), "--rate", "1"]) == 2
    assert "overwrite" in capsys.readouterr().err
    assert made.read_text() == "precious"
    assert main(["segment", str(video), "--rate", "1", "--overwrite"]) == 0
    assert made.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "nothing"], "built-in"),
        (["--device", "tpu"], "device"),
        (["--rate", "0"], "rate"),
        (["--threshold", "7"], "threshold"),
    ],
)
def test_a_wrong_word_costs_one_line_and_code_two(words, says, video, capsys):
    assert main(["segment", str(video), *words]) == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert "Traceback" not in printed


def test_ctrl_c_leaves_no_half_file(video, monkeypatch):
    monkeypatch.setattr("sonomask.inference.segmenter.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    before = sorted(video.parent.iterdir())
    assert main(["segment", str(video)]) == 130
    assert sorted(video.parent.iterdir()) == before


def test_a_video_without_sound_is_refused(tmp_path, capsys):
    from sonomask.media.writer import VideoWriter

    with VideoWriter(tmp_path / "mute.mp4", size=(32, 32), rate=5) as writer:
        for i in range(5):
            writer.write(np.zeros((32, 32, 3), np.uint8), i / 5)
    assert main(["segment", str(tmp_path / "mute.mp4")]) == 2
    assert "no sound" in capsys.readouterr().err


def test_outputs_lie_beside_a_file_and_here_for_an_address(tmp_path):
    assert output_stem(tmp_path / "a.mp4") == tmp_path / "a"
    assert output_stem("https://x.org/v/my%20clip.mp4?t=1").name == "my clip"
    assert output_stem("https://x.org/../../etc/passwd").parent.name == ""


def test_the_help_tells_every_verb_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    printed = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(verb in printed for verb in ("segment", "train", "evaluate", "synth", "prepare", "doctor", "convert"))
    assert "130" in printed


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["version"]])
def test_the_version_is_told(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == sonomask.__version__


def test_a_mistyped_command_is_told_what_was_meant(capsys):
    assert main(["segmnt", "clip.mp4"]) == 2
    assert capsys.readouterr().err.strip() == "sonomask: There is no command 'segmnt'. Did you mean segment?"


def test_the_package_can_be_run(tmp_path):
    words = [sys.executable, "-m", "sonomask", "models"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "world_duo.real  (the default)" in done.stdout
    assert "Licence of the weights: research and demonstration" in " ".join(done.stdout.split())


def test_synth_doctor_and_models(tmp_path, capsys):
    assert main(["synth", str(tmp_path / "t"), "--preset", "tiny", "--subsets", "ms3"]) == 0
    assert main(["doctor", str(tmp_path / "t"), "--subsets", "ms3"]) == 0
    shutil.rmtree(tmp_path / "t" / "Multi-sources" / "ms3_data" / "audio_wav")
    shutil.rmtree(tmp_path / "t" / "Multi-sources" / "ms3_data" / "raw_videos")
    assert main(["doctor", str(tmp_path / "t"), "--subsets", "ms3"]) == 1
    assert main(["models"]) == 0
    assert "avs_mini.synthetic" in capsys.readouterr().out


def test_the_built_in_model_marks_what_sounds_in_the_example():
    examples = Path(__file__).parents[2] / "examples"
    made = runpy.run_path(str(examples / "make_example.py"))["three_things"]()
    segmenter = sonomask.Segmenter(sonomask.load("avs_mini.synthetic"), rate=5)
    together = either = silent = 0
    for masks in segmenter(examples / "three_things.mp4"):
        truth = made.frame(masks.times[0])[1] > 0
        found = masks.mask[0]
        together, either = together + (truth & found).sum(), either + (truth | found).sum()
        silent += found.mean() if not truth.any() else 0
    assert together / either > 0.5
    assert silent / 10 < 0.01  # ten masks in the two silent seconds


def test_the_readmes_python_does_what_it_says(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parents[2]
    shutil.copytree(root / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    code = (root / "README.md").read_text().split("```python\n")[1].split("```")[0]
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README
    assert capsys.readouterr().out.count("(1, 240, 320)") == 10


QUICK = [["--help"], ["--version"], ["models"], ["segmnt", "x"], []]


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_what_computes_nothing_loads_nothing_slow(words):
    code = (
        "import sys; from sonomask.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "slow = {'jsonargparse', 'numpy', 'cv2', 'av', 'onnxruntime', 'torch'} & set(sys.modules)\n"
        "print(sorted(slow), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_help_lists_every_command_and_no_words_are_an_error(capsys):
    assert main([]) == 2
    listed = capsys.readouterr().out
    assert all(name in listed for name in [*VERBS, *RECIPES])


def test_processes_that_a_command_starts_import_nothing_from_the_current_folder(tmp_path):
    """What lies beside a stranger's video must not run, in whatever process."""
    (tmp_path / "os_marker.py").write_text("open('ran', 'w').close()\n")
    code = (
        "import subprocess, sys\n"
        "from sonomask.cli.main import main\n"
        "main(['models'])\n"
        "ended = subprocess.run([sys.executable, '-c', 'import os_marker'], capture_output=True)\n"
        "sys.exit(0 if b'ModuleNotFoundError' in ended.stderr else 1)\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    command = [sys.executable, "-P", "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "ran").exists()


def test_help_on_training_without_the_extra_names_it_in_one_line(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "sonomask.training.rows", raising=False)
    monkeypatch.setitem(sys.modules, "yaml", None)  # an import of it fails as if it were not installed
    assert main(["train", "--help"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "sonomask[torch]" in said

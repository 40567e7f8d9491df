"""The recipe of the built-in model, with a few steps of everything."""

import subprocess
import sys
from pathlib import Path

import pytest

import sonomask

RECIPE = Path(__file__).parents[1] / "recipes" / "real_world.py"


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["tpavi", "add", "none"])
def test_pictures_and_recordings_become_a_model_that_marks_a_video(fusion, small_tables, tmp_path):
    images, sounds = map(str, small_tables)
    command = [sys.executable, str(RECIPE), "--images", images, "--sounds", sounds, "--out", str(tmp_path)]
    small = ["--size", "64", "--frames", "160", "--steps", "2", "2", "2", "2"]
    subprocess.run([*command, "--fusion", fusion, *small], check=True, timeout=600)
    model = sonomask.load(str(tmp_path / f"model_{fusion}"))
    assert model.config.image_size == (64, 64)
    assert model.config.presence is not None
    assert model.config.listens == (fusion != "none")

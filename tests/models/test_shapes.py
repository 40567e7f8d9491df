"""What annotations say of shapes and types is true: checked at every call while each net answers and trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sonomask.models.catalog import records

TESTS = Path(__file__).parents[1]
CODE = """
import sys, warnings

warnings.simplefilter("ignore")
import shape_check
import test_nets as nets

name = sys.argv[1]
more, prepare = nets.PREPARED.get(name, ({}, None))
model, clips = nets.build(name, **more), nets.batch(b=3)
clips = nets.Batch(**{**vars(clips), "categories": ("dog", "car", "cat")})
if prepare is not None:
    prepare(model)
model.eval()(clips.images, clips.logmel if model.config.listens else None, clips.valid)
if name in nets.TRAINED:
    model.train().started()
    model.objective(clips)
print("all as it says")
"""


def checked(name):
    return run("-c", CODE, name)


def run(*words):
    places = [str(TESTS), str(TESTS / "models"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, cwd=TESTS.parent, env=env
    )


def test_losses_and_metrics_are_given_and_give_what_their_annotations_say(tmp_path):
    words = ("-m", "pytest", "-p", "shape_check", "-p", "no:cacheprovider", f"--basetemp={tmp_path}")
    chosen = ("-m", "not slow and not wrong_arguments", "-k", "not two_processes", "tests/losses", "tests/metrics")
    done = run(*words, *chosen)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", records())
def test_a_net_is_given_and_gives_what_its_annotations_say(name):
    done = checked(name)
    assert done.stdout.strip() == "all as it says", done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_check_sees_a_shape_that_is_wrong(monkeypatch):
    monkeypatch.setitem(globals(), "CODE", CODE.replace("clips.valid)", "clips.valid[:, :1])"))
    assert "Type-check error" in checked("lvs").stderr

"""What annotations say of shapes and types is true: checked at every call while each net answers and trains."""

import subprocess
import sys
from pathlib import Path

import pytest

from sonomask.models.catalog import records

CODE = """
import sys, types, warnings
import beartype
from jaxtyping import install_import_hook

warnings.simplefilter("ignore")
checker = types.ModuleType("shape_checker")
checker.check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))  # a whole number is a float, too
sys.modules["shape_checker"] = checker
rooms = ("sonomask.audio", "sonomask.losses", "sonomask.metrics", "sonomask.models")
install_import_hook(rooms, "shape_checker.check")  # before any of them is imported

sys.path.insert(0, sys.argv[1])
import test_nets as nets

name = sys.argv[2]
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
    words = (sys.executable, "-c", CODE, str(Path(__file__).parent), name)
    return subprocess.run(words, capture_output=True, text=True, check=False)


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

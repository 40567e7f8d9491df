"""A new net is three files, and every contract finds it by itself: shown on a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = ("tests/models/test_nets.py", "tests/training/test_parts.py")
FILES = {
    "src/sonomask/models/nets/scratch.py": '''"""A convolution of picture and loudness."""

from typing import Any

from torch import nn

from sonomask.batches import Output
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig


class Scratch(Net):
    """Marks what a convolution finds, louder where it is louder."""

    parts = Parts(backbone="seen", pretrained="seen")

    def __init__(self, *, config: ModelConfig, width: int = 8) -> None:
        super().__init__()
        self.config = config
        self.seen = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))
        self.loud = nn.Linear(1, 1)

    def forward(self, images: Any, logmel: Any, valid: Any = None) -> Output:
        """The logits of every pixel."""
        scores = self.seen(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        if logmel is not None:
            scores = scores + self.loud(logmel.mean((2, 3, 4))[..., None])[..., None, None]
        return Output(gate(scores, valid))


RECORD = ModelRecord(
    build=Scratch,
    presets={"scratch_8": {}, "scratch_16": {"width": 16}},
    purpose="shows what a new net takes",
    paper="none",
    readers=("scratch",),
    licences={"published": "Apache-2.0"},
)
''',
    "src/sonomask/checkpoints/published/scratch.py": '''"""Scratch's files."""

from collections.abc import Mapping

from torch import Tensor

from sonomask.checkpoints.published.layout import NO_HINTS, Hints, Layout


def recognise(tensors: Mapping[str, Tensor], _: Hints = NO_HINTS) -> Layout | None:
    """What the file is; None if it is no Scratch."""
    first = tensors.get("net.eye.0.weight")
    if first is None:
        return None
    names = ((r"^net\\.eye\\.", "seen."), (r"^net\\.ear\\.", "loud."))
    return Layout("Scratch", f"scratch_{len(first)}", {}, names, dead=(r"^net\\.unused\\.",))
''',
    "tests/models/nets/test_scratch.py": '''"""Scratch's published file."""

import torch

from sonomask.checkpoints.folder import load
from sonomask.cli.main import main
from sonomask.models.catalog import create_model


def test_its_authors_file_is_converted(tmp_path):
    ours = create_model("scratch_16").eval()
    names = {"seen.": "net.eye.", "loud.": "net.ear."}
    theirs = {names[key[:5]] + key[5:]: value for key, value in ours.state_dict().items()}
    torch.save({**theirs, "net.unused.weight": torch.zeros(3)}, tmp_path / "scratch.pth")
    assert main(["convert", str(tmp_path / "scratch.pth"), str(tmp_path / "model")]) == 0
    clip = torch.randn(1, 2, 3, 32, 32), torch.randn(1, 2, 1, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "model")(*clip).logits, ours(*clip).logits)
''',
}
WRONG = {
    "models/nets/other.py": "from sonomask.models.nets.avs import AVS",  # a net that builds on another
    "models/parts/other.py": "from sonomask.media.reader import VideoReader",  # a part that opens videos
    "checkpoints/published/other.py": "from sonomask.models.catalog import create_model",  # a reader that builds
    "inference/other.py": "import torch",  # a new file of the core
    "newroom/other.py": "import torch",  # a new room, of which no contract knows
    "outputs/other.py": "from sonomask.inference.segmenter import Segmenter",  # a format that runs a model
    "live/sinks/other.py": "from sonomask.live.sinks.lines import JsonLines",  # a sink that leans on another
    "training/other.py": "from sonomask.data.avsbench import AVSBench",
    "server/other.py": "import av",
}


@pytest.fixture
def copy(tmp_path):
    """The package, its contract tests and its import rules, where files can be added; weights are links."""
    where = tmp_path / "project"
    ignore = shutil.ignore_patterns("__pycache__", "pretrained")
    shutil.copytree(ROOT / "src", where / "src", ignore=ignore)
    (where / "src" / "sonomask" / "pretrained").symlink_to(ROOT / "src" / "sonomask" / "pretrained")
    shutil.copytree(ROOT / "benchmarks", where / "benchmarks", ignore=ignore)
    shutil.copytree(ROOT / "tests" / "golden", where / "tests" / "golden")
    for name in ("pyproject.toml", "tests/conftest.py", *CONTRACTS):
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, where / name)
    return where


def run(where, *words):
    """The end of a command's output, and its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(where / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, cwd=where, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode


def rules(where):
    return run(where, sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_files_are_enough_and_every_contract_test_runs_on_the_net(copy):
    for name, text in FILES.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)
    python = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
    listed, _ = run(copy, *python, "--collect-only", *CONTRACTS)
    kinds = {net: set(re.findall(rf"::(\w+)\[(?:{net}|{net}-\w+)\]", listed)) for net in ("avs", "scratch")}
    assert kinds["scratch"] == kinds["avs"]
    assert len(kinds["avs"]) >= 8
    told, status = run(copy, *python, "-k", "scratch", "tests/models", "tests/training")
    assert status == 0, told[-3000:]
    told, status = run(copy, sys.executable, "-m", "sonomask", "models", "--networks")
    assert status == 0
    assert "scratch_16" in told
    assert "shows what a new net takes" in told
    told, status = rules(copy)
    assert status == 0, told[-3000:]


def test_a_new_file_that_breaks_a_rule_is_seen_by_itself(copy):
    for name, text in WRONG.items():
        path = copy / "src" / "sonomask" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(f'"""Wrong."""\n\n{text}\n')
    told, status = rules(copy)
    assert status != 0
    for name in WRONG:
        module = "sonomask." + name.removesuffix(".py").replace("/", ".")
        assert module in told, name

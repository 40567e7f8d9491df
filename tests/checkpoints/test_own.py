"""A network that is not in the catalogue trains and is scored."""

import textwrap

import pytest

from sonomask.checkpoints.own import build
from sonomask.cli.main import main

NET = """
    from torch import nn

    from sonomask.batches import Output
    from sonomask.models.parts.net import Net
    from sonomask.structures import ModelConfig


    class Spot(Net):
        def __init__(self, width=4):
            super().__init__()
            self.config = ModelConfig(name="spot", options={"width": width}, listens=False)
            self.layers = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))

        def forward(self, images, logmel, valid=None):
            return Output(self.layers(images.flatten(0, 1)).unflatten(0, images.shape[:2]))


    def other(**_):
        return nn.Identity()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "spots_of_mine.py").write_text(textwrap.dedent(NET))
    monkeypatch.chdir(tmp_path)
    return "spots_of_mine"


@pytest.mark.filterwarnings("ignore")  # Lightning warns of CPUs, workers and arguments
def test_a_model_of_ones_own_is_trained_and_scored_by_its_path(module, tmp_path, capsys):
    sizes = {"train": 2, "val": 2, "test": 2, "size": 32, "workers": 0}
    data = ["--data", "synthetic", *(f"--data.{key}={value}" for key, value in sizes.items())]
    quiet = [f"--trainer.{x}" for x in ("max_epochs=1", "accelerator=cpu", "enable_progress_bar=false")]
    own = ["--model.model", f"{module}.Spot", "--model.options", "{width: 6}"]
    assert main(["train", *own, *data, *quiet, "--out", str(tmp_path / "run")]) == 0
    words = ["evaluate", "--model", str(tmp_path / "run"), *data, "--out", str(tmp_path / "test"), "--device", "cpu"]
    assert main([*words, "--model_class", f"{module}.Spot"]) == 0
    assert "avsbench | miou" in capsys.readouterr().out
    assert (tmp_path / "test" / "clips.csv").is_file()
    assert main(words) == 2  # the folder alone names no code
    assert main(["convert", str(tmp_path / "run" / "last.ckpt"), str(tmp_path / "m")]) == 2


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [("Nothing", ValueError, "can't be built"), ("other", ValueError, "got a Identity")],
)
def test_what_is_no_network_of_ours_is_refused(name, error, said, module):
    with pytest.raises(error, match=said):
        build(f"{module}.{name}", {})
    with pytest.raises(ValueError, match="can't be built"):
        build("no.such.module", {})

"""README's first screen: its command prints what it says, and its picture is what the command makes."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonomask.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def examples(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("examples")
def test_the_first_command_prints_what_the_readme_says(capsys):
    command = re.search(r"^    sonomask (segment examples/friday\.mp4 --out \S+)$", README, re.MULTILINE)[1]
    printed = re.search(r"^    (results/friday\.overlay\.mp4 .*)$", README, re.MULTILINE)[1]
    assert main(command.split()) == 0
    numbers = r"(\d+) masks, ([\d.]+)%"
    masks, share = re.search(numbers, capsys.readouterr().out).groups()
    said_masks, said_share = re.search(numbers, printed).groups()
    assert masks == said_masks
    assert float(share) == pytest.approx(float(said_share), abs=0.3)  # processors round differently


@pytest.mark.usefixtures("examples")
def test_the_picture_is_what_its_command_makes(tmp_path):
    command = re.search(r"Made by `sonomask (segment [^`]+)`", README)[1]
    assert main([*command.split(), "--out", "made"]) == 0
    made = Image.open(tmp_path / "made" / "friday.sheet.png").convert("RGB")
    shown = Image.open(ROOT / "docs" / "pictures" / "friday.webp").convert("RGB")
    assert made.size == shown.size
    difference = np.abs(np.asarray(made, np.int16) - np.asarray(shown, np.int16)).mean()
    assert difference < 3  # of 255; the rest is WebP's loss


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", README))))
def test_what_the_readme_links_to_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.usefixtures("examples")
def test_the_notebook_runs():
    names = {}
    for cell in json.loads((ROOT / "examples" / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), names)  # noqa: S102 - our own notebook
    assert len(names["masks"]) == 7
    assert set(names["result"].files) == {"masks", "coco", "jsonl"}

"""Fixtures that every room's tests share."""

import atexit
import csv
import json
import math
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

GOLDEN = Path(__file__).parent / "golden" / "reference.tar.xz"

CACHE = Path(tempfile.mkdtemp(prefix="sonomask-test-cache-"))
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

torch.set_num_threads(1)  # two pytest workers share two cores; more threads only fight


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Undo what a test does to the environment: a command run in this process sets variables for its own children."""
    with mock.patch.dict(os.environ, SONOMASK_CACHE=str(CACHE)):
        yield


@pytest.fixture(scope="session")
def conforms() -> Callable[[str, object], None]:
    """A function that validates a value against a schema of docs/schemas."""

    def validate(name: str, value: object) -> None:
        text = (Path(__file__).parents[1] / "docs" / "schemas" / f"{name}.json").read_text(encoding="utf-8")
        jsonschema.validate(value, json.loads(text), jsonschema.Draft202012Validator)

    return validate


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the references' numbers in `golden`, unpacked from tests/golden/reference.tar.xz.

    Its arrays are rounded to a tenth of the tolerance of the tests that read them, so that they are 6 MB.
    """
    folder = tmp_path_factory.mktemp("reference")
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(folder / "golden", filter="data")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Golden numbers of the AVSBench reference."""
    return shared / "golden" / "avs"


@pytest.fixture(scope="session")
def fill() -> Callable[[Mapping[str, Sequence[int]]], dict[str, torch.Tensor]]:
    """The golden numbers' rule for weights: shapes by key of the reference in, a state dict out.

    Each key has its own generator, so the order does not matter.
    """

    def values(key: str, shape: Sequence[int]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        last = key.rsplit(".", 1)[-1]
        if last == "num_batches_tracked":
            return torch.zeros((), dtype=torch.long)
        if last == "running_var":
            return 0.5 + torch.rand(tuple(shape), generator=generator)
        noise = torch.randn(tuple(shape), generator=generator)
        if last == "running_mean" or (last == "bias" and len(shape) < 2):
            return 0.1 * noise
        if len(shape) >= 2:
            return noise / math.prod(shape[1:]) ** 0.5
        return (1 if last == "weight" else 0) + 0.1 * noise

    return lambda shapes: {key: values(key, shape) for key, shape in shapes.items()}


@pytest.fixture(scope="session")
def small_tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """images.csv and sounds.csv of a small library: discs of a colour for each category, tones of a pitch."""
    from sonomask.media.writer import write_wav  # needs PyAV, which other tests do without

    root = tmp_path_factory.mktemp("library")
    rng = np.random.default_rng(0)
    pictures, sounds = [], []
    y, x = np.mgrid[:60, :80]
    disc = (y - 30) ** 2 + (x - 40) ** 2 < 400
    for kind, colour in (("person", (255, 0, 0)), ("dog", (0, 255, 0)), ("horse", (0, 0, 255))):  # a horse has no sound
        for i in range(10):
            image = rng.integers(80, 120, (60, 80, 3), dtype=np.uint8)
            image[disc] = colour
            Image.fromarray(image).save(root / f"{kind}{i}.png")
            Image.fromarray(disc.astype(np.uint8) * 255).save(root / f"{kind}{i}_mask.png")
            pictures.append([f"{kind}{i}.png", f"{kind}{i}_mask.png", kind, f"{kind}{i}"])
    for i in range(10):
        Image.fromarray(rng.integers(0, 60, (60, 80, 3), dtype=np.uint8)).save(root / f"ground{i}.png")
        pictures.append([f"ground{i}.png", "", "room", f"ground{i}"])
    for kind, pitch in (("speech", 300), ("dog", 900), ("siren", 2000)):
        for i in range(10):
            tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(16000) / 16000).astype(np.float32)
            tone[4000:12000] = 0  # a long pause
            write_wav(root / f"{kind}{i}.wav", tone)
            sounds.append([f"{kind}{i}.wav", kind, f"{kind}{i}"])
    for name, head, rows in (
        ("images.csv", ["image", "mask", "category", "group"], pictures),
        ("sounds.csv", ["sound", "category", "group"], sounds),
    ):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])
    return root / "images.csv", root / "sounds.csv"

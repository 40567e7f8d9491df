"""Fixtures that every room's tests share."""

import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SONOMASK_SHARED", ROOT.parent / "shared"))

torch.set_num_threads(1)  # two pytest workers share two cores; more threads only fight


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the reference's numbers; absent from a user's checkout."""
    if not (SHARED / "golden").is_dir():
        if os.environ.get("SONOMASK_REQUIRE_SHARED"):
            pytest.fail(f"SONOMASK_REQUIRE_SHARED is set, but there is no {SHARED}/golden.")
        pytest.skip(
            f"The reference's numbers ({SHARED}/golden) are not here; they are the project's own, not a user's."
        )
    return SHARED


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

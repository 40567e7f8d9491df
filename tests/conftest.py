"""Fixtures that every room's tests share."""

import os
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
        pytest.skip(f"The reference's numbers ({SHARED}/golden) are not here; they are the project's own, not a user's.")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Golden numbers of the AVSBench reference."""
    return shared / "golden" / "avs"

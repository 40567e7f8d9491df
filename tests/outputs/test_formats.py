from pathlib import Path
from typing import get_args

import pytest

from sonomask.outputs.formats import FORMATS, Format

ROOT = Path(__file__).parents[2]


def test_the_table_holds_every_name_and_no_suffix_twice():
    assert tuple(FORMATS) == get_args(Format)
    assert len({info.suffix for info in FORMATS.values()}) == len(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_readme_tells_of_each_format(name):
    assert f"| `{name}` | {FORMATS[name].what} |" in (ROOT / "README.md").read_text(encoding="utf-8")

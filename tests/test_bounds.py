"""No lower bound of a dependency admits a release that is known to be weak."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "scripts").is_dir():
    pytest.skip("the scripts are not in the source package", allow_module_level=True)
spec = importlib.util.spec_from_file_location("check_bounds", ROOT / "scripts" / "check_bounds.py")
check_bounds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_bounds)
TABLE = {"hole": [{"package": "pillow", "fixed": "10.3.0", "name": "CVE-1", "what": "it overflows"}]}


def test_our_bounds_admit_no_weakness_of_the_table():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = tomllib.loads((ROOT / "scripts" / "known_holes.toml").read_text(encoding="utf-8"))
    assert check_bounds.problems(project, table) == []
    named = {hole["package"] for hole in table["hole"]}
    assert {"pillow", "torch", "onnx"} <= named & set(check_bounds.lower_bounds(project))


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        ({"dependencies": ["Pillow>=10.1"]}, 1),
        ({"dependencies": ["pillow[x]>=10.1,<12"]}, 1),
        ({"dependencies": [], "optional-dependencies": {"a": ["pillow==10.2"]}}, 1),
        ({"dependencies": ["pillow>=10.1"], "optional-dependencies": {"a": ["pillow>=11"]}}, 0),
        ({"dependencies": ["pillow>=10.3"]}, 0),
        ({"dependencies": ["other>=1"]}, 0),
    ],
)
def test_a_bound_below_the_mended_release_is_told(needs, found):
    found_problems = check_bounds.problems(needs, TABLE)
    assert len(found_problems) == found
    assert all("CVE-1" in line and "10.3.0" in line for line in found_problems)


def test_a_weakness_that_cannot_be_reached_is_accepted_with_its_reason():
    needs = {"dependencies": ["pillow>=10.1"]}
    hole = TABLE["hole"][0]
    assert check_bounds.problems(needs, {"hole": [{**hole, "accepted": "never called"}]}) == []
    assert len(check_bounds.problems(needs, {"hole": [{**hole, "accepted": ""}]})) == 1


@pytest.mark.parametrize(
    ("bound", "admitted"), [(">=2.6.1", 1), (">=2.6.1,!=2.6.2", 0), (">=2.7", 0), (">=2.6,<2.6.2", 0)]
)
def test_a_malicious_release_must_be_excluded(bound, admitted):
    table = {"hole": [{"package": "lightning", "malicious": ["2.6.2"], "name": "x", "what": "it steals"}]}
    found = check_bounds.problems({"dependencies": [f"lightning{bound}"]}, table)
    assert len(found) == admitted
    assert all("!=2.6.2" in line for line in found)


def test_what_was_accepted_still_holds():
    """OpenCV decodes no picture, Arrow reads no file of its own, and torch's unpickler reads our own checkpoints alone."""
    package = ROOT / "src" / "sonomask"
    code = {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}

    def users(pattern):
        return {path for path, text in code.items() if re.search(pattern, text)}

    assert users(r"cv2\.(imread|imdecode|VideoCapture)") == set()
    assert users(r"pyarrow(\.| import )(ipc|feather)|open_file\(|open_stream\(") == set()
    assert users(r"torch\.load\(\w+,") == {"training/recipes.py"}


def test_an_extra_that_an_error_names_for_metrics_brings_what_they_need():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    sources = (ROOT / "src" / "sonomask").rglob("*.py")
    named = {
        extra for path in sources for extra in re.findall(r'served\(.+, "(\w+)"\)', path.read_text(encoding="utf-8"))
    }
    assert named == {"batch", "live", "serve"}
    assert all(any(need.startswith("prometheus-client") for need in extras[extra]) for extra in named)

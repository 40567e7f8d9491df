"""The wheel and the source package hold all that is needed, and work without the repository."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from sonomask.outputs.formats import FORMATS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A source package, and the wheel that is made of it."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(["uv", "build", "--quiet", "--out-dir", str(out), str(ROOT)], check=True)
    return out


@pytest.mark.slow
def test_the_wheel_works_without_the_repository(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sonomask; assert sys.argv[1] in sonomask.__file__; "
        "from sonomask.cli.main import main; raise SystemExit(main(['segment', sys.argv[2], '--out', sys.argv[3]]))"
    )
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")  # noqa: S202 - our own
    words = [str(tmp_path / "site"), str(ROOT / "examples" / "three_things.mp4"), str(tmp_path / "out")]
    subprocess.run([sys.executable, "-c", code, *words], check=True, cwd=tmp_path)
    assert (tmp_path / "out" / "three_things.overlay.mp4").is_file()


@pytest.mark.slow
def test_a_plain_install_has_no_torch_and_marks_the_example(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    place = tmp_path / "venv"
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(place)], check=True)
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), str(wheel)], check=True)

    def sonomask(*words):
        whole = [str(python), "-m", "sonomask.cli.main", *map(str, words)]
        return subprocess.run(whole, capture_output=True, text=True, cwd=tmp_path, check=False)

    gone = "import importlib.util as u; print([m for m in ('torch', 'timm', 'scipy', 'lightning') if u.find_spec(m)])"
    assert subprocess.run([python, "-c", gone], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    done = sonomask("segment", ROOT / "examples" / "three_things.mp4", "--out", "out", "--format", *FORMATS)
    assert done.returncode == 0, done.stderr
    assert {path.name.removeprefix("three_things") for path in (tmp_path / "out").iterdir()} == {
        info.suffix for info in FORMATS.values()
    }
    assert sonomask("models").returncode == 0
    refused = sonomask("convert", "nothing.pth", "out2")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "sonomask[torch]" in refused.stderr


@pytest.mark.slow
def test_what_is_published_holds_code_weights_and_licence_and_nothing_else(built):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith(("sonomask/", "sonomask-")) for name in names)
    for wanted in (
        "sonomask/py.typed",
        "sonomask/pretrained/world_duo.real/model.safetensors",
        "sonomask/pretrained/world_duo.real/model.onnx",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with tarfile.open(source) as archive:
        inner = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "SECURITY.md", "tests/test_package.py"} <= inner
    assert not any(name.startswith((".git/", "uv.lock")) for name in inner)

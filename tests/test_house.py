"""The house keeps its own rules."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sonomask

ROOT = Path(__file__).parents[1]
ROOMS = sorted(m.name for m in pkgutil.walk_packages(sonomask.__path__, "sonomask."))


@pytest.mark.parametrize("name", ROOMS)
@pytest.mark.filterwarnings("ignore")
def test_what_a_room_exports_is_there(name):
    room = importlib.import_module(name)
    missing = [word for word in getattr(room, "__all__", []) if not hasattr(room, word)]
    assert missing == []


def test_every_name_of_the_face_can_be_used():
    assert all(getattr(sonomask, name) is not None for name in sonomask.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        sonomask.nonsense  # noqa: B018


def test_importing_the_package_and_its_help_loads_nothing_heavy():
    code = (
        "import sys, sonomask, sonomask.cli.main; "
        "print([m for m in ('torch', 'av', 'timm', 'lightning', 'torchmetrics', 'fastapi', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_segmenting_needs_no_extra():
    extras = ["lightning", "torchmetrics", "tensorboard", "fastapi", "ray", "onnx"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({extras!r})); "
        "import sonomask; sonomask.Segmenter(sonomask.load('avs_mini.synthetic'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_training_from_arrays_needs_no_media_library():
    code = (
        "import sys; sys.modules['av'] = None; import warnings; warnings.simplefilter('ignore'); "
        "import sonomask.training.module, sonomask.training.evaluate, sonomask.data.datamodule"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def sources():
    return [p for folder in ("src", "tests", "benchmarks", "examples") for p in (ROOT / folder).rglob("*.py")]


def test_no_file_is_too_long():
    assert {str(p): n for p in sources() if (n := len(p.read_text().splitlines())) > 400} == {}


NO_NOUN = {"Added", "Also", "As", "By", "Called", "For", "From", "Goes", "How", "In", "Is", "Of", "Told", "To", "When", "Where",
           "Which", "Whose", "With"}  # fmt: skip
"""Words with which a line of `Args:` can't begin and be read alone. What and whether begin clauses that stand for nouns."""


def argument_lines(text):
    """(name, first word) of each line of `Args:` in a module's docstrings."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            block = re.search(r"^Args:\n((?:    .*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE)
            for name, word in re.findall(r"^    (\**\w+): (\w+)", block[1], re.MULTILINE) if block else ():
                yield f"{node.name}: {name}", word


def test_each_argument_is_told_by_a_noun_that_can_be_read_alone():
    found = [
        f"{path.relative_to(ROOT)}: {name}: {word} …"
        for path in (ROOT / "src").rglob("*.py")
        for name, word in argument_lines(path.read_text(encoding="utf-8"))
        if word in NO_NOUN
    ]
    assert found == []


def test_the_test_of_argument_lines_sees_them():
    text = 'def f(x, y):\n    """F.\n\n    Args:\n        x: Of a thing.\n        y: Side of it.\n    """\n'
    assert list(argument_lines(text)) == [("f: x", "Of"), ("f: y", "Side")]


def test_no_path_of_a_machine_is_written_down():
    pattern = re.compile(r"/(home|Users|work|root)/[a-z]")
    assert [str(p) for p in sources() if pattern.search(p.read_text()) and p.name != Path(__file__).name] == []


def test_no_graph_of_the_package_tells_of_the_machine_that_wrote_it():
    graphs = list((ROOT / "src" / "sonomask" / "pretrained").rglob("*.onnx"))
    assert graphs
    assert [str(p) for p in graphs if re.search(rb'File "[^"]+\.py"', p.read_bytes())] == []


def test_every_test_that_is_named_in_the_docs_is_there():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", text))
    assert len(named) > 40
    paths = list((ROOT / "tests").rglob("test_*.py"))
    found = {
        (path.name, name)
        for path in paths
        for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    assert {one for one in named if one[1]} <= found
    assert {file for file, _ in named} <= {path.name for path in paths}


def test_every_recipe_opens_with_its_command():
    for recipe in (ROOT / "recipes").glob("*.yaml"):
        head = recipe.read_text().split("\n\n")[0]
        assert "sonomask train" in head, recipe
        assert "Hardware" in head, recipe


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe", sorted(p.name for p in (ROOT / "recipes").glob("*.yaml")))
def test_every_recipe_can_be_read(recipe):
    from sonomask.training import recipes as cli
    from sonomask.training.rows import names

    file = ROOT / "recipes" / recipe
    word = f"{file}:{names(file)[-1]}" if names(file) else str(file)  # `test_rows` resolves them all
    with pytest.raises(SystemExit) as stop:
        cli.train([word, "--print_config"])
    assert stop.value.code in (0, None)

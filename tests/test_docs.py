"""Every example of the pages is run, each page in a folder of its own.

A block of Python or of commands right after `<!-- skip: why -->` is only read: its options must exist. One after
`<!-- slow -->` is run with the slow tests. A block of text after Python is what it prints.
"""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sonomask.cli import main as cli
from sonomask.cli.options import parse

ROOT = Path(__file__).parents[1]
PAGES = sorted(p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>skip: [^\n]+|slow) -->\n)?```(?P<kind>python|console)\n(?P<body>.*?)```"
    r"(?:\n\n```text\n(?P<says>.*?)```)?",
    re.DOTALL,
)
OTHER = ("pip ", "curl ", "docker ", "sonomask serve")  # commands of other programs, and one that does not end


@dataclass(frozen=True)
class Block:
    kind: str
    body: str
    mark: str
    says: str | None


def blocks(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [Block(m["kind"], m["body"], m["mark"] or "", m["says"]) for m in BLOCK.finditer(text)]


def commands(body):
    return [line.removeprefix("$ ") for line in body.split("\n") if line.startswith("$ ")]


def run(block, names):
    if block.kind == "python":
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(block.body, "page", "exec"), names)  # noqa: S102 - our own pages
        if block.says is not None:
            assert said.getvalue() == block.says
        return
    for command in commands(block.body):
        if not command.startswith(OTHER):
            assert cli.main(shlex.split(command)[1:]) in (0, None), command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkout's examples and recipes, to run in."""
    for name in ("examples", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)


def run_page(page, wanted):
    names = {"__name__": "page"}
    for block in blocks(page):
        if wanted(block.mark):
            run(block, names)


@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore")  # of the libraries that an example starts
@pytest.mark.parametrize("page", [p for p in PAGES if p != "walkthrough.md" and any(not b.mark for b in blocks(p))])
def test_the_examples_of_a_page_do_what_they_say(page):
    run_page(page, lambda mark: not mark)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.mark == "slow" for b in blocks(p))])
def test_the_slow_examples_of_a_page_run(page):
    run_page(page, lambda mark: mark == "slow")


def user_files(folder):
    """The Python of each page in a file, and a file with mistakes."""
    folder.mkdir()
    for page in PAGES:
        found = [block.body for block in blocks(page) if block.kind == "python"]
        if found and page != "walkthrough.md":
            (folder / f"{Path(page).stem}.py").write_text("\n".join(found), encoding="utf-8")
    (folder / "wrong.py").write_text("import sonomask\n\nsonomask.Segmenter(3)(4)\n", encoding="utf-8")
    assert len(list(folder.iterdir())) > 5


def told(command, folder):
    env = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent, env=env)
    return done.stdout, {Path(name).name for name in re.findall(r"^ *([^\s:]+):\d+\S* (?:- )?error", done.stdout, re.M)}


@pytest.mark.slow  # a minute: mypy reads torch, too
def test_mypy_finds_nothing_in_the_examples(tmp_path):
    user_files(tmp_path / "user")
    words = ["--strict", "--follow-imports=silent", "--ignore-missing-imports", "--allow-redefinition"]
    words += ["--cache-dir", str(tmp_path / "cache")]
    text, wrong = told([sys.executable, "-m", "mypy", *words, "user"], tmp_path / "user")
    assert wrong == {"wrong.py"}, text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="needs pyright, `npm install -g pyright`")
def test_pyright_finds_nothing_in_the_examples(tmp_path):
    user_files(tmp_path / "user")
    asked = {"include": ["user"], "extraPaths": [str(ROOT / "src")], "reportMissingModuleSource": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(asked), encoding="utf-8")
    command = ["pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    text, wrong = told(command, tmp_path / "user")
    assert wrong == {"wrong.py"}, text


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_that_are_not_run_have_options_that_exist(page):
    for block in blocks(page):
        for command in commands(block.body) if block.mark.startswith("skip") else ():
            words = shlex.split(command)
            assert words[0] == "sonomask", f"{command}: leave out the mark"
            assert words[1] in {**cli.VERBS, **cli.RECIPES}, command
            if words[1] in cli.VERBS:
                parse(cli.parser_for(words[1]), words[2:])


@pytest.mark.slow
def test_the_walk_through_is_what_its_program_prints(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    subprocess.run([sys.executable, ROOT / "docs" / "render.py", tmp_path / "out"], check=True, cwd=tmp_path)
    page = (tmp_path / "out" / "walkthrough.md").read_text(encoding="utf-8")
    assert page == (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8"), "run: python docs/render.py"


def test_every_picture_is_small():
    pictures = [p for p in (ROOT / "docs" / "pictures").iterdir() if p.is_file()]
    assert [p.name for p in pictures if p.stat().st_size > 300_000] == []


def test_the_files_that_pages_name_exist():
    pages = [
        *ROOT.glob("*.md"),
        ROOT / "fuzz" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "src").rglob("README.md"),
    ]
    named = re.compile(r"`(?:python )?((?:tests|benchmarks|scripts|fuzz|recipes|examples|src)/[\w/.]+)")
    found = {(page.name, path) for page in pages for path in named.findall(page.read_text(encoding="utf-8"))}
    assert len(found) > 50
    named_whole = {(page, path) for page, path in found if not re.search("[A-Z]{4}", path)}  # TARGET stands for any
    assert {(page, path) for page, path in named_whole if not (ROOT / path).exists()} == set()

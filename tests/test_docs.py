"""Every example of the pages is run, each page in a folder of its own.

A block of Python or of commands right after `<!-- skip: why -->` is only read: its options must exist. One after
`<!-- slow -->` is run with the slow tests. A block of text after Python is what it prints.
"""

import contextlib
import io
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


@pytest.mark.slow  # a minute: mypy reads torch, too
def test_a_type_checker_finds_nothing_in_the_recipes(tmp_path):
    found = [block.body for block in blocks("recipes.md") if block.kind == "python"]
    assert len(found) > 5
    files = [tmp_path / f"recipe_{i}.py" for i in range(len(found))]
    for file, body in zip(files, found, strict=True):
        file.write_text(body, encoding="utf-8")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import sonomask\n\nsonomask.Segmenter(3)(4)\n", encoding="utf-8")
    words = ["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words, *files, wrong], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert {line.partition(":")[0] for line in done.stdout.splitlines() if ": error:" in line} == {"wrong.py"}, (
        done.stdout
    )


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

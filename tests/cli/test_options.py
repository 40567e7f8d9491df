"""What a person may type, in which order, and what is said of a slip."""

from typing import Annotated

import pytest

from sonomask.cli.main import RECIPES, VERBS, main, parser_for
from sonomask.cli.options import parse, parser_of
from sonomask.cli.shared import bar, logger, set_verbosity


@pytest.mark.parametrize(
    ("words", "verb", "wanted"),
    [
        (["--format", "masks", "h.mp4"], "segment", {"format": ["masks"], "videos": ["h.mp4"]}),
        (["--format", "masks", "npz", "a", "b"], "segment", {"format": ["masks", "npz"], "videos": ["a", "b"]}),
        (["a.mp4", "--rate", "2", "b.mp4"], "segment", {"videos": ["a.mp4", "b.mp4"], "rate": 2.0}),
        (["--only", "dog", "cat", "a.mp4", "b.mp4"], "segment", {"only": ["dog", "cat"], "videos": ["a.mp4", "b.mp4"]}),
        (["--only", "dog", "--", "dog"], "segment", {"only": ["dog"], "videos": ["dog"]}),
        (["--picture_rate=3", "-"], "segment", {"picture_rate": 3.0, "videos": ["-"]}),
        (["--models", "a", "b", "h.mp4"], "compare", {"models": ["a", "b"], "video": "h.mp4"}),
        (["--models", "a", "b", "--rate", "1", "h.mp4"], "compare", {"models": ["a", "b"], "video": "h.mp4"}),
        (["--format", "overlay", "sheet.mp4"], "segment", {"format": ["overlay"], "videos": ["sheet.mp4"]}),
        (["x", "--audio-track", "2"], "segment", {"audio_track": 2}),
        (["x", "--audio-track", "eng", "--end", "0:10"], "segment", {"audio_track": "eng", "end": "0:10"}),
        (["--events", "-", "camera"], "live", {"events": ["-"], "sources": ["camera"]}),
        (["model", "out", "--size", "64", "96"], "export", {"size": [64, 96], "out": "out"}),
        (["a.mp4", "-q"], "segment", {"quiet": True, "verbose": False}),
    ],
)
def test_options_and_other_words_come_in_any_order(words, verb, wanted):
    found = parse(parser_for(verb), words)
    assert {key: found[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["segment", "a.mp4", "--fromat", "masks"], "no option --fromat. Did you mean --format"),
        (["segment", "a.mp4", "--format", "msks"], "got 'msks'. Did you mean masks?"),
        (["segment", "a.mp4", "--format", "masks", "overly"], "got 'overly'. Did you mean overlay?"),
        (["segment", "a.mp4", "--rate", "abc"], "`--rate`: expected a number, native, avsbench or auto, got 'abc'."),
        (["segment", "a.mp4", "--rate"], "`--rate`: expected one argument."),
        (["segment"], "`sonomask segment` needs VIDEOS"),
        (["compare", "--models", "a"], "`sonomask compare` needs VIDEO"),
        (["batch", "a.mp4", "--out", "x", "--format", "parqet"], "Did you mean parquet?"),
        (["batch", "a.mp4"], "--out"),
        (["serve", "--port", "http"], "`--port`: expected a whole number, got 'http'."),
        (["segmnt", "a.mp4"], "Did you mean segment?"),
        (["completion", "fish"], "expected bash, zsh or tcsh, got 'fish'."),
        (["train", "nosuch.yaml"], "nosuch.yaml: no such recipe."),
        (["segment", "a.mp4", "--model", "wrld_duo"], "Did you mean world_duo.real?"),
    ],
)
def test_a_slip_costs_one_line_that_helps(words, says, capsys, tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    *before, line = capsys.readouterr().err.splitlines()
    assert says in line
    assert ".. " not in line
    assert all("marking" in other for other in before)
    for inner in ("typing", "class '", "Parser key", "Traceback", "usage:", "None"):
        assert inner not in line


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_the_terminal_and_names_each_option_once(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = parser_for(verb).format_help()
    assert text.startswith(f"usage: sonomask {verb}")
    assert "None" not in text
    assert "typing." not in text
    options = [word for line in text.splitlines() if line.startswith("  -") for word in line.split()[:1]]
    assert len(options) == len(set(options))
    assert [line for line in text.splitlines() if len(line) > 110] == []


def test_the_first_options_of_segment_are_those_that_most_people_need():
    text = parser_for("segment").format_help()
    order = [text.index(option) for option in ("--format", "--out ", "--model", "--rate", "--only")]
    assert order == sorted(order)


@pytest.mark.parametrize("verb", [name for name, function in VERBS.items() if "Examples:" in (function.__doc__ or "")])
def test_the_examples_in_help_are_commands_that_parse(verb):
    lines = [line.strip() for line in VERBS[verb].__doc__.splitlines() if line.strip().startswith(f"sonomask {verb}")]
    assert lines
    for line in lines:
        words = line.split("   ")[0].partition(" > ")[0].replace("'", "").split()
        parse(parser_for(words[1]), words[2:])


def test_help_of_a_command_can_be_asked_for_both_ways(capsys):
    texts = []
    for words in (["help", "segment"], ["segment", "--help"], ["segment", "a.mp4", "-h"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_options_and_values(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in [*VERBS, *RECIPES])
    assert "alpha-mov" in script
    assert "min-presence" in script


def test_quiet_leaves_results_and_errors_only(capsys, tmp_path):
    assert main(["segment", str(tmp_path / "none.mp4")]) == 2
    loud = capsys.readouterr().err
    assert main(["segment", "-q", str(tmp_path / "none.mp4")]) == 2
    silent = capsys.readouterr().err
    assert "marking what sounds" in loud
    assert silent.splitlines() == [line for line in loud.splitlines() if "no such file" in line]


def test_quiet_shows_no_progress(capsys, monkeypatch):
    monkeypatch.setattr(logger, "level", logger.level)
    set_verbosity(quiet=True, verbose=False)
    with bar("a.mp4") as progress:
        progress(1.0, 2.0)
    assert capsys.readouterr().err == ""


def test_an_unforeseen_error_is_one_line_and_verbose_shows_where(capsys, monkeypatch):
    def breaks(networks: Annotated[bool, "x"] = False) -> int:
        raise RuntimeError(f"broken {networks}")

    monkeypatch.setitem(VERBS, "models", breaks)
    assert main(["models"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "RuntimeError: broken False" in line
    assert "--verbose" in line
    assert main(["models", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_type_that_no_option_can_have_is_refused_when_the_verb_is_written():
    def verb(a: Annotated[dict[str, int] | None, "odd"] = None) -> int:
        return len(a)

    with pytest.raises(TypeError, match="dict"):
        parser_of("verb", verb)


def test_dashes_are_no_likeness(capsys):
    assert main(["tabulate", "a.json", "--out", "b"]) == 2
    printed = capsys.readouterr().err
    assert "has no option --out" in printed
    assert "Did you mean" not in printed

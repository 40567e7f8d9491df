"""The container of the guide: a user without rights, a file system that can't be written to, and nothing that isn't here."""

import re
import shlex
from pathlib import Path

import pytest

from sonomask.cli.main import main

ROOT = Path(__file__).parents[2]
STEPS = [
    line.split(None, 1)
    for line in re.sub(r"\\\n", " ", (ROOT / "docs" / "Dockerfile").read_text(encoding="utf-8")).splitlines()
    if line and not line.startswith("#")
]


def last(word):
    return [rest for step, rest in STEPS if step == word][-1]


def test_it_runs_as_a_user_without_rights():
    user = int(last("USER").split(":")[0])
    assert user > 0
    assert f"--uid {user}" in last("RUN")


def test_what_is_copied_is_here():
    for rest in (rest for step, rest in STEPS if step == "COPY" and not rest.startswith("--from")):
        assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest


def test_it_serves_other_addresses_and_so_asks_for_a_token(capsys):
    words = eval(last("ENTRYPOINT"), {"__builtins__": {}})  # noqa: S307 - a list of our own
    assert words[1:] == ["serve", "--host", "0.0.0.0"]  # noqa: S104
    with pytest.raises(SystemExit):
        main([*words[1:], "--help"])
    assert "--token" in capsys.readouterr().out


def test_the_guide_runs_it_read_only_and_without_capabilities():
    guide = (ROOT / "docs" / "trips" / "serve.md").read_text(encoding="utf-8")
    words = shlex.split(next(line for line in guide.splitlines() if line.startswith("$ docker run")))
    assert {"--read-only", "--cap-drop", "ALL", "no-new-privileges"} <= set(words)
    assert any(word.startswith("/tmp") for word in words)  # noqa: S108 - within the container

"""Refuse lower bounds of dependencies that admit a release with a known weakness (`known_holes.toml`).

python scripts/check_bounds.py [pyproject.toml] [known_holes.toml]
"""

from __future__ import annotations

import datetime
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

STALE = 180  # days after which the table must be looked through again; told, not refused


def lower_bounds(project: dict[str, object]) -> dict[str, Version]:
    """The lowest version of each direct dependency, of all extras."""
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})  # type: ignore[assignment]
    lines: list[str] = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]  # type: ignore[misc]
    found: dict[str, Version] = {}
    for line in lines:
        need = Requirement(line)
        name = re.sub(r"[-_.]+", "-", need.name).lower()
        bounds = [Version(part.version) for part in need.specifier if part.operator in (">=", "==", "~=", ">")]
        if bounds:
            found[name] = max([*bounds, *([found[name]] if name in found else [])])
    return found


def problems(project: dict[str, object], table: dict[str, object]) -> list[str]:
    """A line for each lower bound that admits a known weakness."""
    bounds = lower_bounds(project)
    return [
        f"{hole['package']}>={bounds[hole['package']]} admits {hole['name']} ({hole['what']}). "
        f"Raise the bound to {hole['fixed']}."
        for hole in table["hole"]  # type: ignore[attr-defined]
        if hole["package"] in bounds and bounds[hole["package"]] < Version(hole["fixed"])
    ]


def main(argv: list[str]) -> int:
    """Check; gives the exit code."""
    here = Path(__file__).parent
    files = [here.parent / "pyproject.toml", here / "known_holes.toml"]
    given = [Path(word) for word in argv]
    files[: len(given)] = given
    project, table = (tomllib.loads(path.read_text(encoding="utf-8")) for path in files)
    age = (datetime.datetime.now(tz=datetime.UTC).date() - table["written"]).days
    if age > STALE:
        print(f"{files[1].name} was written {age} days ago. Look through the advisories again.", file=sys.stderr)
    found = problems(project["project"], table)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

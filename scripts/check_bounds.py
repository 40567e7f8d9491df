"""Refuse bounds of dependencies that admit a release with a known weakness, or a malicious one (`known_holes.toml`).

python scripts/check_bounds.py [pyproject.toml] [known_holes.toml]
"""

from __future__ import annotations

import datetime
import itertools
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

STALE = 180  # days after which the table must be looked through again; told, not refused


def requirements(project: dict[str, object]) -> list[Requirement]:
    """The direct dependencies, of all extras, under their normal names."""
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})  # type: ignore[assignment]
    found = [Requirement(line) for line in [*project["dependencies"], *itertools.chain(*extras.values())]]  # type: ignore[misc]
    for need in found:
        need.name = re.sub(r"[-_.]+", "-", need.name).lower()
    return found


def lower_bounds(project: dict[str, object]) -> dict[str, Version]:
    """The lowest version of each direct dependency, of all extras."""
    found: dict[str, Version] = {}
    for need in requirements(project):
        bounds = [Version(part.version) for part in need.specifier if part.operator in (">=", "==", "~=", ">")]
        if bounds:
            found[need.name] = max([*bounds, *([found[need.name]] if need.name in found else [])])
    return found


def problems(project: dict[str, object], table: dict[str, object]) -> list[str]:
    """A line for each lower bound that admits a known weakness, and for each malicious release that is not excluded."""
    bounds = lower_bounds(project)
    found = []
    for hole in table["hole"]:  # type: ignore[attr-defined]
        package = hole["package"]
        if package not in bounds:
            continue
        if "fixed" in hole and bounds[package] < Version(hole["fixed"]) and not hole.get("accepted"):
            found.append(
                f"{package}>={bounds[package]} admits {hole['name']} ({hole['what']}). Raise the bound to {hole['fixed']}, "
                "or say in `accepted` why it can't be reached."
            )
        admitting = [need.specifier for need in requirements(project) if need.name == package]
        found += [
            f"{package} {release} is admitted: {hole['what']}. Exclude it with `!={release}`."
            for release in hole.get("malicious", [])
            if all(specifier.contains(release) for specifier in admitting)
        ]
    return found


def main(argv: list[str]) -> int:
    """Check; gives the exit code."""
    here = Path(__file__).parent
    files = [here.parent / "pyproject.toml", here / "known_holes.toml"]
    given = [Path(word) for word in argv]
    files[: len(given)] = given
    project, table = (tomllib.loads(path.read_text(encoding="utf-8")) for path in files)
    age = (datetime.datetime.now(tz=datetime.UTC).date() - table["compared"]).days
    if age > STALE:
        print(f"{files[1].name} was compared with the advisories {age} days ago. Do it again.", file=sys.stderr)
    found = problems(project["project"], table)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

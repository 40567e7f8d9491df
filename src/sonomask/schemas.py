"""Names and versions of machine-readable results; `docs/schemas` has a JSON schema for each.

A version is raised when a field goes or changes its meaning; new fields don't raise it.
"""

from __future__ import annotations

__all__ = ["SCHEMAS", "VERSION", "schema"]

VERSION = "0.1.0"  # of this package, as in pyproject.toml

SCHEMAS = {
    "about": 1,  # REST: what a server offers
    "avsbench": 1,  # made_by.json
    "coco": 1,  # `info` of coco, coco-polygons
    "corrections": 1,  # what a person said of a video's masks
    "corpus": 2,  # run.json of `batch`
    "event": 1,  # live --events
    "health": 1,  # REST
    "job": 1,  # REST
    "live": 1,  # a line of live --json
    "manifest": 1,  # manifest.json of masks
    "mask": 1,  # a line of jsonl
    "otio": 1,  # `metadata` of otio
    "problem": 1,  # REST: an error
    "scores": 1,  # scores.json of `evaluate`
    "upload": 1,  # REST
    "video": 1,  # a file of WebDataset of `batch`
    "view": 1,  # view.json of the page's player
    "ytvis": 1,  # `info` of ytvis
}


def schema(name: str) -> str:
    """The value of `schema` in a result, such as "sonomask.manifest/1"."""
    return f"sonomask.{name}/{SCHEMAS[name]}"

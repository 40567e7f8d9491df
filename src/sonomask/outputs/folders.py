"""Folders with a picture of each mask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from sonomask.outputs.formats import FORMATS
from sonomask.outputs.moment import Moment, OutputContext, Take, indexed, save_jpeg
from sonomask.schemas import schema

__all__ = ["write_hf", "write_masks"]


@contextmanager
def write_masks(path: Path, context: OutputContext) -> Iterator[Take]:
    """A PNG of each mask, named by its time in seconds, and `manifest.json`.

    A binary mask is 0 and 255; a semantic one holds class indices and a palette. The manifest tells `about` the whole, and
    of each of the `frames` its time, file, the share of the picture that is masked, the highest probability and, if the
    model has it, the presence score.
    """
    marker = FORMATS["masks"].marker
    with context.folder(path, marker) as fresh, (fresh / marker).open("w", encoding="utf-8") as manifest:
        about = json.dumps(
            {"schema": schema("manifest"), **context.facts, "classes": list(context.classes)}, ensure_ascii=False
        )
        manifest.write(f'{{"about": {about},\n "frames": [')
        comma = ""

        def take(moment: Moment) -> None:
            nonlocal comma
            name = f"{moment.source_time:012.6f}.png"
            _mask(moment, context).save(fresh / name)
            scores = moment.scores()
            row = {"time": scores.pop("time"), "file": name, **scores}
            manifest.write(f"{comma}\n  {json.dumps(row)}")
            comma = ","

        yield take
        manifest.write("\n ]}\n")


@contextmanager
def write_hf(path: Path, context: OutputContext) -> Iterator[Take]:
    """Columns `image`, `mask` and the scores, as Hugging Face's `load_dataset("imagefolder", data_dir=…)` finds them.

    Source: the documentation of `datasets`, "Create an image dataset", on `metadata.jsonl` and `*_file_name`.
    """
    marker, picture = FORMATS["hf"].marker, context.pictures()
    with context.folder(path, marker) as fresh, (fresh / marker).open("w", encoding="utf-8") as table:
        for name in ("images", "masks"):
            (fresh / name).mkdir()

        def take(moment: Moment) -> None:
            name = f"{moment.index:06d}"
            save_jpeg(fresh / "images" / f"{name}.jpg", picture(moment.time))
            _mask(moment, context).save(fresh / "masks" / f"{name}.png")
            files = {"file_name": f"images/{name}.jpg", "mask_file_name": f"masks/{name}.png"}
            row: dict[str, Any] = {**files, **moment.scores(), "model": str(context.facts.get("model", ""))}
            table.write(json.dumps(row) + "\n")

        yield take


def _mask(moment: Moment, context: OutputContext) -> Image.Image:
    """0 and 255, or class indices with a palette."""
    return indexed(moment.labels) if context.classes else Image.fromarray(moment.labels * 255)

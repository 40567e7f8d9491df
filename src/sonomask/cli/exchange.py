"""Verbs that hand models to other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal


def export(
    model: Annotated[str, "built-in name, folder or hub repository"],
    out: Annotated[str, "folder to create"],
    format: Annotated[Literal["onnx", "torch-export"], "file format"] = "onnx",  # noqa: A002
    frontend: Annotated[
        Literal["none", "included", "separate"], "log-mel of the sound: left out, in the graph, or a graph beside it"
    ] = "none",
    size: Annotated[Sequence[int], "height and width, for a network that takes one size only"] = (),
    overwrite: Annotated[bool, "replace a folder made by this command"] = False,
) -> int:
    """Export a model to ONNX or torch.export and check the file against torch."""
    from sonomask.checkpoints.folder import load
    from sonomask.export.write import export as run

    if len(size) not in (0, 2):
        raise ValueError(f"`size`: expected height and width, got {list(size)}.")
    pair = (size[0], size[1]) if size else None
    made = run(load(model), out, format=format, frontend=frontend, size=pair, overwrite=overwrite)
    print(f"{made.folder}  ({made.megabytes:.1f} MB; {', '.join(made.free)} may vary)")
    print(f"agrees with torch: logits differ by {made.difference:.1e} at most, where they span {made.span:.3g}")
    return 0


VERBS = (export,)

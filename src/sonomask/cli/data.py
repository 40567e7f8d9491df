"""Verbs that make and check data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from sonomask.cli.shared import bar, complain, plain


def synth(
    out: Annotated[str, "folder to create"],
    preset: Annotated[Literal["tiny", "small", "large"], "number and size of the clips"] = "small",
    seed: Annotated[int, "random seed; the same seed makes the same data"] = 0,
    subsets: Annotated[Sequence[Literal["s4", "ms3", "avss"]], "AVSBench subsets to make"] = ("s4", "ms3", "avss"),
    workers: Annotated[int, "number of processes; 0 for this one only"] = 0,
    overwrite: Annotated[bool, "replace data made by this command"] = False,
) -> int:
    """Write a synthetic data set in the layout of AVSBench."""
    from sonomask.data.tree import write_tree

    write_tree(out, preset=preset, seed=seed, subsets=subsets, workers=workers, overwrite=overwrite)
    print(out)
    return 0


def compose(
    images: Annotated[str, "table with the columns image, mask, category, group"],
    sounds: Annotated[str, "table with the columns sound, category, group"],
    out: Annotated[str, "folder to create"],
    preset: Annotated[Literal["tiny", "small", "large"], "number and size of the clips"] = "small",
    seed: Annotated[int, "random seed; the same seed makes the same data"] = 0,
    subsets: Annotated[Sequence[Literal["s4", "ms3"]], "AVSBench subsets to make"] = ("s4", "ms3"),
    counts: Annotated[Sequence[int], "clips for train, val and test in each subset; the preset's unless given"] = (),
    size: Annotated[int, "height and width of the pictures in pixels; the preset's unless given"] = 0,
    fps: Annotated[int, "frames a second of the raw videos; the preset's unless given"] = 0,
    workers: Annotated[int, "number of processes; 0 for this one only"] = 0,
    overwrite: Annotated[bool, "replace data made by this command"] = False,
) -> int:
    """Compose scenes of your pictures with masks and your sounds, in the layout of AVSBench."""
    from dataclasses import replace

    from sonomask.data.tree import PRESETS, write_tree

    if counts and (len(counts) != 3 or min(counts) < 1):
        raise ValueError(
            f"`counts`: expected three numbers from 1 on, for train, val and test, got {' '.join(map(str, counts))}."
        )
    chosen = PRESETS[preset]
    if counts:
        chosen = replace(chosen, counts=(counts[0], counts[1], counts[2]))
    if not 0 <= fps <= 120:
        raise ValueError(f"`fps`: expected 1 to 120 frames a second, or 0 for the preset's, got {fps}.")
    chosen = replace(chosen, size=size or chosen.size, fps=fps or chosen.fps)
    write_tree(
        out, preset=chosen, seed=seed, subsets=subsets, workers=workers, overwrite=overwrite, tables=(images, sounds)
    )
    print(out)
    return 0


def tabulate(
    source: Annotated[str, "COCO json file, or a folder in Pascal VOC's layout"],
    out: Annotated[str, "folder to create"],
    pictures: Annotated[str | None, "folder of COCO's pictures; the json file's folder unless given"] = None,
    least: Annotated[float, "smallest object, as a fraction of its picture; smaller ones are left out"] = 0.01,
) -> int:
    """Turn annotated pictures into the table of pictures that `compose` takes."""
    from sonomask.data.composed.annotated import table_from_coco, table_from_voc

    if Path(source).is_dir():
        print(table_from_voc(source, out, least=least))
    else:
        print(table_from_coco(source, pictures or Path(source).parent, out, least=least))
    return 0


def prepare(
    videos: Annotated[str, "a folder of videos, or a csv with the columns video, split[, category, name]; or a tree"],
    out: Annotated[str, "folder of the data set"],
    masks: Annotated[str | None, "folder with NAME/1.png …, white where something sounds"] = None,
    size: Annotated[int, "height and width of the frames in pixels"] = 224,
    workers: Annotated[int, "number of processes; 0 for this one only"] = 2,
    shards: Annotated[int, "write the data set VIDEOS as WebDataset shards of this many clips"] = 0,
    subset: Annotated[Literal["s4", "ms3", "avss"], "subset of the data set to write as shards"] = "s4",
) -> int:
    """Make a data set in AVSBench's layout from raw videos, or shards of one. A stopped run resumes."""
    if shards:
        return _shards(videos, out, subset, size, shards)
    from sonomask.data.prepare import prepare as run

    with bar(out) as progress:
        result = run(videos, out, masks=masks, size=size, workers=workers, progress=progress)
    for name, reason in result.failed.items():
        complain(f"{name}: {reason}")
    print(f"{out}: {result.made} clips made, {result.kept} were there, {len(result.failed)} failed")
    return 0 if not result.failed else 1 if result.made + result.kept else 2


def _shards(tree: str, out: str, subset: Literal["s4", "ms3", "avss"], size: int, clips: int) -> int:
    from sonomask.data.avsbench import AVSBench, items
    from sonomask.data.shards import write_shards

    present = {item.split for item in items(tree, subset)}
    splits: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
    for split in splits:
        if split in present:
            dataset = AVSBench(tree, subset, split, size=(size, size))
            with bar(f"{out}/{split}") as progress:
                print(write_shards(dataset, f"{out}/{split}", clips, progress))
    return 0


def doctor(
    root: Annotated[str, "a folder somewhere above the data"],
    subsets: Annotated[Sequence[Literal["s4", "ms3", "avss"]], "subsets to check"] = ("s4", "ms3", "avss"),
    quick: Annotated[bool, "only check that the files exist"] = False,
) -> int:
    """Check a tree of AVSBench: what is missing, misnamed, unreadable, doubled or wrong, and what to do."""
    from sonomask.data.doctor import examine

    found = examine(root, subsets, deep=not quick)
    print(*("\n".join(map(plain, one.markdown().split("\n"))) for one in found), sep="\n\n")
    return 0 if all(one.healthy for one in found) else 1


VERBS = (synth, compose, tabulate, prepare, doctor)

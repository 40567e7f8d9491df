"""`sonomask prepare`: a data set in the layout of AVSBench from anybody's raw videos.

Each clip is made in a folder of its own and moved into place when it is complete, so an interrupted run can be continued:
existing clips are kept.
"""

from __future__ import annotations

import csv
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from sonomask.data.avsbench import SUBSETS, Item, binary_mask
from sonomask.errors import DatasetError, SonomaskError
from sonomask.media.reader import VideoReader
from sonomask.media.suffixes import skipped, videos_in
from sonomask.media.writer import write_wav
from sonomask.safe_reading.pictures import open_picture
from sonomask.safe_reading.tables import inside, read_table
from sonomask.workspace import sweep, workspace

__all__ = ["Prepared", "prepare"]

logger = logging.getLogger(__name__)

PLACES = {"s4": "Single-source/s4_data", "ms3": "Multi-sources/ms3_data"}


@dataclass
class Prepared:
    """The result of a run.

    Attributes:
        made: Clips that were written now.
        kept: Clips that were there already.
        failed: Name and reason of each that could not be made.
    """

    made: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Task:
    """A clip to make, and from what."""

    video: Path
    masks: Path | None
    item: Item
    size: int
    root: Path | None = None  # a folder that no link may lead out of


def prepare(
    videos: str | Path,
    out: str | Path,
    *,
    masks: str | Path | None = None,
    size: int = 224,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Make a tree from a folder of videos, or from a table of them.

    Frames are chosen by AVSBench's rule (15/16 through each of 5 seconds) and squashed to `size`, sounds are 16 kHz mono
    wav of 16 bits. With categories the tree is laid out as S4, without as MS3.

    Args:
        videos: A folder, all of whose videos get the split "test"; or a csv with the columns `video` (path, in the folder
            of the csv if relative), `split`, and, if you like, `category` and `name`.
        out: The tree.
        masks: Folder with NAME/1.png … or NAME_1.png … of each clip, white where something sounds. Without it the
            masks are missing, and the tree is good for prediction only.
        size: Side of the frames.
        workers: Processes; 0 for this one.
        progress: Function called after each clip with how many are done and how many there are.

    Raises:
        DatasetError: There are no videos, or the csv is not as it must be.
    """
    rows, out = list(_rows(Path(videos))), Path(out)
    subset = "s4" if any(category for _, _, _, category in rows) else "ms3"
    base, root = out / PLACES[subset], Path(videos) if Path(videos).is_dir() else None
    tasks = [
        _Task(
            video,
            None if masks is None else Path(masks),
            Item(base, SUBSETS[subset], name, split, category),
            size,
            root,
        )
        for video, name, split, category in rows
    ]
    sweep(base)  # of a run that was killed after its last clip, which leaves nothing to make
    result, good = Prepared(), []
    for done, (task, (made, reason)) in enumerate(zip(tasks, _results(tasks, workers), strict=True), start=1):
        if reason:
            result.failed[task.item.name] = reason
        else:
            good.append(task.item)
            result.made, result.kept = result.made + made, result.kept + (not made)
        if progress is not None:
            progress(done, len(tasks))
    if good:
        _write_table(base.parent / SUBSETS[subset].table, good)
    return result


def _rows(videos: Path) -> Iterator[tuple[Path, str, str, str]]:
    """(video, name, split, category) of each clip."""
    if videos.is_dir():
        table = [{"video": str(path)} for path in videos_in(videos)]
        if others := skipped(videos):
            logger.warning("%s: skipped, as no videos by their names: %s.", videos, others)
    elif videos.suffix == ".csv" and videos.is_file():
        table = read_table(videos)
    else:
        raise DatasetError(f"{videos}: expected a folder of videos or a csv, there is none.")
    if not table or not all(row.get("video") for row in table):
        raise DatasetError(f"{videos}: expected videos, or a csv with the column `video`; found none.")
    seen: set[str] = set()
    for row in table:
        path = Path(row["video"])
        if videos.is_file() and not path.is_absolute():
            path = inside(videos.parent, path)
        name, split, category = row.get("name") or path.stem, row.get("split") or "test", row.get("category") or ""
        for part in (name, split, category):
            if part in (".", "..") or "/" in part or "\\" in part or "\0" in part:
                raise DatasetError(f"{videos}: {part!r} can't be the name of a file. Correct it.")
        if not name or split not in ("train", "val", "test") or name in seen:
            raise DatasetError(f"{videos}: expected each name once and a split of train, val or test; see {name!r}.")
        seen.add(name)
        yield path, name, split, category


def _results(tasks: list[_Task], workers: int) -> Iterable[tuple[bool, str]]:
    if not workers:
        return map(_try, tasks)
    return _parallel(tasks, workers)


def _parallel(tasks: list[_Task], workers: int) -> Iterator[tuple[bool, str]]:
    spawn = multiprocessing.get_context("spawn")  # forking a process that holds threads of torch can hang
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        yield from pool.map(_try, tasks, chunksize=2)


def _try(task: _Task) -> tuple[bool, str]:
    """Make a clip; returns whether it was made now, and the reason if it could not be."""
    try:
        return _make(task), ""
    except (SonomaskError, OSError, ValueError) as error:
        return False, str(error)


def _make(task: _Task) -> bool:
    item = task.item
    wav, wanted = item.sounds()["wav"], [item.frame(i) for i in range(5)]
    wanted += [item.mask(i) for i in range(item.labelled)] if task.masks is not None else []
    if wav.is_file() and all(path.is_file() for path in wanted):
        return False
    if task.root is not None:
        inside(task.root, task.video.relative_to(task.root))
    with VideoReader(task.video) as reader:
        frames = [f.image for f in reader.frames("avsbench", stop=5, size=(task.size, task.size))]
        if len(frames) < 5:
            raise DatasetError(f"{task.video}: expected 5 s, got {len(frames)}. Leave it out.")
        sound = np.concatenate([*reader.waveform(stop=5.0), np.zeros(0, np.float32)])
    item.base.mkdir(parents=True, exist_ok=True)
    with workspace(item.base / item.name) as fresh:
        made = {item.frame(i): _saved(fresh / f"frame{i}.png", image) for i, image in enumerate(frames)}
        for i in range(item.labelled) if task.masks is not None else ():
            made[item.mask(i)] = _saved(fresh / f"mask{i}.png", _mask(task, i))
        write_wav(fresh / "sound.wav", sound)
        made[wav] = fresh / "sound.wav"  # the last to come into place: with it the clip counts as whole
        for target, source in made.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)
    return True


def _saved(path: Path, picture: np.ndarray) -> Path:
    Image.fromarray(picture).save(path)
    return path


def _mask(task: _Task, index: int) -> np.ndarray:
    folder, name = task.masks or Path(), task.item.name
    choices = [
        folder / name / f"{index + 1}.png",
        folder / f"{name}_{index + 1}.png",
        folder / name / f"{name}_{index + 1}.png",
    ]
    path = next((p for p in choices if p.is_file()), None)
    if path is None:
        raise DatasetError(f"{name}: expected its mask as {choices[0]} or {choices[1]}, there is none.")
    mask = Image.fromarray(binary_mask(open_picture(inside(folder, path.relative_to(folder)))) * 255)
    return np.asarray(mask.resize((task.size, task.size), Image.Resampling.NEAREST))


def _write_table(path: Path, good: list[Item]) -> None:
    columns = SUBSETS[good[0].subset.name].columns
    fresh = path.with_suffix(".part")
    with fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for item in good:
            cells = {"name": item.name, "start": "0", "category": item.category, "split": item.split}
            writer.writerow([cells[column] for column in columns])
    fresh.replace(path)

"""The synthetic world as files: a tree shaped like the official download of AVSBench, sound and all.

    Single-source/          s4_meta_data.csv: name, start, category, split
      s4_data/              where P is SPLIT/CATEGORY
        raw_videos/P/NAME.mp4           audio_wav/P/NAME.wav
        visual_frames/P/NAME/NAME_1.png …           gt_masks/P/NAME/NAME_1.png …
    Multi-sources/          ms3_meta_data.csv: name, split
      ms3_data/
        raw_videos/NAME.mp4             audio_wav/SPLIT/NAME.wav
        visual_frames/NAME/NAME.mp4_1.png …         gt_masks/SPLIT/NAME/NAME_1.png …
    AVSBench_semantic/      metadata.csv: vid, uid, a_obj, split, label; label2idx.json
      v1s|v1m|v2/UID/       frames/0.jpg …, labels_rgb/0.png …, labels_semantic/0.png …, audio.wav, video.mp4

A training clip of S4 and v1s has the mask of its first frame only.
Source: the data loaders of AVSBench.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from sonomask.audio.logmel import SAMPLE_RATE
from sonomask.avsbench.palette import palette
from sonomask.data.composed.compose import tree_scene
from sonomask.data.composed.layers import CompositeScene
from sonomask.data.drawn.world import FRAME, KINDS, Kind, Scene, Split, SyntheticScenes
from sonomask.errors import DatasetError
from sonomask.media.writer import VideoWriter, write_wav

__all__ = ["PRESETS", "Preset", "SubsetName", "write_tree", "write_video"]

SubsetName = Literal["s4", "ms3", "avss"]
MANIFEST = "synthetic.json"  # marks a tree as ours, and says how to make it again
LABELS = ("v1s", "v1m", "v2")  # parts of AVSS, in turn


@dataclass(frozen=True)
class Preset:
    """Amount of data to write.

    Attributes:
        counts: Clips for train, val and test, in each subset.
        size: Side of the square frames in pixels, even.
        fps: Frames a second of the raw videos.
    """

    counts: tuple[int, int, int]
    size: int
    fps: int = 25


PRESETS = {
    "tiny": Preset((4, 2, 2), 64, 8),
    "small": Preset((48, 12, 12), 224),
    "large": Preset((1200, 200, 200), 224),
}


@dataclass(frozen=True)
class _Clip:
    """A clip to write: its path and its scene."""

    root: Path
    subset: SubsetName
    split: Split
    index: int
    seed: int
    size: int
    fps: int
    tables: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        return f"{self.subset}_{self.split}_{self.index:05d}"

    @property
    def label(self) -> str:
        return LABELS[self.index % len(LABELS)]

    def scene(self) -> Scene | CompositeScene:
        if self.tables:
            setting: Literal["single", "multi"] = "single" if self.subset == "s4" else "multi"
            return tree_scene(self.tables, setting, self.split, self.seed, self.index, self.size)
        single = self.subset == "s4" or (self.subset == "avss" and self.label == "v1s")
        kind: Kind = "single" if single else "multi" if self.subset == "ms3" else "semantic"
        scenes = SyntheticScenes(
            self.index + 1,
            seed=self.seed,
            size=(self.size, self.size),
            seconds=10 if self.subset == "avss" and self.label == "v2" else 5,
            kind=kind,
            split=self.split,
        )
        return scenes.scene(self.index)


def write_video(path: Path, made: Scene | CompositeScene, fps: int) -> None:
    """Write a scene as a video with its sound.

    Args:
        path: An `.mp4` file.
        made: A scene of even height and width.
        fps: Frames a second.
    """
    with VideoWriter(path, size=made.size, rate=fps, sample_rate=SAMPLE_RATE) as video:
        for index in range(made.seconds * fps):
            video.write(made.frame(index / fps)[0], index / fps)
        video.write_audio(made.waveform())


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=95)


def _write_clip(clip: _Clip) -> list[str]:
    """Write the files of a clip; returns its row of the csv."""
    made = clip.scene()
    moments = [int((second + FRAME) * clip.fps) / clip.fps for second in range(made.seconds)]  # as in the raw video
    frames = [made.frame(moment) for moment in moments]
    write: Any = {"s4": _write_s4, "ms3": _write_ms3, "avss": _write_avss}[clip.subset]
    return write(clip, made, frames)


Frames = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def _write_s4(clip: _Clip, made: Scene | CompositeScene, frames: Frames) -> list[str]:
    kind, name = made.category, clip.name
    place = Path(clip.split, kind)
    _video_and_wav(clip, made, clip.root / "raw_videos" / place, clip.root / "audio_wav" / place)
    for k, (image, mask, _) in enumerate(frames, start=1):
        _save(clip.root / "visual_frames" / place / name / f"{name}_{k}.png", image)
        if k == 1 or clip.split != "train":
            _save(clip.root / "gt_masks" / place / name / f"{name}_{k}.png", mask * 255)
    return [name, "0", kind, clip.split]


def _write_ms3(clip: _Clip, made: Scene | CompositeScene, frames: Frames) -> list[str]:
    name = clip.name
    _video_and_wav(clip, made, clip.root / "raw_videos", clip.root / "audio_wav" / clip.split)
    for k, (image, mask, _) in enumerate(frames, start=1):
        _save(clip.root / "visual_frames" / name / f"{name}.mp4_{k}.png", image)
        _save(clip.root / "gt_masks" / clip.split / name / f"{name}_{k}.png", mask * 255)
    return [name, clip.split]


def _write_avss(clip: _Clip, made: Scene, frames: Frames) -> list[str]:
    folder = clip.root / clip.label / clip.name
    folder.mkdir(parents=True)
    write_video(folder / "video.mp4", made, clip.fps)
    write_wav(folder / "audio.wav", made.waveform())
    colours = palette()
    for k, (image, _, classes) in enumerate(frames):
        _save(folder / "frames" / f"{k}.jpg", image)
        if k == 0 or clip.label != "v1s" or clip.split != "train":
            _save(folder / "labels_rgb" / f"{k}.png", colours[classes])
            _save(folder / "labels_semantic" / f"{k}.png", classes)
    heard = {KINDS[t.kind] for t, s in zip(made.things, made.sounding.T, strict=True) if t.visible and s.any()}
    return [clip.name, clip.name, "_".join(sorted(heard)), clip.split, clip.label]


def _video_and_wav(clip: _Clip, made: Scene | CompositeScene, videos: Path, sounds: Path) -> None:
    videos.mkdir(parents=True, exist_ok=True)
    write_video(videos / f"{clip.name}.mp4", made, clip.fps)
    write_wav(sounds / f"{clip.name}.wav", made.waveform())


_PLACES: dict[SubsetName, tuple[str, str, tuple[str, ...]]] = {  # csv, folder of the data, columns
    "s4": ("Single-source/s4_meta_data.csv", "Single-source/s4_data", ("name", "start", "category", "split")),
    "ms3": ("Multi-sources/ms3_meta_data.csv", "Multi-sources/ms3_data", ("name", "split")),
    "avss": ("AVSBench_semantic/metadata.csv", "AVSBench_semantic", ("vid", "uid", "a_obj", "split", "label")),
}


def _rows(clips: Sequence[_Clip], workers: int) -> Iterable[list[str]]:
    if not workers:
        return [_write_clip(clip) for clip in clips]
    spawn = multiprocessing.get_context("spawn")  # forking a process that holds threads of torch can hang
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        return list(pool.map(_write_clip, clips, chunksize=4))


def _write_subset(
    root: Path, subset: SubsetName, preset: Preset, seed: int, workers: int, tables: tuple[str, str] | None
) -> None:
    table, folder, columns = _PLACES[subset]
    splits: tuple[Split, ...] = ("train", "val", "test")
    clips = [
        _Clip(root / folder, subset, split, index, seed, preset.size, preset.fps, tables)
        for split, count in zip(splits, preset.counts, strict=True)
        for index in range(count)
    ]
    rows = _rows(clips, workers)
    with (root / table).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    if subset == "avss":
        classes = {name: index for index, name in enumerate(("background", *KINDS))}
        (root / folder / "label2idx.json").write_text(json.dumps(classes, indent=1) + "\n", encoding="utf-8")


def write_tree(
    out: Path | str,
    *,
    preset: str | Preset = "small",
    seed: int = 0,
    subsets: Sequence[SubsetName] = ("s4", "ms3", "avss"),
    workers: int = 0,
    overwrite: bool = False,
    tables: tuple[str, str] | None = None,
) -> None:
    """Write a data set of the synthetic world, or of composed scenes, in the layout of AVSBench.

    The folder appears when it is whole.

    Args:
        out: The folder to make.
        preset: A name in `PRESETS`, or sizes of your own.
        seed: The same seed gives the same pictures, sounds and masks.
        subsets: Names of the subsets of AVSBench to imitate.
        workers: Processes that write; 0 writes in this one.
        overwrite: Replace a tree that this function wrote before.
        tables: Paths of `images.csv` and `sounds.csv` (`data.library`): compose scenes of these, S4 and MS3 only.

    Raises:
        ValueError: Unknown preset or subset, or a size that is odd or under 16.
        DatasetError: `out` isn't empty and may not be replaced.
    """
    chosen = PRESETS.get(preset) if isinstance(preset, str) else preset
    if chosen is None or not subsets or not set(subsets) <= set(_PLACES):
        raise ValueError(
            f"Expected a preset of {list(PRESETS)} and subsets of {list(_PLACES)}, got {preset}, {subsets}."
        )
    if tables and "avss" in subsets:
        raise ValueError("`subsets`: composed scenes exist as s4 and ms3 only.")
    if chosen.size < 16 or chosen.size % 2:
        raise ValueError(f"`size`: expected an even number, 16 or more, as H.264 needs it, got {chosen.size}.")
    out = Path(out)
    _refuse_to_destroy(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        root = Path(temporary, "tree")
        root.mkdir()
        for subset in subsets:
            _write_subset(root, subset, chosen, seed, workers, tables)
        about = {"seed": seed, "tables": tables, "subsets": list(subsets), **asdict(chosen)}
        (root / MANIFEST).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        if out.exists():
            shutil.move(out, Path(temporary, "old"))
        root.replace(out)


def _refuse_to_destroy(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite or not (out / MANIFEST).is_file():
        raise DatasetError(
            f"{out} exists and isn't empty. Choose another folder"
            + (f"; only one with a {MANIFEST} is overwritten." if overwrite else ", or allow overwriting.")
        )

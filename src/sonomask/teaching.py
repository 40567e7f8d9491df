"""A model goes on from what a person corrected, and from videos with masks: `sonomask train --corrections FILE`.

Nothing that the model knows is trained again, so it can't be forgotten. What is learnt is a memory (`models.parts.memory`):
some places with what was heard there, and for each by how much the score of its like changes. The weights have a closed form, a
ridge regression of the wanted change on how alike examples are; the model's old answers, wherever nobody said anything else,
are examples whose wanted change is 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sonomask.errors import TrainingError
from sonomask.inference.segmenter import Segmenter
from sonomask.media.reader import VideoReader
from sonomask.models.nets.world import World, sound_features
from sonomask.models.parts.memory import Memory, kernel, looks_of, spots_of
from sonomask.models.parts.net import Net
from sonomask.outputs.corrected import corrected, traced
from sonomask.safe_reading.corrections import Correction, Corrections
from sonomask.structures import Masks

__all__ = ["Lesson", "Taught", "teach"]

SIZE = 512  # examples that are remembered
WANTED = 2.0  # logit that a corrected place should have, or more; less than minus that where nothing sounds
RIDGE = 1e-3
# variance of what a person said, of what is guessed from it, and of the old answers, which may be wrong near what was said
TOLD, GUESSED, OLD = 0.05, 0.5, 2.0
LIKELY, NEARLY = -4.0, 1.0  # logit of what may be meant by "something else", and by how much less its other places have
ASIDE = 6  # places around what is marked that are not something else
REACH = 2  # places around the one that is pointed at
FRAMES, RATE = 240, 5.0  # frames of a video that are looked at, and masks a second, at most
# places of what was corrected in a frame, of its old answers, and of those of all frames
EACH, KEPT, ALL = 40, 200, 600
SHOWN = 400  # places of a mask that is known, which may be as large as the picture
NEAR = 0.75  # seconds from a mask at which something may be pointed at


@dataclass(frozen=True)
class Lesson:
    """One video to learn from.

    Attributes:
        video: Path of the video.
        corrections: What a person said of it.
        masks: (time, mask) of frames of which it is known what sounds.
    """

    video: Path
    corrections: Corrections = field(default_factory=Corrections)
    masks: Sequence[tuple[float, Bool[np.ndarray, "H W"]]] = ()


@dataclass(frozen=True)
class Taught:
    """What came of it.

    Attributes:
        model: Model that goes on from the other one.
        corrections: Number of corrections that were learnt.
        masks: The same of masks.
        examples: Places that the weights were fitted to.
        seconds: Duration in seconds.
        notes: What could not be learnt.
    """

    model: World
    corrections: int
    masks: int
    examples: int
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass
class _Frame:
    """What the model made of a frame.

    Attributes:
        time: Seconds of the source.
        places: Features of each place, of length 1.
        names: What is heard.
        score: Logits.
    """

    time: float
    places: Float[Tensor, "C h w"]
    names: Float[Tensor, " 521"]
    score: Float[Tensor, "h w"]


@dataclass
class _Examples:
    """Places with the change of score that is wanted."""

    places: list[Tensor] = field(default_factory=list)
    spots: list[Tensor] = field(default_factory=list)
    sounds: list[Tensor] = field(default_factory=list)
    change: list[Tensor] = field(default_factory=list)
    doubt: list[Tensor] = field(default_factory=list)  # variance

    @property
    def told(self) -> Bool[Tensor, " A"]:
        """Whether a person said it, or it follows from that."""
        return torch.cat(self.doubt) < OLD

    def add(
        self,
        frame: _Frame,
        chosen: Bool[np.ndarray, "h w"],
        wanted: float | None,
        most: int,
        draw: Any,
        doubt: float = TOLD,
    ) -> None:
        """Some places of a frame: with a wanted score, or None for the one that they have."""
        index = torch.from_numpy(np.flatnonzero(chosen))
        if len(index) > most:
            index = index[torch.from_numpy(draw.permutation(len(index))[:most].copy())]
        if not len(index):
            return
        score = frame.score.flatten()[index]
        if wanted is None:
            change = torch.zeros_like(score)
        else:
            change = (wanted - score).clamp(min=0) if wanted > 0 else (wanted - score).clamp(max=0)
        self.places.append(frame.places.flatten(1).T[index].float())
        self.spots.append(spots_of(*frame.score.shape)[index])
        self.sounds.append(sound_features(frame.names[None]).expand(len(index), -1))
        self.change.append(change)
        self.doubt.append(torch.full((len(index),), OLD if wanted is None else doubt))


def teach(
    model: Net,
    lessons: Sequence[Lesson],
    *,
    seed: int = 0,
    size: int = SIZE,
    progress: Callable[[str], None] = lambda _: None,
) -> Taught:
    """A copy of a model that has learnt from what a person said.

    Args:
        model: Model to go on from; what it remembers already is replaced.
        lessons: Videos with corrections or masks.
        seed: Seed of the choice of examples.
        size: Greatest number of examples that are remembered.
        progress: Function that is told which video comes next.

    Raises:
        TrainingError: The model has no scene readers, or there is nothing to learn.
        MediaError: A video can't be read, or the corrections are of another one.
    """
    if not isinstance(model, World):
        raise TrainingError(
            "`model`: expected one that names what it sees, such as world_duo.real. Others don't learn so."
        )
    began, draw, found = time.monotonic(), np.random.default_rng(seed), _Examples()
    model = _with_memory(model, 0)
    notes: list[str] = []
    said = shown = 0
    for lesson in lessons:
        progress(lesson.video.name)
        frames = _watched(model, lesson)
        said += _learn_corrections(found, frames, lesson, draw, notes)
        shown += _learn_masks(found, frames, lesson, draw, notes)
    if not found.change or not found.told.any():
        raise TrainingError(
            "Nothing of what was said can be learnt: the model does that already, or sees nothing there."
        )
    taught = _with_memory(model, 0)
    taught = _fitted(taught, found, size, draw)
    total = sum(map(len, found.change))
    return Taught(taught, said, shown, total, time.monotonic() - began, tuple(notes))


def _with_memory(model: World, size: int) -> World:
    """A copy that remembers so many examples, none of which changes anything yet."""
    from sonomask.models.catalog import create_model

    options = {**model.config.options, "memory": size}
    if not size:
        options.pop("memory")
    made = create_model(model.config.name, **options)
    assert isinstance(made, World)  # noqa: S101 - it has the name of one
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("memory.")}
    made.load_state_dict(state, strict=False)
    made.config = replace(model.config, options=options)
    return made.eval()


def _watched(model: World, lesson: Lesson) -> list[_Frame]:
    """What the model makes of frames of a video, `FRAMES` at most, spread evenly, and those of which masks are known."""
    frames: list[_Frame | None] = []  # in the order of the masks; the model is a few ahead of them

    def watch(places: Tensor, names: Tensor, score: Tensor) -> None:
        for own, heard, logits in zip(F.normalize(places, dim=1), names, score[:, 0], strict=True):
            frames.append(_Frame(0.0, own.half(), heard.clone(), logits.clone()))

    with VideoReader(lesson.video) as reader:
        info = reader.info
        lesson.corrections.check_video(info.duration, info.width, info.height, name=str(lesson.video))
        length = max(info.duration or 1.0, 1.0)
        rate = max(1.0, min(RATE, FRAMES / length))
        step = max(1, round(length * rate / FRAMES))
        model.watch = watch
        try:
            for number, masks in enumerate(Segmenter(model, rate=rate, smooth=0.0, device="cpu")(reader)):
                now, frame = masks.times[0], frames[number]
                assert frame is not None  # noqa: S101 - it is looked at once
                known = any(abs(at - now) <= 1.0 / rate for at, _ in lesson.masks)
                frames[number] = replace(frame, time=now) if number % step == 0 or known else None
        finally:
            del model.watch
    return [frame for frame in frames if frame is not None]


def _learn_corrections(
    found: _Examples, frames: list[_Frame], lesson: Lesson, draw: np.random.Generator, notes: list[str]
) -> int:
    """Examples of what was said; how many corrections they are of."""
    said = lesson.corrections
    if not len(said) or not frames:
        return 0
    before = [_masks(frame) for frame in frames]
    whole = traced(said, before)
    for frame, old, new in zip(frames, before, corrected(before, whole), strict=True):
        found.add(frame, old.mask[0] & ~new.mask[0], -WANTED, EACH, draw)
        only = [item for item in whole.items if item.kind == "only" and item.holds(frame.time)]
        if only:
            found.add(frame, new.mask[0], WANTED, EACH, draw)
        if any(item.kind == "other" and item.holds(frame.time) for item in whole.items):
            found.add(frame, _something_else(frame), WANTED, EACH, draw, GUESSED)
    count = 0
    for item in whole.items:
        if item.kind not in ("sounds", "silent"):
            count += not item.of_place or bool(item.trail)
            if item.of_place and not item.trail:
                notes.append(f"{lesson.video.name}: correction “{item}”: no such thing is marked.")
            continue
        index = int(np.argmin([abs(frame.time - (item.time or 0.0)) for frame in frames]))
        if abs(frames[index].time - (item.time or 0.0)) > NEAR:
            notes.append(f"{lesson.video.name}: correction “{item}”: the video has no such moment.")
            continue
        found.add(frames[index], _around(frames[index], item), WANTED if item.kind == "sounds" else -WANTED, EACH, draw)
        count += 1
    few = max(1, min(KEPT, ALL // len(frames)))
    for frame in frames:
        found.add(frame, np.ones(tuple(frame.score.shape), bool), None, few, draw)
    return count


def _learn_masks(
    found: _Examples, frames: list[_Frame], lesson: Lesson, draw: np.random.Generator, notes: list[str]
) -> int:
    """Examples of masks that are known; how many masks."""
    count = 0
    for at, mask in lesson.masks:
        index = int(np.argmin([abs(frame.time - at) for frame in frames])) if frames else 0
        if not frames or abs(frames[index].time - at) > NEAR:
            notes.append(f"{lesson.video.name}: the mask at {at:g} s: the video has no such moment.")
            continue
        frame = frames[index]
        size = tuple(frame.score.shape)[::-1]
        share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        found.add(frame, share > 0.8, WANTED, SHOWN, draw)  # what lies on an edge teaches nothing
        found.add(frame, share < 0.2, -WANTED, SHOWN, draw)
        count += 1
    return count


def _masks(frame: _Frame) -> Masks:
    probability = torch.sigmoid(frame.score).numpy()
    return Masks((frame.time,), probability[None])


def _something_else(frame: _Frame) -> Bool[np.ndarray, "h w"]:
    """What is likeliest to sound of all that is not marked; nothing if none of it is likely at all."""
    score = frame.score.numpy()
    marked = (score > 0).view(np.uint8)
    free = cv2.dilate(marked, np.ones((2 * ASIDE + 1,) * 2, np.uint8)) == 0
    best = float(score[free].max()) if free.any() else -np.inf
    found: Bool[np.ndarray, "h w"] = free & (score >= best - NEARLY) & (best >= LIKELY)
    return found


def _around(frame: _Frame, item: Correction) -> Bool[np.ndarray, "h w"]:
    """The places around the one that is pointed at; of a marked one only marked ones, if that is what is wrong."""
    height, width = frame.score.shape
    row, column = min(int((item.y or 0) * height), height - 1), min(int((item.x or 0) * width), width - 1)
    found = cv2.circle(np.zeros((height, width), np.uint8), (column, row), REACH, 1, -1) > 0
    marked = frame.score.numpy() > 0
    if marked[row, column] == (item.kind == "silent"):
        found &= marked == marked[row, column]
    return found


def _fitted(model: World, found: _Examples, size: int, draw: np.random.Generator) -> World:
    """The model with the memory whose weights fit the examples best."""
    seen = ~found.told  # a fair sample of all places, unless there are whole masks only
    mean = torch.cat(found.places)[seen if seen.any() else ~seen].mean(0)
    examples = tuple(
        torch.cat(parts).double() for parts in ([looks_of(p, mean) for p in found.places], found.spots, found.sounds)
    )
    change = torch.cat(found.change).double()
    chosen = torch.tensor(_spread(examples, found.told, size, draw))
    kept = tuple(part[chosen] for part in examples)
    like = kernel(examples, kept)
    certain = 1 / torch.cat(found.doubt).double()[:, None]
    left = like.T @ (certain * like) + kernel(kept, kept) + RIDGE * torch.eye(len(chosen), dtype=torch.float64)
    weights = torch.linalg.solve(left, like.T @ (certain[:, 0] * change))
    made = _with_memory(model, len(chosen))
    memory = made.memory
    assert isinstance(memory, Memory)  # noqa: S101 - it was asked for
    for name, value in zip(("places", "spots", "sounds", "mean", "weights"), (*kept, mean, weights), strict=True):
        getattr(memory, name).copy_(value)
    return made


def _spread(examples: tuple[Tensor, ...], told: Bool[Tensor, " A"], size: int, draw: np.random.Generator) -> list[int]:
    """Numbers of examples that are far from one another, those of which something was said first (half of them at least)."""
    chosen: list[int] = []
    for group, most in ((told, size - size // 2), (~told, size)):
        index = torch.from_numpy(np.flatnonzero(group.numpy()))
        if not len(index):
            continue
        own = tuple(part[index] for part in examples)
        now, nearest = int(draw.integers(len(index))), torch.zeros(len(index), dtype=torch.float64)
        for _ in range(min(most - (0 if most < size else len(chosen)), len(index))):
            chosen.append(int(index[now]))
            nearest = torch.maximum(nearest, kernel(own, tuple(part[now : now + 1] for part in own))[:, 0])
            now = int(nearest.argmin())
    return chosen

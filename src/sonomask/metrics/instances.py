"""Metrics of audio-visual instance segmentation: mAP of tracks, HOTA, and FSLA, the accuracy of frames.

mAP and HOTA are TrackEval's. FSLA is the paper's own, and the public evaluation differs from its description in places; what
is meant is the default, and `published=True` gives what the public evaluation gives:

    - the first track of all may be matched by mAP with a true one that others are matched with too;
    - a mask that is all zeros counts as one, but for pictures of 1280×720 where masks are counted;
    - a frame's found categories are those of all tracks that have a mask there, be it all zeros;
    - of a frame with one source the found track is looked up by the wrong side of the assignment;
    - where several sound, all assigned pairs must agree in category, also those of which neither is there.

Source: Guo et al., "Audio-visual instance segmentation", CVPR 2025; ACVIS's evaluation, `av_loc.py` (read, not copied).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from pycocotools import mask as run_lengths

from sonomask.errors import MissingExtraError

__all__ = ["InstanceTrack", "frame_accuracy", "score_instances"]

ALPHAS = np.arange(0.05, 0.99, 0.05)
PUBLISHED_SIZE = [720, 1280]  # of the one kind of picture whose empty masks the public evaluation knows
AREAS = [[0, 128**2], [128**2, 256**2], [256**2, 1e10]]
KINDS = ("none", "one", "several")  # things that sound in a frame


@dataclass(frozen=True)
class InstanceTrack:
    """An instance in a video.

    Attributes:
        video: Number of the video.
        category: Number of the category, from 1.
        masks: COCO's compressed run lengths for each frame, None where there is none.
        score: Confidence of the system.
        crowd: Whether it is left out of mAP.
    """

    video: int
    category: int
    masks: tuple[dict[str, Any] | None, ...]
    score: float = 1.0
    crowd: bool = False

    def without_empty(self) -> InstanceTrack:
        """The same with None for masks that are all zeros."""
        kept = tuple(None if m is None or not run_lengths.area(m) else m for m in self.masks)
        return InstanceTrack(self.video, self.category, kept, self.score, self.crowd)


def score_instances(
    truth: Sequence[InstanceTrack],
    found: Sequence[InstanceTrack],
    lengths: Mapping[int, int],
    categories: Sequence[int],
    *,
    published: bool = False,
) -> dict[str, float]:
    """Percentages: `mAP`, `HOTA`, `DetA`, `AssA`, `FSLA` and its parts `FSLA_none`, `FSLA_one`, `FSLA_several`.

    mAP is the mean over the categories that the truth has, thresholds 0.50 to 0.95; HOTA the mean over all categories, 0 for
    those that nothing is of.

    Args:
        truth: True instances.
        found: Instances found by a system.
        lengths: Frames of each video.
        categories: Numbers of all categories.
        published: Whether to give what the public evaluation gives (see above).

    Raises:
        MissingExtraError: TrackEval is not installed.
    """
    try:
        from trackeval.metrics import HOTA, TrackMAP
    except ModuleNotFoundError as error:
        raise MissingExtraError("Scoring instances", "avis") from error
    if not published:
        found = [track.without_empty() for track in found]
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet):  # both print their settings
        steps = np.arange(0.5, 0.96, 0.05)
        options = {"USE_AREA_RANGES": True, "AREA_RANGES": AREAS, "AREA_RANGE_LABELS": ["area_s", "area_m", "area_l"]}
        precise = TrackMAP({
            **options, "USE_TIME_RANGES": False, "IOU_THRESHOLDS": steps, "RECALL_THRESHOLDS": np.linspace(0, 1, 101),
            "MAX_DETECTIONS": 0, "PRINT_CONFIG": False,
        })  # fmt: skip
        hota = HOTA()
        by_class: dict[str, list[dict[Any, Any]]] = {"map": [], "hota": []}
        for category in categories:
            data = {v: _class_data(truth, found, v, n, category, 1 - published) for v, n in lengths.items()}
            by_class["map"].append(precise.combine_sequences({v: precise.eval_sequence(d) for v, d in data.items()}))
            by_class["hota"].append(hota.combine_sequences({v: hota.eval_sequence(d) for v, d in data.items()}))
    means = [np.mean([max(float(x), 0.0) for x in one["AP_all"]]) for one in by_class["map"] if max(one["AP_all"]) > -1]
    result = {"mAP": 100 * float(np.mean(means)) if means else 0.0}
    for key in ("HOTA", "DetA", "AssA"):
        result[key] = 100 * float(np.mean([one[key].mean() for one in by_class["hota"]]))
    return result | frame_accuracy(truth, found, lengths, published=published)


def frame_accuracy(
    truth: Sequence[InstanceTrack],
    found: Sequence[InstanceTrack],
    lengths: Mapping[int, int],
    *,
    published: bool = False,
) -> dict[str, float]:
    """FSLA: the share of frames in which everything is right, mean over IoU thresholds 0.05 to 0.95, in percent.

    A frame is right if as many masks are found as sound, of the same categories, and each that sounds has one of its own
    category, that of the track which is assigned to it over the whole video, with an IoU above the threshold.

    Args:
        truth: True instances.
        found: Instances found by a system.
        lengths: Frames of each video.
        published: Whether to give what the public evaluation gives.
    """
    right, total = np.zeros((3, len(ALPHAS))), np.zeros(3)
    if not published:
        found = [track.without_empty() for track in found]
    for video, length in lengths.items():
        mine = [track for track in truth if track.video == video]
        its = [track for track in found if track.video == video]
        ious = np.stack([_ious(mine, its, t) for t in range(length)])
        pairs = _assigned(mine, its, ious)
        for t in range(length):
            kind = min(sum(track.masks[t] is not None for track in mine), 2)
            total[kind] += 1
            right[kind] += _frame(mine, its, t, ious[t], pairs, published)
    result = {"FSLA": 100 * float((right.sum(0) / max(total.sum(), 1)).mean())}
    for kind, name in enumerate(KINDS):
        result[f"FSLA_{name}"] = 100 * float((right[kind] / max(total[kind], 1)).mean())
    return result


def _frame(
    mine: Sequence[InstanceTrack],
    its: Sequence[InstanceTrack],
    t: int,
    ious: Float[np.ndarray, "G D"],
    pairs: Sequence[tuple[int, int]],
    published: bool,
) -> np.ndarray:
    """At which thresholds a frame is right."""
    wrong = np.zeros(len(ALPHAS), bool)
    sounding = [i for i, track in enumerate(mine) if track.masks[t] is not None]
    there = [j for j, track in enumerate(its) if track.masks[t] is not None]
    marked = [j for j in there if not published or not _known_empty(its[j].masks[t])]
    if {mine[i].category for i in sounding} != {its[j].category for j in there} or len(sounding) != len(marked):
        return wrong
    right = ~wrong
    if len(sounding) == 1:
        of = {j: i for i, j in pairs} if published else dict(pairs)  # published: by the wrong side
        other = of.get(sounding[0])
        if other is None or (other >= len(its)) or (not published and other not in there):
            return wrong
        return right & (ious[sounding[0], other] > ALPHAS)
    if sounding:
        if not published and not set(sounding) <= {i for i, _ in pairs}:
            return wrong
        for i, j in pairs:
            if i in sounding:
                right &= (ious[i, j] > ALPHAS) & (mine[i].category == its[j].category)
            elif j in marked or (published and mine[i].category != its[j].category):
                return wrong
    return right


def _known_empty(mask: dict[str, Any] | None) -> bool:
    return mask is not None and list(mask["size"]) == PUBLISHED_SIZE and not run_lengths.area(mask)


def _ious(mine: Sequence[InstanceTrack], its: Sequence[InstanceTrack], t: int) -> Float[np.ndarray, "G D"]:
    result = np.zeros((len(mine), len(its)))
    rows = [i for i, track in enumerate(mine) if track.masks[t] is not None]
    columns = [j for j, track in enumerate(its) if track.masks[t] is not None]
    if rows and columns:
        overlap = run_lengths.iou([its[j].masks[t] for j in columns], [mine[i].masks[t] for i in rows], [0] * len(rows))
        result[np.ix_(rows, columns)] = np.asarray(overlap).T
    return result


def _assigned(
    mine: Sequence[InstanceTrack], its: Sequence[InstanceTrack], ious: Float[np.ndarray, "T G D"]
) -> list[tuple[int, int]]:
    """Match found tracks to true ones over the whole video, ignoring categories: HOTA's alignment."""
    from scipy.optimize import linear_sum_assignment

    if not mine or not its:
        return []
    either = ious.sum(1, keepdims=True) + ious.sum(2, keepdims=True) - ious
    share = np.divide(ious, either, out=np.zeros_like(ious), where=either > np.finfo(float).eps).sum(0)
    counts = [np.array([sum(m is not None for m in track.masks) for track in side]) for side in (mine, its)]
    score = share / np.maximum(counts[0][:, None] + counts[1][None] - share, np.finfo(float).eps)
    rows, columns = linear_sum_assignment(-score)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _class_data(
    truth: Sequence[InstanceTrack], found: Sequence[InstanceTrack], video: int, length: int, category: int, first: int
) -> dict[str, Any]:
    """Input of TrackEval's metrics for a video and a category; its track number 0 may be matched twice, so `first` is 1."""
    mine, its = ([x for x in side if (x.video, x.category) == (video, category)] for side in (truth, found))
    its = sorted(its, key=lambda track: -track.score)
    numbers = {id(track): i for i, track in enumerate(found, start=first)}
    there = [[[i for i, x in enumerate(side) if x.masks[t] is not None] for t in range(length)] for side in (mine, its)]
    ious = [_ious(mine, its, t)[np.ix_(there[0][t], there[1][t])] for t in range(length)]
    seen = [sorted({i for now in side for i in now}) for side in there]
    ids = [[np.array([seen[s].index(i) for i in now], int) for now in side] for s, side in enumerate(there)]
    areas = [[_area(track) for track in side] for side in (mine, its)]
    return {
        "num_timesteps": length, "gt_ids": ids[0], "tracker_ids": ids[1], "similarity_scores": ious,
        "num_gt_ids": len(seen[0]), "num_tracker_ids": len(seen[1]),
        "num_gt_dets": sum(map(len, there[0])), "num_tracker_dets": sum(map(len, there[1])),
        "gt_tracks": [dict(enumerate(track.masks)) for track in mine],
        "dt_tracks": [dict(enumerate(track.masks)) for track in its],
        "gt_track_ids": list(range(1, len(mine) + 1)), "dt_track_ids": [numbers[id(x)] for x in its],
        "gt_track_areas": areas[0], "dt_track_areas": areas[1], "gt_track_iscrowd": [track.crowd for track in mine],
        "dt_track_scores": np.array([track.score for track in its]), "iou_type": "mask",
    }  # fmt: skip


def _area(track: InstanceTrack) -> float:
    areas = [float(run_lengths.area(m)) for m in track.masks if m is not None and run_lengths.area(m)]
    return float(np.mean(areas)) if areas else 0.0

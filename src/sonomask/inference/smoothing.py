"""Smooth masks over time: each frame's scores are mixed with the earlier ones, moved along with the picture.

Only what is already marked is smoothed. If something appears away from it, or the mask suddenly doubles, the model's new scores
count at once, so no onset comes later than without smoothing. Where the picture does not match the motion, for example behind
something that moved away, and after a cut, earlier scores are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from sonomask.inference.clips import fresh
from sonomask.inference.finish import Maps
from sonomask.media.motion import carried, grey, motion, unlike
from sonomask.media.reader import Frame
from sonomask.media.windows import Window

__all__ = ["Smoother", "smoothed"]

MOST = 4.0  # logits are clipped to this, so that very high scores are not remembered longer than others
UNLIKE = 25  # levels of brightness by which a place may differ from where it came from
CUT = 0.5  # of the places that differ: another picture
EDGE = 0.025  # of the picture's longer side: what appears farther from what was marked is something new
PART = 0.1  # of the mask that something new has at least; less is a speck


class Smoother:
    """Steadies the masks of one video, frame by frame in order.

    Args:
        seconds: Time constant, after which the weight of a score has fallen to 1/e; 0 for no smoothing. Masks more than
            twice as far apart are not smoothed.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.before: tuple[float, UInt8[np.ndarray, "H W"], Float32[np.ndarray, "H W"]] | None = None

    def __call__(self, time: float, image: UInt8[np.ndarray, "H W 3"], maps: Maps) -> Maps:
        """Smooth the maps of the next frame; those of a semantic model are returned unchanged.

        Args:
            time: Time of the frame, in seconds.
            image: The frame at the size of the maps.
            maps: Maps of the frame.
        """
        if not self.seconds or maps.classes is not None:
            return maps
        now, scores = grey(image), maps.scores[0].clip(-MOST, MOST)
        if self.before is not None and 0 < time - self.before[0] <= 2 * self.seconds:
            scores = self._mixed(math.exp((self.before[0] - time) / self.seconds), now, scores)
        else:
            scores = maps.scores[0]
        self.before = time, now, scores.clip(-MOST, MOST)
        return maps._replace(scores=scores[None])

    def _mixed(
        self, share: float, now: UInt8[np.ndarray, "H W"], scores: Float32[np.ndarray, "H W"]
    ) -> Float32[np.ndarray, "H W"]:
        assert self.before is not None  # noqa: S101
        _, then, old = self.before
        moved = motion(now, then)
        known = unlike(now, then, moved) < UNLIKE
        if known.mean() < CUT:
            return scores
        old = carried(old, moved)
        mixed = np.where(known, scores + np.float32(share) * (old - scores), scores)
        at_once = appearing(scores > 0, old > 0)
        return np.where(at_once, np.maximum(scores, mixed), mixed)


def appearing(mask: Bool[np.ndarray, "H W"], before: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The new part of a mask, without specks and the edges of the old one."""
    area = int(mask.sum())
    if area > 2 * int(before.sum()):
        return mask
    reach = 2 * round(EDGE * max(mask.shape)) + 1
    away = mask & (cv2.dilate(before.view(np.uint8), np.ones((reach, reach), np.uint8)) == 0)
    if not away.any():
        return away
    _, parts, facts, _ = cv2.connectedComponentsWithStats(away.view(np.uint8))
    large = facts[:, cv2.CC_STAT_AREA] >= PART * area
    large[0] = False
    found: Bool[np.ndarray, "H W"] = large[parts]
    return found


def smoothed(smoother: Smoother, window: Window, maps: Sequence[Sequence[Maps]]) -> list[list[Maps]]:
    """The maps of a window, by phase and second, with its new frames steadied."""
    found = [list(phase) for phase in maps]
    for second in fresh(window):
        for phase, frame in enumerate(window.frames[second]):
            found[phase][second] = smoother(frame.time, _at_size(frame, maps[phase][second]), maps[phase][second])
    return found


def _at_size(frame: Frame, maps: Maps) -> UInt8[np.ndarray, "H W 3"]:
    size = maps.scores.shape[1:]
    if frame.image.shape[:2] == size:
        return frame.image
    image: UInt8[np.ndarray, "H W 3"] = cv2.resize(frame.image, size[::-1], interpolation=cv2.INTER_AREA)
    return image

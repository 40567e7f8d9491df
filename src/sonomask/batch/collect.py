"""Pieces in any order in, whole shards out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sonomask.batch.job import Ending, Piece
from sonomask.batch.ledger import Ledger, Shard

__all__ = ["Summary", "collect"]


@dataclass
class Summary:
    """Counts of a finished run.

    Attributes:
        done: Videos with masks, written now.
        failed: Videos with a reason, written now.
        kept: Videos that had a row already.
        kept_failed: Number of them that had failed.
        lost: Videos without a result from the engine; they are still missing.
        seconds: Seconds of video.
        clock: Seconds of work by stage, summed over processes.
        wall: Seconds that the run took.
        masks: Made now.
        waiting: Videos that were begun and are not written yet.
    """

    done: int = 0
    failed: int = 0
    kept: int = 0
    kept_failed: int = 0
    lost: int = 0
    seconds: float = 0.0
    clock: Counter[str] = field(default_factory=Counter)
    wall: float = 0.0
    masks: int = 0
    waiting: int = 0


@dataclass
class _Video:
    """Pieces of a video so far."""

    rows: dict[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    ending: Ending | None = None
    count: int = 0
    fault: tuple[int, str] | None = None  # the first piece's

    def whole(self) -> bool:
        return self.ending is not None and (len(self.rows) == self.count or self.ending.status == "failed")

    def verdict(self) -> Ending:
        assert self.ending is not None  # noqa: S101 - `whole`
        if self.fault is None or self.ending.status == "failed":
            return self.ending
        return replace(self.ending, status="failed", reason=self.fault[1])


def collect(
    pieces: Iterable[Piece],
    shards: Sequence[Shard],
    ledger: Ledger,
    report: Callable[[str, Ending], None],
    summary: Summary,
) -> None:
    """Commit each shard when its last video is whole.

    Args:
        pieces: Pieces of the shards' videos, in any order; one that came before does not matter.
        shards: Missing shards.
        ledger: Ledger to which shards are committed.
        report: Function called with each video that is complete.
        summary: Counts that are added to.
    """
    home = {video: shard for shard in shards for video in shard.videos}
    videos: dict[str, _Video] = {}
    ended: dict[str, dict[str, Ending]] = {shard.name: {} for shard in shards}
    for piece in pieces:
        shard = home.get(piece.video)
        if shard is None or piece.video in ended.get(shard.name, {}) or shard.name not in ended:
            continue
        video = videos.setdefault(piece.video, _Video())
        _take(video, piece, summary)
        summary.waiting = len(videos)
        if video.whole():
            endings = ended[shard.name]
            endings[piece.video] = ending = video.verdict()
            report(piece.video, ending)
            if len(endings) == len(shard.videos):
                rows = {v: _in_order(videos.pop(v)) for v in shard.videos}
                ledger.commit(shard, endings, rows)
                _count(summary, ended.pop(shard.name))
                summary.waiting = len(videos)
    summary.lost += sum(len(shard.videos) for shard in shards if shard.name in ended)


def _take(video: _Video, piece: Piece, summary: Summary) -> None:
    summary.clock.update(piece.clock)
    if isinstance(piece.body, Ending):
        video.ending, video.count = piece.body, piece.order
        summary.clock.update(piece.body.clock)
        return
    summary.masks += len(piece.body or ()) if piece.order not in video.rows else 0
    video.rows[piece.order] = piece.body or ()
    if piece.fault:
        video.fault = min(video.fault or (piece.order, piece.fault), (piece.order, piece.fault))


def _in_order(video: _Video) -> list[Mapping[str, Any]]:
    return [row for order in sorted(video.rows) for row in video.rows[order]]


def _count(summary: Summary, endings: Mapping[str, Ending]) -> None:
    for ending in endings.values():
        good = ending.status == "done"
        summary.done, summary.failed = summary.done + good, summary.failed + (not good)
        summary.seconds += ending.seconds or 0.0 if good else 0.0

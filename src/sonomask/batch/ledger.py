"""The ledger of shards: which are complete and which are missing. Only here does a shard become complete.

    claims/                     who is at work, see `claims`
    run.json                    the model and the options; others need another folder
    masks/part=P/SHARD.parquet      masks of the shard's videos              written first
    webdataset/SHARD.tar            the same as WebDataset, if asked for     then this
    jsonl/part=P/SHARD.jsonl        the same as JSON lines, if asked for     then this
    manifest/part=P/SHARD.parquet   a row for each of its videos             then this: with it the shard is done
    contents.parquet                a row for each shard, made anew of the manifests when a run ends

A video is done if a manifest has its row. What is not is cut, in order, into shards of `shard_size`; a shard's name is a hash
of its videos, the model and the options, and its bytes follow from these. Shards are committed whole, so what remains after a
stop, cut again, gives the shards that were missing, by the same names: written twice is written once.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sonomask.batch.job import Ending, Options, VideoJob, digest
from sonomask.batch.store import OutputStore
from sonomask.batch.tables import CONTENTS, MANIFEST, MASKS, json_lines, parquet, read, webdataset
from sonomask.errors import DatasetError
from sonomask.schemas import schema

__all__ = ["Extra", "Ledger", "Shard", "in_slice"]

Extra = Literal["parquet", "webdataset", "jsonl"]
Row = Mapping[str, Any]
MOST = 500  # manifests read at once


@dataclass(frozen=True)
class Shard:
    """Videos that are written together.

    Attributes:
        name: Name of its files.
        videos: Videos in order.
    """

    name: str
    videos: tuple[str, ...]


def in_slice(jobs: Sequence[VideoJob], part: int, parts: int) -> list[VideoJob]:
    """The jobs of one of several independent runs, chosen by the names of the videos.

    Raises:
        ValueError: There is no such part.
    """
    if not 0 <= part < parts:
        raise ValueError(f"`slice`: expected I/N with 0 ≤ I < N, got {part}/{parts}.")
    return [job for job in jobs if zlib.crc32(job.video.encode()) % parts == part]


def _part(shard: str) -> str:
    return shard[:2]


def _place(what: str, shard: str) -> str:
    """Path of a shard's file; its first two digits are the Hive partition."""
    folder, suffix = {"parquet": ("masks", "parquet"), "webdataset": ("webdataset", "tar")}.get(what, (what, what))
    if what == "webdataset":  # its readers take plain globs
        return f"{folder}/{shard}.{suffix}"
    return f"{folder}/part={_part(shard)}/{shard}.{'parquet' if what == 'manifest' else suffix}"


def _most(pairs: Iterable[tuple[str, float]]) -> list[str]:
    """The names, the one with the highest sum first."""
    sums: dict[str, float] = {}
    for name, amount in pairs:
        sums[name] = sums.get(name, 0.0) + amount
    return sorted(sums, key=lambda name: (-sums[name], name))


class Ledger:
    """The outputs of a corpus.

    Args:
        store: Store that holds the output.
        options: Request for the masks.
        name: Name of the model.
        fingerprint: Fingerprint of its weights.
        formats: Formats of the masks.
        shard_size: Videos a shard.

    Raises:
        DatasetError: The store holds results of another model or other options, or something else.
        ValueError: A format is unknown, or the size is not positive.
    """

    def __init__(
        self,
        store: OutputStore,
        options: Options,
        name: str,
        fingerprint: str,
        *,
        formats: Sequence[Extra] = ("parquet",),
        shard_size: int = 128,
    ) -> None:
        if not formats or not set(formats) <= set(get_args(Extra)) or shard_size < 1:
            raise ValueError(
                f"Expected formats of {', '.join(get_args(Extra))} and a shard size of 1 or more, got {formats}, {shard_size}."
            )
        self.store, self.formats, self.shard_size = store, formats, shard_size
        self.model, self.settings_id = fingerprint, options.fingerprint()
        about = {
            "schema": schema("corpus"),
            "model": name,
            "weights": fingerprint,
            "options": options.mask_settings(),
            "formats": sorted(formats),
        }
        self._agree(json.loads(json.dumps(about)))

    def _agree(self, about: dict[str, Any]) -> None:
        if "run.json" in self.store.names(""):
            try:
                kept = json.loads(self.store.read(["run.json"])["run.json"])
            except ValueError as error:
                raise DatasetError(
                    f"{self.store.root}: its run.json can't be read ({error}). Give another --out."
                ) from error
            if kept != about:
                other = [key for key in about if not isinstance(kept, dict) or kept.get(key) != about[key]]
                raise DatasetError(
                    f"{self.store.root} was made with other {', '.join(other)} (see its run.json). Give the same, "
                    "or another --out."
                )
            return
        self.store.put("run.json", (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())

    def done(self) -> dict[str, str]:
        """Status of each video that has a row."""
        return {video: status for _, table in self._manifests() for video, status in table}

    def forget_failed(self) -> int:
        """Make every shard with a failed video missing, and count these videos.

        The manifest is removed first: a shard without a manifest does not count.
        """
        failed = 0
        for name, table in self._manifests():
            count = sum(status == "failed" for _, status in table)
            if count:
                shard = name.rpartition("/")[2].removesuffix(".parquet")
                self.store.remove([name, *(_place(what, shard) for what in get_args(Extra))])
            failed += count
        return failed

    def _manifests(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        names = self.store.below("manifest")
        for start in range(0, len(names), MOST):
            for name, data in self.store.read(names[start : start + MOST]).items():
                table = read(data, f"{self.store.root}/{name}", ["video", "status"])
                yield name, list(zip(table["video"].to_pylist(), table["status"].to_pylist(), strict=True))

    def list_contents(self) -> None:
        """Write the table of contents, by what the manifests say."""
        rows: list[Row] = []
        names = self.store.below("manifest")
        for start in range(0, len(names), MOST):
            for name, data in self.store.read(names[start : start + MOST]).items():
                columns = ["video", "status", "frames", "seconds", "shard"]
                found = read(data, f"{self.store.root}/{name}", columns).to_pylist()
                if found:
                    videos = sorted(row["video"] for row in found)
                    rows.append({
                        "shard": found[0]["shard"], "part": _part(found[0]["shard"]), "videos": len(found),
                        "failed": sum(row["status"] == "failed" for row in found),
                        "frames": sum(row["frames"] for row in found),
                        "seconds": sum(row["seconds"] or 0.0 for row in found), "first": videos[0], "last": videos[-1],
                    })  # fmt: skip
        self.store.put("contents.parquet", parquet(sorted(rows, key=lambda row: str(row["shard"])), CONTENTS))

    def shards(self, jobs: Sequence[VideoJob], done: Mapping[str, str]) -> list[Shard]:
        """The shards that are missing."""
        left = [job.video for job in jobs if job.video not in done]
        groups = (tuple(left[i : i + self.shard_size]) for i in range(0, len(left), self.shard_size))
        return [Shard(digest(self.model, self.settings_id, *videos), videos) for videos in groups]

    def commit(self, shard: Shard, endings: Mapping[str, Ending], masks: Mapping[str, Sequence[Row]]) -> None:
        """Write a shard.

        Args:
            shard: Shard to commit.
            endings: Results of its videos.
            masks: Rows of those that are done, in order of time.
        """
        kept = {video: masks[video] if endings[video].status == "done" else () for video in shard.videos}
        rows = [self._row(shard, video, endings[video], kept[video]) for video in shard.videos]
        if "parquet" in self.formats:
            flat = [row for video in shard.videos for row in kept[video]]
            self.store.put(_place("parquet", shard.name), parquet(flat, MASKS))
        if "webdataset" in self.formats:
            self.store.put(_place("webdataset", shard.name), webdataset(rows, kept))
        if "jsonl" in self.formats:
            self.store.put(_place("jsonl", shard.name), json_lines(rows, kept))
        self.store.put(_place("manifest", shard.name), parquet(rows, MANIFEST))

    def _row(self, shard: Shard, video: str, ending: Ending, masks: Sequence[Row]) -> dict[str, Any]:
        shares: dict[float, float] = {}
        for mask in masks:
            shares[mask["time"]] = shares.get(mask["time"], 0.0) + mask["area"] / (mask["height"] * mask["width"])
        frames = {mask["time"]: mask.get("heard") or () for mask in masks}  # a frame of several masks is heard once
        heard = [sound for sounds in frames.values() for sound in sounds]
        presence = [mask["presence"] for mask in masks if mask["presence"] is not None]
        return {
            "video": video, "status": ending.status, "reason": ending.reason, "seconds": ending.seconds,
            "things": _most((thing["name"], thing["area"]) for mask in masks for thing in mask.get("things") or ()),
            "heard": _most((sound["name"], sound["score"]) for sound in heard),
            "frames": len(shares), "area": sum(shares.values()) / max(1, len(shares)), "presence": max(presence, default=None),
            "width": ending.width, "height": ending.height, "bytes": ending.bytes, "sha256": ending.sha256,
            "warnings": list(ending.warnings), "model": self.model, "options": self.settings_id, "shard": shard.name,
        }  # fmt: skip

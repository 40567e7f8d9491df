"""What parts that don't learn make of pictures and sounds: computed once, then read from a file."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sonomask.checkpoints.folder import fingerprint
from sonomask.models.parts.net import Net

__all__ = ["Kept", "keep"]

KEY = 16  # bytes of a digest


def keep(model: Net, folder: str | Path) -> list["Kept"]:
    """Freeze a net's backbone, and answer for it and for an audio encoder that is frozen already.

    Raises:
        ValueError: The net has no backbone.
    """
    backbone, audio = model.needed_part("backbone", "keep_maps"), model.part("audio")
    parts = [backbone] if audio is None or any(p.requires_grad for p in audio.parameters()) else [backbone, audio]
    return [Kept.attach(part, folder) for part in parts]


class Kept:
    """Answers in the place of a frozen module's forward: from its folder what was asked before, the rest by the module.

    A picture or sound is known by its bytes, a module by its weights and type; both may be used by any number of runs, one
    at a time. Maps are kept in half precision, and are computed in float32 whatever the autocast around them.

    Args:
        module: Takes a batch and gives a tensor or a list of them, row by row; no gradient goes through it.
        folder: Folder for the stored files.
    """

    def __init__(self, module: nn.Module, folder: str | Path) -> None:
        self.module, self.own = module, module.forward
        self.folder = Path(folder, f"{type(module).__name__.lower()}-{fingerprint(module)}")
        self.files: dict[tuple[int, ...], _File] = {}

    @classmethod
    def attach(cls, module: nn.Module, folder: str | Path) -> "Kept":
        """Freeze a module and answer for it until `release`; its weights and their names stay as they are."""
        kept = cls(module, folder)
        module.requires_grad_(requires_grad=False)
        module.forward = kept
        return kept

    def release(self) -> None:
        """Let the module answer for itself again."""
        del self.module.forward

    def __deepcopy__(self, memo: dict[int, Any]) -> "Kept":
        return self  # a copy of what never changes gives the same answers

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Any:
        """The module's answer to a batch."""
        rows = x.detach().cpu().contiguous()
        keys = [hashlib.blake2b(row.numpy().tobytes(), digest_size=KEY).digest() for row in rows]
        file = self.files.setdefault(tuple(x.shape[1:]), _File(self.folder / "x".join(map(str, x.shape[1:]))))
        new = list({key: i for i, key in enumerate(keys) if key not in file.rows}.values())
        if new:
            was = self.module.training
            self.module.eval()
            with torch.autocast(x.device.type, enabled=False):
                made = self.own(x[new].float())
            self.module.train(was)
            file.add([keys[i] for i in new], made)
        return file.read(keys, x.device)


class _File:
    """Rows of one shape, with their keys in a file of their own, which is written last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[bytes, int] = {}
        self.shapes: list[tuple[int, ...]] = []
        self.single = False
        if (folder / "shapes.json").is_file():
            about = json.loads((folder / "shapes.json").read_text())
            self._lay_out([tuple(s) for s in about["shapes"]], single=about["single"])
            data = (folder / "keys.bin").read_bytes() if (folder / "keys.bin").is_file() else b""
            there = (folder / "rows.bin").stat().st_size // self.record if data else 0
            count = min(len(data) // KEY, there)  # a run that was killed may have written half a row
            self.rows = {data[i * KEY : (i + 1) * KEY]: i for i in range(count)}

    def _lay_out(self, shapes: list[tuple[int, ...]], *, single: bool) -> None:
        self.shapes, self.single = shapes, single
        self.record = 2 * sum(int(np.prod(s)) for s in shapes)

    def add(self, keys: list[bytes], made: Any) -> None:
        """Append the module's answer to rows that are not there yet."""
        tensors: list[Tensor] = [made] if isinstance(made, Tensor) else list(made)
        if not self.shapes:
            self._lay_out([tuple(t.shape[1:]) for t in tensors], single=isinstance(made, Tensor))
            self.folder.mkdir(parents=True, exist_ok=True)
            about = {"shapes": self.shapes, "single": self.single}
            (self.folder / "shapes.json").write_text(json.dumps(about) + "\n")
        flat = torch.cat([t.detach().float().flatten(1) for t in tensors], 1).half().cpu().numpy()
        count = len(self.rows)
        for name, size, data in (("rows.bin", self.record, flat.tobytes()), ("keys.bin", KEY, b"".join(keys))):
            with os.fdopen(os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
                file.truncate(count * size)
                file.seek(count * size)
                file.write(data)
        self.rows |= {key: count + i for i, key in enumerate(keys)}

    def read(self, keys: list[bytes], device: torch.device) -> Any:
        """Rows in the order of their keys."""
        flat = np.empty((len(keys), self.record // 2), dtype=np.float16)
        with (self.folder / "rows.bin").open("rb") as file:
            for row, key in zip(flat, keys, strict=True):
                file.seek(self.rows[key] * self.record)
                row[:] = np.frombuffer(file.read(self.record), dtype=np.float16)
        parts = torch.from_numpy(flat).to(device).float().split([int(np.prod(s)) for s in self.shapes], 1)
        tensors = [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return tensors[0] if self.single else tensors

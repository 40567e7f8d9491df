"""The record of a model, with which each file in `models.nets` ends.

The catalogue gathers the records, so that a new net needs no other list: presets, configs, licences, published figures and
the contract tests all come from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonomask.models.parts.net import Net

__all__ = ["AUTHORS", "Figure", "ModelRecord"]

AUTHORS = "the authors' files"  # key of `ModelRecord.licences`


@dataclass(frozen=True)
class Figure:
    """A published figure: not measured by this project.

    Attributes:
        preset: The name in the catalogue that it belongs to.
        data: Subset of AVSBench: "s4", "ms3" or "avss".
        miou: Mean IoU in percent.
        fscore: F-score in percent.
        protocol: Name of the scoring protocol, see `metrics.protocols`.
        source: Document in which the figure was read.
    """

    preset: str
    data: str
    miou: float
    fscore: float
    protocol: str
    source: str


@dataclass(frozen=True)
class ModelRecord:
    """A net and everything that the rest of the project needs to know about it.

    Attributes:
        build: Makes the net from a `config` and the options of a preset, all by keyword.
        presets: Options by name in the catalogue.
        purpose: Purpose of the net in a few words, for listings.
        paper: Authors and venue.
        config: Fields of `ModelConfig` in which it differs from the defaults.
        semantic: Further fields for more than one class.
        small: Options that replace those of the first preset in the contract tests, so that they take seconds.
        readers: Names of the modules of `checkpoints.published` that read its authors' files.
        licences: Licence of weights by where they come from; a missing entry means that no weights were published.
        figures: Published figures.
        needs_weights: False if the net is ready as it is built.
    """

    build: Callable[..., Net]
    presets: Mapping[str, Mapping[str, Any]]
    purpose: str
    paper: str
    config: Mapping[str, Any] = field(default_factory=dict)
    semantic: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    readers: tuple[str, ...] = ()
    licences: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    needs_weights: bool = True

    def config_of(self, preset: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of the `ModelConfig` of a preset whose options are replaced by `options`."""
        classes = {**self.presets[preset], **options}.get("num_classes", 1)
        return {**self.config, **(self.semantic if classes > 1 else {}), "num_classes": classes}

"""The audio encoders that nets are built with, by name."""

from collections.abc import Callable

from torch import nn

from sonomask.audio.efficient import EfficientEncoder
from sonomask.audio.light import LightEncoder
from sonomask.audio.tagger import TaggerEncoder
from sonomask.audio.vggish import VGGish

__all__ = ["audio_encoder"]

FIXED: dict[str, type[VGGish] | type[TaggerEncoder]] = {"vggish": VGGish, "tagger": TaggerEncoder}
SMALL: dict[str, Callable[[int], nn.Module]] = {"light": LightEncoder, "efficient": EfficientEncoder}


def audio_encoder(name: str | None, channels: int = VGGish.channels) -> nn.Module | None:
    """An audio encoder with random weights; None for the name None.

    Args:
        name: "vggish", "tagger", "light" or "efficient".
        channels: D, channels of the embedding.

    Raises:
        ValueError: There is no such encoder, or not with so many channels.
    """
    if name is None:
        return None
    if name in FIXED:
        made = FIXED[name]
        if channels != made.channels:
            raise ValueError(f"`sound_channels`: {made.__name__} has {made.channels}, got {channels}.")
        return made()
    if name in SMALL:
        return SMALL[name](channels)
    raise ValueError(f"`audio`: expected {', '.join(map(repr, [*FIXED, *SMALL]))} or None, got {name!r}.")

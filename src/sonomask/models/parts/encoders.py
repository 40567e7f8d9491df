"""The audio encoders that nets are built with, by name."""

from collections.abc import Callable

from torch import nn

from sonomask.audio.efficient import EfficientEncoder
from sonomask.audio.light import LightEncoder
from sonomask.audio.vggish import VGGish

__all__ = ["audio_encoder"]

SMALL: dict[str, Callable[[int], nn.Module]] = {"light": LightEncoder, "efficient": EfficientEncoder}


def audio_encoder(name: str | None, channels: int = VGGish.channels) -> nn.Module | None:
    """An audio encoder with random weights; None for the name None.

    Args:
        name: "vggish", "light" or "efficient".
        channels: D, channels of the embedding.

    Raises:
        ValueError: There is no such encoder, or not with so many channels.
    """
    if name is None:
        return None
    if name == "vggish":
        if channels != VGGish.channels:
            raise ValueError(f"`sound_channels`: VGGish has {VGGish.channels}, got {channels}.")
        return VGGish()
    if name in SMALL:
        return SMALL[name](channels)
    raise ValueError(f"`audio`: expected 'vggish', {', '.join(map(repr, SMALL))} or None, got {name!r}.")

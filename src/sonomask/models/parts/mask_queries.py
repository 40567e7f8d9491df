"""What nets share that answer with a set of masks: COMBO and VCT."""

from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.batches import Batch, Output
from sonomask.losses.sets import set_loss
from sonomask.models.parts.deformable import DeformableEncoder
from sonomask.models.parts.mask_decoder import Predictions, logits_of
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.parts.pixel_decoder import PixelDecoder

__all__ = ["MaskQueryNet", "listener", "pixel_decoder"]


class MaskQueryNet(Net):
    """A net of frame and maskige whose queries become masks; subclasses write `hear` and `decode`.

    Attributes:
        points: Number of points of a mask that the loss looks at.
    """

    keeps_audio: ClassVar[bool] = True
    parts = Parts(backbone="backbone", audio="audio", pretrained="backbone.frames.net")
    backbone: Any
    points: int

    def after_pretrained(self) -> None:
        """Start the network of the maskiges from that of the frames."""
        self.backbone.pair()

    def hear(self, logmel: Float[Tensor, "B T 1 96 64"] | None) -> Tensor:
        """The sound as `decode` takes it."""
        raise NotImplementedError

    def decode(
        self,
        images: Float[Tensor, "B T 3 H W"],
        sound: Any,
        valid: Bool[Tensor, "B T"] | None = None,
        maskige: Float[Tensor, "B T 3 H W"] | None = None,
    ) -> Output:
        """`forward` for those who bring their own form of the sound."""
        raise NotImplementedError

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
        maskige: Float[Tensor, "B T 3 H W"] | None = None,
    ) -> Output:
        """Logits at the size of the images: of one mask the difference of its class's and the background's map."""
        return self.decode(images, self.hear(logmel), valid, maskige)

    def output(self, said: Predictions, images: Tensor, valid: Bool[Tensor, "B T"] | None) -> Output:
        """The logits of what the decoder's last layer says, at the size of the images."""
        logits = logits_of(said, images.shape[-2:], semantic=self.config.semantic)
        return Output(gate(logits.unflatten(0, images.shape[:2]), valid))

    def set_terms(self, said: Predictions, batch: Batch) -> dict[str, Tensor]:
        """The matched masks' terms on the labelled frames."""
        chosen, truth = batch.labelled.flatten(), batch.masks[batch.labelled]
        return set_loss([c[chosen] for c in said.classes], [m[chosen] for m in said.masks], truth, points=self.points)


def listener(channels: int, hidden: int, width: int) -> nn.Sequential:
    """The sound's MLP."""
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width)
    )


def pixel_decoder(backbone: Any, depth: int, width: int) -> PixelDecoder:
    """The pixel decoder behind a backbone, around an encoder of `depth` layers."""
    attention = DeformableEncoder(channels=width, depth=depth, hidden=4 * width, activation="relu", normalise=True)
    return PixelDecoder(backbone.channels, attention, width)

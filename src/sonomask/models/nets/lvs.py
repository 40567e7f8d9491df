"""LVS: sound source localisation by contrast, with hard negatives from the same picture."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sonomask.batches import Batch, Output
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.parts.towers import heat_logits, lend, one_frame_each
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig


class LVS(Net):
    """Marks what is similar to the sound.

        image → tower → v(p), length 1 ─┐
        sound → tower → max, length 1: a┴→ S(p) = ⟨v(p), a⟩ → heat map

    Trained without masks: with soft masks m⁺ = σ((S - ε⁺)/τ) of the most and m⁻ = 1 - σ((S - ε⁻)/τ) of the least similar
    pixels of a pair, and s of those of a foreign sound, the logits P = mean of S over m⁺, N_j over s, H over m⁻, divided
    by a temperature, go into the cross-entropy of P against all N_j and H.

    Args:
        config: Travels with the model.
        positive: ε⁺.
        negative: ε⁻.
        softness: τ.
        temperature: Temperature of the logits.
        supervision: Weight of a further term, the binary cross-entropy of (S - ε⁺)/τ on labelled frames; 0 as in the paper.
        backbone: timm name of a network whose map at 1/16 is seen in place of a tower of its own.
        audio: Audio encoder that is heard in place of a tower of its own.

    Source: Chen et al., "Localizing visual sounds the hard way", CVPR 2021. The reference multiplies an own pair's logit
    by -99 to remove it; here it is -∞.
    """

    parts = Parts(backbone="image", audio="audio", pretrained="image.net")

    def __init__(
        self,
        *,
        config: ModelConfig,
        positive: float = 0.65,
        negative: float = 0.4,
        softness: float = 0.03,
        temperature: float = 0.07,
        supervision: float = 0.0,
        backbone: str | None = None,
        audio: str | None = None,
    ) -> None:
        super().__init__()
        self.image, self.audio = lend(self, backbone, audio)
        self.positive, self.negative, self.softness, self.temperature = positive, negative, softness, temperature
        self.supervision, self.config = supervision, config

    def similarity(
        self, images: Float[Tensor, "N 3 H W"], sound: Float[Tensor, "M 1 F W2"]
    ) -> Float[Tensor, "N M _h _w"]:
        """S of every picture with every sound."""
        seen = F.normalize(self.image(images), dim=1)
        heard = F.normalize(self.audio(sound).amax((2, 3)), dim=1)
        return torch.einsum("nchw,mc->nmhw", seen, heard)

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """The heat map of each frame's own sound, as logits."""
        if logmel is None:
            raise ValueError("`logmel`: LVS listens, got None. Give a log-mel patch for each frame.")
        seen = F.normalize(self.image(images.flatten(0, 1)), dim=1)
        heard = F.normalize(self.audio(logmel.flatten(0, 1)).amax((2, 3)), dim=1)
        heat = torch.einsum("nchw,nc->nhw", seen, heard)[:, None]
        logits = heat_logits(heat, (images.shape[-2], images.shape[-1])).unflatten(0, images.shape[:2])
        return Output(gate(logits, valid))

    def contrast(self, s: Float[Tensor, "B B h w"]) -> tuple[Float[Tensor, "B B2"], Tensor, Tensor]:
        """Logits (own pair, the other pairs with the own one at -∞, hard negative), and the masks m⁺ and m⁻."""
        own = s.diagonal().permute(2, 0, 1)[:, None]  # B 1 h w
        positive = ((own - self.positive) / self.softness).sigmoid()
        negative = 1 - ((own - self.negative) / self.softness).sigmoid()
        others = ((s - self.positive) / self.softness).sigmoid()

        def mean(mask: Tensor, values: Tensor) -> Tensor:
            return (mask * values).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1e-12)

        itself = torch.eye(len(s), dtype=torch.bool, device=s.device)
        easy = mean(others, s).masked_fill(itself, -torch.inf)
        return torch.cat([mean(positive, own), easy, mean(negative, own)], 1) / self.temperature, positive, negative

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The contrastive loss over one frame of each clip, and the supervised term if it has weight."""
        chosen = one_frame_each(batch.valid)
        rows = torch.arange(len(chosen), device=chosen.device)
        s = self.similarity(batch.images[rows, chosen], batch.logmel[rows, chosen])
        logits = self.contrast(s)[0]
        terms: dict[str, Any] = {"contrast": F.cross_entropy(logits, torch.zeros_like(rows))}
        labelled = batch.labelled[rows, chosen]
        if self.supervision and labelled.any():
            own = s.diagonal().permute(2, 0, 1)[:, None][labelled]
            score = F.interpolate((own - self.positive) / self.softness, batch.masks.shape[-2:], mode="bilinear")
            truth = (batch.masks[rows, chosen][labelled] > 0).float()
            terms["supervised"] = self.supervision * F.binary_cross_entropy_with_logits(score[:, 0], truth)
        return terms


RECORD = ModelRecord(
    build=LVS,
    presets={"lvs": {}},
    purpose="localises what sounds, learned without masks",
    paper="Chen et al., CVPR 2021",
)

"""LGVT: salient objects by a Swin transformer with a latent whose prior is an energy-based model."""

from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.batches import Batch, Output
from sonomask.losses.masks import structure
from sonomask.models.parts.aspp import DilatedSum
from sonomask.models.parts.latent import ChannelAttention, LatentInjection, langevin, still_latent
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig

LATENT = 32
WIDTH = 32
DILATIONS = (6, 12, 18, 24)
SIGMA = 0.3
STEPS, PRIOR_STEP, POSTERIOR_STEP = 5, 0.4, 0.1


class LGVT(Net):
    """LGVT, a salient object detector that does not use the sound.

        image → Swin, five maps (before the stages, and the last) → 3×3 + norm, 32 channels each; z under the coarsest
        coarse to fine, each step reads all that is coarser: a = D(A[x5 x4]) … out = D(A[x5 a b c x1])
        A: channel attention, D: sum of dilated convolutions

    The prior of z is exp(-E(z)) N(0, I), E a small network. Training infers z⁺ from the truth by Langevin steps on
    ‖σ(f) - y‖²/2σ² + E + ‖z‖²/2 and draws z⁻ from the prior alike; f lowers the structure loss at z⁺, E lowers
    E(z⁺) - E(z⁻). Without truth z is drawn from the prior with a fixed seed, the same for every frame.

    Args:
        config: Travels with the model.
        backbone: timm name of a Swin; pictures are brought to its size and the logits back.
        size: Side of the pictures that the Swin gets, if not its own.
        samples: Draws of z whose probabilities are averaged.

    Source: Zhang et al., "Learning generative vision transformer with energy-based latent space for saliency
    prediction", NeurIPS 2021. The 30 M parameters that the reference never uses are left out.
    """

    parts = Parts(backbone="encoder", adversary="adversary", pretrained="encoder")
    not_exported = "it draws its latent samples with a generator of its own, which no graph can hold"

    def __init__(
        self,
        *,
        config: ModelConfig,
        backbone: str = "swin_base_patch4_window7_224",
        size: int | None = None,
        samples: int = 1,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"img_size": size} if size else {}
        net: Any = timm.create_model(backbone, pretrained=False, num_classes=0, drop_path_rate=drop_path, **options)
        net.norm = nn.Identity()
        self.encoder: Any = net
        self.side: int = net.patch_embed.img_size[0]
        base = net.embed_dim
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(base * f, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH))
            for f in (1, 2, 4, 8, 8)
        )
        self.inject = LatentInjection(WIDTH, LATENT)
        self.attend = nn.ModuleList(ChannelAttention(WIDTH * n) for n in (2, 3, 4, 5))
        self.widen = nn.ModuleList(DilatedSum(WIDTH * n, 1 if n == 5 else WIDTH, DILATIONS) for n in (2, 3, 4, 5))
        self.adversary = nn.Sequential(nn.Linear(LATENT, 60), nn.GELU(), nn.Linear(60, 60), nn.GELU(), nn.Linear(60, 1))
        self.config, self.samples = config, samples

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None = None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Logits of each frame, computed separately."""
        levels = self.encode(images.flatten(0, 1))
        draws = self.prior(still_latent(self.samples, LATENT, 0, next(self.adversary.parameters())), seed=1)
        size = (images.shape[-2], images.shape[-1])
        found = [self.decode(levels, z.expand(len(levels[0]), -1), size) for z in draws]
        logits = found[0] if len(found) == 1 else torch.logit(torch.stack(found).sigmoid().mean(0), eps=1e-6)
        logits = logits.unflatten(0, images.shape[:2])
        return Output(gate(logits, valid))

    def encode(self, images: Float[Tensor, "N 3 H W"]) -> list[Tensor]:
        """Five maps of 32 channels, fine to coarse; what does not depend on z."""
        if images.shape[-1] != self.side or images.shape[-2] != self.side:
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        x = self.encoder.patch_embed(images)
        maps = [x]
        for index, stage in enumerate(self.encoder.layers):
            x = stage.downsample(x)
            if index:
                maps.append(x)
            x = stage.blocks(x)
        return [r(y.permute(0, 3, 1, 2)) for r, y in zip(self.reduce, [*maps, x], strict=True)]

    def decode(self, levels: list[Tensor], z: Float[Tensor, "N 32"], size: tuple[int, int]) -> Float[Tensor, "N 1 H W"]:
        """Logits at `size`."""
        x1, x2, x3, x4, x5 = levels
        found = [self.inject(x5, z)]
        for finer, attend, widen in zip((x4, x3, x2, x1), self.attend, self.widen, strict=True):
            coarser = [_resize(x, finer.shape[-2:]) for x in found]
            found.append(widen(attend(torch.cat([*coarser, finer], 1))))
        logits = _resize(found[-1], (4 * x1.shape[-2], 4 * x1.shape[-1]))
        if tuple(logits.shape[-2:]) != tuple(size):
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits

    def energy(self, z: Float[Tensor, "N 32"]) -> Float[Tensor, "N 1"]:
        """E(z)."""
        weights: dict[str, Tensor] = dict(self.adversary.named_parameters())
        if any(
            weight.is_inference() for weight in weights.values()
        ):  # made or moved there; no gradient goes through such
            weights = {name: weight.clone() for name, weight in weights.items()}
        value: Tensor = torch.func.functional_call(self.adversary, weights, (z,))
        return value

    def prior(self, z: Float[Tensor, "N 32"], *, noise: float = 1.0, seed: int | None = None) -> Tensor:
        """Langevin steps towards exp(-E) N(0, I); with a seed their noise depends on nothing else."""
        if seed is None:
            return langevin(z, self._prior_energy, steps=STEPS, step=PRIOR_STEP, noise=noise)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return langevin(z, self._prior_energy, steps=STEPS, step=PRIOR_STEP, noise=noise)

    def posterior(
        self, z: Float[Tensor, "N 32"], levels: list[Tensor], truth: Float[Tensor, "N 1 H W"], *,
        noise: float = 1.0, likelihood: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """Langevin steps towards what explains the truth.

        Args:
            z: Latent to start from.
            levels: Levels as from `encode`.
            truth: 0 or 1.
            noise: Factor on the noise.
            likelihood: ‖p - y‖²; the reference's is a mean, which weighs next to nothing.
        """
        detached, size = [x.detach() for x in levels], (truth.shape[-2], truth.shape[-1])
        error = likelihood or (lambda p, y: F.mse_loss(p, y, reduction="sum"))

        def energy(z: Tensor) -> Tensor:
            return error(self.decode(detached, z, size).sigmoid(), truth) / (2 * SIGMA**2) + self._prior_energy(z)

        return langevin(z, energy, steps=STEPS, step=POSTERIOR_STEP, noise=noise)

    def _prior_energy(self, z: Tensor) -> Tensor:
        return self.energy(z).sum() + z.square().sum() / 2

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Structure loss at z⁺, and the contrast of the energies."""
        images, truth = batch.images[batch.labelled], (batch.masks[batch.labelled] > 0).float()[:, None]
        if len(images) == 0:
            return {"structure": next(self.reduce.parameters()).sum() * 0}
        levels = self.encode(images)
        start = torch.randn(2, len(images), LATENT, device=images.device)
        plus, minus = self.posterior(start[0], levels, truth), self.prior(start[1])
        logits = self.decode(levels, plus, (images.shape[-2], images.shape[-1]))
        contrast = self.energy(plus).mean() - self.energy(minus).mean()
        return {"structure": structure(logits, truth, smooth=True), "energy": contrast}


def _resize(x: Tensor, size: Any) -> Tensor:
    return x if tuple(x.shape[-2:]) == tuple(size) else F.interpolate(x, size, mode="bilinear", align_corners=True)


RECORD = ModelRecord(
    build=LGVT,
    presets={
        "lgvt_swin_b_224": {"backbone": "swin_base_patch4_window7_224"},
        "lgvt_swin_b_384": {"backbone": "swin_base_patch4_window12_384"},
    },
    purpose="marks what stands out; does not listen",
    paper="Zhang et al., NeurIPS 2021",
    config={"listens": False},
    small={"backbone": "swin_tiny_patch4_window7_224", "size": 64},
)

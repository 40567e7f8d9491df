"""iGAN: salient objects by a generator with a latent, inferred by Langevin steps, and a discriminator."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call

from sonomask.batches import Batch, Output
from sonomask.losses.masks import structure
from sonomask.models.parts.aspp import DilatedSum
from sonomask.models.parts.backbone import Backbone
from sonomask.models.parts.latent import ChannelAttention, LatentInjection, langevin, still_latent
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig

LATENT = 18
WIDTH = 32
STEPS, STEP, SIGMA = 5, 0.1, 0.3  # of the inference of z


class IGAN(Net):
    """iGAN, a salient object detector that does not use the sound.

        image → backbone → neck, 32 channels a level ─┐ z under the coarsest
        all to 1/4, side by side → channel attention → sum of dilated convolutions → ×4 → logits

    Training infers z from the truth y by Langevin steps on ‖σ(f(x, z)) - y‖²/2σ² + ‖z‖²/2, then lowers the structure loss
    there plus 0.1 of the adversarial term. The two optimisers are two groups of parameters: each loss sees the other's
    weights as constants. Without truth z is 0, or the mean over several draws.

    Args:
        config: Travels with the model.
        backbone: timm name with four levels.
        samples: Draws of z that are averaged; 0 for z = 0.
        adversarial: Weight of the adversarial term.

    Source: Mao et al., "Generative transformer for accurate and reliable salient object detection". The equations are
    the paper's; the released trainer climbs the energy, and detaches the map that should fool the discriminator.
    """

    parts = Parts(backbone="backbone", adversary="adversary", pretrained="backbone.net")
    pretrained_names = "timm"
    recomputable = ("backbone.net",)
    not_exported = "it takes gradients of its own energy while it predicts (Langevin sampling)"

    def __init__(
        self, *, config: ModelConfig, backbone: str = "resnet50", samples: int = 0, adversarial: float = 0.1
    ) -> None:
        super().__init__()
        self.backbone = Backbone(backbone)
        self.neck = nn.ModuleList(_reduce(channels) for channels in self.backbone.channels)
        self.inject = LatentInjection(WIDTH, LATENT)
        self.attend = ChannelAttention(4 * WIDTH)
        self.head = DilatedSum(4 * WIDTH, 1, bias=False)
        self.adversary = Discriminator()
        self.config, self.samples, self.adversarial = config, samples, adversarial

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None = None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Logits of each frame, computed separately."""
        levels, size = self.encode(images.flatten(0, 1)), (images.shape[-2], images.shape[-1])
        if self.samples:
            draws = still_latent(self.samples, LATENT, 0, images)
            p = torch.stack([self.decode(levels, z.expand(len(levels[0]), -1), size).sigmoid() for z in draws])
            logits = torch.logit(p.mean(0), eps=1e-6)
        else:
            logits = self.decode(levels, images.new_zeros(len(levels[0]), LATENT), size)
        logits = logits.unflatten(0, images.shape[:2])
        return Output(gate(logits, valid))

    def encode(self, images: Float[Tensor, "N 3 H W"]) -> list[Tensor]:
        """The part of the computation that does not depend on z."""
        return [reduce(x) for reduce, x in zip(self.neck, self.backbone(images), strict=True)]

    def decode(
        self, levels: list[Tensor], z: Float[Tensor, "N 18"] | None, size: tuple[int, int]
    ) -> Float[Tensor, "N 1 H W"]:
        """Logits; without z the coarsest level is used unchanged."""
        *fine, coarsest = levels
        maps = [*fine, coarsest if z is None else self.inject(coarsest, z)]
        target = maps[0].shape[-2:]
        together = torch.cat([F.interpolate(x, target, mode="bilinear", align_corners=True) for x in maps], 1)
        return F.interpolate(self.head(self.attend(together)), size, mode="bilinear", align_corners=True)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Structure loss at the inferred z, the adversarial term, and the discriminator's own loss."""
        images, truth = batch.images[batch.labelled], (batch.masks[batch.labelled] > 0).float()[:, None]
        if len(images) == 0:
            return {"structure": next(self.neck.parameters()).sum() * 0}
        size = (images.shape[-2], images.shape[-1])
        levels = self.encode(images)
        detached = [x.detach() for x in levels]

        def energy(z: Tensor) -> Tensor:
            p = self.decode(detached, z, size).sigmoid()
            return F.mse_loss(p, truth, reduction="sum") / (2 * SIGMA**2) + z.square().sum() / 2

        z = langevin(torch.randn(len(images), LATENT, device=images.device), energy, steps=STEPS, step=STEP)
        logits = self.decode(levels, z, size)
        fake = logits.sigmoid()
        frozen = {k: v.detach() for k, v in self.adversary.named_parameters()}
        fooled: Tensor = functional_call(self.adversary, frozen, (images, fake))
        seen_through, real = self.adversary(images, fake.detach()), self.adversary(images, truth)
        bce = F.binary_cross_entropy_with_logits
        judge = (bce(seen_through, torch.zeros_like(real)) + bce(real, torch.ones_like(real))) / 2
        terms = {"structure": structure(logits, truth, smooth=True), "judge": judge}
        return {**terms, "fool": self.adversarial * bce(fooled, torch.ones_like(fooled))}


class Discriminator(nn.Module):
    """Tells true masks from made ones, patch by patch."""

    def __init__(self) -> None:
        super().__init__()
        strides = (2, 1, 2, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(64 if i else 4, 64, 3, stride=stride, padding=1) for i, stride in enumerate(strides)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(64) for _ in strides)
        self.classifier = nn.Conv2d(64, 1, 3, stride=2, padding=1)

    def forward(self, images: Float[Tensor, "N 3 H W"], mask: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 h w"]:
        """Logits at an eighth of the size."""
        x = torch.cat([images, mask], 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        logits: Tensor = self.classifier(x)
        return logits


def _reduce(channels: int) -> nn.Module:
    """Three convolutions to 32 channels, each with batch norm and no activation."""
    layers: list[nn.Module] = []
    for kernel, before in ((1, channels), (3, WIDTH), (3, WIDTH)):
        layers += [nn.Conv2d(before, WIDTH, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(WIDTH)]
    return nn.Sequential(*layers)


RECORD = ModelRecord(
    build=IGAN,
    presets={"igan_resnet50": {"backbone": "resnet50"}},
    purpose="marks what stands out; does not listen",
    paper="Mao et al.",
    config={"listens": False},
    small={"backbone": "resnet18"},
)

"""MSSL: sound source localisation from coarse (which classes) to fine (which of the pixels)."""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.batches import Batch, Output
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.parts.towers import heat_logits, lend, one_frame_each
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig

PRESENT = 0.3  # probability from which a class counts as present
FAR = 1.4  # features of different things should be farther apart than this


class MSSL(Net):
    """Classes of both senses first, then what of them belongs together.

        image → tower ─┬→ 1×1, class maps → mean → labels          stage 1: labels, and whether a pair belongs together
        sound → tower ─┘
        class map (CAM, no gradient) × map → mean → projection     stage 2: features of a class in picture and sound
        S_k(p) = ReLU⟨sound's class feature, projected pixel⟩      localisation: Σ_k p_k S_k / Σ_k p_k

    Args:
        config: Travels with the model.
        labels: Categories in the order of the classes, as the data set gives them.
        classes: K, if the labels have no names.
        stage: 1, or 2 which starts from the weights of 1.
        backbone: timm name of a network whose map at 1/16 is seen in place of a tower of its own.
        audio: Audio encoder that is heard in place of a tower of its own.

    Source: Qian et al., "Multiple sound sources localization from coarse to fine", ECCV 2020, and its simplified code.
    """

    parts = Parts(backbone="image", audio="audio", pretrained="image.net")

    def __init__(
        self, *, config: ModelConfig, labels: Sequence[str] = (), classes: int = 7, stage: Literal[1, 2] = 1,
        backbone: str | None = None, audio: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if stage not in (1, 2):
            raise ValueError(f"`stage`: expected 1 or 2, got {stage}.")
        self.config, self.labels, self.stage = config, tuple(labels), stage
        count = len(labels) or classes
        self.image, self.audio = lend(self, backbone, audio)
        self.pair = nn.Sequential(nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 2))
        self.class_image, self.class_audio = (nn.Conv2d(512, count, 1, bias=False) for _ in range(2))
        self.project_image, self.project_audio = (_projection() for _ in range(2))
        self._tagger: list[nn.Module] = []  # in a list, so that it is no part of the model's weights

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """The localisation of each frame's sound, as logits."""
        if logmel is None:
            raise ValueError("`logmel`: MSSL listens, got None. Give a log-mel patch for each frame.")
        seen, heard = self.image(images.flatten(0, 1)), self.audio(logmel.flatten(0, 1))
        heat = self.locate(self.similarity(seen, heard), heard, (images.shape[-2], images.shape[-1]))
        logits = heat_logits(heat, (images.shape[-2], images.shape[-1]), lowest=False).unflatten(0, images.shape[:2])
        return Output(gate(logits, valid))

    def similarity(self, seen: Float[Tensor, "N 512 h w"], heard: Tensor) -> Float[Tensor, "N K h w"]:
        """S_k."""
        pixels = F.normalize(self.project_image(seen), dim=1)
        return torch.einsum("nck,nchw->nkhw", self.fine(heard, self.class_audio, self.project_audio), pixels).relu()

    def locate(self, s: Float[Tensor, "N K h w"], heard: Tensor, size: tuple[int, int]) -> Float[Tensor, "N 1 H W"]:
        """The maps of the classes that are heard, weighed by their probabilities."""
        p = _scores(self.class_audio, heard).sigmoid()
        present = (p > PRESENT) | F.one_hot(p.argmax(1), p.shape[1]).bool()
        weight = (p * present)[:, :, None, None]
        maps = F.interpolate(s, size, mode="bilinear", align_corners=False)
        return (weight * maps).sum(1, keepdim=True) / weight.sum(1, keepdim=True)

    def fine(self, maps: Float[Tensor, "N 512 h w"], classify: nn.Module, project: nn.Module) -> Tensor:
        """Features of each class, (N, 128, K), of length 1: where the class is seen or heard."""
        cam = classify(maps).detach().relu()
        pooled = torch.einsum("nchw,nkhw->nck", maps, cam) / maps[0, 0].numel()
        pooled = pooled / (cam.sum((2, 3))[:, None] + 1e-10)
        return F.normalize(project(pooled[..., None])[..., 0], dim=1)

    def stage_one(self, seen: Tensor, heard: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether each sound i matches each picture j (N, N, 2), and the class logits of sounds and pictures."""
        a, v = heard.mean((2, 3)), seen.mean((2, 3))
        n = len(a)
        pairs = torch.cat([a[:, None].expand(n, n, -1), v[None].expand(n, n, -1)], -1)
        return self.pair(pairs), _scores(self.class_audio, heard), _scores(self.class_image, seen)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of the stage over one frame of each clip."""
        chosen = one_frame_each(batch.valid)
        rows = torch.arange(len(chosen), device=chosen.device)
        logmel = batch.logmel[rows, chosen]
        seen, heard = self.image(batch.images[rows, chosen]), self.audio(logmel)
        pair, a, v = self.stage_one(seen, heard)
        truth = self._truth(batch, logmel)
        terms = {
            "pair": pair_loss(pair),
            "heard": F.binary_cross_entropy_with_logits(a, truth),
            "seen": F.binary_cross_entropy_with_logits(v, truth),
        }
        if self.stage == 2:
            fine_a = self.fine(heard, self.class_audio, self.project_audio)
            fine_v = self.fine(seen, self.class_image, self.project_image)
            terms["near"], terms["far"], _ = distances(fine_a, fine_v, a.sigmoid(), v.sigmoid())
        return terms

    def started(self) -> None:
        """Keep a copy of the current sound classifier, which labels clips without categories (MS3)."""
        self._tagger = [nn.Sequential(copy.deepcopy(self.audio), copy.deepcopy(self.class_audio)).eval()]

    def _truth(self, batch: Batch, logmel: Tensor) -> Float[Tensor, "B K"]:
        """One-hot categories, or pseudo-labels: 0.4 p + 0.6 where the classifier is sure."""
        classes = self.class_audio.out_channels
        if any(batch.categories) and self.labels:
            unknown = sorted(set(batch.categories) - set(self.labels))
            if unknown:
                raise ValueError(f"`labels`: expected every category of the data, {', '.join(unknown)} missing.")
            index = torch.tensor([self.labels.index(c) for c in batch.categories], device=logmel.device)
            return F.one_hot(index, classes).float()
        with torch.no_grad():
            tagger = self._tagger[0].to(logmel.device) if self._tagger else nn.Sequential(self.audio, self.class_audio)
            p = tagger(logmel).mean((2, 3)).sigmoid()
        return torch.where(p > PRESENT, 0.4 * p + 0.6, torch.zeros_like(p))


def _projection() -> nn.Module:
    return nn.Sequential(nn.Conv2d(512, 1024, 1, bias=False), nn.ReLU(), nn.Conv2d(1024, 128, 1, bias=False))


def _scores(classify: nn.Module, maps: Tensor) -> Tensor:
    scores: Tensor = classify(maps.mean((2, 3), keepdim=True))
    return scores[:, :, 0, 0]


def pair_loss(pair: Float[Tensor, "N N 2"]) -> Tensor:
    """Half the cross-entropy of the pairs that belong together and half that of the others."""
    n = len(pair)
    own = torch.eye(n, dtype=torch.bool, device=pair.device)
    together = F.cross_entropy(pair[own], torch.ones(n, dtype=torch.long, device=pair.device))
    if n == 1:
        return together / 2
    apart = F.cross_entropy(pair[~own], torch.zeros(n * (n - 1), dtype=torch.long, device=pair.device))
    return (together + apart) / 2


def distances(
    fine_a: Float[Tensor, "N 128 K"], fine_v: Float[Tensor, "N 128 K"], p_a: Tensor, p_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Means of the distance of pairs of the same video and class, and of the margin that all other pairs lack.

    A pair counts if both its classes are sure. Same classes of other videos are "others" too, as in the reference.

    Returns:
        Near, far, and which pairs count (NK, NK).
    """
    a, v = (f.permute(0, 2, 1).flatten(0, 1) for f in (fine_a, fine_v))
    squared = (2 - 2 * a @ v.T).clamp(min=0)
    counts = ((p_a.flatten() > PRESENT)[:, None] & (p_v.flatten() > PRESENT)[None]).float()
    same = torch.eye(len(a), device=a.device)

    def mean(values: Tensor, weight: Tensor) -> Tensor:
        return (values * weight).sum() / (weight.sum() + 1e-10)

    lack = (FAR - (squared + 1e-12).sqrt()).clamp(min=0).square()  # the root's gradient is infinite at 0
    return mean(squared, counts * same), mean(lack, counts * (1 - same)), counts


RECORD = ModelRecord(
    build=MSSL,
    presets={"mssl": {}},
    purpose="localises what sounds from classes of both senses, learned without masks",
    paper="Qian et al., ECCV 2020",
    small={"labels": ["dog", "cat", "car"]},
)

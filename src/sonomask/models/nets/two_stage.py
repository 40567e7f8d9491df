"""The two-stage baseline: a detector of things, then a choice of those that sound."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from sonomask.batches import Batch, Output
from sonomask.models.parts.backbone import Backbone
from sonomask.models.parts.encoders import audio_encoder
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig

SOUNDS = 0.5  # a proposal counts as sounding from this IoU with the truth …
INSIDE = 0.7  # … or this share of it inside the truth
SMALLEST = 16  # pixels of a thing that the detector learns


class TwoStage(Net):
    """Marks the detected things that go with the sound.

        frame → Mask R-CNN, class-agnostic → masks mᵢ, scores        (frozen but in the stage "detect")
        frame → backbone, 1/16 and 1/32 → mean over mᵢ, area, score → vᵢ     sound → encoder → a     [a, vᵢ, a·vᵢ] → sᵢ
        probability = maxᵢ σ(sᵢ) mᵢ

    Args:
        config: Travels with the model.
        audio: Log-mel patches to embeddings; has `channels`.
        detector: torchvision's "maskrcnn_resnet50_fpn" or "…_v2" (COCO weights by `backbone_weights`), or
            "maskrcnn_resnet18_fpn", small, with one class and few proposals, for the stage "detect".
        backbone: timm name of the features' network.
        side: Short side at which the detector looks.
        score: Least score of a detection; low, since COCO lacks most instruments.
        most: Detections of a frame.
        width: Width of the choice.
        stage: What `objective` trains: "select", or "detect" on the connected parts of the masks where no COCO weights
            are at hand.
        cache: Folder where detections are kept between runs, by picture and detector; None for no cache.

    Source: the idea is Zhou et al.'s, ECCV 2022; the published text of its second stage was not available, so that stage is
    our own.
    """

    keeps_audio = True
    parts = Parts(backbone="backbone", audio="audio", pretrained="detector")
    pretrained_names = "detector"
    recomputable = ("backbone.net",)
    not_exported = "its detector keeps a varying number of boxes, and its choice runs outside of torch"

    def __init__(
        self, *, config: ModelConfig, audio: nn.Module, detector: str = "maskrcnn_resnet50_fpn_v2",
        backbone: str = "resnet50", side: int = 480, score: float = 0.3, most: int = 10, width: int = 256,
        stage: Literal["select", "detect"] = "select", cache: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.detector: Any = _detector(detector, side)
        self.detector.requires_grad_(requires_grad=stage == "detect")
        self.backbone, self.audio = Backbone(backbone), audio
        sound: Any = audio.channels
        self.hear = nn.Linear(sound, width)
        self.see = nn.Linear(sum(self.backbone.channels[2:]) + 2, width)
        self.choose = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, 1))
        self.config, self.score, self.most, self.stage, self.cache = config, score, most, stage, cache

    def train(self, mode: bool = True) -> "TwoStage":
        """Set the training mode; the detector stays in eval mode unless it is trained."""
        super().train(mode)
        self.detector.train(mode and self.stage == "detect")
        return self

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Logits; a frame without detections is all background."""
        if logmel is None:
            raise ValueError("`logmel`: the two-stage model listens, got None. Give a log-mel patch for each frame.")
        frames = images.flatten(0, 1)
        masks, scores = self.detect(frames)
        choice = self._choice(frames, logmel.flatten(0, 1), masks, scores).sigmoid()
        exists = scores > 0
        p = (choice * exists)[..., None, None] * masks
        logits = torch.logit(p.amax(1, keepdim=True), eps=1e-6)
        return Output(gate(logits.unflatten(0, images.shape[:2]), valid))

    @torch.no_grad()
    def detect(self, frames: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N M H W"], Float[Tensor, "N M"]]:
        """Masks (0 or 1) and scores of the best M detections; a score of 0 fills up."""
        mean, std = (frames.new_tensor(v)[:, None, None] for v in (self.config.mean, self.config.std))
        pictures = (frames * std + mean).clamp(0, 1)
        was = self.detector.training
        self.detector.eval()
        found = [self._cached(picture) for picture in pictures]
        self.detector.train(was)
        masks = frames.new_zeros(len(frames), self.most, *frames.shape[-2:])
        scores = frames.new_zeros(len(frames), self.most)
        for i, (mask, score) in enumerate(found):
            masks[i, : len(mask)], scores[i, : len(score)] = mask.to(frames), score.to(frames)
        return masks, scores

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Detection losses, or the cross-entropy of the choice, on the labelled frames."""
        frames, truth = batch.images[batch.labelled], batch.masks[batch.labelled] > 0
        if len(frames) == 0:
            return {"select": self.hear.weight.sum() * 0}
        if self.stage == "detect":
            return self._learn_to_detect(frames, truth)
        masks, scores = self.detect(frames)
        exists = scores > 0
        choice = self._choice(frames, batch.logmel[batch.labelled], masks, scores)
        area, both = masks.sum((2, 3)), (masks * truth[:, None]).sum((2, 3))
        iou = both / (area + truth.sum((1, 2))[:, None] - both).clamp(min=1)
        target = ((iou >= SOUNDS) | (both / area.clamp(min=1) >= INSIDE)).float()
        loss = F.binary_cross_entropy_with_logits(choice, target, reduction="none")
        return {"select": (loss * exists).sum() / exists.sum().clamp(min=1)}

    @torch.no_grad()
    def oracle(self, images: Float[Tensor, "B T 3 H W"], truth: Tensor) -> Output:
        """The detections that together fit the truth best, chosen one by one: an upper bound for any choice by sound."""
        masks, scores = self.detect(images.flatten(0, 1))
        target = truth.flatten(0, 1) > 0
        chosen = torch.zeros_like(target)
        share = (masks * target[:, None]).sum((2, 3)) / masks.sum((2, 3)).clamp(min=1) - 2.0 * (scores == 0)
        for n in range(len(masks)):
            for m in share[n].argsort(descending=True):
                bigger = chosen[n] | (masks[n, m] > 0)
                if _iou(bigger, target[n]) > _iou(chosen[n], target[n]):
                    chosen[n] = bigger
        logits = torch.logit(chosen.float(), eps=1e-6)[:, None]
        return Output(logits.unflatten(0, images.shape[:2]))

    def _choice(self, frames: Tensor, logmel: Tensor, masks: Tensor, scores: Tensor) -> Float[Tensor, "N M"]:
        features = []
        for maps in self.backbone(frames)[2:]:
            small = F.adaptive_avg_pool2d(masks, maps.shape[-2:])
            weight = small / small.sum((2, 3), keepdim=True).clamp(min=1e-6)
            features.append(torch.einsum("nmhw,nchw->nmc", weight, maps))
        seen = self.see(torch.cat([*features, masks.mean((2, 3))[..., None], scores[..., None]], -1))
        heard = self.hear(self.audio(logmel))[:, None].expand_as(seen)
        return self.choose(torch.cat([heard, seen, heard * seen], -1))[..., 0]

    def _cached(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        if self.cache is None:
            return self._detect_one(picture)
        data = (picture * 255).round().byte().cpu().numpy()
        key = hashlib.sha256(
            data.tobytes() + repr((data.shape, self.score, self.most, self._mark())).encode()
        ).hexdigest()
        path = Path(self.cache, key[:2], f"{key}.npz")
        if path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                shape = tuple(kept["shape"])
                bits = np.unpackbits(kept["bits"], count=int(np.prod(shape))).reshape(shape)
                return torch.from_numpy(bits).float(), torch.from_numpy(kept["scores"])
        masks, scores = self._detect_one(picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        bits = np.packbits(masks.cpu().numpy().astype(np.uint8))
        np.savez(part, bits=bits, shape=np.array(masks.shape), scores=scores.cpu().numpy())
        part.replace(path)
        return masks, scores

    def _mark(self) -> float:
        """Tells one set of the detector's weights from another."""
        return float(sum(p.double().sum() for p in self.detector.parameters()))

    def _detect_one(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(picture.device.type, enabled=False):  # RoI operators lack half precision on CPU
            found = self.detector([picture.float()])[0]
        keep = (found["scores"] >= self.score).nonzero()[: self.most, 0]
        return (found["masks"][keep, 0] > 0.5).float(), found["scores"][keep]

    def _learn_to_detect(self, frames: Tensor, truth: Tensor) -> dict[str, Tensor]:
        mean, std = (frames.new_tensor(v)[:, None, None] for v in (self.config.mean, self.config.std))
        pictures, targets = [], []
        for picture, mask in zip((frames * std + mean).clamp(0, 1), truth, strict=True):
            parts = components(mask)
            if len(parts):
                pictures.append(picture)
                targets.append(
                    {"masks": parts.byte(), "boxes": _boxes(parts), "labels": parts.new_ones(len(parts)).long()}
                )
        if not pictures:
            return {"detect": next(self.detector.parameters()).sum() * 0}
        losses: dict[str, Tensor] = self.detector(pictures, targets)
        return losses


def components(mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "M H W"]:
    """The connected parts of a mask (8 neighbours) of 16 pixels or more."""
    labels = (torch.arange(1, mask.numel() + 1, device=mask.device).view(mask.shape) * mask).float()
    while True:
        spread = F.max_pool2d(labels[None, None], 3, stride=1, padding=1)[0, 0] * mask
        if torch.equal(spread, labels):
            break
        labels = spread
    values, counts = labels[mask].unique(return_counts=True)
    return labels[None] == values[counts >= SMALLEST][:, None, None]


def _boxes(parts: Tensor) -> Float[Tensor, "M 4"]:
    boxes = []
    for part in parts:
        y, x = part.nonzero(as_tuple=True)
        boxes.append(torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]))
    return torch.stack(boxes).float()


def _iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum().clamp(min=1))


def _detector(name: str, side: int) -> nn.Module:
    none: Any = {"weights": None, "weights_backbone": None, "min_size": side, "max_size": 2 * side}
    if name == "maskrcnn_resnet50_fpn":
        return maskrcnn_resnet50_fpn(**none)
    if name == "maskrcnn_resnet50_fpn_v2":
        return maskrcnn_resnet50_fpn_v2(**none)
    if name == "maskrcnn_resnet18_fpn":
        body = resnet_fpn_backbone(
            backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
        )
        few: Any = {f"rpn_{when}_nms_top_n_{mode}": 200 for when in ("pre", "post") for mode in ("train", "test")}
        return MaskRCNN(
            body, num_classes=2, min_size=side, max_size=2 * side, box_detections_per_img=10,
            box_batch_size_per_image=64, **few,
        )  # fmt: skip
    raise ValueError(f"`detector`: expected maskrcnn_resnet50_fpn, …_v2 or maskrcnn_resnet18_fpn, got {name!r}.")


def build(
    *,
    config: ModelConfig,
    audio: Literal["vggish", "tagger", "light"] = "vggish",
    sound_channels: int = 128,
    **options: Any,
) -> TwoStage:
    """The net with an audio encoder by name; `options` are further arguments of `TwoStage`."""
    encoder: Any = audio_encoder(audio, sound_channels)
    return TwoStage(config=config, audio=encoder, **options)


RECORD = ModelRecord(
    build=build,
    presets={
        "two_stage_maskrcnn": {"detector": "maskrcnn_resnet50_fpn"},
        "two_stage_maskrcnn_v2": {"detector": "maskrcnn_resnet50_fpn_v2"},
    },
    purpose="detects things, then lets the sound choose among them",
    paper="the two-stage baseline of Zhou et al., ECCV 2022, rebuilt",
    small={
        "detector": "maskrcnn_resnet18_fpn", "backbone": "resnet18", "side": 64, "audio": "light", "score": 0.05,
    },
)  # fmt: skip

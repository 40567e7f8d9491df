"""Losses: functions of a model's `Output` and the truth, one term each.

Source: Zhou et al., "Audio-Visual Segmentation", ECCV 2022, eq. 4–6, and its released code, whose settings differ from one
another in ways that matter to who compares figures; `RELEASED` names each.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sonomask.batches import Output


def binary_cross_entropy(
    logits: Float[Tensor, "B T 1 H W"], masks: Int[Tensor, "B T H W"], labelled: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mean over the pixels of the labelled frames: the first ones in S4, all in MS3.

    Zero, with a gradient of zero, if no frame is labelled. It is computed from probabilities as the reference does, whose
    logarithm is cut off at -100; for logits beyond about 16 that differs from the form with logits. Autocast is off
    inside, since CUDA's refuses this function whatever the type of its inputs. NaN among the logits gives NaN.
    """
    chosen = logits[:, :, 0][labelled]
    if len(chosen) == 0:
        return logits.sum() * 0
    with torch.autocast(logits.device.type, enabled=False):
        p = _precise(chosen).sigmoid()
        # the function itself ends in a RuntimeError for NaN, or on CUDA in a failed assertion of the device
        loss = F.binary_cross_entropy(p.nan_to_num(0.5), (masks[labelled] > 0).to(p.dtype))
        return loss.masked_fill(p.isnan().any(), float("nan"))


def _precise(x: Tensor) -> Tensor:
    """At least float32: half precision is too coarse for a logarithm or for a sum over pixels."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def dice(
    logits: Float[Tensor, "B T 1 H W"], masks: Int[Tensor, "B T H W"], labelled: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Soft Dice: 1 - 2 Σ p·y / (Σ p + Σ y), a mean over the labelled frames. One is added above and below, for empty ones."""
    p, y = _precise(logits[:, :, 0][labelled]).sigmoid(), (masks[labelled] > 0).float()
    if len(p) == 0:
        return logits.sum() * 0
    overlap = (p * y).sum((1, 2))
    return (1 - (2 * overlap + 1) / (p.sum((1, 2)) + y.sum((1, 2)) + 1)).mean()


def dice_of_squares(logits: Float[Tensor, "N H W"], truth: Float[Tensor, "N H W"]) -> Float[Tensor, ""]:
    """Soft Dice with squares below: 1 - 2 Σ p·y / (Σ p² + Σ y² + 0.002), a mean over frames.

    Source: Milletari et al., "V-Net", 3DV 2016; the constant is AVSegFormer's.
    """
    p, y = _precise(logits).sigmoid().flatten(1), truth.float().flatten(1)
    return (1 - 2 * (p * y).sum(1) / (p.square().sum(1) + y.square().sum(1) + 0.002)).mean()


def structure(
    logits: Float[Tensor, "N 1 H W"], truth: Float[Tensor, "N 1 H W"], *, per_pixel: bool = True, smooth: bool = False
) -> Float[Tensor, ""]:
    """Cross-entropy and overlap in which pixels near an edge of the truth weigh up to six times as much.

        w = 1 + 5 |mean of y over 31×31 - y|
        L = Σ w·bce / Σ w  +  1 - (Σ w·p·y + 1) / (Σ w·(p + y - p·y) + 1), a mean over frames

    Args:
        logits: One score per pixel.
        truth: 0 or 1.
        per_pixel: Let the weights act in the first half too; the code of iGAN and LGVT takes its plain mean.
        smooth: Bring the truth to 0.0005 … 0.9995 as they do.

    Source: Wei et al., "F³Net", AAAI 2020.
    """
    weight = 1 + 5 * (F.avg_pool2d(truth, 31, stride=1, padding=15) - truth).abs()
    y = 0.999 * truth + 0.0005 if smooth else truth
    bce = F.binary_cross_entropy_with_logits(logits, y, reduction="none" if per_pixel else "mean")
    p = logits.sigmoid()
    entropy = (weight * bce).sum((2, 3)) / weight.sum((2, 3))
    both, either = (weight * p * y).sum((2, 3)), (weight * (p + y)).sum((2, 3))
    return (entropy + 1 - (both + 1) / (either - both + 1)).mean()


def cross_entropy(
    logits: Float[Tensor, "B T K H W"],
    masks: Int[Tensor, "B T H W"],
    labelled: Bool[Tensor, "B T"],
    weights: Float[Tensor, " K"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over the pixels of the labelled frames of the semantic model (AVSS), weighted by class if weights are given.

    Zero, with a gradient of zero, if no frame is labelled (the reference: NaN).
    """
    if not labelled.any():
        return logits.sum() * 0
    return F.cross_entropy(_precise(logits[labelled]), masks[labelled].long(), weights)


def attention(output: Output, masks: Int[Tensor, "B T H W"], labelled: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Cross-entropy of each level's attention to the sound of a pixel's own second against the mask at that level's size.

    TPAVI's attention learns where the sound is from the decoder's gradient alone, through a factor that starts at 0; told
    directly, it learns to listen in a fraction of the steps. A mean over levels; zero if none attends to sound.

    Args:
        output: Output of a model in training.
        masks: Truth.
        labelled: Frames that have a mask.
    """
    terms = []
    for match in output.match:
        if match is not None and labelled.any():
            size = (match.shape[-2], match.shape[-1])
            truth = F.adaptive_avg_pool2d((masks[labelled] > 0).float(), size)
            terms.append(F.binary_cross_entropy_with_logits(_precise(match[labelled]), truth))
    return torch.stack(terms).mean() if terms else output.logits.sum() * 0


@dataclass(frozen=True)
class Matching:
    """A form of L_AVM, the audio-visual matching term: what is marked should look as what is heard sounds.

    Attributes:
        mask: What weighs the pixels of a map. "hard": the probability, pooled, above ½ (no gradient). "soft": the sigmoid
            of the pooled logits. "threshold": that above ½. "labels": everything but background, pooled.
            "labels_threshold": that above ½. Hard and thresholded masks average over marked pixels, the others over all.
        distance: Between the two features: "cosine" (-log of their product), "kl" or "euclidean".
        partner: What a frame's masked feature is compared with: the "sound" of the frame (audio–visual), or the masked
            feature of the frame whose sound is "nearest" (visual–visual).
        pool: Way in which the prediction is brought to a map's size.
        normalise: Whether both features are brought to length 1 first.
        sum: Whether "kl" is summed over frames and not averaged.
    """

    mask: Literal["hard", "soft", "threshold", "labels", "labels_threshold"] = "soft"
    distance: Literal["cosine", "kl", "euclidean"] = "kl"
    partner: Literal["sound", "nearest"] = "sound"
    pool: Literal["avg", "max"] = "avg"
    normalise: bool = False
    sum: bool = False

    def __post_init__(self) -> None:
        """Refuse what the reference would crash on."""
        if self.distance not in _DISTANCES or self.pool not in ("avg", "max"):
            raise ValueError(
                f"`Matching`: expected a distance of {', '.join(_DISTANCES)} and pool avg or max, got {self}."
            )


def matching(
    output: Output, valid: Bool[Tensor, "B T"] | None = None, *, variant: str | Matching = "audio_visual"
) -> Float[Tensor, ""]:
    """L_AVM, a mean over the levels that listen (zero if none does).

    Args:
        output: Output of a model.
        valid: Frames that count; the sum or mean is over them.
        variant: A name of `RELEASED`, or one's own `Matching`.

    Raises:
        ValueError: There is no such variant.
    """
    if isinstance(variant, str):
        if variant not in RELEASED:
            raise ValueError(f"`variant`: expected one of {', '.join(RELEASED)}, got {variant!r}.")
        variant = RELEASED[variant]
    b, t = output.logits.shape[:2]
    weight = torch.ones(b * t, device=output.logits.device) if valid is None else valid.flatten().float()
    logits = output.logits.flatten(0, 1)
    terms = [
        _level(variant, logits, maps.flatten(0, 1), sound.flatten(0, 1), weight)
        for maps, sound in zip(output.fused, output.sound, strict=True)
        if sound is not None
    ]
    return torch.stack(terms).mean() if terms else output.logits.sum() * 0


def _level(how: Matching, logits: Tensor, maps: Tensor, sound: Tensor, weight: Tensor) -> Tensor:
    mask = _mask(how, logits, (maps.shape[-2], maps.shape[-1]))
    marked = (maps * mask).sum((2, 3))
    area = mask.sum((2, 3)) + 1e-6 if how.mask in ("hard", "threshold", "labels_threshold") else mask[0, 0].numel()
    seen = marked / area
    heard = sound
    if how.normalise:
        seen, heard = F.normalize(seen, dim=-1), F.normalize(heard, dim=-1)
    if how.partner == "nearest":
        # 10 keeps a frame from being its own nearest only where sounds are closer than that, as in the reference
        between = torch.cdist(heard, heard) + 10 * torch.eye(len(heard), device=heard.device)
        heard = seen[between.argmin(0)]
    distance: Any = _DISTANCES[how.distance]
    each = distance(heard, seen) * weight
    return each.sum() if how.sum else each.sum() / weight.sum().clamp(min=1)


def _mask(how: Matching, logits: Tensor, size: tuple[int, int]) -> Float[Tensor, "N 1 h w"]:
    pool: Any = F.adaptive_avg_pool2d if how.pool == "avg" else F.adaptive_max_pool2d
    if how.mask == "hard":
        return (pool(logits.sigmoid(), size) > 0.5).float()
    if how.mask in ("soft", "threshold"):
        soft = pool(logits, size).sigmoid()
        return soft if how.mask == "soft" else (soft > 0.5).float()
    found = pool((logits.argmax(1, keepdim=True) != 0).float(), size)
    return found if how.mask == "labels" else (found > 0.5).float()


def _cosine(heard: Tensor, seen: Tensor) -> Tensor:
    return -torch.log(F.relu((heard * seen).sum(-1)) + 1e-6)


def _kl(heard: Tensor, seen: Tensor) -> Tensor:
    return F.kl_div(seen.log_softmax(-1), heard.softmax(-1), reduction="none").sum(-1)


_DISTANCES = {"cosine": _cosine, "kl": _kl, "euclidean": F.pairwise_distance}

RELEASED: dict[str, Matching] = {
    "audio_visual": Matching(sum=True),
    "visual_visual": Matching(partner="nearest", sum=True),
    "s4": Matching(mask="hard", distance="cosine", normalise=True),
    "ms3": Matching(sum=True),
    "ms3_closer": Matching(partner="nearest", sum=True),
    "ms3_euclidean": Matching(distance="euclidean"),
    "ms3_threshold": Matching(mask="threshold", sum=True),
    "avss": Matching(mask="labels"),
    "avss_closer": Matching(mask="labels", distance="euclidean", partner="nearest"),
}
"""The paper's two forms (audio–visual, visual–visual) and the released settings. KL in MS3 grows with the batch: a sum."""

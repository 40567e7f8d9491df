"""Losses of models that predict a set of masks, which are matched to the truth first.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, section 3.3;
Kirillov et al., "PointRend", CVPR 2020, for the points; Yang et al., COMBO, CVPR 2024, for the consistency.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sonomask.errors import MissingExtraError

CLASS, MASK, DICE = 2.0, 5.0, 5.0  # weights, in the matching and in the loss
NOBODY = 0.1  # weight of "no object" in the cross-entropy
OVERSAMPLE, UNCERTAIN = 3, 0.75  # points drawn for each one kept; share of the kept that are the least sure


def set_loss(
    classes: Sequence[Float[Tensor, "N Q _K"]],
    masks: Sequence[Float[Tensor, "N Q h w"]],
    truth: Int[Tensor, "N H W"],
    *,
    points: int | None = 12544,
) -> dict[str, Tensor]:
    """The weighted losses "class", "mask" and "dice", summed over several predictions that are matched separately.

    Each class in a frame's truth, background included, is one mask and is matched to one query; the target of all other
    queries is "no object".

    Args:
        classes: Classes of each prediction: logits, the last of "no object".
        masks: Masks of each prediction: logits.
        truth: Class indices (binary: 0 and 1).
        points: Places of a mask that are looked at, drawn anew for each prediction; None for all pixels of the truth.

    Returns:
        Zeros with a gradient of zero, if there is no frame.
    """
    if len(truth) == 0:
        nothing = torch.stack([x.sum() for x in (*classes, *masks)]).sum() * 0
        return dict.fromkeys(("class", "mask", "dice"), nothing)
    wanted = [_parts(frame) for frame in truth]
    terms = [_terms(c.float(), m.float(), wanted, points) for c, m in zip(classes, masks, strict=True)]
    return {name: torch.stack([term[name] for term in terms]).sum() for name in terms[0]}


def _parts(frame: Int[Tensor, "H W"]) -> tuple[Int[Tensor, " M"], Float[Tensor, "M H W"]]:
    """The classes that are seen in a frame, and their masks."""
    labels = frame.unique()
    return labels, (frame == labels[:, None, None]).float()


def _terms(
    classes: Tensor, masks: Tensor, wanted: Sequence[tuple[Tensor, Tensor]], points: int | None
) -> dict[str, Tensor]:
    pairs = [match(c, m, *w, points=points) for c, m, w in zip(classes, masks, wanted, strict=True)]
    target = torch.full(classes.shape[:2], classes.shape[2] - 1, device=classes.device)
    for row, (queries, parts), (labels, _) in zip(target, pairs, wanted, strict=True):
        row[queries] = labels[parts]
    weight = torch.ones(classes.shape[2], device=classes.device)
    weight[-1] = NOBODY
    ours = torch.cat([m[queries] for m, (queries, _) in zip(masks, pairs, strict=True)])[:, None]
    theirs = torch.cat([w[1][parts] for w, (_, parts) in zip(wanted, pairs, strict=True)])[:, None]
    where = everywhere(theirs) if points is None else uncertain_points(ours, points)
    logits, y = at(ours, where), at(theirs, where)
    return {
        "class": CLASS * F.cross_entropy(classes.mT, target, weight),
        "mask": MASK * F.binary_cross_entropy_with_logits(logits, y),
        "dice": DICE * _dice(logits.sigmoid(), y).mean(),
    }


@torch.no_grad()
def match(
    classes: Float[Tensor, "Q K"],
    masks: Float[Tensor, "Q h w"],
    labels: Int[Tensor, " M"],
    parts: Float[Tensor, "M H W"],
    *,
    points: int | None = 12544,
) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"]]:
    """Match queries to parts at the least total cost.

    A pair costs 5 times the cross-entropy and 5 times the Dice loss of the masks at points, less 2 times the probability
    that the query gives to the part's class.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError("Training a model that answers with a set of masks", "torch") from error
    where = everywhere(parts[:1, None]) if points is None else torch.rand(1, points, 2, device=masks.device)
    logits, y = (at(x[:, None].float(), where.expand(len(x), -1, -1)) for x in (masks, parts))
    count = logits.shape[1]
    entropy = (F.softplus(-logits) @ y.T + F.softplus(logits) @ (1 - y).T) / count
    p = logits.sigmoid()
    dice = 1 - (2 * p @ y.T + 1) / (p.sum(1)[:, None] + y.sum(1) + 1)
    cost = MASK * entropy + DICE * dice - CLASS * classes.softmax(-1)[:, labels]
    queries, chosen = linear_sum_assignment(cost.nan_to_num(1e9).cpu().numpy())
    return torch.from_numpy(queries).to(labels.device), torch.from_numpy(chosen).to(labels.device)


def _dice(p: Float[Tensor, "M P"], y: Float[Tensor, "M P"]) -> Float[Tensor, " M"]:
    return 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)


def at(maps: Float[Tensor, "M 1 h w"], where: Float[Tensor, "M P 2"]) -> Float[Tensor, "M P"]:
    """Values of maps at places (x, y) from 0 to 1, bilinear between the centres of pixels, zero beyond the border."""
    return F.grid_sample(maps, 2 * where[:, None] - 1, align_corners=False)[:, 0, 0]


def everywhere(maps: Float[Tensor, "M 1 H W"]) -> Float[Tensor, "M P 2"]:
    """The centres of all pixels."""
    m, _, height, width = maps.shape
    y, x = ((torch.arange(n, device=maps.device) + 0.5) / n for n in (height, width))
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1).flatten(0, 1).expand(m, -1, -1)


@torch.no_grad()
def uncertain_points(maps: Float[Tensor, "M 1 h w"], points: int) -> Float[Tensor, "M P 2"]:
    """Places, three quarters of them the least sure (nearest to 0) of three times as many, the rest drawn evenly."""
    drawn = torch.rand(len(maps), OVERSAMPLE * points, 2, device=maps.device)
    certainty = at(maps, drawn).abs()
    least = certainty.topk(int(UNCERTAIN * points), 1, largest=False).indices
    chosen = drawn.gather(1, least[..., None].expand(-1, -1, 2))
    rest = torch.rand(len(maps), points - chosen.shape[1], 2, device=maps.device)
    return torch.cat([chosen, rest], 1)


def consistency(masks: Float[Tensor, "B T Q h w"], valid: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, ""]:
    """Difference between the masks of neighbouring frames, in which large differences, as at a cut, count less.

        L = mean over neighbours of d · e^-d,   d = 1 - cos(all masks of a frame, all masks of the next)

    Args:
        masks: Logits.
        valid: Frames that exist; a pair counts if both do.

    Source: Yang et al., COMBO, CVPR 2024, section 3.4 (adaptive inter-frame consistency); a mean over the clips' pairs,
    as its code takes for its clips of five frames.
    """
    flat = masks.float().flatten(2)
    apart = 1 - F.cosine_similarity(flat[:, :-1], flat[:, 1:], dim=2)
    real = torch.ones_like(apart) if valid is None else (valid[:, :-1] & valid[:, 1:]).float()
    return (apart * (-apart).exp() * real).sum() / real.sum().clamp(min=1)

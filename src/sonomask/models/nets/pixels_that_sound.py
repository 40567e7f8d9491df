"""Pixels that Sound: what moves as the sound swells, without any weights."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sonomask.audio.logmel import OFFSET, PATCH_FRAMES
from sonomask.batches import Output
from sonomask.errors import MissingExtraError
from sonomask.models.parts.net import Net, gate
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig

CELL = 8  # pixels of a side of a cell in which motion is summed
STEPS = 300  # of the solver
QUIET = 0.02  # mean mel magnitude above the offset from which a frame counts as heard


class PixelsThatSound(Net):
    """Marks the few cells whose motion, weighed and added up, follows the loudness.

        f_tp = mean |frame_t - frame_{t-1}| in cell p       a_t = loudness at t       both less their mean over time
        w = argmin ½‖F w - a‖² + λ‖w‖₁, w ≥ 0               the sparse canonical correlation with one audio feature
        heat_t = w · motion, smoothed, as far as t is loud  → GrabCut on the frame → edges of the object

    It needs frames that lie close together and so sees a window of a video as one clip of all its frames
    (`config.dense`). From one frame a second, as in AVSBench, it can tell little.

    Args:
        config: Travels with the model.
        sparsity: λ as a share of the least that makes every w zero.
        refine: Cut along the object's edges with OpenCV's GrabCut (extra `classical`).

    Source: Kidron, Schechner, Elad, "Pixels that sound", CVPR 2005. There the ℓ₁ problem has exact equality and wavelet
    coefficients; the penalty and w ≥ 0 (motion with sound, not against it) keep noise of real video from deciding.
    """

    not_exported = "its cut runs in OpenCV, and it has no weights to carry"

    def __init__(self, *, config: ModelConfig, sparsity: float = 0.15, refine: bool = True) -> None:
        super().__init__()
        if not 0 < sparsity < 1:
            raise ValueError(f"`sparsity`: expected more than 0 and less than 1, got {sparsity}.")
        self.config, self.sparsity, self.refine = config, sparsity, refine

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Logits: ½ of the clip's strongest cell is the cut."""
        if logmel is None:
            raise ValueError("`logmel`: Pixels that Sound listens, got None. Give a log-mel patch for each frame.")
        mean, std = (images.new_tensor(v)[:, None, None] for v in (self.config.mean, self.config.std))
        pictures = (images * std + mean).clamp(0, 1)
        heat = torch.stack([self._clip(x, a) for x, a in zip(pictures, self.loudness(logmel), strict=True)])
        if self.refine:
            heat = torch.stack(
                [_grab_cut(x, h) for x, h in zip(pictures.flatten(0, 1), heat.flatten(0, 1), strict=True)]
            )
            heat = heat.view(*images.shape[:2], *images.shape[-2:])
        return Output(gate(torch.logit(heat, eps=1e-6)[:, :, None], valid))

    def loudness(self, logmel: Float[Tensor, "B T 1 96 64"]) -> Float[Tensor, "B T"]:
        """Mean magnitude of the mel bands around each frame, as long as a frame lasts."""
        share = self.config.clip_length / logmel.shape[1]
        rows = max(4, min(PATCH_FRAMES, round(100 * share)))
        first = (PATCH_FRAMES - rows) // 2
        near = logmel[:, :, 0, first : first + rows].float()
        return (near.exp() - OFFSET).clamp(min=0).mean((2, 3))

    def _clip(self, pictures: Float[Tensor, "T 3 H W"], loudness: Float[Tensor, " T"]) -> Float[Tensor, "T H W"]:
        size = pictures.shape[-2:]
        if len(pictures) < 3 or float(loudness.max()) < QUIET:
            return pictures.new_zeros(len(pictures), *size)
        grey = pictures.mean(1)
        change = (grey[1:] - grey[:-1]).abs()
        motion = F.avg_pool2d(torch.cat([change[:1], change])[:, None], CELL, ceil_mode=True)  # T 1 h w
        cells = motion.flatten(1)
        weight = sparse_correlation(cells - cells.mean(0), loudness - loudness.mean(), self.sparsity)
        strength = (weight * cells.std(0)).view(1, 1, *motion.shape[-2:])
        heat = F.interpolate(strength, size, mode="bicubic", align_corners=False)[0, 0].clamp(min=0)
        heat = F.avg_pool2d(heat[None], 2 * CELL + 1, stride=1, padding=CELL)[0]
        if float(heat.max()) <= 0:
            return pictures.new_zeros(len(pictures), *size)
        return (heat / heat.max())[None] * (loudness > QUIET).float()[:, None, None]


def sparse_correlation(
    features: Float[Tensor, "T P"], target: Float[Tensor, " T"], sparsity: float
) -> Float[Tensor, " P"]:
    """The few weights, none negative, whose sum of features follows the target; zero where nothing does.

    Accelerated projected gradient steps on ½‖F w - a‖² + λ Σ w, λ a share of the least that makes all of w zero.

    Args:
        features: Each column of mean 0.
        target: Target of mean 0.
        sparsity: The share.
    """
    scale = features.norm(dim=0).clamp(min=1e-8)
    f, a = features / scale, target / target.norm().clamp(min=1e-8)
    pull = f.T @ a
    most = float(pull.max())
    if most <= 0:
        return torch.zeros_like(scale)
    step = 1 / float(torch.linalg.matrix_norm(f, 2)) ** 2
    w = y = torch.zeros_like(scale)
    t = 1.0
    for _ in range(STEPS):
        fresh = (y - step * (f.T @ (f @ y) - pull + sparsity * most)).clamp(min=0)
        t_next = (1 + (1 + 4 * t * t) ** 0.5) / 2
        y, w, t = fresh + (t - 1) / t_next * (fresh - w), fresh, t_next
    return w / scale


def _grab_cut(picture: Float[Tensor, "3 H W"], heat: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """The heat, kept to the object whose edges GrabCut finds around its core."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("Pixels that Sound with `refine`", "torch") from error
    import numpy as np

    core = heat > 0.5
    if not core.any() or core.all():
        return heat
    marks = np.full(heat.shape, cv2.GC_BGD, np.uint8)
    marks[(heat > 0.1).cpu().numpy()] = cv2.GC_PR_BGD
    marks[core.cpu().numpy()] = cv2.GC_PR_FGD
    marks[(heat > 0.85).cpu().numpy()] = cv2.GC_FGD
    image: Any = np.ascontiguousarray((picture.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)[..., ::-1])
    cv2.setRNGSeed(0)
    try:
        cut: Any = cv2.grabCut
        cut(image, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # too few pixels of one side for its colour model
        return heat
    inside = torch.from_numpy(np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD))).to(heat.device)
    return torch.where(inside, heat.clamp(min=0.51), heat.clamp(max=0.49))


RECORD = ModelRecord(
    build=PixelsThatSound,
    presets={"pixels_that_sound": {}},
    purpose="marks what moves as the sound swells; needs no weights",
    paper="Kidron et al., CVPR 2005",
    config={"pairing": "centre", "dense": True},
    small={"refine": False},
    needs_weights=False,
)

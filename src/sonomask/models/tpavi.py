"""Fusion of sound and picture at one feature level: TPAVI, or plain addition.

TPAVI (temporal pixel-wise audio-visual interaction) is a non-local block whose queries are pixels and whose keys are
seconds of sound. With θ, φ, g and W 1×1 convolutions, a_t the aligned sound of second t, N = T·h·w and no softmax:

    α = θ(x) φ(a)ᵀ / N        z = LayerNorm(x + BatchNorm(W(α g(x))))

φ(a) does not vary over the pixels of a second, so the sum over pixels falls on g alone:

    α g(x) = 1/T · Σ_t (θ(x)·φ(a_t)) ḡ_t        ḡ_t = g(mean of x over the pixels of second t)

and the whole update of a pixel is one of T scores x·(θᵀφ_t) times T vectors W ḡ_t: no N×N matrix (983 MB for a clip at
56×56), no map of θ, g or W. If pixels are the keys too (`visual`: a is x), Σ_n φ(x_n) g(x_n)ᵀ follows from Σ_n x_n x_nᵀ
and the update is a C×C matrix. Both are exact.

Source: Zhou et al., "Audio-Visual Segmentation", ECCV 2022, eq. 2–3; the algebra is ours.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Fusion = Literal["tpavi", "visual", "both", "add", "none"]
FUSIONS: tuple[Fusion, ...] = ("tpavi", "visual", "both", "add", "none")


class TPAVI(nn.Module):
    """Pixels attend to seconds of sound, to pixels, or to both.

    Args:
        channels: C, channels of the map.
        sound: D, channels of the sound.
        inner: Channels of θ, φ and g; half of `channels` unless given.
        keys: "tpavi" attends to sound, "visual" to pixels, "both" averages the two updates (with the same weights).
        align_bias: Whether the linear map of the sound has a bias (the semantic reference has none).
        start: Weight of the last batch norm at first. 0 makes the block the identity, as in the reference; but pretrained
            maps have a standard deviation of 10 to 20, beside which what grows from 0 is not heard for thousands of steps.
    """

    def __init__(
        self,
        channels: int,
        sound: int = 128,
        *,
        inner: int | None = None,
        keys: Literal["tpavi", "visual", "both"] = "tpavi",
        align_bias: bool = True,
        start: float = 0.0,
    ) -> None:
        super().__init__()
        inner = inner or channels // 2
        self.keys = keys
        self.align = nn.Linear(sound, channels, bias=align_bias)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        self.bn = nn.BatchNorm1d(channels)
        self.norm = nn.LayerNorm(channels)
        nn.init.constant_(self.bn.weight, start)
        nn.init.zeros_(self.bn.bias)

    def forward(
        self, x: Float[Tensor, "B T C h w"], sound: Float[Tensor, "B T D"] | None
    ) -> tuple[Float[Tensor, "B T C h w"], Float[Tensor, "B T C"] | None]:
        """The map after fusion, and the sound as it was aligned to it (None if `keys` is "visual")."""
        shape = x.shape
        pixels = x.permute(0, 1, 3, 4, 2).reshape(shape[0], -1, shape[2])  # B N C; a view of a channels-last map
        aligned = None if self.keys == "visual" else self.align(_present(sound))
        updates = []
        if self.keys != "tpavi":
            updates.append(self._to_pixels(pixels))
        if aligned is not None:
            updates.append(self._to_sound(pixels, aligned))
        z = (
            torch.stack([self._normalise(pixels, *update) for update in updates]).mean(0)
            if len(updates) > 1
            else (self._normalise(pixels, *updates[0]))
        )
        return z.reshape(*shape[:2], *shape[3:], shape[2]).permute(0, 1, 4, 2, 3), aligned

    def attention(self, x: Float[Tensor, "B T C h w"], sound: Float[Tensor, "B T D"]) -> Float[Tensor, "B T h w T"]:
        """The paper's α: how much each pixel takes from each second of sound; any sign, no fixed sum."""
        query, offset = self._queries(self.align(sound))
        scores = torch.einsum("btchw,bsc->bthws", x, query) + offset[:, None, None, None]
        return scores / (x.shape[1] * x.shape[3] * x.shape[4])

    def match(self, x: Float[Tensor, "B T C h w"], sound: Float[Tensor, "B T D"]) -> Float[Tensor, "B T h w"]:
        """θ(x)·φ(a_t) of each pixel with the sound of its own second t: `attention` there, times N."""
        query, offset = self._queries(self.align(sound))
        return torch.einsum("btchw,btc->bthw", x, query) + offset[..., None, None]

    def _queries(self, aligned: Tensor) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T"]]:
        """Vectors q_t and numbers o_t with θ(x)·φ(a_t) = x·q_t + o_t."""
        phi = F.linear(aligned, _matrix(self.phi), self.phi.bias)
        return phi @ _matrix(self.theta), phi @ _bias(self.theta)

    def _to_sound(self, pixels: Tensor, aligned: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Factors of the update: it is `(pixels @ left) @ right + constant`."""
        (b, n, c), t = pixels.shape, aligned.shape[1]
        query, offset = self._queries(aligned)
        means = pixels.reshape(b, t, n // t, c).mean(2)
        values = F.linear(F.linear(means, _matrix(self.g), self.g.bias), _matrix(self.out)) / t  # W ḡ_t / T
        constant = torch.einsum("bt,btc->bc", offset, values) + _bias(self.out)
        return query.mT, values, constant

    def _to_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same factors where the keys are the pixels themselves."""
        n = pixels.shape[1]
        theta, phi, g = _matrix(self.theta), _matrix(self.phi), _matrix(self.g)
        mean = pixels.mean(1)
        centred = pixels - mean[:, None]  # a far mean would eat float32's digits in the products
        covariance = centred.mT @ centred / n
        moved = torch.einsum
        phi_mean, g_mean = F.linear(mean, phi, self.phi.bias), F.linear(mean, g, self.g.bias)
        key_value = phi @ covariance @ g.mT + moved("bi,bj->bij", phi_mean, g_mean)  # 1/N Σ φ(x) g(x)ᵀ
        right = key_value @ _matrix(self.out).mT
        constant = _bias(self.theta) @ right + _bias(self.out)
        return theta.mT.expand(len(pixels), -1, -1), right, constant

    def _normalise(self, pixels: Tensor, left: Tensor, right: Tensor, constant: Tensor) -> Tensor:
        """LayerNorm(x + BatchNorm(update)), with the batch norm inside the factors when its statistics are fixed."""
        if not self.training:
            assert self.bn.running_var is not None  # noqa: S101 - for the type checker
            assert self.bn.running_mean is not None  # noqa: S101
            scale = self.bn.weight * torch.rsqrt(self.bn.running_var + self.bn.eps)
            right = right * scale
            constant = (constant - self.bn.running_mean) * scale + self.bn.bias
        if (
            not torch.compiler.is_exporting() and 2 * left.shape[2] >= pixels.shape[2]
        ):  # many seconds: one C×C matrix is less than two thin ones
            scores, right = pixels, left @ right
        else:
            scores = pixels @ left
        if self.training:
            update = torch.baddbmm(constant[:, None], scores, right)
            update = self.bn(update.flatten(0, 1)).unflatten(0, update.shape[:2])
            return self.norm(pixels + update)
        return self.norm(torch.baddbmm(pixels + constant[:, None], scores, right))


class Add(nn.Module):
    """The paper's "A+V addition": the sound, linearly mapped, is added to every pixel of its second.

    Args:
        channels: C, channels of the map.
        sound: D, channels of the sound.
        start: Standard deviation at first of what is added, for a sound of that of 1; the usual start of a linear map if 0.
    """

    def __init__(self, channels: int, sound: int = 128, *, start: float = 0.0) -> None:
        super().__init__()
        self.align = nn.Linear(sound, channels)
        if start:
            nn.init.normal_(self.align.weight, std=start / sound**0.5)

    def forward(
        self, x: Float[Tensor, "B T C h w"], sound: Float[Tensor, "B T D"] | None
    ) -> tuple[Float[Tensor, "B T C h w"], Float[Tensor, "B T C"]]:
        """The sum, and the mapped sound."""
        aligned = self.align(_present(sound))
        return x + aligned[..., None, None], aligned


class Pass(nn.Module):
    """No fusion: the map goes through unheard."""

    def forward(self, x: Float[Tensor, "B T C h w"], sound: Tensor | None) -> tuple[Tensor, None]:
        """The map itself, and no sound."""
        return x, None


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None  # noqa: S101 - for the type checker
    return conv.bias


def _matrix(conv: nn.Conv2d) -> Tensor:
    return conv.weight[:, :, 0, 0]


def _present(sound: Tensor | None) -> Tensor:
    if sound is None:
        raise ValueError(
            "`sound`: expected an embedding (B, T, D), got None. Give sound, or use a model with fusion 'none'."
        )
    return sound

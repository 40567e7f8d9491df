"""Fusion of sound and picture at one feature level: TPAVI, or plain addition.

TPAVI (temporal pixel-wise audio-visual interaction) is a non-local block whose queries are pixels and whose keys are
seconds of sound. With θ, φ, g and W 1×1 convolutions, a_t the aligned sound of second t, N = T·h·w and no softmax:

    α = θ(x) φ(a)ᵀ / N        z = LayerNorm(x + BatchNorm(W(α g(x))))

φ(a) does not vary over the pixels of a second, so the sum over pixels falls on g alone:

    α g(x) = 1/T · Σ_t (θ(x)·φ(a_t)) ḡ_t        ḡ_t = g(mean of x over the pixels of second t)

and the whole update of a pixel is one of T scores x·(θᵀφ_t) times T vectors W ḡ_t: no N×N matrix (983 MB for a clip at
56×56), no map of θ, g or W. If pixels are the keys too (`visual`: a is x), Σ_n φ(x_n) g(x_n)ᵀ follows from Σ_n x_n x_nᵀ
and the update is a C×C matrix. Both are exact.

So of a second that has passed nothing is needed but φ(a_t) and ḡ_t (of visual keys: 1/hw Σ φ(x) g(x)ᵀ), its *trace*. A
stream keeps the traces of the last seconds, and each of its frames gets what it would get as the last of a clip.

Source: Zhou et al., "Audio-Visual Segmentation", ECCV 2022, eq. 2–3; the algebra is ours.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Fusion = Literal["tpavi", "visual", "both", "add", "none"]
FUSIONS: tuple[Fusion, ...] = ("tpavi", "visual", "both", "add", "none")


class Trace(NamedTuple):
    """The trace of one or more past seconds.

    Attributes:
        key: φ(a_t); None if only pixels are keys.
        value: ḡ_t, likewise.
        product: 1/hw Σ φ(x) g(x)ᵀ over the second's pixels; None if only sound is a key.
    """

    key: Float[Tensor, "B T inner"] | None
    value: Float[Tensor, "B T inner"] | None
    product: Float[Tensor, "B inner inner"] | None


class FusionLevel(nn.Module):
    """A level at which sound may meet the picture: (map, sound) to (map, sound as the level saw it).

    Attributes:
        attends: Whether pixels attend to sound here, so that `attention` and `match` have an answer.
    """

    attends: bool = False

    def remember(self, x: Float[Tensor, "B 1 C h w"], sound: Float[Tensor, "B 1 D"] | None) -> Trace | None:
        """The trace of one second; None from a level that looks at each second alone."""
        return None

    def recall(
        self, x: Float[Tensor, "B 1 C h w"], sound: Float[Tensor, "B 1 D"] | None, traces: Sequence[Trace | None]
    ) -> Float[Tensor, "B 1 C h w"]:
        """The map of one second after fusion with the seconds of these traces, among them its own."""
        fused: Tensor = self(x, sound)[0]
        return fused

    def attention(self, x: Float[Tensor, "B T C h w"], sound: Tensor | None) -> Float[Tensor, "B T h w T"]:
        """α of a level that attends to sound."""
        raise NotImplementedError

    def match(self, x: Float[Tensor, "B T C h w"], sound: Tensor | None) -> Float[Tensor, "B T h w"]:
        """N·α between each pixel and its own second, of a level that attends to sound."""
        raise NotImplementedError


class TPAVI(FusionLevel):
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
        self.keys, self.attends = keys, keys != "visual"
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
        aligned = None if self.keys == "visual" else self.align(_present(sound))
        pixels = _pixels(x)
        return self._attend(x, pixels, self._trace(pixels, aligned)), aligned

    def remember(self, x: Float[Tensor, "B 1 C h w"], sound: Float[Tensor, "B 1 D"] | None) -> Trace:
        """The trace of one second."""
        return self._trace(_pixels(x), None if self.keys == "visual" else self.align(_present(sound)))

    def recall(
        self, x: Float[Tensor, "B 1 C h w"], sound: Float[Tensor, "B 1 D"] | None, traces: Sequence[Trace | None]
    ) -> Float[Tensor, "B 1 C h w"]:
        """The map after fusion with the seconds of these traces, among them its own: its part of the whole clip's."""
        kept = [trace for trace in traces if trace is not None]
        keys, values, products = ([x for x in column if x is not None] for column in zip(*kept, strict=True))
        joined = Trace(
            torch.cat(keys, 1) if keys else None,
            torch.cat(values, 1) if values else None,
            torch.stack(products).mean(0) if products else None,
        )
        return self._attend(x, _pixels(x), joined)

    def _trace(self, pixels: Tensor, aligned: Tensor | None) -> Trace:
        key = value = None
        if aligned is not None:
            b, t = aligned.shape[:2]
            means = pixels.reshape(b, t, -1, pixels.shape[2]).mean(2)
            key = self._key(aligned)
            value = F.linear(means, _matrix(self.g), self.g.bias)
        return Trace(key, value, None if self.keys == "tpavi" else self._product(pixels))

    def _attend(self, x: Tensor, pixels: Tensor, trace: Trace) -> Tensor:
        updates = []
        if trace.product is not None:
            updates.append(self._to_pixels(trace.product))
        if trace.key is not None and trace.value is not None:
            updates.append(self._to_sound(trace.key, trace.value))
        fused = [self._normalise(pixels, *update) for update in updates]
        z = torch.stack(fused).mean(0) if len(fused) > 1 else fused[0]
        b, t, c, h, w = x.shape
        return z.reshape(b, t, h, w, c).permute(0, 1, 4, 2, 3)

    def attention(
        self, x: Float[Tensor, "B T C h w"], sound: Float[Tensor, "B T D"] | None
    ) -> Float[Tensor, "B T h w T"]:
        """The paper's α: how much each pixel takes from each second of sound; any sign, no fixed sum."""
        query, offset = self._queries(self._key(self.align(_present(sound))))
        scores = torch.einsum("btchw,bsc->bthws", x, query) + offset[:, None, None, None]
        return scores / (x.shape[1] * x.shape[3] * x.shape[4])

    def match(self, x: Float[Tensor, "B T C h w"], sound: Float[Tensor, "B T D"] | None) -> Float[Tensor, "B T h w"]:
        """θ(x)·φ(a_t) of each pixel and the sound of its own second t, that is, its `attention` times N."""
        query, offset = self._queries(self._key(self.align(_present(sound))))
        return torch.einsum("btchw,btc->bthw", x, query) + offset[..., None, None]

    def _key(self, aligned: Tensor) -> Float[Tensor, "B T inner"]:
        """φ(a_t)."""
        return F.linear(aligned, _matrix(self.phi), self.phi.bias)

    def _queries(self, key: Tensor) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T"]]:
        """Vectors q_t and numbers o_t with θ(x)·φ(a_t) = x·q_t + o_t."""
        return key @ _matrix(self.theta), key @ _bias(self.theta)

    def _to_sound(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Factors of the update: it is `(pixels @ left) @ right + constant`."""
        query, offset = self._queries(key)
        values = F.linear(value, _matrix(self.out)) / key.shape[1]  # W ḡ_t / T
        constant = torch.einsum("bt,btc->bc", offset, values) + _bias(self.out)
        return query.mT, values, constant

    def _to_pixels(self, product: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same factors where the keys are the pixels themselves."""
        right = product @ _matrix(self.out).mT
        constant = _bias(self.theta) @ right + _bias(self.out)
        return _matrix(self.theta).mT.expand(product.shape[0], -1, -1), right, constant

    def _product(self, pixels: Tensor) -> Float[Tensor, "B inner inner"]:
        """1/N Σ φ(x) g(x)ᵀ."""
        phi, g = _matrix(self.phi), _matrix(self.g)
        mean = pixels.mean(1)
        centred = pixels - mean[:, None]  # a far mean would eat float32's digits in the products
        covariance = centred.mT @ centred / pixels.shape[1]
        phi_mean, g_mean = F.linear(mean, phi, self.phi.bias), F.linear(mean, g, self.g.bias)
        return phi @ covariance @ g.mT + torch.einsum("bi,bj->bij", phi_mean, g_mean)

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


class Add(FusionLevel):
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


class Pass(FusionLevel):
    """No fusion: the map is returned unchanged."""

    def forward(self, x: Float[Tensor, "B T C h w"], sound: Tensor | None) -> tuple[Tensor, None]:
        """The map itself, and no sound."""
        return x, None


def _pixels(x: Float[Tensor, "B T C h w"]) -> Float[Tensor, "B N C"]:
    """A view of a channels-last map."""
    return x.permute(0, 1, 3, 4, 2).reshape(x.shape[0], -1, x.shape[2])


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

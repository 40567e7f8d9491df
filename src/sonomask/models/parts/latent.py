"""Parts of the two generative saliency models: attention block, latent input, and sampler."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Residual block whose channels are weighted by the mean of the whole map (RCAB).

        y = x + c · gate(mean c)        c = conv3×3(relu(conv3×3(x)))

    Args:
        width: Channels.
        reduction: The gate's hidden layer has `width // reduction`.

    Source: Zhang et al., "Image super-resolution using very deep residual channel attention networks", ECCV 2018.
    """

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        hidden = max(1, width // reduction)
        self.gate = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, width, 1), nn.Sigmoid())

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        """Same shape."""
        y = self.body(x)
        return x + y * self.gate(y.mean((2, 3), keepdim=True))


class LatentInjection(nn.Module):
    """Lays a latent vector under every pixel of a map and mixes the two.

    Args:
        width: Channels of the map.
        latent: Length of the vector.
    """

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.latent = latent
        self.mix = nn.Conv2d(width + latent, width, 1)

    def forward(self, x: Float[Tensor, "N C h w"], z: Float[Tensor, "N Z"]) -> Float[Tensor, "N C h w"]:
        """Same shape."""
        tiled = z[:, :, None, None].expand(-1, -1, *x.shape[-2:])
        mixed: Tensor = self.mix(torch.cat([x, tiled], 1))
        return mixed


def langevin(
    z: Float[Tensor, "N Z"],
    energy: Callable[[Tensor], Float[Tensor, ""]],
    *,
    steps: int,
    step: float,
    noise: float = 1.0,
) -> Float[Tensor, "N Z"]:
    """Walk down an energy with noise: z ← z - step²/2 · dE/dz + step · ε.

    Only z gets a gradient, no weight does. Works inside `torch.inference_mode` as long as `energy` uses nothing that was
    made there.

    Args:
        z: Latent to start from.
        energy: Function that gives the sum of the energies of all z.
        steps: Number of steps.
        step: Size.
        noise: Factor on ε; 0 for the walk without chance.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        z = z.detach().clone()
        for _ in range(steps):
            z.requires_grad_()
            (gradient,) = torch.autograd.grad(energy(z), z)
            z = z.detach() - step**2 / 2 * gradient
            if noise:
                z = z + noise * step * torch.randn_like(z)
    return z.detach()


def still_latent(count: int, length: int, seed: int, like: Tensor) -> Float[Tensor, "count Z"]:
    """Draws from N(0, I) that depend on the seed alone, not on the state of the program."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, length, generator=generator).to(like)

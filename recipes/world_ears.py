"""Teaches the ear of a `world` model to hear several sounds at once, with itself, as it was, as the teacher.

    uv run python recipes/world_ears.py --model world_duo.real --sounds sounds.csv more/sounds.csv --out runs/ears

First the *bank*: cuts of every recording at several speeds, some of which begin or end within the patch, and the teacher's scores
of each cut at three levels. Then endless *mixes* of one to three cuts of different kinds: the second and third up to 20 dB
quieter, now and then speech over music, in rooms, in noise at 0 to 20 dB, quiet as a whole, and as microphones and
codecs leave them. The target of a mix is, name by name, the largest score that the teacher gives any of its cuts alone, dry, at its
level beside the loudest, and less for a cut that the others and the noise cover: else the ear learns to guess what may be hidden
in any sound. One clean cut keeps the teacher's own scores. Blocks before `--frozen` stay as they are.

What is saved is a moving average, of which `--share` is added to the teacher, as a whole model. A run that was stopped goes on from
`OUT/state.pt`. Hardware: CPU; a second of processor time takes some 200 mixes.
"""

import argparse
import copy
import csv
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonomask.audio.audioset import names
from sonomask.audio.logmel import FFT_SIZE, HOP, OFFSET, PATCH_SAMPLES, SAMPLE_RATE, WINDOW, mel_matrix
from sonomask.audio.tagger import Tagger
from sonomask.checkpoints.folder import load, save
from sonomask.data.composed.library import Recording
from sonomask.data.sound import read_wav
from sonomask.models.nets.world import World

BEFORE = 4_800  # samples kept before a patch, whose echoes reach into it
LEVELS = (0.0, -10.0, -20.0)  # decibels from the loudest cut of a mix, at which the teacher hears a cut
LOUD = 0.1  # root mean square of the loudest cut
SLOWEST, FASTEST = 0.84, 1.18
EVERY = 300  # seconds between two saved states


def read_table(tables: list[Path], held: list[str]) -> list[Recording]:
    """The recordings of these tables, but for groups whose name begins or ends with one of `held`."""
    found = []
    for table in tables:
        with table.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                group = row["group"]
                if not (held and (group.startswith(tuple(held)) or group.endswith(tuple(held)))):
                    found.append(Recording(table.parent / row["sound"], row["category"], group))
    return found


def spectra(waves: Tensor, hop: int = HOP) -> Tensor:
    """Magnitudes (N, F, 257) of waves (N, 15600), a row each `hop` samples."""
    frames = waves.unfold(1, WINDOW, hop) * torch.hann_window(WINDOW)
    return torch.fft.rfft(frames, FFT_SIZE).abs()


def to_mel(magnitudes: Tensor) -> Tensor:
    """Log-mel patches (N, 1, 96, 64) of magnitudes, as `audio.logmel.examples` gives them."""
    return (magnitudes @ mel_matrix().float() + OFFSET).log()[:, None]


@dataclass(frozen=True)
class Bank:
    """Cuts and what the teacher hears in them.

    Attributes:
        waves: (N, BEFORE + 15600), half precision; the patch has a root mean square of `LOUD`.
        scores: (N, 3, names), half precision: of the patch at each of `LEVELS`.
        kinds: Category of each cut.
    """

    waves: np.ndarray
    scores: np.ndarray
    kinds: list[str]

    @classmethod
    def make(cls, recordings: list[Recording], teacher: Tagger, each: int, seed: int) -> "Bank":
        """`each` cuts of every recording that is not silent."""
        random, waves, kinds = np.random.default_rng(seed), [], []
        for recording in recordings:
            track = read_wav(recording.sound)
            for _ in range(each):
                cut = cut_of(track, random)
                if cut is not None:
                    waves.append(cut.astype(np.float16))
                    kinds.append(recording.category)
        stored, scores = np.stack(waves), []
        for at in range(0, len(stored), 64):
            magnitudes = spectra(torch.from_numpy(stored[at : at + 64, BEFORE:].astype(np.float32)))
            with torch.inference_mode():
                heard = [teacher(to_mel(10 ** (level / 20) * magnitudes)).sigmoid().half() for level in LEVELS]
            scores.append(torch.stack(heard, 1).numpy())
        return cls(stored, np.concatenate(scores), kinds)

    def target(self, cut: int, level: float) -> np.ndarray:
        """The teacher's scores of a cut at a level, between those at which it heard it."""
        place = min(max(level / LEVELS[1], 0.0), len(LEVELS) - 1.0)
        low = min(int(place), len(LEVELS) - 2)
        first, second = self.scores[cut, low : low + 2].astype(np.float32)
        return np.asarray(first + (second - first) * (place - low))


def cut_of(track: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """A patch with what is before it, from anywhere that isn't much quieter than the loudest; None if the track is silent."""
    speed = random.uniform(SLOWEST, FASTEST) if random.random() < 0.5 else 1.0
    steps = np.arange(int(len(track) / speed)) * speed
    track = np.interp(steps, np.arange(len(track)), track) if speed != 1 else track
    track = np.pad(track, (BEFORE, max(0, PATCH_SAMPLES - len(track))))
    total = np.concatenate([[0.0], np.cumsum(track.astype(np.float64) ** 2)])
    first = np.arange(BEFORE, len(track) - PATCH_SAMPLES + 1, HOP)
    power = total[first + PATCH_SAMPLES] - total[first]
    if power.max() < 1e-8 * PATCH_SAMPLES:
        return None
    start = int(random.choice(first[power > 0.01 * power.max()]))
    cut = track[start - BEFORE : start + PATCH_SAMPLES].astype(np.float32)
    if random.random() < 0.15:  # it begins or ends within the patch
        edge = BEFORE + int(random.uniform(0.15, 0.85) * PATCH_SAMPLES)
        part = cut.copy()
        part[slice(edge) if random.random() < 0.5 else slice(edge, None)] = 0
        cut = part if np.square(part[BEFORE:]).mean() > 0.1 * np.square(cut[BEFORE:]).mean() else cut
    return np.asarray(cut / np.sqrt(np.square(cut[BEFORE:]).mean()) * LOUD)


class Mixes:
    """Mixes, drawn by number.

    Args:
        bank: Cuts to mix.
        seed: Seed of what is drawn.
    """

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank, self.seed = bank, seed
        kinds = np.array(bank.kinds)
        self.of = {kind: np.flatnonzero(kinds == kind) for kind in sorted(set(bank.kinds))}
        often = np.sqrt([len(cuts) for cuts in self.of.values()])
        self.often = often / often.sum()
        loud = bank.scores[:, 0]
        self.speech, self.music = (np.flatnonzero(loud[:, names().index(n)] > 0.5) for n in ("Speech", "Music"))
        random = np.random.default_rng(seed)
        frequency = np.arange(5 * SAMPLE_RATE // 2 + 1) + 8.0
        colours = [np.fft.rfft(random.standard_normal(5 * SAMPLE_RATE)) * frequency ** (-i / 6) for i in range(7)]
        noises = [np.fft.irfft(colour) for colour in colours]
        self.noises = [(noise / noise.std()).astype(np.float32) for noise in noises]
        self.rooms = [room(random) for _ in range(48)]
        self.powers = np.concatenate([
            coarse(bank.waves[at : at + 256, BEFORE:]) for at in range(0, len(bank.waves), 256)
        ])

    def parts(self, random: np.random.Generator) -> list[tuple[int, float]]:
        """Cuts that sound at once, the loudest first, and their levels in decibels from it."""
        count = random.choice([1, 2, 3], p=[0.75, 0.21, 0.04])
        if count == 2 and random.random() < 0.2 and len(self.speech) and len(self.music):
            over = [int(random.choice(cuts)) for cuts in (self.speech, self.music)]
            return [(over[0], 0.0), (over[1], float(random.uniform(-20, 0)))]
        kinds = random.choice(list(self.of), count, replace=False, p=self.often)
        levels = [0.0, *random.uniform(-20, 0, count - 1)]
        return [(int(random.choice(self.of[kind])), float(level)) for kind, level in zip(kinds, levels, strict=True)]

    def mix(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
        """A wave (15600), its target (names), and whether microphone and codec may change it."""
        parts = self.parts(random)
        clean = len(parts) == 1 and random.random() < 0.5
        wave = np.zeros(PATCH_SAMPLES, np.float32)
        for cut, level in parts:
            own = self.bank.waves[cut].astype(np.float32)
            if not clean and random.random() < 0.3:
                own = echoed(own, self.rooms[random.integers(len(self.rooms))])
            wave += own[BEFORE:] * 10 ** (level / 20)
        powers = [self.powers[cut] * 10 ** (level / 10) for cut, level in parts]
        if not clean and random.random() < 0.4:
            noise = self.noises[random.integers(len(self.noises))]
            first = random.integers(len(noise) - PATCH_SAMPLES)
            noise = noise[first : first + PATCH_SAMPLES] * (wave.std() * 10 ** (-random.uniform(0, 20) / 20))
            powers.append(coarse(noise[None])[0])
            wave += noise
        target = np.max([
            self.bank.target(cut, level) * standing_out(powers, i)
            for i, (cut, level) in enumerate(parts)
        ], axis=0)
        if not clean and random.random() < 0.5:
            wave *= 10 ** (random.uniform(-24, 6) / 20)
        return wave, target, not clean and bool(random.random() < 0.5)

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Log-mel patches (count, 1, 96, 64) and targets (count, names)."""
        random = np.random.default_rng([self.seed, step])
        waves, targets, changed = zip(*(self.mix(random) for _ in range(count)), strict=True)
        magnitudes = spectra(torch.from_numpy(np.stack(waves)))
        for i in np.flatnonzero(changed):
            own = magnitudes[i]
            own *= microphone(random)
            if random.random() < 0.3:  # a codec drops what is much quieter than the rest of its moment
                own[own < own.amax(1, keepdim=True) * 10 ** (random.uniform(-60, -35) / 20)] = 0
        return to_mel(magnitudes), torch.from_numpy(np.stack(targets))


def coarse(waves: np.ndarray) -> np.ndarray:
    """Mel powers (N, 24, 64) of waves, a row each 40 ms."""
    magnitudes = spectra(torch.from_numpy(waves.astype(np.float32)), 4 * HOP)
    return (magnitudes @ mel_matrix().float()).square().numpy()


def standing_out(powers: list[np.ndarray], which: int) -> float:
    """Share of one of the powers that lies where it exceeds the sum of all others."""
    own, every = powers[which], np.sum(powers, axis=0)
    return float(own[own > every - own].sum() / max(own.sum(), 1e-12))


def room(random: np.random.Generator) -> np.ndarray:
    """The spectrum of a room's echoes, which die away in 0.1 to 0.8 s, after the direct sound."""
    time = np.arange(BEFORE * 2) / SAMPLE_RATE
    echo = random.standard_normal(len(time)) * 10 ** (-3 * time / random.uniform(0.1, 0.8))
    echo *= random.uniform(0.2, 1.0) / np.sqrt(np.square(echo).sum())
    echo[0] += 1
    return np.fft.rfft(echo, 32_768)


def echoed(wave: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """A cut in a room, as loud as before."""
    heard = np.fft.irfft(np.fft.rfft(wave, 32_768) * spectrum)[: len(wave)]
    heard *= LOUD / (np.sqrt(np.square(heard[BEFORE:]).mean()) + 1e-9)
    return np.asarray(heard, np.float32)


def microphone(random: np.random.Generator) -> Tensor:
    """Gain of each of 257 frequencies: a slope, bumps, now and then nothing above some kilohertz."""
    bins = FFT_SIZE // 2 + 1
    across = np.linspace(-1, 1, bins)
    decibels = random.normal(0, 3) * across + np.interp(across, np.linspace(-1, 1, 8), random.normal(0, 2, 8))
    gain = 10 ** (decibels / 20)
    if random.random() < 0.3:
        gain[int(random.uniform(3_000, 7_000) / SAMPLE_RATE * FFT_SIZE) :] *= 0.01
    return torch.from_numpy(gain.astype(np.float32))


def teach(ear: Tagger, mixes: Mixes, args: argparse.Namespace) -> dict[str, Tensor]:
    """The moving average of the taught ear's weights; writes `OUT/state.pt` every five minutes."""
    for part in (ear.stem, *ear.depth[: args.frozen], *ear.point[: args.frozen]):
        part.requires_grad_(requires_grad=False)
    ear.to(memory_format=torch.channels_last)
    learnt = [p for p in ear.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, args.rate, weight_decay=0.01)
    mean = {k: v.detach().clone() for k, v in ear.state_dict().items()}
    first, state = 0, args.out / "state.pt"
    if state.exists():
        kept = torch.load(state, weights_only=True)
        first, mean = kept["step"], kept["mean"]
        ear.load_state_dict(kept["ear"])
        optimiser.load_state_dict(kept["optimiser"])
    saved = began = time.monotonic()
    running = 0.0
    for step in range(first, args.steps):
        for group in optimiser.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        x, target = mixes.batch(step, args.batch)
        with torch.autocast("cpu", torch.bfloat16):
            found = ear(x.contiguous(memory_format=torch.channels_last))
        entropy = F.binary_cross_entropy(target.clamp(1e-6, 1 - 1e-6), target, reduction="sum")
        loss = (F.binary_cross_entropy_with_logits(found.float(), target, reduction="sum") - entropy) / args.batch
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, 5.0)
        optimiser.step()
        part = 1 - min(0.998, (1 + step) / (10 + step))
        for k, v in ear.state_dict().items():
            mean[k].lerp_(v, part)
        running += (loss.item() - running) * max(0.02, 1 / (step - first + 1))
        if step % 50 == 0:
            print(f"{step} after {time.monotonic() - began:.0f} s: {running:.3f}", flush=True)
        if time.monotonic() - saved > EVERY or step + 1 == args.steps:
            saved = time.monotonic()
            kept = {"step": step + 1, "mean": mean, "ear": ear.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save(kept, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
    return mean


def main() -> None:
    """Read the options, make the bank, teach, save."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--model", default="world_duo.real", help="name or folder of a `world` model")
    options.add_argument("--sounds", required=True, type=Path, nargs="+", help="tables: sound, category, group")
    options.add_argument("--held", nargs="*", default=["fold4"], help="beginnings or ends of groups that stay unheard")
    options.add_argument("--each", type=int, default=5, help="cuts of every recording")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--frozen", type=int, default=5, help="blocks that stay as they are")
    options.add_argument("--rate", type=float, default=4e-4)
    options.add_argument("--share", type=float, default=0.3, help="of what was learnt that is kept")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--bits", type=int, choices=[32, 16, 8], default=16, help="of each saved weight")
    options.add_argument("--out", required=True, type=Path)
    args = options.parse_args()
    model = load(args.model).eval()
    if not isinstance(model, World):
        raise SystemExit(f"--model {args.model}: expected a `world` model, got {model.config.name}.")
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "bank.npz"
    if not kept.exists():
        bank = Bank.make(read_table(args.sounds, args.held), model.audio, args.each, args.seed)
        np.savez(kept, waves=bank.waves, scores=bank.scores, kinds=np.array(bank.kinds))
    with np.load(kept, allow_pickle=False) as file:
        bank = Bank(file["waves"], file["scores"], file["kinds"].tolist())
    print(f"{len(bank.kinds)} cuts of {len(set(bank.kinds))} kinds", flush=True)
    before = {k: v.clone() for k, v in model.audio.state_dict().items()}
    mean = teach(copy.deepcopy(model.audio), Mixes(bank, args.seed), args)
    model.audio.load_state_dict({k: before[k].lerp(v, args.share) for k, v in mean.items()})
    model.config = replace(model.config, about=f"{model.config.about} Its ear learnt to hear mixes.")
    save(model, args.out / "model", bits=args.bits)


if __name__ == "__main__":
    main()

"""What the built-in model's ear hears, alone and in mixes, and how well its features name held-out recordings.

    uv run python benchmarks/ears.py --sounds sounds.csv [more.csv …]

*Alone*: recordings of groups whose name begins or ends as `--held` says, as they are, 30 dB quieter, and in pink noise.
*Mixes*: two of them of different kinds, the second quieter by 0 to 20 dB, without noise and in pink noise at 10 dB. Printed is
the mean average precision over names with ten or more positives (alone: three), by two truths: the names that the teacher
(`--teacher`, the model as it is unless told) scores `--sure` or more in any of them alone, and AudioSet's words for
what they are said to be; and how often the best name of the louder and of the quieter is among the five best. *Names*:
a linear layer on the embeddings, learnt on other groups (folds, fonts).
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from sonomask.audio.audioset import names
from sonomask.audio.logmel import PATCH_SAMPLES, examples
from sonomask.checkpoints.folder import load
from sonomask.data.composed.library import Recording, read_recording

QUIETER = (0, 5, 10, 20)  # decibels
NOISE = (20, 10, 0)  # decibels below what is heard
LABELS = {
    "cow": "Cattle, bovinae", "chirping_birds": "Chirp, tweet", "hen": "Chicken, rooster", "steel_drum": "Steelpan",
    "laughing": "Laughter", "coughing": "Cough", "sneezing": "Sneeze", "crying_baby": "Baby cry, infant cry",
    "footsteps": "Walk, footsteps", "car_horn": "Vehicle horn, car horn, honking", "airplane": "Fixed-wing aircraft, airplane",
    "gun": "Gunshot, gunfire", "church_bells": "Church bell", "clock_alarm": "Alarm clock", "keyboard_typing": "Typing",
    "sea_waves": "Waves, surf", "thunderstorm": "Thunder", "bass": "Bass guitar", "xylophone": "Marimba, xylophone",
    "rooster": "Crowing, cock-a-doodle-doo",
}  # fmt: skip
"""AudioSet's words for kinds that it calls otherwise."""


def loudest(recording):
    """The loudest 0.96 s of a recording, at a root mean square of 0.1; None for one that is silent."""
    wave = read_recording(recording)
    wave = np.pad(wave, (0, max(0, PATCH_SAMPLES - len(wave))))
    total = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    power = total[PATCH_SAMPLES:] - total[:-PATCH_SAMPLES]
    start = int(power.argmax())
    level = np.sqrt(power[start] / PATCH_SAMPLES)
    return None if level < 1e-4 else (wave[start : start + PATCH_SAMPLES] / level * 0.1).astype(np.float32)


def noisy(waves, decibels, seed):
    """Waves with pink noise so many decibels below each."""
    rng = np.random.default_rng(seed)
    frequency = np.arange(PATCH_SAMPLES // 2 + 1) + 8.0
    for wave in waves:
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(PATCH_SAMPLES)) * frequency**-0.5, PATCH_SAMPLES)
        yield (wave + noise / noise.std() * wave.std() * 10 ** (-decibels / 20)).astype(np.float32)


@torch.inference_mode()
def heard(ear, waves):
    """Embeddings and scores of waves of one patch each."""
    found = []
    for at in range(0, len(waves), 64):
        patches = torch.cat([examples(torch.from_numpy(w))[:1] for w in waves[at : at + 64]])
        embedded = ear.embed(patches)
        found.append((embedded, ear.head(embedded).sigmoid()))
    return torch.cat([e for e, _ in found]), torch.cat([s for _, s in found])


def average_precision(scores, truth):
    """Of one name."""
    hits = truth[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def mean_precision(scores, truth, least):
    """Over names with so many positives at least, and how many these are."""
    often = np.flatnonzero(truth.sum(0) >= least)
    return float(np.mean([average_precision(scores[:, n], truth[:, n]) for n in often])), len(often)


def precisions(scores, *truths, least=10):
    """Cells of a table: for each truth the mean average precision, and of how many names."""
    return " | ".join("{:.3f} | {}".format(*mean_precision(scores, truth, least)) for truth in truths)


def named(embedded, kinds, groups):
    """Whether each is named rightly, by group, by ridge regression on the embeddings of the other groups."""
    classes = sorted(set(kinds))
    target = torch.tensor([[float(k == c) for c in classes] for k in kinds])
    x = torch.cat([torch.nn.functional.normalize(embedded, dim=1), torch.ones(len(embedded), 1)], 1)
    groups = np.array(groups)
    right = {}
    for group in sorted(set(groups)):
        out = torch.from_numpy(groups == group)
        inside = x[~out]
        weight = torch.linalg.solve(inside.T @ inside + 0.03 * torch.eye(x.shape[1]), inside.T @ target[~out])
        right[group] = ((x[out] @ weight).argmax(1) == target[out].argmax(1)).tolist()
    return right


def recordings(tables):
    """Recordings with their sources."""
    for table in tables:
        with table.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield Recording(table.parent / row["sound"], row["category"], row["group"]), row["source"]


def print_names(every, embedded):
    """The table of what the embeddings name."""
    print("\n| held-out recordings | named rightly | kinds | recordings |\n|---|--:|--:|--:|")
    for source in ("esc50", "renders"):
        rows = [i for i, (_, s, _) in enumerate(every) if s == source]
        if rows:
            kinds = [every[i][0].category for i in rows]
            groups = [every[i][0].group.partition("_")[0] for i in rows]  # folds; fonts
            right = named(embedded[rows], kinds, groups)
            every_group = [found for group in right.values() for found in group]
            for group, found in {f"each of {len(right)} groups in turn": every_group, **right}.items():
                print(f"| {source}, {group} | {np.mean(found):.3f} | {len(set(kinds))} | {len(found)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", nargs="+", type=Path, required=True)
    parser.add_argument("--model", default="world_duo.real")
    parser.add_argument("--teacher", help="another model, whose scores of sounds alone are the truth")
    parser.add_argument("--count", type=int, default=400, help="mixes at each level")
    parser.add_argument("--sure", type=float, default=0.3)
    parser.add_argument(
        "--held", nargs="+", default=["fold4"], help="beginnings or ends of groups that mixes are made of"
    )
    args = parser.parse_args()
    ear = load(args.model).eval().audio
    teacher = load(args.teacher).eval().audio if args.teacher else ear

    every = [(r, source, wave) for r, source in recordings(args.sounds) if (wave := loudest(r)) is not None]
    embedded, alone = heard(ear, [wave for *_, wave in every])
    truth = alone if teacher is ear else heard(teacher, [wave for *_, wave in every])[1]
    truth = truth.numpy()

    words = {word.partition(",")[0].lower(): i for i, word in enumerate(names())}
    said = np.zeros_like(truth, dtype=bool)
    for i, (recording, *_) in enumerate(every):
        word = LABELS.get(recording.category, recording.category.replace("_", " ")).partition(",")[0].lower()
        if word in words:
            said[i, words[word]] = True
    sure = truth >= args.sure

    print(f"{len(every)} recordings; mixes of groups {', '.join(args.held)}, {args.count} at each level, seed 0\n")
    print("| | precision by teacher | names | by label | names | louder's best among five | quieter's |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    sides = tuple(args.held)
    held = [
        i
        for i, (r, *_) in enumerate(every)
        if (r.group.startswith(sides) or r.group.endswith(sides)) and truth[i].max() >= args.sure
    ]
    waves = [every[i][2] for i in held]
    ways = {"alone": waves, "alone, 30 dB quieter": [wave * 10**-1.5 for wave in waves]}
    ways |= {f"alone in noise at {level} dB": list(noisy(waves, level, 1)) for level in NOISE}
    for way, changed in ways.items():
        scores = alone.numpy()[held] if way == "alone" else heard(ear, changed)[1].numpy()
        print(f"| {way} | {precisions(scores, sure[held], said[held], least=3)} | | |", flush=True)
    rng = np.random.default_rng(0)
    pairs = []
    while len(pairs) < args.count:
        first, second = rng.choice(held, 2, replace=False)
        if every[first][0].category != every[second][0].category:
            pairs.append((first, second))
    louder, softer = np.array(pairs).T
    for quieter in QUIETER:
        mixes = [every[a][2] + every[b][2] * 10 ** (-quieter / 20) for a, b in pairs]
        for noise, changed in (("", mixes), (", in noise at 10 dB", list(noisy(mixes, 10, 2)))):
            scores = heard(ear, changed)[1].numpy()
            best = np.argsort(-scores, 1)[:, :5]
            found = precisions(scores, sure[louder] | sure[softer], said[louder] | said[softer])
            among = [(truth[which].argmax(1)[:, None] == best).any(1).mean() for which in (louder, softer)]
            print(f"| second quieter by {quieter} dB{noise} | {found} | {among[0]:.3f} | {among[1]:.3f} |", flush=True)

    print_names(every, embedded)


if __name__ == "__main__":
    main()

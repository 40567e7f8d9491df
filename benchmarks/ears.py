"""What the built-in model's ear hears, alone and in mixes, and how well its features name held-out recordings.

    uv run python benchmarks/ears.py --sounds sounds.csv [more.csv …]

*Mixes*: two recordings of different kinds, of groups whose name ends as `--held` says, the second quieter by 0 to 20 dB. The
truth are the names that the teacher (`--teacher`, the model as it is unless told) gives a score of `--sure` or more to in
either of them alone. Printed are the mean average precision over names (of those with ten or more positives), and how often
the best name of the louder and of the quieter is among the five best of the mix. *Names*: a linear layer on the embeddings,
learnt on other groups (folds, fonts).
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from sonomask.audio.logmel import PATCH_SAMPLES, examples
from sonomask.checkpoints.folder import load
from sonomask.data.composed.library import Recording, read_recording

QUIETER = (0, 5, 10, 20)  # decibels


def loudest(recording):
    """The loudest 0.96 s of a recording, at a root mean square of 0.1; None for one that is silent."""
    wave = read_recording(recording)
    wave = np.pad(wave, (0, max(0, PATCH_SAMPLES - len(wave))))
    total = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    power = total[PATCH_SAMPLES:] - total[:-PATCH_SAMPLES]
    start = int(power.argmax())
    level = np.sqrt(power[start] / PATCH_SAMPLES)
    return None if level < 1e-4 else (wave[start : start + PATCH_SAMPLES] / level * 0.1).astype(np.float32)


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


def mean_precision(scores, truth):
    """Over names with ten or more positives, and how many these are."""
    names = np.flatnonzero(truth.sum(0) >= 10)
    return float(np.mean([average_precision(scores[:, n], truth[:, n]) for n in names])), len(names)


def named(embedded, kinds, groups):
    """Share named rightly by ridge regression on the embeddings of the other groups, each group held out in turn."""
    classes = sorted(set(kinds))
    target = torch.tensor([[float(k == c) for c in classes] for k in kinds])
    x = torch.cat([torch.nn.functional.normalize(embedded, dim=1), torch.ones(len(embedded), 1)], 1)
    groups = np.array(groups)
    right = []
    for group in sorted(set(groups)):
        out = torch.from_numpy(groups == group)
        inside = x[~out]
        weight = torch.linalg.solve(inside.T @ inside + 0.03 * torch.eye(x.shape[1]), inside.T @ target[~out])
        right += ((x[out] @ weight).argmax(1) == target[out].argmax(1)).tolist()
    return float(np.mean(right)), len(right)


def recordings(tables):
    """Recordings with their sources."""
    for table in tables:
        with table.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield Recording(table.parent / row["sound"], row["category"], row["group"]), row["source"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", nargs="+", type=Path, required=True)
    parser.add_argument("--model", default="world_duo.real")
    parser.add_argument("--teacher", help="another model, whose scores of sounds alone are the truth")
    parser.add_argument("--count", type=int, default=400, help="mixes at each level")
    parser.add_argument("--sure", type=float, default=0.3)
    parser.add_argument("--held", nargs="+", default=["fold4"], help="groups that mixes are made of")
    args = parser.parse_args()
    ear = load(args.model).eval().audio
    teacher = load(args.teacher).eval().audio if args.teacher else ear

    every = [(r, source, wave) for r, source in recordings(args.sounds) if (wave := loudest(r)) is not None]
    embedded, alone = heard(ear, [wave for *_, wave in every])
    truth = alone if teacher is ear else heard(teacher, [wave for *_, wave in every])[1]
    truth = truth.numpy()

    print(f"{len(every)} recordings; mixes of groups {', '.join(args.held)}, {args.count} at each level, seed 0\n")
    print("| | mean average precision | names | louder's best name among five | quieter's |\n|---|--:|--:|--:|--:|")
    held = [i for i, (r, *_) in enumerate(every) if r.group.endswith(tuple(args.held)) and truth[i].max() >= args.sure]
    precision, names = mean_precision(alone.numpy()[held], truth[held] >= args.sure)
    print(f"| alone | {precision:.3f} | {names} | | |")
    rng = np.random.default_rng(0)
    pairs = []
    while len(pairs) < args.count:
        first, second = rng.choice(held, 2, replace=False)
        if every[first][0].category != every[second][0].category:
            pairs.append((first, second))
    for quieter in QUIETER:
        mixes = [every[a][2] + every[b][2] * 10 ** (-quieter / 20) for a, b in pairs]
        scores = heard(ear, mixes)[1].numpy()
        both = np.array([(truth[a] >= args.sure) | (truth[b] >= args.sure) for a, b in pairs])
        precision, names = mean_precision(scores, both)
        best = np.argsort(-scores, 1)[:, :5]
        louder = np.mean([truth[a].argmax() in five for (a, _), five in zip(pairs, best, strict=True)])
        soft = np.mean([truth[b].argmax() in five for (_, b), five in zip(pairs, best, strict=True)])
        print(f"| second quieter by {quieter} dB | {precision:.3f} | {names} | {louder:.3f} | {soft:.3f} |")

    print("\n| held-out recordings | named rightly | kinds | recordings |\n|---|--:|--:|--:|")
    for source in ("esc50", "renders"):
        rows = [i for i, (_, s, _) in enumerate(every) if s == source]
        if rows:
            kinds = [every[i][0].category for i in rows]
            groups = [every[i][0].group.partition("_")[0] for i in rows]  # folds; fonts
            share, count = named(embedded[rows], kinds, groups)
            print(
                f"| {source}, each of {len(set(groups))} groups in turn | {share:.3f} | {len(set(kinds))} | {count} |"
            )


if __name__ == "__main__":
    main()

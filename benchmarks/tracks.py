"""How well ids hold on synthetic scenes, given the true masks: HOTA by TrackEval, and ids through crossings.

    uv run python benchmarks/tracks.py --scenes 60

The tracker is given what a model of one mask gives at best: where anything sounds, and the small colour pictures. In *sounding*
scenes what sounds changes from second to second, so that things fall silent and sound again. In *crossing* scenes two things
sound throughout, and one passes before the other and out at the other side; right means that both have their ids afterwards.
"""

import argparse
import contextlib
import io
from dataclasses import replace

import numpy as np

from sonomask.data.drawn.picture import KINDS
from sonomask.data.drawn.world import RULES, Scene, scene
from sonomask.inference.finish import small
from sonomask.outputs.tracks import Tracker


def crossing(seed, size):
    """Two things of two kinds, of which one goes from the left to the right before or behind the other."""
    made = scene((seed, 7), size=size, seconds=6, rules=replace(RULES["multi"], visible=(2, 2), offscreen=0))
    rng = np.random.default_rng(seed)
    first, second = made.things[:2]
    pace = 1 / 12  # half a swing in six seconds: once from left to right
    first = replace(first, home=(0.5, 0.5), swing=(0.36, 0.03), pace=(pace, 0.1), phase=(-np.pi / 2, rng.uniform(0, 6)))
    second = replace(second, home=(rng.uniform(0.4, 0.6), rng.uniform(0.45, 0.55)), swing=(0.02, 0.02), pace=(0.1, 0.1))
    things = [first, second] if rng.random() < 0.5 else [second, first]
    return Scene(made.entropy, size, tuple(things), np.ones((6, 2), bool), made.noise)


def follow(made, rate, tracker=None):
    """True and found ids: for each frame two lists of (id, mask)."""
    tracker, rows = tracker or Tracker(), []
    for i in range(round(made.seconds * rate)):
        time = (i + 0.5) / rate
        truth = made.instances(time)
        found = tracker.update(time, truth > 0, None, small(made.frame(time)[0]))
        least = tracker.min_area * truth.size
        numbers = [n for n in np.unique(truth) if n and (truth == n).sum() >= least]
        rows.append(([(int(n), truth == n) for n in numbers], [(r.id, r.whole(truth.shape)) for r in found]))
    return rows


def hota(rows):
    """TrackEval's figures for one sequence of (true, found) lists."""
    from trackeval.metrics import HOTA

    ids = [sorted({n for row in rows for n, _ in row[side]}) for side in (0, 1)]
    data = {
        "num_timesteps": len(rows),
        "num_gt_ids": len(ids[0]),
        "num_tracker_ids": len(ids[1]),
        "num_gt_dets": sum(len(row[0]) for row in rows),
        "num_tracker_dets": sum(len(row[1]) for row in rows),
        "gt_ids": [np.array([ids[0].index(n) for n, _ in row[0]], int) for row in rows],
        "tracker_ids": [np.array([ids[1].index(n) for n, _ in row[1]], int) for row in rows],
        "similarity_scores": [overlap(*row) for row in rows],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        return HOTA().eval_sequence(data)


def overlap(true, found):
    scores = np.zeros((len(true), len(found)))
    for i, (_, a) in enumerate(true):
        for j, (_, b) in enumerate(found):
            scores[i, j] = (a & b).sum() / (a | b).sum()
    return scores


def kept(rows):
    """Whether both things have, at the end, the ids that they had at the beginning."""
    pairs = []
    for true, found in (rows[0], rows[-1]):
        scores = overlap(true, found)
        if min(scores.shape) < 2:
            return None
        pairs.append({n: found[scores[i].argmax()][0] for i, (n, _) in enumerate(true)})
    return pairs[0] == pairs[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=5.0)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--size", type=int, default=160)
    args = parser.parse_args()
    size = (args.size, args.size)
    print(
        f"{args.scenes} scenes of each kind, {args.size}×{args.size}, {args.rate:g} masks a second, {len(KINDS)} kinds"
    )
    figures = {"HOTA": [], "DetA": [], "AssA": []}
    for seed in range(args.scenes):
        found = hota(follow(scene((seed, 5), size=size, seconds=args.seconds), args.rate))
        for key, values in figures.items():
            values.append(found[key].mean())
    print("sounding scenes of", args.seconds, "s:", ", ".join(f"{k} {np.mean(v):.3f}" for k, v in figures.items()))
    right, scores = [], []
    for seed in range(args.scenes):
        rows = follow(crossing(seed, size), args.rate)
        if (answer := kept(rows)) is not None:
            right.append(answer)
            scores.append(hota(rows)["HOTA"].mean())
    print(
        f"crossings: ids right in {sum(right)} of {len(right)} scenes, {np.mean(right):.1%}; HOTA {np.mean(scores):.3f}"
    )


if __name__ == "__main__":
    main()

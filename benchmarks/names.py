"""How often the name of what sounds is right, on labelled clips.

    uv run python benchmarks/names.py FOLDER

FOLDER has labelled clips (`sonomask.benchmark.labelled`) with the column `what`, in plain words, such as "man speaking".
A frame counts where something sounds and the mask has at least an intersection over union of 0.5 with the truth. Its name is
that of the region that has most of the truth. It is right where it is among the names that WORDS gives for the plain words
(the first that is found in them). *strict* asks for the very thing; *family* takes the category that stands for it too, such as
the violin for a cello, since the model has one category for bowed instruments. *heard*: one of the five best sounds is right.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

import sonomask
from sonomask.benchmark.labelled import read_labels
from sonomask.outputs.tracks import Tracker
from sonomask.outputs.write import moments

WORDS = {  # plain word: (things that it is, things that stand for it, a part of the right sounds' names)
    "guitar at rest": (("person",), (), ("speech",)),
    "singing, ukulele": (("person",), ("guitar",), ("singing", "ukulele")),
    "songbird": (("bird",), (), ("bird", "chirp")),
    "guitar, piano": (("guitar", "piano"), (), ("guitar", "piano")),
    "violin, guitar": (("guitar", "violin"), (), ("guitar", "violin")),
    "violin": (("violin",), (), ("violin",)),
    "cello": ((), ("violin",), ("cello",)),
    "double bass": ((), ("violin",), ("double bass",)),
    "congas": (("hand_drum",), ("drum_kit",), ("drum", "percussion", "tabla")),
    "drum kit": (("drum_kit",), ("hand_drum",), ("drum kit", "drum")),
    "grand piano": (("piano",), (), ("piano",)),
    "guitar": (("guitar",), (), ("guitar",)),
    "psaltery": ((), ("harp", "sitar"), ("zither",)),
    "gun": (("gun",), (), ("gunshot", "gunfire", "explosion")),
    "fire engine": (("car",), ("bus",), ("fire engine", "siren")),
    "snowmobile": ((), ("motorcycle",), ("engine",)),
    "train": (("train",), (), ("train", "rail")),
    "bull": (("cow",), (), ("cattle", "moo")),
    "monkey": (("other_animal",), (), ("animal",)),
    "puppy": (("dog",), (), ("dog", "bark")),
    "speaking": (("person",), (), ("speech",)),
    "chewing": (("person",), (), ("chewing",)),
    "coughing": (("person",), (), ("cough",)),
    "crying": (("person",), (), ("cry",)),
    "laughing": (("person",), (), ("laugh", "giggle", "chuckle")),
    "cheering": (("person",), (), ("cheering", "crowd", "shout")),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--iou", type=float, default=0.5)
    args = parser.parse_args()
    clips = read_labels(args.folder)
    segmenter = sonomask.Segmenter(args.model, rate=args.rate)
    counts = defaultdict(int)
    for clip, wanted in clips.items():
        split, kept = moments(Tracker()), {}
        for masks in segmenter(args.folder / "videos" / f"{clip}.mp4"):
            for moment in split(masks):
                for label in wanted:
                    away = abs(moment.time - label.time)
                    if away < kept.get(label.time, (9e9,))[0]:
                        kept[label.time] = away, moment
        for label in wanted:
            score(clip, label, kept[label.time][1], args, counts)
    total = sum(map(len, clips.values()))
    print(f"{total} frames of {len(clips)} clips; {counts['frames']} marked with an IoU of {args.iou} or more")
    for key in ("strict", "family", "heard"):
        print(f"{key}: {counts[key]} of {counts['frames']}, {counts[key] / max(1, counts['frames']):.1%}")


def score(clip, label, moment, args, counts):
    truth = np.asarray(Image.fromarray(label.truth()).resize(moment.labels.shape[::-1]))
    marked = moment.labels > 0
    if (truth & marked).sum() < args.iou * (truth | marked).sum():
        return
    counts["frames"] += 1
    things, family, sounds = next(found for word, found in WORDS.items() if word in label.what)
    best = max(moment.regions, key=lambda region: truth[region.view][region.mask].sum())
    heard = [name.lower() for name, _ in moment.heard]
    right = best.name in things
    counts["strict"] += right
    counts["family"] += right or best.name in family
    counts["heard"] += any(part in name for part in sounds for name in heard)
    if not right:
        print(f"{clip} at {label.time}: {label.what} is called {best.name} ({best.sound})")


if __name__ == "__main__":
    main()

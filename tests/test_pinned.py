"""What `segment` writes on real clips stays what it was: a change of code that changes a mask is seen.

Compared are decoded masks, times, regions and small pictures, not encoded bytes, so that another version of FFmpeg or OpenCV
may round otherwise. After a change that is meant: `python tests/test_pinned.py`, which writes `tests/golden/pinned.json` anew.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import sonomask
from sonomask.audio.audioset import names as sounds
from sonomask.inference.scorer import Scored
from sonomask.media.reader import VideoReader
from sonomask.structures import ModelConfig

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "pinned.json"
CLIPS = {
    "three_things": ROOT / "examples" / "three_things.mp4",
    "friday": ROOT / "examples" / "friday.mp4",
    "nasa": ROOT / "tests" / "clips" / "nasa.mp4",
    "battle": ROOT / "tests" / "clips" / "battle.webm",
}
CASES = [*((clip, "numpy") for clip in CLIPS), ("three_things", "avs_mini.synthetic")]
OPTIONS = {"rate": 2.0, "end": 5.0, "device": "cpu"}
FORMATS = ("masks", "npz", "jsonl", "ytvis", "srt", "otio", "overlay", "cutout")
PIXELS = 0.002  # share of a picture that another version of a library may decide otherwise
SMALL = (16, 12)  # width and height of the pictures that are kept of videos
SHADES = 6.0  # mean difference of such a picture, of 255


class BrightWhereLoud:
    """A model of plain arithmetic, the same on every machine: what is bright sounds, if the sound has a loud half-second."""

    device = "cpu"
    config = ModelConfig(
        "bright", image_size=(192, 256), clip_length=1, presence=(1.0, 0.0), things=("person", "car", "dog")
    )

    def __call__(self, pictures, logmel, _maskige=None, **_):
        count, seconds, height, width, _ = pictures.shape
        blocks = pictures.reshape(count, seconds, height // 16, 16, width // 16, 16, 3)
        grey = blocks.mean((3, 5, 6), dtype=np.float32).repeat(16, 2).repeat(16, 3)  # large regions, alike everywhere
        loud = logmel.max((2, 3, 4))[:, :, None, None]
        logits = (grey - grey.mean((2, 3), keepdims=True)) / 32 - 1 + loud.clip(-4, 2) / 2
        heard = np.zeros((count, seconds, len(sounds())), np.float32)
        heard[..., sounds().index("Speech")], heard[..., sounds().index("Bark")] = 0.8, 0.4
        rows = np.arange(height // 8) * 3 // (height // 8)
        seen = np.broadcast_to(rows.astype(np.uint8)[:, None], (count, seconds, height // 8, width // 8))
        return Scored(logits[:, :, None], heard=heard, seen=seen)

    def to(self, _device):
        return self


def made(clip, model, out):
    """What is kept of the outputs of a case."""
    result = sonomask.segment(
        CLIPS[clip], out, BrightWhereLoud() if model == "numpy" else model, name=clip, formats=FORMATS, **OPTIONS
    )
    paths = result.files
    manifest = json.loads((paths["masks"] / "manifest.json").read_text())
    frames = [
        without(json.loads(line), "rle", "sonomask", "weights") for line in paths["jsonl"].read_text().splitlines()
    ]
    with np.load(paths["npz"]) as file:
        probability = file["probability"].astype(np.float32)
    videos = {form: thumbnails(paths[form]) for form in ("overlay", "cutout")}
    masks = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0 for path in sorted(paths["masks"].glob("*.png"))]
    return {
        "names": sorted(path.name for path in paths["masks"].iterdir()),
        "manifest": without(manifest, "sonomask", "weights", "masks"),
        "frames": frames,
        "masks": [{"size": list(mask.shape), "runs": runs(mask)} for mask in masks],
        "means": probability.mean((1, 2)).round(4).tolist(),
        "tracks": [
            [one["category_id"], [area is not None for area in one["areas"]]]
            for one in json.loads((paths["ytvis"] / "instances.json").read_text())["annotations"]
        ],
        "subtitles": paths["srt"].read_text().splitlines(),
        "markers": marker_times(json.loads(paths["otio"].read_text())),
        "videos": videos,
    }


def thumbnails(path):
    """The size and number of frames of a video, and four of them, small."""
    with VideoReader(path) as reader:
        frames = [frame.image for frame in reader.frames()]
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, 4).astype(int)]
    small = [cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA).tolist() for image in chosen]
    return {"frames": len(frames), "size": list(frames[0].shape[:2]), "pictures": small}


def marker_times(value):
    """Every start time in a tree of OpenTimelineIO."""
    if isinstance(value, dict):
        own = [value["value"]] if str(value.get("OTIO_SCHEMA", "")).startswith("RationalTime") else []
        return own + [time for one in value.values() for time in marker_times(one)]
    return [time for one in value for time in marker_times(one)] if isinstance(value, list) else []


def runs(mask):
    """How many pixels in a row are off, on, off …"""
    flat = mask.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.diff([0, *([0] if flat[0] else []), *ends, flat.size]).tolist()


def decoded(kept):
    """The masks that `runs` tells of."""
    flat = [np.repeat(np.arange(len(one["runs"])) % 2, one["runs"]).astype(bool) for one in kept]
    return np.stack([values.reshape(one["size"]) for values, one in zip(flat, kept, strict=True)])


def without(value, *keys):
    """A tree without these keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(one, *keys) for key, one in value.items() if key not in keys}
    return [without(one, *keys) for one in value] if isinstance(value, list) else value


def alike(now, then, path=""):
    """Where two trees differ: numbers that are measured by more than a little, all else at all."""
    if isinstance(then, dict) and isinstance(now, dict) and now.keys() == then.keys():
        return [found for key in then for found in alike(now[key], then[key], f"{path}.{key}")]
    if isinstance(then, list) and isinstance(now, list) and len(now) == len(then):
        return [found for i in range(len(then)) for found in alike(now[i], then[i], f"{path}[{i}]")]
    if isinstance(then, float) and not path.endswith(("time", "start", "end")):
        same = now == pytest.approx(then, rel=0.01, abs=0.01)
    elif path.endswith(".area") or ".bbox" in path:
        same = now == pytest.approx(then, rel=0.02, abs=3)
    else:
        same = now == then
    return [] if same else [f"{path}: {then} → {now}"]


@pytest.mark.parametrize(("clip", "model"), CASES)
def test_what_segment_writes_on_real_clips_is_what_it_was(clip, model, tmp_path):
    then, now = json.loads(GOLDEN.read_text())[f"{clip}, {model}"], made(clip, model, tmp_path)
    assert now["names"] == then["names"]
    masks, kept = decoded(now["masks"]), decoded(then["masks"])
    assert masks.shape == kept.shape
    assert (masks != kept).mean((1, 2)).max() <= PIXELS
    np.testing.assert_allclose(now["means"], then["means"], atol=2e-3)
    for key in ("manifest", "frames", "tracks", "subtitles", "markers"):
        assert alike(now[key], then[key], key) == []
    for form, video in then["videos"].items():
        assert {k: now["videos"][form][k] for k in ("frames", "size")} == {k: video[k] for k in ("frames", "size")}
        differences = np.abs(np.subtract(now["videos"][form]["pictures"], video["pictures"], dtype=float))
        assert differences.mean((1, 2, 3)).max() <= SHADES


def test_the_pinned_masks_mark_something_and_not_all():
    """Or a loop that marks nothing would pass."""
    for name, case in json.loads(GOLDEN.read_text()).items():
        shares = decoded(case["masks"]).mean((1, 2))
        assert 0.001 < shares.mean() < 0.9, name


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    found = {}
    for one, by in CASES:
        with TemporaryDirectory() as folder:
            found[f"{one}, {by}"] = made(one, by, Path(folder))
    GOLDEN.write_text(json.dumps(found, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes\n")

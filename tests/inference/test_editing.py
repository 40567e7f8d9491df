"""What editors ask of masks: no specks, no blinking, room at the edge, tags that their programs read."""

import json
import shutil
import subprocess
from types import SimpleNamespace
from typing import get_args, get_type_hints

import av
import cv2
import numpy as np
import pytest
from scipy import ndimage

import sonomask
from sonomask.batch.job import Options
from sonomask.cli.corpus import batch
from sonomask.cli.live import live
from sonomask.cli.video import segment
from sonomask.inference import editing
from sonomask.inference.editing import MaskEditor
from sonomask.inference.scorer import Scored
from sonomask.inference.segmenter import Segmenter
from sonomask.live.feed import Feed
from sonomask.live.segmenter import LiveSegmenter
from sonomask.live.sinks.programs import shown
from sonomask.media.writer import VideoWriter
from sonomask.request import EDITING, Request
from sonomask.server.schemas import JobRequest
from sonomask.structures import Masks, ModelConfig, opacity
from sonomask.visualise.cutout import grey_matte, transparent


def masks(*areas, labels=None, step=0.2):
    """A frame for each area: a square of so many pixels' side at the top, on 100×100."""
    probability = np.zeros((len(areas), 100, 100), np.float32)
    for frame, side in zip(probability, areas, strict=True):
        frame[:side, :side] = 0.9
    return Masks(tuple(step * i for i in range(len(areas))), probability, labels=labels)


class Given:
    """A scorer whose masks are a square of the side that is given for each frame, and a speck in each."""

    config = ModelConfig("given", image_size=(100, 100), clip_length=1, dense=True, recurrent=True, listens=False)
    device = "cpu"

    def __init__(self, *sides):
        self.sides = list(sides)

    def to(self, _):
        return self

    def __call__(self, pictures, *_, **__):
        logits = np.full((1, pictures.shape[1], 1, 100, 100), -9, np.float32)
        for frame in logits[0, :, 0]:
            side = self.sides.pop(0)
            frame[:side, :side] = 9
            frame[80, 80] = 9
        return Scored(logits, past=np.zeros((1, 1), np.float32))

    def start(self):
        return np.zeros((1, 1), np.float32)

    def step(self, picture, *_):
        return self(picture[None, None]), self.start()


def areas(stream):
    return [int(masks.mask.sum()) for masks in stream]


def test_a_segmenter_edits_as_the_files_of_segment_are():
    frames = np.zeros((6, 100, 100, 3), np.uint8)

    def found(**options):
        source = sonomask.from_arrays(frames, fps=2)
        return areas(Segmenter(Given(20, 20, 0, 0, 0, 10), rate=2, smooth=0, **options)(source))

    assert found(min_area=0.0) == [401, 401, 1, 1, 1, 101]
    assert found() == [400, 400, 0, 0, 0, 100]
    assert found(hold=1.0) == [400, 400, 400, 400, 0, 100]
    assert found(expand=-1) == [361, 361, 0, 0, 0, 81]


def test_a_stream_is_edited_too():
    clock = [0.0]
    feed = Feed(lambda: clock[0], listens=False)
    stream = LiveSegmenter(Given(20, 0, 0), rate=2, smooth=0, hold=1.0)(feed)
    found, image = [], np.zeros((100, 100, 3), np.uint8)
    for time in (0.0, 1.0, 2.5):
        clock[0] = time
        feed.picture(SimpleNamespace(time=time, size=(100, 100), bytes=1, image=lambda _: image), captured=time)
        found += areas([next(stream).masks])
    assert found == [400, 400, 0]


def test_specks_go_and_the_rest_stays():
    given = masks(20)
    given.probability[0, 90:92, 90:92] = 0.8
    edited = MaskEditor(Request(min_area=0.001))(given)
    assert edited.mask.sum() == 400
    assert given.mask.sum() == 404
    assert MaskEditor(Request(min_area=0.0))(given).mask.sum() == 404


@pytest.mark.parametrize("many", [0, 10_000])
@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_specks_are_those_of_a_count_of_all_pixels(monkeypatch, many, kernel):
    """Holes, islands in holes, corners that touch, lines and parts at the border, at sizes around the limit."""
    monkeypatch.setattr(editing, "MANY", many)
    monkeypatch.setattr(editing, "PART", 0.0)
    rng = np.random.default_rng(kernel)
    for least in (2, 5, 9.5, 40, 300):
        noise = cv2.blur(rng.random((90, 120), np.float32), (kernel, kernel))
        mask = (noise > np.quantile(noise, rng.choice([0.3, 0.6, 0.9]))).view(np.uint8)
        parts, _ = ndimage.label(mask, np.ones((3, 3)))
        small = np.bincount(parts.ravel()) < least
        small[0] = False
        found = editing._specks(mask, least)
        np.testing.assert_array_equal(np.zeros_like(mask, bool) if found is None else found, small[parts])


@pytest.mark.parametrize("many", [0, 10_000])
def test_crumbs_of_the_largest_region_go(monkeypatch, many):
    monkeypatch.setattr(editing, "MANY", many)
    given = masks(60)
    given.probability[0, 90:97, 90:97] = 0.9  # 1.4 % of the largest
    given.probability[0, 70:95, 10:20] = 0.9  # 7 %
    assert MaskEditor(Request())(given).mask.sum() == 3600 + 250
    assert MaskEditor(Request(min_area=0.0))(given).mask.sum() == 3600 + 250 + 49


def test_specks_of_each_class_go():
    labels = np.zeros((1, 100, 100), np.uint8)
    labels[0, :20, :20], labels[0, 10, 10], labels[0, 50:60, :50] = 3, 5, 5
    edited = MaskEditor(Request(min_area=0.001))(masks(0, labels=labels))
    assert np.unique(edited.labels, return_counts=True)[1].tolist() == [10_000 - 399 - 500, 399, 500]


def test_a_mask_is_held_through_a_pause_and_not_longer():
    editor = MaskEditor(Request(hold=0.5))
    marked = [int(one.mask.sum()) for one in editor(masks(20, 30, 0, 0, 0, 10))]
    assert marked == [400, 900, 900, 900, 0, 100]
    assert [int(m.sum()) for m in MaskEditor(Request())(masks(20, 0)).mask] == [400, 0]


def test_a_hold_goes_on_from_piece_to_piece():
    editor = MaskEditor(Request(hold=0.5))
    editor(masks(20))
    later = masks(0)
    assert editor(Masks((0.3,), later.probability)).mask.sum() == 400


@pytest.mark.parametrize(("pixels", "side"), [(5, 25), (-5, 15), (0, 20)])
def test_masks_grow_and_shrink_by_pixels(pixels, side):
    edited = MaskEditor(Request(expand=pixels))(masks(20))
    assert edited.mask[0, 0].sum() == side
    assert edited.mask[0, :, 0].sum() == side


def test_the_edge_is_as_soft_as_asked():
    labels = masks(50).mask[0].view(np.uint8)
    widths = [int(((m := opacity(labels, feather)[5]) > 5).sum() - (m > 250).sum()) for feather in (0, 2, 8)]
    assert widths[0] == 0 < widths[1] < widths[2]
    assert set(np.unique(grey_matte(None, labels))) == {0, 255}
    assert len(np.unique(grey_matte(None, labels, 4.0))) > 10


@pytest.mark.parametrize("feather", [None, 0.0, 6.0])
def test_an_edge_is_equally_soft_in_a_file_in_python_and_in_a_stream(feather):
    made, image = masks(50), np.full((100, 100, 3), 200, np.uint8)
    (cut,) = made.cut_out([image], feather)
    labels = made.mask[0].view(np.uint8)
    live = shown(SimpleNamespace(labels=labels, picture=SimpleNamespace(image=lambda _: image)), "alpha", feather)
    assert np.array_equal(cut, live)
    assert np.array_equal(cut[..., 3], transparent(image, labels, feather)[..., 3])
    assert np.array_equal(
        shown(SimpleNamespace(labels=labels), "mask", feather), grey_matte(image, labels, feather)[..., 0]
    )


def test_every_way_to_masks_has_the_same_options_for_editing():
    fields = JobRequest.model_fields
    assert {name: fields[name].default for name in EDITING} == {name: getattr(Request(), name) for name in EDITING}
    for verb, left_out in ((segment, set()), (live, set()), (batch, {"hold", "feather"})):
        options = get_args(get_type_hints(verb, include_extras=True)["request"])[1]
        assert set(EDITING) - set(options) == left_out
    with pytest.raises(ValueError, match="`hold`, `feather`"):
        Options("any", Request(rate=1.0, hold=0.5))


@pytest.mark.parametrize(
    "wrong", [{"min_area": 2}, {"hold": -1}, {"hold": 11}, {"feather": -1}, {"expand": 501}], ids=str
)
def test_a_value_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        Request(**wrong)


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "a.mov", size=(48, 64), rate=25, sample_rate=16_000, timecode="01:00:00:00") as writer:
        for i in range(50):
            writer.write(np.full((48, 64, 3), 5 * i, np.uint8), i / 25)
        writer.write_audio(np.sin(np.arange(32_000) / 9).astype(np.float32) / 2)
    return tmp_path / "a.mov"


def streams(path):
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-of", "json", "-show_streams", path], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["streams"]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")
def test_editors_get_straight_alpha_tags_and_the_sources_timecode(clip, tmp_path):
    made = sonomask.segment(
        clip, tmp_path / "r", "avs_mini.synthetic", formats=["alpha-mov", "alpha-webm"], rate=1, start=1, threshold=0.0
    ).files
    picture = next(s for s in streams(made["alpha-mov"]) if s["codec_type"] == "video")
    assert (picture["codec_name"], picture["codec_tag_string"], picture["profile"]) == ("prores", "ap4h", "4444")
    assert picture["pix_fmt"].startswith("yuva444p")
    assert (picture["color_space"], picture["color_transfer"], picture["color_primaries"]) != (None, None, None)
    assert picture["tags"]["timecode"] == "01:00:01:00"
    assert next(s for s in streams(made["alpha-webm"]) if s["codec_type"] == "video")["tags"]["alpha_mode"] == "1"
    with av.open(str(made["alpha-mov"])) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgba")
    opaque = frame[..., 3] > 250
    assert opaque.mean() > 0.9  # all is marked
    assert np.abs(frame[opaque][:, :3].astype(int) - 125).max() < 10  # not multiplied by alpha

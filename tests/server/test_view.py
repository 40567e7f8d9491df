import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sonomask.media.reader import VideoReader
from sonomask.server.view import ROWS, write_view
from sonomask.structures import Masks, Names


def masks(time, left=0.9, labels=None):
    """A bright left half, at the clip's size."""
    probability = np.zeros((1, 96, 128), np.float32)
    probability[:, :, :64] = left
    attention = np.full((1, 4, 4), 0.5, np.float32)
    return Masks((time,), probability, 0.5, labels, (0.25,), attention)


@pytest.fixture
def view(clip, tmp_path):
    def make(pieces, **options):
        with VideoReader(clip) as reader, write_view(tmp_path / "view", reader, **options) as write:
            for piece in pieces:
                write(piece)
        return json.loads((tmp_path / "view" / "view.json").read_text())

    return make


def test_each_mask_is_a_map_whose_channels_are_track_probability_and_attention(view, tmp_path):
    about = view([masks(0.5), masks(1.5)])
    strip = np.asarray(Image.open(tmp_path / "view" / "maps0.png"))
    assert strip.shape == (2 * 96, 128, 3)
    assert about["map"] == {"width": 128, "height": 96, "rows": ROWS, "strips": 1}
    np.testing.assert_array_equal(strip[10, 10], [1, 232, 128])
    np.testing.assert_array_equal(strip[10, 120], [0, 0, 128])


def test_the_rows_tell_who_sounds_when(view):
    about = view([masks(0.5), masks(1.5, left=0.1), masks(2.5)])
    assert about["times"] == [0.5, 1.5, 2.5]
    assert about["presence"] == [0.25, 0.25, 0.25]
    (source,) = about["sources"]
    assert (source["name"], source["area"], source["tracks"]) == ("Source 1", [0.5, 0.0, 0.5], [1])
    assert source["spans"] == [[0.0, 1.0], [2.0, pytest.approx(about["duration"])]]


def test_a_source_that_sounds_again_keeps_its_row(view):
    about = view([masks(0.5), masks(1.0, left=0.0), masks(2.8)])
    assert [source["tracks"] for source in about["sources"]] == [[1]]


def test_classes_name_the_sources(view):
    labels = np.zeros((1, 96, 128), np.uint8)
    labels[:, :, :64] = 2
    about = view([masks(0.5, labels=labels)], classes=("background", "dog", "cat"))
    assert [source["name"] for source in about["sources"]] == ["Cat"]


def test_the_copy_has_every_frame_and_the_sound(view, clip, tmp_path):
    about = view([masks(0.5)])
    with VideoReader(clip) as source, VideoReader(tmp_path / "view" / "preview.mp4") as copy:
        assert [round(f.time, 3) for f in copy.frames()] == [round(f.time, 3) for f in source.frames()]
        assert copy.info.has_audio
    assert about["duration"] == pytest.approx(3.0, abs=0.2)
    assert about["sound"]["seconds"] == pytest.approx(3.0, abs=0.2)
    assert about["fps"] == 8.0
    assert max(about["sound"]["peak"]) > 0.01


def test_no_more_maps_than_an_eye_can_follow(view):
    assert len(view([masks(i / 48) for i in range(49)])["times"]) == 13


def test_it_ends_when_it_is_told_to(view):
    def check():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        view([masks(0.5)], check=check)


def test_a_glance_shows_the_masks_while_it_works(view, monkeypatch):
    monkeypatch.setattr("sonomask.server.view.GLANCE", 0.0)
    seen = []
    view([masks(0.5)], glance=seen.append)
    picture = np.asarray(Image.open(io.BytesIO(seen[0])).convert("RGB")).astype(int)
    assert picture.shape == (96, 128, 3)
    warm = picture[..., 0] - picture[..., 2]  # the first source is orange
    assert warm[:, :60].mean() > warm[:, 68:].mean() + 40


def test_what_a_model_can_name_names_the_sources(view):
    seen = np.ones((96, 128), np.uint8)
    names = Names((("Bark", 0.9),), seen, ("person", "dog"), ("", "Bark"), (0.0, 0.9))
    own = masks(0.5)
    about = view([replace(own, names=(names,))])
    assert [(source["name"], source["sound"]) for source in about["sources"]] == [("Dog", "Bark")]

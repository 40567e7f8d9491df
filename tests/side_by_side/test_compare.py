import av
import numpy as np
import pytest
from PIL import Image

from sonomask.checkpoints.folder import save
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import WeightsError
from sonomask.models.catalog import create_model
from sonomask.side_by_side.compare import attention, compare


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "clip.mp4"
    write_video(path, scene(3, size=(64, 96), seconds=3), 6)
    return path


def test_two_models_stand_side_by_side_with_the_sound(video, tmp_path):
    made, picture = compare(video, ["avs_mini.synthetic", "world.real"], tmp_path, rate=1)
    with av.open(str(made)) as container:
        assert container.streams.audio
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 18
    assert frames[0].shape[1] == 2 * 96
    assert frames[0].shape[0] > 64
    with Image.open(picture) as drawn:
        assert drawn.width > 3 * 200
        assert drawn.height > 3 * 130  # frames and two models


def test_one_model_twice_is_refused(video, tmp_path):
    with pytest.raises(ValueError, match="models"):
        compare(video, ["avs_mini.synthetic"] * 2, tmp_path)


def test_what_breaks_off_leaves_nothing(video, tmp_path, monkeypatch):
    monkeypatch.setattr("sonomask.side_by_side.compare._panel", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compare(video, ["avs_mini.synthetic"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_attention_is_drawn_level_by_level(video, tmp_path):
    model = save(create_model("avs_mini"), tmp_path / "model")  # the built-in ones add the sound and attend to nothing
    path = attention(video, str(model), tmp_path, second=1)
    with Image.open(path) as drawn:
        assert np.asarray(drawn).shape[0] > 6 * 130  # frames, four levels, the mask


def test_a_model_without_attention_is_refused(video, tmp_path):
    with pytest.raises(WeightsError, match="attention"):
        attention(video, "avs_mini.synthetic", tmp_path)

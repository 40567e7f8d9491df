"""Clips with maskiges."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sonomask.data.avsbench import AVSBench
from sonomask.data.cache import CachedClips, write_cache
from sonomask.data.datamodule import AVSBenchDataModule, SyntheticDataModule
from sonomask.data.drawn.world import SyntheticScenes
from sonomask.data.maskige import maskige_file, with_maskige
from sonomask.data.transforms import Augment
from sonomask.data.tree import Preset, write_tree
from sonomask.errors import DatasetError
from sonomask.inference.maskige import PALETTE
from sonomask.models.catalog import create_model

MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "tree"
    write_tree(out, preset=Preset((2, 2, 2), 64, 8))
    return out


def prepare(clips, root):
    """The authors' files, each frame in a colour of its own."""
    for item in clips.items:
        for i in range(item.seconds):
            path = maskige_file(item, root, i)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), PALETTE[i + 1], np.uint8)).save(path)


def colours(maskige):
    return ((maskige * STD + MEAN) * 255).round().byte()[:, :, 0, 0].tolist()


@pytest.mark.parametrize("subset", ["s4", "ms3", "avss"])
def test_the_authors_pictures_come_with_their_frames(subset, world, tmp_path):
    clips = AVSBench(world, subset, "test", size=(32, 32))
    prepare(clips, tmp_path)
    clip, item = with_maskige(clips, str(tmp_path))[1], clips.items[1]
    assert colours(clip.maskige)[: item.seconds] == PALETTE[1 : item.seconds + 1].tolist()
    assert (clip.maskige[item.seconds :] == 0).all()


def test_where_they_lie_is_where_the_authors_put_them(world, tmp_path):
    s4, ms3, avss = (AVSBench(world, subset, "test").items[0] for subset in ("s4", "ms3", "avss"))
    assert maskige_file(s4, tmp_path, 0) == tmp_path / "test" / s4.category / s4.name / f"{s4.name}_1_mask_color.png"
    assert maskige_file(ms3, tmp_path, 0) == tmp_path / ms3.name / f"{ms3.name}.mp4_1_mask_color.png"
    assert maskige_file(avss, tmp_path, 3).relative_to(tmp_path / avss.label / avss.name).parts[1] == "3_mask_color.png"


def test_a_folder_without_them_is_refused_at_once(world, tmp_path):
    with pytest.raises(DatasetError, match="expected the authors' maskiges, such as test"):
        with_maskige(AVSBench(world, "s4", "test"), str(tmp_path))


def test_made_regions_are_pictures_in_the_colours_of_the_palette(world):
    clip = with_maskige(AVSBench(world, "s4", "test", size=(32, 32)), "superpixels")[0]
    pixels = ((clip.maskige * STD + MEAN) * 255).round().byte().movedim(1, -1).flatten(0, 2)
    assert {tuple(c) for c in pixels.unique(dim=0).tolist()} <= {tuple(c) for c in PALETTE.tolist()}


def test_the_cache_keeps_regions(world, tmp_path):
    clips = with_maskige(AVSBench(world, "avss", "test", size=(32, 32)), "superpixels")
    write_cache(clips, tmp_path / "cache")
    ours, kept = clips[0].maskige, CachedClips(tmp_path / "cache")[0].maskige
    torch.testing.assert_close(ours, kept, atol=1e-6, rtol=0)


def test_regions_are_mirrored_and_cut_with_the_frame():

    clip = SyntheticScenes(1, size=(32, 32))[0]
    clip = replace(clip, maskige=clip.masks[:, None].expand(-1, 3, -1, -1).float())
    changed = Augment(flip=1, crop=0.5)(clip, torch.Generator().manual_seed(0))
    assert torch.equal(changed.maskige[:, 0].long(), changed.masks)


def test_a_model_that_reads_regions_asks_evaluation_for_them(world, tmp_path):
    config = create_model("combo_resnet50", backbone="resnet18", audio="light", width=32, audio_hidden=8).config
    data = AVSBenchDataModule(str(world), "s4", workers=0)
    with pytest.raises(ValueError, match="Name the authors' folder"):
        data.suit(config)
    prepare(AVSBench(world, "s4", "test"), tmp_path)
    data = AVSBenchDataModule(str(world), "s4", workers=0, maskige=str(tmp_path))
    data.suit(config)
    assert next(iter(data.test_dataloader())).maskige.shape == (2, 5, 3, 224, 224)
    scenes = SyntheticDataModule(test=1, size=32, workers=0)
    scenes.suit(config)
    assert next(iter(scenes.test_dataloader())).maskige.shape == (1, 5, 3, 32, 32)


def test_a_folder_goes_with_avsbench_only(tmp_path):
    with pytest.raises(ValueError, match="a folder goes with AVSBench only"):
        with_maskige([], str(tmp_path))


def test_a_picture_that_is_gone_is_named(world, tmp_path):
    clips = AVSBench(world, "s4", "test", size=(32, 32))
    prepare(clips, tmp_path)
    shutil.rmtree(tmp_path / "test" / clips.items[1].category / clips.items[1].name)
    with pytest.raises(DatasetError, match="_1_mask_color"):
        with_maskige(clips, str(tmp_path))[1]

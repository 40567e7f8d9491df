"""Maskiges, whoever makes them."""

import os

import numpy as np
import pytest
import torch

from sonomask.errors import WeightsError
from sonomask.inference.maskige import PALETTE, MaskRCNN, Sam, Superpixels, make, paint


def rectangle(size, top, left, bottom, right):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def test_the_smaller_region_lies_on_top_and_no_region_is_grey():
    large, small = rectangle((8, 8), 0, 0, 6, 6), rectangle((8, 8), 2, 2, 4, 4)
    picture = paint(np.stack([large, small]))
    assert picture[3, 3].tolist() == PALETTE[1].tolist()
    assert picture[0, 0].tolist() == PALETTE[2].tolist()
    assert picture[7, 7].tolist() == [120, 120, 120]


def test_beyond_the_last_colour_the_first_comes_again_but_grey_never():
    masks = np.stack([rectangle((1, 151), 0, i, 1, i + 1) for i in range(151)])
    picture = paint(masks)[0]
    assert picture[149].tolist() == PALETTE[1].tolist()
    assert not (picture == PALETTE[0]).all(1).any()


def test_without_a_region_all_is_grey():
    assert (paint(np.zeros((0, 4, 4), bool)) == 120).all()


def test_superpixels_part_what_differs_in_colour():
    image = np.full((64, 64, 3), 30, np.uint8)
    image[10:40, 20:50] = 220
    picture = Superpixels()(image[None])[0]
    assert (picture[25, 35] != picture[60, 60]).any()
    assert (picture[15:35, 25:45] == picture[25, 35]).all()
    assert np.array_equal(picture, Superpixels()(image[None])[0])


@pytest.fixture
def detector(monkeypatch):
    """A small Mask R-CNN in the place of torchvision's."""
    from torchvision.models import detection
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    def build(**_):
        torch.manual_seed(0)
        body = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
        return detection.MaskRCNN(body, num_classes=3, min_size=64, max_size=64, box_detections_per_img=4)

    monkeypatch.setattr(detection, "maskrcnn_resnet50_fpn", build)
    return build()


def test_mask_rcnn_makes_regions_of_what_it_is_sure_of(detector, tmp_path):
    torch.save(detector.state_dict(), tmp_path / "w.pth")
    maker = MaskRCNN(tmp_path / "w.pth")
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, 0, :8], masks[1, 0, 16:] = 1, 1
    maker.model = lambda _: [{"masks": masks, "scores": torch.tensor([0.9, 0.3])}]
    picture = maker(np.zeros((1, 32, 32, 3), np.uint8))[0]
    assert picture[0, 0].tolist() == PALETTE[1].tolist()
    assert picture[20, 0].tolist() == PALETTE[0].tolist()
    assert maker.name == "maskrcnn w.pth"


def test_mask_rcnn_runs_as_it_is(detector, tmp_path):
    torch.save(detector.state_dict(), tmp_path / "w.pth")
    picture = MaskRCNN(tmp_path / "w.pth")(np.zeros((1, 32, 32, 3), np.uint8))
    assert picture.shape == (1, 32, 32, 3)


def test_weights_that_run_code_or_are_none_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="expected torchvision's file"):
        MaskRCNN(tmp_path / "evil.pth")
    assert not (tmp_path / "pwned").exists()
    with pytest.raises(WeightsError, match="expected a SAM"):
        Sam(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_sam_makes_regions_of_what_it_finds(tmp_path):
    from transformers import SamConfig, SamImageProcessor, SamModel

    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SamConfig(
        vision_config={
            **tiny, "image_size": 64, "patch_size": 16, "output_channels": 8, "mlp_dim": 8, "global_attn_indexes": [0],
            "window_size": 2, "num_pos_feats": 4,
        },
        prompt_encoder_config={"hidden_size": 8, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={**tiny, "mlp_dim": 8, "iou_head_hidden_dim": 8, "iou_head_depth": 2},
    )  # fmt: skip
    torch.manual_seed(0)
    SamModel(config).save_pretrained(tmp_path)
    SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16}
    ).save_pretrained(tmp_path)  # fmt: skip
    maker = Sam(tmp_path)
    masks = [rectangle((32, 32), 0, 0, 8, 8)]
    assert maker(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 32, 32, 3)
    maker._find = lambda *_, **__: {"masks": masks}
    assert maker(np.zeros((1, 32, 32, 3), np.uint8))[0, 0, 0].tolist() == PALETTE[1].tolist()


@pytest.mark.parametrize("word", ["semantic-sam", "maskrcnn", "superpixels:x", "sam:"])
def test_other_words_are_refused(word):
    with pytest.raises(ValueError, match="expected superpixels, maskrcnn:FILE or sam:FOLDER"):
        make(word)

import pytest
import torch

from sonomask.inference.attention import Watch
from sonomask.models.catalog import create_model


@pytest.fixture
def clip():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 3, 3, 64, 64, generator=generator), torch.randn(1, 3, 1, 96, 64, generator=generator)


@torch.no_grad()
def test_the_map_is_the_positive_part_of_alpha_between_a_pixel_and_its_own_second(clip):
    torch.manual_seed(0)
    model = create_model("avs_mini", fusion="tpavi").eval()
    with Watch(model) as watch:
        model(*clip)
    alpha = torch.einsum("bthwt->bthw", model.attention(*clip)[0]).clamp(min=0)
    torch.testing.assert_close(watch.maps(), alpha / alpha.max())


@torch.no_grad()
def test_watching_changes_nothing_and_ends_with_the_block(clip):
    model = create_model("avs_mini", fusion="tpavi").eval()
    before = model(*clip).logits
    with Watch(model) as watch:
        assert torch.equal(model(*clip).logits, before)
    model(*clip)
    assert len(watch.alpha) == 1


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["add", "none", "visual"])
def test_a_model_that_does_not_attend_to_sound_has_no_map(clip, fusion):
    model = create_model("avs_mini", fusion=fusion).eval()
    with Watch(model) as watch:
        model(*clip)
    assert watch.maps() is None

"""EASE against its description, written out on tensors by their published names, and what is its alone."""

import math
import re

import pytest
import timm
import torch
import torch.nn.functional as F

from sonomask.checkpoints.convert import convert, convert_state, recognise
from sonomask.checkpoints.folder import load
from sonomask.errors import WeightsError
from sonomask.models.catalog import create_model

SMALL = {
    "backbone": "pvt_v2_b0", "size": 64, "queries": 9, "last": 1, "fusions": 2, "audio": "light", "sound_width": 32,
    "clusters": 7, "points": 64,
}  # fmt: skip
HAS_DINOV3 = bool(timm.list_models("vit_base_patch16_dinov3_qkvb"))
needs_dinov3 = pytest.mark.skipif(not HAS_DINOV3, reason="timm before 1.0.20 has no DINOv3")

PVT = {"depths": (3, 6, 40), "widths": (64, 128, 320), "heads": (1, 2, 5), "ratios": (8, 4, 2)}
VIT = {768: (12, 12), 1024: (24, 16)}  # width: blocks, heads


# what the files hold, from the facts about their layout


def norm_keys(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def linear_keys(name, out, width, *, bias=True):
    return {f"{name}.weight": (out, width), **({f"{name}.bias": (out,)} if bias else {})}


def dinov3_keys(width):
    room, keys = "encoder.backbone", {}
    keys[f"{room}.patch_embed.cls_token"] = (1, 1, width)
    keys[f"{room}.patch_embed.register_tokens"] = (1, 4, width)
    keys[f"{room}.patch_embed.patch_embeddings.weight"] = (width, 3, 16, 16)
    keys[f"{room}.patch_embed.patch_embeddings.bias"] = (width,)
    for i in range(VIT[width][0]):
        block = f"{room}.blocks.{i}"
        keys |= norm_keys(f"{block}.norm1", width) | norm_keys(f"{block}.norm2", width)
        for part in "qkvo":
            keys |= linear_keys(f"{block}.attention.{part}_proj", width, width, bias=part != "k")
        keys |= {f"{block}.layer_scale1.lambda1": (width,), f"{block}.layer_scale2.lambda1": (width,)}
        keys |= linear_keys(f"{block}.mlp.up_proj", 4 * width, width)
        keys |= linear_keys(f"{block}.mlp.down_proj", width, 4 * width)
    return keys | norm_keys(f"{room}.norm", width)


def pvt_keys():
    room, keys, before = "encoder.backbone", {}, 3
    for s, (depth, width, ratio) in enumerate(zip(PVT["depths"], PVT["widths"], PVT["ratios"], strict=True)):
        side, name = (7, f"{room}.patch_embed") if s == 0 else (3, f"{room}.stages.{s}.downsample")
        keys |= {f"{name}.proj.weight": (width, before, side, side), f"{name}.proj.bias": (width,)}
        keys |= norm_keys(f"{name}.norm", width)
        for j in range(depth):
            block = f"{room}.stages.{s}.blocks.{j}"
            keys |= norm_keys(f"{block}.norm1", width) | norm_keys(f"{block}.norm2", width)
            keys |= linear_keys(f"{block}.attn.q", width, width) | linear_keys(f"{block}.attn.kv", 2 * width, width)
            keys |= linear_keys(f"{block}.attn.proj", width, width)
            if s < 2 or j < 34:
                keys |= {f"{block}.attn.sr.weight": (width, width, ratio, ratio), f"{block}.attn.sr.bias": (width,)}
                keys |= norm_keys(f"{block}.attn.norm", width)
            keys |= linear_keys(f"{block}.mlp.fc1", 4 * width, width) | linear_keys(
                f"{block}.mlp.fc2", width, 4 * width
            )
            keys |= {f"{block}.mlp.dwconv.weight": (4 * width, 1, 3, 3), f"{block}.mlp.dwconv.bias": (4 * width,)}
        keys |= norm_keys(f"{room}.stages.{s}.norm", width)
        before = width
    return keys


def published_keys(width, queries, classes):
    """Keys and shapes of a whole file."""
    keys = {"attn_mask_probs": (6 if width == 320 else 4,), "q.weight": (queries, width)}
    keys |= {
        "encoder.pixel_mean": (1, 3, 1, 1),
        "encoder.pixel_std": (1, 3, 1, 1),
        "q_gen.query.weight": (queries, 320),
    }
    for i in range(2):
        layer = f"q_gen.layers.{i}"
        for kind in ("self_attn", "cross_attn"):
            keys |= {f"{layer}.{kind}.in_proj_weight": (960, 320), f"{layer}.{kind}.out_proj.weight": (320, 320)}
        keys |= linear_keys(f"{layer}.ffn.0", 1280, 320) | linear_keys(f"{layer}.ffn.2", 320, 1280)
        for n in (1, 2, 3):
            keys |= norm_keys(f"{layer}.norm{n}", 320)
    keys |= linear_keys("q_gen.output_proj", width, 320) | linear_keys("class_head", classes + 1, width)
    for n in (0, 2, 4):
        keys |= linear_keys(f"mask_head.{n}", width, width)
    for n in (0, 1):
        block = f"upscale.scale_blocks.{n}"
        keys |= {f"{block}.conv1.weight": (width, width, 2, 2), f"{block}.conv1.bias": (width,)}
        keys |= {f"{block}.conv2.weight": (width, 1, 3, 3)} | norm_keys(f"{block}.norm", width)
    keys |= linear_keys("audio_enhance.audio_proj", 320, 128)
    for part in ("edge_fc_s1", "offset_s1", "edge_fc_s2", "offset_s2"):
        keys |= linear_keys(f"audio_enhance.{part}.0", 320, 320)
    keys |= {f"audio_enhance.fusion_s{n}.weight": (320, 320) for n in (1, 2)}
    keys |= {"audio_enhance.gumbel_clustering.cluster_centers": (71, 320)} | linear_keys("fuser.fc", 1, width)
    if width != 320:
        keys["fuser.aud_proj.weight"] = (width, 320)
    keys["fuser.gumbel_clustering.cluster_centers"] = (5, width)
    for way in ("av", "va"):
        keys |= {f"fuser.{way}_cross_interaction.{part}_proj.weight": (width, width) for part in "qkv"}
    keys |= pvt_keys() if width == 320 else dinov3_keys(width)
    return {**{f"network.{key}": shape for key, shape in keys.items()}, "criterion.empty_weight": (classes + 1,)}


# the model, written out


class WrittenOut:
    """The network in float64, by the published names of its tensors, without noise and without masks in between."""

    def __init__(self, state, fusions):
        self.state = {key.removeprefix("network."): value.double() for key, value in state.items()}
        self.fusions = fusions

    def linear(self, name, x):
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name, x, eps=1e-5):
        mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / (var + eps).sqrt() * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def conv(self, name, x, **how):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), **how)

    def attend(self, q, k, v, heads, squash=lambda s: s.softmax(-1)):
        q, k, v = (x.reshape(*x.shape[:2], heads, -1).permute(0, 2, 1, 3) for x in (q, k, v))
        weights = squash(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]))
        return (weights @ v).permute(0, 2, 1, 3).flatten(2)

    def sound(self, x):
        a, kinds = (
            self.linear("audio_enhance.audio_proj", x),
            self.state["audio_enhance.gumbel_clustering.cluster_centers"],
        )
        own = (a @ kinds.T).softmax(-1)[:, :, None] * a[:, None]  # C_i
        near = (own - a[:, None]).square().sum(-1).sqrt().argsort(-1)[:, :5]
        rows = torch.arange(len(x))[:, None]
        a = a[:, None]
        e = F.gelu(self.linear("audio_enhance.edge_fc_s1.0", kinds[near] - a))
        e = e * self.linear("audio_enhance.fusion_s1", e).softmax(1)
        t = (1 + self.linear("audio_enhance.offset_s1.0", a + e).tanh()) * a
        e = F.gelu(self.linear("audio_enhance.edge_fc_s2.0", own[rows, near] - t))
        return (1 + self.linear("audio_enhance.offset_s2.0", t + e).tanh()) * t

    def queries(self, sound):
        x = self.state["q_gen.query.weight"].expand(len(sound), -1, -1)
        for i in range(2):
            for n, (kind, other) in enumerate((("self_attn", None), ("cross_attn", sound)), 1):
                name = f"q_gen.layers.{i}.{kind}"
                wq, wk, wv = self.state[f"{name}.in_proj_weight"].chunk(3)
                told = x if other is None else other
                found = self.attend(x @ wq.T, told @ wk.T, told @ wv.T, 8) @ self.state[f"{name}.out_proj.weight"].T
                x = self.norm(f"q_gen.layers.{i}.norm{n}", x + found)
            hidden = F.gelu(self.linear(f"q_gen.layers.{i}.ffn.0", x))
            x = self.norm(f"q_gen.layers.{i}.norm3", x + self.linear(f"q_gen.layers.{i}.ffn.2", hidden))
        return self.linear("q_gen.output_proj", x) + self.state["q.weight"]

    def fuse(self, patches, sound):
        tokens = self.linear("fuser.aud_proj", sound) if "fuser.aud_proj.weight" in self.state else sound
        centres = self.state["fuser.gumbel_clustering.cluster_centers"]
        mixed = (patches @ centres.T).softmax(-1) @ centres
        av, va = (
            lambda part, x, way=way: self.linear(f"fuser.{way}_cross_interaction.{part}_proj", x)
            for way in ("av", "va")
        )
        read = self.attend(av("q", tokens), av("k", mixed), av("v", mixed), 8)
        mean = (self.linear("fuser.fc", read).softmax(1) * tokens).sum(1, keepdim=True)
        return patches + self.attend(va("q", patches), va("k", mean), va("v", mean), 8, torch.sigmoid)

    def predict(self, queries, patches, side):
        x = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
        for n in (0, 1):
            name = f"upscale.scale_blocks.{n}"
            x = F.conv_transpose2d(x, self.state[f"{name}.conv1.weight"], self.state[f"{name}.conv1.bias"], stride=2)
            x = self.conv(f"{name}.conv2", F.gelu(x), padding=1, groups=x.shape[1])
            x = self.norm(f"{name}.norm", x.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)
        m = queries
        for n in (0, 2, 4):
            m = self.linear(f"mask_head.{n}", m if n == 0 else F.gelu(m))
        return self.linear("class_head", queries), (m @ x.flatten(2)).reshape(*m.shape[:2], *x.shape[2:])

    def vit(self, images, sound):
        width = self.state["q.weight"].shape[1]
        (blocks, heads), side, room = VIT[width], images.shape[-1] // 16, "encoder.backbone"
        x = self.conv(f"{room}.patch_embed.patch_embeddings", images, stride=16).flatten(2).transpose(1, 2)
        first = [
            self.state[f"{room}.patch_embed.{name}"].expand(len(x), -1, -1) for name in ("cls_token", "register_tokens")
        ]
        x, own = torch.cat([*first, x], 1), 5
        centre = (torch.arange(side).double() + 0.5) / side * 2 - 1
        place = torch.stack([centre[:, None].expand(side, side), centre.expand(side, side)], -1).flatten(0, 1)
        quarter = width // heads // 4
        angle = 2 * math.pi * place[:, :, None] / 100 ** (torch.arange(quarter).double() / quarter)
        angle = angle.flatten(1).repeat(1, 2)

        def turned(t):
            last = t[:, own:].unflatten(2, (heads, -1))
            half = last.shape[-1] // 2
            back = torch.cat([-last[..., half:], last[..., :half]], -1)
            last = last * angle.cos()[:, None] + back * angle.sin()[:, None]
            return torch.cat([t[:, :own], last.flatten(2)], 1)

        for i in range(blocks):
            if i >= blocks - self.fusions:
                x = torch.cat([x[:, :own], self.fuse(x[:, own:], sound)], 1)
            if i == blocks - 4:
                x, own = torch.cat([self.queries(sound), x], 1), own + len(self.state["q.weight"])
            block = f"{room}.blocks.{i}"
            y = self.norm(f"{block}.norm1", x)
            q, k, v = (self.linear(f"{block}.attention.{part}_proj", y) for part in "qkv")
            y = self.linear(f"{block}.attention.o_proj", self.attend(turned(q), turned(k), v, heads))
            x = x + self.state[f"{block}.layer_scale1.lambda1"] * y
            y = F.gelu(self.linear(f"{block}.mlp.up_proj", self.norm(f"{block}.norm2", x)))
            x = x + self.state[f"{block}.layer_scale2.lambda1"] * self.linear(f"{block}.mlp.down_proj", y)
        x = torch.cat([x[:, :own], self.fuse(x[:, own:], sound)], 1)
        x = self.norm(f"{room}.norm", x)
        return self.predict(x[:, : len(self.state["q.weight"])], x[:, own:], side)

    def pvt(self, images, sound):
        x, room, own, number = images, "encoder.backbone", 0, 0
        for s, (depth, heads, ratio) in enumerate(zip(PVT["depths"], PVT["heads"], PVT["ratios"], strict=True)):
            side, name = (7, f"{room}.patch_embed") if s == 0 else (3, f"{room}.stages.{s}.downsample")
            x = self.conv(f"{name}.proj", x, stride=4 if s == 0 else 2, padding=side // 2)
            side = x.shape[-1]
            x = self.norm(f"{name}.norm", x.flatten(2).transpose(1, 2))
            for j in range(depth):
                if number >= 49 - self.fusions:
                    x = torch.cat([x[:, :own], self.fuse(x[:, own:], sound)], 1)
                if number == 43:
                    x, own = torch.cat([self.queries(sound), x], 1), len(self.state["q.weight"])
                block, square = f"{room}.stages.{s}.blocks.{j}", math.isqrt(side * side + own)
                y = self.norm(f"{block}.norm1", x, 1e-6)
                seen = y
                if f"{block}.attn.sr.weight" in self.state:
                    small = self.conv(f"{block}.attn.sr", y.transpose(1, 2).unflatten(2, (side, side)), stride=ratio)
                    seen = self.norm(f"{block}.attn.norm", small.flatten(2).transpose(1, 2))
                k, v = self.linear(f"{block}.attn.kv", seen).chunk(2, -1)
                y = self.attend(self.linear(f"{block}.attn.q", y), k, v, heads)
                x = x + self.linear(f"{block}.attn.proj", y)
                y = self.linear(f"{block}.mlp.fc1", self.norm(f"{block}.norm2", x, 1e-6))
                y = self.conv(
                    f"{block}.mlp.dwconv",
                    y.transpose(1, 2).unflatten(2, (square, square)),
                    padding=1,
                    groups=y.shape[2],
                )
                x = x + self.linear(f"{block}.mlp.fc2", F.gelu(y.flatten(2).transpose(1, 2)))
                number += 1
            x = self.norm(f"{room}.stages.{s}.norm", x, 1e-6)
            if s < 2:
                x = x.transpose(1, 2).unflatten(2, (side, side))
        return self.predict(x[:, :own], self.fuse(x[:, own:], sound), side)

    def score(self, images, sound):
        """A map for each class, at the size of the pictures."""
        heard = self.sound(sound.double())
        network = self.pvt if self.state["q.weight"].shape[1] == 320 else self.vit
        classes, masks = network(images.double(), heard)
        masks = F.interpolate(masks, images.shape[-2:], mode="bilinear").sigmoid()
        return torch.einsum("nqc,nqhw->nchw", classes.softmax(-1)[..., :-1], masks)


@pytest.mark.parametrize(
    ("width", "queries", "size", "classes", "fusions"),
    [
        pytest.param(320, 29, 224, 2, 7, id="pvt"),
        pytest.param(320, 49, 384, 71, 7, id="pvt-384-avss", marks=pytest.mark.slow),
        pytest.param(768, 100, 224, 2, 4, id="dinov3-base", marks=needs_dinov3),
        pytest.param(768, 100, 224, 71, 12, id="dinov3-base-avss", marks=[needs_dinov3, pytest.mark.slow]),
        pytest.param(768, 100, 384, 71, 4, id="dinov3-base-384-avss", marks=[needs_dinov3, pytest.mark.slow]),
        pytest.param(1024, 100, 384, 2, 4, id="dinov3-large", marks=[needs_dinov3, pytest.mark.slow]),
    ],
)
@torch.inference_mode()
def test_a_converted_file_scores_as_its_description_written_out(width, queries, size, classes, fusions, fill):
    state = fill(published_keys(width, queries, classes))
    model = convert_state(state, source=f"ease-{size}.pt").eval()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(1, 3, size, size, generator=generator)
    sound = torch.randn(1, 128, generator=generator).relu()
    ours = model.decode(images[None], sound[None]).logits[0].double()
    theirs = WrittenOut(state, fusions).score(images, sound)
    if classes == 2:
        theirs = theirs[:, 1:] - theirs[:, :1]
    assert theirs.std() > 0.01  # something to compare
    assert (ours - theirs).abs().max() < 1e-2  # of a range of 10 to 30; without one fusion they are 2 apart


@pytest.mark.parametrize(
    ("width", "queries", "count", "size", "name"),
    [
        (320, 29, 1049, None, "ease_pvt_v2_b5_224"),
        (320, 49, 1049, None, "ease_pvt_v2_b5_384"),
        pytest.param(768, 100, 286, 384, "ease_dinov3_base_384", marks=needs_dinov3),
        pytest.param(1024, 100, 490, 224, "ease_dinov3_large_224", marks=needs_dinov3),
    ],
)
@pytest.mark.parametrize("classes", [2, 71])
def test_every_key_is_used_or_known_to_be_dead(width, queries, count, size, name, classes):
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in published_keys(width, queries, classes).items()}
        layout = recognise(state, size=size)
        own = create_model(layout.name, **layout.options)
    assert len(state) == count + 1
    assert layout.name == name
    assert own.config.num_classes == (1 if classes == 2 else 71)
    assert {k: v.shape for k, v in layout.rename(state).items()} == {k: v.shape for k, v in own.state_dict().items()}


@needs_dinov3
def test_the_size_comes_from_the_name_or_from_the_user_and_is_asked_for_otherwise():
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in published_keys(1024, 100, 2).items()}
    assert recognise(state, source="x/ease-vit-l-384-ss.pt").name.endswith("384")
    assert recognise(state, source="a.pt", size=224).name.endswith("224")
    with pytest.raises(WeightsError, match=r"224 or 384 pixels.*--size"):
        recognise(state, source="model-20224.pt")


@needs_dinov3
def test_avss_of_the_base_model_at_224_alone_is_fused_before_every_block():
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in published_keys(768, 100, 71).items()}
    assert recognise(state, size=224).options["fusions"] == 12
    assert "fusions" not in recognise(state, size=384).options


@needs_dinov3
def test_blocks_named_as_transformers_names_them_are_read_too():
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in published_keys(768, 100, 2).items()}
        layout = recognise(state, size=224)
    wanted = set(layout.rename(state))
    for room in (".layer.", ".model.layer."):
        other = {re.sub(r"\.backbone\.blocks\.", f".backbone{room}", k): v for k, v in state.items()}
        other = {k.removeprefix("network.").replace(".patch_embed.", ".embeddings."): v for k, v in other.items()}
        assert set(layout.rename(other)) == wanted


@pytest.mark.slow
def test_a_file_and_vggishs_become_a_folder_that_listens(fill, tmp_path):
    torch.save(fill(published_keys(320, 29, 2)), tmp_path / "ease-pvtv2-224-s4.pt")
    vggish = create_model("avs_resnet50").part("audio")
    torch.save(vggish.state_dict(), tmp_path / "vggish.pth")
    convert(tmp_path / "ease-pvtv2-224-s4.pt", tmp_path / "m", vggish=tmp_path / "vggish.pth")
    model = load(tmp_path / "m")
    assert torch.equal(model.audio.state_dict()["features.0.weight"], vggish.state_dict()["features.0.weight"])
    config = model.config
    assert (config.protocol, config.image_size, config.score_size) == ("ease", (224, 224), (224, 224))
    assert config.pairing == "avsbench"


# what is its alone

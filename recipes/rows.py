"""Writes the recipes of the paper's rows: `python recipes/rows.py`. One table, so that no two rows differ by accident."""

from pathlib import Path

FOLDER = Path(__file__).parent
BACKBONES = {"resnet50": "resnet50.pth of torchvision", "pvt_v2_b5": "pvt_v2_b5.pth of the PVT authors"}
EPOCHS = {"s4": 15, "ms3": 30, "avss": 60}
PUBLISHED = {  # mIoU / F in %, of the whole model
    ("s4", "resnet50"): "72.79 / 84.8", ("s4", "pvt_v2_b5"): "78.7 / 87.9",
    ("ms3", "resnet50"): "47.88 / 57.8", ("ms3", "pvt_v2_b5"): "54.0 / 64.5",
    ("avss", "resnet50"): "20.18 / 25.2", ("avss", "pvt_v2_b5"): "29.8 / 35.2",
}  # fmt: skip
SOURCE = {
    "resnet50": "as repeated in the README of CAVP (Chen et al., CVPR 2024)",
    "pvt_v2_b5": "as repeated in the README of Stepping-Stones (Ma et al., ECCV 2024)",
}
WHOLE = {"s4": "tpavi", "ms3": "tpavi_avm", "avss": "tpavi_avm"}  # what the paper calls its model
MATCHING = {"s4": "s4", "ms3": "ms3", "avss": "avss"}
ROWS = ("none", "add", "tpavi", "tpavi_avm")

TEMPLATE = """\
# {title}
#
#   uv run sonomask train recipes/{name}.yaml --data.init_args.root AVSBENCH --out runs/{name}
#   uv run sonomask evaluate --model runs/{name}/best --data.class_path sonomask.data.datamodule.AVSBenchDataModule \\
#     --data.init_args.root AVSBENCH --data.init_args.subset {subset} --out runs/{name}/test
#
# Published: {published}
# Ours: not run yet; AVSBench may not be redistributed, and no run was made for this file.
# Hardware: one GPU of 24 GB (see docs/results.md for what was measured).
# Needs weights/{weights} and weights/vggish.pth.
seed_everything: 123
model:
  model: {model}
  options: {{fusion: {fusion}}}
  learning_rate: 0.0001
  matching: {matching}
  matching_weight: 0.5
  protocols: [{protocol}]
  backbone_weights: weights/{file}
  audio_weights: {audio}
  checkpoint_backbone: {checkpoint}
{extra}data:
  class_path: sonomask.data.datamodule.AVSBenchDataModule
  init_args: {{root: AVSBench, subset: {subset}, batch_size: 4, workers: 8, seed: 123}}
trainer:
  max_epochs: {epochs}
  precision: bf16-mixed
"""


def recipe(subset: str, backbone: str, row: str, start: str = "") -> tuple[str, str]:
    """File name and text."""
    name = f"{subset}_{backbone}_{row}" + (f"_from_{start}" if start else "")
    whole = row == WHOLE[subset] and not start
    published = f"{PUBLISHED[subset, backbone]} mIoU / F (protocol {'avss' if subset == 'avss' else 'avsbench'}), "
    published += f"Zhou et al., {SOURCE[backbone]}."
    if not whole:
        published = "a row of the ablation tables of Zhou et al. (arXiv 2207.05042, 2301.13190); look it up there."
    fusion = row.removesuffix("_avm")
    extra = f"  init_from: runs/{start}_{backbone}_tpavi/best\n" if start else ""
    text = TEMPLATE.format(
        title=f"{subset.upper()}, {backbone}, fusion {fusion}" + (", with L_AVM" if "avm" in row else "")
        + (f", from {start.upper()} weights" if start else ""),
        name=name, subset=subset, published=published, weights=BACKBONES[backbone], file=BACKBONES[backbone].split()[0],
        model=f"{'avss' if subset == 'avss' else 'avs'}_{backbone}", fusion=fusion,
        matching=MATCHING[subset] if "avm" in row else "null", protocol="avsbench", extra=extra,
        audio="null" if fusion == "none" else "weights/vggish.pth",
        checkpoint="true" if backbone == "pvt_v2_b5" else "false", epochs=EPOCHS[subset],
    )  # fmt: skip
    return f"{name}.yaml", text


COMPARED: dict[str, dict[str, str]] = {
    # the lines of `model:` beside the name, and what the reference used where its code tells
    "lvs": {
        "model": "lvs", "lines": "learning_rate: 0.0001", "batch": "32", "weights": "resnet18.pth",
        "why": "Trained without masks. Batch size decides: its clips are the negatives. lr 1e-4 of the paper.",
    },
    "mssl_stage1": {
        "model": "mssl", "lines": "learning_rate: 0.001\n  optimizer: sgd\n  weight_decay: 0.0005", "batch": "16",
        "weights": "resnet18.pth", "options": "stage: 1, LABELS",
        "why": "First of two stages; SGD 1e-3, momentum 0.9, weight decay 5e-4 as in its code.",
    },
    "mssl": {
        "model": "mssl", "batch": "16", "weights": "", "options": "stage: 2, LABELS",
        "lines": "learning_rate: 0.0001\n  optimizer: sgd\n  weight_decay: 0.0005\n  init_from: runs/SUBSET_mssl_stage1/best",
        "why": "Second of two stages, from the first one's weights.",
    },
    "3dc_resnet50": {
        "model": "3dc_resnet50", "lines": "learning_rate: 0.00005", "batch": "2", "weights": "resnet50.pth",
        "options": "depthwise: false", "why": "ImageNet weights fill full kernels; for the channel-separated net of the "
        "reference set depthwise: true and leave out the weights. lr 5e-5, batch 2 of its code.",
    },
    "sst_resnet50": {
        "model": "sst_resnet50", "lines": "learning_rate: 0.0001", "batch": "4", "weights": "resnet50.pth",
        "why": "No training code was published; the schedule is that of the AVS model.",
    },
    "igan_resnet50": {
        "model": "igan_resnet50", "batch": "4", "weights": "resnet50.pth",
        "lines": "learning_rate: 0.000025\n  adversary_rate: 0.4\n  betas: [0.5, 0.999]\n  weight_decay: 0.01",
        "why": "AdamW, betas 0.5 and 0.999, lr 2.5e-5 and 1e-5 for the discriminator, as in its code.",
    },
    "lgvt_swin_b_224": {
        "model": "lgvt_swin_b_224", "lines": "learning_rate: 0.00006\n  betas: [0.5, 0.999]", "batch": "4",
        "weights": "swin_base_patch4_window7_224.ms_in1k.safetensors", "why": "Adam, lr 6e-5 for both nets, as in its code.",
    },
    "two_stage_maskrcnn_v2": {
        "model": "two_stage_maskrcnn_v2", "lines": "learning_rate: 0.0001\n  audio_weights: weights/vggish.pth", "batch": "4",
        "weights": "maskrcnn_resnet50_fpn_v2_coco.pth", "options": "cache: runs/detections",
        "why": "The detector stays as COCO left it; what it finds is kept in runs/detections.",
    },
}  # fmt: skip
COMPARED_PUBLISHED = (
    "{row} of table 2 of Zhou et al. (arXiv 2207.05042); look it up there. `sonomask benchmark` repeats it."
)
COMPARED_TEMPLATE = """\
# {title}: {model}, a system that the paper compares
#
#   uv run sonomask train recipes/{name}.yaml --data.init_args.root AVSBENCH --out runs/{name}
#   uv run sonomask evaluate --model runs/{name}/best --data.class_path sonomask.data.datamodule.AVSBenchDataModule \\
#     --data.init_args.root AVSBENCH --data.init_args.subset {subset} --out runs/{name}/test
#
# {why}
# Published: {published}
# Ours: not run on AVSBench, which may not be redistributed; docs/results.md has the comparison on the synthetic world.
# Hardware: one GPU of 24 GB.{needs}
seed_everything: 123
model:
  model: {model}
{options}  {lines}
{weights}data:
  class_path: sonomask.data.datamodule.AVSBenchDataModule
  init_args: {{root: AVSBench, subset: {subset}, batch_size: {batch}, workers: 8, seed: 123}}
trainer:
  max_epochs: {epochs}
"""
S4_CATEGORIES = (
    "ambulance_siren", "baby_laughter", "cap_gun_shooting", "cat_meowing", "chainsawing_trees", "coyote_howling",
    "dog_barking", "driving_buses", "female_singing", "helicopter", "horse_clip-clop", "lawn_mowing", "lions_roaring",
    "male_speech", "mynah_bird_singing", "playing_acoustic_guitar", "playing_glockenspiel", "playing_piano",
    "playing_tabla", "playing_ukulele", "playing_violin", "race_car", "typing_on_computer_keyboard",
)  # fmt: skip


def compared(subset: str, row: str) -> tuple[str, str]:
    """File name and text of a system that the paper compares."""
    about = COMPARED[row]
    options = about.get("options", "").replace("LABELS", f"labels: [{', '.join(S4_CATEGORIES)}]")
    why, lines = about["why"], about["lines"].replace("SUBSET", subset)
    if row == "mssl_stage1" and subset == "ms3":
        lines += "\n  init_from: runs/s4_mssl_stage1/best"
        why += " MS3 has no categories: S4's classifier tags it."
    name = f"{subset}_{row}"
    text = COMPARED_TEMPLATE.format(
        title=subset.upper(), name=name, model=about["model"], subset=subset, why=why,
        published=COMPARED_PUBLISHED.format(row=about["model"]), lines=lines, batch=about["batch"], epochs=EPOCHS[subset],
        options=f"  options: {{{options}}}\n" if options else "",
        weights=f"  backbone_weights: weights/{about['weights']}\n" if about["weights"] else "",
        needs=f" Needs weights/{about['weights']}." if about["weights"] else "",
    )  # fmt: skip
    return f"{name}.yaml", text


AVSEGFORMER = {  # subset: epochs, those with the backbone frozen, clips a batch; published figures by backbone
    "s4": (30, 5, 2, {"resnet50": "76.38 / 86.7", "pvt_v2_b5": "83.06 / 90.5"}),
    "ms3": (60, 10, 2, {"resnet50": "53.81 / 65.6", "pvt_v2_b5": "61.33 / 73.0"}),
    "avss": (30, 0, 4, {"resnet50": "26.58 / 31.5", "pvt_v2_b5": "37.31 / 42.8"}),
}
AVSEGFORMER_TEMPLATE = """\
# {title}: AVSegFormer with {backbone}
#
#   uv run sonomask train recipes/{name}.yaml --data.init_args.root AVSBENCH --out runs/{name}
#   uv run sonomask evaluate --model runs/{name}/best --data.class_path sonomask.data.datamodule.AVSBenchDataModule \\
#     --data.init_args.root AVSBENCH --data.init_args.subset {subset} --out runs/{name}/test
#
# AdamW, lr 2e-5, constant; no automatic precision; backbone frozen for {frozen} epochs, as in its code (docs/zoo.md).
# Published: {published} mIoU / F (protocol {protocol}), README of vvvb-github/AVSegFormer.
# Ours: not run; AVSBench may not be redistributed. The authors' weights give their figure by `sonomask convert`.
# Hardware: one GPU of 24 GB or more. Needs weights/{weights} and weights/vggish.pth.
seed_everything: 123
model:
  model: avsegformer_{backbone}
  options: {{num_classes: {classes}}}
  learning_rate: 0.00002
  weight_decay: 0.01
  freeze_backbone: {frozen}
  protocols: [{validation}]
  backbone_weights: weights/{file}
  audio_weights: weights/vggish.pth
  checkpoint_backbone: {checkpoint}
data:
  class_path: sonomask.data.datamodule.AVSBenchDataModule
  init_args: {{root: AVSBench, subset: {subset}, size: {size}, batch_size: {batch}, workers: 8, seed: 123}}
trainer:
  max_epochs: {epochs}
"""


def avsegformer(subset: str, backbone: str) -> tuple[str, str]:
    """File name and text."""
    epochs, frozen, batch, published = AVSEGFORMER[subset]
    name, semantic = f"{subset}_avsegformer_{backbone}", subset == "avss"
    text = AVSEGFORMER_TEMPLATE.format(
        title=subset.upper(), name=name, subset=subset, backbone=backbone, epochs=epochs, frozen=frozen, batch=batch,
        published=published[backbone], protocol="avss" if semantic else "batch2", classes=71 if semantic else 1,
        validation="avsbench" if semantic else "batch2", size=224 if semantic else 512, weights=BACKBONES[backbone],
        file=BACKBONES[backbone].split()[0], checkpoint="true" if backbone == "pvt_v2_b5" else "false",
    )  # fmt: skip
    return f"{name}.yaml", text


MASK2FORMER = {  # system: clips a batch and steps by subset, side of the pictures, published figures by backbone
    "combo": {
        "s4": (8, 90_000, 224, {"resnet50": "81.7 / 90.1", "pvt_v2_b5": "84.7 / 91.9"}),
        "ms3": (8, 20_000, 224, {"resnet50": "54.5 / 66.6", "pvt_v2_b5": "59.2 / 71.2"}),
        "avss": (8, 90_000, 224, {"resnet50": "33.3 / 37.3", "pvt_v2_b5": "42.1 / 46.1"}),
    },
    "vct": {
        "s4": (2, 45_000, 384, {"swin_b": "86.2 / 93.4"}),
        "ms3": (2, 40_000, 384, {"swin_b": "67.6 / 81.4"}),
        "avss": (8, 45_000, 384, {"swin_b": "52.5 / 56.9"}),
    },
}
README = {"combo": "yannqi/COMBO-AVS", "vct": "spyflying/VCT_AVS"}
SWIN = {"swin_b": "swin_base_patch4_window12_384_22k.pth of the Swin authors"}
MASK2FORMER_TEMPLATE = """\
# {title}: {system} with {backbone}
#
#   uv run sonomask train recipes/{name}.yaml --data.init_args.root AVSBENCH --data.init_args.maskige MASKIGE --out runs/{name}
#   uv run sonomask evaluate --model runs/{name}/best --data.class_path sonomask.data.datamodule.AVSBenchDataModule \\
#     --data.init_args.root AVSBENCH --data.init_args.subset {subset} --data.init_args.maskige MASKIGE --out runs/{name}/test
#
# MASKIGE: the authors' folder pre_SAM_mask, or superpixels, maskrcnn:FILE, sam:FOLDER (docs/zoo.md).
# AdamW, lr 1e-4 (backbones a tenth), decay 0.05 without norms and embeddings, gradient norm at most 0.01, as in its code;
# cuts, colours and mirror images stand for its own augmentation.{audio}
# Published: {published} mIoU / F (protocol {protocol}), README of {readme}.
# Ours: not run; AVSBench may not be redistributed. The authors' weights give their figure by `sonomask convert`.
# Hardware: one GPU of {memory} GB or more. Needs weights/{weights} and weights/vggish.pth.
seed_everything: 123
model:
  model: {system}_{backbone}
  options: {{{options}}}
  learning_rate: 0.0001
  weight_decay: 0.05
  decay_norms: false
  backbone_rate: 0.1
  schedule: poly
  freeze_norms: {frozen}
  protocols: [{validation}]
  backbone_weights: weights/{file}
  audio_weights: weights/vggish.pth
  checkpoint_backbone: {checkpoint}
data:
  class_path: sonomask.data.datamodule.AVSBenchDataModule
  init_args:
    {{root: AVSBench, subset: {subset}, size: {size}, batch_size: {batch}, workers: 8, seed: 123, maskige: superpixels,
     augment: {augment}}}
trainer:
  max_epochs: -1
  max_steps: {steps}
  gradient_clip_val: 0.01
  precision: {precision}
"""


def mask2former(system: str, subset: str, backbone: str) -> tuple[str, str]:
    """File name and text of COMBO or VCT."""
    batch, steps, size, published = MASK2FORMER[system][subset]
    name, semantic = f"{subset}_{system}_{backbone}", subset == "avss"
    options = {"num_classes": "71"} if semantic else {}
    if system == "vct" and semantic:
        options["prototypes"] = "71"
    elif system == "vct" and subset == "s4":
        options |= {"prototypes": "23", "categories": f"[{', '.join(S4_CATEGORIES)}]"}
    weights = {**BACKBONES, **SWIN}[backbone]
    text = MASK2FORMER_TEMPLATE.format(
        title=subset.upper(), name=name, system=system, subset=subset, backbone=backbone, steps=steps, batch=batch,
        size=size, published=published[backbone], protocol="avss_unpadded" if semantic else "combo",
        readme=README[system], memory=40, weights=weights, file=weights.split()[0],
        validation="avsbench" if semantic else "combo",
        options=", ".join(f"{k}: {v}" for k, v in options.items()), precision="16-mixed" if semantic else "32-true",
        frozen="true" if backbone == "resnet50" else "false", checkpoint="true" if backbone == "pvt_v2_b5" else "false",
        audio="\n# Each frame's queries get its own sound; options.audio_queries: mixed repeats the reference's slip."
        if system == "combo" else "",
        augment="{flip: 0.5, colour: 0.4}" if semantic and system == "combo" else "{flip: 0.5, crop: 0.5, colour: 0.4}",
    )  # fmt: skip
    return f"{name}.yaml", text


def recipes() -> dict[str, str]:
    """All of them."""
    zoo = [avsegformer(s, b) for s in AVSEGFORMER for b in BACKBONES]
    zoo += [mask2former(s, subset, b) for s, rows in MASK2FORMER.items() for subset, row in rows.items() for b in row[3]]
    return dict([*_ours().items(), *(compared(s, r) for s in ("s4", "ms3") for r in COMPARED), *zoo])


def _ours() -> dict[str, str]:
    rows = [(s, b, r, "") for s in EPOCHS for b in BACKBONES for r in ROWS]
    rows += [("ms3", b, "tpavi_avm", "s4") for b in BACKBONES]
    return dict(recipe(*row) for row in rows)


if __name__ == "__main__":
    for name, text in recipes().items():
        (FOLDER / name).write_text(text, encoding="utf-8")

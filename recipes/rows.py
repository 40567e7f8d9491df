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


def recipes() -> dict[str, str]:
    """All of them."""
    rows = [(s, b, r, "") for s in EPOCHS for b in BACKBONES for r in ROWS]
    rows += [("ms3", b, "tpavi_avm", "s4") for b in BACKBONES]
    return dict(recipe(*row) for row in rows)


if __name__ == "__main__":
    for name, text in recipes().items():
        (FOLDER / name).write_text(text, encoding="utf-8")

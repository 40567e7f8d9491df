"""The training of a model: losses, optimiser, validation. Lightning does the rest."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn

from sonomask.batches import Batch, Output
from sonomask.checkpoints.backbones import load_backbone
from sonomask.checkpoints.convert import OWN
from sonomask.checkpoints.ears import ear_weights
from sonomask.checkpoints.folder import fill, fill_agreeing, load
from sonomask.checkpoints.known import fetch
from sonomask.checkpoints.own import build
from sonomask.errors import DatasetError, TrainingError
from sonomask.losses import masks as losses
from sonomask.metrics import metrics_of
from sonomask.models.parts.depthwise import use_fast_depthwise
from sonomask.models.parts.net import PartName
from sonomask.safe_reading.config import format_config
from sonomask.training.gradients import clip, split_by_decay
from sonomask.training.kept import keep
from sonomask.training.own_metrics import OwnMetrics

PART_OPTIONS: dict[str, tuple[PartName, float]] = {
    "backbone_rate": ("backbone", 1.0),
    "freeze_backbone": ("backbone", 0),
    "audio_rate": ("audio", 1.0),
    "adversary_rate": ("adversary", 1.0),
}
"""Options that act on a part of the model, and the values at which they do nothing."""

STEPS, EPOCHS = "sonomask.schedule_steps", "sonomask.epochs"
"""Names under which a checkpoint tells over how many steps and epochs its run was laid out."""


class AVSModule(LightningModule):
    """Trains any model of the catalogue on batches of clips.

    The loss is the model's own (`Net.objective`), or else binary cross-entropy on the labelled frames (cross-entropy with
    flags for a semantic model), plus, if weighted, a soft Dice term and the audio-visual matching term L_AVM. Over several
    processes each frame weighs the same wherever it lies, so the gradient is that of one process with the whole batch.

    Args:
        model: Name in the catalogue, or "package.module.Class" of one's own `Net`.
        options: Arguments of `create_model`, or of that class.
        learning_rate: Learning rate of Adam; constant as in the reference unless `schedule`.
        weight_decay: Decoupled (AdamW) if not 0.
        decay_norms: Whether the weight decay is that of norms, embeddings and Swin's biases of position, too.
        schedule: "constant", or to zero over the run after `warmup` steps: "cosine", or "poly", 0.9 its power.
        warmup: Steps of linear increase.
        matching: A name of `losses.RELEASED`, or None for no L_AVM.
        matching_weight: λ of L_AVM.
        attention_weight: Weight of the attention term, which tells TPAVI's attention where the sound is.
        dice_weight: Weight of the soft Dice term, which keeps small objects from being lost among the background.
        class_weights: Weight of each class in a semantic model's cross-entropy; alike unless given.
        keep_maps: Folder where what the backbone makes of each picture, and a frozen audio encoder of each sound, is computed
            once and kept: the backbone then stays as it is. For data that come again unchanged, so without augmentation.
        freeze_audio: Keep the audio encoder as it is, in eval mode, as the reference does with VGGish.
        freeze_norms: Keep the statistics of batch norms; several processes then equal one exactly.
        checkpoint_backbone: Recompute the backbone's activations in the backward pass: less memory, about a third more time.
        channels_last: Keep the channels of a pixel together, which is faster on most devices.
        compile: Run the model through `torch.compile`; "reduce-overhead" replays CUDA graphs, "max-autotune" tries kernels.
        backbone_weights: File of ImageNet weights for the backbone, a name of `sonomask weights`, or "pretrained" for those
            of timm; see `backbones.load_backbone`.
        audio_weights: VGGish's file, "vggish" for the public one, that of a smaller encoder (`recipes/real_world.py` makes
            one), or a model whose encoder to take: `world_duo.real` for `audio: tagger`.
        init_from: Model folder (or name) whose weights to start from, e.g. S4's for MS3.
        init_part: Take from there only the tensors whose names and shapes agree, e.g. of another head or fusion.
        backbone_rate: Factor on the learning rate for the backbone; below 1 where it starts from trained weights.
        audio_rate: The same for the audio encoder.
        freeze_backbone: Epochs from the first in which the backbone's weights stay as they are; it is run and its batch
            norms' statistics move, as in AVSegFormer.
        adversary_rate: Factor on the learning rate for what plays against the model (iGAN's discriminator, LGVT's energy).
        optimizer: "adam" (with `weight_decay` decoupled) or "sgd" with momentum 0.9.
        betas: Betas of Adam.
        protocols: Scoring protocols of validation; the first chooses the best epoch by mIoU.
        metrics: Paths of metrics of one's own (`own_metrics.OwnMetrics`), which validation logs as `val/NAME`.
        seed: Seed of whatever is random in a step; each epoch starts from (seed, epoch).
    """

    def __init__(
        self,
        model: str = "avs_resnet50",
        options: Mapping[str, Any] | None = None,
        *,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        decay_norms: bool = True,
        schedule: Literal["constant", "cosine", "poly"] = "constant",
        warmup: int = 0,
        matching: str | None = None,
        matching_weight: float = 0.5,
        attention_weight: float = 0.0,
        dice_weight: float = 0.0,
        class_weights: list[float] | None = None,
        keep_maps: str | None = None,
        freeze_audio: bool = True,
        freeze_norms: bool = False,
        checkpoint_backbone: bool = False,
        channels_last: bool = True,
        compile: bool | Literal["default", "reduce-overhead", "max-autotune"] = False,  # noqa: A002 - the word of torch
        backbone_weights: str | None = None,
        audio_weights: str | None = None,
        init_from: str | None = None,
        init_part: bool = False,
        backbone_rate: float = 1.0,
        audio_rate: float = 1.0,
        freeze_backbone: int = 0,
        adversary_rate: float = 1.0,
        optimizer: Literal["adam", "sgd"] = "adam",
        betas: tuple[float, float] = (0.9, 0.999),
        protocols: tuple[str, ...] = ("avsbench",),
        metrics: tuple[str, ...] = (),
        seed: int = 123,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.hp: Any = self.hparams
        self.model: Any = build(model, options or {})
        self._check_parts()
        if class_weights is not None and len(class_weights) != self.model.config.num_classes:
            raise ValueError(
                f"`class_weights`: expected {self.model.config.num_classes}, one for each class, got {len(class_weights)}."
            )
        if backbone_weights:
            load_backbone(self.model, backbone_weights)
        encoder = self.model.part("audio")
        if audio_weights and encoder is not None:
            own = encoder.state_dict()  # VCT's VGGish ends before the embeddings, an encoder has no names to tell
            audio_weights = fetch(audio_weights)
            given = ear_weights(audio_weights)
            given = {k: v for k, v in given.items() if k in own or not k.startswith(("embeddings.", "head."))}
            fill(encoder, given, source=audio_weights)
        if init_from:
            put = fill_agreeing if init_part else fill
            put(self.model, load(init_from).state_dict(), source=init_from)
        begun = {"backbone": backbone_weights, "audio": audio_weights, "all": init_from}
        told = ", ".join(f"{part} from {name}" for part, name in begun.items() if name) or "random weights"
        self.model.config = replace(self.model.config, about=f"Trained by `sonomask train`; began with {told}.")
        self.model.started()
        use_fast_depthwise(self.model)
        if checkpoint_backbone:
            self._recompute()
        if channels_last:
            for weight in self.model.parameters():
                if weight.ndim == 4:  # torch refuses a whole model that has 3-D convolutions
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.frozen_audio = encoder if freeze_audio and self.model.keeps_audio else None
        if self.frozen_audio is not None:
            self.frozen_audio.requires_grad_(requires_grad=False)
        self.kept = keep(self.model, keep_maps) if keep_maps else []
        mode = compile if isinstance(compile, str) else None
        self.run = torch.compile(self.model, mode=mode) if compile else self.model
        self.total: int | None = None  # steps of the schedule
        self.began: int | None = None  # the same of the run that goes on
        self.scores = metrics_of(self.model.config, protocols)
        self.own_scores = OwnMetrics(metrics)

    def _check_parts(self) -> None:
        """Refuse an option for a part that the model has not.

        Raises:
            ValueError: Names the option and the parts that the model has.
        """
        for option, (part, default) in PART_OPTIONS.items():
            if self.hp[option] != default:
                self.model.needed_part(part, option)
        if self.hp.checkpoint_backbone and not self.model.recomputable:
            raise ValueError(
                f"`checkpoint_backbone`: {self.model.config.name} has no network whose activations can be recomputed. "
                "Leave the option out."
            )

    def _recompute(self) -> None:
        """Keep no activations of the pictures' networks for the backward pass."""
        for place in self.model.recomputable:
            net = self.model.get_submodule(place)
            net.set_grad_checkpointing()
            for layer in net.modules():  # before timm 1.0.31 a ReLU by itself overwrote what is needed to recompute
                if isinstance(layer, nn.ReLU):
                    layer.inplace = False

    def forward(self, batch: Batch) -> Output:
        """The model's output for a batch."""
        return self.run(**batch.inputs(self.model.config))

    def on_train_start(self) -> None:
        """Freeze parameters that are not trained; a run resumed within an epoch skips the epoch's start.

        Whoever uses the model later gives each frame the sound that it had here.
        """
        self._freeze()
        pairing = getattr(self.trainer.datamodule, "pairing", None)  # type: ignore[attr-defined]
        if pairing is not None:
            self.model.config = replace(self.model.config, pairing=pairing)

        self._same_schedule()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the model's config, by which `convert` makes a folder of it, and the length of the schedule."""
        checkpoint[OWN] = format_config(self.model.config)
        checkpoint[STEPS] = self.total
        checkpoint[EPOCHS] = self.trainer.max_epochs

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the length that the schedule began with."""
        self.began = checkpoint.get(STEPS)

    def _same_schedule(self) -> None:
        if self.began not in (None, self.total) and self.hp.schedule != "constant":
            raise TrainingError(
                f"`--resume`: the {self.hp.schedule} schedule was laid out over {self.began} steps, this run has "
                f"{self.total}, so the rate would jump. Resume with as many epochs as before; to train longer start a new "
                "run from its weights (--model.init_from OUT/best)."
            )

    def on_train_epoch_start(self) -> None:
        """Freeze again, since validation may have changed the mode."""
        self._freeze()

    def _freeze(self) -> None:
        for module in self.model.modules():
            if self.hp.freeze_norms and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        if self.frozen_audio is not None:
            self.frozen_audio.eval()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the frozen backbone's gradients away: Adam then leaves its weights alone, their decay included.

        `requires_grad` would save time, but several processes must agree on which gradients there are.
        """
        if self.current_epoch < self.hp.freeze_backbone:
            for weight in self.model.part("backbone").parameters():
                weight.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients, with a fused optimiser in bfloat16 too, which Lightning refuses as if there were a scaler."""
        if self._scaled() or not gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        clip(weights, gradient_clip_val, gradient_clip_algorithm)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed each step by (seed, epoch, step, process) only, so that a resumed run repeats it."""
        place = (self.hp.seed * 1_000_003 + self.current_epoch) * 1_000_003 + batch_idx
        torch.manual_seed((place * 1_009 + self.global_rank) % 2**63)
        total = self.trainer.estimated_stepping_batches
        self.model.progress = min(1.0, self.global_step / total) if total else 0.0

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of a batch."""
        if not torch.isfinite(batch.logmel).all():
            clips = [n for n, x in zip(batch.names, batch.logmel, strict=False) if not torch.isfinite(x).all()]
            raise DatasetError(
                f"The sound of {', '.join(clips)} holds NaN or infinity. Check it with `sonomask doctor`."
            )
        # whoever uses the model later gives it pictures of this size
        self.model.config = replace(self.model.config, image_size=(batch.images.shape[-2], batch.images.shape[-1]))
        terms = self.model.objective(batch) or self.terms(self(batch), batch)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            values = ", ".join(f"{name} {value.item():.3g}" for name, value in terms.items())
            raise TrainingError(
                f"The loss of step {self.global_step} is not finite ({values}; clips {', '.join(batch.names)}). "
                "Lower the learning rate or the precision's error (--trainer.precision 32)."
            )
        self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()}, batch_size=len(batch.images))
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.images))
        return loss * self._share(batch) * self._accumulated(index)

    def terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Each term, weighted."""
        if self.model.config.semantic:
            given = self.hp.class_weights
            weights = None if given is None else output.logits.new_tensor(given, dtype=torch.float32)
            frames = batch.valid & batch.labelled
            terms = {"cross_entropy": losses.cross_entropy(output.logits, batch.masks, frames, weights)}
        else:
            terms = {"bce": losses.binary_cross_entropy(output.logits, batch.masks, batch.labelled)}
        if self.hp.dice_weight:
            terms["dice"] = self.hp.dice_weight * losses.dice(output.logits, batch.masks, batch.labelled)
        if self.hp.attention_weight:
            terms["attention"] = self.hp.attention_weight * losses.attention(output, batch.masks, batch.labelled)
        if self.hp.matching:
            # the semantic reference takes the frames that have a mask, the binary ones all that exist
            frames = batch.valid & batch.labelled if self.model.config.num_classes > 1 else batch.valid
            value = losses.matching(output, frames, variant=self.hp.matching)
            terms["matching"] = self.hp.matching_weight * value
        return terms

    def _share(self, batch: Batch) -> Tensor | float:
        """Factor that turns the mean over this process's labelled frames into its part of the mean over all processes."""
        if self.trainer.world_size == 1:
            return 1.0
        mine = batch.labelled.sum().float()
        everyone: Any = self.all_gather(mine)
        return mine * self.trainer.world_size / everyone.sum().clamp(min=1)

    def _accumulated(self, index: int) -> float:
        """Lightning divides by the batches of a whole group; the last group of an epoch may have fewer."""
        whole = self.trainer.accumulate_grad_batches
        left = self.trainer.num_training_batches - (index - index % whole)
        return whole / min(whole, left)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Score a batch."""
        self._score(batch, index)

    def test_step(self, batch: Batch, index: int) -> None:
        """Score a batch."""
        self._score(batch, index)

    def _score(self, batch: Batch, index: int) -> None:
        output = self(batch)
        if not torch.isfinite(output.logits).all():
            raise TrainingError(
                f"After step {self.global_step} the model's scores are not finite (clips {', '.join(batch.names)}). Lower the "
                "learning rate or the precision's error (--trainer.precision 32)."
            )
        size = self.trainer.datamodule.eval_batch_size  # type: ignore[attr-defined]
        first = index * size * self.trainer.world_size + self.global_rank
        places = torch.arange(len(batch.images), device=self.device) * self.trainer.world_size + first
        logits = output.logits if self.model.config.semantic else output.logits[:, :, 0]
        self.scores.update(
            logits.float(), batch.masks, labelled=batch.labelled, valid=batch.valid, indices=places,
            categories=batch.categories,
        )  # fmt: skip
        self.own_scores.update(output.logits.float(), batch)

    def on_validation_epoch_end(self) -> None:
        """Publish the scores; `val/miou` chooses the best epoch."""
        self._publish("val")

    def on_test_epoch_end(self) -> None:
        """Publish the scores."""
        self._publish("test")

    def _publish(self, split: str) -> None:
        values = self.scores.compute()
        self.scores.reset()
        first = next(key for key in values if key.endswith("miou"))
        values |= self.own_scores.compute()
        self.log_dict({f"{split}/{key}": float(value) for key, value in values.items()}, sync_dist=False)
        self.log(f"{split}/miou", float(values[first]), prog_bar=True, sync_dist=False)

    def _scaled(self) -> bool:
        """Whether a float16 gradient scaler is in use."""
        try:
            return bool(self.trainer.precision == "16-mixed")
        except RuntimeError:  # of Lightning: there is no trainer
            return False

    def configure_optimizers(self) -> Any:
        """Adam as in the reference, and its schedule."""
        wanted: Any = [p for p in self.model.parameters() if p.requires_grad]
        rate, decay = self.hp.learning_rate, self.hp.weight_decay
        for part in ("backbone", "audio", "adversary"):
            scale = self.hp[f"{part}_rate"]
            if scale != 1:
                own = {id(p) for p in self.model.part(part).parameters()}
                wanted = wanted if isinstance(wanted[0], dict) else [{"params": wanted}]
                apart = [p for p in wanted[0]["params"] if id(p) in own]
                wanted[0]["params"] = [p for p in wanted[0]["params"] if id(p) not in own]
                wanted.append({"params": apart, "lr": scale * rate})
        if not self.hp.decay_norms:
            groups = wanted if isinstance(wanted[0], dict) else [{"params": wanted}]
            wanted = split_by_decay(self.model, groups)
        if self.hp.optimizer == "sgd":
            optimizer: Any = torch.optim.SGD(wanted, rate, momentum=0.9, weight_decay=decay)
        else:
            kind = torch.optim.AdamW if decay else torch.optim.Adam
            # a fifth of the time on a CPU, and one launch for many weights on CUDA; not where a scaler of float16 has to clip
            # gradients before the step
            fused = self.device.type in ("cuda", "cpu") and not self._scaled()
            optimizer = kind(wanted, rate, weight_decay=decay, betas=tuple(self.hp.betas), fused=fused)
        if self.hp.schedule == "constant" and not self.hp.warmup:
            return optimizer
        total = self.total = max(1, int(self.trainer.estimated_stepping_batches))

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / max(1, self.hp.warmup))
            done = min(1.0, step / total)
            falls = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "poly": (1 - done) ** 0.9, "constant": 1.0}
            return rise * falls[self.hp.schedule]

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

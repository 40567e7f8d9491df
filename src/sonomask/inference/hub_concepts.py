"""Networks of Hugging Face's transformers that find things by free words: SAM 3, or boxes by one and masks by SAM 2.

Each picture is looked at by itself, so memory does not grow with the length of a video, and what appears is found at once; ids
over time are the tracker's (`sonomask.outputs.tracks`). Only safetensors are read, and no code from the hub is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from sonomask.errors import MissingExtraError, WeightsError
from sonomask.inference.concepts import Concepts, Found, Tracks
from sonomask.inference.torch_scorer import choose_device

__all__ = ["BoxesAndMasks", "Sam3", "check_release", "kind_of", "load_concepts", "load_network", "load_tracks"]

MOST = 20  # things of a picture
BOX_SCORE = {"owlv2": 0.15, "owlvit": 0.1}  # least score of a box, by the kind of network; 0.3 for others
SAM3_SCORE = 0.5
TRACKERS = {"sam2_video": "Sam2VideoModel", "edgetam_video": "EdgeTamVideoModel"}
"""Classes of transformers by the kind of a network that follows."""


def load_concepts(names: Sequence[str], device: str = "auto") -> Concepts:
    """The networks of these folders or hub repositories: one that does both, or one for boxes and one for masks.

    Raises:
        WeightsError: One can't be read, or is of a kind that can't do this.
        ValueError: There is no such device.
        MissingExtraError: transformers is not installed, or too old.
    """
    place = choose_device(device)
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError("Open vocabulary", "open") from error
    if len(names) == 1:
        kind = kind_of(names[0])
        if kind not in ("sam3", "sam3_video"):
            raise WeightsError(
                f"{names[0]}: expected SAM 3, which finds and outlines by words, got {kind}. Give two with a comma between "
                "them: one for boxes (Grounding DINO, OWLv2) and one for masks (SAM 2)."
            )
        check_release("Sam3Model")
        return Sam3(names[0], *load_network(names[0], transformers.Sam3Model, transformers.Sam3Processor, place), place)
    if len(names) != 2:
        raise ValueError(f"`model`: expected one or two names after 'open:', got {len(names)}.")
    kind = kind_of(names[1])
    if kind not in ("sam2", "sam2_video"):
        raise WeightsError(f"{names[1]}: expected SAM 2 for the masks, got {kind}.")
    check_release("Sam2Model")
    boxes = load_network(names[0], transformers.AutoModelForZeroShotObjectDetection, transformers.AutoProcessor, place)
    masks = load_network(names[1], transformers.Sam2Model, transformers.Sam2Processor, place)
    return BoxesAndMasks(" and ".join(names), boxes, masks, place)


def load_tracks(names: Sequence[str], device: str = "auto") -> Tracks:
    """The networks of these folders or hub repositories that find by words and follow: SAM 3, or two, for boxes and to follow.

    Raises:
        WeightsError: One can't be read, or is of a kind that can't do this.
        ValueError: There is no such device, or it is neither one name nor two.
        MissingExtraError: transformers is not installed, or too old.
    """
    place = choose_device(device)
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError("Open vocabulary", "open") from error
    from sonomask.inference.hub_tracks import Following, Sam3Video

    if len(names) not in (1, 2):
        raise ValueError(
            "`model`: expected one name after 'open-tracked:' (SAM 3) or two, for boxes and to follow, got "
            f"{len(names)}."
        )
    kind = kind_of(names[-1])
    if len(names) == 1:
        if kind != "sam3_video":
            raise WeightsError(
                f"{names[0]}: expected SAM 3 for videos, which finds by words and follows, got {kind}. Give two with a comma "
                "between them: one for boxes (Grounding DINO, OWLv2) and one to follow (SAM 2, EdgeTAM)."
            )
        check_release("Sam3VideoModel")
        return Sam3Video(
            names[0],
            *load_network(names[0], transformers.Sam3VideoModel, transformers.Sam3VideoProcessor, place),
            place,
        )
    if kind not in TRACKERS:
        raise WeightsError(f"{names[1]}: expected SAM 2 or EdgeTAM with a memory for videos, got {kind}.")
    check_release(TRACKERS[kind])
    boxes = load_network(names[0], transformers.AutoModelForZeroShotObjectDetection, transformers.AutoProcessor, place)
    tracker = load_network(names[1], getattr(transformers, TRACKERS[kind]), transformers.Sam2VideoProcessor, place)
    return Following(" and ".join(names), boxes, tracker, place)


class Sam3:
    """SAM 3 on single pictures, asked one word after the other; the picture is encoded once.

    Args:
        name: Name for manifests.
        model: `Sam3Model`.
        processor: `Sam3Processor`.
        device: Device that it is on.
    """

    def __init__(self, name: str, model: Any, processor: Any, device: torch.device) -> None:
        self.name, self.model, self.processor, self.place = name, model, processor, device
        self.device = str(device)

    def to(self, device: str) -> Sam3:
        """The same on another device."""
        place = choose_device(device)
        return Sam3(self.name, self.model.to(place), self.processor, place)

    def __call__(self, picture: UInt8[np.ndarray, "H W 3"], words: Sequence[str]) -> list[Found]:
        """The things of a picture that some of the words mean."""
        size = [picture.shape[:2]]
        with torch.inference_mode(), memory_told():
            seen = self.processor(images=picture, return_tensors="pt").to(self.place)
            encoded = self.model.get_vision_features(pixel_values=seen["pixel_values"])
            found = []
            for place, word in enumerate(words):
                text = self.processor(text=word, return_tensors="pt").to(self.place)
                output = self.model(
                    vision_embeds=encoded, input_ids=text["input_ids"], attention_mask=text["attention_mask"]
                )
                (made,) = self.processor.post_process_instance_segmentation(
                    output, threshold=SAM3_SCORE, mask_threshold=0.5, target_sizes=size
                )
                scores, masks = made["scores"].float().cpu().numpy(), made["masks"].bool().cpu().numpy()
                found += [Found(place, float(s), m) for s, m in zip(scores, masks, strict=True) if m.any()]
        return sorted(found, key=lambda one: -one.score)[:MOST]


class BoxesAndMasks:
    """Boxes by a detector that takes words, and masks of them by SAM 2.

    Args:
        name: Name for manifests.
        boxes: A zero-shot detector and its processor.
        masks: `Sam2Model` and its processor.
        device: Device that they are on.
    """

    def __init__(self, name: str, boxes: tuple[Any, Any], masks: tuple[Any, Any], device: torch.device) -> None:
        self.name, self.boxes, self.masks, self.place = name, boxes, masks, device
        self.device = str(device)

    def to(self, device: str) -> BoxesAndMasks:
        """The same on another device."""
        place = choose_device(device)
        boxes, masks = ((model.to(place), processor) for model, processor in (self.boxes, self.masks))
        return BoxesAndMasks(self.name, boxes, masks, place)

    def __call__(self, picture: UInt8[np.ndarray, "H W 3"], words: Sequence[str]) -> list[Found]:
        """The things of a picture that some of the words mean."""
        with torch.inference_mode(), memory_told():
            rows = self.find_boxes(picture, words)
            if not rows:
                return []
            model, processor = self.masks
            given = processor(images=picture, input_boxes=[[box for *_, box in rows]], return_tensors="pt")
            sizes = given["original_sizes"]
            output = model(**given.to(self.place), multimask_output=False)
            (masks,) = processor.post_process_masks(output.pred_masks.cpu(), sizes)
        outlined = masks[:, 0].bool().numpy()
        return [Found(word, score, m) for (word, score, _), m in zip(rows, outlined, strict=True) if m.any()]

    def find_boxes(
        self, picture: UInt8[np.ndarray, "H W 3"], words: Sequence[str]
    ) -> list[tuple[int, float, list[float]]]:
        """(place of the word, score, box), the surest first."""
        model, processor = self.boxes
        given = processor(text=[list(words)], images=picture, return_tensors="pt", padding=True).to(self.place)
        output = model(**given)
        least = BOX_SCORE.get(model.config.model_type, 0.3)
        options: dict[str, Any] = {"threshold": least, "target_sizes": [picture.shape[:2]]}
        if model.config.model_type.startswith("owl"):
            (made,) = processor.post_process_grounded_object_detection(output, **options)
            places = [int(label) for label in made["labels"]]
        else:
            options |= {"input_ids": given["input_ids"], "text_threshold": least}
            (made,) = processor.post_process_grounded_object_detection(output, **options)
            places = [_word_of(str(label), words) for label in made["text_labels"]]
        limits = np.array([picture.shape[1], picture.shape[0]] * 2, np.float32)
        rows = []
        for place, score, box in zip(places, made["scores"].tolist(), made["boxes"].float().cpu().numpy(), strict=True):
            box = np.clip(box, 0, limits)
            if place >= 0 and box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                rows.append((place, float(score), box.tolist()))
        return sorted(rows, key=lambda row: -row[1])[:MOST]


class memory_told:  # noqa: N801 - a context manager
    """Raise `MemoryError` if the device has too little memory."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, torch.OutOfMemoryError):
            raise MemoryError("too little memory") from error  # noqa: TRY004 - as scorers tell of it


def _word_of(label: str, words: Sequence[str]) -> int:
    """Index of the word that a label stands for (a detector may return a part of it, or two together); -1 for none."""
    label = label.lower().strip()
    exact = [i for i, word in enumerate(words) if word.lower() == label]
    parts = [i for i, word in enumerate(words) if label and (label in word.lower() or word.lower() in label)]
    return next(iter([*exact, *parts]), -1)


def check_release(name: str) -> None:
    """Make sure that transformers has a class.

    Raises:
        MissingExtraError: It is too old.
    """
    import transformers

    if not hasattr(transformers, name):
        raise MissingExtraError(f"{name} (transformers {transformers.__version__} has none)", "open")


def kind_of(name: str) -> str:
    """The kind of the network of a folder or hub repository, as its config names it.

    Raises:
        WeightsError: It can't be read.
    """
    from transformers import AutoConfig

    try:
        return str(AutoConfig.from_pretrained(name, trust_remote_code=False).model_type)
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error


def load_network(name: str, model: Any, processor: Any, device: torch.device) -> tuple[Any, Any]:
    """A network and its processor, by their classes.

    Raises:
        WeightsError: They can't be read.
    """
    try:
        loaded = model.from_pretrained(name, use_safetensors=True, trust_remote_code=False).eval().to(device)
        return loaded, processor.from_pretrained(name, trust_remote_code=False)  # unless told so, it asks the terminal
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"{name}: can't be read as a network of transformers. Where it lies on the hub, a network is needed once, and for "
        f"facebook/sam3 a token (`hf auth login`) of an account that was granted it ({' '.join(str(error).split())[:200]})."
    )

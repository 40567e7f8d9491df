"""Things followed from picture to picture by SAM 2, EdgeTAM or SAM 3, in windows, so that memory does not grow with the video.

A session of transformers keeps every frame and, for every thing, what it knew of it in every frame. So each session here ends
with its window, and the next begins from what is handed on: the last picture, which both windows share, and the masks in it.
For SAM 2 and EdgeTAM a finder of boxes looks at the first picture of each window, and what it finds in a place where nothing
is followed yet is a new thing; SAM 3 looks for new things in every picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from sonomask.inference import hub_concepts
from sonomask.inference.concepts import WINDOW, Carried, Tracked
from sonomask.inference.hub_concepts import BoxesAndMasks, memory_told
from sonomask.inference.torch_scorer import choose_device

__all__ = ["Following", "Sam3Video"]

SAME = 0.5  # IoU of boxes from which on a found thing is one that is followed


class _InWindows:
    """The loop over windows that all followers share."""

    def follow(
        self, pictures: UInt8[np.ndarray, "T H W 3"], words: Sequence[str], before: Carried | None = None
    ) -> tuple[list[list[Tracked]], Carried]:
        """The things of each picture, and what the next pictures need to go on from these.

        Args:
            pictures: Consecutive ones of a video.
            words: What is looked for; things that were found by other words are followed no longer.
            before: What the last call handed on; None at the start of a video.
        """
        frames: list[list[Tracked]] = []
        carried = before or Carried(None, (), 0)
        for part in np.array_split(pictures, math.ceil(len(pictures) / WINDOW)):  # of one length, not a short rest
            found, carried = self._window(part, words, carried)
            frames += found
        return frames, carried

    def _window(
        self, pictures: UInt8[np.ndarray, "T H W 3"], words: Sequence[str], before: Carried
    ) -> tuple[list[list[Tracked]], Carried]:
        raise NotImplementedError


class Following(_InWindows):
    """Boxes by a detector that takes words, and things followed from them by SAM 2 or EdgeTAM.

    Args:
        name: Name for manifests.
        boxes: A zero-shot detector and its processor.
        tracker: `Sam2VideoModel` or `EdgeTamVideoModel`, and its processor.
        device: Device that they are on.
    """

    def __init__(self, name: str, boxes: tuple[Any, Any], tracker: tuple[Any, Any], device: torch.device) -> None:
        self.name, self.boxes, self.tracker, self.place = name, boxes, tracker, device
        self.device = str(device)
        self.finder = BoxesAndMasks(name, boxes, tracker, device)

    def to(self, device: str) -> Following:
        """The same on another device."""
        place = choose_device(device)
        boxes, tracker = ((model.to(place), processor) for model, processor in (self.boxes, self.tracker))
        return Following(self.name, boxes, tracker, place)

    def _window(
        self, pictures: UInt8[np.ndarray, "T H W 3"], words: Sequence[str], before: Carried
    ) -> tuple[list[list[Tracked]], Carried]:
        with torch.inference_mode(), memory_told():
            things = self._brought(pictures[0], [one for one in before.things if one.word in words], before.picture)
            things, next_id = self._joined(pictures[0], things, words, before.next_id)
            masks = self._run(pictures, masks=[one.mask for one in things])
        frames = [
            [one._replace(mask=mask) for one, mask in zip(things, row, strict=True) if mask.any()] for row in masks
        ]
        return frames, Carried(pictures[-1].copy(), tuple(frames[-1]), next_id)

    def _brought(
        self, picture: UInt8[np.ndarray, "H W 3"], things: Sequence[Tracked], before: UInt8[np.ndarray, "H W 3"] | None
    ) -> list[Tracked]:
        """The tracked things in this picture; things that have left are dropped."""
        if not things or before is None or before.shape != picture.shape:
            return []
        here = self._run(np.stack([before, picture]), masks=[one.mask for one in things])[1]
        return [one._replace(mask=mask) for one, mask in zip(things, here, strict=True) if mask.any()]

    def _joined(
        self, picture: UInt8[np.ndarray, "H W 3"], things: list[Tracked], words: Sequence[str], next_id: int
    ) -> tuple[list[Tracked], int]:
        """With the new things of a picture, each under an id that no thing had, as long as there are not too many."""
        known = [_box(one.mask) for one in things]
        new = [
            row for row in self.finder.find_boxes(picture, words) if all(_overlap(row[2], box) < SAME for box in known)
        ]
        new = new[: max(0, hub_concepts.MOST - len(things))]
        if not new:
            return things, next_id
        (masks,) = self._run(picture[None], boxes=[box for *_, box in new])
        for (word, score, _), mask in zip(new, masks, strict=True):
            if mask.any():
                things, next_id = [*things, Tracked(next_id, words[word], score, mask)], next_id + 1
        return things, next_id

    def _run(
        self,
        pictures: UInt8[np.ndarray, "T H W 3"],
        masks: Sequence[Bool[np.ndarray, "H W"]] = (),
        boxes: Sequence[Sequence[float]] = (),
    ) -> list[list[Bool[np.ndarray, "H W"]]]:
        """For each picture the mask of each thing that is prompted in the first, by masks or by boxes."""
        count = len(masks) or len(boxes)
        if not count:
            return [[] for _ in pictures]
        model, processor = self.tracker
        session = processor.init_video_session(
            video=list(pictures), inference_device=self.place, dtype=next(model.parameters()).dtype
        )
        # all at once: what a second call adds would make the first one's things look old
        prompts: dict[str, Any] = {"input_masks": list(masks)} if masks else {"input_boxes": [list(map(list, boxes))]}
        processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=list(range(count)), **prompts)
        size = [list(pictures.shape[1:3])]
        found: list[list[Bool[np.ndarray, "H W"]]] = []
        outputs = [model(session, frame_idx=0)]
        if len(pictures) > 1:
            outputs = model.propagate_in_video_iterator(session, start_frame_idx=0)
        for output in outputs:
            logits = output.pred_masks.float().cpu()
            (row,) = processor.post_process_masks([logits], original_sizes=size, binarize=True)
            found.append([mask.numpy().astype(bool) for mask in row[:, 0]])
        return found


class Sam3Video(_InWindows):
    """SAM 3, which finds things by words in every picture and follows them.

    Args:
        name: Name for manifests.
        model: `Sam3VideoModel`.
        processor: `Sam3VideoProcessor`.
        device: Device that it is on.
    """

    def __init__(self, name: str, model: Any, processor: Any, device: torch.device) -> None:
        self.name, self.model, self.processor, self.place = name, model, processor, device
        self.device = str(device)
        model.max_num_objects = hub_concepts.MOST  # else ten thousand, all of which are kept

    def to(self, device: str) -> Sam3Video:
        """The same on another device."""
        place = choose_device(device)
        return Sam3Video(self.name, self.model.to(place), self.processor, place)

    def _window(
        self, pictures: UInt8[np.ndarray, "T H W 3"], words: Sequence[str], before: Carried
    ) -> tuple[list[list[Tracked]], Carried]:
        same = before.picture is not None and before.picture.shape == pictures.shape[1:]
        things = [one for one in before.things if same and one.word in words]
        shown = [before.picture, *pictures] if things else list(pictures)
        with torch.inference_mode(), memory_told():
            session = self.processor.init_video_session(
                video=shown, inference_device=self.place, video_storage_device="cpu", dtype=self.model.dtype
            )
            self.processor.add_text_prompt(session, list(words))
            session.max_obj_id = before.next_id - 1
            if things:
                self._hand_on(session, things, words)
            frames = []
            for output in self.model.propagate_in_video_iterator(session, start_frame_idx=int(bool(things))):
                made = self.processor.postprocess_outputs(session, output)
                named = {number: word for word, numbers in made["prompt_to_obj_ids"].items() for number in numbers}
                rows = zip(
                    made["object_ids"].tolist(), made["scores"].tolist(), made["masks"].cpu().numpy(), strict=True
                )
                frames.append([Tracked(n, named[n], score, mask) for n, score, mask in rows if mask.any()])
        return frames, Carried(pictures[-1].copy(), tuple(frames[-1]), session.max_obj_id + 1)

    def _hand_on(self, session: Any, things: Sequence[Tracked], words: Sequence[str]) -> None:
        """Tell a new session what is where in its first picture, as it tells itself of what it finds."""
        encoded = self.model.detector_model.get_vision_features(pixel_values=session.get_frame(0).unsqueeze(0))
        features, positions = self.model.get_vision_features_for_tracker(vision_embeds=encoded)
        session.cache.cache_vision_features(0, {"vision_feats": features, "vision_pos_embeds": positions})
        for one in things:
            session.add_mask_inputs(session.obj_id_to_idx(one.id), 0, torch.from_numpy(one.mask)[None, None])
            session.obj_id_to_prompt_id[one.id] = words.index(one.word)
            session.obj_id_to_score[one.id] = one.score
            session.trk_keep_alive[one.id] = self.model.init_trk_keep_alive
            session.obj_first_frame_idx[one.id] = -1 - self.model.hotstart_delay  # it has proved itself already
        session.obj_with_new_inputs = [one.id for one in things]
        self.model.tracker_model(inference_session=session, frame_idx=0, run_mem_encoder=True)


def _box(mask: Bool[np.ndarray, "H W"]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes."""
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    both = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return both / max(areas - both, 1e-9)

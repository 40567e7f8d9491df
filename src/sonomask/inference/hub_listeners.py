"""PE-A-Frame, which hears free words every 40 ms, and PE-AV, which says what of several things fits a sound, of transformers.

Both take sound at 48 kHz. sonomask decodes at 16 kHz, so what lies above 8 kHz is missing from what they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from sonomask.errors import MissingExtraError
from sonomask.inference.concepts import Ears, Fitting
from sonomask.inference.hub_concepts import check_release, kind_of, load_network, memory_told
from sonomask.inference.torch_scorer import choose_device

__all__ = ["PeAudioFrame", "PeAudioVideo", "load_listeners"]

TIMES = 3  # 48 kHz for 16
RATE = 48_000


def load_listeners(names: Sequence[str], device: str = "auto") -> tuple[list[str], Ears | None, Fitting | None]:
    """Those of some networks that listen, and the names of the others.

    Raises:
        WeightsError: One can't be read.
        ValueError: There is no such device, or there are two of a kind.
        MissingExtraError: transformers is not installed, or too old.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError("Open vocabulary", "open") from error
    place, kinds = choose_device(device), {name: kind_of(name) for name in names}
    found: dict[str, Any] = {}
    for kind, made, network in (
        ("pe_audio", PeAudioFrame, "PeAudioFrameLevelModel"),
        ("pe_audio_video", PeAudioVideo, "PeAudioVideoModel"),
    ):
        own = [name for name in names if kinds[name] == kind]
        if len(own) > 1:
            raise ValueError(f"`model`: expected one network of the kind {kind}, got {', '.join(own)}.")
        if own:
            check_release(network)
            loaded = load_network(own[0], getattr(transformers, network), transformers.AutoProcessor, place)
            found[kind] = made(own[0], *loaded, place)
    others = [name for name in names if kinds[name] not in ("pe_audio", "pe_audio_video")]
    return others, found.get("pe_audio"), found.get("pe_audio_video")


class PeAudioFrame:
    """PE-A-Frame.

    Args:
        name: Name for manifests.
        model: `PeAudioFrameLevelModel`.
        processor: `PeAudioProcessor`.
        device: Device that it is on.
    """

    def __init__(self, name: str, model: Any, processor: Any, device: torch.device) -> None:
        self.name, self.model, self.processor, self.place = name, model, processor, device
        self.device = str(device)
        self.known: dict[str, Tensor] = {}  # what was made of each word

    def to(self, device: str) -> PeAudioFrame:
        """The same on another device."""
        place = choose_device(device)
        return PeAudioFrame(self.name, self.model.to(place), self.processor, place)

    def __call__(self, sound: Float32[np.ndarray, " S"], words: Sequence[str]) -> Float32[np.ndarray, "W F"]:
        """How surely each word is heard every 40 ms, 0 to 1."""
        with torch.inference_mode(), memory_told():
            values, mask = _as_given(self.processor, sound, self.place)
            heard = self.model.get_audio_embeds(values, mask)[0]
            logits = heard @ self._embedded(words).T
            logits = logits * self.model.text_audio_logit_scale + self.model.text_audio_logit_bias
            found: Float32[np.ndarray, "W F"] = logits.T.sigmoid().float().cpu().numpy()
        return found

    def _embedded(self, words: Sequence[str]) -> Tensor:
        """Each word as the network compares it; new ones are read."""
        new = [word for word in dict.fromkeys(words) if word not in self.known]
        if new:
            given = self.processor.tokenizer(new, padding=True, return_tensors="pt").to(self.place)
            output = self.model.text_model(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"], output_hidden_states=True
            )
            self.known |= dict(zip(new, self.model.text_audio_head(output.hidden_states[-1][:, 0]), strict=True))
        return torch.stack([self.known[word] for word in words])


class PeAudioVideo:
    """PE-AV.

    Args:
        name: Name for manifests.
        model: `PeAudioVideoModel`.
        processor: `PeAudioVideoProcessor`.
        device: Device that it is on.
    """

    def __init__(self, name: str, model: Any, processor: Any, device: torch.device) -> None:
        self.name, self.model, self.processor, self.place = name, model, processor, device
        self.device = str(device)

    def to(self, device: str) -> PeAudioVideo:
        """The same on another device."""
        place = choose_device(device)
        return PeAudioVideo(self.name, self.model.to(place), self.processor, place)

    def __call__(
        self, crops: Sequence[UInt8[np.ndarray, "T _h _w 3"]], sound: Float32[np.ndarray, " S"]
    ) -> Float32[np.ndarray, " N"]:
        """How well each cut-out of the same moments fits the sound; only differences mean anything."""
        with torch.inference_mode(), memory_told():
            values, mask = _as_given(self.processor, sound, self.place)
            heard = self.model.get_audio_embeds(values, mask)
            videos = [list(crop) for crop in crops]
            given = self.processor.video_processor(videos=videos, return_tensors="pt").to(self.place)
            encoder, head = self.model.video_model.video_encoder, self.model.video_model.video_head
            seen = head(encoder(pixel_values_videos=given["pixel_values_videos"]).pooler_output)
            fit = (heard @ seen.T)[0] * self.model.audio_video_logit_scale + self.model.audio_video_logit_bias
            found: Float32[np.ndarray, " N"] = fit.float().cpu().numpy()
        return found


def _as_given(processor: Any, sound: Float32[np.ndarray, " S"], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Sound of 16 kHz as a network takes it, and which samples there are."""
    count = len(sound)
    faster = np.fft.irfft(np.fft.rfft(sound), TIMES * count).astype(np.float32) * TIMES  # with nothing above 8 kHz
    given = processor.feature_extractor(faster, sampling_rate=RATE, return_tensors="pt").to(device)
    return given["input_values"], given.get("padding_mask")

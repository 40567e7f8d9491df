"""Marks the most audible of the visible things, by matching named things in the picture with named sounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from sonomask.audio.audioset import names
from sonomask.audio.categories import ANIMALS, CATEGORIES, INSTRUMENTS, MUSIC, families, sound_table
from sonomask.audio.logmel import OFFSET
from sonomask.audio.tagger import NAMES, Tagger
from sonomask.batches import Output
from sonomask.models.parts.colours import STRIDE, channel_sum, settle
from sonomask.models.parts.memory import Memory
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.parts.scene import SceneReader
from sonomask.models.record import ModelRecord
from sonomask.structures import STEP, ModelConfig

__all__ = ["World"]

PATCHES = 3
"""Log-mel patches of each frame: its own, and those 0.24 and 0.48 s before."""
AMPLITUDE = 1 / 221  # from the root of a patch's mean mel power to the RMS of its samples, measured on real clips
SILENCE = 0.005  # RMS below which nothing is marked
FAINT = 0.2  # of the loudest so far, below which a sound is taken to come from elsewhere
RECENT = 0.5  # share of what is heard now in what counts as heard; the rest is the mean so far
CERTAIN = 1 / 3  # score of a name at which its category counts fully
ANY_MUSIC = 0.4  # how much any instrument counts in music whose instrument is not recognised
FAMILY = 0.5  # of the best animal's relevance, what each animal gets: a bull is heard as a roaring cat
BESIDE = (
    0.35,
    0.5,
)  # of what is surely heard of another family, the relevance that counts nothing, and that counts fully
SURELY = 4  # power of the other family's relevance, so that what is but half heard takes nothing away
BEYOND = 0.02  # of what a score exceeds `CERTAIN` by, so that of two certain things the surer one is more relevant
PEAK, PEAKS = (
    0.8,
    100,
)  # share of the mean over the best hundredth of all places, the least that a place is compared with
MARK = 0.35  # of the score, above which a pixel is marked
UNKNOWN = 0.07  # relevance of what is seen below which what catches the eye and has no name is marked
NAMED = CATEGORIES.index("object")  # categories of known things; the last one stands for all others
OUT = -8.0  # logit where nothing is marked
SOURCES = [0, 1, 2, 3]  # families whose sure sound is taken from others: people, animals, vehicles, guns
GATED = [0, 1, 2, 5]  # families whose presence the gate knows: people, animals, vehicles, instruments
STATE = 2  # numbers in front of the sums: frames so far, loudest so far


class World(Net):
    """Categories of what is seen, AudioSet's names of what is heard, and a table of which makes which.

        picture → scene readers → share of each category, salience ─┐
        sound → tagger → names now and so far → relevance r ────────┴→ Σ shares·r → logits

    The relevance r of a category is that of its most audible name; each animal gets at least half of the best animal's. A
    sound of one family (people, animals, vehicles, guns) that is heard with certainty lowers the relevance of faint guesses
    at other families, whether its source is in sight or not. A pixel's score is the mean relevance of what it may show,
    relative to that of the most relevant things in the picture, times the probability that it shows any thing. If nothing in
    the picture fits the sound, salient places are marked that belong to none of the categories, since a thing of a category
    would have its own sound. Nothing is marked while the sound is faint compared with the loudest so far. A stream is one
    long clip: `past` holds the number of frames so far, the loudest of them, and the sum of their scores.

    Args:
        config: Travels with the model; what follows from the network is filled in.
        backbone: timm's name of an EfficientNet.
        evidence: Groups of ImageNet's classes that each scene reader reads as evidence, 0 for none. The readers'
            shares are averaged.
        width: Channels of the scene readers' pyramids.
        rank: Rank of the convolutions at the pyramids' finest level, 0 for full ones.
        gate: Whether a small learnt net says how far each category's relevance counts (`Gate`).
        memory: Number of examples that a person's corrections taught it (`parts.memory`), 0 for none.
        colours: Whether places that are unsure are settled by the colours and edges of their own picture (`parts.colours`).
        sides: Relative size at which each scene reader sees the pictures, such as (320, 448): the one with the largest sees
            them as they are, the others see them smaller, by no more than half. All see them as they are unless given.
    """

    parts = Parts(backbone="readers", audio="audio")
    streams = True
    keeps_audio = True

    table: Tensor
    music: Tensor
    instrument: Tensor
    animal: Tensor
    family: Tensor
    watch: Callable[[Tensor, Tensor, Tensor], None] | None = None
    """Function that is told the features of places, the names that are heard and the score of each frame (`teaching`)."""

    def __init__(
        self,
        *,
        config: ModelConfig,
        backbone: str = "tf_efficientnet_lite2",
        evidence: Sequence[int] = (0,),
        width: int = 128,
        rank: int = 0,
        gate: bool = False,
        colours: bool = False,
        memory: int = 0,
        sides: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if sides and (len(sides) != len(evidence) or not 0 < max(sides) <= 2 * min(sides)):
            raise ValueError(
                f"`sides`: expected a size for each of the {len(evidence)} scene readers, none less than half of another, "
                f"got {list(sides)}."
            )
        self.colours, self.sides = colours, tuple(sides)
        self.readers = nn.ModuleList(SceneReader(backbone, len(CATEGORIES), width, groups, rank) for groups in evidence)
        self.audio = Tagger()
        self.gate = Gate() if gate else None
        self.memory = Memory(memory, width * len(evidence), NAMES) if memory else None
        self.register_buffer("table", torch.tensor(sound_table(names())), persistent=False)
        music = torch.tensor([name in MUSIC for name in names()])
        self.register_buffer("music", music, persistent=False)
        instrument = torch.tensor([name in INSTRUMENTS for name in CATEGORIES])
        self.register_buffer("instrument", instrument.float() * ANY_MUSIC, persistent=False)
        animal = torch.tensor([name in ANIMALS for name in CATEGORIES])
        self.register_buffer("animal", animal.float() * FAMILY, persistent=False)
        self.register_buffer("family", torch.tensor(families()).float(), persistent=False)
        self.config = replace(config, things=CATEGORIES, patches=PATCHES)

    def foldable(self) -> list[nn.Module]:
        """The scene readers."""
        return list(self.readers)

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T P 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
        past: Float[Tensor, "B S"] | None = None,
    ) -> Output:
        """Mask logits at the size of the images, what is heard and seen, and the past for the clip that follows.

        Args:
            images: RGB, normalised with `config.mean` and `config.std`; height and width are multiples of 32.
            logmel: Patches of each frame, the latest first; one is enough.
            valid: Frames that exist; the logits of the others are 0.
            past: Past from the clip before, or None at the beginning.
        """
        if logmel is None:
            raise ValueError("`logmel`: this model listens, got None. Give log-mel patches for each frame.")
        shares, salience, places = self.look(images.flatten(0, 1))
        heard = self.hear(logmel, self.start(len(images)).to(images) if past is None else past)
        relevance = self.relevance(heard.names).flatten(0, 1)
        if self.gate is not None:
            relevance = self.gate(shares, relevance)
        score, fits = match(shares, salience, relevance)
        if self.memory is not None:
            score = score + self.memory(F.normalize(places, dim=1), sound_features(heard.names.flatten(0, 1)))
        if self.watch is not None:
            self.watch(places, heard.names.flatten(0, 1), score)
        if self.colours:
            score = settle(score, images.flatten(0, 1))
        logits = torch.where(heard.audible.flatten()[:, None, None, None], score, score.new_tensor(OUT))
        logits = F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
        seen = name_places(shares, relevance, fits)
        shape = images.shape[:2]
        logits = gate(logits.unflatten(0, shape), valid)
        return Output(logits, past=heard.past, heard=heard.names, seen=seen.unflatten(0, shape))

    def see(self, images: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "N 1 h w"]]:
        """The share of each category (background first) and the salience of each place, 0 to 1, at stride 4."""
        return self.look(images)[:2]

    def look(
        self, images: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "N 1 h w"], Float[Tensor, "N F h w"]]:
        """As `see`, and the features of each place from which the readers tell it, of all readers in a row."""
        fine = [side // STRIDE for side in images.shape[-2:]]
        shares: list[Tensor] = []
        salience: list[Tensor] = []
        places: list[Tensor] = []
        for number, reader in enumerate(cast("Iterable[SceneReader]", self.readers)):
            smaller = bool(self.sides) and self.sides[number] < max(self.sides)
            features = reader.features(self._smaller(images, number) if smaller else images)
            found = [_softmax(reader.category(features)), reader.salience(features).sigmoid(), features]
            if smaller:
                found = [F.interpolate(x, size=fine, mode="bilinear", align_corners=False) for x in found]
            for kept, value in zip((shares, salience, places), found, strict=True):
                kept.append(value)
        return _mean(shares), _mean(salience), torch.cat(places, 1)

    def _smaller(self, images: Float[Tensor, "N 3 H W"], number: int) -> Float[Tensor, "N 3 H2 W2"]:
        """The pictures as a reader sees them, at the nearest multiples of 32."""
        side, largest = self.sides[number], max(self.sides)
        size = [(2 * own * side + STEP * largest) // (2 * STEP * largest) * STEP for own in images.shape[-2:]]
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False)

    def hear(self, logmel: Float[Tensor, "B T P 96 64"], past: Float[Tensor, "B S"]) -> Heard:
        """What is heard at each frame, of it and of all before it."""
        batch, time = logmel.shape[:2]
        scores = self.audio(logmel.flatten(0, 2)[:, None]).sigmoid().unflatten(0, logmel.shape[:3]).amax(2)
        power = (logmel[:, :, 0].exp() - OFFSET).clamp(min=0).square().sum(-1).mean(-1)
        loud = power.sqrt() * AMPLITUDE
        index = torch.arange(time, device=logmel.device)
        until = (index[None, :] <= index[:, None]).to(loud.dtype)  # row t holds the frames up to t
        loudest = torch.maximum((loud[:, None] * until).amax(-1), past[:, 1:STATE])
        count = past[:, :1] + (index + 1).to(past.dtype)
        sums = past[:, None, STATE:] + scores.cumsum(1)
        mixed = RECENT * scores + (1 - RECENT) * sums / count[..., None]
        audible = (loud >= SILENCE) & (loud >= FAINT * loudest)
        onward = torch.cat([count[:, -1:], loudest[:, -1:], sums[:, -1]], 1)
        return Heard(mixed, audible, onward.reshape(batch, STATE + NAMES))

    def relevance(self, heard: Float[Tensor, "B T 521"]) -> Float[Tensor, "B T C"]:
        """How well each category fits what is heard, 0 to 1 and a trace more."""
        own = (heard[:, :, None] * self.table).amax(-1) / CERTAIN
        own = own.clamp(max=1) + BEYOND * (own - 1).clamp(min=0)
        best_animal = (own * (self.animal > 0)).amax(-1, keepdim=True)
        music = (heard * self.music).amax(-1, keepdim=True)
        fit = torch.maximum(own, torch.maximum(best_animal * self.animal, music * self.instrument))
        surely = (fit[..., None] * self.family).amax(-2).clamp(max=1)[..., SOURCES] ** SURELY
        other = (surely[..., None, :] * (1 - self.family[:, SOURCES])).amax(-1)
        low, high = BESIDE
        beside: Float[Tensor, "B T C"] = fit * ((fit - low * other) / ((high - low) * other + 1e-6)).clamp(0, 1)
        return beside

    def start(self, streams: int = 1) -> Float[Tensor, "B S"]:
        """The past before a stream's first frame."""
        return torch.zeros(streams, STATE + NAMES)

    def step(
        self,
        images: Float[Tensor, "B 3 H W"],
        logmel: Float[Tensor, "B P 96 64"] | None,
        past: Float[Tensor, "B S"],
        time: float | None = None,
    ) -> tuple[Output, Float[Tensor, "B S"]]:
        """The next frame of a stream: `forward` of a clip of one frame, with the past."""
        output = self(images[:, None], None if logmel is None else logmel[:, None], past=past.to(images))
        onward = output.past
        assert onward is not None  # noqa: S101 - `forward` gives it
        return output, onward


def sound_features(names: Float[Tensor, "N 521"]) -> Float[Tensor, "N 521"]:
    """What the memory compares sounds by, of length 1: roots, so that what is heard faintly counts too."""
    return F.normalize(names.clamp(min=1e-6).sqrt(), dim=-1)


class Gate(nn.Module):
    """The weight of each category's relevance, given the other sounds and what is seen.

    All categories share one small network, so that rare ones profit from common ones; it learns, for example, that a category
    that is seen nowhere with certainty counts a third.
    """

    family: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        self.register_buffer("family", torch.tensor(families()).float(), persistent=False)

    def forward(self, shares: Float[Tensor, "N C h w"], relevance: Float[Tensor, "N C1"]) -> Float[Tensor, "N C1"]:
        """The relevance, times 0 to 2."""
        top = shares[:, 1:].flatten(2).amax(2)  # the surest place of each category
        fit = relevance * top
        best = fit.amax(1, keepdim=True)
        own = torch.stack([relevance, top, fit, fit / (best + 1e-3)], 2)
        seen = (fit @ self.family)[:, GATED]
        scene = torch.cat([relevance.amax(1, keepdim=True), best, seen], 1)[:, None].expand(-1, own.shape[1], -1)
        parts = [own, self.family.expand(own.shape[0], -1, -1), scene]
        factor: Tensor = 2 * self.net(torch.cat(parts, 2))[..., 0].sigmoid()
        return relevance * factor


class Heard(NamedTuple):
    """What is heard at each frame of a clip.

    Attributes:
        names: Score of each of AudioSet's names, 0 to 1.
        audible: Whether the sound is loud enough to come from what is in sight.
        past: Past for the clip that follows.
    """

    names: Float[Tensor, "B T 521"]
    audible: Bool[Tensor, "B T"]
    past: Float[Tensor, "B S"]


def match(
    shares: Float[Tensor, "N C h w"], salience: Float[Tensor, "N 1 h w"], relevance: Float[Tensor, "N C1"]
) -> tuple[Float[Tensor, "N 1 h w"], Bool[Tensor, " N"]]:
    """Logits of each place, and whether anything in sight fits what is heard."""
    background, things = shares[:, :1], shares[:, 1:]
    mean = (relevance[:, None] @ things.flatten(2)).view_as(background) / (1 - background + 1e-3)
    thing = (salience + 1 - background) / 2
    peak = PEAK * _upper_hundredth((mean * thing).flatten(1))
    top = torch.maximum(_upper_tenth(mean.flatten(1), salience.flatten(1)), peak)
    fits = top >= UNKNOWN
    relative = mean / (1.4 * top.clamp(min=UNKNOWN))[:, None, None, None]
    score = thing * relative.clamp(max=1)
    unknown = salience * (background + things[:, NAMED : NAMED + 1])
    logits = torch.where(fits[:, None, None, None], _logit(score) - _logit(salience.new_tensor(MARK)), _logit(unknown))
    return logits, fits


def name_places(
    shares: Float[Tensor, "N C h w"], relevance: Float[Tensor, "N C1"], fits: Bool[Tensor, " N"]
) -> UInt8[Tensor, "N h w"]:
    """The category of each place, in the order of `config.things`: the likeliest of what fits, else of what is there."""
    weight = torch.where(fits[:, None], relevance + 0.02, torch.ones_like(relevance))
    best = (shares[:, 1:] * weight[:, :, None, None]).argmax(1)
    return best.to(torch.uint8)


def _upper_tenth(values: Float[Tensor, "N P"], salience: Float[Tensor, "N P"]) -> Float[Tensor, " N"]:
    """The 90 % quantile of the values of what catches the eye."""
    there = salience > 0.5
    there = there | (~there.any(1, keepdim=True) & (salience >= 0.6 * salience.amax(1, keepdim=True)))
    falling = torch.where(there, values, -torch.ones_like(values)).sort(1, descending=True).values
    place = (there.sum(1, keepdim=True) - 1).to(values.dtype) * 0.1
    low = place.floor()
    pair = torch.cat([low, (low + 1).clamp(max=values.shape[1] - 1)], 1).long()
    first, second = falling.gather(1, pair).unbind(1)
    part = (place - low)[:, 0]
    return torch.where(part > 0, first + (second - first) * part, first)


def _upper_hundredth(values: Float[Tensor, "N P"]) -> Float[Tensor, " N"]:
    """Mean of the highest hundredth of the values."""
    falling = values.sort(1, descending=True).values
    place = torch.arange(values.shape[1], device=values.device)
    among = (place <= values.shape[1] // PEAKS).to(values.dtype)
    return (falling * among).sum(1) / among.sum()


def _softmax(logits: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
    """Softmax over the channels, written out: ONNX Runtime's own moves them to the end and back."""
    powers = (logits - logits.amax(1, keepdim=True)).exp()
    return powers / channel_sum(powers)


def _mean(maps: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, maps) / len(maps)


def _logit(p: Tensor) -> Tensor:
    return torch.logit(p, eps=1e-4)


_LICENCE = "research and demonstration only: some of its training data forbids commercial use"
RECORD = ModelRecord(
    build=World,
    presets={"world": {}, "world_duo": {"evidence": (0, 60)}},
    purpose="marks the named things in sight that make the named sounds; made for real videos",
    paper="this project",
    config={
        "image_size": (320, 320),
        "sizing": "inside",
        "mean": (127 / 255,) * 3,
        "std": (128 / 255,) * 3,
        "clip_length": 1,
        "pairing": "centre",
        "dense": True,
        "recurrent": True,
    },
    licences={"world.real": _LICENCE, "world_duo.real": _LICENCE},
)

"""The values that travel through sonomask, and the one legend of shape letters.

    B  clips in a batch          K  classes (1 for a binary mask)
    T  seconds of a clip         H W  pixels of an image
    N  frames (B·T)              h w  cells of a feature map
    S  samples of a waveform     C  channels
    96×64  a log-mel patch: 0.96 s in steps of 10 ms, 64 mel bands

A *log-mel* patch is the logarithm of a mel-scaled spectrogram; *logits* are scores before the sigmoid or softmax.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from sonomask.schemas import VERSION

__all__ = ["Masks", "ModelConfig", "ModelOrigin", "Names", "Pairing", "opacity"]

Pairing = Literal["avsbench", "end", "centre"]
"""Which 0.96 s of sound belong to a frame: patch i to second i as in AVSBench, or those that end at or centre on it."""

STEP = 32  # pixels: the backbones halve five times
FEATHER = 240  # pixels of the picture's shorter side for one of a soft edge's radius


@dataclass(frozen=True)
class Names:
    """Names of the sounds in a frame and of the things at its pixels.

    Attributes:
        heard: AudioSet's names of the loudest sounds with their scores, 0 to 1, best first.
        seen: Thing at each pixel, as an index into `things`; meaningful only within the mask.
        things: Names that the model knows.
        sounds: The sound that each of `things` makes, "" where none of its sounds is heard.
        scores: The score of the loudest sound of each of `things`, 0 to 1.
    """

    heard: tuple[tuple[str, float], ...]
    seen: UInt8[np.ndarray, "H W"]
    things: tuple[str, ...]
    sounds: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Masks:
    """Masks of consecutive frames of a video, at the video's own size.

    `masks[0]` is the first frame, `masks[2:5]` three of them; a loop gives one frame after the other. A notebook shows them.

    Attributes:
        times: Presentation times in seconds.
        probability: Probability that a pixel belongs to a sound source, 0 to 1.
        threshold: Threshold; pixels with a probability above it (strictly) are masked.
        labels: Class indices of the semantic model (0 is background); None for a binary model.
        presence: Calibrated probability, for each frame, that something seen sounds; None where the model has none.
        attention: The attention map of each frame (`sonomask.inference.attention`), 0 to 1; None unless asked for.
        names: Names of sounds and things in each frame; None for a model that knows no names.
        pictures: The brightness of each frame at the model's size, by which a mask can follow what moves
            (`sonomask.media.motion`); None where the frames were not at hand.
        colours: Each frame in small, RGB, by which things are known again (`sonomask.outputs.tracks`); None where the
            frames were not at hand.
        ids: Number of the thing nearest to each pixel, from 1, the same in all frames, by a model that follows things
            (`open-tracked`); meaningful only within the mask. 0 where nothing is followed, None of other models.
    """

    times: tuple[float, ...]
    probability: Float32[np.ndarray, "N H W"]
    threshold: float = 0.5
    labels: UInt8[np.ndarray, "N H W"] | None = None
    presence: tuple[float, ...] | None = None
    attention: Float32[np.ndarray, "N _h _w"] | None = None
    names: tuple[Names, ...] | None = None
    pictures: UInt8[np.ndarray, "N _height _width"] | None = None
    colours: UInt8[np.ndarray, "N _rows _columns 3"] | None = None
    ids: Int32[np.ndarray, "N H W"] | None = None

    def __len__(self) -> int:
        return len(self.times)

    @property
    def mask(self) -> Bool[np.ndarray, "N H W"]:
        """The pixels that sound."""
        return self.probability > self.threshold if self.labels is None else self.labels > 0

    @property
    def areas(self) -> tuple[float, ...]:
        """For each frame the share of the picture that sounds, 0 to 1."""
        return tuple(float(mask.mean()) for mask in self.mask)

    def __iter__(self) -> Iterator[Masks]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | slice) -> Masks:
        """Select one frame, or several consecutive ones.

        Raises:
            IndexError: There is no such frame.
        """
        if not isinstance(index, slice):
            if not -len(self) <= index < len(self):
                raise IndexError(f"expected a frame from 0 to {len(self) - 1}, got {index}.")
            index %= len(self)
            index = slice(index, index + 1)
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "threshold"}
        chosen: dict[str, Any] = {name: None if value is None else value[index] for name, value in values.items()}
        return replace(self, **chosen)

    def __repr__(self) -> str:
        height, width = self.probability.shape[1:]
        span = f" from {self.times[0]:.3f} to {self.times[-1]:.3f} s" if self.times else ""
        share = f", {np.mean(self.areas):.1%} of the picture sounds" if self.times else ""
        return f"<Masks: {len(self)} of {width}×{height} pixels{span}{share}>"

    def union(self) -> Bool[np.ndarray, "H W"]:
        """The pixels that sound in any of the frames."""
        found: np.ndarray = np.any(self.mask, axis=0)
        return found

    def only(self, thing: str) -> Bool[np.ndarray, "N H W"]:
        """The pixels that sound and are of one thing, such as "dog".

        Raises:
            ValueError: The model knows no names, or not that one.
        """
        if self.names is None:
            raise ValueError("`thing`: the model that made these masks knows no names.")
        found = np.zeros(self.probability.shape, bool)
        for own, mask, names in zip(found, self.mask, self.names, strict=True):
            if thing not in names.things:
                raise ValueError(f"`thing`: expected one of {', '.join(names.things)}, got {thing!r}.")
            own[:] = mask & (names.seen == names.things.index(thing))
        return found

    def resized(self, height: int, width: int) -> Masks:
        """Scale the masks to another size. Attention maps and the data for following motion are not scaled.

        Raises:
            ValueError: A side is less than one pixel.
        """
        import cv2

        if height < 1 or width < 1:
            raise ValueError(f"expected a height and width of 1 or more, got {height} and {width}.")

        def scaled(image: np.ndarray, how: int) -> np.ndarray:
            return cv2.resize(image, (width, height), interpolation=how)

        probability = np.stack([scaled(p, cv2.INTER_LINEAR) for p in self.probability])
        labels = None if self.labels is None else np.stack([scaled(own, cv2.INTER_NEAREST) for own in self.labels])
        names = self.names and tuple(replace(n, seen=scaled(n.seen, cv2.INTER_NEAREST)) for n in self.names)
        ids = None if self.ids is None else np.stack([scaled(own, cv2.INTER_NEAREST) for own in self.ids])
        return replace(self, probability=probability, labels=labels, names=names, ids=ids)

    def cut_out(
        self, images: Sequence[UInt8[np.ndarray, "H W 3"]], feather: float | None = None
    ) -> list[UInt8[np.ndarray, "H W 4"]]:
        """Cut out what sounds, as RGBA pictures with a transparent background.

        Args:
            images: The frame of each mask, RGB, at the masks' size.
            feather: Pixels over which the edge is soft, 0 for a hard edge; by the size of the picture if None.

        Raises:
            ValueError: There are more or fewer of them, or of another size.
        """
        self._check_images(images)
        return [np.dstack([image, opacity(mask, feather)]) for image, mask in zip(images, self.mask, strict=True)]

    def crops(self, images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> list[UInt8[np.ndarray, "_h _w 3"]]:
        """The part of each frame around what sounds; frames in which nothing does are left out.

        Args:
            images: The frame of each mask, RGB, at the masks' size.

        Raises:
            ValueError: There are more or fewer of them, or of another size.
        """
        self._check_images(images)
        found = []
        for image, mask in zip(images, self.mask, strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if len(rows):
                found.append(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        return found

    def to_pil(self) -> list[Any]:
        """A `PIL.Image` of each mask: 0 and 255, or the numbers of classes."""
        from PIL import Image

        values = self.mask * np.uint8(255) if self.labels is None else self.labels
        return [Image.fromarray(value) for value in values]

    def save(self, folder: str | Path) -> list[Path]:
        """Write each mask as a PNG that is named by its time, as the format `masks` names them; the paths."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        paths = [Path(folder) / f"{time:012.6f}.png" for time in self.times]
        for path, image in zip(paths, self.to_pil(), strict=True):
            image.save(path)
        return paths

    def _repr_png_(self) -> bytes:
        """Up to eight of the masks in a row, for notebooks."""
        from io import BytesIO

        from PIL import Image

        shown = [self[round(i)] for i in np.linspace(0, len(self) - 1, min(8, len(self)))]
        height, width = self.probability.shape[1:]
        scale = 160 / max(height, width, 1)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        row = [np.asarray(Image.fromarray(one.mask[0] * np.uint8(215)).resize(size)) + np.uint8(20) for one in shown]
        gap = np.full((size[1], 4), 255, np.uint8)
        parts = [part for image in row for part in (image, gap)][:-1] or [gap]
        store = BytesIO()
        Image.fromarray(np.concatenate(parts, 1)).save(store, "PNG")
        return store.getvalue()

    def _repr_html_(self) -> str:
        """The same with what is in them, for notebooks."""
        from base64 import b64encode
        from html import escape

        about = escape(repr(self).strip("<>"))
        picture = b64encode(self._repr_png_()).decode("ascii")
        return f'<figure><img src="data:image/png;base64,{picture}" alt="{about}"><figcaption>{about}</figcaption></figure>'

    def _check_images(self, images: Sequence[np.ndarray]) -> None:
        wanted = (*self.probability.shape[1:], 3)
        shapes = {np.shape(image) for image in images}
        if len(images) != len(self) or not shapes <= {wanted}:
            raise ValueError(f"`images`: expected {len(self)} of {wanted}, got {len(images)} of {sorted(shapes)}.")


def opacity(
    labels: UInt8[np.ndarray, "H W"] | Bool[np.ndarray, "H W"], feather: float | None = None
) -> UInt8[np.ndarray, "H W"]:
    """A mask with a soft edge: 255 where something sounds, 0 where nothing does.

    Args:
        labels: Mask or classes; 0 where nothing sounds.
        feather: Radius of the softness in pixels, 0 for a hard edge; by the size of the picture if None.
    """
    from PIL import Image, ImageFilter

    hard = (labels > 0) * np.uint8(255)
    radius = max(0.5, min(labels.shape) / FEATHER) if feather is None else feather
    return np.asarray(Image.fromarray(hard).filter(ImageFilter.GaussianBlur(radius))) if radius else hard


@dataclass(frozen=True)
class ModelOrigin:
    """The origin of a result's model.

    Attributes:
        name: Name of the built-in model, folder or hub repository, or that of the network in the catalogue.
        weights: Twelve hexadecimal digits that change when any weight or the engine does; "" where they are not known.
    """

    name: str
    weights: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """Facts for results, including the version of this package."""
        return {"model": self.name, "weights": self.weights, "sonomask": VERSION}


@dataclass(frozen=True)
class ModelConfig:
    """Everything besides its weights that a model needs to be used rightly; stored as `config.json` beside them.

    Attributes:
        name: Name in the catalogue.
        options: Keyword arguments of `create_model` that differ from the preset.
        image_size: Height and width that the model was trained at.
        sizing: How a frame is brought to that size: "exact" stretches it; "inside" keeps its shape, with its longer side the
            longer one of `image_size` and both sides rounded to multiples of 32.
        score_size: Height and width of the truth that it is scored against; those of its images unless given.
        mean: Per RGB channel, subtracted from images in 0..1.
        std: Per RGB channel, divides the difference.
        clip_length: Seconds in a clip at training (T).
        pairing: Rule for which sound belongs to a frame.
        threshold: Probability above which a pixel is masked.
        protocol: Name of the scoring protocol of the published or trained figure.
        num_classes: K, channels of the logits: 1 for a mask, else the classes of a semantic model, background included.
        classes: Class names of a semantic model, background first; none, or `num_classes` of them.
        things: Names that a binary model knows, in the order of `Output.seen`.
        listens: False for a model without sound (fusion `none`).
        dense: The model wants all frames of a window in one clip, not one a second.
        recurrent: The model is given `past`, what the clip before returned, so that a video is one long clip to it.
        patches: Log-mel patches for each frame, each 0.24 s before the one in front of it.
        maskige: The model reads a second picture of each frame, coloured by region (`sonomask.inference.maskige`).
        presence: Scale and offset of the calibrated presence score (`sonomask.inference.presence`); None where none was fitted.
        licence: Licence of the weights; "" if unknown.
        about: Origin of the weights, and what they can't do.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    image_size: tuple[int, int] = (224, 224)
    score_size: tuple[int, int] | None = None
    sizing: Literal["exact", "inside"] = "exact"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    clip_length: int = 5
    pairing: Pairing = "end"
    threshold: float = 0.5
    protocol: str = "avsbench"
    num_classes: int = 1
    classes: tuple[str, ...] = ()
    things: tuple[str, ...] = ()
    listens: bool = True
    dense: bool = False
    recurrent: bool = False
    patches: int = 1
    maskige: bool = False
    presence: tuple[float, float] | None = None
    licence: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        """Refuse a number of classes that contradicts their names.

        Raises:
            ValueError: They disagree.
        """
        wanted = (0, self.num_classes) if self.semantic else (0,)
        if self.num_classes < 1 or len(self.classes) not in wanted:
            raise ValueError(
                f"`classes`: expected {' or '.join(map(str, wanted))} names, since `num_classes` is {self.num_classes}, "
                f"got {len(self.classes)}."
            )

    @property
    def semantic(self) -> bool:
        """Whether the model is semantic, that is, whether each pixel gets a class."""
        return self.num_classes > 1

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, background first, by number where the model has none; none for a binary model."""
        if self.classes or not self.semantic:
            return self.classes
        return ("background", *(f"class {i}" for i in range(1, self.num_classes)))

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which the model is given a picture of that size."""
        if self.sizing == "exact":
            return self.image_size
        scale = max(self.image_size) / max(height, width)
        return tuple(max(2 * STEP, round(side * scale / STEP) * STEP) for side in (height, width))  # type: ignore[return-value]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Rebuild from `to_dict`.

        Raises:
            ValueError: A key is unknown or `name` is missing.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown or "name" not in values:
            raise ValueError(f"Model config: expected `name` and keys among {sorted(known)}, got unknown {unknown}.")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)

"""Colours: from stored values to the RGB that models and people see, and the tags of written files.

Ordinary video stays as it is: its matrix and range are undone, and what is written carries the same tags. What an ordinary
screen can't show (PQ, HLG, primaries wider than BT.709) is brought to BT.709, as this chain of FFmpeg's filters does:

    zscale=t=linear:npl=203, zscale=p=bt709, tonemap=hable:desat=0, zscale=t=bt709

Numbers are those of ITU-T H.273. Source: ITU-R BT.2100 (PQ, HLG), BT.2408 (white at 203 cd/m²), BT.1886 (2.4); FFmpeg's
`vf_tonemap.c` and zimg's `gamma.cpp` for the order of the steps.
"""

from __future__ import annotations

import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from jaxtyping import Float32, UInt8, UInt16

from sonomask.media.orientation import orientation_of

__all__ = ["Colours", "colours_of", "foreign_matrix", "guessed", "shown", "tag", "to_rgb", "to_stored"]

RGB, BT709, UNSPECIFIED, RESERVED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 0, 1, 2, 3, 4, 5, 6, 7, 9
PQ, HLG = 16, 18
KNOWN_MATRICES = {
    BT709: BT709,
    FCC: FCC,
    BT470BG: BT470BG,
    SMPTE170M: BT470BG,
    SMPTE240M: SMPTE240M,
    9: BT2020,
    10: BT2020,
}
"""Matrices that swscale undoes, by its own numbers."""
WIDE = {9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), (0.3127, 0.3290)),
        11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290)),
        12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290))}  # fmt: skip
"""Chromaticities (red, green, blue, white) of BT.2020, DCI-P3 (its white as in video: greys stay grey), Display P3."""
NARROW = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), (0.3127, 0.3290))
WHITE_NITS, HLG_NITS, PQ_NITS = 203.0, 1000.0, 10_000.0
UNTOLD_PEAK = 10.0  # of the tone curve, in units of 100 cd/m², where the file tells none
LEVELS = 65536
EXACT = Interpolation.BILINEAR | getattr(Interpolation, "ACCURATE_RND", 0)
BLOCK = 2**18  # pixels that are converted at a time
SMALL = 2**18  # pixels up to which a scaler's threads cost more than they save
_own = threading.local()  # each thread's scaler


@dataclass(frozen=True)
class Colours:
    """The colour properties of a picture.

    Attributes:
        matrix: Matrix coefficients.
        primaries: Colour primaries.
        transfer: Transfer characteristics.
        full: Whether values use the full range, 0 to 255 of 8 bits.
    """

    matrix: int = SMPTE170M
    primaries: int = SMPTE170M
    transfer: int = SMPTE170M
    full: bool = False

    @property
    def swscale_matrix(self) -> Colorspace:
        """The matrix as swscale numbers it."""
        return Colorspace(KNOWN_MATRICES[self.matrix])

    @property
    def convertible(self) -> bool:
        """Whether an ordinary screen can't show the colours, so that they are converted to BT.709."""
        return self.transfer in (PQ, HLG) or self.primaries in WIDE


def guessed(height: int, width: int) -> Colours:
    """Colours that players assume for untagged pictures: BT.709 above standard definition, otherwise BT.601."""
    return Colours(BT709, BT709, BT709) if width >= 1280 or height > 576 else Colours()


def colours_of(frame: Any) -> Colours:
    """The colours of a decoded frame of PyAV, guessed where it has no tags."""
    usual = guessed(frame.height, frame.width)
    transfer, primaries, matrix = int(frame.color_trc), int(frame.color_primaries), int(frame.colorspace)
    full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    if matrix not in KNOWN_MATRICES:
        matrix = BT2020 if primaries == BT2020 or (transfer in (PQ, HLG) and primaries not in WIDE) else usual.matrix
    consistent = Colours(BT709, BT709, BT709) if matrix == BT709 else Colours()
    if primaries in (0, UNSPECIFIED, 3):
        primaries = BT2020 if matrix == BT2020 else consistent.primaries
    if transfer in (0, UNSPECIFIED, 3):
        transfer = BT709 if matrix == BT2020 else consistent.transfer
    return Colours(matrix, primaries, transfer, full and not frame.format.is_rgb)


def foreign_matrix(frame: Any) -> str:
    """Number of a tagged matrix that is not supported, such as YCgCo; "" for all others."""
    matrix = int(frame.colorspace)
    told = matrix not in (RGB, UNSPECIFIED, RESERVED) and not frame.format.is_rgb
    return str(matrix) if told and matrix not in KNOWN_MATRICES else ""


def shown(colours: Colours) -> Colours:
    """Colours of the RGB pictures that `to_rgb` makes of such frames."""
    return Colours(BT709, BT709, BT709, colours.full) if colours.convertible else replace(colours)


def to_rgb(
    frame: Any, size: tuple[int, int] | None = None, stored: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Convert a decoded frame to RGB for display.

    Args:
        frame: PyAV's.
        size: (height, width) of the result; that of `stored`, turned, unless given.
        stored: (height, width) of the picture before it is turned; that of the frame unless given.
    """
    orientation = orientation_of(frame)
    height, width = orientation.size(*size) if size is not None else stored or (frame.height, frame.width)
    colours = colours_of(frame)
    kind = "rgb48le" if colours.convertible else "rgb24"
    words: dict[str, Any] = {} if frame.format.is_rgb else {"src_colorspace": colours.swscale_matrix}
    made = _reformat(frame, width=width, height=height, format=kind, interpolation="BILINEAR", **words)
    image = made.to_ndarray()
    if colours.convertible:
        image = _to_bt709(image.astype(np.uint16, copy=False), colours, _peak(frame))
    return orientation.apply(image)


def to_stored(image: UInt8[np.ndarray, "H W _C"], pixels: str, colours: Colours) -> Any:
    """Make a PyAV frame from a displayed picture, tagged with its colours.

    Args:
        image: RGB, RGBA or grey (H, W, 1).
        pixels: FFmpeg's name of the pixel format.
        colours: Colours of the result.
    """
    kind = {1: "gray", 3: "rgb24", 4: "rgba"}[image.shape[2]]
    whole = np.ascontiguousarray(image[..., 0] if kind == "gray" else image)
    frame = _reformat(
        av.VideoFrame.from_ndarray(whole, format=kind),
        format=pixels,
        dst_colorspace=colours.swscale_matrix,
        dst_color_range=2 if colours.full else 1,
        interpolation=EXACT,
    )
    tag(frame, colours)
    return frame


def _reformat(frame: Any, **words: Any) -> Any:
    """Scale and convert a frame, by one scaler for each thread.

    `VideoFrame.reformat` gives each frame a scaler of its own, whose threads live as long as the frame: a decoder that keeps
    some frames would have hundreds, and no room left in a sandbox's address space.
    """
    if not hasattr(_own, "scaler"):
        _own.scaler = VideoReformatter()
    pixels = max(frame.width * frame.height, (words.get("width") or 0) * (words.get("height") or 0))
    return _own.scaler.reformat(frame, threads=1 if pixels <= SMALL else 0, **words)


def tag(target: Any, colours: Colours) -> None:
    """Write down the colours of a frame or an encoder of PyAV."""
    target.colorspace, target.color_range = colours.matrix, 2 if colours.full else 1
    with suppress(AttributeError):  # frames of older PyAV have no such tags, encoders do
        target.color_primaries, target.color_trc = colours.primaries, colours.transfer


def _to_bt709(image: UInt16[np.ndarray, "H W 3"], colours: Colours, peak: float) -> UInt8[np.ndarray, "H W 3"]:
    linear, gamma, matrix = _linear(colours.transfer), _gamma(), _narrowing(colours.primaries)
    flat, out = image.reshape(-1, 3), np.empty((image.shape[0] * image.shape[1], 3), np.uint8)
    for first in range(0, len(flat), BLOCK):
        light = linear[flat[first : first + BLOCK]] @ matrix
        if colours.transfer in (PQ, HLG):
            brightest = np.maximum(light.max(1, keepdims=True), np.float32(1e-6))
            light *= _hable(brightest) / (_hable(np.float32(peak)) * brightest)
        out[first : first + BLOCK] = gamma[(light.clip(0, 1) * (LEVELS - 1)).round().astype(np.uint16)]
    return out.reshape(image.shape)


def _hable(x: Any) -> Any:
    """Hable's filmic curve with its published constants."""
    a, b, c, d, e, f = (np.float32(v) for v in (0.15, 0.50, 0.10, 0.20, 0.02, 0.30))
    return (x * (x * a + b * c) + d * e) / (x * (x * a + b) + d * f) - e / f


@cache
def _linear(transfer: int) -> Float32[np.ndarray, "65536"]:
    """Light for each value of 16 bits; 1 is the white of the screen."""
    x = np.arange(LEVELS) / (LEVELS - 1)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = x ** (1 / m2)
        light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * (PQ_NITS / WHITE_NITS)
    elif transfer == HLG:  # each channel by itself, with the system gamma of a screen of 1000 cd/m²
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(x <= 0.5, x * x / 3, (np.exp((x - c) / a) + b) / 12)
        light = scene**1.2 * (HLG_NITS / WHITE_NITS)
    elif transfer == 13:  # sRGB
        light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    else:
        light = x ** {4: 2.2, 5: 2.8, 8: 1.0}.get(transfer, 2.4)
    return light.astype(np.float32)


@cache
def _gamma() -> UInt8[np.ndarray, "65536"]:
    x = np.arange(LEVELS) / (LEVELS - 1)
    return (x ** (1 / 2.4) * 255).round().astype(np.uint8)


@cache
def _narrowing(primaries: int) -> Float32[np.ndarray, "3 3"]:
    """Brings linear RGB of these primaries to BT.709, as rows times this."""
    if primaries not in WIDE:
        return np.eye(3, dtype=np.float32)
    return (np.linalg.inv(_to_xyz(NARROW)) @ _to_xyz(WIDE[primaries])).T.astype(np.float32)


def _to_xyz(chromaticities: tuple[tuple[float, float], ...]) -> np.ndarray:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in chromaticities]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def _peak(frame: Any) -> float:
    """Peak luminance from the file's metadata, in units of 100 cd/m²."""
    metadata = {data.type.name: bytes(data) for data in frame.side_data}
    level, mastering = metadata.get("CONTENT_LIGHT_LEVEL", b""), metadata.get("MASTERING_DISPLAY_METADATA", b"")
    peak = 0.0
    if len(level) >= 4:
        peak = struct.unpack_from("<I", level)[0] / 100
    if not peak and len(mastering) >= 88:
        above, below, _, known = struct.unpack_from("<4i", mastering, 72)
        peak = above / below / 100 if known and below > 0 else 0.0
    return peak if 0.1 <= peak <= 100 else UNTOLD_PEAK

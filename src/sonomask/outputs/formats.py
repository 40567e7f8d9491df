"""The table of formats: name, file name, description and requirements. It imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

__all__ = ["FORMATS", "Format", "FormatInfo", "paths_of"]

Format = Literal[
    "overlay", "cutout", "dim", "blur", "matte", "alpha-webm", "alpha-mov", "masks", "npz", "jsonl", "coco", "ytvis", "davis",
    "avsbench", "hf", "sheet", "scores", "yolo", "coco-polygons", "srt", "vtt", "audacity", "rttm", "otio",
]  # fmt: skip


@dataclass(frozen=True)
class FormatInfo:
    """A row of the table.

    Attributes:
        suffix: Text that follows the video's name in file names.
        what: One line for a person.
        marker: A file by which a folder of this format is known, so that no other one is ever replaced; "" for a file.
        regions: It tells connected regions apart (`sonomask.outputs.tracks`).
    """

    suffix: str
    what: str
    marker: str = ""
    regions: bool = False


FORMATS: dict[Format, FormatInfo] = {
    "overlay": FormatInfo(".overlay.mp4", "the video with its masks and sound, and a timeline of waveform and presence score"),
    "cutout": FormatInfo(".cutout.mp4", "what sounds on black, with the sound"),
    "dim": FormatInfo(".dim.mp4", "everything else grey and dark, with the sound"),
    "blur": FormatInfo(".blur.mp4", "everything else out of focus, with the sound"),
    "matte": FormatInfo(".matte.mp4", "a grey video of every frame: white where something sounds, for compositing"),
    "alpha-webm": FormatInfo(".alpha.webm", "what sounds on transparency: VP9 with alpha and Opus, for browsers"),
    "alpha-mov": FormatInfo(".alpha.mov", "what sounds on transparency: ProRes 4444 with sound, for video editors"),
    "masks": FormatInfo(
        ".masks", "a PNG for each mask at the source's size, named by its time, and `manifest.json`", "manifest.json"
    ),
    "npz": FormatInfo(".npz", "NumPy: `times` and `probability` (float16), `labels` of a semantic model"),
    "jsonl": FormatInfo(
        ".jsonl", "a line of JSON for each mask: time, scores, regions with ids and run lengths", regions=True
    ),
    "coco": FormatInfo(
        ".coco", "COCO instances with compressed run lengths, and the frames (`data/`, `labels.json`)", "labels.json",
        regions=True,
    ),
    "ytvis": FormatInfo(
        ".ytvis", "YouTube-VIS: an annotation for each track, and the frames", "instances.json", regions=True
    ),
    "davis": FormatInfo(
        ".davis", "DAVIS and YouTube-VOS: palette PNG of track ids, frames, `meta.json`", "meta.json", regions=True
    ),
    "avsbench": FormatInfo(
        ".avsbench", "AVSBench's layout in clips of 5 s: MS3 for a binary model, AVSS for a semantic one", "made_by.json"
    ),
    "hf": FormatInfo(".hf", "frames and masks that Hugging Face `load_dataset` reads", "metadata.jsonl"),
    "sheet": FormatInfo(".sheet.png", "a contact sheet: five pictures in a row with their waveform"),
    "scores": FormatInfo(".scores.png", "a plot of presence, masked share and waveform over time"),
    "yolo": FormatInfo(
        ".yolo", "frames and polygons in Ultralytics' form for segmentation, and `data.yaml`", "data.yaml", regions=True
    ),
    "coco-polygons": FormatInfo(
        ".coco-polygons", "COCO instances with polygons, laid out as CVAT and Datumaro import them",
        "annotations/instances_default.json", regions=True,
    ),
    "srt": FormatInfo(".srt", "when something sounds, as subtitles (SubRip)"),
    "vtt": FormatInfo(".vtt", "when something sounds, as subtitles for web pages (WebVTT)"),
    "audacity": FormatInfo(".labels.txt", "when something sounds, as labels for Audacity"),
    "rttm": FormatInfo(".rttm", "when something sounds, as tools for diarisation read it (RTTM)"),
    "otio": FormatInfo(".otio", "when something sounds, as markers for video editors (OpenTimelineIO)"),
}  # fmt: skip


def paths_of(stem: Path, formats: Sequence[Format]) -> dict[Format, Path]:
    """The output of each format, beside one another.

    Raises:
        ValueError: A format is unknown, or there is none.
    """
    if not formats or not set(formats) <= set(get_args(Format)):
        raise ValueError(f"`formats`: expected some of {', '.join(FORMATS)}, got {list(formats)}.")
    return {name: stem.with_name(stem.name + FORMATS[name].suffix) for name in dict.fromkeys(formats)}

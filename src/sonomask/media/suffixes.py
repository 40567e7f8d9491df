"""The suffixes of videos in folders, for all commands. A file that is named explicitly is read whatever its suffix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

__all__ = ["PICTURES", "SOUNDS", "VIDEOS", "looks_like_a_video", "skipped", "videos_in"]

_COMMON = "avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts webm wmv"
_OTHERS = (
    "3g2 3gp amv asf divx dv f4v gxf h264 h265 hevc ivf m1v m2p m2t m2v mj2 mjpeg mk3d mod mpe nut ogm qt rm rmvb tod"
)
_OLD = "tts vob wtv y4m"
VIDEOS = frozenset(f".{kind}" for kind in f"{_COMMON} {_OTHERS} {_OLD}".split())
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
SOUNDS = frozenset({".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"})


def looks_like_a_video(word: str) -> bool:
    """Whether a word on a command line is an address, a path or a video's name, rather than an option's value."""
    return "://" in word or "/" in word or Path(word).suffix.lower() in VIDEOS or Path(word).exists()


def videos_in(folder: str | Path) -> list[Path]:
    """The videos of a folder and of those in it, in order."""
    return [path for path in _files(folder) if path.suffix.lower() in VIDEOS]


def skipped(folder: str | Path) -> str:
    """Describe the skipped files of a folder, for the end of a sentence: "2 files (.txt, .zip)"; "" for none."""
    others = [path for path in _files(folder) if path.suffix.lower() not in VIDEOS and not path.name.startswith(".")]
    if not others:
        return ""
    kinds = Counter(path.suffix.lower() or path.name for path in others)
    named = ", ".join(kind for kind, _ in kinds.most_common(8)) + (" and others" if len(kinds) > 8 else "")
    return f"{len(others)} file{'s' if len(others) > 1 else ''} ({named})"


def _files(folder: str | Path) -> Iterable[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())

"""Find what is making the sound in a video, and mark its pixels.

    import sonomask
    sonomask.segment("clip.mp4")

Names are imported when they are first used, so that importing the package is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sonomask import schemas

if TYPE_CHECKING:
    from sonomask.api import Result, Segmenter, load_fast, segment
    from sonomask.batches import Output
    from sonomask.checkpoints.folder import load
    from sonomask.errors import DatasetError, MediaError, MissingExtraError, SonomaskError, WeightsError
    from sonomask.media.arrays import from_arrays
    from sonomask.models.catalog import create_model, list_models
    from sonomask.outputs.corrected import corrected
    from sonomask.outputs.samples import seconds_by_name, to_coco, to_fiftyone, to_regions, to_supervision
    from sonomask.request import Request
    from sonomask.safe_reading.corrections import Correction, Corrections, read_corrections
    from sonomask.structures import Masks, ModelConfig

__version__ = schemas.VERSION

__all__ = [
    "Correction",
    "Corrections",
    "DatasetError",
    "Masks",
    "MediaError",
    "MissingExtraError",
    "ModelConfig",
    "Output",
    "Request",
    "Result",
    "Segmenter",
    "SonomaskError",
    "WeightsError",
    "corrected",
    "create_model",
    "from_arrays",
    "list_models",
    "load",
    "load_fast",
    "read_corrections",
    "seconds_by_name",
    "segment",
    "to_coco",
    "to_fiftyone",
    "to_regions",
    "to_supervision",
]

_ROOMS = {
    "api": ("Result", "Segmenter", "load_fast", "segment"),
    "checkpoints.folder": ("load",),
    "errors": ("DatasetError", "MediaError", "MissingExtraError", "SonomaskError", "WeightsError"),
    "media.arrays": ("from_arrays",),
    "models.catalog": ("create_model", "list_models"),
    "outputs.corrected": ("corrected",),
    "safe_reading.corrections": ("Correction", "Corrections", "read_corrections"),
    "outputs.samples": ("seconds_by_name", "to_coco", "to_fiftyone", "to_regions", "to_supervision"),
    "request": ("Request",),
    "batches": ("Output",),
    "structures": ("Masks", "ModelConfig"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__name__):
            raise
        from sonomask.errors import MissingExtraError

        raise MissingExtraError(f"`sonomask.{name}`", "torch") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

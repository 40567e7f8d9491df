"""Exceptions of sonomask.

    SonomaskError            base class: something outside the program is wrong
    ├── MediaError           a video, picture or sound
    ├── DatasetError         a data set on disk
    ├── WeightsError         a checkpoint or a model's configuration
    ├── TrainingError        a training run that can't start or continue as asked
    └── MissingExtraError    an optional dependency is not installed

A wrong argument raises a plain `ValueError`. Each message has one or two sentences: what was expected, what was found, and
what to do. The command line prints it as one line and exits with code 2.
"""

__all__ = ["DatasetError", "MediaError", "MissingExtraError", "SonomaskError", "TrainingError", "WeightsError"]


class SonomaskError(Exception):
    """Base class of all exceptions of this package."""


class MediaError(SonomaskError):
    """A video, picture or sound can't be read or written."""


class DatasetError(SonomaskError):
    """A data set on disk has the wrong layout or lacks something."""


class WeightsError(SonomaskError):
    """A checkpoint or a model's configuration is missing, damaged or unknown."""


class TrainingError(SonomaskError):
    """A training run can't start, continue or be resumed as asked."""


REPOSITORY = "https://github.com/sonomask/sonomask"


class MissingExtraError(SonomaskError):
    """A feature needs an optional dependency.

    Args:
        feature: Feature that the user asked for, as the subject of a sentence.
        extra: Name of the extra that provides it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed. Install them: "
            f"pip install 'sonomask[{extra}] @ git+{REPOSITORY}', or pip install '.[{extra}]' in a checkout."
        )

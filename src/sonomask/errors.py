"""Every error that sonomask raises on purpose.

    SonomaskError            something outside the program is not as it must be
    ├── MediaError           a video, picture or sound
    ├── DatasetError         a data set on disk
    ├── WeightsError         a checkpoint or a model's configuration
    ├── TrainingError        a training run that can't go on as asked
    └── MissingExtraError    an optional dependency is not installed

A wrong argument is a plain `ValueError`. Each message is one sentence or two: what was expected, what came, what to do.
The command line prints it as one line and exits with 2.
"""

__all__ = ["DatasetError", "MediaError", "MissingExtraError", "SonomaskError", "TrainingError", "WeightsError"]


class SonomaskError(Exception):
    """Base of all errors of this package."""


class MediaError(SonomaskError):
    """A video, picture or sound can't be read or written."""


class DatasetError(SonomaskError):
    """A data set on disk is not laid out, or does not hold, what it should."""


class WeightsError(SonomaskError):
    """A checkpoint or a model's configuration is not one that this package knows."""


class TrainingError(SonomaskError):
    """A training run can't start, go on or be resumed as asked."""


REPOSITORY = "https://github.com/sonomask/sonomask"


class MissingExtraError(SonomaskError):
    """A feature needs an optional dependency.

    Args:
        feature: What the user asked for, as the subject of a sentence.
        extra: Name of the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed. Install them: "
            f"pip install 'sonomask[{extra}] @ git+{REPOSITORY}', or pip install '.[{extra}]' in a checkout."
        )

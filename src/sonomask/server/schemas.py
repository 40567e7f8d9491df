"""What goes over the wire, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sonomask.outputs.formats import Format
from sonomask.server.job import JobOptions, State

__all__ = [
    "About",
    "FieldError",
    "FormatAbout",
    "Health",
    "JobRequest",
    "JobState",
    "ModelAbout",
    "ProblemBody",
    "UploadState",
]


class FieldError(BaseModel):
    """What is wrong with one option."""

    field: str
    detail: str


class ProblemBody(BaseModel):
    """An error, in the form of RFC 9457 (`application/problem+json`)."""

    type: str = "about:blank"
    title: str = Field(description="The kind of error, by its status.")
    status: int
    detail: str = Field(description="What was expected, what came, what to do; one line.")
    errors: list[FieldError] = Field(description="What is wrong with each option, where options are wrong.")


class UploadState(BaseModel):
    """A video that was sent, and what it is."""

    id: str = Field(description="For `upload` of a job. Opaque, and good for the session that sent it.")
    name: str
    bytes: int
    width: int
    height: int
    fps: float = Field(description="Frames per second.")
    duration: float | None = Field(description="Seconds, where the file tells.")
    has_audio: bool


class JobRequest(BaseModel):
    """What to do with an upload."""

    model_config = ConfigDict(extra="forbid")

    upload: Annotated[str, Field(max_length=100, description="`id` of an upload.")]
    model: Annotated[str | None, Field(max_length=200, description="One of `/v1/about`; the first if left out.")] = None
    rate: Annotated[
        float | Literal["native", "avsbench"],
        Field(description="Masks per second; `native` for every frame; `avsbench` for that data set's choice."),
    ] = 5.0
    threshold: Annotated[
        float | None, Field(description="Probability above which a pixel is masked; the model's own if left out.")
    ] = None
    min_presence: Annotated[float, Field(description="Presence score below which a frame gets an empty mask.")] = 0.0
    formats: Annotated[list[Format], Field(min_length=1, max_length=40, description="Files to make.")] = ["overlay"]
    start: Annotated[float, Field(description="Second at which the part of the video begins.")] = 0.0
    end: Annotated[float | None, Field(description="Second at which it ends; that of the video if left out.")] = None
    name: Annotated[str | None, Field(max_length=200, description="What to call the results.")] = None

    def options(self, default: str) -> JobOptions:
        """As the work takes it."""
        return JobOptions(self.model or default, self.rate, self.threshold, self.min_presence, tuple(self.formats), self.start,
                    self.end)  # fmt: skip


class JobState(BaseModel):
    """A job as a client sees it."""

    id: str = Field(description="Opaque; whoever has it has the job.")
    name: str
    state: State
    done: float = Field(description="Share of the work, 0 to 1.")
    left: float | None = Field(description="Seconds until it is done, where that can be told.")
    ahead: int = Field(description="Jobs that run or will run before it.")
    submitted: float = Field(description="When, in seconds since 1970.")
    model: str
    error: str | None = Field(description="Why it failed, in one line.")
    warnings: list[str] = Field(description="What could not be read.")
    files: dict[str, str] = Field(description="Address of each result, by format; a folder comes as a zip.")
    archive: str | None = Field(description="Address of all results in one zip.")
    page: str = Field(description="Address of the job's page, with the player.")
    preview: int = Field(description="How many previews there were; `/v1/jobs/{id}/preview` has the newest.")


class ModelAbout(BaseModel):
    """A model that is offered."""

    name: str
    about: str = Field(description="One line.")


class FormatAbout(BaseModel):
    """A kind of file that can be asked for."""

    name: str
    suffix: str
    about: str = Field(description="One line.")


class About(BaseModel):
    """What this service offers and allows."""

    version: str
    boot: str = Field(description="Another after each start of the server.")
    models: list[ModelAbout] = Field(description="The first is taken where a job names none.")
    formats: list[FormatAbout]
    max_bytes: int = Field(description="Size of an upload.")
    max_seconds: float = Field(description="Length of what a job reads.")
    max_rate: float = Field(description="Masks per second.")
    max_masks: int = Field(description="Masks of a job.")
    queue: int = Field(description="Jobs that wait or run at once.")
    keep_seconds: float = Field(description="Uploads and results are removed after it.")
    warnings: list[str] = Field(description="What whoever runs the server should know.")


class Health(BaseModel):
    """Whether the service works, and how busy it is."""

    status: Literal["ok"] = "ok"
    busy: int
    queue: int

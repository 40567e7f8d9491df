"""The models of the REST interface, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sonomask.outputs.formats import Format
from sonomask.request import DEFAULT, EDITING
from sonomask.safe_reading.corrections import Kind
from sonomask.schemas import schema
from sonomask.server.job import JobOptions, State

__all__ = [
    "About",
    "AudioTrackState",
    "CorrectedRequest",
    "CorrectionRequest",
    "FieldError",
    "FormatAbout",
    "Health",
    "JobRequest",
    "JobState",
    "ModelAbout",
    "ProblemBody",
    "SourceRequest",
    "SourceState",
    "UploadState",
]

Word = Annotated[str, Field(min_length=1, max_length=100)]
Sentence = Annotated[str, Field(min_length=1, max_length=200)]


def _named(name: str) -> Any:
    return Field(default=schema(name), alias="schema", description="Name and version of this form.")


class FieldError(BaseModel):
    """An error in one option."""

    field: str
    detail: str


class ProblemBody(BaseModel):
    """An error, in the form of RFC 9457 (`application/problem+json`)."""

    schema_name: str = _named("problem")
    type: str = "about:blank"
    title: str = Field(description="The kind of error, by its status.")
    status: int
    detail: str = Field(description="What was expected, what came, what to do; one line.")
    errors: list[FieldError] = Field(description="What is wrong with each option, where options are wrong.")


class AudioTrackState(BaseModel):
    """A sound track of a video."""

    number: int = Field(description="For `audio_track` of a job.")
    codec: str
    language: str = Field(description='As the file has it, such as "eng"; empty for none.')
    title: str
    default: bool = Field(description="Whether the file marks it as the one to play.")
    problem: str = Field(description="Why it can't be heard; empty if it can.")


class UploadState(BaseModel):
    """A video that was sent, and what it is."""

    schema_name: str = _named("upload")
    id: str = Field(description="For `upload` of a job. Opaque, and good for the session that sent it.")
    name: str
    bytes: int
    width: int
    height: int
    fps: float = Field(description="Frames per second.")
    duration: float | None = Field(description="Seconds, where the file tells.")
    has_audio: bool
    audio_tracks: list[AudioTrackState] = Field(description="The sound tracks of the file, in its order.")
    heard: list[int] = Field(description="Numbers of the tracks that are heard where a job chooses none.")


class JobRequest(BaseModel):
    """Options of a job for an upload."""

    model_config = ConfigDict(extra="forbid")

    upload: Annotated[str, Field(max_length=100, description="`id` of an upload.")]
    model: Annotated[str | None, Field(max_length=200, description="One of `/v1/about`; the first if left out.")] = None
    rate: Annotated[
        float | Literal["native", "avsbench", "auto"],
        Field(
            description="Masks per second; `native` for every frame; `auto` for as many as the server makes in real time; "
            "`avsbench` for that data set's choice."
        ),
    ] = 5.0
    threshold: Annotated[
        float | None, Field(description="Probability above which a pixel is masked; the model's own if left out.")
    ] = None
    min_presence: Annotated[float, Field(description="Presence score below which a frame gets an empty mask.")] = 0.0
    formats: Annotated[list[Format], Field(min_length=1, max_length=40, description="Files to make.")] = ["overlay"]
    start: Annotated[float, Field(description="Second at which the part of the video begins.")] = 0.0
    end: Annotated[float | None, Field(description="Second at which it ends; that of the video if left out.")] = None
    smooth: Annotated[
        float, Field(description="Seconds over which masks are steadied against flicker; 0 for none.")
    ] = DEFAULT.smooth
    min_area: Annotated[
        float, Field(description="Share of the picture below which a connected region is left out; 0 keeps all.")
    ] = DEFAULT.min_area
    hold: Annotated[float, Field(description="Seconds for which the last mask stays while nothing is marked.")] = (
        DEFAULT.hold
    )
    expand: Annotated[int, Field(description="Pixels by which masks grow; less than 0 to shrink them.")] = (
        DEFAULT.expand
    )
    feather: Annotated[
        float | None,
        Field(description="Pixels over which the edge of videos is soft; by the size of the picture if left out."),
    ] = DEFAULT.feather
    only: Annotated[
        list[Word],
        Field(max_length=40, description="Mark only things or sounds of these names, such as dog or speech."),
    ] = []
    without: Annotated[
        list[Word], Field(alias="not", max_length=40, description="Don't mark things or sounds of these names.")
    ] = []
    prompt: Annotated[
        list[Sentence],
        Field(
            max_length=6,
            description="Free words or sentences for things to mark while they are heard; only for models that take them.",
        ),
    ] = []
    audio_track: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | Annotated[str, Field(min_length=1, max_length=100)] | None,
        Field(
            description='Sound track to hear: its number, language or title, or "mix" for all; the default one if left out.'
        ),
    ] = None
    name: Annotated[str | None, Field(max_length=200, description="What to call the results.")] = None

    def options(self, default: str) -> JobOptions:
        """The options in the form of the work."""
        return JobOptions(
            self.model or default, self.rate, self.threshold, self.min_presence, tuple(self.formats), self.start, self.end,
            only=tuple(self.only), without=tuple(self.without), prompt=tuple(self.prompt), audio_track=self.audio_track,
            **{name: getattr(self, name) for name in EDITING},
        )  # fmt: skip


class SourceRequest(BaseModel):
    """Options of a job for some sources only."""

    model_config = ConfigDict(extra="forbid")

    sources: Annotated[
        list[Annotated[int, Field(ge=1, le=1000)]],
        Field(
            min_length=1, max_length=40, description="Numbers of the sources, as `/v1/jobs/{id}/sources` gives them."
        ),
    ]
    formats: Annotated[
        list[Format] | None,
        Field(min_length=1, max_length=40, description="Files to make; those of the job if left out."),
    ] = None


class CorrectionRequest(BaseModel):
    """One thing to say of a result. A thing is named by its place at a moment, or as a source."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[Kind, Field(description="As in a file of corrections (docs/trips/correct.md).")]
    time: Annotated[float | None, Field(description="Moment, in seconds of the source.")] = None
    x: Annotated[float | None, Field(description="Place from the left, 0 to 1.")] = None
    y: Annotated[float | None, Field(description="Place from the top, 0 to 1.")] = None
    source: Annotated[int | None, Field(ge=1, le=1000, description="Number of a source, in place of `x` and `y`.")] = (
        None
    )
    start: Annotated[float | None, Field(description="Second from which on it holds.")] = None
    end: Annotated[float | None, Field(description="Second up to which it holds.")] = None


class CorrectedRequest(BaseModel):
    """What to make anew by the corrections of a job."""

    model_config = ConfigDict(extra="forbid")

    formats: Annotated[
        list[Format] | None,
        Field(min_length=1, max_length=40, description="Files to make; those of the job if left out."),
    ] = None


class SourceState(BaseModel):
    """Something that sounds in a video, as the player shows it."""

    id: int = Field(description="Its number.")
    name: str = Field(description="What it is, as far as the model knows names.")
    sound: str = Field(description="What it is mostly heard to do, by AudioSet's names; empty where that is not known.")
    spans: list[tuple[float, float]] = Field(description="Seconds at which it begins and stops to sound.")


class JobState(BaseModel):
    """A job as a client sees it."""

    schema_name: str = _named("job")
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
    audio_track: str | None = Field(description='Which sound track was heard: "2 of 3 (aac, eng)".')
    corrections: int = Field(description="How many corrections of a person its files follow.")
    files: dict[str, str] = Field(description="Address of each result, by format; a folder comes as a zip.")
    archive: str | None = Field(description="Address of all results in one zip.")
    page: str = Field(description="Address of the job's page, with the player.")
    preview: int = Field(description="How many previews there were; `/v1/jobs/{id}/preview` has the newest.")


class ModelAbout(BaseModel):
    """A model that is offered."""

    name: str
    about: str = Field(description="One line.")
    names: list[str] = Field(description="What it can name, for `only` and `not`; empty where it knows no names.")
    prompts: bool = Field(description="Whether it takes free words, `prompt`.")


class FormatAbout(BaseModel):
    """A format that can be requested."""

    name: str
    suffix: str
    about: str = Field(description="One line.")


class About(BaseModel):
    """Models, formats and limits of this service."""

    schema_name: str = _named("about")
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
    keeps_results: bool = Field(description="Whether results are still there after the server was restarted.")
    warnings: list[str] = Field(description="What whoever runs the server should know.")


class Health(BaseModel):
    """Health and load of the service."""

    schema_name: str = _named("health")
    status: Literal["ok"] = "ok"
    busy: int
    queue: int

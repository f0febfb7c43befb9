"""The documents of /v1/labeling/label-studio."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from motiontrace.documents.base import NO_NUL, WHOLE, Document
from motiontrace.documents.filters import Filter

MAX_QUERIES = 64
MAX_END = 500  # clips of an end of one ranking
MAX_VERDICTS = 50
MIN_TITLE, MAX_TITLE = 3, 50  # characters; what Label Studio takes
UNFIT = "unfit_push"  # type of the errors about what is in range, but cannot be pushed
TITLE = "motiontrace review"  # of the project where none is named
VERDICTS = ("realistic", "unrealistic", "cartoon", "static")  # offered where a push names none
MAX_NUMBER = 2**31 - 1  # of projects

PUSH: JsonDict = {
    "queries": ["5f0c0c4e8d5b4d0f9a5b1f6f2f7f3c11"],
    "top": 10,
    "bottom": 10,
    "title": TITLE,
    "motion": "bad",
}
PROJECT: JsonDict = {
    "id": 7,
    "url": "http://127.0.0.1:8090/projects/7/data",
    "title": TITLE,
}
PUSHED: JsonDict = {
    **PROJECT,
    "clips": 19,
    "tasks_created": 19,
    "tasks_there": 0,
    "links_renewed": 0,
    "left_out": [{"clip": "bounce-0412", "reason": "Its file does not exist."}],
    "callback": {"active": True, "reason": None},
}

PULLED: JsonDict = {
    "tasks": 19,
    "labelled": 5,
    "changed": 1,
    "withdrawn": 0,
    "unchanged": 13,
    "unknown": 0,
    "left_out": [{"task": 211, "clip": "bounce-0412", "left_out": "the rotation of a box"}],
}


def _choosable(verdict: str) -> str:
    if not verdict.isprintable() or verdict != verdict.strip() or verdict.startswith("$"):
        # Label Studio would show what begins with "$" as the field of that name.
        raise PydanticCustomError(
            UNFIT, "A verdict should be one line of printable characters that neither begins with '$' nor with a space"
        )
    return verdict


def _distinct(verdicts: list[str]) -> list[str]:
    if len(set(verdicts)) < len(verdicts):
        raise PydanticCustomError(UNFIT, "No verdict should be named twice")
    return verdicts


def _visible(title: str) -> str:
    if len(title.strip()) < MIN_TITLE:
        raise PydanticCustomError(UNFIT, f"A title should have {MIN_TITLE} characters that are no spaces")
    return title.strip()


Count = Annotated[int, Field(strict=True, ge=0, le=MAX_END), WHOLE]
Motion = Literal["good", "bad"]
NewVerdict = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL), AfterValidator(_choosable)]
NewVerdicts = Annotated[
    list[NewVerdict], Field(min_length=1, max_length=MAX_VERDICTS), AfterValidator(_distinct)
]  # fmt: skip
QueryId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
Title = Annotated[
    str, StringConstraints(min_length=MIN_TITLE, max_length=MAX_TITLE, pattern=NO_NUL), AfterValidator(_visible)
]


class NewPush(Document):
    """Which clips reviewers are to see, and where."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [PUSH]})

    queries: Annotated[list[QueryId], Field(min_length=1, max_length=MAX_QUERIES)] = Field(
        description="Ids of queries that are done. A clip of several of them is shown for the first."
    )
    top: Count = Field(default=10, description="How many clips of each query's highest scores.")
    bottom: Count = Field(default=10, description="How many clips of each query's lowest scores.")
    title: Title = Field(
        default=TITLE,
        description="Of the project: that which was pushed to under this title before, or a new one.",
    )
    project: Annotated[int, Field(strict=True, ge=1, le=MAX_NUMBER), WHOLE] | None = Field(
        default=None,
        description="Label Studio's number of a project to push to instead; its labelling set-up needs our controls.",
    )
    verdicts: NewVerdicts = Field(
        default=list(VERDICTS),
        description="What reviewers can call a clip in a new project; one that is there keeps its own.",
    )
    motion: Motion | None = Field(
        default=None,
        description="What the motion of the queries' videos is. It decides which verdict is suggested for clips that "
        "have none and whose score stands out from chance: what taught a good motion is realistic and what fights it "
        "unrealistic, with a bad one the other way round. Null: none is suggested.",
    )
    filter: Filter | None = Field(
        default=None, description="Push only clips that pass, beside each query's own filter."
    )

    @model_validator(mode="after")
    def _asks_for_clips(self) -> Self:
        if not self.top and not self.bottom:
            raise PydanticCustomError(UNFIT, "Of top and bottom one should be greater than 0")
        return self


class LeftOut(Document):
    """A clip that was not pushed."""

    clip: str = Field(description="The clip's id.")
    reason: str = Field(description="Why, for people.")


class Callback(Document):
    """Whether Label Studio tells the service of what reviewers say."""

    active: bool = Field(description="False: labels come only when the project is pulled.")
    reason: str | None = Field(description="Why it does not, and what to set; null where it does.")


class PushedProject(Document):
    """What a push came to."""

    model_config = ConfigDict(json_schema_extra={"examples": [PUSHED]})

    id: int = Field(description="Label Studio's number of the project.")
    url: str = Field(description="The project's page.")
    title: str
    clips: int = Field(description="How many clips of this push are tasks of the project now.")
    tasks_created: int = Field(description="Tasks that this push made.")
    tasks_there: int = Field(description="Clips of this push that were tasks already; their tasks stay as they are.")
    links_renewed: int = Field(description="Tasks of the project that got a new link to their video.")
    left_out: tuple[LeftOut, ...] = Field(description="Clips that cannot be shown, with the reason.")
    callback: Callback


class KnownProject(Document):
    """A project that clips were pushed to."""

    id: int = Field(description="Label Studio's number of the project.")
    url: str = Field(description="The project's page.")
    title: str = Field(description="By which a push finds it again.")
    created_at: datetime = Field(description="When the first clips were pushed to it.")


class KnownProjects(Document):
    """The projects that clips were pushed to, the oldest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"projects": [{**PROJECT, "created_at": "2026-03-01T12:00:00Z"}]}]}
    )

    projects: list[KnownProject]


class Unread(Document):
    """A task of which not everything became part of its clip's label."""

    task: int = Field(description="Label Studio's number of the task.")
    clip: str = Field(description="The clip's id.")
    left_out: str = Field(description="What could not be read, for people.")


class PulledProject(Document):
    """What a pull came to, in tasks."""

    model_config = ConfigDict(json_schema_extra={"examples": [PULLED]})

    tasks: int = Field(description="All tasks of the project.")
    labelled: int = Field(description="Whose clip got a label from this task for the first time.")
    changed: int = Field(description="Whose label was replaced by what the reviewer says now.")
    withdrawn: int = Field(description="Whose label was taken back, as the reviewer did.")
    unchanged: int = Field(description="Of which nothing was said that is newer than what holds.")
    unknown: int = Field(description="That show no clip of the catalog.")
    left_out: tuple[Unread, ...] = Field(
        description="The first 100 tasks of which something could not be read: of the labels that this pull made, and "
        "of those that stay as they are because nothing could be read."
    )


class Noted(Document):
    """What is known of a change in Label Studio."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"noted": 1}]})

    noted: int = Field(description="How many tasks are read again. 0: it says nothing of a clip.")

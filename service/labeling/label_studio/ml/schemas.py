"""What Label Studio sends to an ML backend and is answered (its version 1.23).

Of what it sends only what is needed is kept: its access token and people's annotations come with it.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from motiontrace.documents.base import Document
from motiontrace.documents.queries import StandsOut

MAX_BODY_BYTES = 16 << 20
MAX_TASKS = 2000  # Label Studio asks at once for all tasks that somebody has selected; these take half a second
MAX_CONFIG = 1 << 20  # characters

CONFIG = '<View><Video name="video" value="$video" frameRate="$fps"/>...</View>'
SETUP: JsonDict = {"project": "2.1795363290", "schema": CONFIG}
TASK: JsonDict = {
    "id": 13,
    "data": {"clip_id": "bounce-0412", "query_id": "5f0c0c4e8d5b4d0f9a5b1f6f2f7f3c11", "fps": 16.0},
}
PREDICTION: JsonDict = {
    "model_version": "motiontrace",
    "score": 0.6142,
    "result": [
        {
            "id": "verdict",
            "from_name": "verdict",
            "to_name": "video",
            "type": "choices",
            "value": {"choices": ["realistic"]},
        }
    ],
    "stands_out": "teaches",
    "chance_low": -0.2590,
    "chance_high": 0.2695,
}

Config = Annotated[str, Field(max_length=MAX_CONFIG, description="The project's labelling set-up, as XML.")]


class SetupCall(BaseModel):
    """A project that the backend is connected to."""

    model_config = ConfigDict(json_schema_extra={"examples": [SETUP]})

    label_config: Config = Field(alias="schema")


class TaskData(BaseModel):
    """What a task shows, as far as it is of use here; whatever is in it, a task spoils no other."""

    clip_id: Any = Field(default=None, description="Of the clip that it shows.")
    query_id: Any = Field(default=None, description="Of the query for which it is shown.")
    fps: Any = Field(default=None, description="Frames a second by which Label Studio counts.")


class Task(BaseModel):
    """A task of Label Studio."""

    data: TaskData


class PredictCall(BaseModel):
    """Tasks that predictions are wanted of."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tasks": [TASK], "label_config": CONFIG}]})

    tasks: Annotated[list[Task], Field(max_length=MAX_TASKS)]
    label_config: Config


class MLHealth(Document):
    """That the backend is there."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "UP", "model_class": "motiontrace"}]})

    status: str = "UP"
    model_class: str = "motiontrace"


class MLSetup(Document):
    """Under which version the backend's predictions are filed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model_version": "motiontrace"}]})

    model_version: str


class MLVersions(Document):
    """The versions that there are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"versions": ["motiontrace"]}]})

    versions: list[str]


class MLPrediction(Document):
    """What is predicted of a task."""

    model_version: str
    score: float = Field(description="The clip's influence on the query's motion, as Label Studio has scores: 0 to 1.")
    result: list[dict[str, Any]] = Field(description="Answers and regions, as Label Studio has them in annotations.")
    stands_out: StandsOut | None = Field(
        description="What the clip does to the query's motion; null: nothing that chance does not explain."
    )
    chance_low: float | None = Field(description="A clip fights the motion only below this score, -1 to 1.")
    chance_high: float | None = Field(description="A clip stands out among those that teach only above this score.")


class MLPredictions(Document):
    """One prediction for each task, in their order; an empty list where there is nothing to predict."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": [PREDICTION, []]}]})

    # No prediction at all, not one of nothing: Label Studio would keep that and never ask again.
    results: list[MLPrediction | Annotated[list[MLPrediction], Field(max_length=0)]]


class MLHeard(Document):
    """Nothing: what is sent here is not looked at."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

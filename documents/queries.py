"""The documents of /v1/queries."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from motiontrace.documents.base import PATH, Document
from motiontrace.documents.chance import CHANCE, Chance
from motiontrace.documents.filters import Filter
from motiontrace.preconditions import Precondition

Status = Literal["queued", "running", "done", "failed", "cancelled"]
UNFINISHED: tuple[Status, ...] = ("queued", "running")
Stage = Literal["loading", "decoding", "motion", "gradient", "scoring"]
Outcome = Literal["ranked", "no_motion"]
StandsOut = Literal["teaches", "fights"]

HIT: JsonDict = {
    "id": "bounce-0412",
    "score": 0.6142,
    "rank": 1,
    "percentile": 100.0,
    "stands_out": "teaches",
    "file_name": "bounce-0412.mp4",
    "path": "toys/bounce-0412.mp4",
    "caption": "a red ball bounces on a wooden floor",
    "metadata": {"motion": "bounce"},
    "verdict": "realistic",
    "decision": "keep",
    "video_url": "/v1/clips/bounce-0412/video",
    "thumbnail_url": "/v1/clips/bounce-0412/thumbnail",
}
SUMMARY: JsonDict = {
    "id": "5f0c0c4e8d5b4d0f9a5b1f6f2f7f3c11",
    "index": "demo",
    "prompt": "a ball bounces",
    "clip": None,
    "k": 10,
    "filter": None,
    "precondition": "none",
    "damping": None,
    "status": "done",
    "outcome": "ranked",
    "created_at": "2026-03-01T12:00:00Z",
    "finished_at": "2026-03-01T12:00:02Z",
}


class Place(Document):
    """Where a clip stands in a query's ranking."""

    id: str = Field(description="The clip's id.")
    score: float = Field(
        description="Influence: the cosine of the two motion gradients, -1 to 1; of a query that is centred, less the "
        "mean of the index, -2 to 2."
    )
    rank: int = Field(description="1 is the most positive influence of all ranked clips.")
    percentile: float = Field(description="0 to 100: 100 is the top of the list, 0 its bottom.")
    stands_out: StandsOut | None = Field(
        default=None,
        description="What the clip does to the motion: `teaches` or `fights` it (moves like the clip that was asked "
        "about, or against it). Null: its score is within what chance explains, or chance is not known.",
    )


class Ranking(Document):
    """Both ends of the list, as found when the query was answered; what the catalog keeps of a result."""

    message: str | None = None
    chance: Chance | None = None
    ranked: int
    top: list[Place]
    bottom: list[Place]


class Hit(Place):
    """One clip of a result."""

    model_config = ConfigDict(json_schema_extra={"examples": [HIT]})

    file_name: str | None = Field(
        default=None, description="The name of the clip's file; null once the clip has left the catalog."
    )
    path: str | None = Field(default=None, description=PATH)
    caption: str | None = Field(description="The clip's caption in the index; null once the clip has left the catalog.")
    metadata: dict[str, Any] = Field(description="The other columns of the clip's row in the index's manifest.")
    verdict: str | None = Field(description="What reviewers last said of the clip; null where nobody has.")
    decision: str | None = Field(description="What they want done with it: keep, down_weight, drop; or null.")
    video_url: str = Field(description="Path of the clip's video file.")
    thumbnail_url: str = Field(description="Path of a JPEG still.")


class Video(Document):
    """The query's video, as it was decoded."""

    sha256: str = Field(description="Digest of the uploaded file, hex.")
    width: int | None = Field(default=None, description="Pixels, as displayed. Null until decoded.")
    height: int | None = Field(default=None, description="Pixels, as displayed. Null until decoded.")
    frames: int | None = Field(default=None, description="Frames in the file. Null until decoded.")
    seconds: float | None = Field(default=None, description="Length. Null until decoded.")
    fps: float | None = Field(default=None, description="Average frames a second. Null until decoded.")
    codec: str | None = Field(default=None, description="Null until decoded.")
    damaged_frames: int | None = Field(
        default=None, description="Pictures that are missing or not right, as decoding found them. Null until decoded."
    )
    time_jumps: int | None = Field(
        default=None,
        description="How often the file's clock starts again, leaps or stands; its time goes on behind the picture "
        "before. "
        "Null until decoded.",
    )


class Motion(Document):
    """How much moves in the query's video, in pixels a sampled frame at the size flow was estimated at."""

    mean: float
    peak: float = Field(description="The robust peak that decides whether the video moves.")
    floor: float = Field(description="A peak below this is no motion.")
    moves: bool = Field(description="False: nothing moved enough, and nothing was ranked.")
    per_frame: list[float] = Field(description="Mean displacement of each sampled frame.")


class Statistics(Document):
    """What is known of all vectors of an index, by which a query was preconditioned."""

    digest: str = Field(description="SHA-256 of the sums, hex: the same where an index holds the same vectors.")
    manifest_version: int = Field(description="The version of the index that they were taken of.")
    vectors: int = Field(description="How many vectors it had.")


class QueryError(Document):
    """Why a query failed."""

    code: str = Field(description="Short, stable name of the reason, for programs.")
    message: str = Field(description="What was wrong and what to do.")


class QuerySummary(Document):
    """A query without its result."""

    model_config = ConfigDict(json_schema_extra={"examples": [SUMMARY]})

    id: str
    index: str = Field(description="The index that was asked.")
    prompt: str | None = Field(
        description="The prompt the video was generated from; null where a clip was asked about."
    )
    clip: str | None = Field(description="The clip that was asked about; null where it was a video.")
    k: int = Field(description="How many clips were asked for from each end of the list.")
    filter: Filter | None = Field(description="Which clips were ranked; null: all that move.")
    precondition: Precondition = Field(
        default="none", description="How the query was seen against what all clips of the index share."
    )
    damping: float | None = Field(
        default=None, description="Of a query that is whitened: lambda as a multiple of the mean eigenvalue."
    )
    status: Status
    outcome: Outcome | None = Field(
        default=None, description="Of a query that is done: whether it could be ranked, or nothing moved."
    )
    created_at: datetime
    finished_at: datetime | None = None


class Query(QuerySummary):
    """A query and, once it is done, its result."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **SUMMARY,
                    "stage": None,
                    "place": None,
                    "message": None,
                    "recipe_digest": "3f1c9a0e6f9d5b1c7a28e4d09b6f3a75c1d2e8f40716253a4b5c6d7e8f901234",
                    "gradient_of": None,
                    "statistics": None,
                    "video": {
                        "sha256": "9b74c9897bac770ffc029102a200c5de5f3d2b5c8a5f4e3d2c1b0a9f8e7d6c5b",
                        "width": 832,
                        "height": 480,
                        "frames": 81,
                        "seconds": 5.06,
                        "fps": 16.0,
                        "codec": "h264",
                    },
                    "motion": {
                        "mean": 0.42,
                        "peak": 3.1,
                        "floor": 0.3,
                        "moves": True,
                        "per_frame": [0.4, 0.44],
                    },
                    "chance": CHANCE,
                    "hint": None,
                    "ranked": 600,
                    "top": [HIT],
                    "bottom": [
                        {
                            **HIT,
                            "id": "static-0007",
                            "score": -0.2813,
                            "rank": 600,
                            "percentile": 0.0,
                            "stands_out": "fights",
                            "file_name": "static-0007.mp4",
                            "path": "toys/static-0007.mp4",
                            "caption": "a blue box stands still while the camera pans",
                            "metadata": {"motion": "camera"},
                            "verdict": None,
                            "decision": None,
                            "video_url": "/v1/clips/static-0007/video",
                            "thumbnail_url": "/v1/clips/static-0007/thumbnail",
                        }
                    ],
                    "timings": {"decoding": 0.05, "motion": 0.03, "gradient": 0.7, "scoring": 0.001},
                    "error": None,
                }
            ]
        }
    )

    stage: Stage | None = Field(default=None, description="What a running query is at, or a failed one was.")
    place: int | None = Field(default=None, description="A queued query's place in line; the next to be taken has 1.")
    message: str | None = Field(default=None, description="A sentence to show, where the outcome needs one.")
    recipe_digest: str | None = Field(default=None, description="Digest of the index's recipe, hex.")
    gradient_of: str | None = Field(
        default=None, description="The earlier query of the same video and prompt whose gradient was taken over."
    )
    statistics: Statistics | None = Field(
        default=None, description="By which the query was preconditioned; null where it was not, or is not done."
    )
    video: Video | None = Field(default=None, description="Null where a clip was asked about.")
    motion: Motion | None = Field(default=None, description="Null until the motion stage is over.")
    chance: Chance | None = Field(
        default=None,
        description="Where chance lies among the scores; null where nothing was ranked, or the query was answered "
        "before that was measured.",
    )
    hint: str | None = Field(default=None, description="How to read the scores, where that needs a sentence.")
    ranked: int = Field(default=0, description="How many clips were scored and ranked.")
    top: list[Hit] = Field(
        default=[],
        description="The k clips with the highest scores, best first: those that taught this motion most, where they "
        "stand out.",
    )
    bottom: list[Hit] = Field(
        default=[],
        description="The k clips with the lowest scores, the lowest first: those that are least related, and fight "
        "the motion only where they stand out. Overlaps `top` where fewer than 2 k clips are ranked.",
    )
    timings: dict[str, float] = Field(default={}, description="Seconds that each stage took.")
    error: QueryError | None = Field(default=None, description="Of a failed query: why.")


class QueryList(Document):
    """The queries of one call, in the order in which they were sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"queries": [SUMMARY]}]})

    queries: list[Query]


class RankingPage(Document):
    """A part of the whole ranking, from one of its ends on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ranked": 600, "message": None, "clips": [HIT], "next": None}]}
    )

    ranked: int = Field(description="How many clips are ranked, after the filters.")
    chance: Chance | None = Field(description="Where chance lies among the scores; null where nothing is ranked.")
    message: str | None = Field(default=None, description="A sentence to show: what of the filter no clip has.")
    clips: list[Hit]
    next: str | None = Field(description="Path of the next page; null on the last.")


class QueryPage(Document):
    """A page of queries, newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"queries": [SUMMARY], "next": None}]})

    queries: list[QuerySummary]
    next: str | None = Field(description="Path of the next page; null on the last.")

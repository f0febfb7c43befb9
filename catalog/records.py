"""The tables: clips, their labels, indexes, each clip's outcome in an index, queries, selections, labelling, keys."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from motiontrace.catalog.errors import RESTORE, DatabaseDamagedError

Outcome = Literal["indexed", "no_motion", "failed"]
QueryStatus = Literal["queued", "running", "done", "failed", "cancelled"]
QueryOutcome = Literal["ranked", "no_motion"]
Decision = Literal["keep", "down_weight", "drop"]


class UTCDateTime(TypeDecorator[datetime]):
    """A moment in UTC, timezone-aware in Python; SQLite itself keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time; turn any other into UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: use datetime.now(UTC)")
        return value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        """Say of a text that is no time, in a file that was damaged, that it is none."""
        read = super().result_processor(dialect, coltype)

        def checked(value: Any) -> datetime | None:
            try:
                found: datetime | None = value if read is None else read(value)
            except (TypeError, ValueError) as error:
                raise DatabaseDamagedError(f"The database holds {value!r} where a time should be. {RESTORE}") from error
            return found

        return checked

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the time back in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """Give this moment, timezone-aware, in UTC."""
    return datetime.now(UTC)


# Ids are ordered by code point everywhere, so that pages and segments sort alike on every database.
Identifier = String(200).with_variant(String(200, collation="C"), "postgresql")
Object = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def _one_of(column: str, values: Any) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in get_args(values))})"


class Record(DeclarativeBase):
    """Base of the tables; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ClipRecord(Record):
    """A training clip, whichever indexes have it: its file and what that is, and how it was described last.

    An index goes by its own entries: it may have been told of another path, caption or metadata.
    """

    __tablename__ = "clips"

    id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    # As the run told that named it last, into whichever index.
    path: Mapped[str] = mapped_column(Text)  # absolute
    sha256: Mapped[str | None] = mapped_column(String(64))  # of the file; None where it could not be read
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    modified_ns: Mapped[int | None] = mapped_column(BigInteger)  # of the file, as the file system tells it
    caption: Mapped[str] = mapped_column(Text)
    extra: Mapped[dict[str, Any]] = mapped_column(Object)  # the manifest's other columns
    # As decoded and displayed; None until the clip has been decoded.
    width: Mapped[int | None]
    height: Mapped[int | None]
    frames: Mapped[int | None]
    seconds: Mapped[float | None]
    fps: Mapped[float | None]
    codec: Mapped[str | None] = mapped_column(String(64))
    damaged_frames: Mapped[int | None]  # pictures that are missing, or not right; None: not looked for
    time_jumps: Mapped[int | None]  # how often its clock starts again, leaps or stands
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)


class IndexRecord(Record):
    """Clips' motion gradients made by one recipe; the vectors are in the directory of its name."""

    __tablename__ = "indexes"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Identifier, unique=True)
    recipe: Mapped[str] = mapped_column(Text)  # JSON, as the recipe writes itself
    recipe_digest: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(Text)  # where the model was loaded from
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)


class EntryRecord(Record):
    """What one index was told of a clip, and what became of it there."""

    __tablename__ = "entries"
    __table_args__ = (
        CheckConstraint(_one_of("outcome", Outcome), "outcome"),
        # A vector and the outcome "indexed" go together.
        CheckConstraint("(outcome = 'indexed') = (segment IS NOT NULL)", "segment"),
        Index("ix_entries_index_id_outcome", "index_id", "outcome", "clip_id"),
    )

    index_id: Mapped[int] = mapped_column(ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True)
    clip_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    # What the index's manifest says of it, and its file as it was then; as of clips.
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str | None] = mapped_column(String(64))
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    modified_ns: Mapped[int | None] = mapped_column(BigInteger)
    caption: Mapped[str] = mapped_column(Text)
    extra: Mapped[dict[str, Any]] = mapped_column(Object)
    described_at: Mapped[datetime] = mapped_column(UTCDateTime)  # when any of these was last told otherwise
    outcome: Mapped[Outcome] = mapped_column(String(16))
    reason_code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(64))
    segment: Mapped[str | None] = mapped_column(String(64))  # file that holds the vector
    motion_mean: Mapped[float | None]  # pixels a frame
    motion_peak: Mapped[float | None]  # pixels a frame
    motion_region: Mapped[dict[str, Any] | None] = mapped_column(Object)  # when and where it moves: [start, end)
    compute_seconds: Mapped[float | None]
    computed_at: Mapped[datetime] = mapped_column(UTCDateTime)


class LabelRecord(Record):
    """What a reviewer said of a clip. The newest of a clip holds; those before it are its history."""

    __tablename__ = "labels"
    __table_args__ = (
        CheckConstraint(_one_of("decision", Decision), "decision"),
        Index("ix_labels_clip_id", "clip_id", "id"),
        Index("ix_labels_verdict", "current", "verdict", "clip_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    clip_id: Mapped[str] = mapped_column(Identifier, ForeignKey("clips.id", ondelete="CASCADE"))
    verdict: Mapped[str | None] = mapped_column(String(64))  # realistic, cartoon, ...: the users' own words
    decision: Mapped[Decision | None] = mapped_column(String(16))  # what training should do with the clip
    note: Mapped[str] = mapped_column(Text)
    ranges: Mapped[list[dict[str, Any]]] = mapped_column(Object, default=list)  # parts of the clip, in seconds
    boxes: Mapped[list[dict[str, Any]]] = mapped_column(Object, default=list)  # things in it, by keyframes
    author: Mapped[str] = mapped_column(String(200))
    tool: Mapped[str] = mapped_column(String(64))  # where it was said: api, label-studio, ...
    current: Mapped[bool]  # the newest of its clip
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)  # when it was said
    confirmed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # when the same was last said again

    @property
    def last_said_at(self) -> datetime:
        """When it was last said."""
        return self.confirmed_at or self.created_at


class LabelStudioProjectRecord(Record):
    """A project of a Label Studio server that clips were pushed to."""

    __tablename__ = "label_studio_projects"
    __table_args__ = (UniqueConstraint("server", "project"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    server: Mapped[str] = mapped_column(String(500))  # its address, without a closing slash
    project: Mapped[int]  # the server's own number of it
    title: Mapped[str] = mapped_column(String(200))  # by which a push finds it again
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)


class LabelStudioTaskRecord(Record):
    """A clip that is a task of a project, and which of the task's annotations its label came from."""

    __tablename__ = "label_studio_tasks"
    __table_args__ = (
        Index("ix_label_studio_tasks_clip_id", "clip_id"),
        Index("ix_label_studio_tasks_annotation", "project_id", "annotation"),
    )

    project_id: Mapped[int] = mapped_column(
        ForeignKey("label_studio_projects.id", ondelete="CASCADE"), primary_key=True
    )
    task: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # the server's own number of it
    clip_id: Mapped[str] = mapped_column(Identifier, ForeignKey("clips.id", ondelete="CASCADE"))
    # Of the annotation that was last taken over; None: none, or it is gone.
    annotation: Mapped[int | None]
    annotated_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    label_id: Mapped[int | None] = mapped_column(ForeignKey("labels.id", ondelete="SET NULL"))  # made of it


class LabelStudioChangeRecord(Record):
    """A task that Label Studio says has changed, and that is to be read again: the inbox of its webhooks."""

    __tablename__ = "label_studio_changes"
    __table_args__ = (Index("ix_label_studio_changes_due_at", "due_at"),)

    project_id: Mapped[int] = mapped_column(
        ForeignKey("label_studio_projects.id", ondelete="CASCADE"), primary_key=True
    )
    task: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int]  # one more with every call: what came while the task was read is read for again
    attempts: Mapped[int]
    due_at: Mapped[datetime] = mapped_column(UTCDateTime)


class SecretRecord(Record):
    """A key that the service made for itself, such as that by which it signs links."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)


class ApiKeyRecord(Record):
    """Who may call the service. The secret itself is nowhere: only its digest."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)  # the public part of the key
    name: Mapped[str] = mapped_column(String(200))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(Object)
    requests_per_minute: Mapped[int | None]  # None: the service's setting
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # to the minute
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


_HAS_VIDEO = text("video_path IS NOT NULL")


class QueryRecord(Record):
    """A question: which clips taught this motion? Asked of a video, or of a clip. The row is the job."""

    __tablename__ = "queries"
    __table_args__ = (
        CheckConstraint(_one_of("status", QueryStatus), "status"),
        CheckConstraint(_one_of("outcome", QueryOutcome), "outcome"),
        CheckConstraint("(clip_id IS NULL) = (video_sha256 IS NOT NULL)", "subject"),
        CheckConstraint("(status = 'running') = (worker IS NOT NULL AND lease_until IS NOT NULL)", "lease"),
        Index("ix_queries_status_created_at", "status", "created_at", "id"),
        Index("ix_queries_created_at", "created_at", "id"),
        Index("ix_queries_video_sha256", "video_sha256", "recipe_digest"),
        # Of the queries that have a video: few of all.
        Index("ix_queries_finished_at", "finished_at", sqlite_where=_HAS_VIDEO, postgresql_where=_HAS_VIDEO),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    index_id: Mapped[int] = mapped_column(ForeignKey("indexes.id", ondelete="CASCADE"), index=True)
    clip_id: Mapped[str | None] = mapped_column(Identifier)  # asked of this clip; else of a video
    prompt: Mapped[str | None] = mapped_column(Text)  # of the video
    video_path: Mapped[str | None] = mapped_column(Text)  # None once it has expired
    video_sha256: Mapped[str | None] = mapped_column(String(64))
    k: Mapped[int]
    filter: Mapped[dict[str, Any] | None] = mapped_column(Object)  # which clips are ranked; None: all
    precondition: Mapped[dict[str, Any] | None] = mapped_column(Object)  # "kind", and "damping" to whiten; None: none
    status: Mapped[QueryStatus] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)  # how often work on it has begun
    worker: Mapped[str | None] = mapped_column(String(64))  # who works on it, until when it is that worker's
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    stage: Mapped[str | None] = mapped_column(String(32))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    recipe_digest: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[QueryOutcome | None] = mapped_column(String(16))  # of a query that is done
    gradient: Mapped[bytes | None] = mapped_column(LargeBinary)  # float32, little-endian
    # Of a query that is preconditioned: what clips are scored against, by which statistics of the index.
    direction: Mapped[bytes | None] = mapped_column(LargeBinary)  # float32, little-endian; None: nothing is left
    score_offset: Mapped[float | None]  # taken from each score
    statistics: Mapped[dict[str, Any] | None] = mapped_column(Object)  # "digest", "manifest_version", "vectors"
    result: Mapped[dict[str, Any] | None] = mapped_column(Object)
    timings: Mapped[dict[str, Any] | None] = mapped_column(Object)  # seconds by stage
    info: Mapped[dict[str, Any] | None] = mapped_column(Object)  # what was seen in the video
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class VideoGradientRecord(Record):
    """The motion gradient of a video that is no clip, computed by a recipe: the same for whoever asks again."""

    __tablename__ = "video_gradients"

    recipe_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    video_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    prompt_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)  # of its UTF-8
    gradient: Mapped[bytes | None] = mapped_column(LargeBinary)  # float32, little-endian; None: nothing moves
    motion_peak: Mapped[float]  # pixels a frame
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)


class SelectionRecord(Record):
    """Clips chosen for training, by what they were chosen: enough to choose the same again without the model."""

    __tablename__ = "selections"
    __table_args__ = (Index("ix_selections_created_at", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200), unique=True)  # the users' own
    # None once the index has been deleted; its name stays.
    index_id: Mapped[int | None] = mapped_column(ForeignKey("indexes.id", ondelete="SET NULL"), index=True)
    index_name: Mapped[str] = mapped_column(Identifier)
    recipe_digest: Mapped[str] = mapped_column(String(64))
    manifest_version: Mapped[int]  # of the vectors that were ranked
    settings: Mapped[dict[str, Any]] = mapped_column(Object)
    queries: Mapped[list[dict[str, Any]]] = mapped_column(Object)  # those that voted, then those that were left out
    gradients: Mapped[bytes] = mapped_column(LargeBinary)  # of those that voted, in that order: float32 [queries, dim]
    counts: Mapped[dict[str, Any]] = mapped_column(Object)  # how many clips came to what
    chosen_sha256: Mapped[str] = mapped_column(String(64))  # of the ids and weights of the chosen clips, in order
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)  # before the first clip was read for it

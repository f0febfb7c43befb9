"""Clips, indexes, entries and queries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# As the schema was at this step: later changes of catalog.records do not reach back here.
_identifier = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")
_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "clips",
        sa.Column("id", _identifier, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("modified_ns", sa.BigInteger()),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.Column("extra", _object, nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("frames", sa.Integer()),
        sa.Column("seconds", sa.Double()),
        sa.Column("fps", sa.Double()),
        sa.Column("codec", sa.String(64)),
        sa.Column("created_at", _moment, nullable=False),
        sa.Column("updated_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_clips"),
    )
    op.create_table(
        "indexes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", _identifier, nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("recipe_digest", sa.String(64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.Column("updated_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_indexes"),
        sa.UniqueConstraint("name", name="uq_indexes_name"),
    )
    op.create_table(
        "entries",
        sa.Column("index_id", sa.Integer(), nullable=False),
        sa.Column("clip_id", _identifier, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason_code", sa.String(64)),
        sa.Column("reason", sa.Text()),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("segment", sa.String(64)),
        sa.Column("motion_mean", sa.Double()),
        sa.Column("motion_peak", sa.Double()),
        sa.Column("compute_seconds", sa.Double()),
        sa.Column("computed_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("index_id", "clip_id", name="pk_entries"),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name="fk_entries_index_id_indexes", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["clip_id"], ["clips.id"], name="fk_entries_clip_id_clips", ondelete="CASCADE"),
        sa.CheckConstraint("outcome IN ('indexed', 'no_motion', 'failed')", name=op.f("ck_entries_outcome")),
        sa.CheckConstraint("(outcome = 'indexed') = (segment IS NOT NULL)", name=op.f("ck_entries_segment")),
    )
    op.create_index("ix_entries_clip_id", "entries", ["clip_id"])
    op.create_index("ix_entries_index_id_outcome", "entries", ["index_id", "outcome", "clip_id"])
    op.create_table(
        "queries",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("index_id", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("video_path", sa.Text(), nullable=False),
        sa.Column("video_sha256", sa.String(64), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(32)),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.Text()),
        sa.Column("recipe_digest", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("gradient", sa.LargeBinary()),
        sa.Column("result", _object),
        sa.Column("timings", _object),
        sa.Column("info", _object),
        sa.Column("created_at", _moment, nullable=False),
        sa.Column("started_at", _moment),
        sa.Column("finished_at", _moment),
        sa.PrimaryKeyConstraint("id", name="pk_queries"),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name="fk_queries_index_id_indexes", ondelete="CASCADE"),
        sa.CheckConstraint("status IN ('queued', 'running', 'done', 'failed')", name=op.f("ck_queries_status")),
        sa.CheckConstraint("outcome IN ('ranked', 'no_motion')", name=op.f("ck_queries_outcome")),
    )
    op.create_index("ix_queries_index_id", "queries", ["index_id"])
    op.create_index("ix_queries_created_at", "queries", ["created_at", "id"])
    op.create_index("ix_queries_status_created_at", "queries", ["status", "created_at", "id"])


def downgrade() -> None:
    """Undo this step."""
    for table in ("queries", "entries", "indexes", "clips"):
        op.drop_table(table)

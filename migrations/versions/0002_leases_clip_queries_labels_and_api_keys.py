"""Leases, filters and clips in queries; labels; API keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As the schema was at this step: later changes of catalog.records do not reach back here.
_identifier = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")
_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply this step. Queries that were running are queued again: they have no lease."""
    op.execute("UPDATE queries SET status = 'queued', started_at = NULL, stage = NULL WHERE status = 'running'")
    # SQLite cannot alter a table: Alembic copies it.
    with op.batch_alter_table("queries") as table:
        table.add_column(sa.Column("clip_id", _identifier))
        table.add_column(sa.Column("filter", _object))
        table.add_column(sa.Column("worker", sa.String(64)))
        table.add_column(sa.Column("lease_until", _moment))
        table.alter_column("prompt", existing_type=sa.Text(), nullable=True)
        table.alter_column("video_path", existing_type=sa.Text(), nullable=True)
        table.alter_column("video_sha256", existing_type=sa.String(64), nullable=True)
        table.drop_constraint(op.f("ck_queries_status"), type_="check")
        table.create_check_constraint(
            op.f("ck_queries_status"), "status IN ('queued', 'running', 'done', 'failed', 'cancelled')"
        )
        table.create_check_constraint(op.f("ck_queries_subject"), "(clip_id IS NULL) = (video_sha256 IS NOT NULL)")
        table.create_check_constraint(
            op.f("ck_queries_lease"), "(status = 'running') = (worker IS NOT NULL AND lease_until IS NOT NULL)"
        )
    op.create_index("ix_queries_video_sha256", "queries", ["video_sha256", "recipe_digest"])
    has_video = sa.text("video_path IS NOT NULL")
    op.create_index(
        "ix_queries_finished_at", "queries", ["finished_at"], sqlite_where=has_video, postgresql_where=has_video
    )
    op.create_table(
        "labels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("clip_id", _identifier, nullable=False),
        sa.Column("verdict", sa.String(64)),
        sa.Column("decision", sa.String(16)),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("tool", sa.String(64), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_labels"),
        sa.ForeignKeyConstraint(["clip_id"], ["clips.id"], name="fk_labels_clip_id_clips", ondelete="CASCADE"),
        sa.CheckConstraint("decision IN ('keep', 'down_weight', 'drop')", name=op.f("ck_labels_decision")),
    )
    op.create_index("ix_labels_clip_id", "labels", ["clip_id", "id"])
    op.create_index("ix_labels_verdict", "labels", ["current", "verdict", "clip_id"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("scopes", _object, nullable=False),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("created_at", _moment, nullable=False),
        sa.Column("last_used_at", _moment),
        sa.Column("revoked_at", _moment),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )


def downgrade() -> None:
    """Undo this step; queries that the schema before cannot hold are deleted."""
    op.drop_table("api_keys")
    op.drop_table("labels")
    op.execute("DELETE FROM queries WHERE clip_id IS NOT NULL OR video_path IS NULL OR status = 'cancelled'")
    op.execute(
        "UPDATE queries SET status = 'queued', worker = NULL, lease_until = NULL, stage = NULL WHERE status = 'running'"
    )
    op.drop_index("ix_queries_finished_at", "queries")
    op.drop_index("ix_queries_video_sha256", "queries")
    with op.batch_alter_table("queries") as table:
        for name in ("ck_queries_lease", "ck_queries_subject", "ck_queries_status"):
            table.drop_constraint(op.f(name), type_="check")
        table.create_check_constraint(op.f("ck_queries_status"), "status IN ('queued', 'running', 'done', 'failed')")
        table.alter_column("prompt", existing_type=sa.Text(), nullable=False)
        table.alter_column("video_path", existing_type=sa.Text(), nullable=False)
        table.alter_column("video_sha256", existing_type=sa.String(64), nullable=False)
        for name in ("lease_until", "worker", "filter", "clip_id"):
            table.drop_column(name)

"""Selections of clips for training, and the gradients of the videos that they were chosen by."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As the schema was at this step: later changes of catalog.records do not reach back here.
_identifier = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")
_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "video_gradients",
        sa.Column("recipe_digest", sa.String(64), nullable=False),
        sa.Column("video_sha256", sa.String(64), nullable=False),
        sa.Column("prompt_sha256", sa.String(64), nullable=False),
        sa.Column("gradient", sa.LargeBinary()),
        sa.Column("motion_peak", sa.Double(), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("recipe_digest", "video_sha256", "prompt_sha256", name="pk_video_gradients"),
    )
    op.create_table(
        "selections",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("index_id", sa.Integer()),
        sa.Column("index_name", _identifier, nullable=False),
        sa.Column("recipe_digest", sa.String(64), nullable=False),
        sa.Column("manifest_version", sa.Integer(), nullable=False),
        sa.Column("settings", _object, nullable=False),
        sa.Column("queries", _object, nullable=False),
        sa.Column("gradients", sa.LargeBinary(), nullable=False),
        sa.Column("counts", _object, nullable=False),
        sa.Column("chosen_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_selections"),
        sa.UniqueConstraint("name", name="uq_selections_name"),
        sa.ForeignKeyConstraint(
            ["index_id"], ["indexes.id"], name="fk_selections_index_id_indexes", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_selections_index_id", "selections", ["index_id"])
    op.create_index("ix_selections_created_at", "selections", ["created_at", "id"])


def downgrade() -> None:
    """Undo this step."""
    for name in ("selections", "video_gradients"):
        op.drop_table(name)

"""When and where clips move; ranges and boxes of labels; projects of Label Studio; the service's own secrets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# As the schema was at this step: later changes of catalog.records do not reach back here.
_identifier = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")
_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply this step. Clips that were indexed before have no motion region until they are indexed again."""
    op.add_column("entries", sa.Column("motion_region", _object))
    for name in ("ranges", "boxes"):
        with op.batch_alter_table("labels") as table:
            table.add_column(sa.Column(name, _object, nullable=False, server_default="[]"))
        with op.batch_alter_table("labels") as table:
            table.alter_column(name, server_default=None)
    op.add_column("labels", sa.Column("confirmed_at", _moment))
    op.create_table(
        "label_studio_projects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("server", sa.String(500), nullable=False),
        sa.Column("project", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_label_studio_projects"),
        sa.UniqueConstraint("server", "project", name="uq_label_studio_projects_server"),
    )
    op.create_table(
        "label_studio_tasks",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("clip_id", _identifier, nullable=False),
        sa.Column("annotation", sa.Integer()),
        sa.Column("annotated_at", _moment),
        sa.Column("label_id", sa.Integer()),
        sa.PrimaryKeyConstraint("project_id", "task", name="pk_label_studio_tasks"),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_studio_projects.id"],
            name="fk_label_studio_tasks_project_id_label_studio_projects",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clips.id"], name="fk_label_studio_tasks_clip_id_clips", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["label_id"], ["labels.id"], name="fk_label_studio_tasks_label_id_labels", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_label_studio_tasks_clip_id", "label_studio_tasks", ["clip_id"])
    op.create_index("ix_label_studio_tasks_annotation", "label_studio_tasks", ["project_id", "annotation"])
    op.create_table(
        "label_studio_changes",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "task", name="pk_label_studio_changes"),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_studio_projects.id"],
            name="fk_label_studio_changes_project_id_label_studio_projects",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_label_studio_changes_due_at", "label_studio_changes", ["due_at"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )


def downgrade() -> None:
    """Undo this step."""
    for name in ("secrets", "label_studio_changes", "label_studio_tasks", "label_studio_projects"):
        op.drop_table(name)
    with op.batch_alter_table("labels") as table:
        table.drop_column("confirmed_at")
        table.drop_column("boxes")
        table.drop_column("ranges")
    op.drop_column("entries", "motion_region")

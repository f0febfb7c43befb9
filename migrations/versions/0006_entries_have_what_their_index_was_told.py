"""An index's entries have what it was told of its clips: path, caption and metadata were all indexes' own until now."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# As the schema was at this step: later changes of catalog.records do not reach back here.
_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_NEEDED: dict[str, sa.types.TypeEngine] = {  # type: ignore[type-arg]
    "path": sa.Text(), "caption": sa.Text(), "extra": _object, "described_at": sa.DateTime(timezone=True),
}  # fmt: skip
_KNOWN: dict[str, sa.types.TypeEngine] = {  # type: ignore[type-arg]
    "sha256": sa.String(64), "bytes": sa.BigInteger(), "modified_ns": sa.BigInteger(),
}  # fmt: skip
_COPIED = ("path", "caption", "extra", "sha256", "bytes", "modified_ns")


def upgrade() -> None:
    """Apply this step. What an entry was told is not known any more: it gets what its clip has, and so does each index.

    An index whose captions another one has overwritten is mended by its own manifest, run again.
    """
    for name, kind in {**_NEEDED, **_KNOWN}.items():
        op.add_column("entries", sa.Column(name, kind))
    copied = ", ".join(f"{name} = clips.{name}" for name in _COPIED)
    op.execute(
        sa.text(
            f"UPDATE entries SET {copied}, described_at = clips.updated_at FROM clips WHERE clips.id = entries.clip_id"
        )
    )
    with op.batch_alter_table("entries") as table:
        for name, kind in _NEEDED.items():
            table.alter_column(name, existing_type=kind, nullable=False)


def downgrade() -> None:
    """Undo this step. Every index then goes by what was told last of a clip, into whichever index."""
    with op.batch_alter_table("entries") as table:
        for name in (*_KNOWN, *_NEEDED):
            table.drop_column(name)

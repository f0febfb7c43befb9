"""How queries are preconditioned, and what their clips were scored against."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# As the schema was at this step: later changes of catalog.records do not reach back here.
_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Apply this step. Queries that were asked before were not preconditioned."""
    op.add_column("queries", sa.Column("precondition", _object))
    op.add_column("queries", sa.Column("direction", sa.LargeBinary()))
    op.add_column("queries", sa.Column("score_offset", sa.Double()))
    op.add_column("queries", sa.Column("statistics", _object))


def downgrade() -> None:
    """Undo this step. Queries that were preconditioned are forgotten: they would be taken for others."""
    op.execute(sa.text("DELETE FROM queries WHERE precondition IS NOT NULL"))
    for name in ("statistics", "score_offset", "direction", "precondition"):
        op.drop_column("queries", name)

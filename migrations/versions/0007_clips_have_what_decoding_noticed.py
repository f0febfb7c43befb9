"""What decoding noticed of a clip's file: pictures that are missing or not right, and a clock that starts again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step. Of clips that were decoded before nothing is known until they are computed anew."""
    op.add_column("clips", sa.Column("damaged_frames", sa.Integer()))
    op.add_column("clips", sa.Column("time_jumps", sa.Integer()))


def downgrade() -> None:
    """Undo this step. What was noticed is forgotten."""
    # Not by a new table in place of the old one: what refers to clips would go with it.
    op.drop_column("clips", "time_jumps")
    op.drop_column("clips", "damaged_frames")

"""What verbs that read a manifest show of the rows that are no clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from motiontrace.indexer.manifest import RefusedRow


def print_refused(console: Console, manifest: Path, clips: int, refused: Sequence[RefusedRow]) -> None:
    """Prints how many rows of a manifest are refused beside its `clips`, by reason, and where the first are."""
    from motiontrace.indexer.manifest import by_reason

    if not refused:
        return
    lines = [f"{len(refused):,} of the {clips + len(refused):,} rows of {manifest} are refused:", *by_reason(refused)]
    console.print("\n  ".join(lines), markup=False, highlight=False, soft_wrap=True)

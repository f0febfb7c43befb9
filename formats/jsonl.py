"""JSON lines: a clip a line, lists and objects as they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from motiontrace.formats.export import Content, Format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.formats.export import Ranking


def _write(ranking: Ranking) -> Content:
    return Content(_portions(ranking))


def _portions(ranking: Ranking) -> Iterator[bytes]:
    for portion in ranking.portions:
        yield "".join(json.dumps(row.document(), ensure_ascii=False) + "\n" for row in portion).encode()


FORMAT = Format("jsonl", "a table for programs", "application/jsonl", _write)

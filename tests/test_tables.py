from io import StringIO

import pytest
from rich.console import Console

from motiontrace.commands.query import hit_table
from service.queries.schemas import Hit


@pytest.mark.parametrize("width", [60, 80, 200])
def test_only_the_caption_gives_way_in_a_narrow_terminal(width):
    hits = [
        Hit(id=f"clip-{n:04d}", score=-0.25, rank=n, percentile=1.0, caption=caption, metadata={"motion": "bounce"},
            verdict=None, decision=None, video_url="/v", thumbnail_url="/t")
        for n, caption in ((9, "a word"), (616, "a very long caption " * 8))
    ]  # fmt: skip
    out = StringIO()
    Console(file=out, width=width).print(hit_table(hits, width, ("motion",)))
    lines = out.getvalue().splitlines()
    assert all(word in lines[0] for word in ("rank", "score", "clip", "motion", "caption"))
    assert all(word in lines[2] for word in ("616", "-0.250", "clip-0616", "bounce", "a very"))
    assert max(map(len, lines)) <= width

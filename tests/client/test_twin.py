"""The client without asyncio is what its generator makes of the other one."""

from __future__ import annotations

from tests.client.twin import SOURCE, TWIN, without_asyncio


def test_the_client_without_asyncio_is_made_of_the_one_with_it() -> None:
    made = without_asyncio(SOURCE.read_text(encoding="utf-8"))
    assert TWIN.read_text(encoding="utf-8") == made, "python -m tests.client.twin writes it anew"

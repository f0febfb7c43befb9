"""A Label Studio that stands in for one, and the catalog that verdicts come back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.labeling.reviews import catalog_of
from tests.service.labeling.standin import StandIn, standing_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.catalog.database import Database
    from motiontrace.service.settings import ServiceSettings


@pytest.fixture
def studio() -> Iterator[StandIn]:
    with standing_in() as studio:
        yield studio


@pytest.fixture
def database(settings: ServiceSettings) -> Iterator[Database]:
    with catalog_of(settings) as database:
        yield database

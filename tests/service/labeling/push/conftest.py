"""A service over an index whose ranking is known, and a Label Studio that it pushes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.service.labeling.push.pushing import ask
from tests.service.labeling.reviewed import ROOMY, index_reviewed
from tests.service.labeling.standin import TOKEN, StandIn

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus


@pytest.fixture
def settings(settings: ServiceSettings, corpus: Corpus, studio: StandIn) -> ServiceSettings:
    index_reviewed(corpus, settings)
    index_reviewed(corpus, settings, ROOMY, others=True)
    return settings.model_copy(update={"label_studio_url": studio.url, "label_studio_token": SecretStr(TOKEN)})


@pytest.fixture
def query(client: TestClient) -> str:
    return ask(client)


@pytest.fixture
def among_others(client: TestClient) -> str:
    """The same query of an index that has unrelated clips, too, so that chance can be told."""
    return ask(client, index=ROOMY)

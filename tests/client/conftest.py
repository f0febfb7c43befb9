"""The client is tested against the real service: most fixtures are those of tests/service."""

import pytest

from tests.service.conftest import postgresql_corpus, pytest_generate_tests, settings, slow_answers, url

__all__ = ["postgresql_corpus", "pytest_generate_tests", "settings", "slow_answers", "url"]


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the client try again soon."""
    monkeypatch.setattr("motiontrace.client.retries.FIRST_PAUSE", 0.05)

"""What tests of several rooms share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.conftest import Corpus

# How long an example takes says more about what else the machine does than about what is tested.
# The same examples every time: a run that fails fails again.
hypothesis.settings.register_profile(
    "shared", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Digests of the tests' files are kept apart from the user's; processes that tests start take over the place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def machine() -> Iterator[None]:
    """TestClient calls http://testserver: that is this machine's name in tests, beside its own."""
    from motiontrace.service.access import exposure

    names = exposure.own_names() | {"testserver"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposure, "own_names", lambda: names)
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    from tests.service.conftest import make_corpus  # imports torch, which most tests do without

    return make_corpus(tmp_path_factory)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server with {} for the database's name."""
    from tests.catalog import postgresql  # torch, too

    if reason := postgresql.why_not():
        pytest.skip(reason)
    with postgresql.cluster() as socket:
        yield f"postgresql+psycopg://postgres@/{{}}?host={socket}"


@pytest.fixture
def accelerate_as_in_a_new_process() -> Iterator[None]:
    """It keeps the first run's number format and device for the whole process, of tests elsewhere too."""
    from accelerate.state import AcceleratorState  # imports torch, too

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)

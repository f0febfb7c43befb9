"""What /openapi.json says, held against the running service: schemathesis makes requests from it, valid and not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import schemathesis
from hypothesis import strategies as st
from schemathesis import openapi
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import Status, events, from_schema

from tests.service.asking import until
from tests.service.conftest import copy_of
from tests.service.keys import make_key
from tests.service.serving import serving

if TYPE_CHECKING:
    from pathlib import Path

    from schemathesis import Case, CheckContext, Response

    from tests.service.conftest import Corpus

EVERY_PHASE = ("examples", "coverage", "fuzzing", "stateful")
# What a description cannot say is told by a code of its own (that a clip does not exist, that bytes are no video), but
# for one bound, which the conditions of a query string share.
TOO_MANY_COLUMNS = "metadata: Dictionary should have at most 16 items"
ABOUT_THE_FORM = {"invalid_parameters", "broken_form", "not_multipart"}


@dataclass
class Run:
    """What a run of schemathesis came to."""

    requests: int = 0
    operations: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    unauthorized: set[str] = field(default_factory=set)  # operations that answered 401
    findings: dict[str, str] = field(default_factory=dict)  # what was found, and how to see it again

    @property
    def told(self) -> str:
        """The findings, for people."""
        return "\n\n".join(f"{what}\n{again}" for what, again in self.findings.items())


@schemathesis.check
def accepted_as_described(ctx: CheckContext, response: Response, case: Case) -> None:
    """What the description allows is not refused for its form."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 422):
        return
    problem = response.json()
    if problem["code"] in ABOUT_THE_FORM and TOO_MANY_COLUMNS not in problem["detail"]:
        raise Failure(
            operation=case.operation.label,
            title="Refused though valid",
            message=f"{problem['code']}: {problem['detail']}",
        )


def attack(
    url: str,
    corpus: Corpus,
    *,
    key: str | None = None,
    examples: int = 10,
    phases: tuple[str, ...] = EVERY_PHASE,
    seed: int = 1,
) -> Run:
    """Send what schemathesis makes of the service's description; `key` is an API key, where it asks for one."""
    until(lambda: httpx.get(f"{url}/readyz").status_code == 200)  # 503 before is as it should be, and no finding
    videos = [path.read_bytes() for path in sorted(corpus.directory.glob("*.mp4"))]
    schemathesis.openapi.format("binary", st.sampled_from(videos))
    auth = {} if key is None else {"auth": {"openapi": {"key": {"bearer": key}}}}
    config = SchemathesisConfig.from_dict(
        {
            **auth,
            "seed": seed,
            "continue-on-failure": True,
            "request-timeout": 30,
            "generation": {
                "max-examples": examples,
                "no-shrink": True,
                "database": "none",
                "unique-inputs": False,
                "with-security-parameters": key is not None,
            },
            "checks": {
                # 422 is left to accepted_as_described: it has too many reasons that a description cannot hold.
                "positive_data_acceptance": {
                    "expected-statuses": ["2xx", "304", "401", "403", "404", "409", "416", "422", "429"]
                },
                "ignored_auth": {"enabled": key is not None},
                "missing_required_header": {"enabled": key is not None},
            },
            # A query called "batch" could be read and deleted there, so Allow names GET and DELETE, too.
            # A form has texts alone: a prompt that "became boolean" is the prompt "true".
            "operations": [
                {"include-operation-id": "create_queries", "checks": {"allow_header_conformance": {"enabled": False}}},
                {"include-operation-id": "create_query", "checks": {"negative_data_rejection": {"enabled": False}}},
            ],
            "phases": {name: {"enabled": name in phases} for name in EVERY_PHASE},
            "dictionaries": {
                "clips": {"values": [path.stem for path in corpus.directory.glob("*.mp4")]},
                "indexes": {"values": ["tiny"]},
            },
            "parameters": {
                "path.clip_id": {"dictionary": "clips", "probability": 0.7},
                "body.clip": {"dictionary": "clips", "probability": 0.7},
                "path.name": {"dictionary": "indexes", "probability": 0.7},
                "query.index": {"dictionary": "indexes", "probability": 0.7},
                "body.index": {"dictionary": "indexes", "probability": 0.7},
            },
        }
    )
    run = Run()
    for event in from_schema(openapi.from_url(f"{url}/openapi.json", config=config)).execute():
        if isinstance(event, (events.FatalError, events.NonFatalError)):
            raise AssertionError(str(event))
        if isinstance(event, events.ScenarioFinished):
            _take(run, event)
    return run


def _take(run: Run, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for case_id, interaction in recorder.interactions.items():
        run.requests += 1
        run.operations.add(recorder.cases[case_id].value.operation.label)
        if interaction.response is not None:
            run.statuses[interaction.response.status_code] += 1
            if interaction.response.status_code == 401:
                run.unauthorized.add(recorder.cases[case_id].value.operation.label)
    for checks in recorder.checks.values():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                what = f"{failure.operation}: {check.name}: {failure.title}: {failure.message[:500]}"
                run.findings.setdefault(what, check.failure_info.code_sample[:2000])


def test_every_answer_is_as_described(corpus: Corpus, tmp_path: Path) -> None:
    settings = copy_of(corpus, tmp_path)
    key = make_key(settings, "admin", requests_per_minute=1_000_000)[1].removeprefix("Bearer ")
    with serving(settings) as (_, url):
        run = attack(url, corpus, key=key)
    assert not run.findings, run.told
    assert len(run.operations) == 32
    assert run.requests > 1000
    assert {200, 204, 401, 404, 405, 415, 422} <= run.statuses.keys()
    assert {201, 202} & run.statuses.keys()


def test_every_answer_is_as_described_where_no_key_is_asked_for(corpus: Corpus, tmp_path: Path) -> None:
    with serving(copy_of(corpus, tmp_path)) as (_, url):
        run = attack(url, corpus, examples=5, phases=("fuzzing", "stateful"))
    assert not run.findings, run.told
    assert len(run.operations) == 32
    assert {200, 404, 422} <= run.statuses.keys()
    assert run.unauthorized <= {"POST /labeling/label-studio/webhook"}  # which asks for a secret of its own


def test_too_little_scope_and_too_many_requests_are_described(corpus: Corpus, tmp_path: Path) -> None:
    settings = copy_of(corpus, tmp_path)
    key = make_key(settings, "read", requests_per_minute=60)[1].removeprefix("Bearer ")
    with serving(settings) as (_, url):
        run = attack(url, corpus, key=key, examples=6, phases=("fuzzing",))
    assert not run.findings, run.told
    assert {200, 401, 403, 429} <= run.statuses.keys()

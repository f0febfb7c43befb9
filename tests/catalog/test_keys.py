"""API keys in the catalog."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import ApiKeyRecord, now
from motiontrace.catalog.repositories import keys
from motiontrace.catalog.repositories.keys import ApiKeyRepository, Token


def make(database: Database, name: str = "alice", **fields: Any) -> tuple[ApiKeyRecord, Token]:
    with database.writing() as session:
        return ApiKeyRepository(session).create(name, fields.pop("scopes", ["read"]), **fields)


def find(database: Database, key_id: str) -> ApiKeyRecord:
    with database.reading() as session:
        key = ApiKeyRepository(session).find(key_id)
    assert key is not None
    return key


def test_a_key_is_kept_without_its_secret(database: Database) -> None:
    made, token = make(database, scopes=["query", "read", "query"], requests_per_minute=60)
    kept = find(database, made.id)
    assert (kept.name, kept.scopes, kept.requests_per_minute) == ("alice", ["read", "query"], 60)
    assert (kept.last_used_at, kept.revoked_at) == (None, None)
    with database.reading() as session:
        row = session.execute(select(ApiKeyRecord.__table__)).one()
    assert not any(token.secret in str(value) for value in row)


def test_a_token_opens_its_own_key_only(database: Database) -> None:
    first, token = make(database)
    second, _ = make(database)
    read = Token.read(str(token))
    assert read == token
    assert token.opens(find(database, first.id))
    assert not token.opens(find(database, second.id))
    assert not Token(token.key_id, token.secret[:-1]).opens(first)
    assert not Token(token.key_id, "ü" * 43).opens(first)


def test_secrets_hold_256_bits_and_never_repeat(database: Database) -> None:
    tokens = [make(database)[1] for _ in range(5)]
    assert all(len(token.secret) == 43 for token in tokens)  # 6 bits a character
    assert len({token.secret for token in tokens}) == len({token.key_id for token in tokens}) == 5


@pytest.mark.parametrize("text", ["", "mt", "mt_a", "mt_a_", "mt__b", "xx_a_b", "Bearer mt_a_b"])
def test_what_is_no_token_is_not_read(text: str) -> None:
    assert Token.read(text) is None


def test_a_secret_may_hold_underscores() -> None:
    assert Token.read("mt_a_b_c_") == Token("a", "b_c_")


@pytest.mark.parametrize(
    "wrong",
    [{"name": " "}, {"name": "x" * 201}, {"scopes": []}, {"scopes": ["read", "write"]}, {"requests_per_minute": 0}],
)
def test_a_key_that_could_do_nothing_is_refused(database: Database, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="key"):
        make(database, **wrong)


def test_keys_are_listed_by_age_with_the_revoked_ones(database: Database) -> None:
    made = [make(database, name)[0].id for name in ("b", "a", "c")]
    with database.writing() as session:
        ApiKeyRepository(session).revoke(made[1])
    with database.reading() as session:
        listed = ApiKeyRepository(session).all()
    assert [key.id for key in listed] == made
    assert [key.revoked_at is not None for key in listed] == [False, True, False]


def test_revoking_again_keeps_the_first_time(database: Database) -> None:
    made, _ = make(database)
    times = []
    for _ in range(2):
        with database.writing() as session:
            revoked = ApiKeyRepository(session).revoke(made.id)
        assert revoked is not None
        times.append(revoked.revoked_at)
    assert times[0] is not None
    assert times[0] == times[1] == find(database, made.id).revoked_at
    with database.writing() as session:
        assert ApiKeyRepository(session).revoke("none") is None


def test_a_revoked_key_still_counts_as_made(database: Database) -> None:
    def counted() -> tuple[bool, bool]:
        with database.reading() as session:
            return ApiKeyRepository(session).any(), ApiKeyRepository(session).any_active()

    assert counted() == (False, False)
    made, _ = make(database)
    assert counted() == (True, True)
    with database.writing() as session:
        ApiKeyRepository(session).revoke(made.id)
    assert counted() == (True, False)


def test_use_is_noted_at_most_once_a_minute(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = make(database)
    start = now()
    noted = []
    for seconds in (0, 59, 60, 61):
        monkeypatch.setattr(keys, "now", lambda moment=start + timedelta(seconds=seconds): moment)
        with database.writing() as session:
            ApiKeyRepository(session).touch(made.id)
        last = find(database, made.id).last_used_at
        assert last is not None
        noted.append((last - start).total_seconds())
    assert noted == [0, 0, 60, 60]

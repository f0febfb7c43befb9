"""motiontrace keys and migrate; and a service that asks for keys, as a process of its own."""

import os
import re
import stat
import subprocess
import sys
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy import create_engine, text

import motiontrace.service.app  # for tests.processes
from motiontrace import cli
from tests.processes import start_command
from tests.service.asking import until

BROKEN_CLIP = (
    "INSERT INTO clips (id, path, caption, extra, created_at, updated_at) "
    "VALUES ('x', '/x', 'x', '[]', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
)
TOKEN = re.compile(r"mt_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def motiontrace(tmp_path, monkeypatch, capsys):
    """The command, in this process: its exit code and what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOTIONTRACE_HOME", str(tmp_path / "home"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["motiontrace", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=printed.out, stderr=printed.err)

    return run


@pytest.fixture
def create(motiontrace):
    def run(*arguments):
        created = motiontrace("keys", "create", *arguments)
        assert created.returncode == 0, created.stderr
        return created

    return run


@pytest.fixture
def listed(motiontrace):
    def run():
        lines = motiontrace("keys", "list").stdout.splitlines()
        return [re.split(r"\s{2,}", line.strip()) for line in lines[1:]]

    return run


def test_a_key_is_shown_once_and_listed_without_its_secret(motiontrace, create, listed):
    created = create("alice", "--scope", "read", "--scope", "query", "--requests-per-minute", "60")
    token = created.stdout.strip()
    assert TOKEN.fullmatch(token)  # and nothing else, for $(...)
    assert token not in created.stderr
    shown = motiontrace("keys", "list").stdout
    key_id, secret = token.split("_", 2)[1:]
    assert secret not in shown
    assert listed()[0][:4] == [key_id, "alice", "read query", "60"]


def test_a_revoked_key_stays_listed_as_such(motiontrace, create, listed):
    key_id = create("bob", "--scope", "admin").stdout.split("_")[1]
    before = len(listed()[0])
    for _ in range(2):
        revoked = motiontrace("keys", "revoke", key_id)
        assert revoked.returncode == 0
        assert f"Key {key_id} of bob is revoked" in revoked.stdout
    assert len(listed()[0]) == before + 1
    unknown = motiontrace("keys", "revoke", "none")
    assert unknown.returncode == 1
    assert "There is no key none" in unknown.stderr


def test_a_key_is_written_to_a_file_for_its_owner_only(tmp_path, motiontrace, create):
    created = create("compose", "--scope", "query", "--output", "key")
    token = (tmp_path / "key").read_text().strip()
    assert TOKEN.fullmatch(token)
    assert token not in created.stdout + created.stderr
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    again = motiontrace("keys", "create", "compose", "--scope", "query", "--output", "key")
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["key"]


def test_if_missing_makes_a_key_only_where_none_works(tmp_path, motiontrace, create, listed):
    def key():
        create("compose", "--scope", "query", "--output", "key", "--if-missing")
        return (tmp_path / "key").read_text()

    first = key()
    assert key() == first
    (tmp_path / "key").unlink()
    second = key()
    assert second != first
    motiontrace("keys", "revoke", second.split("_")[1])
    third = key()
    assert third not in (first, second)
    (tmp_path / "key").write_text(third.replace("mt_", "mt_x"))  # of another database, say
    assert key() != third
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert len(listed()) == 4


def test_if_missing_replaces_nothing_that_is_no_key(tmp_path, motiontrace, listed):
    (tmp_path / "picture").write_bytes(b"\x89PNG")
    result = motiontrace("keys", "create", "alice", "--scope", "read", "--output", "picture", "--if-missing")
    assert result.returncode == 1
    assert "something else than a key" in result.stderr
    assert (tmp_path / "picture").read_bytes() == b"\x89PNG"
    assert listed() == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", "alice"), 2, "Missing option '--scope'"),
        (("create", "alice", "--scope", "write"), 2, "'write' is not one of"),
        (("create", " ", "--scope", "read"), 2, "1 to 200 characters"),
        (("create", "alice", "--scope", "read", "--requests-per-minute", "0"), 2, "greater than or equal to 1"),
        (("create", "alice", "--scope", "read", "--if-missing"), 2, "it needs --output"),
        (("create", "alice", "--scope", "read", "--output", "none/key"), 1, "none/key"),
        (("list",), 1, "There is no catalog"),
    ],
)
def test_what_is_wrong_is_said(motiontrace, arguments, code, said):
    result = motiontrace("keys", *arguments)
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_key_that_could_not_be_written_is_not_kept(motiontrace, listed):
    motiontrace("keys", "create", "alice", "--scope", "read", "--output", "none/key")
    assert listed() == []


def test_migrate_makes_the_tables_and_says_the_revision(tmp_path, motiontrace):
    for _ in range(2):
        migrated = motiontrace("migrate")
        assert migrated.returncode == 0, migrated.stderr
        assert re.fullmatch(r"The database is at revision \d{4}\.\n", migrated.stdout)
    assert (tmp_path / "home" / "catalog.db").is_file()
    elsewhere = motiontrace("migrate", "--database-url", f"sqlite:///{tmp_path}/other.db")
    assert elsewhere.returncode == 0
    assert (tmp_path / "other.db").is_file()


def test_an_address_that_others_reach_is_not_served_without_a_key(motiontrace, create, monkeypatch):
    monkeypatch.setattr("motiontrace.service.app.configure_logging", lambda settings: None)  # the tests have their own
    refused = motiontrace("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "there is no API key. Make one first" in refused.stderr
    assert "motiontrace keys create" in refused.stderr
    key_id = create("alice", "--scope", "query").stdout.split("_")[1]
    motiontrace("keys", "revoke", key_id)
    refused = motiontrace("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "no API key that is not revoked" in refused.stderr


def url_in(log, ended):
    """The URL that a service says in its log, unless it ends before."""
    found = until(lambda: re.search(r"listening on http://[0-9.]+:(\d+)", log.read_text()) or ended(), 60)
    assert isinstance(found, re.Match), log.read_text()
    return f"http://127.0.0.1:{found[1]}"


def test_a_service_that_is_open_to_its_machine_says_so(tmp_path):
    log = tmp_path / "log"
    environment = {**os.environ, "MOTIONTRACE_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "motiontrace", "serve", "--port", "0", "--device", "cpu"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=file)
    try:
        assert httpx.get(f"{url_in(log, lambda: process.poll() is not None)}/v1/indexes").status_code == 200
    finally:
        process.terminate()
        process.wait()
    assert "No API key was ever made" in log.read_text()


def test_no_key_and_no_part_of_one_reaches_the_log(tmp_path, create):
    token = create("alice", "--scope", "read").stdout.strip()
    slow = create("bob", "--scope", "read", "--requests-per-minute", "1").stdout.strip()
    wrong = f"{token[:-8]}AAAAAAAA"
    log = tmp_path / "log"
    log.touch()
    arguments = ("--port", "0", "--device", "cpu", "--host", "0.0.0.0")
    process = start_command("serve", *arguments, output=log, errors=log, MOTIONTRACE_LOG_LEVEL="debug")
    try:
        url = url_in(log, lambda: process.exitcode is not None)
        seen = []
        for key, method, path in [
            (token, "GET", "/v1/indexes"),
            (token, "POST", "/v1/queries"),
            (token, "GET", "/v1/nothing"),
            (token, "GET", "/v1/clips?limit=x"),
            (wrong, "GET", "/v1/indexes"),
            (wrong[3:], "GET", "/v1/indexes"),
            (slow, "GET", "/v1/indexes"),
            (slow, "GET", "/v1/indexes"),
        ]:
            seen.append(httpx.request(method, url + path, headers={"Authorization": f"Bearer {key}"}).status_code)
        engine = create_engine(f"sqlite:///{tmp_path}/home/catalog.db")
        with engine.begin() as connection:
            connection.execute(text(BROKEN_CLIP))
        engine.dispose()
        broken = httpx.get(f"{url}/v1/clips/x", headers={"Authorization": f"Bearer {token}"})
        seen.append(broken.status_code)  # what is damaged is logged in full
    finally:
        process.terminate()
        process.join()
    assert seen == [200, 403, 404, 422, 401, 401, 200, 429, 503]
    logged = log.read_text()
    assert "/v1/indexes" in logged
    assert "the database holds what it cannot" in logged
    for key in (token, slow, wrong):
        secret = key.split("_", 2)[2]
        assert not any(secret[start : start + 10] in logged for start in range(len(secret) - 9))
    assert "uthorization" not in logged
    assert "Bearer" not in logged

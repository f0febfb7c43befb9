"""What the service reads of a request before it knows whose it is."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from motiontrace.documents.labels import NewLabel
from motiontrace.service.labels.endpoints import MAX_BODY_BYTES
from motiontrace.service.protocol import HEAD_BYTES
from tests.service.asking import assert_problem
from tests.service.conftest import copy_of
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi.testclient import TestClient

    from tests.service.conftest import Corpus

GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /v1/queries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def address(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with serving(copy_of(corpus, tmp_path_factory.mktemp("protocol"))) as (_, url):
        place = urlsplit(url)
        assert place.hostname is not None
        assert place.port is not None
        yield place.hostname, place.port


def told(address: tuple[str, int], *parts: bytes) -> bytes:
    """The first line of the answer to these bytes; more than a reader takes may have been sent by then."""
    with socket.create_connection(address, timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except ConnectionError:
            pass  # it has hung up
        try:
            return connection.recv(1 << 16).partition(b"\r\n")[0]
        except ConnectionResetError:
            return b"hung up"


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (GET + b"x: ", b"a" * (1 << 16)),
        (GET, b"x: a\r\n" * 10_000),
        (CHUNKED + b"1;", b"a" * (1 << 16)),
        (CHUNKED + b"1\r\n{\r\n0\r\n", b"x: a\r\n" * 10_000),
    ],
    ids=["a header", "headers", "a chunk's extension", "trailers"],
)
def test_what_is_no_body_is_bounded(address: tuple[str, int], start: bytes, more: bytes) -> None:
    assert told(address, start, *[more] * 32) in (b"HTTP/1.1 400 Bad Request", b"hung up")
    assert told(address, GET + b"\r\n") == b"HTTP/1.1 200 OK"


def test_heads_below_the_bound_and_bodies_above_it_are_read(address: tuple[str, int]) -> None:
    assert told(address, GET + b"x: " + b"a" * (HEAD_BYTES - 200) + b"\r\n\r\n") == b"HTTP/1.1 200 OK"
    body = b" " * (4 * HEAD_BYTES) + b'{"clip": "up-red"}'
    assert told(address, POST + b"content-length: %d\r\n\r\n" % len(body), body) == b"HTTP/1.1 201 Created"
    piece = b"%x\r\n%s\r\n" % (len(body), body)
    assert told(address, CHUNKED, piece, b"0\r\n\r\n") == b"HTTP/1.1 201 Created"


def test_the_body_of_a_label_is_bounded(reader: TestClient) -> None:
    longest = NewLabel(verdict="v" * 64, note="n" * 10_000, author="a" * 200, tool="t" * 64)
    path, kind = "/v1/clips/up-red/labels", {"content-type": "application/json"}
    escaped = longest.model_dump_json().replace("n" * 10_000, r"\ud83d\ude00" * 10_000)
    assert reader.put(path, content=escaped, headers=kind).status_code == 200
    assert_problem(reader.put(path, content=b" " * (MAX_BODY_BYTES + 1), headers=kind), 413, "body_too_large")
    unannounced = iter([b" " * MAX_BODY_BYTES, b" "])
    assert_problem(reader.put(path, content=unannounced, headers=kind), 413, "body_too_large")
    assert_problem(reader.put(path, content=escaped, headers={"content-type": "text/plain"}), 415, "not_json")

"""The Python client against a real server on loopback."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from service import worker
from service.client import Client, ServiceError
from tests.service.asking import until
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.settings import ServiceSettings
    from tests.service.conftest import Corpus


@pytest.fixture
def url(settings: ServiceSettings) -> Iterator[str]:
    small = settings.model_copy(update={"max_upload_bytes": 4 << 20})
    with serving(small) as (_, url):
        yield url


def test_a_query_from_end_to_end(url: str, corpus: Corpus, tmp_path: Path) -> None:
    with Client(url) as service:
        until(lambda: ready(service))
        answer = service.ask(corpus.video("up-red"), "a square, up-red", k=2, index="tiny")
        assert (answer.status, answer.outcome) == ("done", "ranked")
        assert answer.top[0].id == "up-red"
        service.save_video(answer.top[0].id, tmp_path / "saved.mp4")
        assert (tmp_path / "saved.mp4").read_bytes() == corpus.video("up-red").read_bytes()
        assert service.thumbnail("up blue").startswith(b"\xff\xd8")
        assert service.query(answer.id) == answer
        assert [query.id for query in service.queries()] == [answer.id]
        assert [clip.id for clip in service.clips(outcome="no_motion")] == ["still"]
        assert service.clip("up blue").metadata == {"motion": "up blue"}
        assert service.index("tiny").recipe["frames"] == 5
        assert [index.name for index in service.indexes()] == ["tiny"]


def ready(service: Client) -> bool:
    try:
        service.check_ready()
    except ServiceError:
        return False
    return True


def test_a_submitted_query_can_be_waited_for(url: str, corpus: Corpus) -> None:
    with Client(url) as service:
        query = service.submit(corpus.video("still"), "a square")
        assert service.wait(query).outcome == "no_motion"
        with pytest.raises(ServiceError, match="is still queued after 0 s"):
            service.wait(query.model_copy(update={"status": "queued"}), timeout=0)


def test_a_refusal_carries_the_problem(url: str, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "large.mp4").write_bytes(bytes(32 << 20))
    with Client(url) as service:
        with pytest.raises(ServiceError, match=r"empty \(0 bytes\)") as refused:
            service.ask(tmp_path / "empty.mp4", "a square")
        assert refused.value.problem is not None
        assert refused.value.problem.code == "empty_file"
        with pytest.raises(ServiceError, match="larger than 4,194,304 bytes"):
            service.ask(tmp_path / "large.mp4", "a square")


def test_a_large_body_of_unannounced_length_is_refused(url: str, settings: ServiceSettings) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="video"; filename="v"\r\n\r\n'
        for _ in range(200):
            yield bytes(1 << 16)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = httpx.post(f"{url}/v1/queries", content=body(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "video_too_large")
    assert list((settings.upload_directory / "incoming").iterdir()) == []


def test_nobody_there_is_told_as_such() -> None:
    with (
        Client("http://127.0.0.1:9") as service,
        pytest.raises(ServiceError, match="motiontrace serve") as unreached,
    ):
        service.indexes()
    assert unreached.value.problem is None


@contextmanager
def answering(status: int) -> Iterator[str]:
    """The URL of another server, which answers everything with this status and a page."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("location", "https://elsewhere.example/")
            self.end_headers()
            self.wfile.write(b"<html>")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 307, 404])
def test_another_server_is_told_as_such(status: int) -> None:
    with (
        answering(status) as other,
        Client(other) as service,
        pytest.raises(ServiceError, match=f"answered {status} .*not as a motiontrace service does"),
    ):
        service.indexes()


def test_a_redirect_is_not_ready() -> None:
    with answering(307) as other, Client(other) as service:
        assert not ready(service)


def test_a_call_that_waits_has_that_much_longer(url: str, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    real = worker.answer

    def slow(*arguments: Any) -> Any:
        time.sleep(2)
        return real(*arguments)

    monkeypatch.setattr(worker, "answer", slow)
    with Client(url, timeout=1) as service:
        assert service.submit(corpus.video("up-red"), "a square", wait=20).status == "done"


def test_a_service_lost_while_waiting_is_told_with_the_query(settings: ServiceSettings, corpus: Corpus) -> None:
    with serving(settings) as (_, url), Client(url) as service:
        query = service.submit(corpus.video("still"), "a square")
    with (
        Client(url) as service,
        pytest.raises(ServiceError, match=rf"waiting for query {query.id}: No answer from .*motiontrace serve"),
    ):
        service.wait(query)


def test_the_client_needs_neither_torch_nor_fastapi() -> None:
    heavy = "{'torch', 'fastapi', 'starlette', 'sqlalchemy', 'numpy', 'faiss', 'cv2', 'av'}"
    code = f"import sys, service.client; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

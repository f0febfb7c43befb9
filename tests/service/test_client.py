"""The Python client against a real server on loopback."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from service.app import create_app
from service.client import Client, ServiceError
from tests.service.asking import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.settings import ServiceSettings
    from tests.service.conftest import Corpus


@pytest.fixture
def url(settings: ServiceSettings) -> Iterator[str]:
    small = settings.model_copy(update={"max_upload_bytes": 4 << 20})
    server = uvicorn.Server(uvicorn.Config(create_app(small), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


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


def test_another_server_is_told_as_such() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            Client(f"http://127.0.0.1:{server.server_port}") as service,
            pytest.raises(ServiceError, match="not as a motiontrace service does"),
        ):
            service.indexes()
        server.shutdown()


def test_the_client_needs_neither_torch_nor_fastapi() -> None:
    heavy = "{'torch', 'fastapi', 'starlette', 'sqlalchemy', 'numpy', 'faiss', 'cv2', 'av'}"
    code = f"import sys, service.client; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

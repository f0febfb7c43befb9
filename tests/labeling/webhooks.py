"""What Label Studio posts to the service by itself: noted where a real one does, and posted by us else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from tests.labeling.wire import UNREAD, pretty, redacted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH = "/labeling/label-studio/webhook"
SECRET_HEADER = "X-Motiontrace-Secret"
SET_UP = {"label_config", "parsed_label_config", "prediction"}  # which each webhook repeats
LABEL_STUDIO = b"python-requests/"  # what it calls itself


class Webhooks:
    """The calls of a test's reviewer, by number, and the webhooks that each of them sets off.

    Label Studio posts its webhooks before it answers the reviewer. So a real one's are noted while a call is under way,
    and recorded ones are posted, in their order, once a call has been answered.
    """

    def __init__(self, file: Path, *, record: bool, secret: str, words: Mapping[str, str]) -> None:
        """Begin a test.

        Args:
            file: the recording.
            record: whether it is to be made.
            secret: what makes webhooks the service's own.
            words: as `wire` has them.
        """
        self._file, self._record, self._secret, self._words = file, record, secret, words
        self._calls = 0
        self._under_way = False
        self._noted: list[dict[str, Any]] = []
        self._waiting: list[dict[str, Any]] = []
        if not record and file.exists():
            text = file.read_text()
            for value, word in words.items():
                text = text.replace(word, value)
            self._waiting = json.loads(text)
        self.url = ""  # of the running service
        self.complaints: list[str] = []

    def hooks(self) -> dict[str, list[Any]]:
        """What the reviewer's httpx client has to be made with."""
        return {"request": [self._asked], "response": [self._answered]}

    def listening(self, app: ASGIApp) -> ASGIApp:
        """The service's app, with an ear at its door where the webhooks are real."""
        if not self._record:
            return app

        async def heard(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] != PATH:
                await app(scope, receive, send)
                return
            parts: list[bytes] = []

            async def receive_too() -> Message:
                message = await receive()
                parts.append(message.get("body", b""))
                return message

            await app(scope, receive_too, send)
            if dict(scope["headers"])[b"user-agent"].startswith(LABEL_STUDIO):  # others are a test's own
                self._note(json.loads(b"".join(parts)))

        return heard

    def save(self) -> None:
        """Write what was noted."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.unlink(missing_ok=True)
        if self._noted:
            text = pretty(self._noted) + "\n"
            for value, word in self._words.items():
                text = text.replace(value, word)
            self._file.write_text(text)

    def unposted(self) -> list[str]:
        """Say which recorded webhooks no call of the reviewer has set off."""
        return [f"recorded, and not posted: {each['body']['action']}" for each in self._waiting]

    def _note(self, body: dict[str, Any]) -> None:
        if not self._under_way:
            self.complaints.append(f"{body['action']} came without a call of the reviewer: it cannot be played")
        self._noted.append({"call": self._calls, "body": redacted(body, UNREAD | SET_UP)})

    def _asked(self, request: httpx.Request) -> None:
        self._calls += 1
        self._under_way = True

    def _answered(self, response: httpx.Response) -> None:
        self._under_way = False
        while self._waiting and self._waiting[0]["call"] == self._calls:
            body = self._waiting.pop(0)["body"]
            posted = httpx.post(self.url + PATH, json=body, headers={SECRET_HEADER: self._secret}, timeout=10)
            assert posted.status_code == 200, posted.text

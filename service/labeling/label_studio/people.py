"""Who the people of a Label Studio are: annotations name them by number."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from motiontrace.service.labeling.label_studio.connection import LabelStudioError

if TYPE_CHECKING:
    from motiontrace.service.labeling.label_studio.connection import LabelStudio

ASK_SECONDS = 60.0  # at least, between two reads of the list for a number that is not in it
KEEP_SECONDS = 3600.0  # an address may be changed


class People:
    """The e-mail addresses of a server's people, asked for when they are needed. Threads may share it."""

    def __init__(self, label_studio: LabelStudio) -> None:
        self._label_studio = label_studio
        self._known: dict[int, str] = {}
        self._asked_at = -KEEP_SECONDS
        self._lock = threading.Lock()

    def name(self, number: int | None) -> str:
        """The e-mail address of the user of that number; "user 7" where it cannot be known, "" for None.

        Raises:
            LabelStudioError: Label Studio does not answer, or does not take the token.
        """
        if number is None:
            return ""
        with self._lock:
            age = time.monotonic() - self._asked_at
            if age >= KEEP_SECONDS or (number not in self._known and age >= ASK_SECONDS):
                self._known = self._ask()
                self._asked_at = time.monotonic()
            return self._known.get(number) or f"user {number}"

    def _ask(self) -> dict[int, str]:
        try:
            return self._label_studio.users()
        except LabelStudioError as error:
            if error.code == "label_studio_refused":  # not everybody may list people: what they say counts all the same
                return self._known
            raise

"""Why a question cannot be answered as it was asked, in words of no face."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the system that say that a disk is full."""
NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors of the system that say that no further file can be opened."""


class QuestionError(Exception):
    """A question is wrong, or what it names is not there.

    Each face has one table, by `code`, of what to do; there the advice is in the words of that face.

    Attributes:
        code: a stable name for programs; the code of the problem that the API sends.
        detail: what is wrong, in a sentence.
        field: the part of the question that is at fault; None where it is none.
        todo: what to do, where that needs no words of a face; None leaves it to the face.
        facts: names that the advice of a face may quote, such as `index` and `query`.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        todo: str | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{detail} {todo}" if todo else detail)
        self.code, self.detail, self.field, self.todo = code, detail, field, todo
        self.facts = dict(facts or {})

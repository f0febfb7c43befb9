"""Keyset pages: stable while rows are added, and as quick on the last page as on the first."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows in order, and where the next page begins."""

    items: list[T]
    next: str | None  # pass as `after` for the next page; None: this is the last one

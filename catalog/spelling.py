"""What was meant, perhaps, by a name that nothing has; and what there is instead."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST = 1000  # names that a mistyped one is compared with
_LONGEST = 100  # characters: comparing longer ones takes long, and nobody types them
_SHOWN = 10  # names in a sentence
_Name: TypeAlias = str | int | float | bool | None


def nearest(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Give at most `count` of the `known` names that are written much like `word`, in any case; the nearest first."""
    folded: dict[str, str] = {}
    for name in known:
        if len(name) <= _LONGEST:
            folded.setdefault(name.casefold(), name)
    return [folded[near] for near in get_close_matches(word[:_LONGEST].casefold(), folded, count)]


def hint(missing: Sequence[_Name], known: Sequence[_Name]) -> str:
    """The end of a sentence on names that nothing has: which were meant perhaps, and which there are.

    Names are JSON values. It is a full stop where there is nothing to tell.
    """
    if not known:
        return "."
    by_text: dict[str, _Name] = {}
    for name in known:
        by_text.setdefault(_text(name), name)
    near = [by_text[found] for name in missing for found in nearest(_text(name), by_text)]
    there = f"here {'is' if len(known) == 1 else 'are'} {listed(sorted(known, key=_text))}."
    return f": did you mean {listed(near, 'or')}? T{there}" if near else f": t{there}"


def listed(names: Sequence[_Name], conjunction: str = "and") -> str:
    """JSON values as a sentence has them; the first ones where there are many."""
    texts = [shown(name) for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        return f"{', '.join(texts)}, ..."
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {conjunction} {texts[-1]}"


def shown(name: _Name) -> str:
    """A JSON value as a sentence has it: a text in quotation marks, cut short where it is long."""
    text = json.dumps(name, ensure_ascii=False)
    return text if len(text) <= 80 else f'{text[:76]}..."'


def _text(name: _Name) -> str:
    return name if isinstance(name, str) else json.dumps(name)

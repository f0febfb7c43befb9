"""What a field of a settings model says beyond its type, text and default: how people set it.

A setting is written once, as such a field. Its flag, MOTIONTRACE_* variable and key of the settings file
(`motiontrace/commands/flags.py`) and its row in docs/settings.md follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo


_Names = tuple[str, ...]


class Mark(Enum):
    """Marks of a field, as `Annotated[int, Mark.FIXED]`."""

    FIXED = "counted, measured, or chosen for all: nobody sets it by a flag"
    FLAT = "of a group: its fields are named, and given, as if they were the model's own"
    CHOICE = "a choice of method, which each named recipe makes"
    LATER = "not of the first recipes: left out of a recipe's digest where it has its default"


@dataclass(frozen=True)
class Flag:
    """What a field's flag does not get from the field itself.

    Attributes:
        name: of the setting, where it is another than the field's behind its group's ("projection_seed").
        default: the default in words, where the value says nothing.
    """

    name: str | None = None
    default: str | None = None


@dataclass(frozen=True)
class Setting:
    """A field that people set, as `settings_of` finds it.

    Attributes:
        path: the groups it is in, and its own name; a flat group is left out.
        name: what it is called on the command line, with underscores.
        info: pydantic's field.
        marks: those of the field.
    """

    path: _Names
    name: str
    info: FieldInfo
    marks: tuple[Mark | Flag, ...]

    @property
    def choice(self) -> bool:
        """Whether named recipes make it."""
        return Mark.CHOICE in self.marks

    @property
    def default(self) -> Any:
        """Its value where nobody sets it."""
        return self.info.default

    @property
    def default_text(self) -> str:
        """The default in words: several values by commas, yes and no."""
        words = [mark.default for mark in self.marks if isinstance(mark, Flag) and mark.default]
        return words[0] if words else text_of(self.default)


def settings_of(model: type[BaseModel], prefix: _Names = (), within: _Names = ()) -> Iterator[Setting]:
    """The settings of a model in the order of its fields, those of nested groups in the group's place.

    Args:
        model: a frozen settings model. Its fields that are models, or may be None instead, are groups.
        prefix: names before those of its fields.
        within: the path of the model itself.
    """
    for name, info in model.model_fields.items():
        marks = tuple(mark for mark in info.metadata if isinstance(mark, Mark | Flag))
        if Mark.FIXED in marks:
            continue
        group = next((each for each in (info.annotation, *_members(info.annotation)) if _is_model(each)), None)
        if group is None:
            named = next((mark.name for mark in marks if isinstance(mark, Flag) and mark.name), None)
            yield Setting((*within, name), named or "_".join((*prefix, name)), info, marks)
        elif Mark.FLAT in marks:
            yield from settings_of(group, prefix, within)
        else:
            yield from settings_of(group, (*prefix, name), (*within, name))


def text_of(value: Any) -> str:
    """A setting's value as it is shown to people."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(map(text_of, value)) or "none"
        case float() if 0 < abs(value) < 1e-3:
            mantissa, exponent = f"{value:e}".split("e")
            return f"{float(mantissa):g}e{int(exponent)}"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _members(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)

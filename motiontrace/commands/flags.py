"""Flags that follow from the fields of settings models: name, type, text and default are the field's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel

from motiontrace.fields import Setting, settings_of

RECIPE_HAS_IT = "as --recipe has it"


def option(name: str, text: str, **more: Any) -> Any:
    """A flag that is also the variable MOTIONTRACE_NAME, in capitals, and the key `name` of the settings file."""
    return typer.Option(envvar=f"MOTIONTRACE_{name.upper()}", help=text, **more)


def flag(model: type[BaseModel], field: str, named: str | None = None, **more: Any) -> Any:
    """The flag of one field, for a parameter's annotation.

    Args:
        model: a settings model.
        field: name of one of its settings.
        named: name of the variable, where it differs from the setting's.
        more: arguments of `typer.Option`; they override the field's.
    """
    setting = next(each for each in settings_of(model) if each.name == field)
    return _option(setting, named or setting.name, **more)


def flags_of(**models: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a verb's keyword parameter by one flag for each setting of the model passed under its name.

    The verb gets that parameter as a dict of the values that the user has given, nested as in the model. Other
    settings are absent.
    """

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(verb, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            model = models.get(parameter.name)
            parameters += [parameter] if model is None else map(_parameter, settings_of(model))

        @wraps(verb)
        def called(**given: Any) -> None:
            taken = {name: _taken(model, given) for name, model in models.items()}
            verb(**given, **taken)

        called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def _parameter(setting: Setting) -> inspect.Parameter:
    annotation = Annotated[_typed(setting.info.annotation) | None, _option(setting, setting.name)]  # type: ignore[valid-type]
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option(setting: Setting, name: str, **more: Any) -> Any:
    text = setting.info.description or ""
    if get_origin(_plain(setting.info.annotation)) is tuple:
        text = f"{text} May be repeated."
    default = RECIPE_HAS_IT if setting.choice else setting.default_text
    return option(name, text, **{"show_default": default, **more})


def _taken(model: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    """Takes the model's settings out of `given`, nested as in the model, those that nobody gave left out."""
    found: dict[str, Any] = {}
    for setting in settings_of(model):
        value = given.pop(setting.name)
        if value is None or value == []:
            continue
        *groups, name = setting.path
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return found


def _typed(annotation: Any) -> Any:
    """What the command line reads: a choice as a text and several values as a list; the model checks them."""
    plain = _plain(annotation)
    if get_origin(plain) is Literal:
        return str
    if get_origin(plain) is tuple:
        return list[_typed(get_args(plain)[0])]  # type: ignore[misc]
    return plain


def _plain(annotation: Any) -> Any:
    """A type without its bounds and without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return _plain(next(each for each in get_args(annotation) if each is not NoneType))
    return annotation

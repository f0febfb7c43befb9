"""What both databases can keep as text and JSON, and give back unchanged."""

import math


def check_storable(what: str, value: object) -> None:
    """Refuse a text or JSON value that SQLite, PostgreSQL or a client would not take.

    Args:
        what: the value's name at the beginning of a sentence, as "The caption".
        value: None, a bool, number or text, or a list or dict of them.

    Raises:
        ValueError: there is a null character, half of a surrogate pair, a number that is not finite, or
            something that is no JSON in it; says which.
    """
    match value:
        case str():
            if "\0" in value:
                raise ValueError(f"{what} has a null character: remove it.")
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"{what} cannot be written as UTF-8 (character {error.start + 1} is {value[error.start]!a}): "
                    "correct its encoding."
                ) from None
        case float() if not math.isfinite(value):
            raise ValueError(f"{what} has the number {value}, which is no JSON: use null instead.")
        case None | bool() | int() | float():
            pass
        case list() | tuple():
            for item in value:
                check_storable(what, item)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise ValueError(f"{what} has the key {key!r}, which is no text: no JSON.")
                check_storable(what, key)
                check_storable(what, item)
        case _:
            raise ValueError(f"{what} has a {type(value).__name__}, which is no JSON.")

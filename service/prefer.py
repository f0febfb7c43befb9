"""The Prefer header (RFC 7240): how long a caller is ready to wait for the finished result."""

from collections.abc import Iterable


def wait_seconds(headers: Iterable[str], *, most: int) -> int | None:
    """The seconds of the first "wait" preference in these Prefer headers, at most `most`.

    None where there is none; one that cannot be read is ignored, as RFC 7240 asks for.
    """
    for preference in ",".join(headers).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            digits = value.strip().strip('"')
            return min(int(digits[:9]), most) if digits.isascii() and digits.isdecimal() else None
    return None

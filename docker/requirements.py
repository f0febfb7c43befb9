"""Print what pyproject.toml asks for, with the extras that are named, a line each: what the image installs first."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]


def brought_by(extra: str) -> Iterator[str]:
    """The requirements of an extra, and those of the extras that it names."""
    for requirement in project["optional-dependencies"][extra]:
        if named := re.fullmatch(r"motiontrace\[(.*)\]", requirement):
            for each in named[1].split(","):
                yield from brought_by(each.strip())
        else:
            yield requirement


print(*project["dependencies"], *(line for extra in sys.argv[1:] for line in brought_by(extra)), sep="\n")

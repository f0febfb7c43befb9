"""How what is not installed gets installed: motiontrace is installed from a checkout, with extras of its own."""

from __future__ import annotations

from motiontrace.catalog.errors import CatalogError

EXTRAS = {"faiss": "cpu", "psycopg": "postgres", "scipy": "curation", "peft": "curation", "matplotlib": "curation"}
"""The extra in pyproject.toml that brings a package, by the name that it is imported by."""


class NotInstalledError(CatalogError):
    """A package of an extra is missing; says how it is installed."""


def install_line(*extras: str) -> str:
    """The command that installs motiontrace with these extras, in a checkout."""
    return f"pip install -c constraints.txt '.[{','.join(extras)}]'"


def how_to_install(*packages: str) -> str:
    """What brings these packages, as the end of a sentence; they are named as in EXTRAS."""
    extras = dict.fromkeys(EXTRAS[package] for package in packages)
    return f"in a checkout of motiontrace, {install_line(*extras)}"

"""How what is not installed gets installed: motiontrace is installed from a checkout, with extras of its own."""

from __future__ import annotations

from motiontrace.catalog.errors import CatalogError

EXTRAS = {
    **dict.fromkeys(("accelerate", "alembic", "av", "cv2", "diffusers", "faiss", "fastapi", "fastapi_offline"), "cpu"),
    **dict.fromkeys(("huggingface_hub", "numpy", "prometheus_client", "psutil", "pyarrow", "python_multipart"), "cpu"),
    **dict.fromkeys(("pythonjsonlogger", "safetensors", "sqlalchemy", "starlette", "torch", "transformers"), "cpu"),
    "uvicorn": "cpu", "psycopg": "postgres", "scipy": "curation", "peft": "curation", "matplotlib": "curation",
}  # fmt: skip
"""The extra that brings a package with all that works beside it, by the name that the package is imported by."""


class NotInstalledError(CatalogError):
    """A package of an extra is missing; says how it is installed."""


def install_line(*extras: str) -> str:
    """The command that installs motiontrace with these extras, in a checkout."""
    return f"pip install -c constraints.txt '.[{','.join(extras)}]'"


def how_to_install(*packages: str) -> str:
    """What brings these packages, as the end of a sentence; they are named as in EXTRAS."""
    extras = dict.fromkeys(EXTRAS[package] for package in packages)
    return f"in a checkout of motiontrace, {install_line(*extras)}"

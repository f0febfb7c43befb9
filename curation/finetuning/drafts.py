"""Folders that are written under another name first, so that what is there is whole."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from motiontrace.curation.finetuning.errors import FinetuningError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def drafted(draft: Path) -> Iterator[Path]:
    """An empty folder to write to; gone again where that fails, so that it takes no room.

    Raises FinetuningError where what is written does not fit, and OSError of a file that cannot be used.
    """
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if (why := _unwritten(error)) is None:
            raise
        raise FinetuningError(
            f"{draft.parent} cannot be written ({why}): make room on its volume and give the same command again."
        ) from error


def _unwritten(error: BaseException) -> str | None:
    """Why a file could not be written, where the error does not name it; None for any other error."""
    if isinstance(error, SafetensorError):
        return str(error)
    if isinstance(error, OSError) and error.filename is None:
        return error.strerror or str(error)
    # torch.save has no error of its own: this is of the part of torch that writes its files.
    torch_did = isinstance(error, RuntimeError) and "inline_container" in str(error)
    return "torch could not write all of it" if torch_did else None

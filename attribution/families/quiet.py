"""Keeps the model libraries' output out of terminals and logs: a ModelError says what matters."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def hub_bars(*, shown: bool) -> Iterator[None]:
    """huggingface_hub's bars of downloads are `shown` meanwhile or not; what the user has set himself stays."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def silence_libraries() -> None:
    """Takes bars and warnings away from diffusers, transformers and peft, for the rest of the process.

    They speak while they load, and again while a loaded model works: of shards, of tokens cut off, of sizes rounded.
    """
    import diffusers.utils.logging
    import transformers.utils.logging

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.disable_progress_bar()
        logging.set_verbosity(50)  # critical: their errors come as exceptions, too
    for name in ("diffusers", "transformers", "peft"):
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")

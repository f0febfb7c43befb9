"""The models that compute queries' gradients: each loaded once and kept."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motiontrace.attribution.basis import Basis
from motiontrace.attribution.errors import ModelError, RecipeMismatchError
from motiontrace.catalog.publishing import recipe_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from motiontrace.attribution.engine import MotionEngine
    from motiontrace.catalog.records import IndexRecord

RETRY_SECONDS = 60.0
Key = tuple[str, str]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failure:
    message: str
    at: float  # time.monotonic()


class Engines:
    """One engine for each model and recipe. Recipes that differ only in what is measured on clips share the model.

    Use it from one thread; `trouble` can be called from any.
    """

    def __init__(
        self,
        device: str | None,
        basis_directory: Path,
        loaded: Callable[[str, float], None] = lambda model, seconds: None,
    ) -> None:
        """The models are loaded when they are first asked for.

        Args:
            device: torch device, as "cuda:1"; None: a GPU if there is one.
            basis_directory: holds the bases that the indexes' recipes name.
            loaded: is called with each model's name and the seconds that its loading took.
        """
        self._device = device
        self._loaded = loaded
        self._basis_directory = basis_directory
        self._engines: dict[Key, MotionEngine] = {}
        self._failures: dict[Key, _Failure] = {}

    def of(self, index: IndexRecord) -> MotionEngine:
        """The engine that computes gradients comparable to the index's, loaded at the first call.

        Raises:
            ModelError: the model cannot be loaded from where it was when the index was made.
            RecipeMismatchError: what is there now is another model, or another version made the index.
            BasisError: the basis that its recipe names is missing or damaged; a ModelError.
        """
        key = _key(index)
        if key not in self._engines:
            started = time.monotonic()
            try:
                self._engines[key] = self._load(index)
            except Exception as error:
                self._failures[key] = _Failure(str(error) or type(error).__name__, time.monotonic())
                raise
            self._failures.pop(key, None)
            seconds = time.monotonic() - started
            self._loaded(index.model, seconds)
            log.info("model %s for index %s loaded in %.1f s", index.model, index.name, seconds)
        return self._engines[key]

    def warm(self, index: IndexRecord) -> None:
        """Load the index's engine before a query needs it; one that failed is tried again after a while."""
        failure = self._failures.get(_key(index))
        if failure is not None and time.monotonic() - failure.at < RETRY_SECONDS:
            return
        try:
            self.of(index)
        except (ModelError, RecipeMismatchError) as error:
            log.warning("model for index %s: %s", index.name, error)
        except Exception:
            log.exception("model for index %s", index.name)

    def trouble(self, index: IndexRecord) -> str | None:
        """Why the index's engine cannot compute now, None if it can; callable from any thread."""
        if _key(index) in self._engines:
            return None
        failure = self._failures.get(_key(index))
        return "its model is being loaded" if failure is None else failure.message

    def _load(self, index: IndexRecord) -> MotionEngine:
        recipe = recipe_of(index)
        digest = recipe.projection.basis
        basis = None if digest is None else Basis.load(self._basis_directory, digest)
        plain = recipe.unmeasured()
        from motiontrace.attribution.engine import load_engine  # takes seconds, and queries of clips need none

        # Every index has measured scales and learned a basis of its own, and a model is gigabytes.
        key = index.model, plain.digest
        if key not in self._engines:
            self._engines[key] = load_engine(index.model, plain, device=self._device)
        return self._engines[key].under(recipe, basis)


def _key(index: IndexRecord) -> Key:
    return index.model, index.recipe_digest

"""The models that compute queries' gradients: each loaded once and kept."""

import logging
import time
from dataclasses import dataclass

from pydantic import ValidationError

from attribution.engine import MotionEngine, load_engine
from attribution.errors import ModelError, RecipeMismatchError
from attribution.recipe import Recipe
from catalog.records import IndexRecord

RETRY_SECONDS = 60.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failure:
    message: str
    at: float  # time.monotonic()


class Engines:
    """One engine for each model and recipe; indexes share it. For one thread, except for `trouble`."""

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._engines: dict[tuple[str, str], MotionEngine] = {}
        self._failures: dict[tuple[str, str], _Failure] = {}

    def of(self, index: IndexRecord) -> MotionEngine:
        """The engine that computes gradients comparable to the index's, loaded at the first call.

        Raises:
            ModelError: the model cannot be loaded from where it was when the index was made.
            RecipeMismatchError: what is there now is another model.
        """
        key = _key(index)
        if key not in self._engines:
            started = time.monotonic()
            try:
                self._engines[key] = load_engine(index.model, _recipe(index), device=self._device)
            except Exception as error:
                self._failures[key] = _Failure(str(error) or type(error).__name__, time.monotonic())
                raise
            self._failures.pop(key, None)
            log.info("model %s for index %s loaded in %.1f s", index.model, index.name, time.monotonic() - started)
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


def _recipe(index: IndexRecord) -> Recipe:
    try:
        return Recipe.from_json(index.recipe)
    except ValidationError as error:
        raise RecipeMismatchError(
            f"the recipe of the index {index.name!r} is not one that this version of motiontrace can follow "
            f"({error.errors()[0]['msg']}). Install the version that made the index, or index again."
        ) from error


def _key(index: IndexRecord) -> tuple[str, str]:
    return index.model, index.recipe_digest

"""Sketches kept on disk while a new index is made: computed for its basis, and not again for its vectors.

A file holds one sketch: the SHA-256 of all that follows (32 bytes), a line of JSON, and the vector, float32 [width],
little-endian.
"""

import hashlib
import shutil
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter, ValidationError

from motiontrace.attribution.engine import ClipSketch
from motiontrace.attribution.motion import MotionSummary
from motiontrace.attribution.recipe import Recipe
from motiontrace.attribution.region import MotionRegion
from motiontrace.attribution.video import VideoInfo
from motiontrace.catalog.durable_files import access_to, write_atomically
from motiontrace.catalog.settings import CatalogSettings

_CHECKSUM = 32


@dataclass(frozen=True)
class _Line:
    """What a sketch's file says beside the vector."""

    loss: float | None
    info: VideoInfo
    motion: MotionSummary
    region: MotionRegion | None
    seconds: dict[str, float]


_JSON = TypeAdapter(_Line)


def sketch_key(sha256: str, caption: str) -> str:
    """Names the sketch of a clip by what it depends on: the file's content (SHA-256, hex) and the caption."""
    return hashlib.sha256(f"{sha256}\0{caption}".encode()).hexdigest()


class KeptSketches:
    """The kept sketches of a new index by one recipe; its basis does not matter. Safe to use from several threads."""

    def __init__(self, places: CatalogSettings, index: str, recipe: Recipe) -> None:
        """`index` is a name that an index can have: each has sketches of its own, as others may be being made."""
        self.folder = places.calibration_directory / index / recipe.with_basis(None).digest
        self._vector_bytes = 4 * recipe.projection.width

    def save(self, key: str, sketch: ClipSketch) -> None:
        """Keep a sketch that has a vector; raises CatalogError where the disk does not take it."""
        assert sketch.vector is not None
        line = _JSON.dump_json(_Line(sketch.loss, sketch.info, sketch.motion, sketch.region, sketch.seconds))
        content = line + b"\n" + sketch.vector.astype("<f4").tobytes()
        with access_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / key, [hashlib.sha256(content).digest(), content])

    def load(self, key: str) -> ClipSketch | None:
        """Give the sketch, None where there is none that can be read: it is computed again."""
        try:
            whole = (self.folder / key).read_bytes()
        except OSError:
            return None
        content = whole[_CHECKSUM:]
        line, _, vector = content.partition(b"\n")
        if hashlib.sha256(content).digest() != whole[:_CHECKSUM] or len(vector) != self._vector_bytes:
            return None
        try:
            told = _JSON.validate_json(line)
        except ValidationError:  # another version's, or a number that JSON has no word for
            return None
        return ClipSketch(
            np.frombuffer(vector, "<f4").astype(np.float32),
            told.loss,
            told.info,
            told.motion,
            told.region,
            told.seconds,
        )

    def clear(self) -> None:
        """Delete them all, and what the index had by other recipes before it was made: it has one from then on."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)

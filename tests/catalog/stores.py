"""Vector stores to test with."""

from pathlib import Path

from motiontrace.catalog.vectors import VectorStore
from tests.catalog.vectors import Vectors, vectors

DIGEST = "ab" * 32


def fill(directory: Path, *batches: Vectors, dim: int = 32, removed: str = "") -> Path:
    """Make a store of these batches, published one after the other; then remove the vectors of some ids."""
    with VectorStore.create(directory, DIGEST, dim) as store:
        for batch in batches:
            store.publish([store.append(batch)])
        if removed:
            store.publish([], removed=removed)
    return directory


def three_segments(directory: Path) -> Path:
    """a to z, with newer vectors for d to f, and g to i removed."""
    return fill(directory, vectors("abcdefghijklm"), vectors("def", version=1), vectors("nopqrstuvwxyz"), removed="ghi")


# What three_segments leaves in the index.
LIVE = vectors("abcjklmnopqrstuvwxyz") | vectors("def", version=1)

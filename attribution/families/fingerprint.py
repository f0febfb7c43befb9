"""A checkpoint's digest: over the content that shapes its gradients, wherever it lies.

Earlier versions gave some checkpoints other digests. `formers` computes those from the same content, so that an index
that was made then still belongs to its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from itertools import product
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.families.configuration import SWITCHES
from motiontrace.attribution.families.documents import read_json
from motiontrace.attribution.families.hashing import sha256_of, xet_hash_of
from motiontrace.attribution.families.weights import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from motiontrace.attribution.families.checkpoint import Checkpoint


def digest(checkpoint: Checkpoint) -> str:
    """SHA-256 over weights, configurations, tokenizer and schedule of training; 64 hex digits.

    Raises ModelError where a file cannot be read.
    """
    # Absent, null and false are the same.
    return _combined(checkpoint, [checkpoint.index.get(key) or None for key in SWITCHES], _loaded(checkpoint))


def formers(checkpoint: Checkpoint) -> Iterator[str]:
    """Every digest that an earlier version may have given to this same content, the likeliest first.

    Earlier versions distinguished absent switches from null and false ones, and counted files that are not loaded.
    They took the name of a file in the hub's cache for its SHA-256, where it may be its Xet hash.
    """
    switches = [[value] if (value := checkpoint.index.get(key)) else [None, False] for key in SWITCHES]
    for files in (_loaded(checkpoint), _all(checkpoint)):
        for given in product(*switches):
            yield _combined(checkpoint, given, files)
    # Weights are in Xet, and of a tokenizer what is large or no text.
    for others in ((), (".model",), (".json",), (".model", ".json")):
        suffixes = (SUFFIX, *others)
        for files, given in product((_loaded(checkpoint), _all(checkpoint)), product(*switches)):
            yield _combined(checkpoint, given, files, suffixes)


def _combined(
    checkpoint: Checkpoint, switches: Sequence[Any], files: Sequence[tuple[str, Path]], in_xet: tuple[str, ...] = ()
) -> str:
    """The digest of `files` and what belongs to them; those that end so `in_xet` by their Xet hashes."""
    total = hashlib.sha256(json.dumps(list(switches)).encode())
    for part in checkpoint.weights:
        config = read_json(checkpoint.folder / part / "config.json")
        # Names that begin with an underscore say where and with what it was saved.
        meant = {key: value for key, value in config.items() if not key.startswith("_")}
        total.update(f"{part}:{json.dumps(meant, sort_keys=True)}\n".encode())
    for part, file in files:
        xet = xet_hash_of(file) if file.suffix in in_xet and file.name != "tokenizer_config.json" else None
        total.update(f"{part}/{file.name}:{xet or sha256_of(file)}\n".encode())
    if keys := checkpoint.kind.schedule:
        config = read_json(checkpoint.folder / "scheduler" / "scheduler_config.json")
        total.update(f"scheduler:{json.dumps([config.get(key) for key in keys])}\n".encode())
    return total.hexdigest()


def _loaded(checkpoint: Checkpoint) -> list[tuple[str, Path]]:
    """Part and path of what is loaded: weights by part, then tokenizers, by name in each."""
    weights = [(part, file) for part, found in checkpoint.weights.items() for file in found.files]
    return weights + [(part, file) for part in checkpoint.kind.tokenizers for file in checkpoint.tokenizer_files(part)]


def _all(checkpoint: Checkpoint) -> list[tuple[str, Path]]:
    """The same with all that lies beside them."""
    patterns = dict.fromkeys(checkpoint.kind.parts, f"*{SUFFIX}") | dict.fromkeys(checkpoint.kind.tokenizers, "*")
    beside = ((part, sorted((checkpoint.folder / part).glob(pattern))) for part, pattern in patterns.items())
    return [(part, file) for part, files in beside for file in files if file.is_file()]

"""Where the cartoon clips stand in what a selection says of every clip with the same words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.demo.motions import Kind
from motiontrace.indexer.manifest import read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]

ENDS = (10, 20)  # of the most negative clips, that are looked at by themselves


@dataclass(frozen=True)
class Share:
    """How many of some clips are of a kind, beside the share that chance would give."""

    found: int
    of: int
    chance: float


@dataclass(frozen=True)
class Findings:
    """What a selection found among the clips with the words of one motion.

    Attributes:
        auc: by cartoon motion: chance that of such a clip and a real one the cartoon one is found to fight the queries
            more; 0.5 knows nothing.
        dropped: cartoon among the clips that were left out.
        ends: cartoon among the n most negative clips, by n.
        motions: by what clips really show: how many of them were left out.
    """

    auc: dict[str, float]
    dropped: Share
    ends: dict[int, Share]
    motions: dict[str, Share]


@dataclass(frozen=True)
class Judged:
    """The clips that a selection was made from, the most negative first: in the order in which it drops them."""

    motion: NDArray[np.str_]
    cartoon: Flags
    dropped: Flags
    chosen: Flags


def read_judged(report: Path, train: Path) -> Judged:
    """A selection's report (`--report FILE.jsonl`) beside what the corpus says of its clips."""
    metadata = {row.id: row.metadata for row in read_manifest(train)}
    lines = map(json.loads, report.read_text(encoding="utf-8").splitlines())
    rows = [row for row in lines if row["score"] is not None]  # the others do not move
    rows.sort(key=lambda row: (-row["votes_against"], row["score"], row["id"]))
    return Judged(
        np.array([metadata[row["id"]]["motion"] for row in rows]),
        np.array([metadata[row["id"]]["physics"] == Kind.CARTOON.value for row in rows]),
        np.array([row["fate"] == "dropped_as_worst" for row in rows]),
        np.array([row["fate"] in ("chosen", "chosen_by_floor") for row in rows]),
    )


def find(judged: Judged) -> Findings:
    """Counts."""
    cartoon = judged.cartoon
    dropped = float(judged.dropped.mean())
    shows = {motion: judged.motion == motion for motion in np.unique(judged.motion).tolist()}
    return Findings(
        auc={motion: _auc(flags, ~cartoon) for motion, flags in shows.items() if (flags & cartoon).any()},
        dropped=_share(cartoon, judged.dropped),
        ends={count: _share(cartoon, np.arange(len(cartoon)) < count) for count in ENDS},
        motions={
            motion: Share(int((flags & judged.dropped).sum()), int(flags.sum()), dropped)
            for motion, flags in shows.items()
        },
    )


def chosen_motions(judged: Judged) -> dict[str, int]:
    """What the chosen clips really show: how many of each motion."""
    names, counts = np.unique(judged.motion[judged.chosen], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _share(kind: Flags, among: Flags) -> Share:
    return Share(int((kind & among).sum()), int(among.sum()), float(kind.mean()))


def _auc(cartoon: Flags, real: Flags) -> float:
    # Of each cartoon clip: how many real ones come after it, less negative.
    after = np.cumsum(real[::-1])[::-1][cartoon]
    return float(after.sum()) / max(int(cartoon.sum()) * int(real.sum()), 1)

"""Where the cartoon clips stand in what a selection says of every clip."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from demo.corpus import TOLD_AS
from demo.motions import Kind
from indexer.manifest import read_manifest

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
class SameWords:
    """The clips of one caption: cartoon against real.

    Attributes:
        motion: the physical one, whose words they all have.
        cartoon, real: how many there are of each.
        auc: chance that of a cartoon clip and a real one the cartoon one is found to fight the queries more; 0.5 knows
            nothing.
        precision: cartoon clips among as many of the worst as there are cartoon clips, as a share.
    """

    motion: str
    cartoon: int
    real: int
    auc: float
    precision: float


@dataclass(frozen=True)
class Findings:
    """What a selection found.

    Attributes:
        dropped: cartoon among the clips that were left out as worst.
        ends: cartoon among the n most negative clips, by n.
        lost: real falls and bounces among those that were left out.
        same_words: within each caption.
        motions: of the clips left out, how many of each motion.
    """

    dropped: Share
    ends: dict[int, Share]
    lost: Share
    same_words: list[SameWords]
    motions: dict[str, int]


@dataclass(frozen=True)
class Judged:
    """The clips that move, the most negative first: in the order in which ``select`` drops them."""

    motion: NDArray[np.str_]
    cartoon: Flags
    dropped: Flags
    chosen: Flags


def read_judged(report: Path, train: Path) -> Judged:
    """A selection's report (``--report FILE.jsonl``) beside what the corpus says of its clips."""
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
    told = set(TOLD_AS.values())
    real = np.isin(judged.motion, list(told))
    names, counts = np.unique(judged.motion[judged.dropped], return_counts=True)
    ends = {count: _share(judged.cartoon, np.arange(len(judged.cartoon)) < count) for count in ENDS}
    return Findings(
        dropped=_share(judged.cartoon, judged.dropped), ends=ends, lost=_share(real, judged.dropped),
        same_words=[_same_words(judged, motion) for motion in sorted(told)],
        motions=dict(sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda each: -each[1])),
    )  # fmt: skip


def _share(kind: Flags, among: Flags) -> Share:
    return Share(int((kind & among).sum()), int(among.sum()), float(kind.mean()))


def _same_words(judged: Judged, motion: str) -> SameWords:
    words = [name for name, told in TOLD_AS.items() if told == motion]
    cartoon = judged.cartoon[np.isin(judged.motion, [motion, *words])]  # the most negative first
    count, others = int(cartoon.sum()), int((~cartoon).sum())
    # Of each cartoon clip: how many real ones are less negative.
    after = np.cumsum(~cartoon[::-1])[::-1][cartoon]
    return SameWords(motion, count, others, float(after.sum()) / (count * others), float(cartoon[:count].mean()))

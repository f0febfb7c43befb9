"""What an evaluation needs of its clips, seen before hours of computing: every refusal names what to change."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING

from motiontrace.catalog.durable_files import write_atomically
from motiontrace.curation.evaluation.errors import EvaluationError
from motiontrace.files import file_sha256, read_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from motiontrace.curation.evaluation.clips import Clips
    from motiontrace.indexer.manifest import ManifestRow

_CLIPS = "clips.json"


def check_queries(
    motion: str, groups: Sequence[str], query_groups: Sequence[str], within: Sequence[str], halves: bool
) -> None:
    """See that the held-out clips can ask about their motions.

    `motion` is the column, `groups` and `query_groups` what training and held-out clips have in it, `within`
    the motions that are looked into; `halves`: each motion's held-out clips are divided. Raises EvaluationError.
    """
    asked = Counter(query_groups)
    if missing := asked.keys() - set(groups):
        raise EvaluationError(f"there is no training clip with {motion} {min(missing)!r}, and a held-out one has it")
    for name in within:
        if name not in asked:
            raise EvaluationError(
                f"there is no held-out clip with {motion} {name!r}, which is looked into: add some, or name other"
                " motions with --within"
            )
    if halves and (few := [name for name, count in asked.items() if count < 2]):
        raise EvaluationError(
            f"there is one held-out clip with {motion} {min(few)!r}: one half of them choose clips and the other is"
            " measured, so it takes two or more of each; or go without that part by --no-counterfactual"
        )


def check_clips(folder: Path, train: Clips, held_out: Clips) -> None:
    """See that no clip is both trained on and held out, and that what `folder` keeps is of these very clips.

    Results are kept by the names of clips: of another video or caption under the same name they would be wrong.
    Raises EvaluationError where one is.
    """
    contents = [{row.video: file_sha256(row.video) for row in clips.rows} for clips in (train, held_out)]
    if twice := set(contents[0].values()) & set(contents[1].values()):
        one, other = (next(video for video, found in each.items() if found in twice) for each in contents)
        raise EvaluationError(
            f"{other} is held out and is trained on, too, as {one}: what a model was trained on says nothing of others"
        )
    file = folder / _CLIPS
    kept: dict[str, dict[str, str]] = json.loads(read_file(file)) if file.exists() else {}
    for part, clips, content in zip(("train", "held_out"), (train, held_out), contents, strict=True):
        known = kept.setdefault(part, {})
        for name, row in zip(identities(clips.rows), clips.rows, strict=True):
            digest = hashlib.sha256(f"{content[row.video]}\0{row.caption}".encode()).hexdigest()
            if known.setdefault(name, digest) != digest:
                raise EvaluationError(
                    f"{row.video} has another content or caption than when {folder} was begun, whose results are of it"
                    " as it was: name another folder"
                )
    write_atomically(file, [json.dumps(kept, indent=0).encode()])


def identities(rows: Sequence[ManifestRow]) -> list[str]:
    """What each clip is called in results that are kept: its id, else its file's name where no other has that."""
    names = [row.id or row.video.name for row in rows]
    often = Counter(names)
    return [
        str(row.video) if row.id is None and often[name] > 1 else name for row, name in zip(rows, names, strict=True)
    ]

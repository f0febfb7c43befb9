"""The demo corpus: every motion many times, in looks drawn independently, as mp4 files with captions.

Written the way people keep their own clips, the Hugging Face video-folder convention: a folder of files beside a
`metadata.jsonl`. `train/` is what the demo model learns from and what gets indexed; `heldout/` holds clips of
the same kinds that neither has seen.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from motiontrace.demo.looks import Look
from motiontrace.demo.motions import MOTIONS, Motion
from motiontrace.demo.render import render, write_mp4

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPLITS = ("train", "heldout")
_BY_NAME = {motion.name: motion for motion in MOTIONS}
TOLD_AS = {"hover_then_fall": "free_fall", "constant_fall": "free_fall", "bounce_higher": "bounce"}
"""Cartoon motions, and the physical one whose words people also use for them."""
VERSION = 1  # of the rendering: raised when the same settings give other pictures


@dataclass(frozen=True)
class CorpusSettings:
    """Size and seed of a corpus; the defaults are what the shipped checkpoint was trained on."""

    clips_per_motion: int = 44
    heldout_per_motion: int = 4
    seed: int = 7
    palette: str = "standard"
    """Of the looks: one of `motiontrace.demo.looks.PALETTES`."""
    cartoon_captions: Literal["own", "physical"] = "own"
    """`physical`: a cartoon's fall is captioned as a fall, as in most real data (`TOLD_AS`)."""


def caption(motion: Motion, look: Look, rng: np.random.Generator, cartoon_captions: str = "own") -> str:
    """What a person would write under the clip; for `cartoon_captions` see `CorpusSettings`."""
    told = _BY_NAME[TOLD_AS[motion.name]] if cartoon_captions == "physical" and motion.name in TOLD_AS else motion
    return f"{look.object_words} {rng.choice(told.phrases)} {look.background_words}"


def _draw(
    split: str, motion_index: int, number: int, settings: CorpusSettings
) -> tuple[Motion, Look, str, np.random.Generator]:
    # One child seed for each property, so that no draw of one shifts a draw of another.
    root = np.random.SeedSequence([settings.seed, SPLITS.index(split), motion_index, number])
    look_rng, motion_rng, caption_rng = (np.random.default_rng(child) for child in root.spawn(3))
    motion, look = MOTIONS[motion_index], Look.draw(look_rng, settings.palette)
    return motion, look, caption(motion, look, caption_rng, settings.cartoon_captions), motion_rng


def _write_clip(job: tuple[Path, str, int, int, CorpusSettings]) -> tuple[dict[str, object], bool]:
    """The clip's row, and whether it was there already."""
    folder, split, motion_index, number, settings = job
    cv2.setNumThreads(1)  # one process a core already
    motion, look, text, rng = _draw(split, motion_index, number, settings)
    name = f"{motion.name}_{number:03d}"
    path = folder / split / f"{name}.mp4"
    there = path.exists()
    if not there:
        part = path.with_name(f".{name}.part.mp4")
        write_mp4(part, render(motion, look, rng))
        part.replace(path)  # a killed run leaves no half-written clip under the real name
    properties = {**asdict(look), "radius": round(look.radius, 4)}
    row = {
        "file_name": path.name,
        "caption": text,
        "id": name if split == "train" else f"heldout_{name}",
        "motion": motion.name,
        "physics": motion.kind.value,
        **properties,
    }
    return row, there


def write_corpus(
    folder: Path, settings: CorpusSettings = CorpusSettings(), on_clip: Callable[[int, int, int], None] | None = None
) -> Path:
    """Renders what is missing of the corpus under `folder` and returns the training split's folder.

    `on_clip(done, total, kept)` is called as clips are finished, `kept` of them by an earlier run. The same
    settings give the same bytes; clips of other settings that are there are replaced. Raises FileExistsError where
    what is there was not rendered here.
    """
    counts = {"train": settings.clips_per_motion, "heldout": settings.heldout_per_motion}
    jobs = [
        (folder, split, motion_index, number, settings)
        for split in SPLITS
        for number in range(counts[split])
        for motion_index in range(len(MOTIONS))
    ]
    rendered_by = {name: value for name, value in asdict(settings).items() if name != "cartoon_captions"}
    made_by = json.dumps({**rendered_by, "version": VERSION})
    stamp = folder / "corpus.json"
    if not stamp.is_file():
        for theirs in (folder / split for split in SPLITS if any((folder / split).glob("*"))):
            why = "Files are in it that the demo has not made: name another folder, or remove it"
            raise FileExistsError(errno.EEXIST, why, str(theirs))
    elif stamp.read_text(encoding="utf-8") != made_by:
        for split in SPLITS:
            shutil.rmtree(folder / split, ignore_errors=True)
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
    stamp.write_text(made_by, encoding="utf-8")
    rows: dict[str, list[dict[str, object]]] = {split: [] for split in SPLITS}
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        kept = 0
        for done, (job, (row, there)) in enumerate(zip(jobs, pool.map(_write_clip, jobs, chunksize=8), strict=True), 1):
            rows[job[1]].append(row)
            kept += there
            if on_clip is not None:
                on_clip(done, len(jobs), kept)
    for split in SPLITS:
        lines = "".join(json.dumps(row) + "\n" for row in rows[split])
        (folder / split / "metadata.jsonl").write_text(lines, encoding="utf-8")
    return folder / "train"

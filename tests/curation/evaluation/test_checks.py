"""What would spoil an evaluation is refused before anything is computed, in words that name it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from motiontrace.curation.evaluation.checks import check_clips, check_queries, identities
from motiontrace.curation.evaluation.clips import Clips, read_rows
from motiontrace.curation.evaluation.errors import EvaluationError
from motiontrace.curation.evaluation.lds import plan_subsets
from motiontrace.curation.evaluation.settings import EvaluationSettings
from motiontrace.indexer.manifest import ManifestRow

if TYPE_CHECKING:
    from pathlib import Path


def clips(folder: Path, *, caption: str = "a ball falls", **contents: str) -> Clips:
    folder.mkdir(exist_ok=True)
    rows = []
    for number, (name, content) in enumerate(contents.items(), 1):
        video = folder / f"{name}.mp4"
        video.write_text(content, encoding="utf-8")
        rows.append(ManifestRow(number, video, caption, None))
    return Clips(rows, [], *(torch.zeros(len(rows)) for _ in range(3)))


def test_a_motion_that_is_looked_into_has_held_out_clips_and_those_that_ask_are_trained_on() -> None:
    groups = ["fall", "spin"] * 8
    check_queries("motion", groups, ["fall", "spin"] * 2, ["fall"], halves=True)
    with pytest.raises(EvaluationError, match="no held-out clip with motion 'spin', which is looked into"):
        check_queries("motion", groups, ["fall"] * 2, ["spin"], halves=True)
    with pytest.raises(EvaluationError, match="no training clip with motion 'roll'"):
        check_queries("motion", groups, ["fall", "roll"] * 2, ["fall"], halves=True)


def test_one_held_out_clip_of_a_motion_is_enough_only_where_they_are_not_divided() -> None:
    groups, asking = ["fall", "spin"] * 8, ["fall", "fall", "spin"]
    check_queries("motion", groups, asking, ["fall"], halves=False)
    with pytest.raises(EvaluationError, match=r"one held-out clip with motion 'spin'.*--no-counterfactual"):
        check_queries("motion", groups, asking, ["fall"], halves=True)


def test_too_many_motions_do_not_share_the_subsets() -> None:
    groups = [str(place % 3) for place in range(60)]
    plan_subsets(groups, EvaluationSettings(subsets=12), ["0", "1", "2"])
    with pytest.raises(EvaluationError, match="3 motions cannot share 11 subsets"):
        plan_subsets(groups, EvaluationSettings(subsets=11), ["0", "1", "2"])


def test_a_clip_that_is_trained_on_is_not_held_out_under_whatever_name(tmp_path: Path) -> None:
    train = clips(tmp_path / "train", a="one", b="two")
    with pytest.raises(EvaluationError, match=r"x\.mp4 is held out and is trained on, too, as .*b\.mp4"):
        check_clips(tmp_path, train, clips(tmp_path / "other", x="two"))
    check_clips(tmp_path, train, clips(tmp_path / "other", x="three"))


def test_a_folder_is_not_gone_on_with_by_other_clips_of_the_same_name(tmp_path: Path) -> None:
    train, held_out = clips(tmp_path / "train", a="one", b="two"), clips(tmp_path / "held", x="three")
    for _ in range(2):
        check_clips(tmp_path, train, held_out)
    check_clips(tmp_path, clips(tmp_path / "moved", a="one", c="new"), held_out)
    with pytest.raises(EvaluationError, match=r"b\.mp4 has another content or caption"):
        check_clips(tmp_path, clips(tmp_path / "train", a="one", b="changed"), held_out)
    with pytest.raises(EvaluationError, match=r"x\.mp4 has another content or caption"):
        again = clips(tmp_path / "train", a="one", b="two")
        check_clips(tmp_path, again, clips(tmp_path / "held", caption="a box falls", x="three"))


def test_clips_of_the_same_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    rows = [
        ManifestRow(1, tmp_path / "a" / "1.mp4", "", None),
        ManifestRow(2, tmp_path / "b" / "1.mp4", "", None),
        ManifestRow(3, tmp_path / "b" / "2.mp4", "", None),
        ManifestRow(4, tmp_path / "c" / "2.mp4", "", "own"),
    ]
    assert identities(rows) == [str(rows[0].video), str(rows[1].video), "2.mp4", "own"]


def test_rows_without_a_needed_column_are_passed_over_unless_strict(tmp_path: Path):
    (tmp_path / "a.mp4").touch()
    rows = [{"motion": "fall"}, {"motion": ""}, {"motion": "roll"}, {}]
    lines = [json.dumps({"video": "a.mp4", "caption": "a", **row}) for row in rows]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    refused = []
    kept = read_rows(tmp_path / "m.jsonl", ["motion"], refused.append)
    assert [row.number for row in kept] == [1, 3]
    assert [(row.place, row.reason) for row in refused] == [("line 2", "no motion"), ("line 4", "no motion")]
    with pytest.raises(EvaluationError, match="has no 'motion' in the manifest"):
        read_rows(tmp_path / "m.jsonl", ["motion"], strict=True)
    with pytest.raises(EvaluationError, match="has no 'look' in the manifest"):
        read_rows(tmp_path / "m.jsonl", ["motion", "look"])
    with pytest.raises(EvaluationError, match='no other clip has: did you mean "motion"\\?'):
        read_rows(tmp_path / "m.jsonl", ["motoin"])

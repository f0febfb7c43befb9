"""Manifests as fine-tuning reads them."""

import json
from pathlib import Path

import pytest

from motiontrace.attribution.families import find_checkpoint
from motiontrace.curation.finetuning.clips import plan_clips, read_clips
from motiontrace.indexer.manifest import ManifestError
from tests.curation.finetuning.runs import write_rows


def rows(*weights: object) -> list[dict[str, object]]:
    return [{"file_name": f"{n}.mp4", "caption": "a ball", "weight": weight} for n, weight in enumerate(weights)]


def test_weight_column_is_read_and_weight_0_left_out(tmp_path):
    listed = read_clips(write_rows(tmp_path, [*rows(2, 0, 0.5, None), {"file_name": "x.mp4", "caption": "a star"}]))
    assert [(clip.number, clip.weight) for clip in listed.clips] == [(1, 2.0), (3, 0.5), (4, 1.0), (5, 1.0)]
    assert listed.left_out == 1


def test_weight_column_of_a_csv_file(tmp_path):
    (tmp_path / "clips.csv").write_text("video,prompt,weight\na.mp4,a ball,0.25\nb.mp4,a star,\n")
    assert [clip.weight for clip in read_clips(tmp_path / "clips.csv").clips] == [0.25, 1.0]


@pytest.mark.parametrize("weight", ["many", -1, True, [1], "inf"])
def test_weight_that_is_none_is_refused_by_clip(tmp_path, weight):
    manifest = write_rows(tmp_path, rows(1, weight))
    listed = read_clips(manifest)
    assert ([clip.number for clip in listed.clips], [row.number for row in listed.refused]) == ([1], [2])
    with pytest.raises(ManifestError, match=r"line 2: the column 'weight' holds .* a number from 0 is expected"):
        read_clips(manifest, strict=True)


def test_manifest_of_nothing_but_weight_0_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"every clip of .* has the weight 0"):
        read_clips(write_rows(tmp_path, rows(0, 0)))


def test_digest_follows_the_rows_wherever_the_manifest_lies(tmp_path):
    def digest(name: str, *weights: object) -> str:
        (tmp_path / name).mkdir()
        return read_clips(write_rows(tmp_path / name, rows(*weights))).sha256

    assert digest("here", 1, 2) == digest("there", 1, 2.0)
    assert len({digest(str(n), *weights) for n, weights in enumerate([(1, 2), (2, 1), (1, 2, 0)])}) == 3


def test_size_of_clips_is_given_or_recommended_or_a_default(wan: Path, tmp_path):
    checkpoint = find_checkpoint(str(wan))
    recommended = json.loads((wan / "motiontrace.json").read_text())
    assert [recommended[size] for size in ("height", "width", "frames")] == [32, 32, 5]
    planned = plan_clips(checkpoint, {"frames": 9})
    assert (planned.height, planned.width, planned.frames, planned.fps) == (32, 32, 9, None)

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from motiontrace.attribution.motion import motion_magnitude, summarise
from motiontrace.attribution.recipe import MotionSettings
from motiontrace.attribution.video import read_video
from motiontrace.demo.corpus import TOLD_AS, CorpusSettings, write_corpus
from motiontrace.demo.motions import MOTIONS
from motiontrace.indexer.manifest import read_manifest

SMALL = CorpusSettings(clips_per_motion=1, heldout_per_motion=1, seed=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, SMALL)
    return folder


def test_corpus_is_a_manifest_folder_of_playable_clips(corpus):
    rows = read_manifest(corpus / "train")
    assert [row.metadata["motion"] for row in rows] == [motion.name for motion in MOTIONS]
    for row in rows:
        video = read_video(row.video, frames=13, height=128, width=128)
        assert (video.info.width, video.info.height, video.info.codec) == (192, 192, "h264")
        moves = summarise(motion_magnitude(video.frames, MotionSettings()), MotionSettings()).moves
        assert moves == (row.metadata["motion"] != "static")


def test_captions_tell_look_and_motion(corpus):
    for line in (corpus / "train" / "metadata.jsonl").read_text().splitlines():
        row = json.loads(line)
        motion = next(motion for motion in MOTIONS if motion.name == row["motion"])
        assert row["caption"].startswith(f"a {row['size']} {row['colour']} {row['shape']} ")
        assert any(phrase in row["caption"] for phrase in motion.phrases)


def test_cartoon_clips_can_have_the_words_of_what_they_should_look_like(corpus, tmp_path):
    def captions(folder):
        return {row.id: row.caption for row in read_manifest(folder / "train")}

    shutil.copytree(corpus, tmp_path / "mixed")
    rendered = {path: path.stat().st_mtime_ns for path in (tmp_path / "mixed").rglob("*.mp4")}
    write_corpus(tmp_path / "mixed", replace(SMALL, cartoon_captions="physical"))
    assert {path: path.stat().st_mtime_ns for path in rendered} == rendered
    own, mixed = captions(corpus), captions(tmp_path / "mixed")
    phrases = {motion.name: motion.phrases for motion in MOTIONS}
    for clip, text in mixed.items():
        told = TOLD_AS.get(clip.removesuffix("_000"))
        if told is None:
            assert text == own[clip]
        else:
            assert any(phrase in text for phrase in phrases[told])
            assert text.split(" on a ")[-1] == own[clip].split(" on a ")[-1]


def test_same_seed_gives_the_same_bytes_and_another_does_not(corpus, tmp_path):
    def contents(folder):
        return {path.name: path.read_bytes() for path in (folder / "train").iterdir()}

    write_corpus(tmp_path / "same", SMALL)
    write_corpus(tmp_path / "other", replace(SMALL, seed=4))
    assert contents(tmp_path / "same") == contents(corpus)
    assert contents(tmp_path / "other")["roll_000.mp4"] != contents(corpus)["roll_000.mp4"]


def test_second_run_renders_only_what_is_missing(corpus):
    kept, gone = corpus / "train" / "roll_000.mp4", corpus / "train" / "spin_000.mp4"
    before, contents = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    write_corpus(corpus, SMALL)
    assert kept.stat().st_mtime_ns == before
    assert gone.read_bytes() == contents


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_clips_that_the_demo_has_not_made_are_not_taken_away(tmp_path, split):
    (tmp_path / split).mkdir()
    (tmp_path / split / "mine.mp4").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="not made"):
        write_corpus(tmp_path, SMALL)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["mine.mp4"]


def test_held_out_clips_are_not_in_the_training_split(corpus):
    train, heldout = (
        {row.video.read_bytes() for row in read_manifest(corpus / split)} for split in ("train", "heldout")
    )
    assert not train & heldout
    assert len(heldout) == len(MOTIONS)
    assert np.array([len(train), len(heldout)]).min() == len(MOTIONS)

"""Where the videos of a manifest are looked for."""

import json
import os
import unicodedata

import pytest

from motiontrace.curation.finetuning.clips import read_clips
from motiontrace.indexer.manifest import ManifestError, manifest_folder, read_manifest, require_files


def write(file, *names):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"file_name": name, "text": "x"}) + "\n" for name in names))
    return file


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def snapshot(tmp_path):
    """A data set as the Hub's cache keeps it: all names are links into a store of contents."""
    folder = tmp_path / "datasets--me--clips"
    place = folder / "snapshots" / "rev"
    place.mkdir(parents=True)
    touch(folder / "blobs" / "v0")
    write(folder / "blobs" / "meta", "clip.mp4")
    (place / "clip.mp4").symlink_to("../../blobs/v0")
    (place / "metadata.jsonl").symlink_to("../../blobs/meta")
    return place


def test_paths_of_a_manifest_that_is_a_link_are_beside_the_link(snapshot):
    for source in (snapshot, snapshot / "metadata.jsonl"):
        (row,) = read_manifest(source)
        assert (row.video, row.found) == (snapshot / "clip.mp4", True)
        assert [clip.video for clip in read_clips(source).clips] == [snapshot / "clip.mp4"]
        assert read_clips(source).sha256 == read_clips(snapshot).sha256


def test_a_folder_that_is_a_link_holds_its_videos(snapshot, tmp_path):
    (tmp_path / "current").symlink_to(snapshot)
    (row,) = read_manifest(tmp_path / "current")
    assert (row.video.name, row.found) == ("clip.mp4", True)


def test_a_config_map_is_read_through_its_links(tmp_path):
    write(tmp_path / "..2026" / "metadata.jsonl", "clip.mp4")
    touch(tmp_path / "clip.mp4")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "metadata.jsonl").symlink_to("..data/metadata.jsonl")
    assert [(row.video, row.found) for row in read_manifest(tmp_path)] == [(tmp_path / "clip.mp4", True)]


def test_videos_beside_the_manifest_that_a_link_leads_to_are_found_where_none_is_beside_the_link(tmp_path):
    write(tmp_path / "data" / "train.jsonl", "a.mp4", "b.mp4", "c.mp4")
    links = tmp_path / "links"
    links.mkdir()
    (links / "train.jsonl").symlink_to("../data/train.jsonl")
    theirs, ours = touch(tmp_path / "data" / "a.mp4"), touch(links / "b.mp4")
    touch(tmp_path / "data" / "b.mp4")
    rows = read_manifest(links / "train.jsonl")
    assert [(row.video, row.found) for row in rows] == [(theirs, True), (ours, True), (links / "c.mp4", False)]
    assert manifest_folder(links / "train.jsonl") == links


def test_a_link_to_nothing_is_told(tmp_path):
    (tmp_path / "metadata.jsonl").symlink_to("away")
    for source in (tmp_path, tmp_path / "metadata.jsonl"):
        with pytest.raises(ManifestError, match=r"metadata\.jsonl is a link to a file that does not exist"):
            read_manifest(source)


def test_videos_whose_contents_were_not_fetched_are_not_there(tmp_path):
    (tmp_path / "a.mp4").symlink_to(".git/annex/objects/a")
    (row,) = rows = read_manifest(write(tmp_path / "m.jsonl", "a.mp4"))
    assert (row.video, row.found) == (tmp_path / "a.mp4", False)
    with pytest.raises(ManifestError, match="none of the 1 videos"):
        require_files(tmp_path / "m.jsonl", rows)


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_the_other_unicode_form_are_found(tmp_path, written, stored):
    name = "Übung/ein Bäll è.mp4"
    there = touch(tmp_path / unicodedata.normalize(stored, name))
    mixed = "/".join(
        unicodedata.normalize(form, part) for form, part in zip((stored, written), name.split("/"), strict=True)
    )
    for asked in (unicodedata.normalize(written, name), mixed):
        (row,) = read_manifest(write(tmp_path / "m.jsonl", asked))
        assert (os.fspath(row.video), row.found) == (os.fspath(there), True)


def test_the_exact_name_comes_first(tmp_path):
    both = [touch(tmp_path / unicodedata.normalize(form, "é.mp4")) for form in ("NFC", "NFD")]
    rows = read_manifest(write(tmp_path / "m.jsonl", *(path.name for path in both)))
    assert [row.video for row in rows] == both


def test_paths_of_windows_are_found_or_told(tmp_path):
    there, odd = touch(tmp_path / "sub" / "a.mp4"), touch(tmp_path / "odd\\name.mp4")
    wrong = ["C:\\data\\a.mp4", "d:/data/a.mp4", "\\\\server\\share\\a.mp4", "sub\\none.mp4"]
    refused = []
    rows = read_manifest(write(tmp_path / "m.jsonl", "sub\\a.mp4", ".\\sub\\a.mp4", odd.name, *wrong), refused.append)
    assert [row.video for row in rows] == [there, there, odd]
    assert {row.reason for row in refused} == {"a path of Windows"}
    assert len(refused) == len(wrong)
    assert str(tmp_path / "sub" / "none.mp4") in refused[-1].said

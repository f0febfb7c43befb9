"""What trainers read: by their own readers where they are installed, else as their code reads it."""

from __future__ import annotations

import codecs
import csv
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as parquet
import pytest

from motiontrace.catalog.repositories import ClipRow, EntryRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.curation.selection.forms import Format, Link
from motiontrace.curation.selection.report import write_report
from motiontrace.curation.selection.writing import write_selection
from motiontrace.indexer.manifest import read_manifest
from tests.catalog.vectors import vector
from tests.curation.selection.indexes import Clip, Index, chosen_ids, moving, opened, publish
from tests.videos import moving_square

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.curation.selection.run import Selection
    from motiontrace.curation.selection.writing import Written

# What ids, captions and metadata may hold.
CLIPS: dict[str, dict[str, Any]] = {
    "plain": {"scene": "day", "fps": 24, "score": 9, "tags": ["a"], "clip_file_name": "x.mp4", "video": "?"},
    "A b:c": {"scene": "näch\"t',", "fps": 23.976, "score": 1, "sparse": 1, "clip_file_name": "y.mp4", "video": "?"},
    "映像.v2": {"scene": "True", "fps": 30, "score": 2, "mixed": "x", "clip_file_name": "z.mp4", "video": "?"},
    "up": {"scene": "null", "fps": 25, "score": 3, "mixed": 1, "clip_file_name": "z.mp4", "video": "?"},
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return moving_square(tmp_path_factory.mktemp("video") / "v.mp4", 2, 0).read_bytes()


@pytest.fixture
def index(tmp_path: Path, video: bytes) -> Iterator[Index]:
    (tmp_path / "clips").mkdir()
    clips = [Clip("still", path=tmp_path / "clips" / "still.mp4")]
    for number, (clip_id, extra) in enumerate(CLIPS.items()):
        path = tmp_path / "clips" / f"{number}.MP4"
        path.write_bytes(video + b"\0" * number)
        clips.append(Clip(clip_id, vector(clip_id), extra, path))
    (tmp_path / "clips" / "still.mp4").write_bytes(video)
    places = CatalogSettings(home=tmp_path / "home")
    publish(places, clips)
    with opened(places) as index:
        yield index


@pytest.fixture
def selection(index: Index) -> Selection:
    """All clips, one weighed down."""
    index.label("down_weight", "up")
    return index.select("a", drop_worst="0", name="all")


def write(
    index: Index, selection: Selection, output: Path, format: Format = Format.videofolder, **more: Any
) -> Written:
    return write_selection(index.database, selection, output, format=format, **more)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_video_folder_is_loaded_by_hugging_face_datasets(index: Index, selection: Selection, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write(index, selection, tmp_path / "out")
    cache = str(tmp_path / "cache")
    for loaded in (
        datasets.load_dataset("videofolder", data_dir=str(tmp_path / "out"), cache_dir=cache)["train"],
        datasets.load_dataset(str(tmp_path / "out"), cache_dir=cache)["train"],  # told by the files alone
    ):
        assert len(loaded) == len(CLIPS)
        assert isinstance(loaded.features["video"], datasets.Video)
        rows = list(loaded.cast_column("video", datasets.Video(decode=False)))
        assert [row["id"] for row in rows] == chosen_ids(selection)
        assert {row["id"]: row["caption"] for row in rows} == {clip_id: f"clip {clip_id}" for clip_id in CLIPS}
        assert {row["id"]: row["weight"] for row in rows} == dict.fromkeys(CLIPS, 1.0) | {"up": 0.5}
        for row in rows:
            assert Path(row["video"]["path"]).stat().st_size > 0
            assert row["scene"] == CLIPS[row["id"]]["scene"]


def test_files_that_sound_like_splits_make_no_splits(tmp_path: Path, video: bytes) -> None:
    datasets = pytest.importorskip("datasets")
    ids = ["test-1", "train", "a.val.b", "my dev 3", "evaluation", "Test-1", "fetch_test_test", "contest", "trainer_7"]
    (tmp_path / "clips").mkdir()
    for each in ids:
        (tmp_path / "clips" / f"{each}.mp4").write_bytes(video)
    clips = [Clip(each, vector(each), path=tmp_path / "clips" / f"{each}.mp4") for each in ids]
    publish(CatalogSettings(home=tmp_path / "home"), clips)
    with opened(CatalogSettings(home=tmp_path / "home")) as index:
        write(index, index.select("a", drop_worst="0"), tmp_path / "out")
    loaded = datasets.load_dataset("videofolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert sorted(loaded["train"]["id"]) == sorted(ids)
    assert {"contest.mp4", "trainer_7.mp4"} <= {each.name for each in (tmp_path / "out" / "videos").iterdir()}


def test_metadata_is_in_columns_where_all_clips_have_it_in_one_kind_and_else_in_one_text(
    index: Index, selection: Selection, tmp_path: Path
) -> None:
    write(index, selection, tmp_path / "out")
    rows = {row["id"]: row for row in lines(tmp_path / "out" / "metadata.jsonl")}
    own = ["file_name", "caption", "id", "source_path", "rank", "votes", "votes_against", "score", "weight", "reason"]
    # What the table needs itself, or a reader would take for a file, has another name.
    columns = [*own, "clip_file_name_", "fps", "scene", "score_", "video_", "metadata"]
    assert all(list(row) == columns for row in rows.values())
    assert {row["id"]: (row["score_"], row["fps"]) for row in rows.values()} == {
        clip_id: (extra["score"], float(extra["fps"])) for clip_id, extra in CLIPS.items()
    }
    left = {clip_id: row["metadata"] and json.loads(row["metadata"]) for clip_id, row in rows.items()}
    assert left == {"plain": {"tags": ["a"]}, "A b:c": {"sparse": 1}, "映像.v2": {"mixed": "x"}, "up": {"mixed": 1}}


def test_diffsynth_reads_videos_and_prompts(index: Index, selection: Selection, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    write(index, selection, tmp_path / "out", Format.diffsynth)
    # As diffsynth.trainers.unified_dataset.UnifiedDataset.load_metadata and ToAbsolutePath do.
    metadata = pandas.read_csv(tmp_path / "out" / "metadata.csv")
    rows = [metadata.iloc[number].to_dict() for number in range(len(metadata))]
    assert [row["prompt"] for row in rows] == [f"clip {clip_id}" for clip_id in chosen_ids(selection)]
    assert all(Path(os.path.join(tmp_path / "out", row["video"])).is_file() for row in rows)  # noqa: PTH118
    assert {row["id"]: row["scene"] for row in rows if row["scene"] == row["scene"]} == {
        clip_id: extra["scene"]
        for clip_id, extra in CLIPS.items()
        if extra["scene"] != "null"  # null is pandas' NaN
    }


def test_texts_lie_beside_videos_in_one_folder(index: Index, selection: Selection, tmp_path: Path) -> None:
    write(index, selection, tmp_path / "out", Format.captions)
    out = tmp_path / "out"
    # As finetrainers.data.dataset.VideoCaptionFileDataset pairs them.
    captions = {text.with_suffix(".mp4"): text.read_text(encoding="utf-8").strip() for text in out.glob("*.txt")}
    assert all(video.is_file() for video in captions)
    assert sorted(captions.values()) == sorted(f"clip {clip_id}" for clip_id in CLIPS)
    assert {path.suffix for path in out.iterdir()} == {".mp4", ".txt", ".json", ".jsonl"}
    scores = lines(out / "scores.jsonl")
    assert [(row["id"], captions[out / row["video"]]) for row in scores] == [
        (clip_id, f"clip {clip_id}") for clip_id in chosen_ids(selection)
    ]


def test_lists_of_videos_and_prompts_go_line_by_line(index: Index, selection: Selection, tmp_path: Path) -> None:
    with index.database.writing() as session:
        row = ClipRow(id="up", path=str(tmp_path / "clips" / "3.MP4"), caption="two\n lines")
        EntryRepository(session).refresh(index.record.id, [row])
    write(index, selection, tmp_path / "out", Format.lists)
    out = tmp_path / "out"
    # As diffusers' examples/cogvideo and finetrainers' two-file format read them.
    videos = [out / line.strip() for line in (out / "videos.txt").read_text(encoding="utf-8").splitlines()]
    prompts = [line.strip() for line in (out / "prompts.txt").read_text(encoding="utf-8").splitlines()]
    assert all(video.is_file() for video in videos)
    expected = ["two lines" if clip_id == "up" else f"clip {clip_id}" for clip_id in chosen_ids(selection)]
    assert prompts == expected
    assert [out / row["video"] for row in lines(out / "scores.jsonl")] == videos


def test_parquet_is_one_file_that_tells_what_it_is(index: Index, selection: Selection, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "clips.parquet"
    assert write(index, selection, output, Format.parquet).placed == {}
    table = parquet.read_table(output)
    assert json.loads(table.schema.metadata[b"motiontrace"])["id"] == selection.id
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["rank"], types["score"], types["fps"], types["scene"]) == ("int64", "double", "double", "string")
    assert table["id"].to_pylist() == chosen_ids(selection)
    assert all(Path(video).parent == tmp_path / "clips" for video in table["video"].to_pylist())
    assert [path.name for path in output.parent.iterdir()] == ["clips.parquet"]


@pytest.mark.parametrize("format", list(Format))
def test_what_is_written_is_a_manifest_again_and_the_same_to_the_byte(
    format: Format, index: Index, selection: Selection, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(index, selection, first, format)
    write(index, index.repeat(selection), second, format)
    assert contents(first) == contents(second)
    if format == Format.parquet:
        first = first.rename(tmp_path / "first.parquet")
    rows = read_manifest(first / "scores.jsonl" if format in (Format.captions, Format.lists) else first)
    sources = {clip_id: str(tmp_path / "clips" / f"{number}.MP4") for number, clip_id in enumerate(CLIPS)}
    assert {row.id: row.metadata["source_path"] for row in rows} == sources
    assert [(row.id, row.caption) for row in rows] == [(each, f"clip {each}") for each in chosen_ids(selection)]
    assert all(row.video.is_file() for row in rows)
    assert [float(row.metadata["weight"]) for row in rows] == [0.5 if row.id == "up" else 1.0 for row in rows]


def contents(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


@pytest.mark.parametrize("format", [each for each in Format if each != Format.parquet])
def test_videos_keep_their_names_whatever_ids_hold(
    format: Format, index: Index, selection: Selection, tmp_path: Path
) -> None:
    write(index, selection, tmp_path / "out", format)
    videos = {path.name for path in (tmp_path / "out").rglob("*.mp4")}
    assert videos == {f"{number}.mp4" for number in range(len(CLIPS))}


@pytest.mark.parametrize("format", [Format.captions, Format.lists])
def test_files_of_one_name_in_two_folders_all_come_into_the_folder(
    format: Format, tmp_path: Path, video: bytes
) -> None:
    clips = []
    for number, name in enumerate(["a/1.mp4", "b/1.mp4", "b/1.webm", "c/1.MP4", "c/link.mp4", "c/selection.mp4"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if "link" in name:
            path.symlink_to(tmp_path / "a" / "1.mp4")
        else:
            path.write_bytes(video + b"\0" * number)
        clips.append(Clip(f"id-{number}", vector(f"id-{number}"), path=path))
    publish(CatalogSettings(home=tmp_path / "home"), clips)
    with opened(CatalogSettings(home=tmp_path / "home")) as index:
        write(index, index.select("a", drop_worst="0"), tmp_path / "out", format)
    rows = lines(tmp_path / "out" / "scores.jsonl")
    written = {row["id"]: tmp_path / "out" / row["video"] for row in rows}
    assert all(written[clip.id].read_bytes() == clip.path.read_bytes() for clip in clips if clip.path is not None)
    names = sorted(path.name for path in written.values())
    assert {"link.mp4", "selection.mp4"} <= set(names)
    assert [name for name in names if name in ("1.mp4", "1.webm")] != []
    assert len({path.stem for path in written.values()}) == len(clips)
    if format == Format.captions:
        assert {path.stem for path in (tmp_path / "out").glob("*.txt")} == {path.stem for path in written.values()}


@pytest.mark.parametrize("link", [Link.auto, Link.hardlink, Link.symlink, Link.copy])
def test_videos_come_into_the_folder_as_asked(
    link: Link, index: Index, selection: Selection, tmp_path: Path, video: bytes
) -> None:
    written = write(index, selection, tmp_path / "out", link=link)
    way = Link.hardlink if link == Link.auto else link
    assert written.placed == {way: len(CLIPS)}
    placed = tmp_path / "out" / "videos" / "0.mp4"
    source = tmp_path / "clips" / "0.MP4"
    assert placed.read_bytes() == video
    assert (placed.is_symlink(), placed.stat().st_ino == source.stat().st_ino) == (way == "symlink", way != "copy")


def no_links(path: Path, target: Path) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link", str(target))


def test_links_over_file_systems_become_symbolic_unless_hard_ones_are_asked_for(
    index: Index, selection: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    with pytest.raises(SelectionError, match=r"Invalid cross-device link.*: take --link symlink or --link copy"):
        write(index, selection, tmp_path / "out", link=Link.hardlink)
    assert not any(tmp_path.glob("*out*"))
    assert write(index, selection, tmp_path / "out").placed == {"symlink": len(CLIPS)}


def test_tables_name_videos_where_they_lie_where_the_trainer_allows_that(
    index: Index, selection: Selection, tmp_path: Path
) -> None:
    write(index, selection, tmp_path / "out", Format.diffsynth, link=Link.none)
    with (tmp_path / "out" / "metadata.csv").open(newline="", encoding="utf-8") as file:
        assert {Path(row["video"]).parent for row in csv.DictReader(file)} == {tmp_path / "clips"}
    for format in (Format.videofolder, Format.captions, Format.lists):
        with pytest.raises(SelectionError, match="they have to be linked or copied"):
            write(index, selection, tmp_path / "other", format, link=Link.none)


def test_a_link_to_an_empty_folder_stays_one(index: Index, selection: Selection, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    written = write_selection(index.database, selection, tmp_path / "link", format=Format.videofolder)
    assert written.output == tmp_path / "empty" and (tmp_path / "link").is_symlink()
    assert (tmp_path / "link" / "metadata.jsonl").is_file()


def test_nothing_that_is_there_is_overwritten(index: Index, selection: Selection, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(index, selection, out)  # an empty folder may be there
    before = contents(out)
    with pytest.raises(FileExistsError, match="is there and not empty: name another one"):
        write(index, selection, out)
    (tmp_path / "file").write_text("mine")
    for format in (Format.parquet, Format.captions):
        with pytest.raises(FileExistsError, match="It is there already"):
            write(index, selection, tmp_path / "file", format)
    assert contents(out) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("format", [Format.videofolder, Format.parquet])
def test_what_breaks_off_leaves_nothing(format: Format, index: Index, selection: Selection, tmp_path: Path) -> None:
    heard = 0

    def interrupt() -> None:
        nonlocal heard
        heard += 1
        if heard == len(CLIPS) + 2:  # while the second clip is written
            raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write(index, selection, tmp_path / "out", format, on_clip=interrupt)
    assert sorted(tmp_path.iterdir()) == before


def test_clips_whose_files_are_gone_or_changed_stop_it_or_are_left_out_when_asked(
    index: Index, selection: Selection, tmp_path: Path
) -> None:
    (tmp_path / "clips" / "0.MP4").unlink()
    (tmp_path / "clips" / "1.MP4").write_bytes(b"other")
    with pytest.raises(SelectionError, match="the files of 2 of the 4 chosen clips cannot be used") as told:
        write(index, selection, tmp_path / "out")
    assert "it does not exist" in str(told.value)
    assert "it has changed since it was indexed" in str(told.value)
    assert not (tmp_path / "out").exists()
    written = write(index, selection, tmp_path / "out", skip_unusable=True)
    assert {each.id for each in written.left_out} == {"plain", "A b:c"}
    assert written.clips == 2
    assert {row["id"] for row in lines(tmp_path / "out" / "metadata.jsonl")} == {"映像.v2", "up"}


def test_still_clips_that_are_kept_come_last_without_rank_and_score(index: Index, tmp_path: Path) -> None:
    kept = index.select("a", drop_worst="0", no_motion=True)
    write(index, kept, tmp_path / "out")
    last = lines(tmp_path / "out" / "metadata.jsonl")[-1]
    assert (last["id"], last["rank"], last["score"], last["reason"]) == (
        "still",
        None,
        None,
        "nothing moves, kept as asked",
    )
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded["rank"][-1] is None


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_report_tells_of_every_clip_what_became_of_it(suffix: str, index: Index, tmp_path: Path) -> None:
    index.label("drop", "plain")
    selection = index.select("a", budget="1", drop_worst="1")
    path = tmp_path / "deep" / f"report{suffix}"
    write_report(index.database, selection, path)
    if suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
    elif suffix == ".csv":
        rows = list(csv.DictReader(path.open(newline="", encoding="utf-8-sig")))
        pandas = pytest.importorskip("pandas")
        assert list(pandas.read_csv(path)["id"]) == [row["id"] for row in rows]
        assert path.read_bytes().startswith(codecs.BOM_UTF8)
    else:
        rows = lines(path)
    fates = {row["id"]: row["fate"] for row in rows}
    assert set(fates) == {*CLIPS, "still"}
    names = {clip_id: f"{number}.MP4" for number, clip_id in enumerate(CLIPS)} | {"still": "still.mp4"}
    assert {row["id"]: row["file_name"] for row in rows} == names
    assert {row["path"] for row in rows} == {str(tmp_path / "clips" / name) for name in names.values()}
    assert (fates["plain"], fates["still"], fates[chosen_ids(selection)[0]]) == (
        "dropped_by_label",
        "no_motion",
        "chosen",
    )
    assert sorted(int(row["rank"]) for row in rows if row["rank"]) == [1, 2, 3, 4]
    with pytest.raises(FileExistsError):
        write_report(index.database, selection, path)
    with pytest.raises(SelectionError, match="is named for no table"):
        write_report(index.database, selection, tmp_path / "report.txt")
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_id_in_a_report_is_no_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    places = CatalogSettings(home=tmp_path / "home")
    publish(places, [*moving("=1+1", "plain", "'quoted"), Clip("@still")])
    with opened(places) as index:
        selection = index.select("a", drop_worst="0")
        for suffix in (".csv", ".jsonl"):
            write_report(index.database, selection, tmp_path / f"report{suffix}")
    written = csv.DictReader((tmp_path / "report.csv").open(newline="", encoding="utf-8-sig"))
    assert {row["id"] for row in written} == {"'=1+1", "plain", "''quoted", "'@still"}
    assert {row["id"] for row in lines(tmp_path / "report.jsonl")} == {"=1+1", "plain", "'quoted", "@still"}

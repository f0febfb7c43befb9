"""The product as Python functions: `motiontrace.index`, `query`, `select` and `write`.

They do what the commands of the same names do and raise the same errors, but print nothing. docs/python.md shows them.
Each imports what it needs when it is called, because torch and the rest take seconds.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from motiontrace.curation.selection.queries import StoredQuery, VideoQuery
    from motiontrace.curation.selection.run import Selection
    from motiontrace.curation.selection.writing import Written
    from motiontrace.documents.filters import Filter
    from motiontrace.documents.queries import Query
    from motiontrace.indexer.build import BuiltIndex, Listener
    from motiontrace.preconditions import Precondition


def index(
    manifest: str | Path,
    *,
    model: str | Path,
    index: str,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    basis_clips: int | None = None,
    strict: bool = False,
    device: str | None = None,
    decoders: int = 2,
    batch: int | None = None,
    home: str | Path | None = None,
    database_url: str | None = None,
    listener: Listener | None = None,
) -> BuiltIndex:
    """Turn every clip of a manifest into a motion gradient and publish them as an index.

    A run that was killed or interrupted goes on where it was when it is called again. Clips that have not changed are
    not computed again. A clip that cannot be used is recorded with its reason, and the run goes on.

    Args:
        manifest: CSV, JSONL or Parquet file, or folder with metadata.jsonl: columns video, caption and metadata.
        model: checkpoint folder or Hugging Face id.
        index: name of the index; it is made where there is none of that name.
        recipe: named recipe, "default" or "paper"; None: what the index, the checkpoint or the default says.
        settings: fields of `motiontrace.attribution.recipe.Recipe` by name, over the recipe: `{"height": 240}`.
        basis_clips: clips that the basis of a new index is learned from; None: 1,024; 0: no basis.
        strict: refuse a manifest with rows that are no clips.
        device: torch device, as "cuda:1"; None: a GPU if there is one.
        decoders: threads that decode ahead of the model, 1 or more.
        batch: clips that the model takes at once, 1 or more; None: chosen by timing.
        home: folder of the database and the indexes; None: MOTIONTRACE_HOME, motiontrace.toml, else ~/.motiontrace.
        database_url: SQLAlchemy URL; None: MOTIONTRACE_DATABASE_URL, motiontrace.toml, else catalog.db in `home`.
        listener: is called as the run goes on; None: nobody.

    Returns:
        The recipe, the basis, and in `summary` what became of each clip: `summary.results` counts them by outcome.

    Raises:
        ValueError: there is no such recipe, or `basis_clips` is out of range.
        ValidationError: a setting is wrong (pydantic); names the field.
        ManifestError: the manifest cannot be read, none of its files is there, or no clip can be measured.
        ModelError: the checkpoint cannot be used.
        RecipeMismatchError: the index was made with another checkpoint, or by another version.
        StoreLockedError: another process is writing the index.
        CatalogError: the index has another recipe, or the disk or the database does not take it.
    """
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.indexer.build import Silent, build_index

    return build_index(
        Path(manifest),
        str(model),
        index,
        settings or {},
        CatalogSettings(**_given(home=home, database_url=database_url)),
        listener or Silent(),
        preset=recipe,
        basis_clips=basis_clips,
        strict=strict,
        device=device,
        decoders=decoders,
        batch=batch,
    )


def query(
    video: str | Path | None = None,
    prompt: str | None = None,
    *,
    clip: str | None = None,
    index: str | None = None,
    k: int = 10,
    filter: Filter | Mapping[str, Any] | None = None,
    precondition: Precondition = "none",
    damping: float | None = None,
    keep: bool = False,
    device: str | None = None,
    home: str | Path | None = None,
    database_url: str | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Query:
    """Rank the clips of an index by their influence on the motion of a generated video, or of one of its clips.

    Args:
        video: the generated video's file; None: `clip` is asked about.
        prompt: that the video was generated from; a video needs it, a clip has none.
        clip: id of a clip, instead of a video: which clips move like it?
        index: name of the index; None: the only one.
        k: clips from each end of the ranking, 1 to 1000.
        filter: rank only clips that pass: a `motiontrace.documents.filters.Filter`, or its fields, as
            `{"metadata": {"motion": ["bounce"]}}`.
        precondition: "centre" takes off what all clips share, "whiten" counts directions the more the rarer they are.
        damping: of "whiten" alone, 1e-3 to 1e6; None: 0.1.
        keep: store the answer, so that `select` and labels know it by its id; needs a catalog that can be written.
        device: torch device; None: a GPU if there is one.
        home: as for `index`.
        database_url: as for `index`.
        on_stage: is called with what is done now, as "gradient"; never for a clip.

    Returns:
        The document that the service sends: `top` and `bottom` have the clips, `chance` says which of them stand out.
        `outcome` is "no_motion", with empty lists, where nothing moves in the video.

    Raises:
        ValueError: neither or both of `video` and `clip` are given, the prompt is missing or too much, or a number is
            out of range.
        ValidationError: filter or precondition is wrong (pydantic); names the field.
        QuestionError: there is no such index or clip, or several indexes and no name; no clip passes the filter; the
            answer cannot be kept. It has a `code`.
        OSError: the video cannot be read.
        VideoError: the video cannot be decoded. DecoderError: decoding it takes too much.
        ModelError: the index's checkpoint is gone or cannot be used; likewise BasisError and RecipeMismatchError.
        GradientError: the video has no finite gradient.
        CatalogError: the index cannot be read.
    """
    from pydantic import TypeAdapter

    from motiontrace.answering.ask import ask
    from motiontrace.answering.settings import AnsweringSettings
    from motiontrace.documents.filters import Filter
    from motiontrace.documents.questions import ClipQuestion, VideoQuestion
    from motiontrace.preconditions import MAX_DAMPING, MIN_DAMPING, Precondition

    if not 1 <= k <= 1000:
        raise ValueError(f"k is 1 to 1000, not {k}")
    if damping is not None and not MIN_DAMPING <= damping <= MAX_DAMPING:
        raise ValueError(f"damping is {MIN_DAMPING:g} to {MAX_DAMPING:g}, not {damping:g}")
    asked: dict[str, Any] = {
        "k": k,
        "index": index,
        "filter": None if filter is None else Filter.model_validate(filter),
        "precondition": TypeAdapter(Precondition).validate_python(precondition),
        "damping": damping,
    }
    if (video is None) == (clip is None):
        raise ValueError("name a video or a clip, one of them")
    question: VideoQuestion | ClipQuestion
    if video is not None and prompt is not None:
        question = VideoQuestion(Path(video), prompt, **asked)
    elif clip is not None and prompt is None:
        question = ClipQuestion(clip, **asked)
    else:
        raise ValueError("a video needs a prompt, and a clip has none")
    settings = AnsweringSettings(**_given(device=device, home=home, database_url=database_url))
    return ask(settings, question, keep=keep, on_stage=on_stage or _ignore)


def select(
    queries: str | Path | Iterable[tuple[str | Path, str] | Query],
    *,
    index: str | None = None,
    budget: int | str | None = None,
    drop_worst: int | str | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    device: str | None = None,
    home: str | Path | None = None,
    database_url: str | None = None,
    on_query: Callable[[int, int], None] | None = None,
    on_scored: Callable[[int, int], None] | None = None,
) -> Selection:
    """Choose the training clips that taught the motion of generated videos, and store the selection.

    A query without motion, or that cannot be read, is left out: its entry in `queries` of the result says why.

    Args:
        queries: a folder of videos with their prompts, or a manifest; or pairs of a video and its prompt, and answers
            that `query` has kept.
        index: name of the index; None: that of the kept answers, else the only one.
        budget: how many clips to choose: 5000, or a share of those that move, as "10%".
        drop_worst: how many to leave out from the bottom of the queries' rankings, likewise.
        settings: other fields of `motiontrace.curation.selection.settings.SelectionSettings` by name.
        name: your own name for the selection, not taken; None: none.
        device: torch device; None: a GPU if there is one.
        home: as for `index`.
        database_url: as for `index`.
        on_query: is called with how many queries are done, of how many.
        on_scored: is called with how many passes over the gradients are done, of about how many.

    Returns:
        The stored selection: `counts` says how many clips came to what, `outcome.chosen()` gives the clips by rank.

    Raises:
        ValueError: neither `budget` nor `drop_worst` is given.
        ValidationError: a setting is wrong (pydantic); names the field.
        ManifestError: the manifest of queries cannot be read.
        QuestionError: there is no such index, or several and no name; has a `code`.
        SelectionError: no query can vote, a floor cannot be met, no clip is chosen, or the name is taken.
        ModelError: the index's checkpoint is gone or cannot be used; likewise BasisError and RecipeMismatchError.
        CatalogError: the index cannot be read, or the selection cannot be stored.
    """
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.curation.selection.candidates import check_floors
    from motiontrace.curation.selection.queries import QueryGradients, index_asked
    from motiontrace.curation.selection.run import check_name, make_selection
    from motiontrace.curation.selection.settings import SelectionSettings

    chosen_by = SelectionSettings.model_validate({"budget": budget, "drop_worst": drop_worst} | dict(settings or {}))
    if chosen_by.budget is None and chosen_by.drop_worst is None:
        raise ValueError("say with budget how many clips to choose, or with drop_worst how many to leave out")
    wanted = _queries(queries)
    places = CatalogSettings(**_given(home=home, database_url=database_url))
    with closing(Database.open(places.url)) as database:
        check_name(database, name)
        record = index_asked(database, index, wanted)
        with database.reading() as session:
            check_floors(session, record.id, chosen_by.at_least)  # before videos are computed
        gradients, answers = QueryGradients(database, places, record, device=device), []
        for done, wanted_query in enumerate(wanted, 1):
            answers.append(gradients.of(wanted_query))
            (on_query or _ignore)(done, len(wanted))
        return make_selection(database, places, record, answers, chosen_by, name=name, on_scored=on_scored or _ignore)


def write(
    selection: Selection,
    output: str | Path,
    *,
    format: str = "videofolder",
    link: str = "auto",
    skip_unusable: bool = False,
    home: str | Path | None = None,
    database_url: str | None = None,
    on_clip: Callable[[], None] = lambda: None,
) -> Written:
    """Write the clips of a selection as a trainer reads them; all of it is there afterwards, or nothing.

    Args:
        selection: what `select` gave.
        output: the folder, which is not there or empty; of "parquet" the file, which is not there.
        format: for which trainer; `motiontrace select --help` names the formats.
        link: how the folder gets its videos: "hardlink", "symlink", "copy", "none" (the table names them where they
            are), or "auto": hard links where the file system has them, else symbolic ones.
        skip_unusable: leave out clips whose file is gone or has changed, instead of writing nothing.
        home: as for `index`, and the one that the selection was made in.
        database_url: likewise.
        on_clip: is called twice for each clip: when it is looked at, and when it is written.

    Returns:
        What was written where, and which clips were left out.

    Raises:
        ValueError: there is no such format or link.
        SelectionError: the format needs its videos in the folder, or clips' files are gone or have changed.
        OSError: the output is there, cannot be written, or the disk is too small.
    """
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.curation.selection.forms import Format, Link
    from motiontrace.curation.selection.writing import write_selection

    places, form, linked = CatalogSettings(**_given(home=home, database_url=database_url)), Format(format), Link(link)
    with closing(Database.open(places.url, reading=True)) as database:
        return write_selection(
            database, selection, Path(output), format=form, link=linked, skip_unusable=skip_unusable, on_clip=on_clip
        )


def _queries(queries: str | Path | Iterable[tuple[str | Path, str] | Query]) -> list[VideoQuery | StoredQuery]:
    from motiontrace.curation.selection.queries import StoredQuery, VideoQuery, read_queries

    if isinstance(queries, (str, Path)):
        return [*read_queries(Path(queries))]
    return [VideoQuery(Path(each[0]), each[1]) if isinstance(each, tuple) else StoredQuery(each.id) for each in queries]


def _given(**options: Any) -> dict[str, Any]:
    """Those that are not None: the others come from variables, the settings file or defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _ignore(*progress: object) -> None: ...

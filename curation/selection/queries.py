"""The queries that vote: generated videos with their prompts, or queries that a service has answered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from motiontrace.answering.choice import choose_index
from motiontrace.answering.engines import Engines
from motiontrace.attribution.errors import GradientError
from motiontrace.attribution.threads import interruptibly
from motiontrace.attribution.video import DecodedVideo, VideoError, read_video
from motiontrace.catalog.repositories import IndexRepository, QueryRepository, VideoGradient, VideoGradientRepository
from motiontrace.catalog.repositories.queries import unpack_gradient
from motiontrace.catalog.repositories.storable import check_storable
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.files import FileError, file_sha256, read_file
from motiontrace.indexer.manifest import is_manifest_folder, read_manifest, require_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord, QueryRecord
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.indexer.manifest import RefusedRow

VIDEO_SUFFIXES = frozenset({".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
_PROMPT_BYTES = 1024**2  # a longer text beside a video is no prompt
_SHOWN = 5


@dataclass(frozen=True)
class VideoQuery:
    """A generated video, and the prompt that it was generated from; None: the prompt is not known."""

    video: Path
    prompt: str | None


@dataclass(frozen=True)
class StoredQuery:
    """A query that the service has answered, by its id."""

    id: str


@dataclass(frozen=True, eq=False)
class Voter:
    """A query that can vote."""

    gradient: NDArray[np.float32]  # [dim], unit length
    document: dict[str, Any]  # what was asked, JSON values


@dataclass(frozen=True)
class LeftOut:
    """A query that cannot vote."""

    reason: str
    document: dict[str, Any]

    @property
    def name(self) -> str:
        """What to call it."""
        return str(self.document.get("video") or f"query {self.document.get('query')}")


def read_queries(
    source: Path, on_refused: Callable[[RefusedRow], None] = lambda row: None, *, strict: bool = False
) -> list[VideoQuery]:
    """Videos and prompts of a manifest, of a folder with one, or of a folder with a text beside each video.

    A manifest is read as `indexer/manifest/` reads one, and `on_refused` is called with its rows that are no clips.
    Raises ManifestError where it cannot be read or none of its files is there, and SelectionError where the folder
    holds no videos.
    """
    if not source.is_dir() or is_manifest_folder(source):
        rows = read_manifest(source, on_refused, strict=strict)
        require_files(source, rows)
        return [VideoQuery(row.video, row.caption) for row in rows]
    videos = sorted(path for path in source.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise SelectionError(
            f"the folder {source} has neither videos nor a metadata.jsonl or metadata.csv: name one of generated videos"
            " with their prompts in a manifest, or each prompt in a .txt file beside its video"
        )
    return [VideoQuery(video, _prompt_beside(video)) for video in videos]


def _prompt_beside(video: Path) -> str | None:
    try:
        text = read_file(video.with_suffix(".txt"), most_bytes=_PROMPT_BYTES)
        return text.decode("utf-8-sig").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def index_asked(database: Database, name: str | None, queries: Sequence[VideoQuery | StoredQuery]) -> IndexRecord:
    """The index that is named, else that of the stored queries, else the only one.

    Raises:
        QuestionError: there is none of that name, or several and no name.
    """
    with database.reading() as session:
        if name is None:
            found = (QueryRepository(session).get(each.id) for each in queries if isinstance(each, StoredQuery))
            ids = {query.index_id for query in found if query is not None}
            index = IndexRepository(session).by_id(ids.pop()) if len(ids) == 1 else None
            if index is not None:
                return index
        return choose_index(session, name)


class QueryGradients:
    """Gives queries' gradients by the recipe of an index: computed before, or now, and then kept for the next time."""

    def __init__(
        self,
        database: Database,
        places: CatalogSettings,
        index: IndexRecord,
        *,
        device: str | None = None,
        on_loading: Callable[[], None] = lambda: None,
    ) -> None:
        """`device`: where gradients are computed, None: a GPU if there is one.

        `on_loading` is called before the model is loaded.
        """
        self._database = database
        self._index = index
        self._engines = Engines(device, places.basis_directory)
        self._on_loading = on_loading
        self.computed = 0
        """How many were computed now."""

    def of(self, query: VideoQuery | StoredQuery) -> Voter | LeftOut:
        """The query with its gradient, or why it is left out; the first that is not computed yet loads the model.

        Raises ModelError, BasisError, RecipeMismatchError or CatalogError: why none can be computed.
        """
        if isinstance(query, StoredQuery):
            return self._of_stored(query.id)
        # A file may have a name that is no text; documents are stored.
        document = {"video": str(query.video).encode(errors="backslashreplace").decode(), "prompt": query.prompt}
        try:
            check_storable("The prompt", query.prompt)
        except ValueError as error:
            return LeftOut(str(error), document | {"prompt": None})
        if not query.prompt:
            beside = query.video.with_suffix(".txt").name
            return LeftOut(f"it has no prompt: write the one that it was generated from into {beside}", document)
        try:
            digest = interruptibly(file_sha256, query.video)
            found = self._known(digest, query.prompt) or self._computed(query.video, digest, query.prompt)
        except FileError as error:
            return LeftOut(f"its file {error.reason}", document)
        except OSError as error:
            return LeftOut(f"it cannot be read ({error.strerror or error})", document)
        except (VideoError, GradientError) as error:
            return LeftOut(str(error), document)
        document["video_sha256"] = digest
        if found.gradient is None:
            why = f"nothing moves in it: its motion peaks at {found.motion_peak:.2g} pixels a frame"
            return LeftOut(why, document)
        return Voter(found.gradient, document)

    def _of_stored(self, query_id: str) -> Voter | LeftOut:
        with self._database.reading() as session:
            query = QueryRepository(session).get(query_id)
        if query is None:
            return LeftOut("there is no query of this id", {"query": query_id})
        asked = {"video_sha256": query.video_sha256, "prompt": query.prompt, "clip": query.clip_id}
        document = {"query": query_id} | {name: value for name, value in asked.items() if value is not None}
        if (why := self._why_not(query)) is not None:
            return LeftOut(why, document)
        assert query.gradient is not None
        return Voter(unpack_gradient(query.gradient), document)

    def _why_not(self, query: QueryRecord) -> str | None:
        if query.status != "done":
            said = query.error_message
            return f"it is {query.status}" + (f": {said}" if said else ": wait until it is done")
        if query.recipe_digest != self._index.recipe_digest:
            return f"it was asked of another index than {self._index.name}, whose gradients cannot be compared"
        return "nothing moves in it" if query.gradient is None else None

    def _known(self, digest: str, prompt: str) -> VideoGradient | None:
        """What was computed before: for a selection, or for a query of the service."""
        recipe = self._index.recipe_digest
        with self._database.reading() as session:
            kept = VideoGradientRepository(session, recipe).get(digest, prompt)
            if kept is not None:
                return kept
            asked = QueryRepository(session).computed(digest, prompt, recipe)
            if asked is None:
                return None
            peak = (asked.info or {}).get("motion", {}).get("peak", 0.0)
            return VideoGradient(None if asked.gradient is None else unpack_gradient(asked.gradient), peak)

    def _computed(self, video: Path, digest: str, prompt: str) -> VideoGradient:
        if self._engines.trouble(self._index) is not None:
            self._on_loading()
        engine = self._engines.of(self._index)
        self.computed += 1
        found = engine.compute(video, prompt, decode=_read)
        computed = VideoGradient(found.vector, found.motion.peak)
        with self._database.writing() as session:  # one by one: a run that is killed goes on where it was
            VideoGradientRepository(session, self._index.recipe_digest).put(digest, prompt, computed)
        return computed


def _read(path: Path, *, frames: int, height: int, width: int, fps: float | None) -> DecodedVideo:
    read = partial(read_video, frames=frames, height=height, width=width, fps=fps)
    return interruptibly(read, path)


def voters_of(answers: Sequence[Voter | LeftOut]) -> tuple[list[Voter], list[LeftOut]]:
    """Those that vote, in an order of their own, each once; and those that do not, in the order they were asked in.

    Raises SelectionError where none can vote.
    """
    voters: dict[bytes, Voter] = {}
    left_out = []
    for answer in answers:
        if isinstance(answer, LeftOut):
            left_out.append(answer)
        elif (twin := voters.setdefault(answer.gradient.tobytes(), answer)) is not answer:
            left_out.append(LeftOut(f"it is the same as {_named(twin)}, which votes once", answer.document))
    if not voters:
        some = "; ".join(f"{each.name}: {each.reason}" for each in left_out[:_SHOWN])
        more = f"; and {len(left_out) - _SHOWN:,} more" if len(left_out) > _SHOWN else ""
        raise SelectionError(f"no query can vote: {some}{more}" if left_out else "no query was given")
    # By what they say alone: sums of scores, and so ties, do not depend on the order in which they were asked.
    return [voters[key] for key in sorted(voters)], left_out


def _named(voter: Voter) -> str:
    return LeftOut("", voter.document).name

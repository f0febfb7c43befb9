"""Each index: its recipe, its vectors on disk and in the database, its basis, its model."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from motiontrace.attribution.basis import Basis
from motiontrace.attribution.errors import BasisError, ModelError, RecipeMismatchError
from motiontrace.attribution.families import find_checkpoint
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.publishing import recipe_of
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.vectors import lock
from motiontrace.catalog.vectors.faiss_index import has_faiss_file
from motiontrace.catalog.vectors.manifest import Manifest
from motiontrace.catalog.vectors.moments import has_moments
from motiontrace.catalog.vectors.segment import Segment
from motiontrace.doctor.finding import Finding, fail, ok, warn
from motiontrace.files import home_expanded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.attribution.recipe import Recipe
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.repositories import IndexOverview
    from motiontrace.service.settings import ServiceSettings

MEND = "Run `motiontrace index` again with the same manifest: it mends the index, and computes what is lost."


def each(settings: ServiceSettings, database: Database, *, full: bool) -> Iterator[Finding]:
    """Every index; `full` reads all vectors and the model's files as well."""
    with database.reading() as session:
        overviews = IndexRepository(session).overview()
    if not overviews:
        yield warn("indexes", "there is none yet", "motiontrace index MANIFEST --model DIR --index NAME")
    for overview in overviews:
        try:
            recipe = recipe_of(overview.index)
        except RecipeMismatchError as error:
            yield fail(f"index {overview.index.name}", str(error))
            continue
        yield _vectors(settings, overview, full=full)
        if recipe.projection.basis is not None:
            yield _basis(settings, overview, recipe.projection.basis)
        yield _model(overview, recipe, full=full)


def _vectors(settings: ServiceSettings, overview: IndexOverview, *, full: bool) -> Finding:
    """Manifest, segments and what is derived of them, against one another and the database's count."""
    index, counted = overview.index, overview.counts["indexed"]
    check, directory = f"index {index.name}", settings.index_directory / index.name
    underived = unsummed = 0
    try:
        manifest = Manifest.read(directory)
        for entry in manifest.segments:
            segment = Segment.open(directory / entry.name)
            underived += not has_faiss_file(segment)
            unsummed += not has_moments(segment)
            if full:
                _ = segment.vectors  # read whole, against their checksum
    except CatalogError as error:
        return fail(check, str(error))
    if manifest.recipe_digest != index.recipe_digest:
        found = f"the vectors in {directory} are of the recipe {manifest.recipe_digest[:12]}, the database has "
        return fail(check, f"{found}{index.recipe_digest[:12]}", "Restore database and indexes from one backup.")
    if manifest.total != counted:
        found = f"the database has {counted:,} clips with a vector, the manifest {manifest.total:,}"
        if _is_being_written(directory):
            return ok(check, f"{found}; an index run goes on")
        return fail(check, found, MEND)
    if underived:
        found = f"{underived} of {len(manifest.segments)} FAISS files are missing or not their segments'"
        return warn(
            check, found, "Searches go on with copies in memory; the next `motiontrace index` writes them anew."
        )
    if unsummed:
        found = f"{unsummed} of {len(manifest.segments)} segments have no sums beside them, or not theirs"
        todo = "Queries that are preconditioned sum up first; the next `motiontrace index` writes the sums anew."
        return warn(check, found, todo)
    checked = "every vector checked" if full else "headers and ids checked"
    return ok(check, f"{manifest.total:,} clips in {len(manifest.segments)} segments, {checked}")


def _is_being_written(directory: Path) -> bool:
    path = directory / lock.FILE_NAME
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _basis(settings: ServiceSettings, overview: IndexOverview, digest: str) -> Finding:
    check = f"basis of {overview.index.name}"
    try:
        basis = Basis.load(settings.basis_directory, digest)
    except BasisError as error:
        return fail(check, str(error))
    return ok(check, f"{digest[:12]}, learned from {basis.clips:,} clips")


def _model(overview: IndexOverview, recipe: Recipe, *, full: bool) -> Finding:
    check, location = f"model of {overview.index.name}", overview.index.model
    folder = _folder(location)
    if folder is None:
        return warn(check, f"{location} is not on this machine", "It is fetched from the hub when a query needs it.")
    try:
        checkpoint = find_checkpoint(str(folder))
        digest = checkpoint.digest_as(recipe.checkpoint) if full else recipe.checkpoint
    except ModelError as error:
        return fail(check, str(error))
    if (checkpoint.family, digest) != (recipe.family, recipe.checkpoint):
        return fail(
            check,
            f"{location} holds another model than the index was made with ({checkpoint.family} {digest[:12]} instead "
            f"of {recipe.family} {recipe.checkpoint[:12]})",
            "Put the one that was used there, or index again with this one under another name.",
        )
    return ok(check, f"{location}, {'digest matches' if full else 'its files were not read: --full compares them'}")


def _folder(location: str) -> Path | None:
    """Where the model's files are; None where it is a hub id whose files were never fetched."""
    folder = home_expanded(location)
    if folder.is_dir() or location.startswith((".", "/", "~")) or location.count("/") != 1:
        return folder
    try:
        cached = try_to_load_from_cache(location, "model_index.json")
    except HFValidationError:
        return folder
    return Path(cached).parent if isinstance(cached, str) else None

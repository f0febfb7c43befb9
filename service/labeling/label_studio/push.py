"""Make tasks of clips in a project of Label Studio. Its tasks are read first, so that none is made twice."""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from motiontrace.catalog.repositories import ClipRepository
from motiontrace.catalog.repositories.label_studio import LabelStudioRepository
from motiontrace.documents.label_studio import MAX_TITLE, PushedProject
from motiontrace.service.labeling.label_studio.callback import ensure_callback
from motiontrace.service.labeling.label_studio.reading import clip_of
from motiontrace.service.labeling.label_studio.selection import Selection, select
from motiontrace.service.labeling.label_studio.setup import Setup, SetupError, label_config
from motiontrace.service.labeling.label_studio.tasks import VideoLinks, task
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set

    from motiontrace.catalog.records import LabelStudioProjectRecord
    from motiontrace.documents.label_studio import NewPush
    from motiontrace.service.context import Context
    from motiontrace.service.labeling.label_studio.connection import LabelStudio

Json = dict[str, Any]
BATCH = 250  # tasks of one import: 0.4 s, and 1.5 MB where boxes follow every frame
DESCRIPTION = "Clips of a training corpus, pushed by motiontrace. What is said here becomes their labels there."


def push(service: Context, studio: LabelStudio, asked: NewPush) -> PushedProject:
    """Make a task of every clip that has none in the project, and see that reviewers can work on all of them.

    One push a project at a time, in all processes that use the database. Label Studio's own list of tasks says
    which clips are there, so what a push has left that was killed is taken up by the next; only a batch that Label
    Studio was still working on when that next one began is not in the list yet.

    Raises:
        ProblemError: 404 an unknown query or project, 409 a query is not done, there is no clip to push, the project's
            set-up is not fit, or another push is under way.
        LabelStudioError: Label Studio cannot be reached, or refuses something.
    """
    selection = select(service, asked.queries, asked.top, asked.bottom, asked.filter)
    if not selection.candidates:
        raise _nothing_to_push(selection)
    record, setup = _project(service, studio, asked)
    with _alone(service, studio, f"project {record.project}"):
        callback = ensure_callback(studio, record.project, service.settings.callback_address, service.webhook_secret)
        links = VideoLinks(service.links, service.settings.public_address, service.settings.media_link_days)
        # Before the list is read: tasks that others note after that must not be forgotten.
        with service.database.reading() as session:
            known = {each.task for each in LabelStudioRepository(session).tasks(record.id)}
        tasks = {each["id"]: each["data"] for each in studio.tasks(record.project) if clip_of(each) is not None}
        clips = _take_stock(service, record, known, tasks)
        renewed = _renew(studio, links, tasks, clips)
        shown = set(clips.values())
        new = [each for each in selection.candidates if each.clip.id not in shown]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            numbers = studio.import_tasks(record.project, [task(each, links, setup, asked.motion) for each in batch])
            with service.database.writing() as session:
                made = {number: each.clip.id for number, each in zip(numbers, batch, strict=True)}
                LabelStudioRepository(session).put_tasks(record.id, made)
    return PushedProject(
        id=record.project,
        url=page_of(service, record.project),
        title=record.title,
        clips=len(selection.candidates),
        tasks_created=len(new),
        tasks_there=len(selection.candidates) - len(new),
        links_renewed=renewed,
        left_out=tuple(selection.left_out),
        callback=callback,
    )


def page_of(service: Context, project: int) -> str:
    """Where browsers find a project of the Label Studio that the settings name."""
    return f"{service.settings.label_studio_public_address}/projects/{project}/data"


def _project(service: Context, studio: LabelStudio, asked: NewPush) -> tuple[LabelStudioProjectRecord, Setup]:
    """The record of the project to push to, and what its set-up offers."""
    if asked.project is not None:
        found = studio.project(asked.project)
        if found is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND,
                "label_studio_project_not_found",
                f"Label Studio at {studio.url} has no project {asked.project}.",
                "Take the number from the address of the project's page, or leave it out for a project of our own.",
            )
        setup = fit_setup(found)
        with service.database.writing() as session:
            title = str(found["title"])[:MAX_TITLE]  # it may have changed since it was noted
            return LabelStudioRepository(session).add_project(studio.url, asked.project, title), setup
    with _alone(service, studio, f"title {asked.title}"):
        with service.database.reading() as session:
            known = LabelStudioRepository(session).project_titled(studio.url, asked.title)
        there = None if known is None else studio.project(known.project)
        if known is not None and there is not None:
            return known, fit_setup(there)
        made = studio.create_project(
            title=asked.title, label_config=label_config(asked.verdicts), description=DESCRIPTION
        )
        with service.database.writing() as session:
            projects = LabelStudioRepository(session)
            if known is not None:
                projects.forget_project(known.id)  # it was deleted there
            return projects.add_project(studio.url, int(made["id"]), asked.title), fit_setup(made)


def fit_setup(project: Json) -> Setup:
    """What the set-up of a project offers.

    Raises:
        ProblemError: 409, it is not fit for clips.
    """
    try:
        return Setup.of(project)
    except SetupError as error:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "label_studio_setup",
            f"The labelling set-up of Label Studio's project {project['id']} ({project['title']!r}) is not fit for "
            f"clips: it lacks {'; '.join(error.missing)}.",
            "Add what is missing under Settings, Labeling Interface, or push to a project of another title.",
        ) from error


@contextmanager
def _alone(service: Context, studio: LabelStudio, what: str) -> Iterator[None]:
    with service.database.alone(f"label-studio {studio.url} {what}") as free:
        if not free:
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "push_under_way",
                "Clips are being pushed to this project at this moment.",
                "Send it again once that push has ended: what it has made is not made again.",
            )
        yield


def _take_stock(
    service: Context, record: LabelStudioProjectRecord, known: Set[int], tasks: Mapping[int, Json]
) -> dict[int, str]:
    """Bring the catalog's records of a project's tasks in line with its `tasks` as read, data by number.

    Tasks that were `known` before that and are gone are forgotten. Returns the clip of each task that shows a clip of
    the catalog, by the task's number.
    """
    with service.database.writing() as session:
        projects = LabelStudioRepository(session)
        there = ClipRepository(session).get_many(str(data["clip_id"]) for data in tasks.values())
        clips = {number: data["clip_id"] for number, data in tasks.items() if data["clip_id"] in there}
        projects.forget_tasks(record.id, sorted(known - clips.keys()))
        projects.put_tasks(record.id, clips)
    return clips


def _renew(studio: LabelStudio, links: VideoLinks, tasks: Mapping[int, Json], clips: Mapping[int, str]) -> int:
    """Give tasks whose link soon expires a new one; returns how many."""
    renewed = 0
    for number, clip_id in clips.items():
        link = links.renewed(clip_id, tasks[number].get("video"))
        if link is not None:
            studio.update_task(number, {**tasks[number], "video": link})
            renewed += 1
    return renewed


def _nothing_to_push(selection: Selection) -> ProblemError:
    reason = f": {selection.left_out[0].reason}" if selection.left_out else "."
    return ProblemError(
        HTTPStatus.CONFLICT,
        "nothing_to_push",
        f"The queries rank no clip that can be shown; {len(selection.left_out):,} cannot{reason}",
        "Ask about a video that moves, widen the filter, or mend the clips' files.",
    )

"""Errors in the words of the command line: one line that says what was wrong and what to do."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from motiontrace.catalog.installing import EXTRAS, how_to_install

if TYPE_CHECKING:
    from pydantic import ValidationError

    from motiontrace.answering.errors import QuestionError
    from motiontrace.documents.base import Problem
    from motiontrace.service.problem import ProblemError

TOLD = {
    "answering.DecoderError", "attribution.GradientError", "attribution.ModelError", "attribution.RecipeMismatchError",
    "attribution.VideoError", "catalog.CatalogError", "client.ServiceError", "curation.EvaluationError",
    "curation.FinetuningError", "curation.PromptsError", "curation.SelectionError", "indexer.ManifestError",
    "service.ListenError", "service.UnprotectedError",
}  # fmt: skip
"""Errors of the rooms whose text is written for whoever runs the command. By name: to import them takes seconds."""

_MISFIT = "Install the same version of motiontrace here as where the service runs."
TODO = {
    "answer_not_kept": "Or ask without --keep.",
    "broken_form": _MISFIT,
    "clip_not_found": "motiontrace clips list shows those that there are.",
    "clip_not_indexed": "Ask about another clip: motiontrace clips list shows those that there are.",
    "damping_without_whitening": "Leave --damping out, or give --precondition whiten.",
    "database_unavailable": "Give the same command again later.",
    "empty_file": "Name the file of a video that is whole.",
    "impossible_region": "Correct the ranges and boxes.",
    "index_needed": "Name one of them with --index.",
    "index_not_found": "motiontrace indexes list shows those that there are.",
    "index_unreadable": "Ask whoever runs the service, whose log says why.",
    "internal_error": "Try again; if it stays, whoever runs the service finds the traceback in its log.",
    "invalid_parameters": "Correct what is named.",
    "key_missing": "Give one with --api-key, or in MOTIONTRACE_API_KEY: motiontrace keys create makes it.",
    "key_unknown": "See that the key was copied as a whole; motiontrace keys list shows which there are.",
    "method_not_allowed": _MISFIT,
    "no_index": "Make one: motiontrace index MANIFEST --model MODEL --index NAME.",
    "no_room": "Give the same command again once whoever runs the service has made room.",
    "not_found": f"See that --url is the service's own address. {_MISFIT}",
    "not_json": _MISFIT,
    "not_multipart": _MISFIT,
    "query_not_done": "Wait until it is done; ask again where it failed.",
    "query_not_found": "motiontrace queries list shows those that are kept; motiontrace query --keep keeps its own.",
    "range_not_satisfiable": _MISFIT,
    "repeated_field": _MISFIT,
    "scope_missing": "Give a key that has it: motiontrace keys create NAME --scope SCOPE makes one.",
    "unfit_push": "Correct what is named.",
    "unknown_field": _MISFIT,
    "unknown_place": "Take it from the end of the list before.",
    "video_is_text": _MISFIT,
    "video_missing": _MISFIT,
}
"""What to do on the command line about a question or a problem, by its code.

A problem says it for HTTP. Where no row is here, its words are as good on the command line: a test sees to that.
"""

_SYSTEM = {
    errno.EACCES: "this user may not do that; check the permissions of it and of its folders",
    errno.EPERM: "the system does not permit that; check who owns it, and whether it is protected",
    errno.EROFS: "its file system is read-only; name a place that can be written",
    errno.ENOSPC: "its volume is full; make room and give the same command again",
    errno.EDQUOT: "this user's quota there is used up; make room and give the same command again",
    errno.ENOENT: "there is no such file or folder; correct the name",
    errno.EEXIST: "it is there already; name another one, or remove it",
    errno.ENOTDIR: "a part of its path is a file, not a folder; name another place",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTEMPTY: "the folder is not empty; name another one",
    errno.ENAMETOOLONG: "its name is too long; give a shorter one",
    errno.ELOOP: "it is a link that leads back to itself; name the file itself",
    errno.EMFILE: "this process has too many files open; raise the limit with ulimit -n",
    errno.ENFILE: "this machine has too many files open; close what is not needed",
    errno.EIO: "the disk cannot read or write it; check the disk",
    errno.ESTALE: "its file server has lost it; mount its volume anew",
    errno.ENOTCONN: "its volume is no longer mounted; mount it anew",
    errno.ENOMEM: "there is too little memory for it",
    errno.ENOLCK: "its file system has no locks; name a place on a local disk",
    errno.EADDRINUSE: "another program listens there; stop it, or name another port",
    errno.EADDRNOTAVAIL: "that is no address of this machine; correct the host",
}


def told(error: BaseException) -> str | None:
    """The line of an error that the user can mend; None for a fault of ours, which keeps its traceback."""
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        return f"the package {error.name} is not installed: {how_to_install(error.name)}"
    kinds = set(map(name_of, type(error).__mro__))
    if kinds & {"answering.QuestionError", "service.ProblemError"}:
        return _of_problem(error)  # type: ignore[arg-type]
    if (problem := getattr(error, "problem", None)) is not None and "client.ServiceError" in kinds:
        return _of_problem(problem)
    if kinds & TOLD:
        return str(error)
    if "pydantic_core.ValidationError" in kinds:
        return _of_fields(error)  # type: ignore[arg-type]
    if isinstance(error, MemoryError):
        return "there is too little memory; give it smaller clips or batches, or more memory"
    return of_system(error) if isinstance(error, OSError) else None


def name_of(kind: type) -> str:
    """An error's room, or the package of another's, and its name: `catalog.CatalogError`, as in `TOLD`."""
    room = kind.__module__.removeprefix("motiontrace.").partition(".")[0]
    return f"{room}.{kind.__qualname__}"


def of_system(error: OSError) -> str:
    """What the system refused, about which file, and what to do."""
    if type(error).__str__ is not OSError.__str__ or error.errno is None:
        return str(error)  # words of its own
    named = " and ".join(
        os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)
        for name in (error.filename, error.filename2)
        if name is not None
    )
    if isinstance(error, socket.gaierror):
        why = "there is no machine of that name; correct the host"
    elif error.strerror != os.strerror(error.errno):
        why = error.strerror or "it cannot be used"  # words of its own
    else:
        why = _SYSTEM.get(error.errno, error.strerror)
    return f"{named}: {why}" if named else why


def _of_problem(problem: QuestionError | ProblemError | Problem) -> str:
    """What is wrong, and what to do about it here."""
    return f"{problem.detail} {TODO.get(problem.code, problem.todo or '')}".strip()


def _of_fields(error: ValidationError) -> str:
    return "; ".join(_of_field(item) for item in error.errors())


def _of_field(item: Any) -> str:
    name = ".".join(map(str, item["loc"]))
    message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return f"{name}: {message} (given: {item['input']!r})" if name else message

"""The Label Studio that the service's settings name, and its failures as problems of HTTP."""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from motiontrace.service.labeling.label_studio.connection import LabelStudioError
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.context import Context
    from motiontrace.service.labeling.label_studio.connection import LabelStudio


def connected(service: Context) -> LabelStudio:
    """The server that the settings name.

    Raises:
        ProblemError: 409, they name none, or no token for it.
    """
    if service.label_studio is None:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "label_studio_off",
            "This service knows no Label Studio.",
            "Whoever runs the service sets MOTIONTRACE_LABEL_STUDIO_URL and MOTIONTRACE_LABEL_STUDIO_TOKEN, and starts "
            "it again.",
        )
    return service.label_studio


@contextmanager
def failures_as_problems() -> Iterator[None]:
    """Turn what fails between the service and Label Studio into a problem.

    Raises:
        ProblemError: 502, instead of a LabelStudioError.
    """
    try:
        yield
    except LabelStudioError as error:
        raise ProblemError(HTTPStatus.BAD_GATEWAY, error.code, error.happened, error.todo) from error

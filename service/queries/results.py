"""The whole ranking of a query: page by page, and as a file."""

import math
import string
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter
from pydantic import Field
from starlette.responses import StreamingResponse

from motiontrace.answering.export import DEFAULT_VIDEOS, MAX_VIDEOS, exported
from motiontrace.answering.reading import Reading
from motiontrace.documents import links
from motiontrace.documents.queries import RankingPage
from motiontrace.formats.cells import JSON_COLUMNS
from motiontrace.formats.export import COLUMNS
from motiontrace.formats.registry import FOLDERS, FORMATS, TABLES
from motiontrace.service.context import Service
from motiontrace.service.parameters import WRITTEN, FilterParameters, PageSize, QueryId, Text
from motiontrace.service.problem import documented, invalid

router = APIRouter(prefix="/v1/queries", tags=["queries"])

if TYPE_CHECKING:
    FormatName = str
else:  # the names of the registry
    FormatName = Literal[TABLES] | Literal[FOLDERS]
End = Annotated[Literal["top", "bottom"], Parameter(description="The end of the ranking to begin at.")]
MESSAGE_HEADER = "motiontrace-message"
HEADER_TEXT = string.printable[:95].replace("%", "")  # is not escaped in it


@router.get("/{query_id}/clips", summary="Page through a ranking", responses=documented(404, 409, 422))
def list_ranking(
    service: Service,
    query_id: QueryId,
    filter: FilterParameters,
    end: End = "top",
    after: Annotated[Text | None, Parameter(description="Where the page before ended; its `next` sets it.")] = None,
    limit: PageSize = 50,
) -> RankingPage:
    """Every clip that the query ranks, from either end, not only its top and bottom k.

    A filter that is given here holds beside the query's own. Scores are those of the index as it is now. Follow `next`
    until null: no clip is missed or listed twice, though the index grows meanwhile.
    """
    reading = Reading.open(service, query_id, filter, end)
    found, following = reading.portion(_place(after), limit)
    query = [("end", end), ("limit", str(limit)), *(filter.to_query_string() if filter else [])]
    path = None
    if following is not None:
        path = f"{links.query(query_id)}/clips?{urlencode([*query, ('after', f'{following[0]!r}~{following[1]}')])}"
    return RankingPage(ranked=reading.ranked, message=reading.message, chance=reading.chance, clips=found, next=path)


@router.get(
    "/{query_id}/export",
    summary="Fetch a ranking as a file",
    response_class=Response,
    responses={
        200: {
            "description": f"The ranking. As a table, a clip a row: {', '.join(COLUMNS)}; in CSV and Parquet "
            f"{', '.join(JSON_COLUMNS)} are JSON text, and CSV is UTF-8 with a byte order mark. For a tool, a zip "
            "file: a folder in the tool's own format, with the clips' videos.",
            "content": {
                each.media_type: {"schema": {"type": "string", "format": "binary"}} for each in FORMATS.values()
            },
        },
        **documented(404, 409, 422),
    },
)
def export_ranking(
    request: Request,
    service: Service,
    query_id: QueryId,
    filter: FilterParameters,
    format: Annotated[
        FormatName,
        Parameter(
            description=f"A table ({', '.join(TABLES)}), or a folder for a tool ({', '.join(FOLDERS)}) as a zip file."
        ),
    ] = "csv",
    end: Annotated[
        Literal["top", "bottom", "both"],
        Parameter(description="The end of the ranking to begin at; both: the top, then the bottom from its outermost."),
    ] = "top",
    limit: Annotated[
        Annotated[int, Field(ge=1), WRITTEN] | None,
        Parameter(
            description="How many clips at most, of both ends each. Left out: all; for a tool, whose folder has the "
            f"videos, {DEFAULT_VIDEOS}. For a tool {MAX_VIDEOS:,} at most.",
        ),
    ] = None,
) -> Response:
    """The same as the pages, in one file, with all that was said of the clips."""
    reading = Reading.open(service, query_id, filter, end)
    written, address = FORMATS[format], service.settings.public_url or str(request.base_url).rstrip("/")
    content = exported(written, reading, service.settings, both=end == "both", limit=limit, address=address)
    headers = {"content-disposition": f'attachment; filename="motiontrace-{query_id}{written.suffix}"'}
    if reading.message is not None:
        headers[MESSAGE_HEADER] = quote(reading.message, safe=HEADER_TEXT)
    if content.size is not None:
        headers["content-length"] = str(content.size)
    return StreamingResponse(content.pieces, headers=headers, media_type=written.media_type)


def _place(after: str | None) -> tuple[float, str] | None:
    if after is None:
        return None
    score, separator, clip_id = after.partition("~")
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not separator or not math.isfinite(value):
        raise invalid("after", "unknown_place", f"{after!r} is no place in a ranking.", "Follow `next` of a page.")
    return value, clip_id

"""Shapes that several resources share. Pydantic only: the client imports them without FastAPI or torch."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _integral(value: Any) -> Any:
    """JSON has one kind of number: 5.0 is 5."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST else value


LARGEST = 2.0**53  # up to which each whole number is a float
# Numbers of JSON are numbers: neither texts, nor true, nor such as a float has beside them. To be put behind the
# field's bounds, which must be strict.
WHOLE = BeforeValidator(_integral)
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NO_NUL = r"^[^\x00]*$"  # PostgreSQL cannot hold the character NUL in a text
PATH = (
    "Where the clip's file lies below a media root of the service. Null where it lies below none or there are none, and"
    " once the clip has left the catalog. Without a service, as in `motiontrace query --json`: the absolute path."
)
VISIBLE = r"^[^\x00]*[^\x00\s][^\x00]*$"  # nor is it all spaces


class Document(BaseModel):
    """A JSON document of the service, immutable once read."""

    model_config = ConfigDict(frozen=True)


class FieldError(Document):
    """What is wrong with one field of a request."""

    field: str = Field(description="The field's name, as sent.")
    message: str


class Problem(Document):
    """An error (RFC 9457), served as application/problem+json."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:problem-type:motiontrace:empty_file",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "code": "empty_file",
                    "detail": "The uploaded video is empty (0 bytes).",
                    "todo": "Send the bytes of a video file in the field 'video'.",
                    "instance": "/v1/queries",
                    "request_id": "2f6f9d3c0d0f4b5f8a4b8a3f1c0e7d21",
                    "errors": [{"field": "video", "message": "The uploaded video is empty (0 bytes)."}],
                }
            ]
        }
    )

    type: str = Field(description="Identifies the kind of problem: urn:problem-type:motiontrace:{code}.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="The HTTP status code.")
    code: str = Field(description="Short, stable name of the problem, for programs.")
    detail: str = Field(description="What was wrong.")
    todo: str = Field(description="What to do about it.")
    instance: str | None = Field(default=None, description="The path of the request, where it was read.")
    request_id: str | None = Field(
        default=None, description="The request's id, as in its X-Request-ID header and in the service's log."
    )
    errors: list[FieldError] | None = Field(default=None, description="The fields at fault, where known.")

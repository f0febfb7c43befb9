"""What POST /v1/queries is sent, beside the video itself."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from service.parameters import NO_NUL
from service.problem import of_fields

MAX_PROMPT = 10_000  # characters
MAX_K = 1000


class Question(BaseModel):
    """The text fields of a query."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT, pattern=NO_NUL)
    ] = Field(description="The prompt that the video was generated from.")
    k: Annotated[int, Field(ge=1, le=MAX_K, description="How many clips to give from each end of the ranking.")] = 10
    index: str | None = Field(default=None, description="The index to ask; may be left out where there is only one.")

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> "Question":
        """Read a form's text fields.

        Raises:
            ProblemError: 422 that names each field at fault.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise of_fields(error.errors()) from error


def _form() -> dict[str, Any]:
    """The request body, as OpenAPI describes it."""
    schema = Question.model_json_schema()
    schema.pop("description")
    schema["properties"]["video"] = {
        "type": "string",
        "format": "binary",
        "description": "The generated video, in any format that FFmpeg reads. Its file name is not used.",
    }
    schema["required"] = ["video", "prompt"]
    example = {"video": "(the file's bytes)", "prompt": "a ball bounces", "k": 10, "index": "demo"}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema, "example": example}}}


FORM = _form()

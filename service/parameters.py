"""Parameters that several calls take."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import StringConstraints

# PostgreSQL cannot hold the character NUL in a text.
NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, StringConstraints(pattern=NO_NUL, max_length=1000)]
ClipId = Annotated[Text, Path(description="The clip's id.", examples=["bounce-0412"])]
QueryId = Annotated[Text, Path(description="The query's id.", examples=["5f0c0c4e8d5b4d0f9a5b1f6f2f7f3c11"])]
IndexName = Annotated[Text, Path(description="The index's name.", examples=["demo"])]
PageSize = Annotated[int, Query(ge=1, le=200, description="How many a page holds at most.")]

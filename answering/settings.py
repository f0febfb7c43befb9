"""Settings of whoever answers questions, beside the catalog's."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from motiontrace.catalog.settings import CatalogSettings, absolute, apart
from motiontrace.fields import Flag


class AnsweringSettings(CatalogSettings):
    """Where gradients are computed, what decoding a query's video may cost, and which clips' files are given away."""

    device: Annotated[str | None, Flag(default="a GPU if there is one")] = Field(
        default=None, description="Where gradients are computed: cpu, cuda, cuda:1, ..."
    )
    max_upload_bytes: int = Field(default=512 << 20, ge=1, description="Largest video of a query, bytes.")
    max_video_pixels: int = Field(
        default=4096 * 2304, ge=1, description="Largest frame of a query's video, width times height, pixels."
    )
    max_video_frames: int = Field(default=2000, ge=1, description="Most frames of a query's video.")
    max_video_seconds: float = Field(default=120.0, gt=0, description="Longest video of a query, seconds.")
    decoder_memory_bytes: int = Field(default=4 << 30, ge=64 << 20, description="Memory for decoding one video, bytes.")
    decoder_cpu_seconds: int = Field(
        default=60,
        ge=1,
        description="Processor time for decoding one video, seconds; twice as long on the clock.",
    )
    media_roots: Annotated[
        tuple[Annotated[Path, AfterValidator(absolute)], ...],
        NoDecode,
        apart(os.pathsep),
        Flag(default="any but the service's own"),
    ] = Field(default=(), description="Directories that clips are served from, links followed, separated by colons.")

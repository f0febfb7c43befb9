"""Settings of whoever answers questions, beside the catalog's."""

from typing import Annotated

from pydantic import Field

from motiontrace.catalog.settings import CatalogSettings
from motiontrace.fields import Flag


class AnsweringSettings(CatalogSettings):
    """Where gradients are computed, and how much a query's video may ask of its decoder."""

    device: Annotated[str | None, Flag(default="a GPU if there is one")] = Field(
        default=None, description="Where gradients are computed: cpu, cuda, cuda:1, ..."
    )
    max_upload_bytes: int = Field(
        default=512 << 20, ge=1, description="Largest video that a query may bring, in bytes."
    )
    max_video_pixels: int = Field(
        default=4096 * 2304, ge=1, description="Largest frame of a query's video, width times height in pixels."
    )
    max_video_frames: int = Field(default=2000, ge=1, description="Most frames of a query's video.")
    max_video_seconds: float = Field(default=120.0, gt=0, description="Longest video of a query, in seconds.")
    decoder_memory_bytes: int = Field(
        default=4 << 30, ge=64 << 20, description="Memory that the decoding of one video may take, in bytes."
    )
    decoder_cpu_seconds: int = Field(
        default=60,
        ge=1,
        description="Processor time that the decoding of one video may take, in seconds; twice as long on the clock.",
    )

"""Settings of the service, beside the catalog's."""

from pydantic import Field

from catalog.settings import CatalogSettings


class ServiceSettings(CatalogSettings):
    """Where the service listens and what it accepts; flags, variables and file as in CatalogSettings."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8600, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    device: str | None = Field(
        default=None,
        description="Where gradients are computed: cpu, cuda, cuda:1, ... Default: a GPU if there is one.",
    )
    max_upload_bytes: int = Field(
        default=512 << 20, ge=1, description="Largest video that a query may bring, in bytes."
    )
    max_wait_seconds: int = Field(
        default=60, ge=0, description="Longest time that 'Prefer: wait' can hold a request open, in seconds."
    )

"""A Python client of the service, on httpx; importing it loads neither torch nor FastAPI.

with Client("http://127.0.0.1:8600") as service:
    answer = service.ask(Path("generated.mp4"), "a ball bounces", k=5)
    for hit in answer.top:
        print(hit.rank, hit.score, hit.caption)

AsyncClient has the same calls for asyncio. docs/api.md shows each of them.
"""

from motiontrace.client.aio import AsyncClient
from motiontrace.client.errors import ServiceError
from motiontrace.client.sync import Client
from motiontrace.client.unpacking import unpack
from motiontrace.documents.filters import Filter
from motiontrace.documents.questions import ClipQuestion, VideoQuestion
from motiontrace.documents.regions import Box, Keyframe, TimeRange

__all__ = [
    "AsyncClient",
    "Box",
    "Client",
    "ClipQuestion",
    "Filter",
    "Keyframe",
    "ServiceError",
    "TimeRange",
    "VideoQuestion",
    "unpack",
]

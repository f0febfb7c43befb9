"""A Python client of the service, on httpx; importing it loads neither torch nor FastAPI.

with Client("http://127.0.0.1:8600") as service:
    answer = service.ask(Path("generated.mp4"), "a ball bounces", k=5)
    for hit in answer.top:
        print(hit.rank, hit.score, hit.caption)

AsyncClient has the same calls for asyncio. docs/api.md shows each of them.
"""

from motiontrace.service.client.aio import AsyncClient
from motiontrace.service.client.errors import ServiceError
from motiontrace.service.client.questions import ClipQuestion, VideoQuestion
from motiontrace.service.client.sync import Client
from motiontrace.service.client.unpacking import unpack

__all__ = ["AsyncClient", "Client", "ClipQuestion", "ServiceError", "VideoQuestion", "unpack"]

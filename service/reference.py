"""/docs: Swagger UI with every file from this machine, as clusters without internet need and a strict policy allows."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

# Addresses are relative to /docs, so that a proxy may put the service below a path of its own.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>motiontrace API</title>
<link rel="stylesheet" href="docs/files/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="reference"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


def install(app: FastAPI) -> None:
    """Serve the page and its files; the app's own, which load from another host, must be off."""
    app.add_route("/docs", _page, include_in_schema=False)
    app.add_route("/docs/start.js", _start, include_in_schema=False)
    app.mount("/docs/files", StaticFiles(directory=str(files("fastapi_offline") / "static")))


async def _page(request: Request) -> Response:
    return HTMLResponse(PAGE)


async def _start(request: Request) -> Response:
    return Response(START, media_type="text/javascript")

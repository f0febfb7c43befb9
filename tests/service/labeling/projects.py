"""A project of our own set-up, as Label Studio 1.23.2 gives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROJECT: dict[str, Any] = json.loads((Path(__file__).parent / "project.json").read_text(encoding="utf-8"))

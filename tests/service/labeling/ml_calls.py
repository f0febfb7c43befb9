"""The calls that Label Studio makes of its ML backend, as it makes them (1.23.2, as recorded)."""

from __future__ import annotations

from typing import Any

from motiontrace.service.labeling.label_studio.setup import label_config

ML = "/labeling/label-studio/ml"
CONFIG = label_config()
STUDIOS_TOKEN = "ls-access-token-0123456789abcdef"


def setup_call(**changes: Any) -> dict[str, Any]:
    """The body of POST /setup, with the secret that comes with it."""
    return {
        "project": "2.1795363290",
        "schema": CONFIG,
        "hostname": "http://127.0.0.1:8081",
        "access_token": STUDIOS_TOKEN,
        "extra_params": None,
        **changes,
    }


def task(number: int = 13, **data: Any) -> dict[str, Any]:
    """A task as it comes in POST /predict."""
    return {
        "id": number,
        "data": {"video": "http://127.0.0.1/x.mp4", "caption": "", "fps": 8.0, **data},
        "meta": {},
        "created_at": "2026-11-22T16:01:31.382571Z",
        "updated_at": "2026-11-22T16:01:31.382577Z",
        "is_labeled": False,
        "overlap": 1,
        "inner_id": 3,
        "total_annotations": 0,
        "cancelled_annotations": 0,
        "total_predictions": 0,
        "comment_count": 0,
        "unresolved_comment_count": 0,
        "last_comment_updated_at": None,
        "project": 2,
        "updated_by": None,
        "file_upload": None,
        "comment_authors": [],
        "annotations": [],
        "predictions": [],
    }


def predict_call(*tasks: Any, context: Any = None, config: str = CONFIG) -> dict[str, Any]:
    """The body of POST /predict; `context` is what an annotator has drawn, where it is asked for meanwhile."""
    params = {"login": None, "password": None, "context": context}
    return {"tasks": list(tasks), "project": "2.1795363290", "label_config": config, "params": params}

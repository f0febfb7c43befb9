"""Where log lines go and how they look: text for people or JSON for programs, one line each, on standard error."""

import logging
import sys
from datetime import UTC, datetime

from pythonjsonlogger.json import JsonFormatter

from motiontrace.service.observability import request_ids
from motiontrace.service.settings import ServiceSettings

# Libraries are heard from warnings on: below that, some of them write headers, form data and signed URLs.
OURS = "motiontrace"
_FIELDS = ("asctime", "levelname", "name", "message", "request_id")
_NAMES = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}


def configure_logging(settings: ServiceSettings) -> None:
    """Send this process's log and Python's warnings to standard error, in the settings' form and level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_request_id)
    handler.setFormatter(_Json() if settings.log_format == "json" else _Text())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    level = logging.getLevelName(settings.log_level.upper())
    logging.getLogger(OURS).setLevel(level)
    logging.getLogger("uvicorn").setLevel(max(logging.INFO, level))  # where it listens, and that it ends


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = request_ids.current.get()
    return True


def _time(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Json(JsonFormatter):
    def __init__(self) -> None:
        super().__init__(_FIELDS, rename_fields=_NAMES, json_ensure_ascii=False)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (logging's name)
        return _time(record)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (logging's name)
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", None)
        return line if request_id is None else f"{line} [{request_id}]"

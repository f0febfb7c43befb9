"""Media types of clips' files, by their suffix."""

from __future__ import annotations

# Any other file is sent as plain bytes, so that browsers never take it for a page or a script.
MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".ogv": "video/ogg",
    ".gif": "image/gif",
}
OTHER_TYPE = "application/octet-stream"

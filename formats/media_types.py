"""Media types of clips' files, by their suffix."""

from __future__ import annotations

# What a browser may be told a clip is. Anything else goes out as plain bytes, never as a page or a script.
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

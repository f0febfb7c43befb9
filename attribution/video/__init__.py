"""From a video file to frames of one size and length, whatever the container and codec.

``reading`` decides which frames (the sampling rule), ``source`` opens and decodes, ``container`` tells a cut
file from a whole one, ``picture`` turns one decoded frame into upright RGB, ``limits`` bounds the work and
names what can be wrong.
"""

from attribution.video.limits import VideoError, VideoErrorCode, VideoLimits
from attribution.video.reading import DecodedVideo, VideoInfo, VideoReader, inspect_video, read_video, thumbnail

__all__ = [
    "DecodedVideo",
    "VideoError",
    "VideoErrorCode",
    "VideoInfo",
    "VideoLimits",
    "VideoReader",
    "inspect_video",
    "read_video",
    "thumbnail",
]

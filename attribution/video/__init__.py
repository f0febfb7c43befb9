"""From a video file to frames of one size and length, whatever the container and codec.

`reading` decides which frames (the sampling rule), `still` takes one picture, `source` opens and decodes,
`streams` chooses the stream, `clock` joins times that start again, `coding` recognises packets without a picture,
`damage` counts lost pictures, `container` recognises cut files, `index_tables` finds impossible counts, `picture` turns
one decoded frame into upright RGB, and `limits` bounds the work and defines the error.
"""

from motiontrace.attribution.video.limits import VideoError, VideoErrorCode, VideoLimits
from motiontrace.attribution.video.reading import DecodedVideo, VideoInfo, VideoReader, inspect_video, read_video
from motiontrace.attribution.video.still import thumbnail

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

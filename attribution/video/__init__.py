"""From a video file to frames of one size and length, whatever the container and codec.

`reading` decides which frames (the sampling rule), `still` takes one picture, `source` opens and decodes,
`streams` chooses the stream, `clock` joins times that start again, `coding` tells packets without a picture,
`damage` counts what is lost, `container` tells a cut file from a whole one, `index_tables` the counts that cannot
be true, `picture` turns one decoded frame into upright RGB, `limits` bounds the work and names what can be wrong.
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

"""One decoded frame -> upright RGB pixels of the size that is asked for."""

from fractions import Fraction
from typing import Any

import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from motiontrace.attribution.opencv import cv2

# Transparent parts are laid over mid-grey: black would swallow line art drawn in black, white would swallow
# what is white (GIF and WebM have both). On grey either still moves, and grey is 0 in the models' [-1, 1].
BACKDROP = 127

# Rounding that does not depend on the processor, and chroma at full resolution.
CONVERSION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT


class Orientation:
    """How a player turns the stored picture, read from a frame's display matrix.

    Attributes:
        transposed: rows and columns change places (first).
        flip_x, flip_y: then mirrored left-right, upside down.
        degrees: the clockwise rotation in it, one of 0, 90, 180, 270 (whether mirrored before or not).
    """

    def __init__(self, frame: Any) -> None:
        self.transposed = self.flip_x = self.flip_y = False
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            # The stored pixel (p, q) is shown at (a p + c q, b p + d q); any odd angle snaps to a right one.
            a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
            self.transposed = abs(b) + abs(c) > abs(a) + abs(d)
            self.flip_x, self.flip_y = (c < 0, b < 0) if self.transposed else (a < 0, d < 0)
        self.degrees = 90 * self.transposed + 180 * self.flip_y

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) as shown, of a picture stored with `width` x `height`; its own inverse."""
        return (height, width) if self.transposed else (width, height)

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn uint8 [H, W, 3] as stored into uint8 [H', W', 3] as shown."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        return np.ascontiguousarray(picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


def displayed_size(frame: Any, pixel_aspect: Fraction) -> tuple[int, int]:
    """(width, height) in square pixels that a player shows for `frame`."""
    return Orientation(frame).size(max(1, round(frame.width * pixel_aspect)), frame.height)


def cover(frame: Any, pixel_aspect: Fraction, *, height: int, width: int) -> NDArray[np.uint8]:
    """Fill `height` x `width` with the frame: cut its middle to that shape, then resize.

    Args:
        frame: a decoded `av.VideoFrame` of any pixel format.
        pixel_aspect: width of a stored pixel over its height.
        height: of the result, pixels.
        width: of the result, pixels.

    Returns:
        uint8 [height, width, 3] RGB. Down by area averaging, up by bicubic interpolation.
    """
    orientation = Orientation(frame)
    columns, rows = orientation.size(width, height)
    scale = max(columns / (frame.width * float(pixel_aspect)), rows / frame.height)
    cut_width = min(frame.width, max(1, round(columns / scale / float(pixel_aspect))))
    cut_height = min(frame.height, max(1, round(rows / scale)))
    left, top = (frame.width - cut_width) // 2, (frame.height - cut_height) // 2
    cut = _rgb(frame)[top : top + cut_height, left : left + cut_width]
    shrinks = cut_width >= columns and cut_height >= rows
    resized = cv2.resize(cut, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return orientation.apply(resized)


def _rgb(frame: Any) -> NDArray[np.uint8]:
    """The stored picture as uint8 [H, W, 3] RGB, transparency laid over `BACKDROP`."""
    if not frame.format.has_palette and not any(part.is_alpha for part in frame.format.components):
        return _pixels(frame, "rgb24")
    rgba = _pixels(frame, "rgba").astype(np.uint16)
    alpha = rgba[..., 3:]
    mixed = (rgba[..., :3] * alpha + BACKDROP * (255 - alpha) + 127) // 255  # + 127: round to nearest
    return mixed.astype(np.uint8)


def _pixels(frame: Any, form: str) -> NDArray[np.uint8]:
    """Convert to FFmpeg's pixel format `form` (8 bits a channel): uint8 [H, W, channels]."""
    pixels: NDArray[np.uint8] = frame.reformat(format=form, interpolation=CONVERSION, threads=1).to_ndarray()
    return pixels

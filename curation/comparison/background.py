"""The background of a video of one camera that stands still, also where the object covers it most of the time.

A pixel's median over time is the background only where the object covers the pixel in under half of the frames. A ball
that bounces in its own path covers some pixels longer. So pixels that never change are taken as background, and the
others are filled in from these inwards. Each takes those of its own values that are nearest to the background around
it. Where none is near, the object has covered the pixel all the time: it takes the background around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.opencv import cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

STILL_RANGE = 14.0  # grey levels that a pixel of the background may vary by, for codec and flicker
FLICKER = 2.5  # or so many times the range of the stillest fifth of the picture
EDGE = 24.0  # grey levels between neighbours: there one thing ends and another begins
SEEN = 0.12  # of the frames, at least two: a value seen less often is the rim of a thing that passes
REACH = 5  # pixels: side of the square that is looked at around a pixel
ENCLOSED = 0.5  # of what surrounds a still region has to change for it to be the inside of the object
FAR = 32.0  # grey levels: values that differ so much from what is around them are not the background's


def background(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The picture without the object: RGB uint8 [F, H, W, 3] -> float32 [H, W, 3]."""
    result = np.median(pictures, axis=0).astype(np.float32)
    spread = (pictures.max(axis=0) - pictures.min(axis=0)).max(axis=2)
    still_range = max(STILL_RANGE, FLICKER * float(np.quantile(spread, 0.2)))
    changing = cv2.dilate((spread > still_range).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    known = ~(changing | _inside_object(result, changing))
    often = min(len(pictures), max(2, round(SEEN * len(pictures))))
    while not known.all():
        share = cv2.blur(known.astype(np.float32), (REACH, REACH))
        rows, columns = np.nonzero(~known & (share > 1e-3))
        if not len(rows):  # nothing is still
            break
        total = cv2.blur(result * known[..., None], (REACH, REACH))[rows, columns]
        around = total / share[rows, columns][:, None]
        values = pictures[:, rows, columns].astype(np.float32)
        distance = np.abs(values - around).max(axis=2)
        nearest = np.partition(distance, often - 1, axis=0)[often - 1]
        fits = nearest <= FAR
        if fits.any():  # the others wait until more is known around them
            rows, columns = rows[fits], columns[fits]
            taken = (distance[:, fits] <= nearest[fits] + still_range)[..., None]
            around = (values[:, fits] * taken).sum(axis=0) / taken.sum(axis=0)
        result[rows, columns] = around
        known[rows, columns] = True
    return result


def _inside_object(median: NDArray[np.float32], changing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Still regions that are surrounded by change: what a plain object that moves little covers all the time."""
    square = np.ones((3, 3), np.uint8)
    edges = (cv2.dilate(median, square) - cv2.erode(median, square)).max(axis=2) > EDGE
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((~changing & ~edges).astype(np.uint8), connectivity=4)
    inside = np.zeros_like(changing)
    height, width = changing.shape
    for label in range(1, count):
        left, top, wide, high, _ = boxes[label]
        if left == 0 or top == 0 or left + wide == width or top + high == height:
            continue
        region = labels == label
        ring = cv2.dilate(region.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool) & ~region
        if changing[ring].mean() >= ENCLOSED:
            inside |= ring & ~changing | region
    return inside

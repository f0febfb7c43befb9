"""The camera's part of the motion between two pictures, and a picture without it.

Pan, tilt, zoom and roll move every pixel of the background by one similarity transform. RANSAC fits it to the optical
flow on a grid. It counts as camera motion only if most textured places follow it, also along most sides of the picture.
Places without texture do not count, since their flow is unknown. So there is no camera motion where only the moving
thing has texture, as before a plain wall, nor where something large fills the middle. Motion that cannot be attributed
to the camera is left as it is.
"""

import numpy as np
from numpy.typing import NDArray

from motiontrace.attribution.opencv import cv2

GRID = 32  # places along the shorter side
TEXTURE = 1.0  # grey levels a pixel: how steep a picture has to be, in its flattest direction, for flow to be sure
TEXTURE_PATCH = 7  # pixels: side of the square over which that is judged
WITHIN = 1.0  # pixels: a place follows the camera if its flow is off by no more
SHARE = 0.5  # of the textured places: more have to follow the camera
BORDER = 1 / 16  # of the picture: what lies along a side
SIDES = 3  # of the four: along these at least half the places have texture, and at least half of those follow
STILL = 0.25  # pixels: a camera that moves no corner by more stands still


def camera_motion(grey: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """The similarity that takes each pixel of the background to its place in the other picture.

    Args:
        grey: the picture, uint8 [H, W].
        flow: displacements (x, y) from it to the other one, float32 [H, W, 2], pixels.

    Returns:
        float64 [2, 3] for (x, y, 1); None where the camera stands still, or its motion cannot be told from the scene's.
    """
    height, width = grey.shape
    step = max(2, min(height, width) // GRID)
    rows, columns = (axis.ravel() for axis in np.mgrid[step // 2 : height : step, step // 2 : width : step])
    left, right = columns < BORDER * width, columns >= (1 - BORDER) * width
    sides = left, right, rows < BORDER * height, rows >= (1 - BORDER) * height
    textured = _texture(grey)[rows, columns] >= TEXTURE**2
    seen = [side[textured] for side in sides if textured[side].mean() >= SHARE]
    if len(seen) < SIDES:
        return None
    places = np.stack([columns, rows], 1)[textured].astype(np.float32)
    matrix, follows = cv2.estimateAffinePartial2D(
        places, places + flow[rows, columns][textured], method=cv2.RANSAC, ransacReprojThreshold=WITHIN
    )
    if matrix is None:
        return None
    inlier = follows.ravel() == 1
    agreeing = sum(inlier[side].mean() >= SHARE for side in seen)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    moved = float(np.abs(corners @ matrix.T - corners[:, :2]).max())
    if inlier.mean() <= SHARE or agreeing < SIDES or moved <= STILL:
        return None
    motion: NDArray[np.float64] = matrix
    return motion


def camera_displacement(motion: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
    """How far `camera_motion` takes each pixel: float32 [height, width], pixels."""
    rows, columns = np.mgrid[:height, :width]
    there = np.stack([columns, rows, np.ones_like(rows)], -1) @ motion.T
    displacement: NDArray[np.float32] = np.hypot(there[..., 0] - columns, there[..., 1] - rows).astype(np.float32)
    return displacement


def stabilised(there: NDArray[np.uint8], here: NDArray[np.uint8], motion: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The picture `there` without the camera's motion since `here`, both uint8 [H, W].

    `motion` is `camera_motion` from `here` to `there`. Where `there` no longer shows the scene, pixels are those of
    `here`.
    """
    size = here.shape[1], here.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    aligned = cv2.warpAffine(there, motion, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.full_like(there, 255), motion, size, flags=flags, borderValue=0) == 255
    picture: NDArray[np.uint8] = np.where(inside, aligned, here)
    return picture


def _texture(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The smaller eigenvalue of the structure tensor (Shi and Tomasi, 1994), squared grey levels a pixel: [H, W]."""
    picture = grey.astype(np.float32)
    across, down = (cv2.Sobel(picture, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    patch = TEXTURE_PATCH, TEXTURE_PATCH
    xx, yy, xy = (cv2.blur(product, patch) for product in (across * across, down * down, across * down))
    smaller: NDArray[np.float32] = (xx + yy) / 2 - np.sqrt(np.square((xx - yy) / 2) + xy * xy)
    return smaller

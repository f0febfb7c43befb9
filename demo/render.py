"""Draws a clip of the demo corpus and writes it as an mp4 file."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from motiontrace.demo.looks import Look, scene, sprite

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.demo.motions import Motion, Pose, Trajectory

SIDE = 192  # pixels
FRAMES = 37
FRAME_RATE = 18  # a second
_MARGIN = 0.5  # how far beyond the scene a moving camera may look, in scenes


def _cut(image: NDArray[np.uint8], piece: tuple[int, int]) -> NDArray[np.uint8]:
    """The sprite with everything outside one cell of a 3 x 3 grid made transparent, the cell moved to its centre."""
    side = len(image)
    edges = np.linspace(0, side, 4).round().astype(int)
    (top, bottom), (left, right) = edges[piece[0] : piece[0] + 2], edges[piece[1] : piece[1] + 2]
    cell = np.zeros_like(image)
    y, x = (side - (bottom - top)) // 2, (side - (right - left)) // 2
    cell[y : y + bottom - top, x : x + right - left] = image[top:bottom, left:right]
    return cell


def _placement(pose: Pose, frame: int, sprite_side: int, diameter: float) -> NDArray[np.float64]:
    """The 2 x 3 matrix that takes sprite pixels to scene pixels."""
    cos, sin = np.cos(pose.angle[frame]), np.sin(pose.angle[frame])
    scale = diameter * SIDE / sprite_side
    # Scaled along the scene's axes after the turn, so that a pressed body widens along the floor.
    stretch = np.diag([pose.width[frame] * scale, pose.height[frame] * scale])
    linear = stretch @ np.array([[cos, -sin], [sin, cos]])
    centre = np.array([pose.x[frame], pose.y[frame]]) * SIDE
    return np.column_stack([linear, centre - linear @ np.full(2, sprite_side / 2)])


def _paste(canvas: NDArray[np.float32], layer: NDArray[np.uint8]) -> None:
    alpha = layer[..., 3:].astype(np.float32) / 255
    canvas += (layer[..., :3] - canvas) * alpha


def _frame(
    trajectory: Trajectory, layers: list[NDArray[np.uint8]], backdrop: NDArray[np.uint8], look: Look, index: int
) -> NDArray[np.uint8]:
    zoom = trajectory.zoom[index]
    shift = np.array([trajectory.camera_x[index], trajectory.camera_y[index]])
    centre = SIDE / 2
    camera = np.column_stack([np.eye(2) * zoom, centre - zoom * (centre + shift * SIDE)])

    def through_camera(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([camera[:, :2] @ matrix[:, :2], camera[:, :2] @ matrix[:, 2] + camera[:, 2]])

    origin = np.column_stack([np.eye(2), np.full(2, -_MARGIN * SIDE)])
    canvas = cv2.warpAffine(
        backdrop, through_camera(origin), (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    if trajectory.pivot is not None:
        body = trajectory.bodies[0]
        ends = np.array([trajectory.pivot, (body.x[index], body.y[index])]) * SIDE
        start, end = np.round(ends * 16).astype(int)
        cv2.line(canvas, tuple(map(int, start)), tuple(map(int, end)), (90, 84, 80), 3, cv2.LINE_AA, 4)
    for pose, layer in zip(trajectory.bodies, layers, strict=True):
        matrix = through_camera(_placement(pose, index, len(layer), 2 * look.radius))
        _paste(canvas, cv2.warpAffine(layer, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR))
    return np.round(canvas).astype(np.uint8)


def render(motion: Motion, look: Look, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One clip, RGB uint8 [FRAMES, SIDE, SIDE, 3]; `rng` draws the motion's own parameters."""
    times = np.arange(FRAMES) / FRAME_RATE
    trajectory = motion.move(times, look.radius, rng)
    image = sprite(look, max(8, round(2 * look.radius * SIDE)))
    layers = [image if pose.piece is None else _cut(image, pose.piece) for pose in trajectory.bodies]
    backdrop = scene(look, SIDE, _MARGIN)
    return np.stack([_frame(trajectory, layers, backdrop, look, index) for index in range(FRAMES)])


def write_mp4(path: Path, frames: NDArray[np.uint8], frame_rate: int = FRAME_RATE) -> None:
    """Writes RGB uint8 [frames, height, width, 3] as H.264 that every player opens."""
    with av.open(str(path), "w") as container:
        # One thread and no macroblock tree, whose assembly rounds differently from run to run: the same seed gives the
        # same bytes.
        options = {"crf": "16", "threads": "1", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=Fraction(frame_rate), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for array in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())

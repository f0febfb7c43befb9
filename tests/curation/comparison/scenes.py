"""Videos whose truth is known: a striped disc on a wall, drawn at fractions of a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIDE, RADIUS = 128, 16


def wall(seed: int = 0) -> NDArray[np.uint8]:
    """A wall with a soft texture and a floor, [SIDE, SIDE, 3]."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(0, 60, (SIDE, SIDE)).astype(np.float32), (0, 0), 3)
    picture = np.full((SIDE, SIDE, 3), (170, 176, 184), np.float32) + texture[..., None]
    picture[int(SIDE * 0.92) :] -= 50
    return np.clip(picture, 0, 255).astype(np.uint8)


def disc_video(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    radius: float | Sequence[float] = RADIUS,
    colour: tuple[int, int, int] = (200, 60, 40),
    stripe: tuple[int, int, int] = (240, 200, 90),
    behind: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """A disc with its centre at (x, y) pixels in each frame: RGB uint8 [F, SIDE, SIDE, 3]; the first is at 0.5."""
    background = wall() if behind is None else behind
    radii = np.broadcast_to(radius, len(xs))
    return np.stack([_frame(background, *each, colour, stripe) for each in zip(xs, ys, radii, strict=True)])


def _frame(
    background: NDArray[np.uint8],
    x: float,
    y: float,
    radius: float,
    colour: tuple[int, int, int],
    stripe: tuple[int, int, int],
) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    cover = np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)[..., None]
    band = np.clip(radius / 6 + 0.5 - np.abs(rows - y), 0, 1)[..., None]
    paint = np.asarray(colour) * (1 - band) + np.asarray(stripe) * band
    return np.round(background * (1 - cover) + paint * cover).astype(np.uint8)

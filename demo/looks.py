"""How the objects and scenes of the demo corpus look, drawn independently of how they move.

Every choice is uniform and made by a generator that the motion never sees, so that a method that follows looks
instead of motion is found out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from motiontrace.demo.motions import FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49), "orange": (240, 132, 28), "yellow": (245, 212, 66),
    "green": (46, 160, 84), "blue": (46, 98, 212), "purple": (142, 68, 190),
    "pink": (236, 120, 170), "brown": (120, 72, 40), "teal": (20, 140, 140),
    "navy": (24, 40, 110), "lime": (160, 220, 40), "ivory": (240, 236, 214),
    "cyan": (60, 200, 220), "maroon": (110, 20, 40), "gold": (212, 170, 50),
    "olive": (110, 120, 40), "violet": (110, 60, 220), "silver": (190, 196, 204),
}  # fmt: skip
# Wall and floor of the scene, RGB.
BACKGROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "white": ((236, 236, 232), (204, 202, 198)), "grey": ((148, 150, 154), (112, 114, 118)),
    "black": ((34, 35, 40), (62, 62, 68)), "sand": ((232, 214, 176), (190, 160, 112)),
    "sky": ((150, 200, 236), (120, 158, 110)), "brick": ((176, 120, 104), (120, 92, 84)),
    "wood": ((196, 150, 96), (150, 100, 60)), "night": ((18, 22, 44), (40, 44, 52)),
    "mint": ((190, 232, 208), (140, 190, 160)), "snow": ((246, 250, 254), (220, 230, 240)),
    "rust": ((150, 70, 40), (96, 50, 36)), "lilac": ((200, 180, 224), (160, 140, 190)),
    "desert": ((222, 170, 120), (186, 130, 84)), "cave": ((50, 46, 44), (30, 28, 28)),
    "meadow": ((170, 214, 240), (90, 160, 70)), "paper": ((250, 246, 234), (230, 224, 206)),
    "slate": ((90, 104, 120), (64, 74, 88)), "rose": ((232, 190, 196), (200, 150, 160)),
}  # fmt: skip
PALETTES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "standard": (
        ("red", "orange", "yellow", "green", "blue", "purple"), ("white", "grey", "black", "sand", "sky", "brick"),
    ),
    "indoors": (
        ("pink", "brown", "teal", "navy", "lime", "ivory"), ("wood", "night", "mint", "snow", "rust", "lilac"),
    ),
    "outdoors": (
        ("cyan", "maroon", "gold", "olive", "violet", "silver"),
        ("desert", "cave", "meadow", "paper", "slate", "rose"),
    ),
}  # fmt: skip
"""Colours and backgrounds that go together; the shipped checkpoint has seen those of `standard` alone."""
SHAPES = ("ball", "box", "star", "hexagon")
SIZES = {"small": (0.16, 0.175), "large": (0.21, 0.23)}  # radius, as a share of the scene
LIGHTS = {"left": -1.0, "right": 1.0}


@dataclass(frozen=True)
class Look:
    """Everything about a clip that is not motion; the fields are its metadata."""

    shape: str
    colour: str
    background: str
    size: str
    light: str
    radius: float

    @classmethod
    def draw(cls, rng: np.random.Generator, palette: str = "standard") -> Look:
        """A look with every property drawn uniformly and independently, in the colours of one of `PALETTES`."""
        colours, backgrounds = PALETTES[palette]
        size = str(rng.choice(list(SIZES)))
        return cls(
            shape=str(rng.choice(SHAPES)),
            colour=str(rng.choice(colours)),
            background=str(rng.choice(backgrounds)),
            size=size,
            light=str(rng.choice(list(LIGHTS))),
            radius=float(rng.uniform(*SIZES[size])),
        )

    @property
    def object_words(self) -> str:
        """The object as a caption names it, e.g. "a large red ball"."""
        return f"a {self.size} {self.colour} {self.shape}"

    @property
    def background_words(self) -> str:
        """The scene as a caption names it."""
        return f"on a {self.background} background"


def _outline(shape: str, side: int) -> NDArray[np.float64]:
    """Corners [n, 2] of a shape that fills a square of `side` pixels."""
    half = side / 2
    if shape == "box":
        reach = half * 0.88
        return half + reach * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    corners, inner = (10, 0.5) if shape == "star" else (6, 1.0)
    angle = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    radius = half * 0.98 * np.where(np.arange(corners) % 2, inner, 1.0)
    return half + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def sprite(look: Look, side: int) -> NDArray[np.uint8]:
    """The object alone, RGBA uint8 [side, side, 4], lit from one side and marked so that turning shows."""
    mask = np.zeros((side, side), np.uint8)
    if look.shape == "ball":
        cv2.circle(mask, (side * 8, side * 8), int(side * 0.49 * 16), 255, -1, cv2.LINE_AA, 4)
    else:
        cv2.fillPoly(mask, [np.round(_outline(look.shape, side) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    paint = np.full((side, side, 3), COLOURS[look.colour], np.float32)
    stripe = slice(int(side * 0.42), int(side * 0.58))
    paint[stripe] = 0.35 * paint[stripe] + 0.65 * 250
    rows, columns = (np.mgrid[0:side, 0:side] / (side - 1)).astype(np.float32) * 2 - 1
    shade = 1 + 0.28 * (LIGHTS[look.light] * columns - rows) / 1.5
    return np.dstack([np.clip(paint * shade[..., None], 0, 255).astype(np.uint8), mask])


def scene(look: Look, side: int, margin: float) -> NDArray[np.uint8]:
    """The wall and floor, RGB uint8; covers `margin` scenes more on every side for a camera that moves."""
    wall, floor = (np.asarray(c, np.float32) for c in BACKGROUNDS[look.background])
    full = round(side * (1 + 2 * margin))
    y = (np.arange(full, dtype=np.float32)[:, None] + 0.5) / side - margin
    x = (np.arange(full, dtype=np.float32)[None, :] + 0.5) / side - margin
    ground = np.clip((y - FLOOR) * side, 0, 1)[..., None]
    image = wall * (1 - ground) + floor * ground
    light = 1 + 0.1 * LIGHTS[look.light] * (x - 0.5) - 0.06 * (y - 0.5)
    return np.clip(image * light[..., None], 0, 255).astype(np.uint8)

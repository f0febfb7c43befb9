"""How the objects of the demo corpus move: ten physical motions, three cartoon ones, a moving camera, none.

A scene is the unit square, x to the right and y down, with the floor at `FLOOR`. Times are seconds, angles
radians, gravity scene heights a second squared. A motion draws its own parameters from the generator it is
given and returns the pose of every body at every frame; it knows nothing of how anything looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

FLOOR = 0.92
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """One body in every frame: arrays of shape [frames].

    `x`, `y` are the centre; `width`, `height` scale the body's own size; `angle` turns it clockwise.
    `piece` names the part of the object that the body shows (row, column of a 3 x 3 cut), None for the whole.
    """

    x: Array
    y: Array
    angle: Array
    width: Array
    height: Array
    piece: tuple[int, int] | None = None


@dataclass(frozen=True)
class Trajectory:
    """Everything that moves in a clip: the bodies, the camera, and where a string is tied (None: no string)."""

    bodies: list[Pose]
    camera_x: Array
    camera_y: Array
    zoom: Array
    pivot: tuple[float, float] | None = None


class Kind(Enum):
    """What a motion is to a reader of the ranking."""

    PHYSICAL = "physical"
    CARTOON = "cartoon"
    CAMERA = "camera"
    STATIC = "static"


@dataclass(frozen=True)
class Motion:
    """A kind of motion: its name in the metadata, the ways a caption may tell it, and its trajectory.

    `move` takes (frame times [frames], body radius, generator).
    """

    name: str
    kind: Kind
    phrases: tuple[str, ...]
    move: Callable[[Array, float, np.random.Generator], Trajectory] = field(repr=False)


def _pose(
    t: Array,
    x: Array | float,
    y: Array | float,
    angle: Array | float = 0.0,
    width: Array | float = 1.0,
    height: Array | float = 1.0,
    piece: tuple[int, int] | None = None,
) -> Pose:
    x, y, angle, width, height = (np.broadcast_to(np.asarray(v, float), t.shape) for v in (x, y, angle, width, height))
    return Pose(x, y, angle, width, height, piece)


def _scene(t: Array, *bodies: Pose, pivot: tuple[float, float] | None = None) -> Trajectory:
    still = np.zeros_like(t)
    return Trajectory(list(bodies), still, still, still + 1, pivot)


def _smooth(t: Array) -> Array:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _falling(t: Array, top: float, bottom: float, gravity: float, restitution: float) -> Array:
    """Height of a body dropped at t = 0 from `top`, bouncing off `bottom` (both y of its centre)."""
    y = np.empty_like(t)
    start, speed, base = 0.0, 0.0, top  # a flight begins at `start` from `base` with `speed` upwards
    for i, now in enumerate(t):
        while True:
            flight = now - start
            here = base - speed * flight + 0.5 * gravity * flight**2
            if here <= bottom + 1e-9 or (gravity <= 0):
                break
            landing = (speed + np.sqrt(speed**2 + 2 * gravity * (bottom - base))) / gravity
            speed = restitution * (gravity * landing - speed)
            start, base = start + landing, bottom
            if speed < 0.05:
                speed, gravity = 0.0, 0.0
                here = bottom
                break
        y[i] = min(here, bottom)
    return y


def _compress(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    height = 1 - rng.uniform(0.5, 0.62) * _smooth((t - rng.uniform(0, 0.3)) / rng.uniform(1.2, 1.7))
    return _scene(t, _pose(t, rng.uniform(0.4, 0.6), FLOOR - radius * height, width=height**-0.35, height=height))


def _stretch(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    width = 1 + rng.uniform(0.7, 1.0) * _smooth((t - rng.uniform(0, 0.3)) / rng.uniform(1.2, 1.7))
    return _scene(t, _pose(t, 0.5, rng.uniform(0.45, 0.6), width=width, height=width**-0.5))


def _bounce(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    y = _falling(t, rng.uniform(0.2, 0.3), FLOOR - radius, rng.uniform(4.0, 5.5), rng.uniform(0.75, 0.85))
    return _scene(t, _pose(t, rng.uniform(0.4, 0.6) + rng.uniform(-0.08, 0.08) * (t - 1), y))


def _free_fall(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    top, gravity = rng.uniform(0.02, 0.14), rng.uniform(0.5, 0.75)
    return _scene(t, _pose(t, rng.uniform(0.3, 0.7), _falling(t, top, FLOOR - radius, gravity, 0.0)))


def _roll(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    way = rng.choice([-1.0, 1.0])
    x = 0.5 + way * rng.uniform(0.3, 0.36) * (t - 1)
    return _scene(t, _pose(t, x, FLOOR - radius, angle=(x - 0.5) / radius))


def _slide(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    way, stop = rng.choice([-1.0, 1.0]), rng.uniform(1.6, 2.1)
    travelled = 1 - (1 - np.clip(t / stop, 0, 1)) ** 2  # friction takes the speed away evenly
    return _scene(t, _pose(t, 0.5 + way * (travelled - 0.5) * rng.uniform(0.55, 0.65), FLOOR - radius))


def _explode(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    start, x, y = rng.uniform(0.25, 0.5), rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.55)
    since, third = np.clip(t - start, 0, None), 2 * radius / 3
    bodies = []
    for row in range(3):
        for column in range(3):
            dx, dy = (column - 1) * third, (row - 1) * third
            speed = rng.uniform(0.2, 0.32, 2) * (np.array([dx, dy]) / third + rng.uniform(-0.3, 0.3, 2))
            bodies.append(
                _pose(
                    t,
                    x + dx + speed[0] * since,
                    y + dy + speed[1] * since + 0.1 * since**2,
                    angle=rng.uniform(-3, 3) * since,
                    piece=(row, column),
                )
            )
    return _scene(t, *bodies)


def _float(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    x = rng.uniform(0.38, 0.62) + 0.05 * np.sin(rng.uniform(2.5, 3.5) * t + rng.uniform(0, 6.28))
    y = rng.uniform(0.72, 0.8) - rng.uniform(0.24, 0.3) * t
    return _scene(t, _pose(t, x, y, angle=0.12 * np.sin(3 * t)))


def _spin(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    turn = rng.choice([-1.0, 1.0]) * rng.uniform(2.5, 3.5)
    return _scene(t, _pose(t, rng.uniform(0.4, 0.6), rng.uniform(0.42, 0.58), angle=turn * t))


def _swing(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    pivot, length = (0.5, -0.15), rng.uniform(0.7, 0.78)
    theta = rng.uniform(0.42, 0.55) * np.cos(rng.uniform(3.0, 3.8) * t + rng.choice([0.0, np.pi]))
    x, y = pivot[0] + length * np.sin(theta), pivot[1] + length * np.cos(theta)
    return _scene(t, _pose(t, x, y, angle=-theta), pivot=pivot)


def _hover_then_fall(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    hang = rng.uniform(0.9, 1.2)
    y = _falling(np.clip(t - hang, 0, None), rng.uniform(0.18, 0.26), FLOOR - radius, rng.uniform(2.5, 3.5), 0.0)
    return _scene(t, _pose(t, rng.uniform(0.3, 0.7), y))


def _constant_fall(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    y = np.minimum(rng.uniform(0.05, 0.15) + rng.uniform(0.3, 0.38) * t, FLOOR - radius)
    return _scene(t, _pose(t, rng.uniform(0.3, 0.7), y))


def _bounce_higher(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    top = FLOOR - radius - rng.uniform(0.12, 0.18)
    y = _falling(t, top, FLOOR - radius, rng.uniform(4.0, 5.0), rng.uniform(1.3, 1.4))
    return _scene(t, _pose(t, rng.uniform(0.4, 0.6), y))


def _camera(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    scene = _scene(t, _pose(t, rng.uniform(0.45, 0.55), rng.uniform(0.5, 0.6)))
    still, way = np.zeros_like(t), rng.choice([-1.0, 1.0])
    move = rng.choice(["pan", "tilt", "zoom"])
    if move == "zoom":
        return Trajectory(scene.bodies, still, still, np.exp(way * rng.uniform(0.25, 0.35) * (t - 1)))
    shift = way * rng.uniform(0.2, 0.28) * (t - 1)
    return Trajectory(scene.bodies, shift if move == "pan" else still, shift if move == "tilt" else still, still + 1)


def _static(t: Array, radius: float, rng: np.random.Generator) -> Trajectory:
    return _scene(t, _pose(t, rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.7)))


_P, _C = Kind.PHYSICAL, Kind.CARTOON
MOTIONS: tuple[Motion, ...] = (
    Motion("compress", _P, ("is compressed on the floor", "is pressed flat on the floor"), _compress),
    Motion("bounce", _P, ("bounces on the floor", "drops and bounces up again and again"), _bounce),
    Motion("roll", _P, ("rolls along the floor", "rolls across the floor"), _roll),
    Motion("explode", _P, ("explodes into pieces", "bursts apart"), _explode),
    Motion("float", _P, ("floats up into the air", "floats upwards like a balloon"), _float),
    Motion("free_fall", _P, ("falls freely to the floor", "drops faster and faster to the floor"), _free_fall),
    Motion("slide", _P, ("slides along the floor and stops", "slides over the floor to a halt"), _slide),
    Motion("spin", _P, ("spins in place", "spins around its centre"), _spin),
    Motion("stretch", _P, ("is stretched sideways", "is stretched longer and longer"), _stretch),
    Motion("swing", _P, ("swings on a string", "swings from side to side like a pendulum"), _swing),
    Motion(
        "hover_then_fall", _C, ("hangs in the air, then falls", "stays in mid-air and then drops"), _hover_then_fall
    ),
    Motion(
        "constant_fall", _C, ("sinks to the floor at a steady speed", "comes down at an even speed"), _constant_fall
    ),
    Motion("bounce_higher", _C, ("bounces higher each time", "bounces higher and higher"), _bounce_higher),
    Motion("camera", Kind.CAMERA, ("while the camera moves", "seen by a moving camera"), _camera),
    Motion("static", Kind.STATIC, ("does not move", "stands still"), _static),
)

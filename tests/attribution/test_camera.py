"""The camera's own motion, and when it can be told from that of what it shows."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from motiontrace.attribution.camera import camera_displacement, camera_motion, stabilised
from motiontrace.attribution.motion import clip_weight, flow_confidence, motion_magnitude, summarise
from motiontrace.attribution.recipe import MotionSettings
from motiontrace.demo.looks import Look
from motiontrace.demo.motions import MOTIONS
from motiontrace.demo.render import render
from tests.attribution.test_motion import square, texture

KEEP, COMPENSATE = MotionSettings(), MotionSettings(camera="compensate")
WALL = texture(256)
PATCH = texture(32, seed=5) // 2 + 127
PLAIN = np.full_like(WALL, 120)
Camera = Callable[[int], np.ndarray]
"""Frame to the 2 x 3 matrix that takes a pixel of it to the wall."""


def pan(x: float, y: float = 0.0) -> Camera:
    return lambda index: np.float64([[1, 0, 60 + x * index], [0, 1, 60 + y * index]])


def about_the_middle(zoom: float = 1.0, roll: float = 0.0) -> Camera:
    def look(index: int) -> np.ndarray:
        angle, scale = roll * index, zoom**index
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.column_stack([turn, 128 - turn @ [64, 64]])

    return look


def film(
    camera: Camera,
    wall: np.ndarray = WALL,
    thing: Callable[[int], tuple[int, int]] | None = None,
    patch: np.ndarray = PATCH,
    noise: float = 0.0,
    frames: int = 5,
) -> np.ndarray:
    """Frames of 128x128 of the wall and of a thing whose place in the picture is given: uint8 [F, 128, 128, 3]."""
    rng, film = np.random.default_rng(0), []
    for index in range(frames):
        frame = cv2.warpAffine(wall, camera(index), (128, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        if thing is not None:
            left, top = thing(index)
            room = frame[top : top + len(patch), left : left + len(patch)]
            room[:] = patch[: room.shape[0], : room.shape[1]]
        film.append(np.clip(frame + rng.normal(0, noise, frame.shape), 0, 255).astype(np.uint8))
    return np.stack(film)


def moves(frames: np.ndarray, settings: MotionSettings) -> bool:
    return summarise(motion_magnitude(frames, settings), settings).moves


@pytest.mark.parametrize("noise", [0.0, 4.0])
@pytest.mark.parametrize(
    "camera",
    [pan(2), pan(0.4, 0.3), pan(7, 5), about_the_middle(1.04), about_the_middle(0.96), about_the_middle(roll=0.04)],
    ids=["pan", "drift", "fast", "zoom out", "zoom in", "roll"],
)
def test_a_clip_in_which_only_the_camera_moves_has_no_motion(camera: Camera, noise: float) -> None:
    frames = film(camera, noise=noise)
    assert moves(frames, KEEP)
    assert not moves(frames, COMPENSATE)


@pytest.mark.parametrize("wall", [WALL, PLAIN], ids=["textured", "plain"])
@pytest.mark.parametrize("noise", [2.0, 8.0])
def test_noise_before_a_camera_that_stands_still_is_no_motion(wall: np.ndarray, noise: float) -> None:
    assert not moves(film(pan(0), wall, noise=noise, frames=9), COMPENSATE)


def test_the_thing_before_a_moving_camera_keeps_its_own_motion() -> None:
    """It goes right by 4 pixels in the picture while the wall goes left by 2: by 6 before the wall."""
    frames = film(pan(2), thing=lambda index: (30 + 4 * index, 50), frames=6)
    kept, compensated = (motion_magnitude(frames, settings) for settings in (KEEP, COMPENSATE))
    for index, frame in enumerate(compensated):
        left = 30 + 4 * index
        assert np.median(frame[56:76, left + 6 : left + 26]) == pytest.approx(6, rel=0.15)
        assert np.median(frame[:40]) == 0 and np.median(frame[90:]) == 0
    rows = slice(46, 86)
    assert compensated[:, rows].sum() > 0.95 * compensated.sum()
    assert kept[:, rows].sum() < 0.5 * kept.sum()


def test_a_thing_that_the_camera_follows_moves() -> None:
    """In the picture it stands still and the wall runs past it."""
    frames = film(pan(3), thing=lambda index: (50, 50))
    magnitude = motion_magnitude(frames, COMPENSATE)
    assert np.median(magnitude[2, 56:76, 56:76]) == pytest.approx(3, rel=0.15)
    assert np.median(magnitude[2, :40]) == 0


@pytest.mark.parametrize(
    "frames",
    [
        film(pan(0), thing=lambda index: (30 + 4 * index, 50)),
        film(pan(0), thing=lambda index: (30 + 4 * index, 50), noise=4.0),
        film(pan(0), PLAIN, thing=lambda index: (30 + 4 * index, 50)),
        film(pan(0), PLAIN, thing=lambda index: (4 + 3 * index, 16), patch=texture(96, seed=5)),
        film(pan(0), thing=lambda index: (4 + 3 * index, 16), patch=texture(96, seed=5)),
        film(pan(0), PLAIN, thing=lambda index: (10 + 3 * index, 60), patch=texture(96, seed=5)),
    ],
    ids=["textured", "noisy", "plain", "large, plain wall", "large, textured wall", "large at an edge"],
)
def test_where_the_camera_stands_still_nothing_changes(frames: np.ndarray) -> None:
    """Also where what is seen to move is the thing alone, which a fit would follow."""
    kept = motion_magnitude(frames, KEEP)
    assert summarise(kept, KEEP).moves
    assert np.array_equal(kept, motion_magnitude(frames, COMPENSATE))


@pytest.mark.parametrize("motion", [motion for motion in MOTIONS if motion.name != "camera"], ids=lambda m: m.name)
def test_things_before_the_demos_plain_walls_keep_their_motion(motion) -> None:
    rng = np.random.default_rng(1)
    frames = [cv2.resize(frame, (128, 128)) for frame in render(motion, Look.draw(rng), rng)[::4]]
    kept, compensated = (motion_magnitude(np.stack(frames), settings) for settings in (KEEP, COMPENSATE))
    assert np.array_equal(kept, compensated)


def test_the_camera_is_found_and_taken_back() -> None:
    here, there = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in film(about_the_middle(1.05, 0.03), frames=2))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(here, there, None)
    found = camera_motion(here, flow)
    inverse = cv2.invertAffineTransform(about_the_middle(1.05, 0.03)(1))
    # A pixel of the first picture lies 64 further on the wall, and from there the second camera has it at its inverse.
    expected = np.column_stack([inverse[:, :2], inverse @ [64, 64, 1]])
    corners = np.array([[0, 0, 1], [127, 0, 1], [0, 127, 1], [127, 127, 1]])
    assert np.abs(corners @ (found - expected).T).max() < 0.5
    assert camera_displacement(found, 128, 128)[127, 0] == pytest.approx(
        np.linalg.norm(found @ [0, 127, 1] - [0, 127]), rel=1e-5
    )
    back = stabilised(there, here, found)
    assert np.abs(back.astype(int) - here)[8:-8, 8:-8].mean() < 0.25 * np.abs(there.astype(int) - here).mean()
    assert camera_motion(here, np.zeros_like(flow)) is None


def test_what_left_the_picture_is_taken_as_it_was() -> None:
    here, there = np.full((64, 64), 10, np.uint8), np.full((64, 64), 200, np.uint8)
    back = stabilised(there, here, np.float64([[1, 0, -20], [0, 1, 0]]))
    assert (back[:, :20] == 10).all() and (back[:, 20:] == 200).all()


def test_confidence_is_high_where_flow_agrees_and_low_where_something_is_covered() -> None:
    frames = square([12.0 * index for index in range(4)])
    confidence = flow_confidence(frames, MotionSettings(confidence="forward_backward"))
    assert confidence.shape == (4, 128, 128) and confidence.dtype == np.float32
    assert confidence.min() >= 0 and confidence.max() <= 1
    assert np.median(confidence[1, 54:74, 42:62]) > 0.9  # on the square, which goes on
    assert np.median(confidence[1, :30]) > 0.99  # on the wall
    assert np.median(confidence[1, 54:74, 70:78]) < 0.2  # on the wall that it covers next
    assert (flow_confidence(frames[:1], MotionSettings()) == 1).all()


def test_the_weight_is_by_flow_by_flow_and_confidence_or_one() -> None:
    frames = square([12.0 * index for index in range(4)])
    magnitude = motion_magnitude(frames, KEEP)
    by_flow = clip_weight(frames, magnitude, KEEP)
    settings = MotionSettings(confidence="forward_backward")
    assert np.array_equal(clip_weight(frames, magnitude, settings), by_flow * flow_confidence(frames, settings))
    assert (clip_weight(frames, magnitude, MotionSettings(weight="none"), query=True) == 1).all()
    asking = MotionSettings(weight="query")
    assert (clip_weight(frames, magnitude, asking) == 1).all()
    assert np.array_equal(clip_weight(frames, magnitude, asking, query=True), by_flow)
    on_square, covered = (slice(54, 74), slice(42, 62)), (slice(54, 74), slice(70, 78))
    kept = [
        (clip_weight(frames, magnitude, settings)[1][place] / by_flow[1][place]).mean()
        for place in (on_square, covered)
    ]
    assert kept[0] > 0.8 and kept[1] < 0.5

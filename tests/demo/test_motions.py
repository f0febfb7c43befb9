"""The demo's physics is what its names say, and nothing of a look depends on it."""

import numpy as np
import pytest

from motiontrace.demo.corpus import CorpusSettings, _draw
from motiontrace.demo.looks import BACKGROUNDS, COLOURS, PALETTES, SHAPES
from motiontrace.demo.motions import FLOOR, MOTIONS, Kind

TIMES = np.linspace(0, 2, 201)
RADIUS = 0.17
BY_NAME = {motion.name: motion for motion in MOTIONS}


def heights(name, seed):
    """Height of the centre above its resting place on the floor, over time."""
    (body,) = BY_NAME[name].move(TIMES, RADIUS, np.random.default_rng(seed)).bodies
    return FLOOR - RADIUS - body.y


def peaks(height):
    inner = (height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:])
    return height[1:-1][inner]


def test_there_are_the_ten_motions_and_three_cartoon_ones():
    physical = {motion.name for motion in MOTIONS if motion.kind is Kind.PHYSICAL}
    assert physical == {
        "compress",
        "bounce",
        "roll",
        "explode",
        "float",
        "free_fall",
        "slide",
        "spin",
        "stretch",
        "swing",
    }
    assert sum(motion.kind is Kind.CARTOON for motion in MOTIONS) == 3
    assert {"camera", "static"} <= BY_NAME.keys()


@pytest.mark.parametrize("seed", range(5))
def test_free_fall_is_evenly_accelerated_until_the_floor(seed):
    height = heights("free_fall", seed)
    flying = height[height > 1e-6]
    acceleration = np.diff(flying, 2)[:-2] / (TIMES[1] - TIMES[0]) ** 2
    assert len(flying) > 50
    assert np.allclose(acceleration, acceleration[0], rtol=1e-4)
    assert acceleration[0] < 0


@pytest.mark.parametrize("seed", range(5))
def test_bounces_lose_height_and_cartoon_bounces_gain_it(seed):
    real, cartoon = peaks(heights("bounce", seed)), peaks(heights("bounce_higher", seed))
    assert len(real) >= 2
    assert (np.diff(real) < 0).all()
    assert len(cartoon) >= 2
    assert (np.diff(cartoon) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_cartoon_falls_break_gravity(seed):
    steady = heights("constant_fall", seed)
    speed = np.diff(steady[steady > 1e-6])[:-2]
    assert np.allclose(speed, speed[0])
    hovering = heights("hover_then_fall", seed)
    assert np.allclose(hovering[TIMES < 0.9], hovering[0])
    assert hovering[-1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_rolling_does_not_slip_and_sliding_does_not_turn(seed):
    (rolling,) = BY_NAME["roll"].move(TIMES, RADIUS, np.random.default_rng(seed)).bodies
    assert np.allclose(np.diff(rolling.angle) * RADIUS, np.diff(rolling.x))
    (sliding,) = BY_NAME["slide"].move(TIMES, RADIUS, np.random.default_rng(seed)).bodies
    assert (sliding.angle == 0).all()
    assert abs(sliding.x[-1] - sliding.x[-2]) < abs(sliding.x[1] - sliding.x[0])


def test_looks_are_drawn_independently_of_motion():
    """Every motion shows every colour, background and shape about equally often (chi-square, 1 in 10,000)."""
    from scipy.stats import chi2_contingency

    looks = [(m, _draw("train", m, n, CorpusSettings())[1]) for m in range(len(MOTIONS)) for n in range(200)]
    colours, backgrounds = PALETTES["standard"]
    for name, values in {"colour": list(colours), "background": list(backgrounds), "shape": list(SHAPES)}.items():
        table = np.zeros((len(MOTIONS), len(values)))
        for motion, look in looks:
            table[motion, values.index(getattr(look, name))] += 1
        assert table.min() > 0
        assert chi2_contingency(table).pvalue > 1e-4, name


def test_palettes_have_no_colour_or_background_in_common():
    """What is confirmed on another palette has been seen in none of its colours."""
    for place, names in enumerate((COLOURS, BACKGROUNDS)):
        told = [name for palette in PALETTES.values() for name in palette[place]]
        assert sorted(told) == sorted(names)
        assert len(set(told)) == len(told)

"""What people could choose clips by without any gradient: scores [Q, N] of N training clips for Q queries.

A method is worth its cost only where it predicts training better than these.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.opencv import cv2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from motiontrace.curation.evaluation.clips import Clips

_ORIENTATIONS = (
    8  # as in histograms of optical flow: Laptev et al., "Learning realistic human actions from movies", 2008
)
_STILL = 0.25  # pixels: less is no motion, and counts in no direction


def same_group(train: Sequence[str], queries: Sequence[str]) -> NDArray[np.float64]:
    """1 where a clip is of the query's motion, 0 elsewhere: the scores of a perfect classifier of motions."""
    return (np.asarray(queries)[:, None] == np.asarray(train)[None, :]).astype(np.float64)


def same_group_first(train: Sequence[str], queries: Sequence[str], seed: int) -> NDArray[np.float64]:
    """`same_group` with ties broken at random: where a group is too small the rest is drawn."""
    ties = np.random.default_rng(seed).uniform(0, 0.5, (len(queries), len(train)))
    return same_group(train, queries) + ties


def motion_magnitude(train: Clips, queries: Clips) -> NDArray[np.float64]:
    """How much a clip moves, whatever the query."""
    amount = np.array([clip.motion.mean for clip in train.prepared])
    return np.tile(amount, (len(queries), 1))


def caption_neighbours(train: Clips, queries: Clips) -> NDArray[np.float64]:
    """Cosine of the captions' embeddings by the model's own text encoder, the mean over tokens, centred."""
    means = [clips.prompt.double().mean(1).numpy() for clips in (train, queries)]
    centre = means[0].mean(0)
    return _cosines(means[1] - centre, means[0] - centre)


def flow_neighbours(train: Clips, queries: Clips) -> NDArray[np.float64]:
    """Cosine of histograms of optical flow, one histogram for each pair of frames: how clips move, without a model."""
    return _cosines(*(np.stack([_histograms(clip.frames) for clip in c.prepared]) for c in (queries, train)))


def random_scores(train: Clips, queries: Clips, seed: int) -> NDArray[np.float64]:
    """Random scores from a normal distribution."""
    return np.random.default_rng(seed).standard_normal((len(queries), len(train)))


def _histograms(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[(F - 1) * 8]: the flow's lengths summed by direction, for each pair of frames of uint8 [F, H, W, 3]."""
    scale = max(1, -(-128 // min(frames.shape[1:3])))
    size = frames.shape[2] * scale, frames.shape[1] * scale
    grey = [cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_CUBIC) for f in frames]
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    histograms = []
    for here, there in pairwise(grey):
        flow = estimator.calc(here, there, None)
        length = np.hypot(flow[..., 0], flow[..., 1])
        angle = np.arctan2(flow[..., 1], flow[..., 0])
        bins = np.round(angle / (2 * np.pi) * _ORIENTATIONS).astype(int) % _ORIENTATIONS
        moving = length > _STILL
        histograms.append(np.bincount(bins[moving], length[moving], minlength=_ORIENTATIONS))
    return np.concatenate(histograms)


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = [np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]
    unit = [
        np.divide(v, length, out=np.zeros_like(v), where=length > 0) for v, length in zip((a, b), lengths, strict=True)
    ]
    return unit[0] @ unit[1].T

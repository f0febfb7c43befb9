"""Where the moving object is in each frame of a video of one camera that stands still.

What differs from the background is the object: the largest connected piece, its centre weighted by how much of each
pixel it covers. An object that the picture's edge cuts is placed by what is seen of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.opencv import cv2
from motiontrace.curation.comparison.background import background
from motiontrace.curation.comparison.scaling import scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORT_SIDE = 128  # pixels: smaller frames are enlarged to it
LEAST_DIFFERENCE = 12.0  # grey levels from the background; what differs by less is not seen
NOISE = 4.0  # or so many times the picture's median difference
BRIDGE = 1 / 11  # of the short side: gaps up to this within the object (a stripe in the wall's colour) are closed
THIN = 1 / 12  # of the short side: what is thinner (a string) is not the object
LEAST_AREA = 0.001  # of the picture: smaller things are noise
LARGEST_AREA = 0.6  # of the picture: where more differs the camera has moved, or the scene has changed
SUBPIXEL = 0.25  # pixels: step of the search for the centre of an object that is cut
SURE = 0.25  # confidence: frames that the tracking is less sure of are not gone by
LEAST_FOLLOWED = 0.5  # of the frames: where it is sure of fewer, it has failed


@dataclass(frozen=True)
class Track:
    """The object in F frames; NaN in frames in which none is found.

    Lengths are in frame heights, from the top left corner, x to the right and y down.

    Attributes:
        x, y: its centre, float64 [F].
        width, height: of the bounding box of what is seen of it, float64 [F].
        area: of what is seen of it, float64 [F], square frame heights.
        cut: bool [F]: it reaches over the picture's edge, and its centre is estimated from the rest.
        confidence: float64 [F], 0 to 1: the share of all that differs from the background that is this object, times
            how near its area is to what it usually is. 0 where none is found.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    area: NDArray[np.float64]
    cut: NDArray[np.bool_]
    confidence: NDArray[np.float64]

    @property
    def found(self) -> float:
        """Share of the frames in which the object is found, 0 to 1."""
        return float(np.mean(self.confidence > 0))

    @property
    def failed(self) -> bool:
        """Whether the track is of no use: it is sure of the object in under half of the frames."""
        return float(np.mean(self.confidence >= SURE)) < LEAST_FOLLOWED

    @property
    def area_variation(self) -> float | None:
        """Standard deviation of the object's area over its mean: 0, it stays one thing.

        Over the frames in which it is found and not cut; None where those are under two.
        """
        areas = self.area[(self.confidence > 0) & ~self.cut]
        return float(np.std(areas) / np.mean(areas)) if len(areas) > 1 else None


def track_object(frames: NDArray[np.uint8]) -> Track:
    """Follows the largest thing that moves: RGB uint8 [F, H, W, 3] of a camera that stands still."""
    pictures = np.stack([cv2.blur(frame, (3, 3)) for frame in scaled(frames, SHORT_SIDE)])
    behind = background(pictures)
    high = pictures.shape[1]
    seen = [_seen(picture, behind) for picture in pictures]
    whole = [piece for piece in seen if piece is not None and not piece.cut]
    usual = float(np.median([piece.area for piece in whole or [piece for piece in seen if piece is not None]] or [0]))
    outline = _Outline(whole)
    measured = np.full((7, len(seen)), np.nan)
    measured[5:] = 0
    for index, piece in enumerate(seen):
        if piece is None:
            continue
        across, down = outline.centre(piece) if piece.cut else piece.centre
        likely = min(piece.area, usual) / max(piece.area, usual)
        measured[:, index] = (
            across / high,
            down / high,
            piece.width / high,
            piece.height / high,
            piece.area / high**2,
            piece.cut,
            piece.share * likely,
        )
    x, y, width, height, area, cut, confidence = measured
    return Track(x, y, width, height, area, cut.astype(bool), confidence)


@dataclass(frozen=True)
class _Piece:
    """What is seen of the object in one frame: how much of each pixel it covers, float32 [H, W], 0 to 1; pixels."""

    covered: NDArray[np.float32]
    area: float
    share: float  # of all that differs from the background
    left: int
    top: int
    width: int
    height: int

    @property
    def cut_rows(self) -> bool:
        return self.top == 0 or self.top + self.height == self.covered.shape[0]

    @property
    def cut_columns(self) -> bool:
        return self.left == 0 or self.left + self.width == self.covered.shape[1]

    @property
    def cut(self) -> bool:
        return self.cut_rows or self.cut_columns

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of what is seen; the middle of the first pixel is 0.5."""
        rows, columns = self.covered.sum(axis=1), self.covered.sum(axis=0)
        return _middle(columns), _middle(rows)


def _middle(line: NDArray[np.float32]) -> float:
    return float((line * (np.arange(len(line)) + 0.5)).sum() / line.sum())


def _disc(share: float, side: int) -> NDArray[np.uint8]:
    diameter = 2 * round(share * side / 2) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))


def _seen(picture: NDArray[np.uint8], behind: NDArray[np.float32]) -> _Piece | None:
    """The object in one picture [H, W, 3]; None where nothing that could be it differs from what is behind."""
    difference = np.abs(picture - behind).max(axis=2)
    least = max(LEAST_DIFFERENCE, NOISE * float(np.median(difference)))
    height, width = difference.shape
    side = min(height, width)
    margin = round(BRIDGE * side) + 1
    # With a margin, or closing would join the object to the picture's edge nearby.
    mask = np.pad((difference > least).astype(np.uint8), margin)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(BRIDGE, side))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED)
    mask = mask[margin:-margin, margin:-margin].copy()
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(THIN, side))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if not len(areas) or areas.max() < LEAST_AREA * mask.size or areas.sum() > LARGEST_AREA * mask.size:
        return None
    label = 1 + int(np.argmax(areas))
    piece = (labels == label).astype(np.uint8)
    # Inside it covers pixels whole; along its outline in part, by how far they are from the background.
    inside = cv2.erode(piece, np.ones((5, 5), np.uint8)).astype(bool)
    full = max(float(np.median(difference[piece > 0])), least)
    rim = np.clip(difference / full, 0, 1) * cv2.dilate(piece, np.ones((3, 3), np.uint8))
    covered = np.where(inside, 1.0, rim).astype(np.float32)
    left, top, wide, high = (int(value) for value in statistics[label, :4])
    return _Piece(covered, float(covered.sum()), float(areas.max() / areas.sum()), left, top, wide, high)


class _Outline:
    """What the whole object looks like, as its extent by row and by column, to place it where it is cut."""

    def __init__(self, whole: list[_Piece]) -> None:
        self._profiles: list[NDArray[np.float64]] | None = None
        if whole:
            self._half = max(whole[0].covered.shape)
            self._profiles = [np.mean([self._around(piece, axis) for piece in whole], axis=0) for axis in (0, 1)]

    def centre(self, piece: _Piece) -> tuple[float, float]:
        """(x, y) in pixels of an object that is cut; may lie outside of the picture."""
        x, y = piece.centre
        if self._profiles is None:
            return x, y
        if piece.cut_columns:
            x = self._placed(piece.covered.sum(axis=0), self._profiles[0], x)
        if piece.cut_rows:
            y = self._placed(piece.covered.sum(axis=1), self._profiles[1], y)
        return x, y

    def _around(self, piece: _Piece, axis: int) -> NDArray[np.float64]:
        line = piece.covered.sum(axis=axis)
        offsets = np.arange(-self._half, self._half + 1) + piece.centre[axis]
        return np.interp(offsets, np.arange(len(line)) + 0.5, line, left=0, right=0)

    def _placed(self, line: NDArray[np.float32], profile: NDArray[np.float64], near: float) -> float:
        """Where the profile's middle has to lie for the profile to match the line best."""
        places, steps = np.arange(len(line)) + 0.5, np.arange(-self._half, self._half + 1)
        reach = np.count_nonzero(profile > 0.01 * profile.max())
        tried = np.arange(near - reach, near + reach + SUBPIXEL, SUBPIXEL)
        errors = [float(((np.interp(places - centre, steps, profile) - line) ** 2).sum()) for centre in tried]
        return float(tried[int(np.argmin(errors))])

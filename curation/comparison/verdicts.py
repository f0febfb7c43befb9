"""Verdicts and remarks on the figures of a comparison, worded once for all its outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from motiontrace.curation.comparison.differences import LEAST_PROMPTS

if TYPE_CHECKING:
    from motiontrace.curation.comparison.differences import Difference
    from motiontrace.curation.comparison.measures import Measure
    from motiontrace.curation.comparison.outcome import Comparison

Verdict = Literal["better", "worse"]
LEAST_FOLLOWED_PAIRS = 0.8  # of all pairs: where more trackings fail, those that are left are no fair sample


def verdict(comparison: Comparison, measure: Measure) -> Verdict | None:
    """Whether the tuned model is better or worse by a measure; None: that cannot be told, or neither is better.

    It takes an interval on one side of zero, so pairs of `LEAST_PROMPTS` prompts or more, and of a figure that is
    read off the object's path, that both trackings worked in `LEAST_FOLLOWED_PAIRS` of all pairs.
    """
    total = comparison.totals[measure.name]
    if not measure.better or total.low is None or total.high is None or total.low <= 0 <= total.high:
        return None
    if measure.of_path and comparison.followed < LEAST_FOLLOWED_PAIRS:
        return None
    return "better" if (total.low > 0) == (measure.better > 0) else "worse"


def interval(total: Difference) -> str:
    """The interval for people; "-" where there is none."""
    return "-" if total.low is None else f"{total.low:+.3f} to {total.high:+.3f}"


def videos(total: Difference) -> str:
    """How many videos of either model have the measure."""
    return f"{total.base_videos}, {total.tuned_videos}"


def remarks(comparison: Comparison) -> list[str]:
    """What a reader has to know before the figures: too few prompts, and trackings that failed."""
    found = []
    prompts = len(comparison.prompts)
    if prompts < LEAST_PROMPTS:
        found.append(
            f"Too few to tell: {counted(prompts, 'prompt')}, and an interval and a verdict take {LEAST_PROMPTS}. "
            "More seeds do not stand in for prompts."
        )
    if any(comparison.failed.values()):
        count = len(comparison.prompts) * len(comparison.seeds)
        failed = " and ".join(f"{number} of {count} {label}" for label, number in comparison.failed.items())
        found.append(
            f"Tracking failed in {failed} videos. They have no figures of the object's path, and count as not followed."
        )
        if comparison.followed < LEAST_FOLLOWED_PAIRS:
            found.append(
                f"Both trackings worked in {comparison.followed:.0%} of the pairs. Under {LEAST_FOLLOWED_PAIRS:.0%} no "
                "verdict is given on the object's path."
            )
    return found


def counted(count: int, noun: str) -> str:
    """A number of things in words."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

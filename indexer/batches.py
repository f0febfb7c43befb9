"""The model's part for several clips at once: a clip that fails costs itself, never its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiontrace.attribution.errors import GradientError
from motiontrace.indexer.inspection import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motiontrace.attribution.engine import ClipSketch, MotionEngine, PreparedClip

SURPRISES = 10  # clips in a row that fail as none should: then it is the machine, not the clips


class Batches:
    """Sketches clips, `size` of them at once."""

    def __init__(self, engine: MotionEngine, surprises: int = SURPRISES) -> None:
        """So many `surprises` in a row are raised."""
        self.size = engine.batch
        self.broken = 0
        """Batches that failed as a whole and were computed clip by clip, which takes longer."""
        self._engine = engine
        self._allowed = surprises
        self._surprises = 0

    def sketch(self, clips: Sequence[PreparedClip], captions: Sequence[str]) -> list[ClipSketch | Failure]:
        """What each clip came to, in their order; raises what the engine does, once it is no clip's own fault."""
        found = self._together(clips, captions) if len(clips) > 1 else None
        # By now the error is gone, and with it the activations that its traceback held.
        return found or [self._alone(clip, caption) for clip, caption in zip(clips, captions, strict=True)]

    def _together(self, clips: Sequence[PreparedClip], captions: Sequence[str]) -> list[ClipSketch | Failure] | None:
        """None where the batch as a whole fails: out of memory, say, or on one clip that none of us thought of."""
        try:
            found = self._engine.sketch(clips, captions)
        except Exception:
            self.broken += 1
            return None
        self._surprises = 0
        return [_outcome(sketch) for sketch in found]

    def _alone(self, clip: PreparedClip, caption: str) -> ClipSketch | Failure:
        try:
            [sketch] = self._engine.sketch([clip], [caption])
        except Exception as error:
            self._surprises += 1
            if self._surprises >= self._allowed:
                raise
            return Failure("unexpected", f"{type(error).__name__}: {error}")
        self._surprises = 0
        return _outcome(sketch)


def _outcome(sketch: ClipSketch | GradientError) -> ClipSketch | Failure:
    return Failure("gradient", str(sketch)) if isinstance(sketch, GradientError) else sketch

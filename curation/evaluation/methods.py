"""The recipes that are held against each other, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.presets import PRESETS, merged
from motiontrace.preconditions import DAMPING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motiontrace.preconditions import Precondition


@dataclass(frozen=True)
class Method:
    """A way to score clips by gradients."""

    name: str
    reason: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the recipe over the paper's."""
    trained: bool = True
    """False: the network's weights are drawn anew, so that nothing of it was learned."""
    precondition: Precondition = "none"
    damping: float = DAMPING

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the recipe."""
        return merged(PRESETS["paper"], self.changes)


OURS = Method("motiontrace", "the default recipe", PRESETS["default"])
PAPER = Method("paper", "one timestep, motion mask")
NO_MASK = Method("no mask", "the ordinary training loss", {"motion": {"weight": "none"}})
UNTRAINED = Method("untrained network", "what the architecture says of looks", trained=False)


def _but(name: str, reason: str, **changes: Any) -> Method:
    """The default recipe but for `changes`."""
    return Method(f"motiontrace, {name}", reason, merged(PRESETS["default"], changes))


CENTRED = replace(_but("centred", "what all clips share tells none apart"), precondition="centre")

VARIANTS = (
    Method("normalised channels", "loud latent channels drown the others", {"latent_normalisation": "channels"}),
    Method("time-reversed contrast", "looks are the same backwards", {"contrast": "time_reversed"}),
    Method("frame difference", "an error that stays is one of looks", {"error": "frame_difference"}),
    Method("mask of queries alone", "training on a clip minimises its ordinary loss", {"motion": {"weight": "query"}}),
    Method("no caption", "captions name looks too", {"caption": "none"}),
    Method("attention layers", "they move things from frame to frame", {"parameters": ["*attn*"]}),
    Method("feed-forward layers", "they hold what is known", {"parameters": ["*ffn*"]}),
    Method("four timesteps", "training sees them all", {"timesteps": [300, 600, 800, 950]}),
    Method("four noises", "one noise is chance", {"noise_draws": 4}),
    Method("camera compensated", "a moving camera is no moving thing", {"motion": {"camera": "compensate"}}),
    Method("flow confidence", "flow that does not return is wrong", {"motion": {"confidence": "forward_backward"}}),
    Method("own noise", "shared noise is what all gradients have in common", {"noise": "own"}),
    Method(
        "normalised gradients", "trainers step by Adam, which evens them out", {"gradient_normalisation": "tensors"}
    ),
    Method("centred", "what all clips share tells none apart", precondition="centre"),
    Method("whitened", "frequent directions count for less", precondition="whiten"),
    _but("one timestep", "what eight cost", timesteps=[751]),
    _but("four timesteps", "half of the cost", timesteps=[400, 650, 800, 925]),
    _but("shared noise", "one noise a timestep for all clips", noise="shared"),
    _but("clips masked too", "as in the paper", motion={"weight": "flow"}),
    _but("gradients as they are", "as steps of plain gradient descent", gradient_normalisation="none"),
    CENTRED,
    replace(_but("whitened", "rare directions weigh a little more"), precondition="whiten", damping=10.0),
)

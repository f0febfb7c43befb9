"""Training by flow matching, which several families share.

At timestep t the latent is z = (1 - s) h + s e with s = t / 1000, and the target is the velocity e - h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.base import TRAIN_TIMESTEPS, Family, TimestepDraw
from motiontrace.attribution.families.documents import read_json

if TYPE_CHECKING:
    import torch

    from motiontrace.attribution.families.checkpoint import Checkpoint


class FlowMatching:
    """Noise and target of a denoiser that is trained by flow matching; see `VideoDenoiser`."""

    train_timesteps = TRAIN_TIMESTEPS

    def add_noise(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """See the protocol: the straight path from the latent to the noise."""
        import torch

        sigma = timestep / self.train_timesteps
        if isinstance(sigma, torch.Tensor):
            sigma = sigma.to(latent).view(-1, 1, 1, 1, 1)
        return (1 - sigma) * latent + sigma * noise

    def target(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """See the protocol: the velocity, the same at every timestep."""
        return noise - latent


class FlowMatchingFamily(Family):
    """A family that is trained by flow matching."""

    def check_training(self, checkpoint: Checkpoint) -> None:
        """Raises ModelError unless the checkpoint's scheduler is one of flow matching."""
        file = checkpoint.folder / "scheduler" / "scheduler_config.json"
        config = read_json(file)
        name, prediction = config.get("_class_name"), config.get("prediction_type")
        if not (isinstance(name, str) and name.startswith("FlowMatch")) and prediction != "flow_prediction":
            raise ModelError(
                f"{file} is of {name!r} with prediction_type {prediction!r}; {self.prefix} checkpoints are trained by"
                f" flow matching (flow_prediction). Is this a {self.prefix} checkpoint?"
            )

    def timesteps(self, checkpoint: Checkpoint) -> TimestepDraw:
        """Noise levels are shifted as the checkpoint's scheduler shifts them."""
        config = read_json(checkpoint.folder / "scheduler" / "scheduler_config.json")
        return {"flow_shift": config.get("flow_shift", config.get("shift", 1.0))}

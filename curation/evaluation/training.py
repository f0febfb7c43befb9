"""The experiment that predictions are held against: a short fine-tune from the base, then the held-out motion loss.

Noise is kept down where it can be. Every fine-tune takes the same number of steps on the same number of clips, under
the same timesteps and noise in every subset; each clip comes equally often; and the held-out loss is taken at the same
timesteps under the same noise. What is left, which clip meets which noise, is the seed's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from motiontrace.attribution.gradient import weighted_error
from motiontrace.curation.finetuning.objective import sample_timesteps, training_loss
from motiontrace.curation.finetuning.order import clip_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from motiontrace.attribution.families import VideoDenoiser
    from motiontrace.curation.evaluation.clips import Clips
    from motiontrace.curation.evaluation.settings import TrainingSettings
    from motiontrace.curation.finetuning.settings import TimestepSettings

_CLIP_NORM = 1.0
_HELD_OUT_BATCH = 32
_NOISE_SEED = 0x6D74  # not a recipe's: a gradient taken under the very noise of the measurement would know it


class Experiment:
    """Fine-tunes of one base model on subsets of `train`, and what they do to the clips of `held_out`."""

    def __init__(
        self,
        model: VideoDenoiser,
        train: Clips,
        held_out: Clips,
        settings: TrainingSettings,
        timesteps: TimestepSettings,
    ) -> None:
        """`timesteps` is how the model's makers draw them in training."""
        self._model, self._train, self._held_out = model, train, held_out
        self._settings, self._timesteps = settings, timesteps
        self._base = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
        self._device = next(model.denoiser.parameters()).device

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """The denoiser's weights as they are."""
        return self._model.denoiser.state_dict()

    def reset(self) -> None:
        """Brings the model back to the base."""
        self._model.denoiser.load_state_dict(self._base)
        self._model.denoiser.eval().requires_grad_(False)

    def fine_tune(self, clips: Sequence[int], seed: int) -> None:
        """Trains the base on the clips at these places; the model is left as it is after the last step."""
        self.reset()
        settings, generator = self._settings, torch.Generator().manual_seed(seed)
        denoiser = self._model.denoiser.train().requires_grad_(True)
        parameters = list(denoiser.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
        order = clip_order([1.0] * len(clips), seed)
        for step in range(settings.steps):
            places = [clips[next(order)] for _ in range(settings.batch)]
            latent, prompt = self._train.latent[places], self._train.prompt[places]
            timesteps = sample_timesteps(settings.batch, generator, self._timesteps, self._model.train_timesteps)
            noise = torch.randn(latent.shape, generator=generator)
            values = (value.to(self._device) for value in (latent, prompt, timesteps, noise))
            with self._mixed():
                loss = training_loss(self._model, *values).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _course(step, settings)
            optimizer.step()
        denoiser.eval().requires_grad_(False)

    @torch.no_grad()
    def held_out_losses(self) -> NDArray[np.float64]:
        """The motion loss of every held-out clip under the model as it is, the mean over the settings' timesteps: [Q].

        It is W (prediction - target)^2 by the paper's weight W, times F: of the size of the training loss.
        """
        clips, losses = self._held_out, []
        # RandomState is frozen by numpy's policy: figures kept today can be compared with those of other days.
        random = np.random.RandomState(_NOISE_SEED)
        timesteps = self._settings.loss_timesteps
        for part in torch.arange(len(clips)).split(_HELD_OUT_BATCH):
            total = torch.zeros(len(part), dtype=torch.float64)
            latent, prompt = clips.latent[part].to(self._device), clips.prompt[part].to(self._device)
            for timestep in timesteps:
                noise = torch.from_numpy(random.standard_normal(latent.shape).astype(np.float32)).to(self._device)
                with self._mixed():
                    prediction = self._model.predict(self._model.add_noise(latent, noise, timestep), timestep, prompt)
                target = self._model.target(latent, noise, timestep)
                total += weighted_error(prediction, target, clips.weight[part]).mean((1, 2, 3, 4)).double().cpu()
            losses.append(total / len(timesteps))
        return torch.cat(losses).numpy()

    def _mixed(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16)


def _course(step: int, settings: TrainingSettings) -> float:
    """Share of the learning rate at a step: up over the warm-up, then down to nothing."""
    return min(1.0, (step + 1) / max(1, settings.warmup)) * (1 - step / settings.steps)

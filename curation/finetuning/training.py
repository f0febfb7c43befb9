"""The steps of a run, on one device or on many through accelerate."""

from __future__ import annotations

import time
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

import torch

from motiontrace.attribution.errors import GradientError
from motiontrace.curation.finetuning.checkpoints import TrainingState
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.curation.finetuning.objective import sample_timesteps, training_loss
from motiontrace.curation.finetuning.optimizer import make_optimizer
from motiontrace.curation.finetuning.order import clip_order, draw_generator, step_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accelerate import Accelerator

    from motiontrace.attribution.families import VideoDenoiser
    from motiontrace.curation.finetuning.checkpoints import Checkpoints
    from motiontrace.curation.finetuning.clips import WeightedClip
    from motiontrace.curation.finetuning.encoding import EncodedClips
    from motiontrace.curation.finetuning.settings import CheckpointSettings, FinetuneSettings

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class Objective(torch.nn.Module):
    """The training loss as a module around the denoiser: what accelerate wraps for many devices and mixed precision."""

    def __init__(self, model: VideoDenoiser) -> None:
        super().__init__()
        self.denoiser = model.denoiser
        self._model = model

    def forward(
        self, latent: torch.Tensor, prompt: torch.Tensor, timesteps: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """As `training_loss`: float32 [B]."""
        return training_loss(self._model, latent, prompt, timesteps, noise)


class Draws:
    """The clips of a run as they are drawn, with the timestep, caption and noise of each."""

    def __init__(
        self,
        clips: Sequence[WeightedClip],
        encoded: EncodedClips,
        settings: FinetuneSettings,
        train_timesteps: int,
        first: int = 0,
    ) -> None:
        """`first` is the number of draws before the first one."""
        self._clips, self._encoded, self._settings = clips, encoded, settings
        self._train_timesteps, self._next = train_timesteps, first
        self._order = clip_order([clip.weight for clip in clips], settings.seed, first)

    def take(self, count: int) -> list[tuple[int, WeightedClip]]:
        """The next `count` draws: each one's number and clip."""
        first, self._next = self._next, self._next + count
        return list(enumerate((self._clips[place] for place in islice(self._order, count)), first))

    def load(self, draws: Sequence[tuple[int, WeightedClip]]) -> Batch:
        """Latents [B, C, f, h, w], prompt embeddings [B, L, D], timesteps [B] and noise as latents, on the CPU."""
        settings = self._settings
        latents = self._encoded.latents([clip for _, clip in draws])
        captions, timesteps, noise = [], [], torch.empty_like(latents)
        for sample, (number, clip) in zip(noise, draws, strict=True):
            generator = draw_generator(settings.seed, number)
            timesteps.append(sample_timesteps(1, generator, settings.timesteps, self._train_timesteps))
            dropped = torch.rand(1, generator=generator).item() < settings.caption_dropout_p
            captions.append("" if dropped else clip.caption)
            sample.normal_(generator=generator)
        return latents, self._encoded.prompts(captions), torch.cat(timesteps), noise


def train(
    model: VideoDenoiser,
    clips: Sequence[WeightedClip],
    encoded: EncodedClips,
    settings: FinetuneSettings,
    accelerator: Accelerator,
    checkpoints: Checkpoints,
    when: CheckpointSettings,
    on_step: Callable[[int, float, float], None],
    stop: Callable[[], bool],
) -> TrainingState:
    """Trains the denoiser's parameters that require gradients, from the latest checkpoint on, to the last step.

    `on_step` is called with the number of steps done, the last one's mean loss and its learning rate. `stop` is called
    after every step: once it returns True, a checkpoint is written and KeyboardInterrupt raised. Raises GradientError
    where a gradient is not finite, FinetuningError where a pass does not fit into memory or a checkpoint is damaged.
    """
    trained = {name: each for name, each in model.denoiser.named_parameters() if each.requires_grad}
    optimizer, schedule = make_optimizer(trained.values(), settings.optimizer, settings.train_steps)
    state = checkpoints.latest()
    if state is not None:
        _restore(trained, state)
        optimizer.load_state_dict(state.optimizer)
        schedule.load_state_dict(state.schedule)
    first, losses, before = (state.step, list(state.losses), state.seconds) if state else (0, [], 0.0)
    objective = accelerator.prepare(Objective(model))
    objective.train()
    count = settings.draws(accelerator.num_processes)
    draws = Draws(clips, encoded, settings, model.train_timesteps, first * count)
    start = saved = time.monotonic()

    def reached(step: int) -> TrainingState:
        seconds = before + time.monotonic() - start
        return TrainingState(step, losses, seconds, trained, optimizer.state_dict(), schedule.state_dict())

    for step in range(first, settings.train_steps):
        torch.manual_seed(step_seed(settings.seed, step, accelerator.process_index))
        drawn = draws.take(count)
        try:
            loss = _backward(objective, draws, drawn, settings, accelerator)
        except torch.OutOfMemoryError as error:
            raise FinetuningError(
                f"a step does not fit into the memory of {accelerator.device}: {error} Give --gradient-checkpointing, a"
                " smaller --batch-size with as many more --gradient-accumulation-steps, --mixed-precision bf16,"
                " --training-type lora, or smaller clips."
            ) from error
        length = torch.nn.utils.clip_grad_norm_(trained.values(), settings.optimizer.max_grad_norm)
        if not torch.isfinite(length):
            names = ", ".join(sorted({clip.name for _, clip in drawn}))
            raise GradientError(
                f"the gradient of step {step + 1} is not finite; its clips: {names}. Try a lower --learning-rate or"
                " --mixed-precision no; if it is always the same clip, leave that out. Checkpoints are from before."
            )
        rate = float(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        # One exchange a step: all processes see the same loss, and stop at the same step.
        heard = accelerator.gather(torch.stack([loss, loss.new_tensor(float(stop()))])[None])
        losses.append(heard[:, 0].mean().item())
        stopping = bool(heard[:, 1].any())
        done = step + 1
        if accelerator.is_main_process:
            late = time.monotonic() - saved > 60 * when.checkpointing_minutes
            if stopping or late or done % when.checkpointing_steps == 0 or done == settings.train_steps:
                checkpoints.save(reached(done))
                saved = time.monotonic()
        on_step(done, losses[-1], rate)
        if stopping and done < settings.train_steps:
            raise KeyboardInterrupt
    return reached(max(first, settings.train_steps))


def _backward(
    objective: torch.nn.Module,
    draws: Draws,
    drawn: Sequence[tuple[int, WeightedClip]],
    settings: FinetuneSettings,
    accelerator: Accelerator,
) -> torch.Tensor:
    """Leaves the mean gradient over all processes' draws in the parameters; returns this process's mean loss, []."""
    passes, size = settings.gradient_accumulation_steps, settings.batch_size
    total = torch.zeros((), device=accelerator.device)
    for number in range(passes):
        place = (number * accelerator.num_processes + accelerator.process_index) * size
        batch = [tensor.to(accelerator.device) for tensor in draws.load(drawn[place : place + size])]
        # Processes exchange their gradients in the last pass only.
        with accelerator.no_sync(objective) if number < passes - 1 else nullcontext():
            loss: torch.Tensor = objective(*batch).mean() / passes
            accelerator.backward(loss)
        total += loss.detach()
    return total


@torch.no_grad()
def _restore(trained: dict[str, torch.nn.Parameter], state: TrainingState) -> None:
    shapes = [{name: tensor.shape for name, tensor in each.items()} for each in (trained, state.weights)]
    if shapes[0] != shapes[1]:
        raise FinetuningError(
            f"the checkpoint of step {state.step} is not of this model: its trained parameters are others. Give another"
            " --output, or delete the checkpoints."
        )
    for name, parameter in trained.items():
        parameter.copy_(state.weights[name])

"""motiontrace finetune: a checkpoint trained on the clips of a manifest."""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from motiontrace.commands import finetune_options as options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.options import Device, Fps, Frames, Height, Model, Strict, Width, given
from motiontrace.commands.stopping import Terminated, resumable


def finetune(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="What motiontrace select writes, or any CSV, JSONL or Parquet file or folder with metadata.jsonl."
            " Columns: video, caption, optional weight: how often a clip is drawn, 1 as often as others, 0 never."
        ),
    ],
    model: Model,
    output: options.Output,
    training_type: options.TrainingType = None,
    noise_level: options.NoiseLevel = None,
    height: Height = None,
    width: Width = None,
    frames: Frames = None,
    fps: Fps = None,
    train_steps: options.TrainSteps = None,
    batch_size: options.BatchSize = None,
    gradient_accumulation_steps: options.GradientAccumulationSteps = None,
    gradient_checkpointing: options.GradientCheckpointing = None,
    mixed_precision: options.MixedPrecision = None,
    rank: options.Rank = None,
    lora_alpha: options.LoraAlpha = None,
    target_modules: options.TargetModules = None,
    learning_rate: options.LearningRate = None,
    lr_scheduler: options.LrScheduler = None,
    lr_warmup_steps: options.LrWarmupSteps = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    weight_decay: options.WeightDecay = None,
    epsilon: options.Epsilon = None,
    max_grad_norm: options.MaxGradNorm = None,
    flow_weighting_scheme: options.FlowWeightingScheme = None,
    flow_logit_mean: options.FlowLogitMean = None,
    flow_logit_std: options.FlowLogitStd = None,
    flow_shift: options.FlowShift = None,
    caption_dropout_p: options.CaptionDropoutP = None,
    seed: options.Seed = None,
    checkpointing_steps: options.CheckpointingSteps = None,
    checkpointing_minutes: options.CheckpointingMinutes = None,
    checkpoints_total_limit: options.CheckpointsTotalLimit = None,
    cache: options.Cache = None,
    strict: Strict = False,
    device: Device = None,
    json: AsJson = False,
) -> None:
    """Fine-tune a checkpoint on a manifest: a LoRA, or the whole denoiser, that diffusers loads.

    Ctrl-C saves a checkpoint and stops; the same command again goes on from there, as it does after a crash. On many
    GPUs: accelerate launch --multi_gpu -m motiontrace finetune ...
    """
    from motiontrace.attribution.families import find_checkpoint
    from motiontrace.curation.finetuning.clips import read_clips

    # The run looks at both itself; here it is before torch is loaded, which takes seconds.
    read_clips(manifest, strict=strict)
    find_checkpoint(model)
    from motiontrace.commands.finetuning import Heard, Silent, finetuned_document, print_finetuned
    from motiontrace.curation.finetuning.checkpoints import CheckpointSettings
    from motiontrace.curation.finetuning.run import finetune as run

    settings = given(
        training_type=training_type,
        noise_level=noise_level,
        height=height,
        width=width,
        frames=frames,
        fps=fps,
        train_steps=train_steps,
        batch_size=batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps,
        gradient_checkpointing=gradient_checkpointing,
        mixed_precision=mixed_precision,
        rank=rank,
        lora_alpha=lora_alpha,
        target_modules=target_modules or None,
        learning_rate=learning_rate,
        lr_scheduler=lr_scheduler,
        lr_warmup_steps=lr_warmup_steps,
        beta1=beta1,
        beta2=beta2,
        weight_decay=weight_decay,
        epsilon=epsilon,
        max_grad_norm=max_grad_norm,
        flow_weighting_scheme=flow_weighting_scheme,
        flow_logit_mean=flow_logit_mean,
        flow_logit_std=flow_logit_std,
        flow_shift=flow_shift,
        caption_dropout_p=caption_dropout_p,
        seed=seed,
    )
    when = CheckpointSettings(
        **given(
            checkpointing_steps=checkpointing_steps,
            checkpointing_minutes=checkpointing_minutes,
            checkpoints_total_limit=checkpoints_total_limit,
        )
    )
    console = Console(stderr=json, width=max(Console().width, 120) if not Console().is_terminal else None)
    main = int(os.environ.get("RANK", "0")) == 0  # of the processes of accelerate launch
    listener: Heard | Silent = Heard(console, manifest) if main else Silent()
    kept = f"Clips that are encoded, and the last checkpoint, are kept in {output}."
    with resumable(kept) if main else nullcontext(), listener, _Stop(console, listener) as stop:
        finetuned = run(
            manifest,
            model,
            output,
            settings,
            listener,
            when=when,
            cache=cache,
            device=device,
            stop=stop,
            strict=strict,
        )
    if main and json:
        print_document(finetuned_document(output, finetuned))
    elif main:
        print_finetuned(console, output, finetuned)


class _Stop(AbstractContextManager["_Stop"]):
    """Ctrl-C or SIGTERM while a model trains: the step is finished, and a checkpoint saved. Else, or again: at once."""

    def __init__(self, console: Console, listener: object) -> None:
        self._console, self._listener = console, listener
        self._asked: KeyboardInterrupt | None = None
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self._asked is not None

    def __enter__(self) -> _Stop:
        self._before = {each: signal.signal(each, self._heard) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]
        if self._asked is not None and isinstance(error, KeyboardInterrupt):
            raise self._asked from error

    def _heard(self, number: int, frame: FrameType | None) -> None:
        stop = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if self._asked is not None or not getattr(self._listener, "training_began", False):
            raise stop
        self._asked = stop
        self._console.print("stopping after this step; once more stops at once")

"""The options of motiontrace finetune, with the names of the common trainers (diffusers' scripts, finetrainers)."""

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(name: str, text: str, default: str | bool = True) -> Any:
    return typer.Option(envvar=f"MOTIONTRACE_{name.upper()}", help=text, show_default=default)


_OF_SCHEDULER = "the checkpoint's scheduler's"

Output = Annotated[
    Path, typer.Option(help="Folder of the result, and of the run while it goes on; the same again goes on with it.")
]
Cache = Annotated[
    Path | None,
    _option("cache", "Folder of encoded clips; several runs may share it.", "in --output"),
]
TrainingType = Annotated[str | None, _option("training_type", "lora, or full: the whole denoiser.", "lora")]
NoiseLevel = Annotated[
    str | None,
    _option("noise_level", "Which transformer is trained where a checkpoint has two: high or low noise.", "none"),
]
TrainSteps = Annotated[int | None, _option("train_steps", "Steps of the optimizer.", "1000")]
BatchSize = Annotated[int | None, _option("batch_size", "Clips that each device takes at once.", "1")]
GradientAccumulationSteps = Annotated[
    int | None, _option("gradient_accumulation_steps", "Passes of --batch-size clips that make one step.", "1")
]
GradientCheckpointing = Annotated[
    bool | None,
    typer.Option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        envvar="MOTIONTRACE_GRADIENT_CHECKPOINTING",
        help="Compute activations again in the backward pass: less memory, a third slower.",
        show_default="no",
    ),
]
MixedPrecision = Annotated[
    str | None, _option("mixed_precision", "no (float32) or bf16.", "bf16 on a GPU, else no")
]  # fmt: skip
LearningRate = Annotated[float | None, _option("learning_rate", "Learning rate after the warm-up.", "1e-4")]
LrScheduler = Annotated[
    str | None, _option("lr_scheduler", "constant_with_warmup or cosine.", "constant_with_warmup")
]  # fmt: skip
LrWarmupSteps = Annotated[
    int | None, _option("lr_warmup_steps", "Steps in which the learning rate rises.", "a tenth, at most 500")
]
Beta1 = Annotated[float | None, _option("beta1", "AdamW's decay of the mean gradient.", "0.9")]
Beta2 = Annotated[float | None, _option("beta2", "AdamW's decay of the mean squared gradient.", "0.95")]
WeightDecay = Annotated[float | None, _option("weight_decay", "AdamW's weight decay.", "1e-4")]
Epsilon = Annotated[float | None, _option("epsilon", "AdamW's epsilon.", "1e-8")]
MaxGradNorm = Annotated[float | None, _option("max_grad_norm", "Longer gradients are cut to this length.", "1")]
Rank = Annotated[int | None, _option("rank", "LoRA: rank of each layer's update.", "128")]
LoraAlpha = Annotated[int | None, _option("lora_alpha", "LoRA: the update is scaled by this over the rank.", "128")]
TargetModules = Annotated[
    list[str] | None,
    _option(
        "target_modules",
        "LoRA: end of the names of layers that get an update; may be repeated.",
        "to_q to_k to_v to_out.0",
    ),
]
FlowWeightingScheme = Annotated[
    str | None,
    _option("flow_weighting_scheme", "Flow matching: timesteps logit_normal or uniform.", "logit_normal"),
]
FlowLogitMean = Annotated[float | None, _option("flow_logit_mean", "Flow matching: mean of the logit.", "0")]
FlowLogitStd = Annotated[float | None, _option("flow_logit_std", "Flow matching: its standard deviation.", "1")]
FlowShift = Annotated[float | None, _option("flow_shift", "Flow matching: shift to more noise.", _OF_SCHEDULER)]
CaptionDropoutP = Annotated[
    float | None, _option("caption_dropout_p", "Share of draws that see the empty caption.", "0")
]  # fmt: skip
Seed = Annotated[int | None, _option("seed", "Seed of everything random.", "42")]
CheckpointingSteps = Annotated[int | None, _option("checkpointing_steps", "A checkpoint after so many steps.", "500")]
CheckpointingMinutes = Annotated[
    float | None, _option("checkpointing_minutes", "A checkpoint after so many minutes.", "15")
]
CheckpointsTotalLimit = Annotated[int | None, _option("checkpoints_total_limit", "Checkpoints that are kept.", "1")]

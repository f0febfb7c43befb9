"""How an evaluation is made, and its two sizes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class TrainingSettings(BaseModel):
    """The short fine-tune that every subset gets, from the same base; frozen.

    AdamW at a learning rate so low that a model that has converged gets better on what it is shown and hardly worse on
    the rest: at three times the default the demo's model gets worse whatever it is shown, and subsets differ by less.
    """

    model_config = _FROZEN

    steps: int = Field(default=24, ge=1, le=100_000, description="Optimizer steps of a fine-tune.")
    batch: int = Field(default=16, ge=1, le=4096, description="Clips a step.")
    learning_rate: float = Field(default=3e-5, gt=0, le=1, description="AdamW's, after the warm-up.")
    warmup: int = Field(default=5, ge=0, description="Steps over which the learning rate rises; then it falls to zero.")
    loss_timesteps: tuple[float, ...] = Field(
        default=(300.0, 600.0, 800.0, 950.0),
        min_length=1,
        description="Timesteps, of 1000, over which a held-out clip's motion loss is the mean.",
    )


class EvaluationSettings(BaseModel):
    """What is measured; frozen. Defaults are the full size, which takes hours."""

    model_config = _FROZEN

    subsets: int = Field(default=32, ge=4, le=4096, description="Subsets of each of the three kinds.")
    repeats: int = Field(default=2, ge=2, le=64, description="Fine-tunes of each subset, in different orders.")
    within: int = Field(default=2, ge=1, description="Motions that subsets are drawn within; they share the subsets.")
    variants: bool = Field(default=True, description="Score by each single option of the recipe, too.")
    datamodelling: bool = Field(default=True, description="Fine-tune on subsets, for the LDS and the picture.")
    counterfactual: bool = Field(
        default=True, description="Fine-tune on what methods would choose, too: over half of the time."
    )
    random_selections: int = Field(
        default=5, ge=2, description="Random tenths, and random leavings-out, to compare with."
    )
    samples: int = Field(default=4, ge=0, description="Videos generated for each motion and selection; 0: none.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of subsets, orders and noise.")
    training: TrainingSettings = TrainingSettings()


SIZES: dict[str, EvaluationSettings] = {
    "full": EvaluationSettings(),
    "small": EvaluationSettings(
        subsets=8, within=1, variants=False, random_selections=2, samples=1, training=TrainingSettings(steps=10)
    ),
}
"""`small` runs in minutes and shows that everything works; its intervals are wide."""

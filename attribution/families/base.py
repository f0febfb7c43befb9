"""What a model family is, and what a loaded model does: all that the rest of motiontrace asks of either.

A family is one object, a `Family`, in one module of its own. It imports no model code until a model is loaded, so that
a wrong command line is refused within a second. docs/extending.md says how to add one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypedDict

from motiontrace.attribution.families.configuration import check_latent_channels, check_prompt_width

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from motiontrace.attribution.families.checkpoint import Checkpoint

TRAIN_TIMESTEPS = 1000
"""Timesteps of training of every family."""


class VideoDenoiser(Protocol):
    """A denoiser as it was trained, on latents and prompt embeddings, wherever they come from.

    Shapes: B batch, C latent channels, f h w the latent grid, L text tokens, D text width. A timestep is one number for
    all samples, or float32 [B] with one for each; it lies from 0 to `train_timesteps`.
    """

    denoiser: torch.nn.Module
    train_timesteps: int
    modulation_tables: tuple[str, ...]
    """Parameters of the denoiser with a first axis of length 1 that it adds to values whose first axis is the batch."""

    def add_noise(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """The latent at `timestep`, as the model was trained; shapes of `latent`."""
        ...

    def target(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """What the denoiser is trained to predict there; shape of `latent`."""
        ...

    def predict(self, noisy: torch.Tensor, timestep: float | torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """The denoiser's prediction, differentiable in its parameters; shape of `noisy`.

        `prompt` [B, L, D] has an embedding for each sample, [1, L, D] one for all.
        """
        ...


class VideoDiffusionModel(VideoDenoiser, Protocol):
    """A loaded checkpoint: a frozen encoder pair around a denoiser whose parameters are attributed."""

    temporal_compression: int
    """Video frames behind one latent frame (the first latent frame stands for the first video frame alone)."""

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, f, h, w) of a video of that size; raises ModelError that names the sizes that fit."""
        ...

    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [B, F, height, width, 3] -> normalised latent float32 [B, C, f, h, w], without sampling noise."""
        ...

    def encode_prompt(self, prompt: str) -> torch.Tensor:
        """Prompt -> embedding [1, L, D], L the same for every prompt, as the family's own pipeline makes it.

        All that `predict` needs of the prompt is in it: a family whose denoiser takes a mask packs it into D.
        """
        ...


@dataclass(frozen=True)
class Part:
    """A folder of a checkpoint that holds weights.

    Attributes:
        library: the one that loads it.
        class_name: of that library.
        model_type: what the configuration of a transformers part calls it; diffusers' parts name their class.
    """

    library: Literal["diffusers", "transformers"]
    class_name: str
    model_type: str | None = None

    @property
    def stem(self) -> str:
        """What the library calls the files of the weights."""
        return "model" if self.library == "transformers" else "diffusion_pytorch_model"

    @property
    def kind(self) -> tuple[str, str]:
        """The key of config.json that says what the part is, and its value."""
        if self.model_type is not None:
            return "model_type", self.model_type
        return "_class_name", self.class_name


class Key(NamedTuple):
    """A number in a part's config.json: its key, and what the library takes where the key is absent."""

    name: str
    default: int


class TimestepDraw(TypedDict, total=False):
    """How training draws timesteps, by the names of the fine-tuning's settings; what is absent has their defaults."""

    flow_weighting_scheme: Literal["logit_normal", "uniform"]
    """Density of the noise level before the shift."""
    flow_logit_mean: float
    flow_logit_std: float
    flow_shift: float
    """How far noise levels are moved to more noise; 1 is not at all."""
    whole: bool
    """Whether timesteps are whole numbers, from 0 to `TRAIN_TIMESTEPS` - 1."""


class Family(ABC):
    """All that anything asks of a model family. Subclasses set the attributes and override what differs.

    Attributes without a value here must be set. An instance has no state.
    """

    # Which checkpoints are the family's, and what they are made of.

    name: str
    """As recipes have it."""
    pipeline: str
    """diffusers' class, which `_class_name` in model_index.json names."""
    example: str
    """A checkpoint on the hub, for error messages."""
    denoisers: tuple[str, ...] = ("transformer",)
    """Folders of the denoisers. With two, the first serves noisy timesteps and the second clean ones."""
    parts: Mapping[str, Part]
    """All folders that hold weights: the denoisers first, then what encodes. A checkpoint's digest has this order."""
    tokenizers: Mapping[str, str] = {"tokenizer": "text_encoder"}
    """Folders of the tokenizers, and the part that takes the tokens of each."""
    schedule: tuple[str, ...] = ()
    """Keys of scheduler_config.json that say how noise was added in training, where it may differ. They are part of a
    checkpoint's digest."""
    given_channels: Key
    """Of the autoencoder's configuration: channels of a latent."""
    taken_channels: Key = Key("in_channels", 16)
    """Of the denoiser's: channels that it takes."""
    given_width: Key = Key("d_model", 512)
    """Of the text encoder's: numbers a token."""
    taken_width: Key
    """Of the denoiser's: numbers a token that it takes."""
    conditions: tuple[str, ...] = ()
    """Keys of the denoiser's configuration that are set where it takes more than a noisy latent and a prompt."""

    # How the pipeline generates.

    frame_rate: float
    """Frames a second at which the makers export videos."""
    float32_parts: tuple[str, ...] = ()
    """Parts that the pipeline keeps in float32, whatever its number format."""

    # How the denoiser is fine-tuned.

    lora_targets: tuple[str, ...] = ()
    """Ends of the names of the linear layers that a LoRA updates unless others are given. Empty: those that diffusers'
    transformers have in common (`target_modules`)."""

    # What people give by mistake.

    prefix: str
    """What diffusers' names of the architecture's pipelines begin with."""
    relatives: Mapping[str, str] = {}
    """Pipelines of the architecture whose denoisers were trained for more than a prompt, and what each does."""
    same_weights: tuple[str, ...] = ()
    """Pipelines that do something else with the weights of text-to-video."""
    makers_names: tuple[str, ...] = ()
    """What names of tensors begin with in the makers' own layout."""
    converter: str
    """diffusers' script that converts the makers' layout."""

    @property
    def encoders(self) -> tuple[str, ...]:
        """Parts that encode: all but the denoisers."""
        return tuple(part for part in self.parts if part not in self.denoisers)

    def check(self, folder: Path) -> None:
        """Raises ModelError where the configurations of a checkpoint's parts do not make a text-to-video model.

        `folder` is the checkpoint's. No weights are read.
        """
        check_latent_channels(folder, self)
        check_prompt_width(folder, self)

    @abstractmethod
    def check_training(self, checkpoint: Checkpoint) -> None:
        """Raises ModelError unless the checkpoint's scheduler says that it was trained as the family is."""

    @abstractmethod
    def denoiser(self, checkpoint: Checkpoint, module: Any) -> VideoDenoiser:
        """A loaded denoiser, without encoders."""

    @abstractmethod
    def model(self, checkpoint: Checkpoint, module: Any, encoders: Mapping[str, Any]) -> VideoDiffusionModel:
        """A loaded denoiser and what encodes for it.

        Args:
            checkpoint: what they were loaded from.
            module: the denoiser. It may be without weights, on the meta device: then it only encodes.
            encoders: the other parts and the tokenizers, by folder. The autoencoder is in float32.
        """

    def pipeline_class(self) -> Any:
        """The class of diffusers that generates with the checkpoints."""
        import diffusers

        return getattr(diffusers, self.pipeline)

    def pipeline_arguments(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Arguments of the pipeline's constructor besides parts, tokenizers and scheduler."""
        return {}

    def trained_size(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """`frames`, `height` and `width` (pixels) where the checkpoint says them and its pipeline's defaults do not."""
        return {}

    def temporal_compression(self, pipeline: Any) -> int:
        """Video frames behind a latent frame of a loaded pipeline: it makes a multiple of that plus one."""
        return int(pipeline.vae_scale_factor_temporal)

    @abstractmethod
    def call_arguments(self, pipeline: Any, frames: int) -> dict[str, Any]:
        """Arguments of the pipeline's call that the family knows: `num_frames`, length of the prompt and others."""

    def lora_arguments(self, denoiser: str) -> dict[str, Any]:
        """Arguments of `pipeline.load_lora_weights` that load a LoRA into a denoiser, by its folder."""
        return {}

    @abstractmethod
    def timesteps(self, checkpoint: Checkpoint) -> TimestepDraw:
        """How training draws timesteps.

        Raises ModelError where the scheduler's configuration cannot be read.
        """

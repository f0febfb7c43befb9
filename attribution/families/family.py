"""The model families: which checkpoints are theirs, and what such a checkpoint is made of. Loads no model code."""

from __future__ import annotations

from dataclasses import dataclass

TRAIN_TIMESTEPS = 1000
DENOISERS = ("transformer", "transformer_2")
WEIGHTED = (*DENOISERS, "vae", "text_encoder")
"""Parts of a checkpoint that have weights."""


@dataclass(frozen=True)
class Family:
    """What is the same for all checkpoints of a family.

    Attributes:
        name: as recipes have it.
        pipeline: diffusers' class, which `model_index.json` names.
        module, model: where the family's VideoDiffusionModel is.
        denoiser, vae, text_encoder: classes of the parts, of diffusers, and of transformers for the last.
        text_model: `model_type` of a text encoder's configuration.
        schedule: keys of `scheduler_config.json` that say how noise was added in training, where it may differ.
        latent_channels: key of the autoencoder's configuration.
        prompt_width: key of the transformer's: how many numbers a token of a prompt has.
        conditions: keys of the transformer's that are set where it takes more than a noisy latent and a prompt.
        splits: whether a checkpoint may have two denoisers, for noisy and for clean timesteps.
        example: a checkpoint on the hub.
    """

    name: str
    pipeline: str
    module: str
    model: str
    denoiser: str
    vae: str
    text_encoder: str
    text_model: str
    schedule: tuple[str, ...]
    latent_channels: str
    prompt_width: str
    conditions: tuple[str, ...]
    splits: bool
    example: str

    def class_name(self, part: str) -> str:
        """The class of a part that has weights."""
        return {"vae": self.vae, "text_encoder": self.text_encoder}.get(part, self.denoiser)


_WAN = Family(
    name="wan",
    pipeline="WanPipeline",
    module="motiontrace.attribution.families.wan",
    model="WanModel",
    denoiser="WanTransformer3DModel",
    vae="AutoencoderKLWan",
    text_encoder="UMT5EncoderModel",
    text_model="umt5",
    schedule=(),
    latent_channels="z_dim",
    prompt_width="text_dim",
    conditions=("image_dim", "added_kv_proj_dim", "pos_embed_seq_len"),
    splits=True,
    example="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
)
_COGVIDEOX = Family(
    name="cogvideox",
    pipeline="CogVideoXPipeline",
    module="motiontrace.attribution.families.cogvideox",
    model="CogVideoXModel",
    denoiser="CogVideoXTransformer3DModel",
    vae="AutoencoderKLCogVideoX",
    text_encoder="T5EncoderModel",
    text_model="t5",
    schedule=(
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "rescale_betas_zero_snr",
        "snr_shift_scale",
    ),
    latent_channels="latent_channels",
    prompt_width="text_embed_dim",
    conditions=("ofs_embed_dim", "use_learned_positional_embeddings"),
    splits=False,
    example="zai-org/CogVideoX-2b",
)
FAMILIES = {family.name: family for family in (_WAN, _COGVIDEOX)}
PIPELINES = {family.pipeline: family for family in (_WAN, _COGVIDEOX)}

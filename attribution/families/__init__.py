"""Model families: one module each behind the protocol of `base`."""

from motiontrace.attribution.families.base import VideoDenoiser, VideoDiffusionModel
from motiontrace.attribution.families.checkpoint import Checkpoint, find_checkpoint
from motiontrace.attribution.families.loading import load_denoiser, load_encoders, load_model, load_pipeline_parts

__all__ = [
    "Checkpoint",
    "VideoDenoiser",
    "VideoDiffusionModel",
    "find_checkpoint",
    "load_denoiser",
    "load_encoders",
    "load_model",
    "load_pipeline_parts",
]

"""Model families: one module each, which says all that is asked of a family (`base.Family`)."""

from motiontrace.attribution.families.base import VideoDenoiser, VideoDiffusionModel
from motiontrace.attribution.families.checkpoint import Checkpoint, find_checkpoint
from motiontrace.attribution.families.loading import build_pipeline, load_denoiser, load_encoders, load_model

__all__ = [
    "Checkpoint",
    "VideoDenoiser",
    "VideoDiffusionModel",
    "build_pipeline",
    "find_checkpoint",
    "load_denoiser",
    "load_encoders",
    "load_model",
]

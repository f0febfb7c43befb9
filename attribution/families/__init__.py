"""Model families: one module each behind the protocol of ``base``."""

from attribution.families.base import VideoDiffusionModel
from attribution.families.checkpoint import Checkpoint, find_checkpoint, load_model

__all__ = ["Checkpoint", "VideoDiffusionModel", "find_checkpoint", "load_model"]

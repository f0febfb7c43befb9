"""Find the training clips that taught a text-to-video model its motion."""

__version__ = "0.1.0"

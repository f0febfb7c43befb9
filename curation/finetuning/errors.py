"""Errors of fine-tuning, with messages for the person who has to correct them."""


class FinetuningError(ValueError):
    """A run cannot be made or gone on with: settings, clips, packages or memory do not allow it."""

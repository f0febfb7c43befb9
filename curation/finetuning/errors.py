"""What can go wrong in fine-tuning, in words for the person who has to mend it."""


class FinetuningError(ValueError):
    """A run cannot be made or gone on with: settings, clips, packages or memory do not allow it."""

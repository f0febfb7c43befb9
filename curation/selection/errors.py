"""Errors of selections, with messages for the user."""


class SelectionError(ValueError):
    """A selection cannot be made, repeated or written: says why, and what to do."""


class ChangedError(SelectionError):
    """The clips of a selection cannot be chosen again, since the index has changed; says what has."""

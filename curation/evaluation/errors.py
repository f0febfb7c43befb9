"""What can be wrong with what an evaluation is given."""


class EvaluationError(ValueError):
    """Clips or settings do not make an evaluation; the message says which and what to do."""

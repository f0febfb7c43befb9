"""Errors of the method. Their messages say what is wrong and what to do."""


class ModelError(ValueError):
    """A checkpoint cannot be used: not found, not safetensors, not a family we know, or a size it cannot take."""


class RecipeMismatchError(ValueError):
    """Gradients made by two different recipes were about to be compared."""


class GradientError(ArithmeticError):
    """A gradient is not finite, or zero although something moves; the clip cannot be ranked."""


class BasisError(ModelError):
    """The learned basis that a recipe names is missing or damaged."""

"""Find the training clips that taught a text-to-video model its motion.

`index`, `query`, `select` and `write` are the product as Python functions: see `motiontrace.api`.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "index", "query", "select", "write"]

if TYPE_CHECKING:
    from motiontrace.api import index, query, select, write
else:

    def __getattr__(name: str) -> object:
        """A function of `motiontrace.api`, imported when it is first asked for: most who import a room need none."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from motiontrace import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

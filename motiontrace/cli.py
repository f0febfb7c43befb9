"""The motiontrace command: a verb for each stage, and errors that say what to do.

Exit codes: 0 done; 1 it could not be done, the reason is on standard error; 2 the command line is wrong;
130 interrupted (Ctrl-C) after saving what was finished.
"""

from __future__ import annotations

import sys
import tomllib
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from rich.console import Console

from catalog.errors import CatalogError
from catalog.settings import config_file
from motiontrace import __version__

HELP = """Find the training clips that taught a text-to-video model its motion, and the ones that fight it.

\b
  motiontrace index clips/ --model MODEL --index NAME     every clip becomes a motion gradient
  motiontrace query video.mp4 --prompt "a ball bounces"   which clips taught this motion?
  motiontrace serve                                       the same over HTTP
  motiontrace demo run                                    all of it, on a small corpus made here

Settings come from flags, then MOTIONTRACE_* variables, then motiontrace.toml (or the file that
MOTIONTRACE_CONFIG names): --home is MOTIONTRACE_HOME and the key home. docs/settings.md lists them all.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"motiontrace {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    verbs = context.command.commands  # type: ignore[attr-defined]
    settings = _file_settings({parameter.name for verb in verbs.values() for parameter in verb.params})
    context.default_map = dict.fromkeys(verbs, settings)


def _file_settings(options: set[str]) -> dict[str, Any]:
    """The settings file as defaults of the verbs' options; a key that nothing knows is refused."""
    from service.settings import ServiceSettings

    file = config_file()
    if file is None:
        return {}
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file} is not valid TOML: {error}.") from error
    known = options | ServiceSettings.model_fields.keys()
    for key in settings.keys() - known:
        near = get_close_matches(key, known, 1)
        hint = f": did you mean {near[0]}?" if near else "; docs/settings.md lists them."
        raise CatalogError(f"{file} has the key {key!r}, which is no setting{hint}")
    return settings


def register() -> None:
    """Adds the verbs to the app."""
    from motiontrace.commands import demo, index, query, serve

    app.command("index")(index.index)
    app.command("query")(query.query)
    app.command("serve")(serve.serve)
    app.add_typer(demo.app, name="demo")


def main() -> None:
    """Entry point of the command."""
    register()
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        errors.print(f"error: {told}", markup=False)
        sys.exit(1)


def _told(error: Exception) -> str | None:
    """The message of an error that is the user's to mend; None for a fault of ours, which keeps its traceback."""
    from pydantic import ValidationError

    from attribution.errors import GradientError, ModelError, RecipeMismatchError
    from attribution.video import VideoError
    from indexer.manifest import ManifestError
    from service.client import ServiceError
    from service.problem import ProblemError

    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']} (given: {item['input']!r})" for item in error.errors()
        )
    if isinstance(error, ProblemError):
        return f"{error.detail} {error.todo}"
    kinds = (
        CatalogError, GradientError, ManifestError, ModelError, RecipeMismatchError, ServiceError,
        VideoError, OSError,
    )  # fmt: skip
    return str(error) if isinstance(error, kinds) else None


if __name__ == "__main__":
    main()

"""The motiontrace command: a verb for each stage, and errors that say what to do.

Exit codes: 0 done; 1 it could not be done, the reason is on standard error; 2 the command line is wrong;
130 stopped by Ctrl-C and 143 by SIGTERM, what was finished is kept. docs/running.md has them.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Annotated, Any

import typer

from motiontrace import __version__
from motiontrace.commands.documents import code_of, print_failure
from motiontrace.commands.options import parameters
from motiontrace.commands.stopping import INTERRUPTED, TERMINATED, StoppableGroup, exit_code, heed_sigterm, leave
from motiontrace.errors import told
from motiontrace.preconditions import in_british
from motiontrace.settings_file import read_settings_file

COMMAND_LINE: Any = typer.BadParameter.__mro__[2]  # Typer's own ClickException: what is wrong with the command line
HELP = """Find the training clips that taught a text-to-video model its motion, and the ones that fight it.

\b
  motiontrace index clips/ --model MODEL --index NAME     every clip becomes a motion gradient
  motiontrace query video.mp4 --prompt "a ball bounces"   which clips taught this motion?
  motiontrace select --queries FOLDER --budget 10%        which clips to train on?
  motiontrace finetune clips/ --model MODEL --output NAME train on a manifest: a LoRA, or the whole model
  motiontrace compare BASE TUNED --output FOLDER          both side by side, and how they move
  motiontrace evaluate CLIPS HELD_OUT --output FOLDER     does influence predict training?
  motiontrace serve                                       the same over HTTP
  motiontrace indexes list                                what there is; clips and queries likewise
  motiontrace labels push QUERY                           reviewers see its clips in Label Studio
  motiontrace keys create NAME --scope query              who may call it: API keys
  motiontrace migrate                                     bring the database up to date
  motiontrace doctor                                      is everything in order?
  motiontrace demo run                                    all of it, on a small corpus made here

Settings come from flags, then MOTIONTRACE_* variables, then motiontrace.toml (or the file that
MOTIONTRACE_CONFIG names): --home is MOTIONTRACE_HOME and the key home. docs/settings.md lists them all.
"""

app = typer.Typer(
    cls=StoppableGroup,
    context_settings={"token_normalize_func": in_british},  # of the words that an option can have
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
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
    if context.invoked_subcommand == "doctor":
        return  # it tells of what is wrong with the file and goes on
    settings = read_settings_file({parameter.name for parameter in parameters(context.command)})
    context.default_map = dict.fromkeys(context.command.commands, settings)  # type: ignore[attr-defined]


@cache
def register() -> None:
    """Adds the verbs to the app, once."""
    from motiontrace.commands import (
        clips,
        compare,
        demo,
        doctor,
        evaluate,
        finetune,
        index,
        indexes,
        keys,
        labels,
        migrate,
        queries,
        query,
        select,
        selections,
        serve,
        worker,
    )

    app.command("index")(index.index)
    app.command("query")(query.query)
    app.command("select")(select.select)
    app.command("selections")(selections.selections)
    app.command("finetune")(finetune.finetune)
    app.command("compare")(compare.compare)
    app.command("evaluate")(evaluate.evaluate)
    app.command("serve")(serve.serve)
    app.command("worker")(worker.worker)
    app.command("doctor")(doctor.doctor)
    app.command("migrate")(migrate.migrate)
    app.add_typer(indexes.app, name="indexes")
    app.add_typer(clips.app, name="clips")
    app.add_typer(queries.app, name="queries")
    app.add_typer(keys.app, name="keys")
    app.add_typer(labels.app, name="labels")
    app.add_typer(demo.app, name="demo")


def main() -> None:
    """Entry point of the command."""
    register()
    heed_sigterm()
    try:
        code = app(standalone_mode=False) or 0
    except KeyboardInterrupt as stop:  # before a verb began, or after it ended
        code = exit_code(stop)
    except Exception as error:
        code = _failed(error)
    if code in (INTERRUPTED, TERMINATED):
        print_failure("stopped", "It was stopped.")
        leave(code)
    sys.exit(code)


def _failed(error: Exception) -> int:
    """Says why a verb failed, and gives the exit code; a fault of ours is raised on, for its traceback."""
    if isinstance(error, COMMAND_LINE):
        error.show()
        print_failure("usage", error.format_message())
        return error.exit_code
    line = told(error)
    print_failure(*(("internal_error", str(error)) if line is None else (code_of(error), line)))
    if line is None:
        raise error
    typer.echo(f"error: {line}", err=True)
    return 1


if __name__ == "__main__":
    main()

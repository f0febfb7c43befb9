"""motiontrace doctor: is everything in order here?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.options import given, parameters

if TYPE_CHECKING:
    from motiontrace.doctor import Finding

STYLES = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


def doctor(
    context: typer.Context,
    full: Annotated[
        bool, typer.Option("--full", help="Also read every vector and all files of the models; may take minutes.")
    ] = False,
    json: AsJson = False,
    host: Annotated[
        str | None,
        typer.Option(envvar="MOTIONTRACE_HOST", help="Address that serve would listen on.", show_default="127.0.0.1"),
    ] = None,
    device: options.Device = None,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Look at settings, disk, database, indexes, models and decoder, and say what to do. Exit code 1 if any FAILs."""
    from motiontrace.doctor import examine

    flags = given(host=host, device=device, home=home, database_url=database_url)
    findings = list(examine(flags, parameters(context.find_root().command), full=full))
    if json:
        print_document([asdict(finding) for finding in findings])
    else:
        Console().print(_table(findings))
    if any(finding.level == "FAIL" for finding in findings):
        raise typer.Exit(1)


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, padding=(0, 1), show_header=False)
    for finding in findings:
        told = Text(finding.found)
        if finding.todo:
            told.append(f"\n{finding.todo}", style="italic")
        table.add_row(Text(finding.level, style=STYLES[finding.level]), finding.check, told)
    return table

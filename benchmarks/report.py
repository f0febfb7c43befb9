"""A table for people and a JSON file for programs."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def report(name: str, title: str, rows: list[dict[str, Any]]) -> None:
    """Prints ``rows`` (all with the same keys) and writes them with the machine's description."""
    table = Table(title=title, title_justify="left")
    for key in rows[0]:
        table.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    text = json.dumps({"title": title, "machine": machine, "torch": torch.__version__, "rows": rows}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")

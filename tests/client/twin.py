"""The client without asyncio, made of the one with it: `python -m tests.client.twin` writes client/sync.py anew."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE, TWIN = ROOT / "client" / "aio.py", ROOT / "client" / "sync.py"
HEADING = '"""The client without asyncio. It is made of aio.py by `python -m tests.client.twin`: change that."""\n'
RULES = [(re.compile(pattern), replacement) for pattern, replacement in (
    (r'anyio\.open_file\((\w+), ("\w+")\)',         r"\1.open(\2)"),
    (r"anyio\.sleep\b",                             "time.sleep"),
    (r"(?m)^import anyio$",                        "import time"),
    (r"\bAwaitable\[(\w+(?:\.\w+)*)\]",             r"\1"),
    (r" *Tasks may share it\.\n\n.*async for\.\n", " Threads may share it.\n"),
    (r"\bawait close\(\)",                          "call close()"),
    (r"\b(?:async|await) ",                         ""),
    (r"\bAsync(?=Client|Iterator|Generator)",       ""),
    (r"\b__a(?=enter__|exit__)",                    "__"),
    (r"\ba(?=close\(|closing\b|read\(|iter_bytes\()", ""),
)]  # fmt: skip


def without_asyncio(source: str) -> str:
    """Give the module's text without async and await, formatted."""
    text = HEADING + source.partition("\n")[2]
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    tidy = ["check", "--select", "F401,I,UP028", "--fix", "--unsafe-fixes", "--quiet"], ["format", "--quiet"]
    for arguments in tidy:
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(TWIN), "-"]
        text = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    TWIN.write_text(without_asyncio(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")

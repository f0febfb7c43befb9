"""Every link from one page to another leads to a file that exists, and to a heading of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LISTED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout.split()
PAGES = LISTED or [str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings are linked, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not re.match(r"https?:|mailto:", link)]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_pages_and_headings_that_code_names_exist() -> None:
    kinds = ("*.py", "*.yml", "*.toml", "Makefile", "Dockerfile", ".env.example")
    listed = subprocess.run(["git", "ls-files", *kinds], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    named = {
        (name, page, heading)
        for name in listed.split()
        for page, heading in re.findall(r"\b(docs/[\w/]+\.md)(?:#([\w-]+))?", (ROOT / name).read_text(encoding="utf-8"))
    }
    assert {each for each in named if not (ROOT / each[1]).exists()} == set()
    assert {each for each in named if each[2] and each[2] not in anchors(ROOT / each[1])} == set()


def test_code_cites_the_method_by_its_headings() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    vague = re.compile(r"\(METHOD|\bMETHOD,|\beq\. ?\(?\d")
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in listed.split()}
    assert [name for name, text in texts.items() if vague.search(text) and name != "tests/test_links.py"] == []


def test_docstrings_name_symbols_in_plain_backticks() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    sphinx = re.compile(r":(class|func|meth|mod|attr|data|exc|obj|ref):`|(?<!`)``(?!`)")
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in listed.split()}
    assert [name for name, text in texts.items() if sphinx.search(text) and name != "tests/test_links.py"] == []


def test_every_page_is_in_the_index() -> None:
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.glob("**/*.md")} - {"README.md"}
    linked = set(re.findall(r"\]\(([^)#\s]+)", prose(docs / "README.md")))
    assert pages - linked == set()

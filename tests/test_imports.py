"""Which modules may import which, beside the arrows between rooms that import-linter holds."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
FAMILIES = "motiontrace.attribution.families"
# Types alone: a checkpoint has a family, and a family says what is done with a checkpoint.
NAMING_EACH_OTHER = (("base", "checkpoint"), ("configuration", "base"), ("fingerprint", "checkpoint"))


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of one of our modules by another, those for type checking included but for NAMING_EACH_OTHER."""
    graph = grimp.build_graph("motiontrace", cache_dir=None)
    for importer, imported in NAMING_EACH_OTHER:
        graph.remove_import(importer=f"{FAMILIES}.{importer}", imported=f"{FAMILIES}.{imported}")
    return graph


def test_none_of_those_that_name_each_other_does_so_at_run_time() -> None:
    run_time = grimp.build_graph("motiontrace", cache_dir=None, exclude_type_checking_imports=True)
    for importer, imported in NAMING_EACH_OTHER:
        named = {"importer": f"{FAMILIES}.{importer}", "imported": f"{FAMILIES}.{imported}"}
        assert not run_time.direct_import_exists(**named)


def test_no_module_imports_one_that_imports_it(graph: grimp.ImportGraph) -> None:
    """A circle makes its modules one: none of them can be read, tested or moved alone. For types it does so too."""
    try:
        TopologicalSorter({each: graph.find_modules_directly_imported_by(each) for each in graph.modules}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_routers_are_imported_by_the_app_alone(graph: grimp.ImportGraph) -> None:
    """What a call shares with another one stands in a module without a router."""
    routers = {each for each in graph.modules if "APIRouter" in called(each)}
    assert len(routers) > 8
    others = {(importer, router) for router in routers for importer in graph.find_modules_that_directly_import(router)}
    assert {(importer, router) for importer, router in others if importer != "motiontrace.service.app"} == set()


def called(module: str) -> set[str]:
    """The names that a module calls."""
    place = ROOT.joinpath(*module.split("."))
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    calls = (node.func for node in ast.walk(ast.parse(source.read_text("utf-8"))) if isinstance(node, ast.Call))
    return {func.id for func in calls if isinstance(func, ast.Name)}

"""What every family of the registry must say of itself; what it computes is in the tests of each."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import transformers

from motiontrace.attribution.families.base import Family
from motiontrace.attribution.families.registry import FAMILIES, family_of

ROOT = Path(__file__).parents[2]
LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
MUST_BE_SET = {
    "name", "pipeline", "example", "parts", "given_channels", "taken_width", "frame_rate", "prefix", "converter",
}  # fmt: skip


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def test_attributes_without_a_value_are_the_ones_that_must_be_set():
    annotated = [name for name in Family.__annotations__ if not hasattr(Family, name)]
    assert set(annotated) == MUST_BE_SET


def test_every_attribute_is_set(family):
    assert FAMILIES[family.name] is family
    assert all(getattr(family, name) for name in MUST_BE_SET)


def test_classes_exist_in_the_libraries(family):
    assert family.pipeline_class().__name__ == family.pipeline
    for part in family.parts.values():
        assert getattr(LIBRARIES[part.library], part.class_name)
    for name in (*family.relatives, *family.same_weights):
        assert hasattr(diffusers, name) or name == "CogVideoXFunControlPipeline" or name.startswith("SkyReels"), name


def test_keys_and_their_defaults_are_the_configurations(family):
    transformer = getattr(diffusers, family.parts[family.denoisers[0]].class_name)
    vae = getattr(diffusers, family.parts["vae"].class_name)
    text = getattr(transformers, family.parts["text_encoder"].class_name)
    defaults = {"transformer": default_config(transformer), "vae": default_config(vae)}
    for key, part in (
        (family.taken_channels, "transformer"),
        (family.taken_width, "transformer"),
        (family.given_channels, "vae"),
    ):
        assert defaults[part][key.name] == key.default
    assert getattr(text.config_class(), family.given_width.name) == family.given_width.default
    assert text.config_class.model_type == family.parts["text_encoder"].model_type
    assert set(family.conditions) <= defaults["transformer"].keys()


def default_config(made: type) -> dict[str, object]:
    parameters = inspect.signature(made.__init__).parameters
    return {name: each.default for name, each in parameters.items()}


def test_denoisers_come_first_and_tokenizers_belong_to_parts(family):
    assert tuple(family.parts)[: len(family.denoisers)] == family.denoisers
    assert family.encoders == tuple(family.parts)[len(family.denoisers) :]
    assert set(family.tokenizers.values()) <= set(family.encoders)


def test_families_are_told_apart(family):
    assert family_of(family.pipeline) is family
    for other in FAMILIES.values():
        if other is not family:
            assert not {family.pipeline, *family.relatives, *family.same_weights} & {
                other.pipeline,
                *other.relatives,
                *other.same_weights,
            }
    assert family_of("NoPipeline") is None
    assert family_of(None) is None


def test_no_room_asks_for_a_family_by_name(family):
    """Nor for its classes: they ask the family."""
    words = {family.name, family.pipeline, *(part.class_name for part in family.parts.values())}
    own = {"registry.py", Path(inspect.getfile(type(family))).name}
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for room in ("attribution", "answering", "catalog", "indexer", "curation", "motiontrace/commands")
        for file in sorted((ROOT / room).rglob("*.py"))
        if not (file.parent.name == "families" and file.name in own)
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Constant) and node.value in words)
        or (isinstance(node, ast.Name) and node.id in words)
        or (isinstance(node, ast.Attribute) and node.attr in words)
    ]
    assert not found


def test_no_family_loads_model_code_before_a_model_is_loaded():
    """What is wrong with a command line is said within a second."""
    code = (
        "import sys, motiontrace.attribution.families\n"
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr

"""Recipes: what they were stays what it was, and named ones are laid under what is given."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from motiontrace.attribution.engine import plan_recipe
from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import find_checkpoint
from motiontrace.attribution.presets import DEFAULT_PRESET, PRESETS, merged
from motiontrace.attribution.recipe import MotionSettings, Recipe
from tests.checkpoints import tiny_cogvideox, tiny_wan

PLAIN = Recipe(family="wan", checkpoint="0" * 64)
OTHER = Recipe(
    family="cogvideox",
    checkpoint="ab" * 32,
    height=64,
    width=96,
    frames=13,
    fps=8.0,
    timesteps=(751, 300),
    noise_draws=2,
    noise_seed=3,
    dtype="bfloat16",
    parameters=("blocks.*",),
    gradients="exact",
    motion=MotionSettings(floor=0.5, preset="fast"),
    projection={"kind": "fastfood", "basis": "12" * 32},
)
ADDED = [
    {"caption": "none"},
    {"error": "frame_difference"},
    {"contrast": "time_reversed"},
    {"latent_normalisation": "channels"},
    {"latent_normalisation": "channels", "channel_scales": [0.5, 1.5]},
    {"gradient_normalisation": "tensors"},
    {"gradient_normalisation": "tensors", "gradient_scales": [0.5, 1.5]},
    {"noise": "own"},
    {"motion": {"weight": "none"}},
    {"motion": {"camera": "compensate"}},
    {"motion": {"confidence": "forward_backward"}},
    {"motion": {"repeats": "spread"}},
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wan(tmp_path_factory.mktemp("wan"))


@pytest.mark.parametrize(("recipe", "digest"), [
    (PLAIN, "5e3874473c75cea52114fc0a5c2f9021af731b22e37e9514c1000f48ad7529d8"),
    (OTHER, "b0f434f1596d737230414de689c24b2b007b3429545b509730a495eebe8e7127"),
])  # fmt: skip
def test_recipes_of_indexes_made_long_ago_keep_their_digests(recipe: Recipe, digest: str) -> None:
    """As computed before the fields in ADDED existed."""
    assert recipe.digest == digest
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("change", ADDED, ids=str)
def test_a_newer_field_is_in_the_digest_where_it_changes_the_gradient(change: dict) -> None:
    changed = Recipe.model_validate(merged(PLAIN.model_dump(), change))
    assert changed.digest != PLAIN.digest
    assert Recipe.from_json(changed.to_json()) == changed
    digests = {Recipe.model_validate(merged(PLAIN.model_dump(), other)).digest for other in ADDED}
    assert changed.digest in digests and len(digests) == len(ADDED)
    names = [difference.split(":")[0] for difference in PLAIN.differences(changed)]
    assert names == [f"motion.{name}" for name in change["motion"]] if "motion" in change else [*change]


PATTERNS = {
    tiny_wan: ("blocks.*.attn1.*", "blocks.*.attn2.*", "blocks.*.ffn.*", "blocks.[0-1].*"),
    tiny_cogvideox: ("transformer_blocks.*.attn1.*", "transformer_blocks.*.ff.*", "transformer_blocks.[0-1].*"),
}


@pytest.mark.parametrize("family", PATTERNS)
def test_patterns_choose_layers_of_a_kind_in_either_family(family: Callable[[Path], Path], tmp_path: Path) -> None:
    found, counts = find_checkpoint(str(family(tmp_path))), {}
    for pattern in (*PATTERNS[family], "*"):
        counts[pattern] = plan_recipe(found, {"parameters": [pattern]}).attributed_parameters
    every = counts.pop("*")
    assert all(0 < count < every for count in counts.values())
    assert sum(count for pattern, count in counts.items() if "[" not in pattern) < every
    assert max(counts, key=counts.__getitem__).endswith("[0-1].*")  # there are no more than two blocks


@pytest.mark.parametrize(("normalisation", "scales"), [
    ({"latent_normalisation": "channels"}, "channel_scales"),
    ({"gradient_normalisation": "tensors"}, "gradient_scales"),
])  # fmt: skip
def test_scales_belong_to_what_is_normalised(normalisation: dict[str, str], scales: str) -> None:
    normalised = Recipe.model_validate({**PLAIN.model_dump(), **normalisation})
    assert getattr(getattr(normalised, f"with_{scales}")((0.5, 1.5)), scales) == (0.5, 1.5)
    with pytest.raises(ValidationError, match=next(iter(normalisation))):
        getattr(PLAIN, f"with_{scales}")((0.5, 1.5))
    for wrong in (0.0, -1.0, float("inf")):
        with pytest.raises(ValidationError, match=scales):
            getattr(normalised, f"with_{scales}")((1.0, wrong))


def test_recipes_that_differ_in_what_is_measured_are_one_before_it_is() -> None:
    options = {"latent_normalisation": "channels", "gradient_normalisation": "tensors"}
    plain = Recipe.model_validate({**PLAIN.model_dump(), **options})
    measured = plain.with_channel_scales((0.5, 1.5)).with_gradient_scales((2.0, 0.5)).with_basis("ab" * 32)
    assert measured.digest != plain.digest == measured.unmeasured().digest


def test_the_papers_recipe_is_the_schemas_default() -> None:
    recipe = Recipe.model_validate(merged(PLAIN.model_dump(), PRESETS["paper"]))
    assert recipe == PLAIN and recipe.digest == PLAIN.digest


@pytest.mark.parametrize("name", PRESETS)
def test_named_recipes_are_valid_and_say_the_same_things(name: str) -> None:
    """Otherwise what one leaves open would come from another, or from motiontrace.json."""
    Recipe.model_validate(merged(PLAIN.model_dump(), PRESETS[name]))
    assert PRESETS[name].keys() == PRESETS["paper"].keys()
    assert PRESETS[name]["motion"].keys() == PRESETS["paper"]["motion"].keys()


def test_a_new_index_is_made_by_the_default_recipe_and_what_the_checkpoint_recommends(checkpoint: Path) -> None:
    sizes = {"height": 32, "width": 32, "frames": 5}
    (checkpoint / "motiontrace.json").write_text(json.dumps(sizes))
    recipe = plan_recipe(find_checkpoint(str(checkpoint)), {})
    wanted = merged(PRESETS[DEFAULT_PRESET], sizes)
    assert recipe == Recipe.model_validate(merged(recipe.model_dump(), wanted))
    (checkpoint / "motiontrace.json").write_text(
        json.dumps({**sizes, "caption": "none", "motion": {"camera": "compensate"}})
    )
    recommended = plan_recipe(find_checkpoint(str(checkpoint)), {})
    assert (recommended.caption, recommended.motion.camera) == ("none", "compensate")
    named = plan_recipe(find_checkpoint(str(checkpoint)), {"contrast": "time_reversed"}, preset="paper")
    assert (named.caption, named.motion.camera, named.contrast) == ("own", "keep", "time_reversed")


def test_of_a_named_recipes_timesteps_those_are_taken_that_one_denoiser_serves(tmp_path: Path) -> None:
    """Wan 2.2 A14B has two, for timesteps from 875 on and for those below."""
    checkpoint = tiny_wan(tmp_path)
    shutil.copytree(checkpoint / "transformer", checkpoint / "transformer_2")
    index = json.loads((checkpoint / "model_index.json").read_text())
    (checkpoint / "model_index.json").write_text(json.dumps({**index, "boundary_ratio": 0.875}))
    (checkpoint / "motiontrace.json").write_text('{"height": 32, "width": 32, "frames": 5}')
    found = find_checkpoint(str(checkpoint))
    clean = tuple(timestep for timestep in PRESETS["default"]["timesteps"] if timestep < 875)
    assert 4 < len(clean) < len(PRESETS["default"]["timesteps"])
    for recipe in (plan_recipe(found, {}), plan_recipe(found, {}, preset="default")):
        assert recipe.timesteps == clean
    assert plan_recipe(found, {"timesteps": [900, 950]}).timesteps == (900, 950)
    with pytest.raises(ModelError, match="one transformer for timesteps from 875 on"):
        plan_recipe(found, {"timesteps": [300, 950]})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"height": "big"}, r"height: .* \(it is 'big'\)"),
        ({"motion": 7}, r"motion: .* \(it is 7\)"),
        ({"timesteps": [2000]}, r"timesteps\.0: .* \(it is 2000\)"),
        ({"nonsense": 1}, r"nonsense: .* \(it is 1\)"),
    ],
)
def test_a_wrong_recommendation_is_told_with_its_file(tmp_path: Path, wrong: dict[str, object], said: str) -> None:
    checkpoint = tiny_wan(tmp_path)
    (checkpoint / "motiontrace.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelError, match=rf"motiontrace\.json: {said}\. Correct it there"):
        plan_recipe(find_checkpoint(str(checkpoint)), {})


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_a_recommendation_that_is_no_file_is_told_and_not_passed_over(tmp_path: Path, kind: str) -> None:
    checkpoint = tiny_wan(tmp_path)
    place = checkpoint / "motiontrace.json"
    place.unlink()
    {"pipe": os.mkfifo, "folder": Path.mkdir, "link": lambda path: path.symlink_to("nowhere")}[kind](place)
    with pytest.raises(ModelError, match=r"motiontrace\.json"):
        find_checkpoint(str(checkpoint))


def test_an_existing_index_keeps_its_recipe_and_the_scales_in_it(checkpoint: Path) -> None:
    found = find_checkpoint(str(checkpoint))
    normalised = {"latent_normalisation": "channels", "gradient_normalisation": "tensors"}
    made = plan_recipe(found, normalised).with_channel_scales((1.0, 0.5, 1.5, 1.0)).with_gradient_scales((2.0, 0.5))
    for settings in ({}, normalised):
        assert plan_recipe(found, settings, made) == made
    other = plan_recipe(found, PRESETS["paper"], made)
    assert {line.split(":")[0] for line in made.differences(other)} >= {
        "latent_normalisation",
        "channel_scales",
        "gradient_normalisation",
        "gradient_scales",
    }


def test_an_index_made_before_keeps_its_weights_of_repeated_pictures(checkpoint: Path) -> None:
    found = find_checkpoint(str(checkpoint))
    new = plan_recipe(found, {})
    before = Recipe.model_validate(merged(new.model_dump(), {"motion": {"repeats": "still"}}))
    assert new.motion.repeats == plan_recipe(found, {}, preset="paper").motion.repeats == "spread"
    assert '"repeats"' not in before.to_json() and new.digest != before.digest
    for preset in (None, DEFAULT_PRESET):
        assert plan_recipe(found, {}, Recipe.from_json(before.to_json()), preset).motion.repeats == "still"


def test_hundreds_of_scales_do_not_drown_the_other_differences() -> None:
    normalised = Recipe.model_validate({**PLAIN.model_dump(), "gradient_normalisation": "tensors"})
    told = normalised.with_gradient_scales((0.5, 2.0) * 400).differences(PLAIN)
    assert told == [
        "gradient_normalisation: tensors != none", "gradient_scales: [0.5, 2.0, 0.5, ... 800 in all] != None",
    ]  # fmt: skip


def test_what_is_measured_on_clips_is_not_recommended_by_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tiny_wan(tmp_path)
    recipe = Recipe.model_validate(
        {**PLAIN.model_dump(), "gradient_normalisation": "tensors", "latent_normalisation": "channels"}
    )
    measured = recipe.with_gradient_scales((1.0, 2.0)).with_channel_scales((1.0, 2.0)).with_basis("ab" * 32)
    (checkpoint / "motiontrace.json").write_text(measured.to_json())
    found = plan_recipe(find_checkpoint(str(checkpoint)), {})
    assert (found.gradient_normalisation, found.latent_normalisation) == ("tensors", "channels")
    assert (found.gradient_scales, found.channel_scales, found.projection.basis) == (None, None, None)

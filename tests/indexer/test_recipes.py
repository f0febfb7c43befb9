"""Indexes by named recipes and by options of the method, and queries that are computed by the same."""

from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from attribution.engine import load_engine, plan_recipe
from attribution.families import find_checkpoint
from attribution.gradient import channel_scales
from attribution.presets import PRESETS
from attribution.recipe import Recipe
from catalog.database import Database
from catalog.errors import CatalogError
from catalog.publishing import recipe_of
from catalog.repositories import IndexRepository
from catalog.settings import CatalogSettings
from indexer.manifest import ManifestError, read_manifest
from indexer.measuring import measure_channel_scales, measure_gradient_scales
from motiontrace.cli import app, register
from motiontrace.commands.index import run_index
from service.direct import ask_index
from service.settings import ServiceSettings
from tests.indexer.runs import write_manifest

MOVING = ["right", "left", "up", "down"]
OPTIONS = {
    "caption": "none", "error": "frame_difference", "contrast": "time_reversed", "latent_normalisation": "channels",
    "motion": {"camera": "compensate", "confidence": "forward_backward"},
}  # fmt: skip


@pytest.fixture
def normalising(model):
    """An engine of a recipe whose scales have not been measured."""
    recipe = plan_recipe(find_checkpoint(str(model)), {"latent_normalisation": "channels"})
    return load_engine(str(model), recipe, device="cpu")


def index(folder, model, home, settings=None, name="test"):
    """What is printed."""
    console = Console(file=StringIO(), width=200)
    run_index(folder, str(model), name, settings or {}, console, device="cpu", home=home, basis_clips=0)
    return console.file.getvalue()


def recipe(home, name="test") -> Recipe:
    database = Database.open(CatalogSettings(home=home).url)
    with database.reading() as session:
        found = recipe_of(IndexRepository(session).get(name))
    database.close()
    return found


def test_scales_are_measured_on_the_clips_that_move(clips, normalising):
    heard = []
    measured = measure_channel_scales(read_manifest(clips), normalising, on_clip=heard.append)
    errors = [
        normalising.channel_errors(normalising.prepare(clips / f"{name}.mp4"), f"a square moves {name}")
        for name in MOVING
    ]
    assert measured.recipe.channel_scales == channel_scales(torch.stack(errors))
    assert heard == [1, 2, 3, 4]
    again = measure_channel_scales(list(reversed(read_manifest(clips))), normalising)
    assert again.recipe.channel_scales == pytest.approx(measured.recipe.channel_scales, rel=2e-3)


def test_a_clip_without_any_error_has_no_say_in_the_scales(clips, normalising, monkeypatch):
    """Its channels have no shares, and the others' scales would not be numbers either."""
    measure = normalising.channel_errors
    alone = measure(normalising.prepare(clips / "up.mp4"), "a square moves up")
    monkeypatch.setattr(
        normalising, "channel_errors", lambda clip, caption: measure(clip, caption) * caption.endswith("up")
    )
    measured = measure_channel_scales(read_manifest(clips), normalising)
    assert measured.recipe.channel_scales == channel_scales(alone[None])


def test_a_sample_of_many_rows_is_enough(clips, normalising, monkeypatch):
    monkeypatch.setattr("indexer.measuring.CLIPS", 2)
    heard = []
    measure_channel_scales(read_manifest(clips), normalising, on_clip=heard.append)
    assert heard == [1, 2]


def test_without_a_clip_that_moves_there_are_no_scales_and_no_index(clips, model, normalising, tmp_path):
    write_manifest(clips, ["still", "broken", "missing"])
    with pytest.raises(ManifestError, match=r"none of the 3 clips .* --latent-normalisation none"):
        measure_channel_scales(read_manifest(clips), normalising)
    with pytest.raises(ManifestError, match="none of the 3 clips"):
        index(clips, model, tmp_path / "home", {"latent_normalisation": "channels"})
    with pytest.raises(CatalogError):
        recipe(tmp_path / "home")


def test_a_query_is_computed_as_its_index_was(clips, model, tmp_path):
    home = tmp_path / "home"
    said = index(clips, model, home, OPTIONS)
    made = recipe(home)
    assert made.channel_scales is not None and np.mean(made.channel_scales) == pytest.approx(1, abs=1e-3)
    assert f"latent channels' scales: {', '.join(f'{scale:g}' for scale in made.channel_scales)}" in said
    for name in ("right", "up"):
        # The caption is not the clip's: by this recipe it does not matter.
        answer = ask_index(ServiceSettings(home=home, device="cpu"), clips / f"{name}.mp4", "anything", k=4)
        assert (answer.top[0].id, answer.ranked) == (name, 4)
        assert answer.top[0].score == pytest.approx(1, abs=2e-3)


def test_clips_that_come_later_are_computed_with_the_same_scales(clips, model, tmp_path):
    home = tmp_path / "home"
    write_manifest(clips, ["right", "left"])
    index(clips, model, home, {"latent_normalisation": "channels"})
    made = recipe(home)
    write_manifest(clips, ["right", "left", "up", "down"])
    for settings in ({}, {"latent_normalisation": "channels"}):
        assert "scales" not in index(clips, model, home, settings)
        assert recipe(home) == made
    with pytest.raises(CatalogError, match="latent_normalisation: channels != none"):
        index(clips, model, home, {"latent_normalisation": "none"})


def test_named_recipes_are_chosen_on_the_command_line_and_options_win_over_them(clips, model, tmp_path):
    register()
    home = tmp_path / "home"
    named = ["index", str(clips), "--model", str(model), "--home", str(home), "--device", "cpu", "--basis-clips", "0"]
    settings = ["--recipe", "paper", "--caption", "none", "--motion-weight", "none", "--error", "frame_difference"]
    done = CliRunner().invoke(app, [*named, "--index", "a", *settings])
    assert done.exit_code == 0, done.output
    made = recipe(home, "a")
    assert (made.caption, made.motion.weight, made.error) == ("none", "none", "frame_difference")
    assert (made.contrast, made.motion.camera, made.timesteps) == ("none", "keep", (751,))
    again = CliRunner().invoke(app, [*named, "--index", "a", "--recipe", "paper"])
    assert isinstance(again.exception, CatalogError)
    assert "caption: none != own" in str(again.exception)
    variables = {"MOTIONTRACE_RECIPE": "paper", "MOTIONTRACE_CONTRAST": "time_reversed"}
    done = CliRunner().invoke(app, [*named, "--index", "b"], env=variables)
    assert done.exit_code == 0, done.output
    assert recipe(home, "b").contrast == "time_reversed"


def test_an_unknown_recipe_is_refused_with_those_that_there_are():
    register()
    refused = CliRunner().invoke(app, ["index", "clips", "--model", "m", "--index", "x", "--recipe", "papers"])
    assert refused.exit_code == 2
    assert all(name in refused.output for name in ("--recipe", *PRESETS))


def test_gradients_scales_are_measured_once_for_an_index_and_its_queries_are_computed_by_them(clips, model, tmp_path):
    home = tmp_path / "home"
    options = {"gradient_normalisation": "tensors", "noise": "own", "timesteps": [751, 400]}
    said = index(clips, model, home, options)
    made = recipe(home)
    assert made.gradient_scales is not None
    assert np.log(made.gradient_scales).mean() == pytest.approx(0, abs=1e-3)
    few, many = min(made.gradient_scales), max(made.gradient_scales)
    assert f"gradients' scales of {len(made.gradient_scales)} parameters: {few:g} to {many:g}" in said
    engine = load_engine(str(model), made.unmeasured(), device="cpu")
    assert measure_gradient_scales(read_manifest(clips), engine).recipe == made
    for name in ("right", "up"):
        answer = ask_index(
            ServiceSettings(home=home, device="cpu"), clips / f"{name}.mp4", f"a square moves {name}", k=4
        )
        assert (answer.top[0].id, answer.ranked) == (name, 4)
        assert answer.top[0].score == pytest.approx(1, abs=2e-3)
    assert "5 unchanged" in index(clips, model, home)
    with pytest.raises(ManifestError, match="--gradient-normalisation none"):
        write_manifest(clips, ["still"])
        index(clips, model, tmp_path / "other", options)

"""Indexes by named recipes and by options of the method, and queries that are computed by the same."""

import json
from io import StringIO

import numpy as np
import pytest
import torch
import typer
from rich.console import Console
from typer.testing import CliRunner

from motiontrace.answering.ask import ask
from motiontrace.answering.settings import AnsweringSettings
from motiontrace.attribution.engine import MotionEngine, load_engine, plan_recipe
from motiontrace.attribution.families import find_checkpoint
from motiontrace.attribution.gradient import channel_scales
from motiontrace.attribution.presets import PRESETS
from motiontrace.attribution.recipe import Recipe
from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.publishing import recipe_of
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.cli import app, register
from motiontrace.commands.indexing import building
from motiontrace.documents.questions import VideoQuestion
from motiontrace.indexer.build import build_index
from motiontrace.indexer.manifest import ManifestError, read_manifest
from motiontrace.indexer.measuring import KeptScales, measure_channel_scales, measure_gradient_scales
from tests.checkpoints import edited
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
    with building(console, folder, str(model)) as heard:
        places = CatalogSettings(home=home)
        build_index(folder, str(model), name, settings or {}, places, heard, device="cpu", basis_clips=0)
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
    monkeypatch.setattr("motiontrace.indexer.measuring.CLIPS", 2)
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
        answer = ask(AnsweringSettings(home=home, device="cpu"), VideoQuestion(clips / f"{name}.mp4", "anything", k=4))
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
        answer = ask(
            AnsweringSettings(home=home, device="cpu"),
            VideoQuestion(clips / f"{name}.mp4", f"a square moves {name}", k=4),
        )
        assert (answer.top[0].id, answer.ranked) == (name, 4)
        assert answer.top[0].score == pytest.approx(1, abs=2e-3)
    assert "5 unchanged" in index(clips, model, home)
    write_manifest(clips, ["still", "broken"])
    with pytest.raises(
        ManifestError, match=r"(?s)--gradient-normalisation none .*still.mp4: nothing moves\n.*broken.mp4: "
    ):
        index(clips, model, tmp_path / "other", options)


TENSORS = {"gradient_normalisation": "tensors"}


def test_a_run_that_was_killed_goes_on_with_the_scales_that_it_had_measured(clips, model, tmp_path, monkeypatch):
    """Other scales would be another recipe, and all that was computed by it would be lost."""
    home = tmp_path / "home"

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("motiontrace.indexer.build.open_index", killed)
        with pytest.raises(typer.Exit):
            index(clips, model, home, TENSORS)
    (file,) = (home / "calibration" / "test").glob("*.json")
    kept = json.loads(file.read_text())["gradient_scales"]
    write_manifest(clips, ["right", "left"])  # other clips would give other scales
    with monkeypatch.context() as patched:
        patched.setattr(MotionEngine, "gradient_squares", killed)
        index(clips, model, home, TENSORS)
    assert list(recipe(home).gradient_scales) == kept
    assert not file.exists()


def test_kept_scales_that_cannot_be_read_are_measured_again(clips, model, tmp_path):
    home = tmp_path / "home"
    planned = plan_recipe(find_checkpoint(str(model)), TENSORS)
    kept = KeptScales(CatalogSettings(home=home), "test", planned)
    kept.save(planned.with_gradient_scales((1.0, 2.0)))
    (file,) = (home / "calibration" / "test").glob("*.json")
    for damaged in ("", "[]", '{"gradient_scales": [-1]}', '{"gradient_scales": [1.0, 2.0]}'):
        file.write_text(damaged)
        engine = load_engine(str(model), planned, device="cpu")
        assert kept.given_to(engine) is engine


def test_a_clip_that_fails_as_none_should_costs_itself(clips, model, monkeypatch):
    engine = load_engine(str(model), plan_recipe(find_checkpoint(str(model)), TENSORS), device="cpu")
    measure = engine.gradient_squares

    def falls_over(clip, caption):
        if caption.endswith("up"):
            raise RuntimeError("out of memory")
        return measure(clip, caption)

    monkeypatch.setattr(engine, "gradient_squares", falls_over)
    heard = []
    measure_gradient_scales(read_manifest(clips), engine, on_clip=heard.append)
    assert heard == [1, 2, 3]
    monkeypatch.setattr("motiontrace.indexer.measuring.SURPRISES", 1)
    with pytest.raises(RuntimeError, match="out of memory"):
        measure_gradient_scales(read_manifest(clips), engine)


def test_the_default_recipe_from_a_folder_of_clips_to_an_answer(clips, model, tmp_path):
    checkpoint = edited(model, tmp_path, "model_index.json")
    (checkpoint / "motiontrace.json").write_text('{"height": 32, "width": 32, "frames": 5}')
    home = tmp_path / "home"
    index(clips, checkpoint, home)
    made = recipe(home)
    assert (made.noise, made.gradient_normalisation, made.motion.weight) == ("own", "tensors", "query")
    assert made.timesteps == PRESETS["default"]["timesteps"] and made.gradient_scales is not None
    answer = ask(
        AnsweringSettings(home=home, device="cpu"), VideoQuestion(clips / "right.mp4", "a square moves right", k=4)
    )
    # The mask is the query's alone, so a clip is not the whole of itself.
    assert (answer.top[0].id, answer.ranked) == ("right", 4)
    assert 0.5 < answer.top[0].score < 1

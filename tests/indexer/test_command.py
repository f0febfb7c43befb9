"""motiontrace index, and who asks its index: the basis from the first run on, and what is said where it is gone."""

import json
import re
import shutil
from io import StringIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from typer.testing import CliRunner

from motiontrace.answering.ask import ask
from motiontrace.answering.engines import Engines
from motiontrace.answering.settings import AnsweringSettings
from motiontrace.attribution.basis import MIN_BASIS_CLIPS, Basis, learn_basis
from motiontrace.attribution.engine import load_engine
from motiontrace.attribution.errors import BasisError, RecipeMismatchError
from motiontrace.attribution.factorised import FactorisedGradients
from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.publishing import recipe_of
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.cli import app, register
from motiontrace.commands import options
from motiontrace.commands.indexing import building, print_built
from motiontrace.documents.questions import VideoQuestion
from motiontrace.indexer.build import build_index
from motiontrace.indexer.calibration import MAX_BASIS_CLIPS, CalibrationSettings
from motiontrace.indexer.manifest import ManifestError
from motiontrace.service.app import create_app
from motiontrace.service.settings import ServiceSettings
from tests.indexer.runs import other_world, write_manifest
from tests.videos import moving_square

CLIPS = 66
PROMPT = "a square moves clip-03"


def index(folder, model, home, settings=None, name="test", **options):
    """What motiontrace index prints."""
    console = Console(file=StringIO(), width=200)
    with building(console, folder, str(model)) as heard:
        places = CatalogSettings(home=home)
        built = build_index(folder, str(model), name, settings or {}, places, heard, device="cpu", **options)
    print_built(console, built)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of enough moving clips for a basis."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    names = [f"clip-{number:02d}" for number in range(CLIPS)]
    for name in names:
        moving_square(folder / f"{name}.mp4", *rng.uniform(-3, 3, 2))
    write_manifest(folder, names)
    return folder


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, corpus, model):
    """A home with the corpus's index, and what was printed."""
    home = tmp_path_factory.mktemp("home")
    return home, index(corpus, model, home)


@pytest.fixture
def home(indexed, tmp_path):
    """A copy of it, to be changed at will."""
    return shutil.copytree(indexed[0], tmp_path / "home")


def recipe(home):
    database = Database.open(CatalogSettings(home=home).url)
    with database.reading() as session:
        found = recipe_of(IndexRepository(session).get("test"))
    database.close()
    return found


def change_recipe(home, change):
    database = Database.open(CatalogSettings(home=home).url)
    with database.writing() as session:
        record = IndexRepository(session).get("test")
        values = json.loads(record.recipe)
        change(values)
        record.recipe = json.dumps(values)
    database.close()


def basis_file(home):
    return home / "bases" / f"{recipe(home).projection.basis}.safetensors"


def said_by_the_service(home, corpus):
    """What /readyz and a query say of an index that cannot be asked."""
    settings = ServiceSettings(home=home, device="cpu")
    with TestClient(create_app(settings)) as client:
        with (corpus / "clip-03.mp4").open("rb") as video:
            asked = client.post(
                "/v1/queries",
                files={"video": ("a.mp4", video, "video/mp4")},
                data={"prompt": PROMPT},
                headers={"Prefer": "wait=30"},
            ).json()
        return client.get("/readyz").json()["detail"], asked["error"]


def test_a_new_index_says_what_it_is_made_with_and_ranks_by_its_basis(indexed, corpus):
    home, said = indexed
    assert "attributed: 36,720 of the denoiser's 36,720 parameters (100%), gradients factorised" in said
    assert f"\nlearning the basis: {CLIPS} clips\n" in said
    assert f"\nlearning the basis: {CLIPS}/{CLIPS} clips, in " in said
    assert f"\nindexing: {CLIPS}/{CLIPS} clips, in " in said
    assert re.search(
        rf"basis learned from {CLIPS} clips: of one like them that it has not seen it holds (9\d|100)%", said
    )
    assert "not learned from" not in said
    assert "warning" not in said
    answer = ask(AnsweringSettings(home=home, device="cpu"), VideoQuestion(corpus / "clip-03.mp4", PROMPT, k=3))
    assert (answer.top[0].id, answer.ranked) == ("clip-03", CLIPS)
    assert answer.top[0].score == pytest.approx(1, abs=2e-3)


def test_an_existing_index_keeps_its_basis_and_one_without_stays_without(home, corpus, model, tmp_path):
    before = recipe(home)
    shutil.copytree(corpus, tmp_path / "more")
    moving_square(tmp_path / "more" / "new.mp4", 3, -1)
    write_manifest(tmp_path / "more", ["new"])
    said = index(tmp_path / "more", model, home, basis_clips=64)
    assert "learning the basis" not in said
    assert re.search(r"clips that the basis was not learned from: 1, it holds \d+% of them; \d+% is usual", said)
    assert recipe(home) == before
    plain = tmp_path / "plain"
    said = index(tmp_path / "more", model, plain, basis_clips=0) + index(corpus, model, plain)
    assert "basis" not in said
    assert recipe(plain).projection.basis is None


def test_too_few_clips_are_said_in_one_line(tmp_path, clips, model):
    said = index(clips, model, tmp_path / "home")
    assert (
        "4 moving clips are too few to learn a basis from (64); the plain random projection is used. "
        "An index of more clips is ranked more faithfully.\n"
    ) in said
    assert recipe(tmp_path / "home").projection.basis is None


def test_a_sample_too_large_to_learn_from_is_refused_on_the_command_line():
    assert (CalibrationSettings().clips, MAX_BASIS_CLIPS) == (options.BASIS_CLIPS, options.MAX_BASIS_CLIPS)
    assert MIN_BASIS_CLIPS == options.MIN_BASIS_CLIPS
    register()
    arguments = ["index", "clips", "--model", "m", "--index", "x", "--basis-clips", str(MAX_BASIS_CLIPS + 1)]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "--basis-clips" in refused.output
    assert str(MAX_BASIS_CLIPS) in refused.output


def test_a_batch_is_taken_as_given_and_measured_where_none_is(tmp_path, corpus, model, monkeypatch):
    sketch, batches = FactorisedGradients.sketch, []

    def heard(gradients, batch, *others):
        batches.append(batch)
        return sketch(gradients, batch, *others)

    monkeypatch.setattr(FactorisedGradients, "sketch", heard)
    index(corpus, model, tmp_path / "given", basis_clips=0, batch=33)
    assert batches[-2:] == [33, 33]
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "none.mp4", "caption": "a"}\n')
    (tmp_path / "none.mp4").write_text("no video")
    batches.clear()
    index(tmp_path, model, tmp_path / "measured", basis_clips=0)
    assert 2 in batches  # with no clip to index, two at once were tried


def test_no_video_being_there_is_told_before_anything_is_loaded_or_made(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "none.mp4", "caption": "a"}\n')
    with pytest.raises(
        ManifestError, match=rf"none of the 1 videos .* looked for in {tmp_path}, the first as .*none.mp4"
    ):
        index(tmp_path, "no model", tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_rows_that_are_no_clips_are_counted_by_reason_and_refuse_a_strict_run(tmp_path, model, monkeypatch):
    moving_square(tmp_path / "a.mp4", 2, 0)
    rows = [
        '{"file_name": "a.mp4", "caption": "a"}',
        '{"file_name": "b.mp4"}',
        '{"file_name": "c.mp4", "caption": [1]}',
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    register()
    arguments = [
        "index",
        str(tmp_path),
        "--model",
        str(model),
        "--index",
        "test",
        "--home",
        str(tmp_path / "home"),
        "--basis-clips",
        "0",
        "--gradient-normalisation",
        "none",
    ]
    strict = CliRunner().invoke(app, [*arguments, "--strict"])
    assert isinstance(strict.exception, ManifestError)
    assert "line 2: there is no column for the caption" in str(strict.exception)
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    block = ran.output[ran.output.rindex("2 of the 3 rows of") :]
    assert "\n  no column for the caption, 1 row (line 2): " in block
    assert "\n  the caption is no text, 1 row (line 3): " in block


def test_what_would_refuse_the_index_does_so_before_the_basis_is_learned(tmp_path, clips, model):
    home = tmp_path / "home"
    vectors = home / "indexes" / "test"
    vectors.mkdir(parents=True)
    (vectors / "0.segment").touch()
    with pytest.raises(CatalogError, match="holds vectors already"):
        index(clips, model, home)
    assert not (home / "calibration").exists()


def test_clips_unlike_those_of_the_basis_are_warned_of(home, corpus, model):
    width, dim = recipe(home).projection.width, recipe(home).dim
    basis = learn_basis(other_world(CLIPS, width), dim)
    basis.save(home / "bases")
    shutil.rmtree(home / "indexes")
    (home / "catalog.db").unlink()
    said = index(corpus, model, home, {"projection": {"basis": basis.digest}}, basis_clips=0)
    assert "warning: these clips differ much from those that the index was made of" in said
    assert "make a new index of all clips" in said


def test_indexes_that_differ_in_the_basis_alone_share_the_model(home, corpus, model, monkeypatch):
    index(corpus, model, home, name="plain", basis_clips=0)
    loaded = []

    def load(*arguments, **more):
        loaded.append(arguments[0])
        return load_engine(*arguments, **more)

    monkeypatch.setattr("motiontrace.attribution.engine.load_engine", load)
    engines = Engines("cpu", home / "bases")
    database = Database.open(CatalogSettings(home=home).url)
    with database.reading() as session:
        made = {record.name: engines.of(record).recipe for record in IndexRepository(session).all()}
    database.close()
    assert made["test"] != made["plain"]
    assert made["test"].with_basis(None) == made["plain"]
    assert len(loaded) == 1


def test_a_basis_that_is_gone_or_damaged_is_said_in_words(home, corpus, model):
    file = basis_file(home)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BasisError, match="is damaged"):
        Basis.load(home / "bases", recipe(home).projection.basis)
    file.unlink()
    with pytest.raises(BasisError, match=file.name):
        index(corpus, model, home)
    with pytest.raises(BasisError, match=file.name):
        ask(AnsweringSettings(home=home, device="cpu"), VideoQuestion(corpus / "clip-03.mp4", PROMPT))
    ready, error = said_by_the_service(home, corpus)
    assert file.name in ready
    assert error["code"] == "model_unavailable"
    assert file.name in error["message"]


def test_an_index_of_an_earlier_version_is_refused_in_words(home, corpus, model):
    def first_version(values):
        values |= {"version": 1, "timestep": 751.0}
        del values["timesteps"], values["gradients"], values["projection"]["width"], values["projection"]["basis"]

    change_recipe(home, first_version)
    words = "'test' was made by an earlier version of motiontrace .* index again under another name"
    with pytest.raises(RecipeMismatchError, match=words):
        index(corpus, model, home)
    with pytest.raises(RecipeMismatchError, match=words):
        ask(AnsweringSettings(home=home, device="cpu"), VideoQuestion(corpus / "clip-03.mp4", PROMPT))
    ready, error = said_by_the_service(home, corpus)
    assert "earlier version" in ready
    assert error["code"] == "recipe_mismatch"
    assert "earlier version" in error["message"]

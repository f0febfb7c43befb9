"""A whole evaluation on a small model, by the command that people use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from motiontrace import cli
from motiontrace.catalog.locking import held
from motiontrace.curation.evaluation import settings as sizes
from motiontrace.curation.evaluation.errors import EvaluationError
from motiontrace.curation.evaluation.evaluate import BY_VOTES, FLOW, KNOWN, Corpus, evaluate
from motiontrace.curation.evaluation.methods import CENTRED, OURS, PAPER, UNTRAINED

if TYPE_CHECKING:
    from pathlib import Path

    from typer import Typer

TINY = sizes.EvaluationSettings(
    subsets=4,
    repeats=2,
    within=1,
    variants=False,
    random_selections=2,
    samples=1,
    training=sizes.TrainingSettings(steps=1, batch=2, loss_timesteps=(700.0,)),
)


@pytest.fixture(scope="module")
def app() -> Typer:
    cli.register()
    return cli.app


def test_an_evaluation_writes_its_figures_and_picture_and_goes_on_where_it_was(
    app: Typer, wan: Path, train: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sizes.SIZES, "small", TINY)
    output = tmp_path / "out"
    command = [
        "evaluate",
        str(train),
        str(held_out),
        "--model",
        str(wan),
        "--output",
        str(output),
        "--look",
        "colour",
        "--size",
        "small",
        "--gravity",
        "down=0.6",
        "--device",
        "cpu",
    ]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    assert "broken.mp4" in ran.output and "LDS over 20 clips, 4 held-out ones asking" in ran.output
    found = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    assert (found["clips"], found["held_out"], len(found["problems"])) == (20, 4, 1)
    assert list(found["datamodelling"]) == ["random halves", "motion-skewed", "within one motion"]
    assert found["reasons"]["motiontrace, shared noise"]
    for kind in found["datamodelling"].values():
        assert 0 <= kind["ceiling"] <= 1 and 0 < kind["chance"] <= 1
        assert {OURS.name, UNTRAINED.name, FLOW, KNOWN} <= set(kind["methods"])
        for method in kind["methods"].values():
            assert -1 <= method["score"]["low"] <= method["score"]["high"] <= 1
    # Two motions in two colours: flow tells the motions apart, and captions name both.
    assert found["retrieval"][KNOWN]["motion"]["share"] == 1
    assert found["retrieval"][FLOW]["motion"]["share"] > 0.8
    assert found["retrieval"][FLOW]["motion"]["chance"] == 0.5
    selections = found["counterfactual"]["selections"]
    assert {found["motion"] for found in selections} == {"right", "down"}
    base = [found for found in selections if found["method"] == "base"]
    assert all(found["clips"] == 0 and found["fall"] == 0 for found in base)
    assert all("dynamic_degree" in found["samples"] for found in selections)
    rows = {row["method"]: row for row in found["counterfactual"]["rows"]}
    drawn = [found["samples"]["dynamic_degree"] for found in selections if found["method"] == "random"]
    assert rows["random"]["samples"]["dynamic_degree"] == pytest.approx(np.mean(drawn))
    by_draw = np.reshape(drawn, (2, 2)).mean(0)  # a motion's two draws follow each other
    assert rows["random"]["samples_spread"]["dynamic_degree"] == pytest.approx(np.std(by_draw, ddof=1))
    assert not rows[OURS.name]["samples_spread"]
    # The clips are real motion, which the untrained model's videos are not.
    assert found["counterfactual"]["real"]["smoothness"] > rows["base"]["samples"]["smoothness"]
    assert "(the measured clips themselves)" in " ".join(ran.output.split())
    assert (output / "evaluation.png").read_bytes().startswith(b"\x89PNG")

    outcomes = (output / "outcomes.jsonl").read_text(encoding="utf-8")
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (output / "outcomes.jsonl").read_text(encoding="utf-8") == outcomes
    assert json.loads((output / "evaluation.json").read_text(encoding="utf-8")) == found


def test_the_counterfactual_may_be_asked_for_alone(
    app: Typer, wan: Path, train: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sizes.SIZES, "small", TINY)
    command = [
        "evaluate",
        str(train),
        str(held_out),
        "--model",
        str(wan),
        "--output",
        str(tmp_path),
        "--size",
        "small",
        "--no-datamodelling",
        "--samples",
        "0",
        "--device",
        "cpu",
    ]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    assert "LDS" not in ran.output and "picture:" not in ran.output and not (tmp_path / "evaluation.png").exists()
    found = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert found["datamodelling"] == {} and found["retrieval"][KNOWN]["motion"]["share"] == 1
    assert {OURS.name, CENTRED.name, BY_VOTES, PAPER.name, FLOW, KNOWN, "random"} <= {
        row["method"] for row in found["counterfactual"]["rows"]
    }
    assert not any(row["samples"] for row in found["counterfactual"]["rows"])
    assert found["counterfactual"]["real"] == {} and "themselves" not in ran.output


def test_a_column_that_clips_do_not_have_is_told_before_anything_is_computed(
    app: Typer, train: Path, held_out: Path, tmp_path: Path
) -> None:
    command = ["evaluate", str(train), str(held_out), "--model", "none", "--output", str(tmp_path), "--look", "weather"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code != 0 and "has no 'weather' in the manifest" in str(ran.exception or ran.output)
    assert not (tmp_path / "clips.json").exists()


def test_two_runs_do_not_share_a_folder(wan: Path, tmp_path: Path) -> None:
    corpus = Corpus([], [], "motion", [], [], {}, None)
    with held(tmp_path / ".evaluating"), pytest.raises(EvaluationError, match="another run is at work in"):
        evaluate(str(wan), corpus, TINY, tmp_path, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--size", "huge", "none of small"),
        ("--gravity", "down", "MOTION=G"),
        ("--gravity", "down=-1", "MOTION=G"),
        ("--gravity", "down=inf", "MOTION=G"),
        ("--fps", "nan", "--fps"),
    ],
)
def test_wrong_options_are_said(app: Typer, train: Path, tmp_path: Path, option: str, value: str, said: str) -> None:
    command = ["evaluate", str(train), str(train), "--model", "x", "--output", str(tmp_path), option, value]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 2 and said in ran.output.replace("\n", " ")

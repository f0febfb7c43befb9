"""A query is centred, or in American English centered; what is stored and shown is the former."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from typer.testing import CliRunner

from motiontrace.answering.ranking import preconditioning
from motiontrace.cli import app, register
from motiontrace.curation.selection.settings import SelectionSettings
from motiontrace.preconditions import Precondition

ADAPTER: TypeAdapter[Precondition] = TypeAdapter(Precondition)


@pytest.mark.parametrize("word", ["none", "centre", "whiten"])
def test_words_stay(word: str) -> None:
    assert ADAPTER.validate_python(word) == word


def test_center_is_read_as_centre_in_python() -> None:
    assert ADAPTER.validate_python("center") == "centre"
    assert SelectionSettings.model_validate({"precondition": "center"}).precondition == "centre"
    assert preconditioning("center", None) == {"kind": "centre"}  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["Center", "middle", "", None, 3])
def test_other_words_are_refused(word: object) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(word)


def test_center_is_read_from_variables_and_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    register()
    arguments = ["select", "--home", str(tmp_path), "--stored", "a", "--budget", "1", "--damping", "2"]
    for word, refused in (("center", "only --precondition whiten has one"), ("middle", "is not one of")):
        said = CliRunner().invoke(app, arguments, env={"MOTIONTRACE_PRECONDITION": word})
        assert (said.exit_code, refused in said.output) == (2, True), said.output
        Path("motiontrace.toml").write_text(f'precondition = "{word}"\n')
        said = CliRunner().invoke(app, arguments)
        assert (said.exit_code, refused in said.output) == (2, True), said.output
        Path("motiontrace.toml").unlink()

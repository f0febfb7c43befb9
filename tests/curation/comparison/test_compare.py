"""A whole comparison of two small real models: files, page, picture, and going on where it stopped."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from motiontrace.attribution.errors import ModelError
from motiontrace.catalog.locking import held
from motiontrace.cli import app, register
from motiontrace.curation.comparison.compare import compare
from motiontrace.curation.comparison.models import find_models
from motiontrace.curation.comparison.page import write_page
from motiontrace.curation.comparison.picture import write_picture
from motiontrace.curation.comparison.prompts import Prompt
from motiontrace.curation.comparison.videos import read_exact, write_exact, write_playable
from tests.checkpoints import tiny_cogvideox, tiny_wan

PROMPTS = [Prompt("a ball falls", 0.6), Prompt('<script>alert("x")</script> & a box')]
CHOSEN = {"steps": 2, "guidance": 1.0, "fps": 6.0}


class Heard:
    """Notes what a comparison tells, and may stop it."""

    def __init__(self, stop_after: float = np.inf) -> None:
        self.missing: dict[str, int] = {}
        self.videos = 0.0
        self.measured_videos = 0
        self._stop_after = stop_after

    def loading(self, what: str) -> None: ...

    def generating(self, label: str, missing: int, total: int) -> None:
        self.missing[label] = missing

    def stepped(self, videos: float) -> None:
        self.videos += videos
        if self.videos > self._stop_after:
            raise KeyboardInterrupt

    def measuring(self, total: int) -> None:
        self.total = total

    def measured(self) -> None:
        self.measured_videos += 1


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_wan(tmp_path_factory.mktemp("base"), blocks=1)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return tiny_wan(tmp_path_factory.mktemp("tuned"), seed=1, blocks=1)


@pytest.fixture(scope="module")
def run(base, tuned, tmp_path_factory):
    """A finished comparison and what was heard of it."""
    heard = Heard()
    folder = tmp_path_factory.mktemp("comparison")
    comparison = compare(str(base), str(tuned), PROMPTS, [0, 3], folder, heard, chosen=CHOSEN, device="cpu")
    return comparison, heard


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run[0].folder, tmp_path / "comparison")


def test_everything_is_generated_once_and_measured(run):
    comparison, heard = run
    assert heard.missing == {"base": 4, "tuned": 4}
    assert heard.videos == pytest.approx(8)
    assert heard.measured_videos == heard.total == 8
    assert len(list((comparison.folder / "exact").glob("*.mkv"))) == 8
    assert len(list((comparison.folder / "videos").glob("*.mp4"))) == 16


def test_json_has_every_pair_and_the_totals(run):
    document = json.loads((run[0].folder / "comparison.json").read_text())
    assert [(row["prompt"], row["seed"]) for row in document["videos"]] == [
        (prompt.text, seed) for prompt in PROMPTS for seed in (0, 3)
    ]
    assert document["settings"] == {
        "frames": 5,
        "height": 32,
        "width": 32,
        "steps": 2,
        "guidance": 1.0,
        "fps": 6.0,
        "dtype": "float32",
    }
    degrees = [[row[label]["measures"]["dynamic_degree"] for row in document["videos"]] for label in ("base", "tuned")]
    total = document["totals"]["dynamic_degree"]
    assert total["difference"] == pytest.approx(np.mean(degrees[1]) - np.mean(degrees[0]))
    assert total["pairs"] == 4
    assert len(document["videos"][0]["base"]["track"]["y"]) == 5


def test_the_same_model_differs_from_itself_in_nothing(base, tmp_path):
    heard = Heard()
    comparison = compare(str(base), str(base), PROMPTS[:1], [0], tmp_path, heard, chosen=CHOSEN, device="cpu")
    assert heard.missing == {"base": 1, "tuned": 0}
    assert {total.difference for total in comparison.totals.values() if total.pairs} == {0.0}


def test_nothing_is_generated_again(run, base, tuned, copied):
    before = {file.name: file.stat().st_mtime_ns for file in (copied / "exact").iterdir()}
    heard = Heard()
    again = compare(str(base), str(tuned), PROMPTS, [0, 3], copied, heard, chosen=CHOSEN, device="cpu")
    assert heard.missing == {"base": 0, "tuned": 0}
    assert {file.name: file.stat().st_mtime_ns for file in (copied / "exact").iterdir()} == before
    assert again.totals == run[0].totals


def test_what_is_new_or_damaged_is_generated(base, tuned, copied):
    first = min((copied / "exact").iterdir())
    content = read_exact(first)
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    heard = Heard()
    compare(str(base), str(tuned), PROMPTS, [0, 3, 4], copied, heard, chosen=CHOSEN, device="cpu")
    assert sum(heard.missing.values()) == 2 * 2 + 1
    assert np.abs(read_exact(first).astype(int) - content).max() <= 1
    heard = Heard()
    compare(str(base), str(tuned), PROMPTS[:1], [0], copied, heard, chosen=CHOSEN | {"steps": 1}, device="cpu")
    assert heard.missing == {"base": 1, "tuned": 1}


def test_a_run_that_was_stopped_goes_on(base, tuned, tmp_path):
    arguments = (str(base), str(tuned), PROMPTS, [0], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        compare(*arguments, Heard(stop_after=1.2), chosen=CHOSEN, batch=1, device="cpu")
    heard = Heard()
    compare(*arguments, heard, chosen=CHOSEN, batch=1, device="cpu")
    assert heard.missing == {"base": 1, "tuned": 2}


def test_two_runs_do_not_share_a_folder(base, tuned, tmp_path):
    with held(tmp_path / ".comparing"), pytest.raises(OSError, match="Another comparison is at work"):
        compare(str(base), str(tuned), PROMPTS, [0], tmp_path, Heard(), chosen=CHOSEN, device="cpu")
    assert not any(tmp_path.glob("exact/*"))


def test_other_frames_a_second_need_no_new_videos(base, tuned, copied):
    heard = Heard()
    comparison = compare(
        str(base), str(tuned), PROMPTS, [0], copied, heard, chosen=CHOSEN | {"fps": 12.0}, device="cpu"
    )
    assert heard.missing == {"base": 0, "tuned": 0}
    with av.open(str(copied / comparison.videos["base"][0][0].shown)) as container:
        assert container.streams.video[0].average_rate == 12


def test_videos_are_kept_exactly_and_played_by_browsers(run, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 34, 50, 3), dtype=np.uint8)
    write_exact(tmp_path / "a.mkv", frames)
    assert np.array_equal(read_exact(tmp_path / "a.mkv"), frames)
    write_playable(tmp_path / "a.mp4", frames[:, :33, :49], 7.5)
    for file in (tmp_path / "a.mp4", run[0].folder / run[0].videos["tuned"][1][1].heat):
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert stream.height % 2 == stream.width % 2 == 0
            assert min(stream.height, stream.width) >= 192
    assert read_exact(tmp_path / "none.mkv") is None


@pytest.mark.parametrize("name", ["2026-01-01T10:00", 'it\'s "a"\n%d für'])
def test_videos_are_kept_in_folders_of_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # a relative path: to FFmpeg what is before its first colon is a protocol
    (folder := Path(name)).mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    write_exact(folder / "a.mkv", frames)
    write_playable(folder / "a.mp4", frames, 8)
    assert np.array_equal(read_exact(folder / "a.mkv"), frames)
    assert sorted(path.name for path in folder.iterdir()) == ["a.mkv", "a.mp4"]


def test_page_shows_each_pair_and_needs_nothing_else(run):
    page = write_page(run[0]).read_text()
    assert page.count("<figure>") == 8
    assert page.count('src="data:video/mp4;base64,') == page.count("<video ") == 16
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert 'data-seconds="0.8333"' in page


def test_page_takes_a_prompt_for_text(run):
    page = write_page(run[0]).read_text()
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; a box" in page
    assert page.count("<script>") == 1
    assert "alert(" not in page.split("</main>")[1]


def test_page_of_many_videos_refers_to_their_files(run, monkeypatch):
    monkeypatch.setattr("motiontrace.curation.comparison.page.LARGEST_PAGE", 100)
    page = write_page(run[0]).read_text()
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 16
    assert all((run[0].folder / source).is_file() for source in sources)


def test_picture_is_drawn(run):
    picture = cv2.imread(str(write_picture(run[0])))
    assert picture.shape[1] == 1300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000


def test_models_are_told_apart_by_all_that_shapes_a_video(base, tuned, tmp_path):
    first, second = find_models(str(base), str(tuned))
    assert first.digest != second.digest
    sampler = shutil.copytree(base, tmp_path / "sampler")
    file = sampler / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "flow_shift": 9.0}))
    assert find_models(str(base), str(sampler))[1].digest != first.digest


def test_tuned_models_that_do_not_belong_are_refused(base, tmp_path):
    with pytest.raises(ModelError, match="holds neither a LoRA"):
        find_models(str(base), str(tmp_path))
    with pytest.raises(ModelError, match="of the wan family"):
        find_models(str(base), str(tiny_cogvideox(tmp_path / "cogvideox")))
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"")
    (tmp_path / "finetuning.json").write_text('{"model": "/other", "made_from": {"checkpoint": "00"}}')
    with pytest.raises(ModelError, match="was trained on another checkpoint, /other"):
        find_models(str(base), str(tmp_path))


def command(*arguments: object):
    register()
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_command_leaves_page_picture_and_figures(base, tuned, tmp_path):
    result = command(
        base,
        tuned,
        "--prompt",
        "a ball falls",
        "--seeds",
        "0-1,5",
        "--output",
        tmp_path,
        "--steps",
        1,
        "--device",
        "cpu",
        "--fps",
        6,
        "--gravity",
        0.6,
    )
    assert result.exit_code == 0, result.output
    assert "dynamic degree" in result.output
    for name in ("comparison.html", "comparison.png", "comparison.json"):
        assert (tmp_path / name).stat().st_size > 1000
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["seed"] for row in document["videos"]] == [0, 1, 5]
    assert {row["gravity"] for row in document["videos"]} == {0.6}


@pytest.mark.parametrize("option", ["--gravity", "--fps", "--guidance"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_command_refuses_numbers_that_are_none(base, tmp_path, option, value):
    result = command(base, base, "--prompt", "x", "--output", tmp_path / "out", option, value)
    assert result.exit_code == 2 and option in result.output
    assert not (tmp_path / "out").exists()


def test_command_refuses_a_device_that_is_none(base, tmp_path):
    result = command(base, base, "--prompt", "x", "--output", tmp_path / "out", "--device", "toaster")
    assert result.exit_code == 2 and "toaster" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seeds", ["", "a", "-1", "3-1", "1-100000", "1.5", "9" * 19])
def test_command_refuses_seeds_that_are_none(base, tmp_path, seeds):
    result = command(base, base, "--prompt", "x", "--output", tmp_path / "out", f"--seeds={seeds}")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()

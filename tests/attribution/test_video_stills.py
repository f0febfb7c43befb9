"""Decoding: the one picture that stands for a clip."""

from pathlib import Path
from typing import Any

import pytest

from motiontrace.attribution.video import thumbnail
from tests.attribution.videos import broken, counted, picture_number, remux, write_video

FRAMES = 33
MIDDLE = 16


def clip(path: Path, codec: str = "libx264", **options: str) -> Path:
    return write_video(path, counted(FRAMES), codec=codec, rate=25, options={"g": "12", "bf": "2", **options})


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".ts", "libx264"),
        (".ts", "mpeg2video"),
        (".mpg", "mpeg2video"),
        (".avi", "mpeg4"),
        (".flv", "libx264"),
        (".mkv", "libx264"),
        (".mp4", "libx264"),
        (".mov", "mpeg4"),
        (".nut", "libx264"),
    ],
)
def test_the_still_is_the_middle_picture_in_every_container(tmp_path: Path, suffix: str, codec: str) -> None:
    assert abs(picture_number(thumbnail(clip(tmp_path / f"clip{suffix}", codec))) - MIDDLE) <= (codec == "mpeg2video")


def test_an_index_that_calls_other_pictures_key_frames_leads_to_no_rubbish(tmp_path: Path) -> None:
    def all_key(number: int, packet: Any) -> list[Any]:
        packet.is_keyframe = number % 3 == 0
        return [packet]

    source = clip(tmp_path / "clip.mp4", g="100", bf="0")
    assert picture_number(thumbnail(remux(source, tmp_path / "wrong.mp4", all_key))) == MIDDLE


def test_damage_ahead_of_the_middle_does_not_cost_the_still(tmp_path: Path) -> None:
    source = clip(tmp_path / "clip.mp4", bf="0", g="12")
    assert picture_number(thumbnail(broken(source, tmp_path / "broken.mp4", [13]))) in (MIDDLE - 1, MIDDLE)

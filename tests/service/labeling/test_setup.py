"""The labelling set-up of our projects, and what a project of somebody else's has to have."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from motiontrace.documents.label_studio import VERDICTS, NewPush
from motiontrace.service.labeling.label_studio.setup import CONTROLS, Setup, SetupError, label_config
from tests.service.labeling.projects import PROJECT
from tests.service.labeling.standin import parsed

if TYPE_CHECKING:
    from collections.abc import Callable

VERDICT_TEXTS = st.lists(
    st.text(min_size=1, max_size=64).filter(
        lambda text: text.isprintable() and text == text.strip() and text[0] != "$"
    ),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(VERDICT_TEXTS)
def test_any_verdict_that_a_push_may_bring_is_offered_letter_by_letter(verdicts: list[str]) -> None:
    asked = NewPush(queries=["q"], verdicts=verdicts)
    config = ElementTree.fromstring(label_config(asked.verdicts).encode())
    offered = [choice.get("value") for choice in config.iterfind("./Choices[@name='verdict']/Choice")]
    assert offered == verdicts


@pytest.mark.parametrize(
    "verdict", ["", " realistic", "two\nlines", "tab\tbed", "$caption", "nul\0", "half \ud800", "x" * 65, "\ufffe"]
)
def test_a_verdict_that_the_set_up_cannot_show_is_refused(verdict: str) -> None:
    with pytest.raises(ValidationError, match="verdicts"):
        NewPush(queries=["q"], verdicts=[verdict])


def test_frames_are_counted_by_the_frame_rate_of_each_clip() -> None:
    video = ElementTree.fromstring(label_config()).find("./Video[@name='video']")
    assert video is not None
    assert (video.get("value"), video.get("frameRate")) == ("$video", "$fps")


def test_our_own_set_up_as_label_studio_reads_it_is_fit() -> None:
    assert (PROJECT["label_config"], PROJECT["parsed_label_config"]) == (label_config(), parsed(label_config()))
    setup = Setup.of(PROJECT)
    assert setup.verdicts == VERDICTS
    assert (setup.segments, setup.boxes) == (("influential motion", "bad motion"), ("moving object",))


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_a_project_without_one_of_our_controls_is_told_which(name: str) -> None:
    project = changed(lambda controls: controls.pop(name))
    with pytest.raises(SetupError, match=f"{CONTROLS[name][0]} named '{name}' with toName='{CONTROLS[name][1]}'"):
        Setup.of(project)


def test_a_control_of_another_kind_or_of_another_object_is_not_ours() -> None:
    with pytest.raises(SetupError) as error:
        Setup.of(changed(lambda controls: controls["verdict"].update(type="Rating")))
    assert error.value.missing == ("Choices named 'verdict' with toName='video'",)
    with pytest.raises(SetupError, match="TimelineLabels named 'segment' with toName='video'"):
        Setup.of(changed(lambda controls: controls["segment"].update(to_name=["clip"])))


def test_an_object_that_reads_another_field_of_the_data_is_not_ours() -> None:
    project = changed(lambda controls: controls["box"]["inputs"][0].update(value="url"))
    with pytest.raises(SetupError, match="\\$video"):
        Setup.of(project)


@pytest.mark.parametrize(
    "video",
    ['<Video name="video" value="$video"/>', '<Video name="video" value="$video" frameRate="8"/>', "<Video", ""],
)
def test_a_fixed_frame_rate_would_shift_what_reviewers_mark_and_is_not_fit(video: str) -> None:
    with pytest.raises(SetupError, match='frameRate="\\$fps"'):
        Setup.of({**PROJECT, "label_config": f"<View>{video}</View>"})


def test_attributes_are_read_in_any_case_as_label_studio_does() -> None:
    config = '<View><Video name="video" value="$video" framerate="$fps"/></View>'
    assert Setup.of({**PROJECT, "label_config": config}).verdicts == VERDICTS


def test_a_project_without_any_set_up_is_told_all_that_it_lacks() -> None:
    with pytest.raises(SetupError) as error:
        Setup.of({"label_config": None, "parsed_label_config": None})
    assert len(error.value.missing) == len(CONTROLS) + 1


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    project = copy.deepcopy(PROJECT)
    change(project["parsed_label_config"])
    return project

"""Prompts from files and the command line."""

from __future__ import annotations

import json
import os

import pytest

from motiontrace.curation.comparison.prompts import Prompt, PromptsError, read_prompts


def test_lines_of_a_text_are_prompts_each_once(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a ball falls\n\n  a box rolls \na ball falls\n", encoding="utf-8-sig")
    assert read_prompts(file, ["a star spins", "a box rolls"], None) == [
        Prompt("a ball falls"),
        Prompt("a box rolls"),
        Prompt("a star spins"),
    ]


def test_objects_may_bring_their_own_gravity(tmp_path):
    file = tmp_path / "heldout.jsonl"
    file.write_text('{"prompt": "a ball falls", "gravity": 0.6}\n{"caption": "a box rolls", "id": "x"}\n')
    assert read_prompts(file, [], 4.5) == [Prompt("a ball falls", 0.6), Prompt("a box rolls", 4.5)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2: not valid JSON"),
        ('{"text": "x"}', 'an object with "prompt"'),
        ('["x"]', "an object"),
        ('{"prompt": " "}', "an object"),
        ('{"prompt": "x", "gravity": -1}', "gravity is -1"),
        ('{"prompt": "x", "gravity": "9.8"}', "gravity is '9.8'"),
        ('{"prompt": "x", "gravity": NaN}', "gravity is nan"),
        ('{"prompt": "x", "gravity": true}', "gravity is True"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, why):
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"prompt": "fine"}}\n{line}\n')
    with pytest.raises(PromptsError, match=why):
        read_prompts(file, [], None)


@pytest.mark.parametrize("between", ["\u2028", "\x0b", "\x85"])
def test_only_ends_of_lines_divide_prompts(tmp_path, between):
    text = f"a ball{between}falls"
    (tmp_path / "prompts.txt").write_text(f"{text}\r\na box\n")
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": text}, ensure_ascii=False) + "\n")
    assert [each.text for each in read_prompts(tmp_path / "prompts.txt", [], None)] == [text, "a box"]
    assert [each.text for each in read_prompts(tmp_path / "prompts.jsonl", [], None)] == [text]


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "prompts.txt")
    for name, said in {"prompts.txt": "is a named pipe", "none.txt": "does not exist", ".": "is a folder"}.items():
        with pytest.raises(PromptsError, match=said):
            read_prompts(tmp_path / name, [], None)


def test_without_any_prompt_it_says_how_to_give_one(tmp_path):
    with pytest.raises(PromptsError, match="--prompts FILE"):
        read_prompts(None, [" "], None)
    (tmp_path / "latin.txt").write_bytes(b"\xe4\xff")
    with pytest.raises(PromptsError, match="not UTF-8"):
        read_prompts(tmp_path / "latin.txt", [], None)

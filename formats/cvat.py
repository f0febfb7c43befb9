"""A folder for CVAT: a task for each clip, with annotations in CVAT's own XML, and a script that makes the tasks.

The annotations are "CVAT for images 1.1": a tag on the first frame carries the clip's score and label as attributes,
and each frame in which something moves, or that reviewers marked, has a tag of that name. Boxes are tracks of the same
file, as "CVAT for video 1.1" has them: CVAT's one importer, "CVAT 1.1", reads both, and what comes as a track can be
followed and corrected by its keyframes, while boxes of single frames could not.
"""

from __future__ import annotations

import heapq
import json
import re
import shlex
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, get_args
from xml.sax.saxutils import escape, quoteattr

from motiontrace.documents.filters import Decision
from motiontrace.documents.label_studio import VERDICTS
from motiontrace.formats.bundle import folder_format
from motiontrace.formats.folder import File

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from motiontrace.formats.export import Subject
    from motiontrace.formats.folder import Clip, Clips

CLIP = "motiontrace"  # the label of a whole clip
MOTION = "motion"  # of what the index found
MARKED = "marked"  # of what reviewers marked without a word
NOTHING = "none"  # a value of CVAT's cannot be empty
MAX_VALUE = 4096  # characters of an attribute
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
README = """\
Clips that motiontrace ranked, for CVAT (https://docs.cvat.ai). With cvat-cli (pip install cvat-cli), where CVAT runs:

    CVAT_ACCESS_TOKEN=... sh create_tasks.sh --server-host https://cvat.example.com

makes a project with the labels of labels.json, and in it a task of each clip with its annotations; what comes behind
the script's name is given to cvat-cli. Where tasks failed it goes on, names their videos at its end and exits with 1.
Call it again with the project's number, which it printed, and it makes those that are missing:

    CVAT_PROJECT=41 CVAT_ACCESS_TOKEN=... sh create_tasks.sh --server-host https://cvat.example.com

It knows them by tasks-41.txt, where it notes what it made. What CVAT has of a task that failed, delete there first.

By hand: make a project, give it labels.json as raw labels, make a task of a video of videos/, and upload the file of
the same name of annotations/ to it as "CVAT 1.1".

The tag "motiontrace" of a task's first frame has the clip's score, rank, verdict and decision. It teaches or fights the
motion only where stands_out says so: chance explains scores from chance_low to chance_high. Frames and boxes in
which the index found motion are labelled "motion"; other labels are those of what reviewers marked.
"""
# The script knows tasks by their videos: their names in CVAT may hold any character.
SCRIPT_FUNCTIONS = """\
tasks=tasks-$project.txt failed=
: >> "$tasks"
made() { grep -qxF "$1" "$tasks"; }
note() { printf '%s\\n' "$1" >> "$tasks"; }
fail() { failed="$failed $1"; }
"""
SCRIPT_END = """\
if [ -n "$failed" ]; then
  printf 'Failed; why is told above, what to do in README.txt:\\n' >&2
  printf '%s\\n' $failed >&2
  exit 1
fi
"""


def _files(subject: Subject, clips: Clips) -> Iterator[File]:
    """The files beside the videos."""
    labels = _labels(clips)
    yield File("labels.json", [json.dumps(labels, ensure_ascii=False, indent=1)])
    for clip in clips:
        yield File(f"annotations/{clip.name}.xml", _annotations(clip, labels))
    yield File("create_tasks.sh", _script(subject, clips), executable=True)
    yield File("README.txt", [README])


def _labels(clips: Clips) -> list[dict[str, Any]]:
    """The labels of the project, as `cvat-cli project create --labels` takes them."""
    verdicts = dict.fromkeys((NOTHING, *VERDICTS))
    marked: dict[str, None] = {}
    for clip in clips:
        verdicts[_value(clip.row["verdict"]) or NOTHING] = None
        marked |= dict.fromkeys(_marked(each["label"]) for each in (*clip.row["ranges"], *clip.row["boxes"]))
    attributes = [
        *(_attribute(name) for name in ("score", "rank", "percentile")),
        _attribute("stands_out", (NOTHING, "teaches", "fights")),
        *(_attribute(name) for name in ("chance_low", "chance_high")),
        _attribute("end", ("top", "bottom")),
        _attribute("verdict", verdicts),
        _attribute("decision", (NOTHING, *get_args(Decision))),
        *(_attribute(name) for name in ("clip", "file_name", "caption", "note")),
    ]
    return [
        {"name": CLIP, "type": "tag", "attributes": attributes},
        *({"name": name, "type": "any", "attributes": []} for name in (MOTION, *marked)),
    ]


def _attribute(name: str, values: Iterable[str] = ("",)) -> dict[str, Any]:
    """An attribute: one of `values`, the first by default, or any text.

    Numbers are texts too, since CVAT's own are steps between bounds.
    """
    known = list(values)
    return {
        "name": name,
        "mutable": False,
        "input_type": "select" if len(known) > 1 else "text",
        "default_value": known[0],
        "values": known,
    }


def _annotations(clip: Clip, labels: list[dict[str, Any]]) -> Iterator[str]:
    """A task's annotations."""
    row = clip.row
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta>\n<task>\n'
    yield f"<name>{_text(_task_name(clip))}</name>\n<size>{row['frames']}</size>\n<mode>interpolation</mode>\n"
    yield "<labels>\n"
    for label in labels:
        yield f"<label><name>{_text(label['name'])}</name><type>{label['type']}</type><attributes>"
        for each in label["attributes"]:
            yield (
                f"<attribute><name>{each['name']}</name><mutable>False</mutable>"
                f"<input_type>{each['input_type']}</input_type><default_value>{_text(each['default_value'])}"
                f"</default_value><values>{_text(chr(10).join(each['values']))}</values></attribute>"
            )
        yield "</attributes></label>\n"
    yield f"</labels>\n<original_size><width>{row['width']}</width><height>{row['height']}</height></original_size>\n"
    yield "</task>\n</meta>\n"
    yield from _images(clip)
    yield from _tracks(clip)
    yield "</annotations>\n"


def _images(clip: Clip) -> Iterator[str]:
    """The frames that have tags, one after the other."""
    row = clip.row
    moving = ((MOTION, clip.timeline.moving(each)) for each in (row["motion_region"] or {}).get("ranges", ()))
    marked = ((_marked(each["label"]), clip.timeline.span(each)) for each in row["ranges"])
    spans = chain(moving, marked)
    tags = (zip(range(first, last + 1), repeat(name), strict=False) for name, (first, last) in spans)
    for frame, names in groupby(heapq.merge([(0, CLIP)], *tags, key=itemgetter(0)), itemgetter(0)):
        yield f'<image id="{frame}" name="frame_{frame:06d}" width="{row["width"]}" height="{row["height"]}">\n'
        for name in dict.fromkeys(name for _, name in names):
            yield f'<tag label={_quoted(name)} source="file">'
            yield from _attributes(row) if name == CLIP else ()
            yield "</tag>\n"
        yield "</image>\n"


def _attributes(row: dict[str, Any]) -> Iterator[str]:
    values = {
        "score": f"{row['score']:.6f}",
        "rank": str(row["rank"]),
        "percentile": f"{row['percentile']:.4f}",
        "stands_out": row["stands_out"] or NOTHING,
        "chance_low": _number(row["chance_low"]),
        "chance_high": _number(row["chance_high"]),
        "end": row["end"],
        "verdict": _value(row["verdict"]) or NOTHING,
        "decision": row["decision"] or NOTHING,
        "clip": row["id"],
    }
    for name, value in values.items():
        yield f'\n<attribute name="{name}">{_text(value)}</attribute>'
    for name in ("file_name", "caption", "note"):
        yield f'\n<attribute name="{name}">{_text((row[name] or "")[:MAX_VALUE])}</attribute>'
    yield "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _tracks(clip: Clip) -> Iterator[str]:
    """The boxes, by their keyframes. Between two keyframes CVAT moves a box evenly, as we do."""
    row = clip.row
    moving = ((MOTION, each) for each in (row["motion_region"] or {}).get("boxes", ()))
    marked = ((_marked(each["label"]), each) for each in row["boxes"])
    number = 0
    for name, box in chain(moving, marked):
        keyframes = clip.timeline.keyframes(box["keyframes"])
        if not keyframes:
            continue
        yield f'<track id="{number}" label={_quoted(name)} source="file">\n'
        for at, visible in keyframes:
            left, top = at.x * row["width"], at.y * row["height"]
            right, bottom = left + at.width * row["width"], top + at.height * row["height"]
            yield (
                f'<box frame="{at.frame}" keyframe="1" outside="{int(not visible)}" occluded="0" xtl="{left:.2f}" '
                f'ytl="{top:.2f}" xbr="{right:.2f}" ybr="{bottom:.2f}" z_order="0"></box>\n'
            )
        yield "</track>\n"
        number += 1


def _script(subject: Subject, clips: Clips) -> Iterator[str]:
    """A shell script that makes the tasks. It passes its arguments on to cvat-cli."""
    create = f'cvat-cli "$@" project create {shlex.quote(subject.title)} --labels labels.json'
    yield (
        "#!/bin/sh\n# Makes a project of CVAT and a task of each clip in it; see README.txt.\n"
        'set -eu\ncd "$(dirname "$0")"\n'
        f"project=${{CVAT_PROJECT:-$({create})}}\n"
        'echo "project $project"\n'
    )
    yield SCRIPT_FUNCTIONS
    for clip in clips:
        video = shlex.quote(clip.video)
        yield (
            f'made {video} || {{ cvat-cli "$@" task create {shlex.quote(_task_name(clip))} local {video} '
            f'--project_id "$project" --annotation_path {shlex.quote(f"annotations/{clip.name}.xml")} '
            f"--annotation_format 'CVAT 1.1' && note {video}; }} || fail {video}\n"
        )
    yield SCRIPT_END


def _task_name(clip: Clip) -> str:
    """The name of a task. CVAT sorts by it, so the rank comes first; and it never looks like an option."""
    return f"{clip.row['rank']:06d} {clip.row['id']}"


def _marked(label: str) -> str:
    """A reviewers' label as one of CVAT's. It differs from those of whole clips and of motion that the index found."""
    name = _value(label) or MARKED
    return f"{name} (review)" if name in (CLIP, MOTION) else name


def _value(text: str | None) -> str:
    """A text as one line: CVAT keeps the values that an attribute may have in lines of one text."""
    return " ".join(NOT_IN_XML.sub("\ufffd", text or "").split())


def _text(text: str) -> str:
    return escape(NOT_IN_XML.sub("\ufffd", text))


def _quoted(text: str) -> str:
    return quoteattr(NOT_IN_XML.sub("\ufffd", text))


FORMAT = folder_format("cvat", "a folder for CVAT, with the videos", videos="videos", files=_files)

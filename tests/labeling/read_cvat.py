"""Has programs made for CVAT read a folder, and prints what they made of it.

cvat-cli's own parser reads the script's calls, the models of CVAT's SDK the labels, Datumaro's importer of the format
the annotations. Datumaro wants the pictures of the frames that have tags, so they are taken from the videos.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import datumaro
from cvat_cli._internal.commands_all import COMMANDS
from cvat_cli._internal.common import configure_common_arguments
from cvat_sdk import models

SHIM = """#!{python} -P
import json, sys
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
print(41)
"""


def calls(folder, work):
    """The arguments of cvat-cli's calls, as its own parser understands them."""
    noted = work / "calls"
    program = work / "bin" / "cvat-cli"
    program.parent.mkdir()
    program.write_text(SHIM.format(python=sys.executable, calls=str(noted)))
    program.chmod(0o755)
    subprocess.run(
        [folder / "create_tasks.sh", "--server-host", "http://127.0.0.1:8080"],
        env={"PATH": f"{program.parent}:{os.environ['PATH']}"},
        cwd="/",
        check=True,
        stdout=subprocess.DEVNULL,
    )
    parser = argparse.ArgumentParser()
    configure_common_arguments(parser)
    COMMANDS.configure_parser(parser)
    os.chdir(folder)  # as the script does: files are named from there
    found = []
    for line in noted.read_text().splitlines():
        parsed = vars(parser.parse_args(json.loads(line)))
        asked = {
            name: parsed.get(name) for name in ("name", "labels", "project_id", "annotation_path", "annotation_format")
        }
        found.append(
            asked | {"command": type(parsed["_executor"].__self__).__name__, "resources": parsed.get("resources")}
        )
    return found


def project(labels):
    """The names and types of the labels of a project made of them; the SDK checks every member's type and range."""
    made = models.ProjectWriteRequest(name="review", labels=labels)
    return [[label.name, models.LabelType(label.type).value] for label in made.labels]


def annotations(folder, work):
    found = {}
    for file in sorted((folder / "annotations").iterdir()):
        place = work / file.stem
        (place / "images").mkdir(parents=True)
        (place / "annotations.xml").write_bytes(file.read_bytes())
        (video,) = (folder / "videos").glob(f"{file.stem}.*")
        frames = cv2.VideoCapture(str(video))
        number = 0
        while (read := frames.read())[0]:
            picture = cv2.imencode(".png", read[1])[1].tobytes()
            (place / "images" / f"frame_{number:06d}").write_bytes(picture)
            number += 1
        dataset = datumaro.Dataset.import_from(str(place), "cvat")
        names = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
        found[file.stem] = {
            "frames": number,
            "items": {
                item.id: [
                    [each.type.name, names[each.label], each.attributes, getattr(each, "points", None)]
                    for each in item.annotations
                ]
                for item in dataset
            },
        }
    return found


def main(folder):
    with tempfile.TemporaryDirectory() as work:
        print(
            json.dumps(
                {
                    "calls": calls(folder, Path(work)),
                    "project": project(json.loads((folder / "labels.json").read_text(encoding="utf-8"))),
                    "annotations": annotations(folder, Path(work)),
                }
            )
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

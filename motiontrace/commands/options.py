"""The options of the verbs. A setting has one name: --flag, key of motiontrace.toml, MOTIONTRACE_* variable."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any

import typer


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(envvar=f"MOTIONTRACE_{name.upper()}", help=text, **more)


def _recipe(name: str, text: str, default: str) -> Any:
    return _option(name, text, show_default=default)


def index_names(context: typer.Context, incomplete: str) -> list[str]:
    """The names of indexes that begin so, for completion in a shell: none where the catalog cannot be read."""
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.repositories import IndexRepository
    from motiontrace.catalog.settings import CatalogSettings

    with suppress(Exception):  # whatever is wrong, the line that is being typed is no place to tell it
        places = CatalogSettings(**given(**{name: context.params.get(name) for name in ("home", "database_url")}))
        with closing(Database.open(places.url, reading=True)) as database, database.reading() as session:
            return [index.name for index in IndexRepository(session).all() if index.name.startswith(incomplete)]
    return []


def _check_device(device: str | None) -> str | None:
    """A name that torch has, told without torch; whether there is such a device is seen when it is used."""
    if device is not None and not re.fullmatch(r"(cpu|cuda|mps|xpu|hpu|mtia|npu|musa)(:\d+)?", device):
        raise typer.BadParameter(f"{device!r} is no device: give cpu, cuda, cuda:1 or mps", param_hint="--device")
    return device


BASIS_CLIPS = 1024
MIN_BASIS_CLIPS, MAX_BASIS_CLIPS = 64, 8192  # as in attribution.basis and indexer.calibration: seconds to import

Home = Annotated[
    Path | None,
    _option("home", "Directory of the database, the indexes, uploads and thumbnails.", show_default="~/.motiontrace"),
]
DatabaseUrl = Annotated[
    str | None,
    _option(
        "database_url",
        "SQLAlchemy URL of the catalog, for instance postgresql+psycopg://USER:PASSWORD@HOST/NAME.",
        show_default="SQLite in --home",
    ),
]
Device = Annotated[
    str | None,
    _option(
        "device",
        "Where gradients are computed: cpu, cuda, cuda:1, ...",
        show_default="a GPU if there is one",
        callback=_check_device,
    ),
]
Model = Annotated[str, _option("model", "diffusers checkpoint folder, or a Hugging Face model id.")]
Index = Annotated[str, _option("index", "Name of the index; made if there is none.", autocompletion=index_names)]
AskedIndex = Annotated[
    str | None, _option("index", "Name of the index to ask.", show_default="the only one", autocompletion=index_names)
]
Strict = Annotated[
    bool,
    _option(
        "strict",
        "Stop at the first row of the manifest that cannot be used, where rows are else passed over and counted.",
    ),
]
ListedIndex = Annotated[
    str | None, typer.Option("--index", help="Only those of this index.", autocompletion=index_names)
]
Decoders = Annotated[int, _option("decoders", "Threads that decode ahead of the model.", min=1, max=64)]
Batch = Annotated[
    int | None,
    _option(
        "batch",
        "Clips that the model differentiates at once.",
        min=1,
        max=1024,
        show_default="as many as pay and fit in memory",
    ),
]
BasisClips = Annotated[
    int,
    _option(
        "basis_clips",
        "Clips of a new index that its basis is learned from, at least 64; 0: no basis, a plain random projection.",
        min=0,
        max=MAX_BASIS_CLIPS,
    ),
]

_NAMED = "as --recipe has it"
Height = Annotated[int | None, _recipe("height", "Height of the frames that the model sees, pixels.", "480")]
Width = Annotated[int | None, _recipe("width", "Width of the frames that the model sees, pixels.", "832")]
Frames = Annotated[int | None, _recipe("frames", "Number of frames that the model sees.", "81")]
Fps = Annotated[float | None, _recipe("fps", "Frames sampled a second.", "spread over the whole clip")]
Timesteps = Annotated[
    list[float] | None, _recipe("timesteps", "Training timestep, of 1000; may be repeated: the mean is taken.", _NAMED)
]
Noise = Annotated[str | None, _recipe("noise", "shared: one for all clips; own: each clip's own.", _NAMED)]
NoiseDraws = Annotated[int | None, _recipe("noise_draws", "Noises at every timestep: the mean is taken.", _NAMED)]
NoiseSeed = Annotated[int | None, _recipe("noise_seed", "Seed of the noise.", "0")]
Dtype = Annotated[str | None, _recipe("dtype", "Number format of the denoiser: float32 or bfloat16.", "float32")]
Parameters = Annotated[
    list[str] | None,
    _recipe("parameters", "Shell pattern of the denoiser's parameters that are attributed; may be repeated.", "*"),
]
Gradients = Annotated[
    str | None, _recipe("gradients", "factorised, or exact: slower, one clip at a time.", "factorised")
]
ProjectionKind = Annotated[str | None, _recipe("projection", "count_sketch or fastfood.", "count_sketch")]
ProjectionSeed = Annotated[int | None, _recipe("projection_seed", "Seed of the projection.", "0")]
ProjectionWidth = Annotated[
    int | None, _recipe("projection_width", "Length of a clip's sketch, that the basis is learned from.", "16384")
]
ProjectionDim = Annotated[int | None, _recipe("projection_dim", "Length of a motion gradient.", "512")]
RecipeName = Annotated[
    str | None,
    _option(
        "recipe",
        "Named recipe, default or paper; options of the recipe that are given win over it.",
        show_default="for a new index: default",
    ),
]
Caption = Annotated[
    str | None, _recipe("caption", "Prompt of the model: own, the clip's caption, or none, the empty one.", _NAMED)
]
Error = Annotated[
    str | None,
    _recipe("error", "Error that the loss is of: plain, or frame_difference, its change between frames.", _NAMED),
]
Contrast = Annotated[
    str | None,
    _recipe("contrast", "time_reversed takes off the gradient of the clip played backwards; or none.", _NAMED),
]
LatentNormalisation = Annotated[
    str | None,
    _recipe("latent_normalisation", "channels makes latent channels count alike in the loss; or none.", _NAMED),
]
GradientNormalisation = Annotated[
    str | None,
    _recipe("gradient_normalisation", "tensors evens out the parameters' gradients, as Adam does; or none.", _NAMED),
]
MotionWeight = Annotated[
    str | None,
    _recipe(
        "motion_weight",
        "flow weighs by motion; none weighs every position alike; query: flow in queries, none in the index's clips.",
        _NAMED,
    ),
]
MotionCamera = Annotated[
    str | None, _recipe("motion_camera", "keep, or compensate: the camera's own motion does not count.", _NAMED)
]
MotionConfidence = Annotated[
    str | None,
    _recipe("motion_confidence", "forward_backward weighs by how well flow there and back agree; or none.", _NAMED),
]
MotionFloor = Annotated[
    float | None, _recipe("motion_floor", "What moves less than so many pixels a frame does not move.", "0.25")
]


def parameters(command: Any) -> Iterator[Any]:
    """The options and arguments of a click command and of all commands below it."""
    yield from command.params
    for below in getattr(command, "commands", {}).values():
        yield from parameters(below)


def share_processors() -> None:
    """Let idle OpenMP threads sleep: by default they spin for a while, in the way of whatever else the processors have.

    Two workers on two cores took 8 and 25 s for 16 queries of the demo that take 2.5 and 2.2 s so. To be called before
    torch is imported; a value in the environment stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def given(**options: Any) -> dict[str, Any]:
    """The options that somebody has set; what is None stays with the settings' own default."""
    return {name: value for name, value in options.items() if value is not None}

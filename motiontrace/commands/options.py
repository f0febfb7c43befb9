"""The options of the verbs. A setting has one name: --flag, key of motiontrace.toml, MOTIONTRACE_* variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(envvar=f"MOTIONTRACE_{name.upper()}", help=text, **more)


def _recipe(name: str, text: str, default: str) -> Any:
    return _option(name, text, show_default=default)


Home = Annotated[Path | None, _option("home", "Directory of the database, the indexes, uploads and thumbnails.",
                                      show_default="~/.motiontrace")]  # fmt: skip
DatabaseUrl = Annotated[str | None, _option("database_url", "SQLAlchemy URL of the catalog, for instance"
                                            " postgresql+psycopg://USER:PASSWORD@HOST/NAME.",
                                            show_default="SQLite in --home")]  # fmt: skip
Device = Annotated[str | None, _option("device", "Where gradients are computed: cpu, cuda, cuda:1, ...",
                                       show_default="a GPU if there is one")]  # fmt: skip
Model = Annotated[str, _option("model", "diffusers checkpoint folder, or a Hugging Face model id.")]
Index = Annotated[str, _option("index", "Name of the index; made if there is none.")]
AskedIndex = Annotated[str | None, _option("index", "Name of the index to ask.", show_default="the only one")]
Decoders = Annotated[int, _option("decoders", "Threads that decode ahead of the model.", min=1, max=64)]

Height = Annotated[int | None, _recipe("height", "Height of the frames that the model sees, pixels.", "480")]
Width = Annotated[int | None, _recipe("width", "Width of the frames that the model sees, pixels.", "832")]
Frames = Annotated[int | None, _recipe("frames", "Number of frames that the model sees.", "81")]
Fps = Annotated[float | None, _recipe("fps", "Frames sampled a second.", "spread over the whole clip")]
Timestep = Annotated[float | None, _recipe("timestep", "The one training timestep, of 1000.", "751")]
NoiseSeed = Annotated[int | None, _recipe("noise_seed", "Seed of the noise that all clips share.", "0")]
Dtype = Annotated[str | None, _recipe("dtype", "Number format of the denoiser: float32 or bfloat16.", "float32")]
Parameters = Annotated[
    list[str] | None,
    _recipe("parameters", "Shell pattern of the denoiser's parameters that are attributed; may be repeated.", "*"),
]
ProjectionKind = Annotated[str | None, _recipe("projection", "count_sketch or fastfood.", "count_sketch")]
ProjectionSeed = Annotated[int | None, _recipe("projection_seed", "Seed of the projection.", "0")]
MotionFloor = Annotated[
    float | None, _recipe("motion_floor", "What moves less than so many pixels a frame does not move.", "0.25")
]


def given(**options: Any) -> dict[str, Any]:
    """The options that somebody has set; what is None stays with the settings' own default."""
    return {name: value for name, value in options.items() if value is not None}

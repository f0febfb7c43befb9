"""motiontrace finetune: a checkpoint trained on the clips of a manifest."""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.flags import flags_of, option
from motiontrace.commands.options import Device, Model, Strict
from motiontrace.commands.stopping import Terminated, resumable
from motiontrace.curation.finetuning.settings import CheckpointSettings, FinetuneSettings


@flags_of(settings=FinetuneSettings, checkpoints=CheckpointSettings)
def finetune(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="What motiontrace select writes, or any CSV, JSONL or Parquet file or folder with metadata.jsonl."
            " Columns: video, caption, optional weight: how often a clip is drawn, 1 as often as others, 0 never."
        ),
    ],
    model: Model,
    output: Annotated[
        Path,
        typer.Option(help="Folder of the result, and of the run while it goes on; the same again goes on with it."),
    ],
    *,
    settings: dict[str, Any],
    checkpoints: dict[str, Any],
    cache: Annotated[
        Path | None,
        option("cache", "Folder of encoded clips; several runs may share it.", show_default="in --output"),
    ] = None,
    strict: Strict = False,
    device: Device = None,
    json: AsJson = False,
) -> None:
    """Fine-tune a checkpoint on a manifest: a LoRA, or the whole denoiser, that diffusers loads.

    Ctrl-C saves a checkpoint and stops; the same command again goes on from there, as it does after a crash. On many
    GPUs: accelerate launch --multi_gpu -m motiontrace finetune ...
    """
    from motiontrace.attribution.families import find_checkpoint
    from motiontrace.curation.finetuning.clips import read_clips

    # The run looks at both itself; here it is before torch is loaded, which takes seconds.
    read_clips(manifest, strict=strict)
    find_checkpoint(model)
    from motiontrace.commands.finetuning import Heard, Silent, finetuned_document, print_finetuned
    from motiontrace.curation.finetuning.run import finetune as run

    console = Console(stderr=json, width=max(Console().width, 120) if not Console().is_terminal else None)
    main = int(os.environ.get("RANK", "0")) == 0  # of the processes of accelerate launch
    listener: Heard | Silent = Heard(console, manifest) if main else Silent()
    kept = f"Clips that are encoded, and the last checkpoint, are kept in {output}."
    with resumable(kept) if main else nullcontext(), listener, _Stop(console, listener) as stop:
        finetuned = run(
            manifest,
            model,
            output,
            settings,
            listener,
            when=CheckpointSettings(**checkpoints),
            cache=cache,
            device=device,
            stop=stop,
            strict=strict,
        )
    if main and json:
        print_document(finetuned_document(output, finetuned))
    elif main:
        print_finetuned(console, output, finetuned)


class _Stop(AbstractContextManager["_Stop"]):
    """Ctrl-C or SIGTERM while a model trains: the step is finished, and a checkpoint saved. Else, or again: at once."""

    def __init__(self, console: Console, listener: object) -> None:
        self._console, self._listener = console, listener
        self._asked: KeyboardInterrupt | None = None
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self._asked is not None

    def __enter__(self) -> _Stop:
        self._before = {each: signal.signal(each, self._heard) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]
        if self._asked is not None and isinstance(error, KeyboardInterrupt):
            raise self._asked from error

    def _heard(self, number: int, frame: FrameType | None) -> None:
        stop = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if self._asked is not None or not getattr(self._listener, "training_began", False):
            raise stop
        self._asked = stop
        self._console.print("stopping after this step; once more stops at once")

"""Latents and prompt embeddings, computed once and kept on disk; afterwards the encoders take no memory.

A file each, named by a digest of all that it follows from, written and then renamed: what is there is whole. Several
processes may fill one folder together, and several runs may share it.
"""

from __future__ import annotations

import gc
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from motiontrace.attribution.families import load_encoders
from motiontrace.attribution.threads import Threads
from motiontrace.attribution.video import VideoError, read_video
from motiontrace.catalog.durable_files import write_atomically
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.files import FileError, check_file
from motiontrace.indexer.ahead import ahead
from motiontrace.indexer.inspection import unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from motiontrace.attribution.families import Checkpoint, VideoDiffusionModel
    from motiontrace.curation.finetuning.clips import WeightedClip
    from motiontrace.curation.finetuning.settings import ClipSettings

_DECODERS = 2  # threads that decode ahead of the autoencoder


@dataclass(frozen=True)
class BrokenClip:
    """A clip that is left out of a run, and why."""

    number: int
    name: str
    code: str
    """A word for programs: one of attribution.video's, or `not_finite` or `unexpected`."""
    reason: str


class EncodedClips:
    """A folder of latents and prompt embeddings."""

    def __init__(
        self,
        folder: Path,
        checkpoint: Checkpoint,
        digest: str,
        settings: ClipSettings,
        timesteps: Sequence[float],
        dtype: str,
    ) -> None:
        """`digest` is the checkpoint's; `timesteps` and `dtype` are those that its encoders are loaded with."""
        self._folder, self._checkpoint, self._settings = folder, checkpoint, settings
        self._timesteps, self._dtype = list(timesteps), dtype
        self._made_with = [digest, dtype]
        self._prompt = lru_cache(maxsize=64)(self._load_prompt)
        self._files: dict[Path, Path] = {}

    def encode(
        self,
        clips: Sequence[WeightedClip],
        *,
        without_caption: bool,
        device: str,
        on_clip: Callable[[BrokenClip | None, bool], None],
    ) -> list[BrokenClip]:
        """Encodes what is not there yet, and returns the clips that are broken.

        `on_clip` is called for every clip in turn, with why it is broken, if it is, and whether it was there.
        `without_caption`: the empty caption's embedding is needed, too. Raises ModelError where the model cannot take
        clips of that size, FinetuningError where one does not fit into memory.
        """
        broken: list[BrokenClip] = []
        model = _Lazily(lambda: self._load(device))
        try:
            if without_caption:
                self._encode_prompt("", model)
            with Threads(_DECODERS) as pool:
                for clip, found in zip(clips, ahead(pool, self._decoded, clips, _DECODERS), strict=True):
                    why = found if isinstance(found, BrokenClip) else self._encode_clip(clip, found, model)
                    if why is not None:
                        broken.append(why)
                    on_clip(why, found is None)
        except torch.OutOfMemoryError as error:
            raise FinetuningError(
                f"encoding a clip does not fit into the memory of {device}: {error} Use fewer frames, a smaller height"
                " and width, or another device."
            ) from error
        finally:
            model.forget()
        return broken

    def key(self, clip: WeightedClip) -> str:
        """Digest of all that a clip's latent and embedding follow from; raises OSError where its file is not there."""
        return f"{self._latent_file(clip).stem}-{self._prompt_file(clip.caption).stem}"

    def latents(self, clips: Sequence[WeightedClip]) -> torch.Tensor:
        """float32 [B, C, f, h, w] on the CPU; raises FinetuningError where a file is gone or damaged."""
        return torch.stack([_read(self._latent_file(clip)) for clip in clips])

    def prompts(self, captions: Sequence[str]) -> torch.Tensor:
        """[B, L, D] on the CPU, in the number format that they were made in; raises as `latents`."""
        return torch.stack([self._prompt(caption) for caption in captions])

    def _encode_clip(
        self, clip: WeightedClip, found: tuple[Path, NDArray[np.uint8]] | None, model: _Lazily
    ) -> BrokenClip | None:
        if found is not None:
            file, frames = found
            latent = model().encode_video(torch.from_numpy(frames)[None])[0]
            if not torch.isfinite(latent).all():
                return BrokenClip(clip.number, clip.name, "not_finite", "its latent is not finite")
            _write(file, latent)
        self._encode_prompt(clip.caption, model)
        return None

    def _encode_prompt(self, caption: str, model: _Lazily) -> None:
        file = self._prompt_file(caption)
        if not file.exists():
            _write(file, model().encode_prompt(caption)[0])

    def _load(self, device: str) -> VideoDiffusionModel:
        model = load_encoders(self._checkpoint, timesteps=self._timesteps, dtype=self._dtype, device=device)
        model.latent_shape(self._settings.frames, self._settings.height, self._settings.width)
        return model

    def _decoded(self, clip: WeightedClip) -> tuple[Path, NDArray[np.uint8]] | BrokenClip | None:
        """The file that a clip's latent goes to and its frames, or why there are none; None: the latent is there."""
        try:
            file = self._latent_file(clip)
            if file.exists():
                return None
            settings = self._settings
            video = read_video(
                clip.video, frames=settings.frames, height=settings.height, width=settings.width, fps=settings.fps
            )
            return file, video.frames
        except FileError as error:
            why = unreadable(clip.video, error)
            return BrokenClip(clip.number, clip.name, why.code, why.reason)
        except VideoError as error:
            return BrokenClip(clip.number, clip.name, error.code, str(error))
        except Exception as error:  # a decoder's surprise costs one clip, not a night's run
            return BrokenClip(clip.number, clip.name, "unexpected", f"{type(error).__name__}: {error}")

    def _load_prompt(self, caption: str) -> torch.Tensor:
        return _read(self._prompt_file(caption))

    def _latent_file(self, clip: WeightedClip) -> Path:
        if clip.video not in self._files:  # else a run would end where a video is moved that it needs no more
            stat = check_file(clip.video)
            # As make and rsync do: same size and time of change, same content. Spares reading terabytes again.
            content = [str(clip.video.resolve()), stat.st_size, stat.st_mtime_ns]
            file = self._file("latents", [*self._made_with, self._settings.model_dump(), content])
            self._files[clip.video] = file
        return self._files[clip.video]

    def _prompt_file(self, caption: str) -> Path:
        return self._file("prompts", [*self._made_with, caption])

    def _file(self, kind: str, follows_from: list[object]) -> Path:
        digest = hashlib.sha256(json.dumps(follows_from, sort_keys=True).encode()).hexdigest()
        return self._folder / kind / f"{digest[:40]}.safetensors"


class _Lazily:
    """A model that is loaded at its first use: loading takes minutes, and may not be needed."""

    def __init__(self, load: Callable[[], VideoDiffusionModel]) -> None:
        self._load = load
        self._model: VideoDiffusionModel | None = None

    def __call__(self) -> VideoDiffusionModel:
        self._model = self._model or self._load()
        return self._model

    def forget(self) -> None:
        """Frees its memory: encoders take several times what training a small adapter does."""
        if self._model is not None:
            self._model = None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _read(file: Path) -> torch.Tensor:
    try:
        return load_file(file)["tensor"]
    except (OSError, KeyError, SafetensorError) as error:
        raise FinetuningError(
            f"the encoded clip or caption {file} is gone or damaged ({error}). Delete it if it is there, and start the"
            " same command again: it is made anew, and the run goes on from its last checkpoint."
        ) from error


def _write(file: Path, tensor: torch.Tensor) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, [save({"tensor": tensor.detach().cpu().contiguous()})])

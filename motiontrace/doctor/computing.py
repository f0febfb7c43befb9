"""What computes: the device for gradients, FAISS, and the decoder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import faiss as _faiss
import numpy as np
import torch

from motiontrace.answering.sandbox import Decoder, DecoderError, decoder_limits, protections
from motiontrace.attribution.video import VideoError
from motiontrace.catalog.installing import install_line
from motiontrace.doctor.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.settings import ServiceSettings

faiss: Any = _faiss
SIDE, FRAMES = 64, 8


def device(settings: ServiceSettings) -> Iterator[Finding]:
    """Where gradients will be computed."""
    wanted = settings.device
    if wanted is None and not torch.cuda.is_available():
        yield ok("device", f"CPU, {torch.get_num_threads()} threads (torch {torch.__version__} sees no GPU)")
        return
    try:
        chosen = torch.device(wanted or "cuda")
        torch.ones(1, device=chosen).sum().item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        advice = "Correct MOTIONTRACE_DEVICE or --device, or install a build of torch for it; `nvidia-smi` lists GPUs."
        yield fail("device", f"{wanted or 'cuda'} cannot be used: {reason}", advice)
        return
    if chosen.type == "cuda":
        name, (free, total) = torch.cuda.get_device_name(chosen), torch.cuda.mem_get_info(chosen)
        yield ok("device", f"{chosen}: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    else:
        yield ok("device", f"{chosen}, torch {torch.__version__}")


def search() -> Finding:
    """Which FAISS searches."""
    build = "GPU" if hasattr(faiss, "StandardGpuResources") else "CPU"
    return ok("search", f"FAISS {faiss.__version__}, {build} build, {faiss.omp_get_max_threads()} threads")


def decoder(settings: ServiceSettings) -> Iterator[Finding]:
    """Whether a video decodes in the process that is kept for it, and what that process is held back from."""
    confined = Decoder(decoder_limits(settings))
    try:
        with tempfile.TemporaryDirectory() as folder:
            read = confined.read(_video(Path(folder) / "trial.mp4"), frames=FRAMES, height=SIDE, width=SIDE)
        held = protections()
    except (VideoError, DecoderError, av.FFmpegError) as error:
        yield fail(
            "decoder",
            str(error),
            f"Install the versions that are tested together: in a checkout, {install_line('cpu')}.",
        )
        return
    finally:
        confined.close()
    yield ok("decoder", f"a video of {read.info.frames} frames decodes, PyAV {av.__version__}")
    if loose := [name for name, held_back in held.items() if not held_back]:
        yield warn(
            "sandbox",
            f"not in force here: {', '.join(loose)}",
            "Take videos from people you trust only, or run Linux 5.13 or newer with Landlock and seccomp; "
            "docs/security.md tells what each protects.",
        )
    else:
        yield ok("sandbox", f"in force: {', '.join(held)}")


def _video(path: Path) -> Path:
    """A square that moves over grey."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            picture = np.full((SIDE, SIDE, 3), 127, dtype=np.uint8)
            picture[20:40, 4 * number : 4 * number + 20] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path

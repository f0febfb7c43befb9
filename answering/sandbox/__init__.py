"""Untrusted videos are decoded here: each in a process of its own that can do little else.

`decoder` is what the service calls. `sandbox` runs one function in one such process, `call` takes its answer,
`protocol` is what is said between them. `forkserver` is the warm process that they are forked from, `child`
what a forked one does, `tasks` the functions that are run. `confinement` takes a process's rights away, by
resource limits, `landlock` and `seccomp`; `probe` tells which of that works on this machine.
"""

from motiontrace.answering.sandbox.decoder import Decoder
from motiontrace.answering.sandbox.limits import DecoderError, DecoderErrorCode, DecoderLimits, decoder_limits
from motiontrace.answering.sandbox.probe import protections

__all__ = ["Decoder", "DecoderError", "DecoderErrorCode", "DecoderLimits", "decoder_limits", "protections"]

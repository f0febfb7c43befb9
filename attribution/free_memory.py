"""How much memory this process can still take."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

_GROUP_FILES = {  # by controllers, "" of version 2: limit, use, and what of it is files
    "": ("memory.max", "memory.current", ("inactive_file", "active_file")),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
}


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on `device`."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    free = int(psutil.virtual_memory().available)
    allowed = control_group_memory()
    return free if allowed is None else min(free, allowed)


def control_group_memory(root: Path = Path("/")) -> int | None:
    """Bytes that the control groups of this process still allow it, None where they set no limit.

    A container or a batch job may have less than its machine. The kernel's cache of files counts as free, since it is
    given back when memory runs short. `root` is the folder of proc and sys.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    allowed = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in _GROUP_FILES:
            mount = root / "sys/fs/cgroup" / controllers
            group = mount / path.lstrip("/")
            # Inside a container the path may be the one outside of it: then the mount is the group itself.
            folders = {mount, *(place for place in (group, *group.parents) if place.is_relative_to(mount))}
            allowed += [_left_in_group(folder, *_GROUP_FILES[controllers]) for folder in folders]
    return min((left for left in allowed if left is not None), default=None)


def _left_in_group(folder: Path, limit: str, used: str, files: tuple[str, ...]) -> int | None:
    try:
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        given_back = sum(int(statistics.get(name, 0)) for name in files)
        return max(0, int((folder / limit).read_text()) - int((folder / used).read_text()) + given_back)
    except (OSError, ValueError):  # not there, or "max"
        return None

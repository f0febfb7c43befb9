"""The memory probe, on real modules and the memory of this machine."""

from pathlib import Path

import psutil
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from motiontrace.attribution import memory
from motiontrace.attribution.engine import MotionEngine, load_engine, plan_recipe
from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import find_checkpoint
from motiontrace.attribution.free_memory import control_group_memory, free_memory
from motiontrace.attribution.memory import plan_memory, saved_bytes
from tests.checkpoints import tiny_wan

CPU = torch.device("cpu")
MIB = 2**20


class Deep(nn.Module):
    """Blocks that each leave 8 MiB a sample behind."""

    def __init__(self, blocks: int = 12) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(blocks))
        self.checkpointing = False

    def enable_gradient_checkpointing(self) -> None:
        self.checkpointing = True

    def disable_gradient_checkpointing(self) -> None:
        self.checkpointing = False

    def forward(self, batch: int) -> torch.Tensor:
        values = torch.ones(batch, 2 * MIB // 8, 8)
        for block in self.blocks:
            step = lambda x, block=block: torch.sigmoid(block(x))  # noqa: E731
            values = checkpoint(step, values, use_reentrant=False) if self.checkpointing else step(values)
        return values.sum()


def plan(deep: Deep, largest_batch: int | None = None) -> memory.MemoryPlan:
    return plan_memory(
        deep,
        CPU,
        forward=lambda: deep(1),
        run=lambda batch: deep(batch).backward(),
        largest_batch=lambda: largest_batch,
    )


def test_saved_bytes_are_those_that_autograd_keeps():
    deep = Deep()
    # A sigmoid keeps its result and a linear layer its input, which is the result before: each tensor counts once.
    assert saved_bytes(lambda: deep(1), deep) == 13 * 8 * MIB
    with torch.no_grad():
        assert saved_bytes(lambda: deep(1), deep) == 0


def test_what_fits_is_not_computed_twice():
    deep = Deep()
    found = plan(deep)
    assert not found.checkpointing
    assert not deep.checkpointing
    assert 60 * MIB < found.clip_bytes < 400 * MIB


def test_activations_are_computed_again_where_they_do_not_fit(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 90 * MIB)
    deep = Deep()
    found = plan(deep)
    assert found.checkpointing
    assert deep.checkpointing
    assert found.batch == 1


def test_batch_is_bounded_by_memory_and_by_what_can_be_told_apart(monkeypatch):
    monkeypatch.setattr(memory, "_seconds_each", lambda run, batch: 0.1 / batch)  # larger is always faster
    assert plan(Deep(), largest_batch=1).batch == 1
    assert plan(Deep()).batch == 8
    monkeypatch.setattr(memory, "free_memory", lambda device: 450 * MIB)
    assert plan(Deep()).batch in (1, 2)


def test_batch_stays_small_where_a_larger_one_is_not_faster(monkeypatch):
    monkeypatch.setattr(memory, "_seconds_each", lambda run, batch: {1: 0.1, 2: 0.08, 4: 0.079}[batch])
    assert plan(Deep()).batch == 2
    monkeypatch.setattr(memory, "_seconds_each", lambda run, batch: {1: 2.0}[batch])  # long enough to stand alone
    assert plan(Deep()).batch == 1


def test_what_does_not_fit_at_all_is_said_with_what_to_do():
    class Hopeless(Deep):
        def forward(self, batch: int) -> torch.Tensor:
            if torch.is_grad_enabled() and self.checkpointing:
                torch.empty(1 << 60)  # the real allocator refuses
            return super().forward(batch)

    deep = Hopeless()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "free_memory", lambda device: 20 * MIB)
        with pytest.raises(ModelError, match=r"one clip does not fit into the 0\.0 GiB that are free on cpu.*bfloat16"):
            plan(deep)


def group(folder: Path, limit: str, used: int, files: int, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        ("memory.max", "memory.current", "")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
    )
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]}inactive_file {files}\n{names[2]}active_file 1\n")


@pytest.mark.parametrize("version", [1, 2])
def test_control_group_allows_what_is_unused_and_what_the_kernel_keeps_of_files(tmp_path: Path, version: int):
    mount = tmp_path / "sys/fs/cgroup" / ("memory" if version == 1 else "")
    membership = tmp_path / "proc/self/cgroup"
    membership.parent.mkdir(parents=True)
    membership.write_text("9:cpu:/other\n" + ("4:memory:/jobs/7\n" if version == 1 else "0::/jobs/7\n"))
    assert control_group_memory(tmp_path) is None
    group(mount / "jobs/7", "max" if version == 2 else str(2**63 - 4096), 100, 0, version)
    group(mount / "jobs", "1000", 900, 250, version)
    assert control_group_memory(tmp_path) == 1000 - 900 + 251  # the job has no limit of its own, its parent has
    group(mount, "300", 200, 0, version)
    assert control_group_memory(tmp_path) == 101
    assert control_group_memory(tmp_path / "no system of this kind") is None


def test_free_memory_is_no_more_than_the_machine_has():
    assert 0 < free_memory(CPU) <= psutil.virtual_memory().total


def engine_of(folder: Path, *, batches: bool, **recipe: object) -> MotionEngine:
    checkpoint = find_checkpoint(str(folder))
    return load_engine(str(folder), plan_recipe(checkpoint, recipe), device="cpu", batches=batches)


@pytest.mark.parametrize("gradients", ["exact", "factorised"])
def test_engine_counts_what_its_pass_keeps_and_leaves_no_trace(tmp_path: Path, gradients: str):
    """Weights that require no gradient keep nothing by themselves: it is the pass that must be counted."""
    engine = engine_of(tiny_wan(tmp_path), batches=False, gradients=gradients)
    assert engine.memory is not None
    assert 200_000 < engine.memory.clip_bytes < 2_000_000
    assert engine.batch == 1
    assert not engine.memory.checkpointing


def test_batches_are_measured_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_seconds_each", lambda run, batch: 0.1 / batch)
    folder = tiny_wan(tmp_path)
    assert engine_of(folder, batches=True).batch == 8
    assert engine_of(folder, batches=True, gradients="exact").batch == 1


def test_batch_that_runs_out_of_memory_is_not_taken(monkeypatch: pytest.MonkeyPatch):
    def seconds(run: object, batch: int) -> float:
        if batch > 2:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return 0.1 / batch

    monkeypatch.setattr(memory, "_seconds_each", seconds)
    assert plan(Deep()).batch == 2

"""The memory probe, on real modules and the memory of this machine."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from attribution import memory
from attribution.engine import load_engine, plan_recipe
from attribution.errors import ModelError
from attribution.families import find_checkpoint
from attribution.memory import free_memory, plan_memory, saved_bytes
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
    assert found.free_bytes > found.clip_bytes


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


def test_free_memory_is_what_the_machine_and_its_container_have():
    assert 0 < free_memory(CPU) < 2**45


def test_engine_is_fitted_when_it_is_loaded(tmp_path: Path):
    folder = str(tiny_wan(tmp_path))
    for gradients, batches in (("exact", {1}), ("factorised", {1, 2, 4, 8})):
        engine = load_engine(folder, plan_recipe(find_checkpoint(folder), {"gradients": gradients}), device="cpu")
        assert engine.memory is not None
        assert engine.batch in batches
        assert not engine.memory.checkpointing

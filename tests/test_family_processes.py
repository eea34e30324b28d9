"""The further operators on two processes: every parameter is used, and has the mean gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as distributed
from nets import perturb_
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dynsurgeon.operators.condconv import CondConv
from dynsurgeon.operators.dcd import DecomposedConv
from dynsurgeon.operators.gate import GatedActivation, GatedConv
from dynsurgeon.operators.odconv import ODConv
from dynsurgeon.operators.scale import ScaledConv
from dynsurgeon.operators.shift_max import ShiftMax
from dynsurgeon.settings import ODConvConfig


def network() -> nn.Module:
    """Return a layer of each kind, one after the other, the same on every process."""
    torch.manual_seed(0)
    conv = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(6)]
    layers = (
        ScaledConv(conv[0]),
        ShiftMax(4),
        DecomposedConv(conv[1]),
        GatedActivation(4),
        CondConv(conv[2]),
        ODConv(conv[3], ODConvConfig(experts=3)),
        ODConv(conv[4], ODConvConfig(experts=1)),
        GatedConv(conv[5]),
    )
    return perturb_(nn.Sequential(*layers))


def loss(model: nn.Module, rank: int) -> Tensor:
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(rank))
    result: Tensor = model(x).square().mean()
    return result


def train(rank: int, folder: str) -> None:
    """Make two steps, since the second one fails if a parameter had no part in the first."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    net = network()
    model = DistributedDataParallel(net)
    for _ in range(2):
        net.zero_grad()
        loss(model, rank).backward()  # type: ignore[no-untyped-call]
    torch.save([p.grad for p in net.parameters()], Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.timeout(180)
def test_gradients_are_the_mean_over_processes(tmp_path: Path) -> None:
    spawn: Any = torch.multiprocessing.spawn  # type: ignore[attr-defined]
    spawn(train, (str(tmp_path),), nprocs=2)
    net = network()
    ((loss(net, 0) + loss(net, 1)) / 2).backward()  # type: ignore[no-untyped-call]
    expected = [p.grad for p in net.parameters()]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert len(found) == len(expected)
        for gradient, mean in zip(found, expected, strict=True):
            assert mean is not None
            assert float(mean.abs().max()) > 0
            torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-6)

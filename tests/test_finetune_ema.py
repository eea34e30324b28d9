"""The moving average against a plain loop."""

from __future__ import annotations

import torch
from finetune_helpers import dynamic_net, same_tensors
from nets import perturb_
from torch import Tensor

import dynsurgeon as ds
from dynsurgeon.training.finetune.ema import MovingAverage


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def redraw(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))


def test_it_is_the_average_of_a_plain_loop() -> None:
    net = dynamic_net()
    average = MovingAverage(net, 0.7)
    slow = {name: t.double() for name, t in state(net).items()}
    for step in range(1, 30):
        redraw(net, step)
        average.update()
        decay = min(0.7, (1 + step) / (10 + step))
        for name, tensor in state(net).items():
            slow[name] = decay * slow[name] + (1 - decay) * tensor.double()
    for name, tensor in average.average.items():
        if tensor.is_floating_point() and not name.endswith("temperature"):
            assert torch.allclose(tensor.double(), slow[name], rtol=1e-5, atol=1e-5), name


def test_temperature_and_counters_are_copied() -> None:
    net = dynamic_net()
    average = MovingAverage(net, 0.99)
    ds.set_temperature(net, 3.0)
    net[1].num_batches_tracked.fill_(17)  # type: ignore[index]
    average.update()
    assert float(average.average["3.attention.temperature"]) == 3.0
    assert int(average.average["1.num_batches_tracked"]) == 17


def test_it_is_in_place_for_a_while() -> None:
    net = dynamic_net()
    average = MovingAverage(net, 0.5)
    kept = dynamic_net()
    perturb_(net)
    after = state(net)
    with average.in_place():
        assert same_tensors(net, kept)
    assert all(torch.equal(tensor, after[name]) for name, tensor in net.state_dict().items())


def test_it_goes_on_where_it_was() -> None:
    net, other = dynamic_net(), dynamic_net()
    one, two = MovingAverage(net, 0.9), MovingAverage(other, 0.9)
    perturb_(net)
    one.update()
    two.load_state_dict(one.state_dict())
    other.load_state_dict(net.state_dict())
    for average in (one, two):
        perturb_(average.model, torch.Generator().manual_seed(5))
        average.update()
    assert all(torch.equal(t, two.average[name]) for name, t in one.average.items())

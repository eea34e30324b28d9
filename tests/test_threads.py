"""What another thread runs meanwhile is none of this one's business, and the other way round."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from export_nets import DynamicNet, captured_graph
from nets import TinyFunctional, TinyNet, TinyResNet, perturb_
from threads import elsewhere
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.surgery.owners.trace import trace_owner

pytestmark = pytest.mark.filterwarnings("ignore:a remark")


class Bystanders:
    """A static and a dynamic network, and what another thread gets from them at any moment."""

    def __init__(self) -> None:
        static = perturb_(TinyResNet()).eval()
        self.x = torch.randn(5, 3, 16, 16)
        self.models = [static, perturb_(ds.convert(static, self.x)), nn.PReLU(3)]
        self.expected = self._run()
        self.rounds = 0

    def _run(self) -> list[Tensor]:
        warnings.warn("a remark", stacklevel=1)
        logging.getLogger("bystander").warning("a remark")
        outputs = [model(self.x) for model in self.models]
        outputs[1].sum().backward()
        return outputs

    def check(self, tolerance: float = 0.0) -> None:
        """Run them in another thread, and compare."""

        def work() -> None:
            for one, other in zip(self._run(), self.expected, strict=True):
                assert type(one) is Tensor
                torch.testing.assert_close(one, other, rtol=0, atol=tolerance)

        elsewhere(work)
        self.rounds += 1


class Interrupted(TinyNet):
    """Lets other threads run in the middle of its forward, and calls a ReLU at two places."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.relu = nn.ReLU()
        self.meanwhile = meanwhile

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(x))
        self.meanwhile()
        y: Tensor = self.relu(self.conv2(x)) * math.sqrt(2.0)
        return F.relu(y - 0.1)


def test_a_conversion_and_its_proof_leave_other_threads_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bystanders = Bystanders()
    plain = Interrupted(lambda: None).eval()
    model = Interrupted(bystanders.check).eval()
    model.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 12, 12)
    plan = ds.plan(model, x, copy=False)
    dynamic = ds.convert(model, x, plan, copy=False)
    assert bystanders.rounds > 3
    assert caplog.text.count("a remark") == bystanders.rounds + 1
    assert plan.recipe.sites == ds.plan(plain, x).recipe.sites
    assert {type(dynamic.get_submodule(name)) for name in ("relu", "relu_1")} == {ds.DynamicReLUB}
    assert ds.check_parity(plain, dynamic, x).passed


def test_a_trace_lets_the_calls_of_other_threads_through() -> None:
    bystanders = Bystanders()
    trace = trace_owner(Interrupted(bystanders.check), {})
    assert bystanders.rounds == 4  # the two modes, each with the children in either
    assert [key.label for key in trace.calls("eval")] == [
        "module:conv",
        "module:relu",
        "module:conv2",
        "module:relu",
        "function:relu",
    ]


def test_a_capture_leaves_other_threads_alone(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    bystanders = Bystanders()

    class Net(DynamicNet):
        def forward(self, x: Tensor) -> Tensor:
            logging.getLogger("exported").warning("chatter")
            print("chatter")
            bystanders.check(1e-6)  # torch.export itself switches oneDNN off for the process
            elsewhere(lambda: print("heard"))
            return super().forward(x)

    captured_graph(Net(), torch.randn(1, 3, 12, 12))
    # It ran once to learn its signature, aloud, and then once for the exporter.
    assert bystanders.rounds > 0
    assert caplog.text.count("a remark") == bystanders.rounds + 1
    assert caplog.text.count("chatter") == 1
    assert capsys.readouterr().out.count("heard") == bystanders.rounds


def test_two_threads_convert_at_once() -> None:
    models = [perturb_(TinyResNet()).eval(), perturb_(TinyFunctional()).eval()]
    x = torch.randn(2, 3, 16, 16)
    expected = [ds.convert(model, x) for model in models]
    state = torch.get_rng_state()
    barrier = Barrier(2)
    found: dict[tuple[int, int], Any] = {}

    def work(index: int) -> None:
        barrier.wait()
        for turn in range(3):
            found[index, turn] = ds.convert(models[index], x)

    threads = [Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (index, _), dynamic in found.items():
        tensors = dynamic.state_dict()
        assert all(torch.equal(t, tensors[k]) for k, t in expected[index].state_dict().items())
    assert len(found) == 6
    assert torch.equal(state, torch.get_rng_state())
    assert nn.Module.__call__ is nn.Module._wrapped_call_impl

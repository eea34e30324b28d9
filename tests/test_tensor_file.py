"""A saved model loads, whatever names its tensors have and however they lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import TinyResNet, perturb_
from owned_nets import SkipStack, Twice, TwiceFunctional
from safetensors.torch import save_file, save_model
from storage_helpers import assert_bit_equal, contents, rewrite, trained
from surgery_nets import EVERY, images
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon import storage
from dynsurgeon.running.snapshot import same_bits
from dynsurgeon.storage import TENSOR_FILE


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved `TinyResNet`."""
    net = TinyResNet()
    ds.save(ds.convert(net, net.example()), tmp_path)
    return tmp_path


@pytest.mark.parametrize("build", [Twice, TwiceFunctional, SkipStack])
def test_modules_under_two_names(build: Callable[[], Any], tmp_path: Path) -> None:
    dynamic = trained(build(), images(), EVERY)
    ds.save(dynamic, tmp_path)
    assert_bit_equal(dynamic, ds.load(tmp_path, build()), images())
    # Earlier versions wrote with this, which keeps the first name in the alphabet.
    save_model(dynamic, str(tmp_path / TENSOR_FILE))
    rewrite(tmp_path)
    assert_bit_equal(dynamic, ds.load(tmp_path, build()), images())


class OddBuffers(TinyResNet):
    """Buffers that are views, transposed, expanded, cut out of more memory, or empty."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("view", self.fc.weight.detach().view(-1))
        self.register_buffer("row", self.fc.weight.detach()[0])
        self.register_buffer("turned", torch.randn(4, 5).T)
        self.register_buffer("wide", torch.randn(1, 8, 1, 1).expand(2, 8, 1, 1))
        self.register_buffer("slice", torch.randn(10)[2:5])
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("odd", torch.tensor([float("nan"), -0.0]))


@pytest.mark.parametrize("copy", [True, False])
def test_views_and_expanded_buffers(copy: bool, tmp_path: Path) -> None:
    net = OddBuffers().eval()
    dynamic: Any = perturb_(ds.convert(net, net.example(), copy=copy))
    ds.save(dynamic, tmp_path)
    state, other = dynamic.state_dict(), OddBuffers().eval()
    loaded = ds.load(tmp_path, other, copy=copy).state_dict()
    assert list(loaded) == list(state)
    assert all(same_bits(value.contiguous(), loaded[n].contiguous()) for n, value in state.items())


class WithTensorState(TinyResNet):
    """Extra state that is a tensor, made anew whenever it is asked for."""

    extra = 1.0

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.extra)

    def set_extra_state(self, state: Any) -> None:
        self.extra = float(state)


def test_extra_state_that_is_a_tensor_is_set(tmp_path: Path) -> None:
    net = WithTensorState()
    dynamic: Any = ds.convert(net, net.example())
    dynamic.extra = 7.0
    ds.save(dynamic, tmp_path)
    loaded: Any = ds.load(tmp_path, WithTensorState())
    assert loaded.extra == 7.0


def test_state_that_nothing_could_load_is_refused(saved: Path) -> None:
    net = TinyResNet()
    dynamic: Any = ds.convert(net, net.example())
    before = contents(saved)
    dynamic.register_state_dict_post_hook(lambda m, state, prefix, _: state.update(s=torch.ones(1)))
    with pytest.raises(ds.StorageError, match="'s' is in the state_dict, but is no parameter"):
        ds.save(dynamic, saved)
    assert contents(saved) == before


def test_a_site_that_was_taken_out_is_named(saved: Path) -> None:
    net = TinyResNet()
    dynamic: Any = ds.convert(net, net.example())
    before = contents(saved)
    dynamic.layer2 = nn.Identity()
    with pytest.raises(ds.StorageError, match=r"the dynamic layer 'layer2\.0\..*' was taken out"):
        ds.save(dynamic, saved)
    assert contents(saved) == before


def _lose(tensors: dict[str, Tensor]) -> None:
    del tensors["fc.bias"]


def _shrink(tensors: dict[str, Tensor]) -> None:
    tensors["layer1.0.conv1.weight"] = tensors["layer1.0.conv1.weight"][:2].clone()


def _garble(tensors: dict[str, Tensor]) -> None:
    tensors["fc.bias"] = tensors["fc.bias"] + 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_lose, "has no tensor 'fc.bias'"),
        (_shrink, "the tensors of 'layer1.0.conv1' don't match its recipe"),
        (_garble, "'fc.bias' is not in the file as it is in the model"),
    ],
)
def test_what_would_not_load_never_gets_its_name(
    damage: Callable[[dict[str, Tensor]], None],
    reason: str,
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = contents(saved)
    net = TinyResNet()
    dynamic = ds.convert(net, net.example())

    def write(model: nn.Module, path: Path) -> None:
        tensors = dict(model.state_dict())
        damage(tensors)
        save_file(tensors, path)

    monkeypatch.setattr(storage, "write_tensors", write)
    with pytest.raises(ds.StorageError, match=reason):
        ds.save(dynamic, saved)
    assert contents(saved) == before

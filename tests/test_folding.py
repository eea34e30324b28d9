"""What folds BatchNorm into convolutions folds it into banks, or leaves the model as it is."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from folding_nets import Branches, Folds, Merges, Pyramid, by_a_new_layer, by_replacing
from nets import TinyNet, perturb_
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import dynsurgeon as ds

CONVOLUTIONS = ds.SurgeryConfig(activation=None, skip_stem=False)


def converted(net: TinyNet, config: ds.SurgeryConfig = CONVOLUTIONS) -> Any:
    """Convert a network, and move its weights far from the start."""
    dynamic = ds.convert(perturb_(net).eval(), net.example(), config)
    return perturb_(dynamic).eval()


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def numbers(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y: Tensor = net(x)
    return y


@pytest.mark.parametrize("experts", [1, 4])
@pytest.mark.parametrize("fold", [by_replacing, by_a_new_layer])
def test_batch_norm_is_folded_into_the_banks(fold: Any, experts: int) -> None:
    config = ds.SurgeryConfig(
        conv=ds.DynamicConvConfig(experts=experts), activation=None, skip_stem=False
    )
    net = Folds(fold)
    dynamic = converted(net, config)
    layers = [m for m in dynamic.blocks.modules() if isinstance(m, ds.DynamicConv2d)]
    x = net.example(3, seed=1)
    before = numbers(dynamic, x)
    assert dynamic.fuse(verbose=False) is dynamic
    assert norms(dynamic) == 0
    assert dynamic.auxiliary is None
    torch.testing.assert_close(numbers(dynamic, x), before, rtol=1e-5, atol=1e-5)
    assert [m for m in dynamic.modules() if isinstance(m, ds.DynamicConv2d)] == layers
    assert type(dynamic.blocks[5].conv) is ds.DynamicConvTranspose2d
    assert not any(p.requires_grad for p in dynamic.blocks[0].parameters())
    assert all(p.requires_grad for p in dynamic.blocks[6].parameters())
    assert dynamic.fuse() is dynamic
    torch.testing.assert_close(numbers(dynamic, x), before, rtol=1e-5, atol=1e-5)


def test_half_of_the_convolutions_may_be_static() -> None:
    net = Folds()
    dynamic = converted(net, ds.SurgeryConfig(activation=None, exclude=("blocks.1*", "blocks.3*")))
    x = net.example(seed=1)
    before = numbers(dynamic, x)
    dynamic.fuse()
    assert norms(dynamic) == 0
    torch.testing.assert_close(numbers(dynamic, x), before, rtol=1e-5, atol=1e-5)


def test_it_works_within_inference_mode_and_leaves_layers_that_can_be_trained() -> None:
    dynamic = converted(Folds())
    with torch.inference_mode():
        dynamic.fuse()
    assert not any(tensor.is_inference() for tensor in dynamic.state_dict().values())


def test_copies_and_loaded_and_pickled_models_fold_themselves(tmp_path: Path) -> None:
    net = Folds()
    dynamic = converted(net)
    x = net.example(seed=1)
    before = numbers(dynamic, x)
    ds.save(dynamic, tmp_path)
    copies = [copy.deepcopy(dynamic), ds.load(tmp_path, net), pickle.loads(pickle.dumps(dynamic))]
    for twin in copies:
        assert twin.fuse() is twin
        assert norms(twin) == 0
        torch.testing.assert_close(numbers(twin, x), before, rtol=1e-5, atol=1e-5)
    assert norms(dynamic) == 7
    assert torch.equal(numbers(dynamic, x), before)


def test_a_folded_model_is_not_saved_for_what_it_was(tmp_path: Path) -> None:
    dynamic = converted(Folds())
    dynamic.fuse()
    with pytest.raises(ds.StorageError, match=r"conv' was taken out .*save the model before"):
        ds.save(dynamic, tmp_path / "there")
    assert not list((tmp_path / "there").glob("*"))


@pytest.mark.parametrize("fold", [by_replacing, by_a_new_layer])
def test_a_folded_model_loads_onto_the_folded_static_one(fold: Any, tmp_path: Path) -> None:
    net = Folds(fold)
    net.auxiliary = None
    static: Any = perturb_(net).eval()
    dynamic = converted(net)
    dynamic.fuse()
    ds.save(dynamic, tmp_path)
    with pytest.raises(ds.StorageError, match=r"bn.weight': .*fold the static one"):
        ds.load(tmp_path, static)
    loaded = ds.load(tmp_path, copy.deepcopy(static).fuse(), copy=False)
    x = net.example(3, seed=1)
    assert torch.equal(numbers(loaded, x), numbers(dynamic, x))
    assert norms(static) == 6


def test_a_restored_model_has_its_own_method_again() -> None:
    net = Folds()
    static = ds.restore(ds.convert(net.eval(), net.example(), CONVOLUTIONS))
    assert "fuse" not in vars(static)
    x = net.example(seed=1)
    before = numbers(static, x)
    static.fuse()  # type: ignore[operator]
    torch.testing.assert_close(numbers(static, x), before, rtol=1e-5, atol=1e-5)


def left_alone(dynamic: Any, net: TinyNet) -> bool:
    x = net.example(3, seed=1)
    before, state = numbers(dynamic, x), copy.deepcopy(dynamic.state_dict())
    with pytest.warns(UserWarning, match=r"fuse\(\) left the model as it is"):
        assert dynamic.fuse() is dynamic
    assert dynamic.state_dict().keys() == state.keys()
    assert all(torch.equal(t, state[name]) for name, t in dynamic.state_dict().items())
    return torch.equal(numbers(dynamic, x), before)


def test_branches_that_would_be_merged_stay() -> None:
    net = Merges()
    assert left_alone(converted(net), net)


def test_static_branches_are_merged_beside_dynamic_layers() -> None:
    net = Merges()
    dynamic = converted(net, ds.SurgeryConfig(activation=None, exclude=("blocks.7.*",)))
    x = net.example(seed=1)
    before = numbers(dynamic, x)
    dynamic.fuse()
    assert norms(dynamic) == 0
    torch.testing.assert_close(numbers(dynamic, x), before, rtol=1e-5, atol=1e-5)


class Sly(Folds):
    """One whose folding is affine in the kernel, but no scale of its channels."""

    how = "add"

    def fuse(self, verbose: bool = True) -> Folds:
        """Change what only looks like a scale on a kernel of ones."""
        conv: Any = self.blocks[3].conv
        if self.how == "add":
            conv.weight.data += 1
        elif self.how == "flip":
            conv.weight.data = conv.weight.data.flip(0)
        elif self.how == "bias":
            conv.bias = nn.Parameter(conv.weight.data.sum((1, 2, 3)))
        else:
            self.blocks[3].conv = nn.Sequential(conv)
        return self


@pytest.mark.parametrize("how", ["add", "flip", "bias", "wrap"])
def test_what_is_no_scale_is_not_taken_for_one(how: str) -> None:
    net = Sly()
    net.how = how
    assert left_alone(converted(net), net)


class Failing(Folds):
    """One that fails halfway."""

    def fuse(self, verbose: bool = True) -> Folds:
        """Fold, and then fail."""
        super().fuse()
        raise RuntimeError("halfway")


def test_a_failure_leaves_the_model_as_it_was() -> None:
    net = Failing()
    dynamic = converted(net)
    x = net.example(seed=1)
    before = numbers(dynamic, x)
    with pytest.raises(RuntimeError, match="halfway"):
        dynamic.fuse()
    assert torch.equal(numbers(dynamic, x), before)
    assert isinstance(dynamic.blocks[0].conv, ds.DynamicConv2d)


class Twice(Folds):
    """One whose blocks call an activation at two places, so that their forward is rewritten."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks[2] = TwiceBlock(nn.Conv2d(4, 8, 1), 8)


class TwiceBlock(nn.Module):
    """An activation before and after; without BatchNorm, both are the module itself."""

    def __init__(self, conv: nn.Module, channels: int) -> None:
        super().__init__()
        self.conv, self.bn, self.act = conv, nn.BatchNorm2d(channels), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(self.act(x))))
        return y


def fuse_twice(self: Any) -> Any:
    block = self.blocks[2]
    block.conv = by_replacing(block.conv, block.bn)
    block.forward = lambda x: block.act(block.conv(block.act(x)))
    return self


def test_a_rewritten_forward_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Twice, "fuse", fuse_twice)
    net = Twice()
    dynamic = converted(net, ds.SurgeryConfig(skip_stem=False))
    assert "act_1" in dict(dynamic.blocks[2].named_children())
    assert left_alone(dynamic, net)


def test_a_method_of_the_forward_is_left_alone() -> None:
    net = Pyramid()
    dynamic = converted(net)
    assert "fuse" not in vars(dynamic)
    assert numbers(dynamic, net.example()).shape == (2, 8, 14, 14)


def test_the_method_of_a_part_is_guarded_too() -> None:
    net = Merges()
    dynamic = converted(net)
    x = net.example(seed=1)
    before = numbers(dynamic, x)
    part: Branches = dynamic.blocks[7]
    with pytest.warns(UserWarning, match=r"Branches.switch_to_deploy\(\) left"):
        part.switch_to_deploy()
    assert torch.equal(numbers(dynamic, x), before)


@pytest.mark.parametrize("static", [nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 3)])
def test_a_bank_that_passes_for_a_kernel_is_refused(static: Any) -> None:
    # With as many kernels as channels every shape fits, and the wrong axis would be scaled.
    bn = nn.BatchNorm2d(4)
    nn.init.uniform_(bn.weight, 0.5, 2)
    layer: dict[Any, Any] = {
        nn.Conv2d: ds.DynamicConv2d,
        nn.ConvTranspose2d: ds.DynamicConvTranspose2d,
    }
    dynamic: Any = layer[type(static)].from_static(static.eval())
    with pytest.raises(ds.UnsupportedModelError, match="as if it were static"):
        fuse_conv_bn_eval(dynamic, bn.eval(), transpose=static.transposed)


def test_other_parameters_can_be_set() -> None:
    dynamic = ds.DynamicConv2d(4, 4, 3)
    scale = torch.rand(4) + 0.5
    for factor in (scale[:, None, None, None, None], scale[None, :, None, None, None]):
        dynamic.weight = nn.Parameter(dynamic.weight.detach() * factor)
    dynamic.weight = nn.Parameter(torch.rand_like(dynamic.weight))
    dynamic.bias = nn.Parameter(torch.zeros(4, 4))
    dynamic.load_state_dict(copy.deepcopy(dynamic.state_dict()), assign=True)
    assert dynamic(torch.randn(1, 4, 5, 5)).isfinite().all()


@pytest.mark.parametrize("operator", ["scale", "dcd", "se", "condconv", "odconv"])
def test_layers_that_can_not_take_a_batch_norm_are_left_alone(operator: str) -> None:
    net = Folds(by_replacing)
    dynamic: Any = converted(net, ds.SurgeryConfig(conv=operator, activation=None))
    x = net.example()
    expected = dynamic(x)
    with pytest.warns(UserWarning, match="can't take a BatchNorm into its kernel"):
        dynamic.fuse()
    assert torch.equal(dynamic(x), expected)


@pytest.mark.parametrize("operator", ["scale", "dcd", "se", "condconv", "odconv"])
def test_a_fold_by_hand_into_such_a_layer_is_refused(operator: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4))
    perturb_(net.eval())
    dynamic: Any = ds.convert(net, torch.randn(1, 3, 8, 8), ds.SurgeryConfig(conv=operator))
    with pytest.raises(ds.UnsupportedModelError, match="as if it were static"):
        fuse_conv_bn_eval(dynamic[1].eval(), dynamic[2].eval())

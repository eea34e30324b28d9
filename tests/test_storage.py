"""Saved and loaded: bit-equal, atomic, and nothing that a file says is believed."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
from nets import TinyMobile, TinyNet, TinyResNet, perturb_
from safetensors.torch import load_file
from storage_helpers import assert_bit_equal, contents, rewrite, trained
from surgery_nets import (
    EVERY,
    Arguments,
    Grandparent,
    Kernels,
    Nested,
    SharedPReLU,
    Structures,
    images,
    shared_slots,
)
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon import storage
from dynsurgeon.operators import KernelAttention
from dynsurgeon.recipe import recipe_of
from dynsurgeon.storage import RECIPE_FILE, TENSOR_FILE, read_recipe

C = ds.SurgeryConfig(
    activation=ds.DynamicReLUConfig(kind="C", pieces=3, smooth=True), skip_stem=False
)


@pytest.mark.parametrize("config", [None, C], ids=["default", "C"])
def test_bit_equal(config: ds.SurgeryConfig | None, tiny_net: TinyNet, tmp_path: Path) -> None:
    x = tiny_net.example(3)
    dynamic = trained(tiny_net, x, config)
    ds.save(dynamic, tmp_path / "new" / "folder")
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        *(RECIPE_FILE, TENSOR_FILE),
    }
    other = type(tiny_net)().eval()  # with other weights
    keys = list(other.state_dict())
    loaded = ds.load(tmp_path / "new" / "folder", other)
    assert_bit_equal(dynamic, loaded, x)
    assert list(other.state_dict()) == keys
    attention = next(m for m in loaded.modules() if isinstance(m, KernelAttention))
    assert float(attention.temperature) == 3.0


@pytest.mark.parametrize("kind", [Kernels, SharedPReLU, Grandparent, Nested, Arguments])
def test_difficult_networks(kind: type[TinyNet], tmp_path: Path) -> None:
    net = kind()
    dynamic = trained(net, net.example(), C)
    ds.save(dynamic, tmp_path)
    loaded = ds.load(str(tmp_path), kind())
    assert_bit_equal(dynamic, loaded, net.example())
    assert recipe_of(loaded).sites == read_recipe(tmp_path).sites


def test_nested_inputs_and_shared_slots(tmp_path: Path) -> None:
    for build, example in ((Structures, Structures.example()), (shared_slots, (images(),))):
        dynamic = trained(build(), example, EVERY)
        ds.save(dynamic, tmp_path)  # over the earlier one
        assert_bit_equal(dynamic, ds.load(tmp_path, build()), *example)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype: torch.dtype, tmp_path: Path) -> None:
    net = TinyResNet().to(dtype)
    dynamic = trained(net, net.example())
    ds.save(dynamic, tmp_path)
    assert_bit_equal(dynamic, ds.load(tmp_path, TinyResNet().to(dtype)), net.example())
    with pytest.raises(ds.StorageError, match="bring the static model to the saved precision"):
        ds.load(tmp_path, TinyResNet().to(torch.float32))


def test_a_precision_that_was_changed_after_the_conversion(tmp_path: Path) -> None:
    net = TinyResNet()
    dynamic = trained(net, net.example()).double()
    ds.save(dynamic, tmp_path)
    assert_bit_equal(dynamic, ds.load(tmp_path, TinyResNet().double()), net.example().double())


def test_in_place_and_in_train_mode(tiny_resnet: TinyNet, tmp_path: Path) -> None:
    dynamic = trained(tiny_resnet, tiny_resnet.example())
    ds.save(dynamic, tmp_path)
    net = TinyResNet().train()
    loaded = ds.load(tmp_path, net, copy=False)
    assert loaded is net
    assert all(module.training for module in loaded.modules())
    assert_bit_equal(dynamic, loaded, tiny_resnet.example())


class Locked(TinyResNet):
    """One that holds something which nobody can copy."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = Lock()


def test_a_model_that_can_not_be_copied_loads_in_place(
    tiny_resnet: TinyNet, tmp_path: Path
) -> None:
    dynamic = trained(tiny_resnet, tiny_resnet.example())
    ds.save(dynamic, tmp_path)
    with pytest.raises(ds.UnsupportedModelError, match="the model can't be copied"):
        ds.load(tmp_path, Locked())
    net = Locked().eval()
    assert ds.load(tmp_path, net, copy=False) is net
    x = tiny_resnet.example(3, seed=1)
    with torch.no_grad():
        assert torch.equal(net(x), dynamic.eval()(x))


@pytest.mark.parametrize("what", ["conv", "fc"])
def test_it_is_whole_where_loading_in_place_fails(
    what: str, tiny_resnet: TinyNet, tmp_path: Path
) -> None:
    ds.save(trained(tiny_resnet, tiny_resnet.example()), tmp_path)
    net = Locked()
    if what == "conv":
        net.layer2[0].conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=True)
    else:
        net.fc = nn.Linear(16, 3)
    before = {name: (type(module), dict(vars(module))) for name, module in net.named_modules()}
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(ds.StorageError):
        ds.load(tmp_path, net, copy=False)
    assert {name: (type(m), dict(vars(m))) for name, m in net.named_modules()} == before
    assert all(torch.equal(t, state[name]) for name, t in net.state_dict().items())


def test_random_state_and_gradients_are_left_alone(tiny_resnet: TinyNet, tmp_path: Path) -> None:
    net = TinyResNet()
    net.conv1.requires_grad_(False)
    net.layer1[0].conv1.requires_grad_(False)
    ds.save(trained(tiny_resnet, tiny_resnet.example()), tmp_path)
    before = torch.get_rng_state()
    with torch.inference_mode():
        loaded: Any = ds.load(tmp_path, net)
    assert torch.equal(before, torch.get_rng_state())
    assert not loaded.conv1.weight.requires_grad
    assert not loaded.layer1[0].conv1.weight.requires_grad
    loaded(tiny_resnet.example()).sum().backward()
    assert loaded.layer1[0].conv2.weight.grad is not None


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
import dynsurgeon as ds
from nets import TinyResNet
torch.set_num_threads(1)
x, y, tau = torch.load(sys.argv[2] + "/expected.pt")
dynamic = ds.load(sys.argv[2], TinyResNet().eval())
assert torch.equal(dynamic(x), y)
assert float(dynamic.layer1[0].conv1.attention.temperature) == tau
print("bit-equal")
"""


def test_in_a_fresh_process(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        net: Any = perturb_(TinyResNet()).eval()
        x = images(3, size=16)
        dynamic = trained(net, x)
        ds.save(dynamic, tmp_path)
        torch.save((x, dynamic(x).detach(), 3.0), tmp_path / "expected.pt")
    finally:
        torch.set_num_threads(threads)
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == "bit-equal\n", done.stderr


def _tied() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.Flatten()
    )
    net[3].weight = net[1].weight
    return net


def _shared_conv() -> nn.Module:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(nn.Sequential(conv, nn.ReLU()), nn.Sequential(conv, nn.ReLU()))


@pytest.mark.parametrize("build", [_tied, _shared_conv])
def test_tied_weights(build: Callable[[], Any], tmp_path: Path) -> None:
    dynamic = trained(build(), images(), EVERY)
    ds.save(dynamic, tmp_path)
    loaded: Any = ds.load(tmp_path, build())
    assert_bit_equal(dynamic, loaded, images())
    if build is _tied:
        assert loaded[3].weight is loaded[1].weight
    else:
        assert loaded[0][0] is loaded[1][0]
    assert len(load_file(tmp_path / TENSOR_FILE)) < len(dynamic.state_dict())


def test_the_origin_is_kept(tiny_resnet: TinyNet, tmp_path: Path) -> None:
    dynamic = ds.convert(tiny_resnet, tiny_resnet.example())
    origin = {"model": "tiny", "arguments": {"num_classes": 10}, "input_size": (3, 16, 16)}
    ds.save(dynamic, tmp_path, origin=origin)
    expected = {**origin, "input_size": [3, 16, 16]}
    assert read_recipe(tmp_path).origin == expected
    loaded = ds.load(tmp_path, TinyResNet())
    assert recipe_of(loaded).origin == expected
    ds.save(loaded, tmp_path)
    assert read_recipe(tmp_path).origin == expected
    for bad in ({"model": object()}, {"model": float}, {("a", "b"): 1}, [1]):
        with pytest.raises(ds.ConfigError, match="origin must hold JSON values"):
            ds.save(dynamic, tmp_path / "bad", origin=bad)  # type: ignore[arg-type]
    assert not (tmp_path / "bad").exists()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved `TinyResNet`, not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    torch.manual_seed(1)  # other weights than a test draws first
    net: Any = perturb_(TinyResNet())
    ds.save(trained(net, net.example()), folder)
    return folder


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path


STEPS = ["write_tensors", "file_digest", "os.replace first", "os.replace second", "write_text"]


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_while_writing_leaves_the_old_files(
    step: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(saved)
    net: Any = perturb_(TinyResNet(), torch.Generator().manual_seed(9))
    dynamic = trained(net, net.example())

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    replaced: list[Any] = []

    def fail_later(source: str, target: str) -> None:
        if len(replaced) == (step == "os.replace second"):
            fail()
        replaced.append(target)
        moved(source, target)

    moved = os.replace
    if step.startswith("os"):
        monkeypatch.setattr(os, "replace", fail_later)
    elif step == "write_text":
        monkeypatch.setattr(Path, "write_text", fail)
    else:
        monkeypatch.setattr(storage, step, fail)
    with pytest.raises(ds.StorageError, match=r"can't write into .*: No space left on device"):
        ds.save(dynamic, saved)
    monkeypatch.undo()
    assert {path.name for path in saved.iterdir()} == set(before)  # and no temporary file
    if step == "os.replace second":  # two files can't move at once; then they are refused together
        with pytest.raises(ds.StorageError, match=r"is damaged, or was not saved with this"):
            ds.load(saved, TinyResNet())
    else:
        assert contents(saved) == before


def test_what_can_not_be_written_is_refused(saved: Path) -> None:
    net = TinyResNet()
    dynamic = ds.convert(net, net.example())
    (saved / "file").write_text("in the way")
    for folder in (saved / "file", saved / "file" / "below", "nul\0byte"):
        with pytest.raises(ds.StorageError, match="can't write into ") as error:
            ds.save(dynamic, folder)
        assert "\n" not in str(error.value)
    with pytest.raises(ds.UnsupportedModelError, match="was not converted by dynsurgeon"):
        ds.save(net, saved / "static")
    assert not (saved / "static").exists()
    assert (saved / "file").read_text() == "in the way"


class WithExtraState(TinyResNet):
    def get_extra_state(self) -> Any:
        return {"epoch": 3}

    def set_extra_state(self, state: Any) -> None:
        assert state


def test_extra_state_that_is_no_tensor_is_refused(saved: Path) -> None:
    net = WithExtraState()
    with pytest.raises(ds.StorageError, match="'_extra_state' is state that is no tensor"):
        ds.save(ds.convert(net, net.example()), saved / "x")
    assert ds.load(saved, net) is not net


def refused(folder: Path, model: nn.Module | None = None) -> str:
    """Return the error of loading in place, after checking that the model stayed whole."""
    model = model or TinyResNet()
    kinds = [(name, type(m)) for name, m in model.named_modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ds.StorageError) as error:
        ds.load(folder, model, copy=False)
    assert [(name, type(m)) for name, m in model.named_modules()] == kinds
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    with pytest.raises(ds.UnsupportedModelError):
        recipe_of(model)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_model_is_refused(saved: Path) -> None:
    assert "the model has no module 'layer1.0'" in refused(saved, TinyMobile())
    wider = TinyResNet()
    wider.fc = nn.Linear(16, 12)
    assert "'fc.weight' has shape [10, 16], the model needs [12, 16]" in refused(saved, wider)
    more = TinyResNet()
    more.extra = nn.Linear(2, 2)
    assert "has no tensor 'extra.weight'" in refused(saved, more)
    assert "has shape" in refused(saved, _deeper())
    dynamic = ds.load(saved, TinyResNet())
    with pytest.raises(ds.UnsupportedModelError, match="already dynamic"):
        ds.load(saved, dynamic)
    with pytest.raises(ds.UnsupportedModelError, match="is wrapped in DataParallel"):
        ds.load(saved, nn.DataParallel(TinyResNet()))


def _deeper() -> nn.Module:
    net = TinyResNet()
    net.layer1[0].conv1 = nn.Conv2d(8, 8, 5, padding=2, bias=False)
    return net


def test_missing_files_are_named(saved: Path, tmp_path: Path) -> None:
    assert "can't read" in refused(tmp_path / "nowhere")
    assert RECIPE_FILE in refused(tmp_path / "nowhere")
    assert "embedded null byte" in refused(Path("nul\0byte"))
    (saved / TENSOR_FILE).rename(saved / "elsewhere")
    assert TENSOR_FILE in refused(saved)
    (saved / TENSOR_FILE).mkdir()
    assert TENSOR_FILE in refused(saved)
    (saved / RECIPE_FILE).unlink()
    (saved / RECIPE_FILE).mkdir()
    assert "Is a directory" in refused(saved)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda raw: raw[:-10],
    "header alone": lambda raw: raw[:100],
    "empty": lambda raw: b"",
    "garbage": lambda raw: b"\xff" * 1000,
    "one bit": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
    "longer": lambda raw: raw + b"\0",
    "huge header": lambda raw: struct.pack("<Q", 2**60) + b"{}",
    "a pickle": lambda raw: b"\x80\x04cposix\nsystem\n.",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tensors_are_refused(damage: str, saved: Path) -> None:
    raw = (saved / TENSOR_FILE).read_bytes()
    (saved / TENSOR_FILE).write_bytes(DAMAGES[damage](raw))
    message = refused(saved)
    assert TENSOR_FILE in message
    assert "can't read" in message or "is damaged, or was not saved with this" in message


def test_a_recipe_of_another_save_is_refused(saved: Path, tmp_path: Path) -> None:
    net: Any = perturb_(TinyResNet(), torch.Generator().manual_seed(3))
    ds.save(ds.convert(net, net.example()), tmp_path / "other")
    (tmp_path / "other" / RECIPE_FILE).rename(saved / RECIPE_FILE)
    assert "is damaged, or was not saved with this recipe.json" in refused(saved)


def test_a_recipe_that_is_no_text_is_refused(saved: Path) -> None:
    (saved / RECIPE_FILE).write_bytes(b"\xff\xfe\x00")
    assert RECIPE_FILE in refused(saved)
    (saved / RECIPE_FILE).write_text("{'format': 1}")
    assert f"{RECIPE_FILE}: not a valid recipe" in refused(saved)


def test_without_a_digest_whole_files_load(saved: Path) -> None:
    rewrite(saved)
    assert ds.load(saved, TinyResNet()) is not None


def at(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(recipe: Any) -> None:
        for key in path[:-1]:
            recipe = recipe[key]
        recipe[path[-1]] = value

    return change


CONV, RELU = ("sites", 1), ("sites", 0)

HOSTILE: dict[str, Callable[[Any], Any]] = {
    **{
        f"site {name!r}": at(*CONV, "name", value=name)
        for name in ("__class__", "..", "", "a/../../b", "layer1", "conv1", "layer1.0.conv1.weight")
    },
    **{
        f"owner {name!r}": at("owners", 0, "name", value=name) for name in ("__class__", "..", "no")
    },
    **{
        f"{key} {value!r}": at(*CONV, "settings", key, value=value)
        for key, value in (
            *(("experts", 10**12), ("experts", -1), ("experts", "4"), ("experts", True)),
            *(("experts", None), ("experts", 4.0), ("temperature", "hot"), ("__class__", 1)),
        )
    },
    **{
        f"relu {key} {value!r}": at(*RELU, "settings", key, value=value)
        for key, value in (("pieces", 10**9), ("pieces", "x"), ("reduction", 0), ("kind", "Z"))
    },
    **{f"channels {c}": at(*RELU, "channels", value=c) for c in (10**12, -1, 0, 9)},
    "operator": at(*CONV, "operator", value="__import__"),
    "wrong operator": at(*CONV, "operator", value="DynamicReLUB"),
    "transposed": at(*CONV, "operator", value="DynamicConvTranspose2d"),
    "convolution of a relu": at(*RELU, "operator", value="DynamicConv2d"),
    "place": at(*RELU, "place", value="elsewhere"),
    "dtype": at(*RELU, "dtype", value="__class__"),
    "integers": at(*RELU, "dtype", value="int8"),
    "other precision": at(*RELU, "dtype", value="float64"),
    "slopes": at(*RELU, "form", "slope", value=[0.1, 0.2, 0.3]),
    "function": at(*RELU, "form", "function", value="system"),
    "seed": at("seed", value=2**80),
    "no owners": lambda recipe: recipe["owners"].clear(),
    "no calls": at("owners", 0, "calls", value={}),
    "other calls": at("owners", 0, "calls", "eval", value=[["function:relu", "relu"]]),
    "a site less": lambda recipe: recipe["sites"].pop(1),
    "no sites": lambda recipe: recipe["sites"].clear(),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_recipes_are_refused_whole(what: str, saved: Path) -> None:
    rewrite(saved, recipe=HOSTILE[what])
    refused(saved)


CODE = 'x")\n    import pathlib; pathlib.Path("{path}").write_text("pwned")\n    ("'


@pytest.mark.parametrize("template", [CODE, '"); open("{path}", "w").write("pwned"); ("'])
def test_a_name_never_becomes_code(template: str, saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "pwned"
    evil = template.replace("{path}", str(path))

    def change(recipe: Any) -> None:
        for owner in recipe["owners"]:
            owner["constants"] = {evil: evil, "x": evil}
            for calls in owner["calls"].values():
                calls[:] = [[label, evil if child == "relu_1" else child] for label, child in calls]
        for site in recipe["sites"]:
            site["name"] = site["name"].replace("relu_1", evil)

    def rename(tensors: dict[str, Tensor]) -> None:
        for name in [n for n in tensors if "relu_1" in n]:
            tensors[name.replace("relu_1", evil)] = tensors.pop(name)

    rewrite(saved, change, rename)
    message = refused(saved)
    assert "which is no name" in message or "can't be rewritten" in message
    assert not path.exists()


TENSORS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "one more": (lambda t: t.update(more=torch.zeros(1)), "holds 'more', which the model lacks"),
    "one less": (lambda t: t.pop("fc.weight"), "has no tensor 'fc.weight'"),
    "no bank": (lambda t: t.pop("layer1.0.conv1.weight"), "don't match its recipe"),
    "other precision": (
        lambda t: t.update({"fc.weight": t["fc.weight"].half()}),
        "'fc.weight' was saved as F16, the model has torch.float32",
    ),
    "integers": (
        lambda t: t.update({"fc.bias": t["fc.bias"].to(torch.int8)}),
        "'fc.bias' was saved as I8",
    ),
    "other shape": (
        lambda t: t.update({"fc.weight": t["fc.weight"].T.contiguous()}),
        "'fc.weight' has shape [16, 10], the model needs [10, 16]",
    ),
    "other bank": (
        lambda t: t.update({"layer1.0.conv1.weight": torch.zeros(9, 8, 8, 3, 3)}),
        "the tensors of 'layer1.0.conv1' don't match its recipe",
    ),
    "swapped name": (
        lambda t: t.update({"fc.wieght": t.pop("fc.weight")}),
        "has no tensor 'fc.weight'; did you mean 'fc.wieght'",
    ),
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_do_not_fit_are_named(what: str, saved: Path) -> None:
    change, reason = TENSORS[what]
    rewrite(saved, tensors=change)
    assert reason in refused(saved)


def test_no_memory_is_spent_on_a_hostile_recipe(saved: Path) -> None:
    # One row of a bank that pretends to have a hidden layer of 10^10 units.
    rewrite(saved, recipe=at(*CONV, "settings", "reduction", value=10**9))
    assert ds.load(saved, TinyResNet()) is not None  # the floor of four units fits

    def widen(tensors: dict[str, Tensor]) -> None:
        tensors["relu.fc1.weight"] = torch.zeros(1, 200_000)

    rewrite(saved, recipe=at(*RELU, "channels", value=200_000), tensors=widen)
    rewrite(saved, recipe=at(*RELU, "settings", "reduction", value=1))
    assert "has shape" in refused(saved)

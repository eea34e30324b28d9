"""What is no public name is there, does what it is used for, and is named in one file alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from dynsurgeon import compat
from dynsurgeon.compat import (
    TRACED_CONSTANT,
    GetAttrKey,
    compiled_in_place,
    is_traceable_wrapper_subclass,
    register_pytree_node,
    transformed_by_func,
    tree_flatten,
    tree_leaves,
    tree_map,
)

ROOT = Path(__file__).parent.parent
FILES = [*(ROOT / "dynsurgeon").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
LIBRARIES = ("torch", "torchvision", "onnx", "onnxruntime", "onnx_ir", "onnxscript", "accelerate")


class Wrapper(Tensor):
    def __tensor_flatten__(self) -> None: ...

    def __tensor_unflatten__(self) -> None: ...


class Pair:
    def __init__(self, one: object, other: object) -> None:
        self.one, self.other = one, other


def test_every_name_is_there() -> None:
    assert [name for name in compat.__all__ if not hasattr(compat, name)] == []


def test_a_dispatch_mode_sees_every_operator() -> None:
    seen = []

    class Mode(compat.TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Mode():  # type: ignore[no-untyped-call]
        torch.ones(2) + 1
    assert torch.ops.aten.add.Tensor in seen


def test_a_trace_is_known_in_its_own_thread_alone() -> None:
    found = []

    class Asking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found.append(compat.traced_in_this_thread())
            other = Thread(target=lambda: found.append(compat.traced_in_this_thread()))
            other.start()
            other.join()
            return x + 1

    assert not compat.traced_in_this_thread()
    torch.export.export(Asking(), (torch.ones(2),), strict=False)
    assert found[:2] == [True, False]


def test_trees_are_nested_containers_and_what_is_registered() -> None:
    register_pytree_node(
        Pair,
        lambda pair: ([pair.one, pair.other], None),
        lambda children, _: Pair(*children),
        serialized_type_name="test_compat.Pair",
        flatten_with_keys_fn=lambda pair: (
            [(GetAttrKey("one"), pair.one), (GetAttrKey("other"), pair.other)],
            None,
        ),
    )
    tree = {"a": [1, (2, None)], "b": Pair(3, "four")}
    assert tree_leaves(tree) == [1, 2, None, 3, "four"]
    assert tree_flatten(tree)[0] == tree_leaves(tree)
    doubled = tree_map(lambda leaf: leaf * 2 if isinstance(leaf, int) else leaf, tree)
    assert doubled["a"] == [2, (4, None)]
    assert doubled["b"].one == 6


def test_a_wrapper_of_tensors_is_told() -> None:
    x = torch.ones(2)
    assert is_traceable_wrapper_subclass(x.as_subclass(Wrapper))
    assert not is_traceable_wrapper_subclass(nn.Parameter(x))


def test_a_transformation_of_func_is_told() -> None:
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(transformed_by_func(x))
        return x.sum()

    x = torch.ones(2)
    torch.func.grad(look)(x)
    torch.func.vmap(look)(x)
    look(x)
    assert seen == [True, True, False]


def test_a_module_that_was_compiled_in_place_is_told() -> None:
    net = nn.Linear(1, 1)
    assert not compiled_in_place(net)
    net.compile(backend="eager")
    assert compiled_in_place(net)


def test_a_tensor_that_was_made_while_tracing_has_that_name() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.ones(1)

    net = Net()
    fx.Tracer().trace(net)
    assert [name for name in vars(net) if name.startswith(TRACED_CONSTANT)] != []


def test_hooks_of_all_modules_leave_nothing_behind() -> None:
    seen: list[object] = []
    held = {
        name: len(value)
        for name, value in vars(nn.modules.module).items()
        if name.startswith("_global_") and isinstance(value, dict)
    }
    before = lambda module, args: seen.append(args)  # noqa: E731
    after = lambda module, args, kwargs, output: seen.append(output)  # noqa: E731
    with compat.hooked_everywhere(before, after):
        nn.Identity()(7)
    nn.Identity()(8)
    assert seen == [(7,), 7]
    assert held == {name: len(getattr(nn.modules.module, name)) for name in held}


def test_accelerate_is_forgotten() -> None:
    pytest.importorskip("accelerate")
    code = """
from accelerate import Accelerator
from accelerate.state import PartialState
from dynsurgeon.compat import accelerate_is_unused, forget_accelerate
found = [accelerate_is_unused()]
for precision in ("no", "bf16"):
    engine = Accelerator(cpu=True, mixed_precision=precision)
    found += [accelerate_is_unused(), engine.mixed_precision]
    forget_accelerate()
    found += [accelerate_is_unused(), PartialState._shared_state]
print(found)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[True, False, 'no', True, {}, False, 'bf16', True, {}]\n"


def test_private_names_of_libraries_are_in_compat_alone() -> None:
    found = {path.name for path in FILES if any(private_names(path.read_text(encoding="utf-8")))}
    assert found == {"compat.py"}


@pytest.mark.parametrize(
    "text",
    ["import torch._dynamo", "from torch.fx._a import b", "torch._C.f()", "from torch import _C"],
)
def test_a_private_name_is_found(text: str) -> None:
    assert any(private_names(text))


@pytest.mark.parametrize("text", ["torch.stack(self._mine)", "from torch.nn.a import _ConvNd"])
def test_other_names_pass(text: str) -> None:
    assert not any(private_names(text))


def private_names(text: str) -> Iterator[str]:
    """Yield modules and functions that begin with an underscore; classes such as `_ConvNd` pass."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"[\w.]+", ast.unparse(node)):
            names = [ast.unparse(node)]
        for name in names:
            root, *parts = name.split(".")
            if root in LIBRARIES and any(part[:1] == "_" and _is_private(part) for part in parts):
                yield name


def _is_private(part: str) -> bool:
    return not part.startswith("__") and (part == "_C" or part[1:2].islower())

"""The last layer: how many classes it tells apart, and a new one for another number."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.running.randomness import forked_random, seed_random
from dynsurgeon.running.run import MODES, run_model
from dynsurgeon.training.finetune.seeds import seed_of


def count_classes(model: nn.Module, inputs: Any) -> int:
    """Return the number of classes that `model` gives scores for.

    Raises:
        UnsupportedModelError: Its output is no table of scores, in training or in evaluation.
    """
    classes = 0
    for mode in MODES:
        output = run_model(model, inputs, mode)
        if not isinstance(output, Tensor) or output.dim() != 2:
            found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UnsupportedModelError(
                f"only classifiers are fine-tuned here, whose output is (N, classes) in training "
                f"too; this {type(model).__name__} gives {found} in {mode} mode"
            )
        classes = output.shape[1]
    return classes


def find_head(model: nn.Module, inputs: Any) -> str:
    """Return the name of the linear layer that gives the scores: the last one that runs.

    Raises:
        UnsupportedModelError: The scores come from something else.
    """
    called: list[tuple[str, Any]] = []

    def note(name: str) -> Any:
        return lambda module, args, output: called.append((name, output))

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                stack.callback(module.register_forward_hook(note(name)).remove)
        scores = run_model(model, inputs, "eval")
    name, output = called[-1] if called else ("", None)
    if (
        name == ""
        or not isinstance(model.get_submodule(name), nn.Linear)
        or (not isinstance(output, Tensor) or not torch.equal(output, scores))
    ):
        raise UnsupportedModelError(
            f"the last layer of this {type(model).__name__} is no Linear whose output is the "
            "model's, so it can't be replaced; convert a model that has the right number of "
            "classes (--model-arg num_classes=N)"
        )
    return name


def reset_head(model: nn.Module, name: str, classes: int, seed: int = 0) -> None:
    """Give the linear layer called `name` new weights, for `classes` outputs.

    In place, and the layer stays the same object. The weights are drawn as torch draws those of a
    new layer, with `seed`; device, dtype and requires_grad stay.

    Raises:
        UnsupportedModelError: There is no linear layer of that name.
    """
    layer = dict(model.named_modules()).get(name)
    if not isinstance(layer, nn.Linear):
        raise UnsupportedModelError(f"{name!r} is no linear layer of the model")
    with forked_random():
        seed_random(seed_of("head", seed))
        fresh = nn.Linear(
            layer.in_features, classes, bias=layer.bias is not None, dtype=layer.weight.dtype
        )
    layer.out_features = classes
    for key, parameter in fresh.named_parameters():
        old = layer.get_parameter(key)
        setattr(layer, key, nn.Parameter(parameter.detach().to(old.device), old.requires_grad))

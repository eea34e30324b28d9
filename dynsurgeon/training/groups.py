"""Parameter groups: which part of a dynamic network learns at which rate.

With pi nearly flat, each kernel gets 1/K of the static gradient, and the mixed kernel makes
sum_k pi_k^2 of the static step: 1/K of it. The bank's rate has to make up for that, but K times the
rate diverges once the attention is sharp, where the sum is 1. The default is the geometric middle,
sqrt(K); `balance_banks` lets the mean kernel catch up all the way.

The last layer of a DY-ReLU's head starts at zero, so a step moves theta by the rate times the
squared length of the hidden layer, which grows with its width: on EfficientNet-Lite0 it is 2 behind
32 channels, and 20 to 80 behind 240 and more. The rate falls as the width rises; and where one
output changes all channels, as the lines of a DY-ReLU-A do, as their number rises, for the gradient
is their sum: at one rate for all, DY-ReLU-A stayed at chance there (docs/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from dynsurgeon.checks import require_not_negative
from dynsurgeon.errors import ConfigError, PatternError, suggest
from dynsurgeon.operators.answers import GROUPS, Part
from dynsurgeon.operators.contract import dynamic_layers


def parameter_groups(
    model: nn.Module,
    lr: float,
    *,
    weight_decay: float = 1e-4,
    bank_factor: float | None = None,
    attention_factor: float = 0.05,
    relu_factor: float | None = None,
    freeze: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Return the groups for a torch optimizer, each with a ``"name"``.

        optimizer = torch.optim.SGD(ds.parameter_groups(model, lr=0.1), momentum=0.9)

    The names are ``"bank"``, ``"attention"``, ``"relu"`` (the heads of the DY-ReLUs), ``"head"``
    (those of other operators) and ``"rest"``; biases, norms and other vectors are in groups of
    their own, ``"bank/no-decay"`` and so on, without weight decay. A group's ``"factor"`` is its
    rate over `lr`. Groups without parameters are left out, and so are parameters that need no
    gradient.

    Args:
        model: A converted network, wrapped for DDP or not; a static one has the rest alone.
        lr: Learning rate of the rest.
        weight_decay: Weight decay of what is neither a bias nor a norm.
        bank_factor: Rate of the kernels over `lr`; sqrt(K) when None, by the K of each site.
        attention_factor: Rate of the attentions over `lr`. At the full rate they undo what
            `calibrate` gave them: flat, or one kernel for every sample.
        relu_factor: Rate of the DY-ReLUs' heads over `lr`; when None 1 for the narrowest
            hidden layer there is, and as much less as it is wider, or as an output changes more
            channels.
        freeze: Names of groups, or globs on names of parameters, that are not to be trained: they
            are left out, and their `requires_grad` becomes False.

    Raises:
        ConfigError: A rate or a factor is no finite number, or below 0.
        PatternError: A name in `freeze` selects nothing.
    """
    _check(lr=lr, weight_decay=weight_decay, attention_factor=attention_factor)
    chosen = {"relu_factor": relu_factor, "bank_factor": bank_factor}
    _check(**{name: factor for name, factor in chosen.items() if factor is not None})
    _freeze(model, freeze)
    factors = {"bank": bank_factor, "attention": attention_factor, "relu": relu_factor}
    collected: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for _, parameter, part in _parts(model):
        if not parameter.requires_grad:
            continue
        given = factors.get(part.name)
        factor = part.factor if given is None else given
        key = (part.name, factor, part.decays)
        collected.setdefault(key, []).append(parameter)
    order = sorted(collected, key=lambda key: (GROUPS.index(key[0]), key[1], not key[2]))
    return [
        {
            "name": part if decays else f"{part}/no-decay",
            "params": collected[part, factor, decays],
            "lr": lr * factor,
            "factor": factor,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for part, factor, decays in order
    ]


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Part]]:
    """Yield each parameter once: its name, itself, and its part."""
    inside: dict[nn.Parameter, Part] = {}
    for _, layer in dynamic_layers(model):
        for name, parameter in layer.named_parameters():
            inside.setdefault(parameter, layer.part(name, parameter))
    for name, parameter in model.named_parameters():
        # Biases and the factors of norms are vectors.
        yield name, parameter, inside.get(parameter) or Part("rest", decays=parameter.dim() > 1)


def _freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    if isinstance(patterns, str):
        raise ConfigError(f"freeze must be a collection of names, got the string {patterns!r}")
    for pattern in patterns:
        chosen = [p for name, p, part in _parts(model) if part.name == pattern]
        chosen = chosen or [p for name, p, *_ in _parts(model) if fnmatchcase(name, pattern)]
        if not chosen:
            known = [*GROUPS, *(name for name, *_ in _parts(model))]
            raise PatternError(f"freeze: {pattern!r} selects nothing{suggest(pattern, known)}")
        for parameter in chosen:
            parameter.requires_grad_(False)


def _check(**values: float) -> None:
    for name, value in values.items():
        require_not_negative(name, value)

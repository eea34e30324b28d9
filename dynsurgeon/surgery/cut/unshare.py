"""Give every place that holds a stateless activation an instance of its own.

``act = nn.ReLU(); nn.Sequential(conv, act, conv, act)`` is one module in two places. Copies of it
compute the same, and let each place be converted by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from dynsurgeon.surgery.sites.calls import activation_class
from dynsurgeon.surgery.sites.hooks import has_hooks


def unshare_activations(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replace repeated stateless activations by copies.

    Returns:
        The (parent, attribute, original module) of each place that got a copy.
    """
    seen: set[int] = set()
    changed = []
    for parent in list(model.modules()):
        for attribute, child in list(parent._modules.items()):
            if child is None or not _is_stateless_activation(child):
                continue
            if id(child) in seen:
                parent._modules[attribute] = copy.deepcopy(child)  # a shallow one shares its hooks
                changed.append((parent, attribute, child))
            seen.add(id(child))
    return changed


@contextmanager
def unshared_activations(model: nn.Module) -> Iterator[None]:
    """Unshare for the time of this context, then put the shared modules back."""
    changed = unshare_activations(model)
    try:
        yield
    finally:
        for parent, attribute, original in changed:
            parent._modules[attribute] = original


def _is_stateless_activation(module: nn.Module) -> bool:
    return (
        activation_class(module) is not None
        and not any(True for _ in module.parameters())
        and not has_hooks(module)
    )

"""What a model is called with: positional and keyword inputs, as one value.

Everything that runs a model goes through `Inputs.call`. It is a node of torch's pytree, so whatever
maps over tensors (copies, batches, fresh samples) treats both kinds of inputs alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dynsurgeon.compat import (
    GetAttrKey,
    KeyEntry,
    register_pytree_node,
    tree_leaves,
)
from dynsurgeon.errors import ConfigError


@dataclass(frozen=True, init=False, eq=False)
class Inputs:
    """A call of a model, written down: ``Inputs(x, mask=m)`` stands for ``model(x, mask=m)``.

    Example inputs are accepted in shorter forms too: a tensor, a tuple or list of positional
    inputs, or a mapping of keyword inputs. Only a call with both kinds needs this class.

    Attributes:
        args: The positional inputs.
        kwargs: The keyword inputs, by name.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "args", args)
        object.__setattr__(self, "kwargs", kwargs)

    @classmethod
    def of(cls, given: Any) -> Inputs:
        """Return the inputs that a user gave in any of the accepted forms.

        Raises:
            ConfigError: A mapping's keys are no names of arguments.
        """
        if isinstance(given, Inputs):
            return given
        if isinstance(given, Mapping):
            if not all(isinstance(name, str) for name in given):
                raise ConfigError(
                    f"keyword inputs need the names of the model's arguments, got {list(given)!r}"
                )
            return cls(**given)
        return cls(*given) if isinstance(given, tuple | list) else cls(given)

    def call(self, model: Callable[..., Any]) -> Any:
        """Call `model` with these inputs."""
        return model(*self.args, **self.kwargs)

    def values(self) -> tuple[Any, ...]:
        """Return the positional inputs, then the keyword inputs."""
        return (*self.args, *self.kwargs.values())

    def fit(self, forward: Callable[..., Any]) -> bool:
        """Whether `forward` has arguments of these names and this number."""
        try:
            inspect.signature(forward).bind(*self.args, **self.kwargs)
        except TypeError:
            return False
        except ValueError:  # a builtin tells no signature
            return True
        return True


def as_inputs(example_inputs: Any) -> Inputs:
    """Return example inputs as what they stand for.

    Args:
        example_inputs: A tensor; a tuple or list of positional inputs; a mapping of keyword inputs;
            or `Inputs`.

    Raises:
        ConfigError: They are nothing of that, or hold no tensor.
    """
    accepted = isinstance(example_inputs, Tensor | tuple | list | Mapping | Inputs)
    inputs = Inputs.of(example_inputs) if accepted else Inputs()
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(inputs)):
        raise ConfigError(
            "example_inputs must be a tensor, a tuple of positional inputs, a dict of keyword "
            "inputs or dynsurgeon.Inputs, with a tensor among them, got "
            f"{type(example_inputs).__name__}"
        )
    return inputs


def _flatten(inputs: Inputs) -> tuple[list[Any], None]:
    return [inputs.args, inputs.kwargs], None


def _flatten_with_keys(inputs: Inputs) -> tuple[list[tuple[KeyEntry, Any]], None]:
    return [(GetAttrKey("args"), inputs.args), (GetAttrKey("kwargs"), inputs.kwargs)], None


def _unflatten(children: Any, _: None) -> Inputs:
    args, kwargs = children
    return Inputs(*args, **kwargs)


register_pytree_node(
    Inputs,
    _flatten,
    _unflatten,
    serialized_type_name="dynsurgeon.Inputs",
    flatten_with_keys_fn=_flatten_with_keys,
)

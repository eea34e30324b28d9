"""What a dynamic layer answers: the one place where surgery, proof, training and export ask.

A new operator is a file with a dataclass of settings and a subclass of `ConvolutionLayer` or
`ActivationLayer`, and a line in `registry.OPERATORS` (or a call of `register_operator`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from dynsurgeon.operators.answers import Head, Part, Temperature, head_factor
from dynsurgeon.operators.forms import ActivationForm

StaticConv = nn.modules.conv._ConvNd
Shape = tuple[int, ...]


class DynamicLayer(nn.Module):
    """Base of every dynamic layer; what it answers suits a layer of constant kernels.

    Attributes:
        sums_to_one: Whether banks of kernels are mixed by weights that sum to 1 for every sample.
            Mixing around the first kernel, folding a BatchNorm into a bank, comparing a bank's
            gradients and `balance_banks` rest on it.
    """

    sums_to_one: bool = False

    # deciding

    @classmethod
    def choices(cls, config: Any) -> list[Any]:
        """Return configurations that cost less and less of what `config` gives, these last."""
        return [config]

    @classmethod
    def parts(cls, config: Any) -> int:
        """Return of how many kernels or lines the input decides the mixture; 2 is on or off."""
        return 2

    @classmethod
    def kernels(cls, config: Any) -> int:
        """Return how many kernels a sample reads beside the static one's: 0 if it is constant."""
        return 0

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        """Return the multiply-adds a sample beside those of the static operator.

        Args:
            taken: Shape of the input.
            given: Shape of the output.
        """
        raise NotImplementedError

    # changing, for proofs

    def heads(self) -> Iterable[Head]:
        """Yield every head, so that proofs can make the layer dynamic before they compare."""
        raise NotImplementedError

    def banks(self) -> Mapping[str, nn.Parameter]:
        """Return the banks ``(K, …)`` by the names of the static parameters that they hold."""
        return {}

    def held(self) -> Iterable[str]:
        """Yield the names of the static operator's parameters that the layer still has.

        At the start each has the gradient that it had in the static network; a bank's, summed over
        its kernels, has it where `sums_to_one`.
        """
        return self.banks() if self.sums_to_one else ()

    @property
    def sample_kernels(self) -> bool:
        """Whether each sample gets a kernel of its own, computed from its banks."""
        return bool(self.banks())

    # showing

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        """Return the numbers that the input decides, by what a person calls them, each ``(N, …)``.

        `ds.inspect` shows them. A layer that says nothing here is left out of it.
        """
        return {}

    def curves(self, x: Tensor, signals: Mapping[str, Tensor]) -> Tensor | None:
        """Return what the layer makes of numbers ``(P,)`` in each channel, ``(M, C, P)``.

        Args:
            x: The numbers.
            signals: M times what `signals` returns.

        Returns:
            The curves, C being 1 if all channels have the same; None if an output depends on more
            than one number.
        """
        return None

    # going back

    def static_obstacle(self) -> str | None:
        """Return why no static operator computes what the layer computes now, or None."""
        raise NotImplementedError

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        """Return the parameters of the static operator that computes the same."""
        return {}

    # saving

    @classmethod
    def expected(cls, settings: Mapping[str, Any], channels: int | None) -> dict[str, Shape]:
        """Return the first axes of tensors whose size a recipe decides, -1 for any.

        A file is compared with it before anything of that size is made.
        """
        return {}

    # training

    def temperatures(self) -> Iterable[Temperature]:
        """Yield the temperature of every softmax."""
        return ()

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        """Say what one of its parameters is to an optimizer.

        Args:
            name: Dotted name below the layer.
            parameter: The parameter.
        """
        decays = parameter.dim() > 1
        for head in self.heads():
            if any(parameter is one for one in head.parameters()):
                return Part("head", head_factor(head), decays)
        return Part("rest", decays=decays)


class ConvolutionLayer(DynamicLayer):
    """Base of the layers that take the place of a convolution."""

    @classmethod
    def from_static(cls, static: StaticConv, config: Any = None) -> Self:
        """Build the layer that computes what `static` computes, of its dtype and on its device.

        A layer whose constructor takes these two needs no method of its own.
        """
        build: Callable[..., Self] = cls
        return build(static, config)

    @classmethod
    def like(cls, static: StaticConv, config: Any, device: torch.device | str) -> Self:
        """Build a layer of the geometry of `static` on a device, its numbers not yet set."""
        with torch.device(device):
            return cls.from_static(copy.deepcopy(static).to(device), config).to(device)

    @classmethod
    def obstacle(cls, static: nn.Module | None, config: Any) -> str | None:
        """Return why the layer can't start from a convolution, or None.

        Args:
            static: The convolution; None for a functional one.
            config: What was asked for.
        """
        return None


class ActivationLayer(DynamicLayer):
    """Base of the layers that take the place of an activation.

    Attributes:
        inplace: Whether it must write its result into its input.
    """

    inplace: bool

    @classmethod
    def from_form(
        cls,
        form: ActivationForm,
        channels: int,
        config: Any,
        *,
        inplace: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Build the layer that computes what an activation computes on so many channels.

        A layer whose constructor takes `channels`, `config` and the rest by name needs no method
        of its own.
        """
        build: Callable[..., Self] = cls
        return build(channels, config, form=form, inplace=inplace, device=device, dtype=dtype)

    @classmethod
    def obstacle(cls, form: ActivationForm, config: Any) -> str | None:
        """Return why the layer can't start from an activation, or None."""
        return form.obstacle()


def dynamic_layers(model: nn.Module) -> Iterator[tuple[str, DynamicLayer]]:
    """Yield every dynamic layer of a network, with its name."""
    for name, module in model.named_modules():
        if isinstance(module, DynamicLayer):
            yield name, module


def is_dynamic(model: nn.Module) -> bool:
    """Whether a network holds any dynamic layer."""
    return any(True for _ in dynamic_layers(model))


def mixes_kernels(model: nn.Module) -> bool:
    """Whether any layer of a network computes a kernel for each sample."""
    return any(layer.sample_kernels for _, layer in dynamic_layers(model))


def temperatures(model: nn.Module) -> list[Temperature]:
    """Return every temperature in a network."""
    return [each for _, layer in dynamic_layers(model) for each in layer.temperatures()]

"""Build the dynamic layer that a site recipe describes, from the static operator it replaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.operators.contract import (
    ActivationLayer,
    ConvolutionLayer,
    DynamicLayer,
    StaticConv,
)
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.static import ACTIVATIONS
from dynsurgeon.recipe import SiteRecipe
from dynsurgeon.registry import Operator, layer_classes, operator_with
from dynsurgeon.surgery.sites.calls import activation_class, convolution_class


def build_layer(
    site: SiteRecipe, static: nn.Module | None, device: torch.device | str | None
) -> DynamicLayer:
    """Build the dynamic layer of a site.

    Args:
        site: What it is.
        static: What it takes the place of, if that is a module; a convolution always is.
        device: Where an activation's layer lies; a convolution's lies where `static` does, unless
            this is ``"meta"``.

    Raises:
        StorageError: The recipe describes no layer, or one that does not fit there.
    """
    operator, layer = _operator(site)
    if issubclass(layer, ConvolutionLayer) and static is not None:
        _check_fits(site, operator, layer, static)
        assert isinstance(static, StaticConv)
        config = _settings(operator, site)
        if device == "meta":
            return layer.like(static, config, device)
        return layer.from_static(static, config)
    if not issubclass(layer, ActivationLayer) or site.channels is None:
        raise StorageError(f"the recipe of {site.name!r} describes no activation")
    return layer.from_form(
        _form(site),
        site.channels,
        _settings(operator, site),
        inplace=site.inplace,
        device=device,
        dtype=_dtype(site),
    )


def _operator(site: SiteRecipe) -> tuple[Operator, type[DynamicLayer]]:
    found = operator_with(site.operator)
    if found is not None:
        return found
    raise StorageError(
        f"{site.name!r}: unknown operator {site.operator!r}; known: {', '.join(layer_classes())}; "
        "one of your own has to be registered first (ds.register_operator)"
    )


def check_fits(site: SiteRecipe, static: nn.Module) -> None:
    """Raise unless `static` is what a site's recipe makes dynamic.

    Raises:
        StorageError: It is something else, or the recipe names an unknown operator.
    """
    _check_fits(site, *_operator(site), static)


def _check_fits(
    site: SiteRecipe, operator: Operator, layer: type[DynamicLayer], static: nn.Module
) -> None:
    if issubclass(layer, ConvolutionLayer):
        base = convolution_class(static)
        fits = base is not None and operator.layer_for(base) is layer
    else:
        activation = activation_class(static)
        fits = activation is not None and ACTIVATIONS[activation] == _form(site).function
    if not fits:
        raise StorageError(
            f"the recipe makes {site.name!r} a {site.operator}, but there it is a "
            f"{type(static).__name__}: load it onto the model it was made for"
        )


def _dtype(site: SiteRecipe) -> torch.dtype:
    dtype = getattr(torch, site.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise StorageError(f"the recipe of {site.name!r} names an unknown dtype {site.dtype!r}")
    return dtype


def _form(site: SiteRecipe) -> ActivationForm:
    values = dict(site.form or {})
    if isinstance(values.get("slope"), list):
        values["slope"] = tuple(values["slope"])
    try:
        form = ActivationForm(**values)
        _check_form(form)
        return form
    except TypeError as error:
        raise StorageError(f"the recipe of {site.name!r} has a bad form: {error}") from error


def _check_form(form: ActivationForm) -> None:
    numbers = (*form.slopes, 0.0 if form.ceiling is None else form.ceiling)
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError("slope and ceiling must be numbers")
    if form.function not in ACTIVATIONS.values():
        raise TypeError(f"unknown function {form.function!r}")
    if form.options not in ({}, {"approximate": "none"}, {"approximate": "tanh"}):
        raise TypeError(f"unknown options {form.options!r}")


def _settings(operator: Operator, site: SiteRecipe) -> Any:
    try:
        return operator.settings(**site.settings)
    except (TypeError, ConfigError) as error:
        raise StorageError(f"the recipe of {site.name!r} has bad settings: {error}") from error

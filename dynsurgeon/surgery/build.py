"""Build the dynamic module that a site recipe describes, from the static operator it replaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dynsurgeon.config import DynamicConvConfig, DynamicReLUConfig
from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.operators import ActivationForm, DynamicConv, DynamicReLU
from dynsurgeon.operators.convolution import StaticConv
from dynsurgeon.operators.table import ACTIVATIONS, CONVOLUTIONS, DYNAMIC_OPERATORS
from dynsurgeon.recipe import SiteRecipe
from dynsurgeon.surgery.calls import activation_class, convolution_class


def check_fits(site: SiteRecipe, static: nn.Module) -> None:
    """Raise unless `static` is what a site's recipe makes dynamic.

    Raises:
        StorageError: It is something else, or the recipe names an unknown operator.
    """
    kind = _operator(site)
    if issubclass(kind, DynamicConv):
        base = convolution_class(static)
        fits = base is not None and CONVOLUTIONS[base] is kind and isinstance(static, StaticConv)
    else:
        activation = activation_class(static)
        fits = activation is not None and ACTIVATIONS[activation] == _form(site).function
    if not fits:
        raise StorageError(
            f"the recipe makes {site.name!r} a {site.operator}, but there it is a "
            f"{type(static).__name__}: load it onto the model it was made for"
        )


def build_conv(site: SiteRecipe, static: nn.Module) -> DynamicConv:
    """Build the dynamic convolution of a site from its static convolution.

    Raises:
        StorageError: The site of this recipe is no convolution of this kind in this model.
    """
    check_fits(site, static)
    module: DynamicConv = _operator(site).from_static(static, _settings(DynamicConvConfig, site))
    return module


def build_relu(site: SiteRecipe, device: torch.device | str | None) -> DynamicReLU:
    """Build the DY-ReLU of a site.

    Raises:
        StorageError: The recipe does not describe one.
    """
    kind = _operator(site)
    if not issubclass(kind, DynamicReLU) or site.channels is None:
        raise StorageError(f"the recipe of {site.name!r} describes no activation")
    dtype = getattr(torch, site.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise StorageError(f"the recipe of {site.name!r} names an unknown dtype {site.dtype!r}")
    module: DynamicReLU = kind(
        site.channels,
        _settings(DynamicReLUConfig, site),
        form=_form(site),
        inplace=site.inplace,
        device=device,
        dtype=dtype,
    )
    return module


def _operator(site: SiteRecipe) -> Any:
    kind = DYNAMIC_OPERATORS.get(site.operator)
    if kind is None:
        known = ", ".join(DYNAMIC_OPERATORS)
        raise StorageError(f"{site.name!r}: unknown operator {site.operator!r}; known: {known}")
    return kind


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
    slopes = form.slope if isinstance(form.slope, tuple) else (form.slope,)
    numbers = (*slopes, 0.0 if form.ceiling is None else form.ceiling)
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError("slope and ceiling must be numbers")
    if form.function not in ACTIVATIONS.values():
        raise TypeError(f"unknown function {form.function!r}")
    if form.options not in ({}, {"approximate": "none"}, {"approximate": "tanh"}):
        raise TypeError(f"unknown options {form.options!r}")


def _settings(kind: Any, site: SiteRecipe) -> Any:
    try:
        return kind(**site.settings)
    except (TypeError, ConfigError) as error:
        raise StorageError(f"the recipe of {site.name!r} has bad settings: {error}") from error

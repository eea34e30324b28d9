"""Give the static model back, where one computes what the dynamic model computes.

Each layer says whether one does (`DynamicLayer.static_obstacle`): a dynamic convolution if its
kernels are all the same, or its attention is the same for every input; a DY-ReLU while its last
layer is zero, as at the start.
"""

from __future__ import annotations

import torch
from torch import nn

from dynsurgeon.errors import RestoreError
from dynsurgeon.operators.contract import DynamicLayer
from dynsurgeon.recipe import ATTRIBUTE, OwnerRecipe, Recipe, recipe_of
from dynsurgeon.running.copying import copy_of
from dynsurgeon.surgery.cut.become import become_former
from dynsurgeon.surgery.cut.folding import unguard_folding
from dynsurgeon.surgery.owners.functional import OPERANDS, PARAMETERS
from dynsurgeon.surgery.owners.rewrite import undo_rewrite


@torch.inference_mode(False)
def restore(model: nn.Module, *, copy: bool = True) -> nn.Module:
    """Return the static model that computes what the converted `model` computes.

    Args:
        model: A converted model.
        copy: Leave `model` as it is and return a restored copy.

    Raises:
        RestoreError: Some site has learned to depend on its input; the message lists them.
        UnsupportedModelError: The model was not converted by dynsurgeon.
    """
    recipe = recipe_of(model)
    obstacles = _obstacles(model, recipe)
    if obstacles:
        listed = "; ".join(f"{name} {reason}" for name, reason in list(obstacles.items())[:5])
        more = f" and {len(obstacles) - 5} more" if len(obstacles) > 5 else ""
        raise RestoreError(f"no static model computes what this one does: {listed}{more}")
    patient = copy_of(model) if copy else model
    unguard_folding(patient)
    for owner in recipe.owners:
        _undo_owner(patient, owner)
    for site in recipe.sites:
        if site.place == "module":
            module = patient.get_submodule(site.name)
            become_former(module, _static_parameters(module))
    delattr(patient, ATTRIBUTE)
    return patient


def _obstacles(model: nn.Module, recipe: Recipe) -> dict[str, str]:
    reasons = {site.name: _obstacle(model.get_submodule(site.name)) for site in recipe.sites}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _obstacle(module: nn.Module) -> str | None:
    if isinstance(module, DynamicLayer):
        return module.static_obstacle()
    return f"is a {type(module).__name__}, which dynsurgeon did not put there"


@torch.no_grad()
def _static_parameters(module: nn.Module) -> nn.Module:
    """Return a bare module with the parameters that the static operator has."""
    assert isinstance(module, DynamicLayer)
    holder = nn.Module()
    for name, parameter in module.static_parameters().items():
        holder.register_parameter(name, parameter)
    return holder


def _undo_owner(model: nn.Module, recipe: OwnerRecipe) -> None:
    owner = model.get_submodule(recipe.name)
    undo_rewrite(owner)
    for label, child in (call for calls in recipe.calls.values() for call in calls):
        if child is None or label == f"module:{child}" or child not in owner._modules:
            continue
        module = owner._modules.pop(child)
        names = getattr(module, OPERANDS, ())
        if module is not None and names:
            static = _static_parameters(module)
            for name, attribute in zip(("weight", "bias"), names, strict=False):
                owner.register_parameter(attribute, getattr(static, name))
    order: tuple[str, ...] = vars(owner).pop(PARAMETERS, ())
    for name in order:  # an optimizer's state goes by it
        owner._parameters[name] = owner._parameters.pop(name)

"""Give the static model back, where one computes what the dynamic model computes.

A dynamic convolution has a static form if its kernels are all the same, or if its attention is the
same for every input; a DY-ReLU has one while its last layer is zero, as at the start.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynsurgeon.errors import RestoreError
from dynsurgeon.operators import DynamicConv, DynamicReLU, DynamicReLUC
from dynsurgeon.recipe import ATTRIBUTE, OwnerRecipe, Recipe, recipe_of
from dynsurgeon.surgery.become import become_former
from dynsurgeon.surgery.copying import copy_of
from dynsurgeon.surgery.functional import OPERANDS, PARAMETERS
from dynsurgeon.surgery.rewrite import undo_rewrite


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
    if isinstance(module, DynamicConv):
        if _same_kernels(module) or _is_zero(module.attention.fc2.weight):
            return None
        return f"has {module.experts} kernels that differ, and attention that depends on its input"
    if isinstance(module, DynamicReLU):
        layers = [module.fc2.weight, module.fc2.bias]
        if isinstance(module, DynamicReLUC):
            layers.append(module.spatial.weight)
        return None if all(map(_is_zero, layers)) else "has lines that depend on its input"
    return f"is a {type(module).__name__}, which dynsurgeon did not put there"


def _same_kernels(conv: DynamicConv) -> bool:
    banks = [bank for bank in (conv.weight, conv.bias) if bank is not None]
    return all(torch.equal(bank, bank[:1].expand_as(bank)) for bank in banks)


def _is_zero(tensor: Tensor) -> bool:
    return not bool(tensor.any())


@torch.no_grad()
def _static_parameters(module: nn.Module) -> nn.Module:
    """Return a bare module with the parameters that the static form of `module` has."""
    holder = nn.Module()
    if isinstance(module, DynamicConv):
        for name in ("weight", "bias"):
            bank = getattr(module, name)
            mixed = None if bank is None else _mixed(module, bank)
            holder.register_parameter(name, mixed)
    elif isinstance(module, DynamicReLU) and module.form.function == "prelu":
        slopes = _slopes(module) if module.weight is None else module.weight.clone()
        holder.register_parameter(
            "weight", nn.Parameter(slopes, requires_grad=module.fc2.weight.requires_grad)
        )
    return holder


def _slopes(relu: DynamicReLU) -> Tensor:
    # Three times a slope over three is not always that slope; the form remembers the slope itself.
    slopes = torch.tensor(relu.form.slope, dtype=torch.float64, device=relu.alpha.device).view(-1)
    same = torch.equal((relu.start_scale * slopes).to(relu.alpha.dtype), relu.alpha[1])
    return slopes.to(relu.alpha.dtype) if same else relu.alpha[1] / relu.start_scale


def _mixed(conv: DynamicConv, bank: nn.Parameter) -> nn.Parameter:
    kernel = bank[0].clone()
    if not _same_kernels(conv):
        logits = conv.attention.fc2.bias / conv.attention.temperature
        kernel = (torch.softmax(logits, dim=0) @ bank.flatten(1)).view_as(kernel)
    return nn.Parameter(kernel, bank.requires_grad)


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

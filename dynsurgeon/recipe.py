"""The recipe: everything that turns a static model into its dynamic form, as plain JSON.

A plan ends in a recipe, `convert` and `load` apply one, and it travels with the model, in the saved
directory and in the ONNX file's metadata. It holds names and numbers, never code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import NoneType
from typing import Any

from torch import nn

from dynsurgeon.errors import StorageError, UnsupportedModelError

FORMAT = 1
"""Version of the recipe's layout; a reader refuses any other."""

PLAIN = (bool, int, float, str, NoneType)
"""What an argument that is fixed can be."""

ATTRIBUTE = "_dynsurgeon_recipe"


@dataclass(frozen=True)
class SiteRecipe:
    """One call site that becomes dynamic.

    Attributes:
        name: Dotted name of the dynamic module in the converted model.
        operator: Its class, a key of `registry.layer_classes()`.
        place: ``"module"`` if it takes the place of the static module of that name, ``"call"`` if
            it is a new child of its owner, called by the owner's rewritten forward.
        settings: Fields of its operator's dataclass of settings.
        dtype: Its parameters' type, ``"float32"``.
        channels: Channels of an activation.
        form: Fields of an activation's `ActivationForm`.
        inplace: Whether the activation must write into its input, because the model reads it again.
    """

    name: str
    operator: str
    place: str
    settings: dict[str, Any]
    dtype: str
    channels: int | None = None
    form: dict[str, Any] | None = None
    inplace: bool = False


@dataclass(frozen=True)
class OwnerRecipe:
    """One module whose forward is rewritten.

    Attributes:
        name: Its dotted name.
        constants: Arguments of its forward that are fixed, by name.
        calls: For ``"eval"`` and ``"train"``, each call site of its forward in order, as what it
            calls (``"function:relu"``) and the child to call instead, or None to leave it.
        structure: Of the arguments whose structure the rewritten forward rests on, the number of a
            tensor's axes or the list of what a tuple's items are; see `surgery.structure`.
    """

    name: str
    constants: dict[str, Any]
    calls: dict[str, tuple[tuple[str, str | None], ...]]
    structure: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """All sites and owners of one conversion.

    Attributes:
        sites: The sites that become dynamic.
        owners: The modules whose forward is rewritten.
        config: The configuration that led here, for the record.
        seed: Seed of the random attention and kernels.
        origin: How the static model was built, if a tool knows (model name, arguments, input size).
        versions: Versions of dynsurgeon and torch that made it.
        sha256: Digest of the tensor file beside it, once saved.
        fitted: Whether the attention was fitted to data, by `calibrate`; None where that was not
            recorded.
    """

    sites: tuple[SiteRecipe, ...]
    owners: tuple[OwnerRecipe, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    origin: Mapping[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    sha256: str | None = None
    fitted: bool | None = None

    def to_json(self) -> str:
        """Return the recipe as indented JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe.

        Raises:
            StorageError: The text is no recipe of this format.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict) or "format" not in values:
                raise StorageError("not a dynsurgeon recipe: the key 'format' is missing")
            if values.pop("format") != FORMAT:
                raise StorageError(
                    f"a recipe of another format; this version reads format {FORMAT}"
                )
            sites = tuple(_site_from(site) for site in values.pop("sites"))
            owners = tuple(_owner_from(owner) for owner in values.pop("owners"))
            _require(values, config=dict, seed=int, versions=dict)
            _require(
                values, origin=(dict, NoneType), sha256=(str, NoneType), fitted=(bool, NoneType)
            )
            return cls(sites=sites, owners=owners, **values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise StorageError(f"not a valid recipe: {error}") from error


def _site_from(values: Mapping[str, Any]) -> SiteRecipe:
    _require(values, name=str, operator=str, place=str, settings=dict, dtype=str, inplace=bool)
    _require(values, channels=(int, NoneType), form=(dict, NoneType))
    return SiteRecipe(**values)


def _owner_from(values: Mapping[str, Any]) -> OwnerRecipe:
    _require(values, name=str, constants=dict, calls=dict)
    _require(values["constants"], **dict.fromkeys(values["constants"], PLAIN))
    _require(values, structure=dict)
    calls = {
        mode: tuple(
            (_text(label), child if child is None else _text(child)) for label, child in calls
        )
        for mode, calls in values["calls"].items()
    }
    structure = values.get("structure", {})
    for argument, found in structure.items():
        if not _is_structure(found):
            raise TypeError(f"the structure of {argument!r} is no number and no list of such")
    return OwnerRecipe(values["name"], values["constants"], calls, structure)


def _is_structure(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_structure, value))
    return value is None or type(value) is int


def _require(values: Mapping[str, Any], **kinds: type | tuple[type, ...]) -> None:
    for key, kind in kinds.items():
        if key in values and not isinstance(values[key], kind):
            raise TypeError(f"{key!r} is a {type(values[key]).__name__}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def recipe_of(model: nn.Module) -> Recipe:
    """Return the recipe that `model` was converted by.

    Raises:
        UnsupportedModelError: It was not converted by dynsurgeon.
    """
    recipe = getattr(model, ATTRIBUTE, None)
    if not isinstance(recipe, Recipe):
        raise UnsupportedModelError(
            f"this {type(model).__name__} was not converted by dynsurgeon (or is wrapped): "
            "pass the model that dynsurgeon.convert or dynsurgeon.load returned"
        )
    return recipe


def attach_recipe(model: nn.Module, recipe: Recipe) -> None:
    """Let `model` carry the recipe that it was converted by."""
    object.__setattr__(model, ATTRIBUTE, recipe)


def mark_fitted(model: nn.Module) -> None:
    """Note in the recipe that a converted model carries, wrapped or not, that it was calibrated."""
    for module in model.modules():
        recipe = getattr(module, ATTRIBUTE, None)
        if isinstance(recipe, Recipe):
            attach_recipe(module, replace(recipe, fitted=True))

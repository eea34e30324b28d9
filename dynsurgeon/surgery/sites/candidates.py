"""From observations to candidates: one a call site, with the name it has in plan and model.

A module that is called at one place keeps its name, and so does a module with parameters wherever
it is called: its weights stay shared. A stateless activation called at several places of one owner
becomes one candidate a call: ``relu``, ``relu_1``, …; a functional call is named after its
function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch import nn

from dynsurgeon.operators.static import CONVOLUTION_FUNCTIONS, STATIC_CONVOLUTIONS
from dynsurgeon.registry import Role
from dynsurgeon.surgery.sites.calls import (
    CallKey,
    activation_class,
    convolution_class,
    is_operator,
)
from dynsurgeon.surgery.sites.survey import ObservedSite, Survey


@dataclass
class Candidate:
    """A call site that may become dynamic.

    Attributes:
        name: Its dotted name, that of the dynamic module if it gets one.
        operation: What it is, as a person says it: ``"Conv2d"``, ``"ReLU"``, ``"F.relu"``.
        static: The class of the static operator; that of a functional convolution, too.
        module: The static module, or None for a function.
        owner: The module whose forward makes the call, None if it was never called.
        owner_name: Its dotted name.
        sites: The observed places that this candidate stands for.
        rewritten: Whether its owner's forward has to be rewritten to convert it.
        in_place_of_module: Whether it takes the module's own place in the tree.
        reason: Why it stays static, or None.
    """

    name: str
    operation: str
    static: type[nn.Module] | None
    module: nn.Module | None
    owner: nn.Module | None = None
    owner_name: str = ""
    sites: list[ObservedSite] = field(default_factory=list)
    rewritten: bool = False
    in_place_of_module: bool = True
    inplace: bool = False
    reason: str | None = None

    @property
    def key(self) -> CallKey:
        """The key of a candidate whose owner is rewritten."""
        return self.sites[0].key

    @property
    def child(self) -> str:
        """What its owner calls it: a new child, or the path to the module that it replaces."""
        if self.in_place_of_module:
            return self.key.label.removeprefix("module:")
        return self.name.removeprefix(f"{self.owner_name}.") if self.owner_name else self.name

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution; otherwise it is an activation."""
        return self.role == "conv"

    @property
    def role(self) -> Role:
        """Which operators it can take."""
        return "conv" if self.static in STATIC_CONVOLUTIONS else "activation"


def behind_convolutions(
    candidates: Iterable[Candidate],
) -> Iterator[tuple[Candidate, Candidate]]:
    """Yield each activation that is called, with the convolution that ran last before it."""
    last = None
    for candidate in sorted((c for c in candidates if c.sites), key=lambda c: c.sites[0].order):
        if candidate.is_convolution:
            last = candidate
        elif last is not None:
            yield candidate, last


def find_candidates(model: nn.Module, survey: Survey) -> list[Candidate]:
    """Return every call site of `model`, calls of one module together, then the uncalled."""
    names = {module: name for name, module in model.named_modules()}
    by_module: dict[nn.Module, list[ObservedSite]] = {}
    for site in survey.sites.values():
        if site.module is not None:
            by_module.setdefault(site.module, []).append(site)
    taken: set[str] = {name for name, _ in model.named_modules()}
    candidates: list[Candidate] = []
    done: set[nn.Module] = set()
    for site in survey.sites.values():
        if site.module is None:
            candidates.append(_function_candidate(site, names, taken))
        elif site.module not in done:
            done.add(site.module)
            candidates.extend(_module_candidates(by_module[site.module], names, taken))
    candidates.extend(_uncalled(model, done))
    return candidates


def _module_candidates(
    sites: list[ObservedSite], names: dict[nn.Module, str], taken: set[str]
) -> Iterable[Candidate]:
    module = sites[0].module
    assert module is not None
    one_instance = len(sites) == 1 or any(True for _ in module.parameters())
    owners = {site.owner for site in sites}
    for group in [sites] if one_instance else [[site] for site in sites]:
        first = group[0] is sites[0] and (one_instance or len(owners) == 1)
        owner, owner_name = group[0].owner, names.get(group[0].owner, "?")
        path = re.sub(r"\W", "_", group[0].key.label.removeprefix("module:"))
        yield Candidate(
            name=names.get(module, "?") if first else _unique(owner_name, path, taken, owner),
            operation=type(module).__name__,
            static=convolution_class(module) or activation_class(module),
            module=module,
            owner=owner,
            owner_name=owner_name,
            sites=group,
            rewritten=not one_instance,
            in_place_of_module=first,
            inplace=group[0].inplace,
            reason=_unregistered(module, owner, names, rewritten=not one_instance),
        )


def _function_candidate(
    site: ObservedSite, names: dict[nn.Module, str], taken: set[str]
) -> Candidate:
    function = site.key.label.removeprefix("function:")
    owner_name = names.get(site.owner, "?")
    return Candidate(
        name=_unique(owner_name, function, taken, site.owner),
        operation=f"F.{function}",
        static=CONVOLUTION_FUNCTIONS.get(function),
        module=None,
        owner=site.owner,
        owner_name=owner_name,
        sites=[site],
        rewritten=True,
        in_place_of_module=False,
        inplace=site.inplace,
        reason=_unregistered(None, site.owner, names, rewritten=True),
    )


def _uncalled(model: nn.Module, called: set[nn.Module]) -> Iterable[Candidate]:
    for name, module in model.named_modules():
        if is_operator(module) and module not in called:
            yield Candidate(
                name=name,
                operation=type(module).__name__,
                static=convolution_class(module) or activation_class(module),
                module=module,
                reason="was never called on the example inputs",
            )


def _unregistered(
    module: nn.Module | None, owner: nn.Module, names: dict[nn.Module, str], *, rewritten: bool
) -> str | None:
    # A plain Python list hides modules from `parameters()` and from `state_dict()` too.
    if module is not None and module not in names:
        return "is not registered as a child of any module"
    if rewritten and owner not in names:
        return "its owner is not registered as a child of any module"
    return None


def _unique(prefix: str, base: str, taken: set[str], avoid: nn.Module) -> str:
    prefix = f"{prefix}." if prefix else ""
    count = 0
    while True:
        child = f"{base}_{count}" if count else base
        if prefix + child not in taken and not hasattr(avoid, child):
            taken.add(prefix + child)
            return prefix + child
        count += 1

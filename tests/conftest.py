"""Fixtures for the whole suite: tiny networks, one seed a test, hypothesis profiles."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings
from nets import TinyDual, TinyFunctional, TinyMobile, TinyNet, TinyResNet, TinySharedConv, perturb_
from torchlib_once import torchlib_once

# `pytest --hypothesis-profile=long` draws many more examples, the same ones each time too.
_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
for _name, _examples in (("default", 25), ("long", 1000)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=_QUIET,
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start each test at the same random state, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def shared_torchlib() -> Iterator[None]:
    """Export with translations that are built once; `torchlib_once` says why."""
    with torchlib_once():
        yield


def _ready(net: TinyNet) -> TinyNet:
    perturb_(net)
    return net.eval()


@pytest.fixture
def tiny_resnet() -> TinyNet:
    """A `TinyResNet` in eval mode with perturbed BatchNorm."""
    return _ready(TinyResNet())


@pytest.fixture
def tiny_functional() -> TinyNet:
    """A `TinyFunctional` in eval mode."""
    return _ready(TinyFunctional())


@pytest.fixture
def tiny_mobile() -> TinyNet:
    """A `TinyMobile` in eval mode with perturbed BatchNorm."""
    return _ready(TinyMobile())


@pytest.fixture
def tiny_shared_conv() -> TinyNet:
    """A `TinySharedConv` in eval mode."""
    return _ready(TinySharedConv())


@pytest.fixture
def tiny_dual() -> TinyNet:
    """A `TinyDual` in eval mode."""
    return _ready(TinyDual())


@pytest.fixture(params=[TinyResNet, TinyFunctional, TinyMobile, TinySharedConv, TinyDual])
def tiny_net(request: pytest.FixtureRequest) -> TinyNet:
    """Each tiny network in turn, in eval mode."""
    return _ready(request.param())

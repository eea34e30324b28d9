"""Fixtures for the whole suite: tiny networks, one seed a test, hypothesis profiles."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

# Before torch is imported, and for the processes that tests start: the networks are too small for
# more threads, and `make test` runs a process of tests a core.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import pytest
import torch
from hypothesis import HealthCheck, settings
from nets import TinyDual, TinyFunctional, TinyMobile, TinyNet, TinyResNet, TinySharedConv, perturb_
from torchlib_once import torchlib_once

# Where there is no GPU, torch asks for the driver's library again at every step of a trace: a
# fortieth of the time of the tests. With no device visible it needn't ask.
if not torch.cuda.is_available():
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

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

# Tracing makes garbage collection come often. What libraries hold, over half a million objects,
# must not be searched each time: it took a third of the time of the tests.
gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start each test at the same random state, whichever tests ran before it."""
    torch.default_generator.manual_seed(0)  # `torch.manual_seed` formats the stack: a millisecond


@pytest.fixture(autouse=True, scope="module")
def old_objects() -> None:
    """Search what was there before a module's tests, imports above all, for garbage no more."""
    gc.collect()
    gc.freeze()


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

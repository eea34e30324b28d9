from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from surgery_nets import pruned
from torch import nn
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm

from dynsurgeon.surgery.sites.hooks import HOOK_ATTRIBUTES, has_hooks, rewrites_weight


@pytest.mark.parametrize(
    "register",
    [
        lambda m: m.register_forward_hook(lambda *_: None),
        lambda m: m.register_forward_pre_hook(lambda *_: None),
        lambda m: m.register_full_backward_hook(lambda *_: None),
        lambda m: m.register_full_backward_pre_hook(lambda *_: None),
    ],
)
def test_call_hooks(register: Callable[[nn.Module], object]) -> None:
    relu = nn.ReLU()
    assert not has_hooks(relu)
    register(relu)
    assert has_hooks(relu)


def test_hooks_on_the_state_are_no_hooks_on_calls() -> None:
    relu: Any = nn.ReLU()
    relu.register_state_dict_pre_hook(lambda *_: None)
    relu.register_load_state_dict_post_hook(lambda *_: None)
    assert not has_hooks(relu)


def test_the_attributes_are_those_of_torch() -> None:
    mine = {name for name in vars(nn.ReLU()) if "hook" in name}
    assert set(HOOK_ATTRIBUTES) == mine


@pytest.mark.parametrize(
    "rewrite",
    [weight_norm, old_spectral_norm, pruned],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_weight_hooks(rewrite: Callable[[nn.Module], object]) -> None:
    conv = nn.Conv2d(3, 3, 3)
    assert not rewrites_weight(conv)
    rewrite(conv)
    assert rewrites_weight(conv)


def test_a_users_hook_rewrites_no_weight() -> None:
    conv = nn.Conv2d(3, 3, 3)
    conv.register_forward_pre_hook(lambda *_: None)
    assert not rewrites_weight(conv)

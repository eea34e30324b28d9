"""Layers whose signal dies get larger weights; what all places have in common stays as it was."""

from __future__ import annotations

import pytest
import torch
from tiny_detectors import SIDE, build
from torch import Tensor

import dynsurgeon as ds
from dynsurgeon.export.detectors.one_image import Detector
from dynsurgeon.export.detectors.revive import ALIVE, revived
from dynsurgeon.export.running import call_with
from dynsurgeon.running.inputs import Inputs

LOGITS = "network.head.classification_head.cls_logits"


def outputs_of(detector: Detector, path: str, state: dict[str, Tensor], images: Inputs) -> Tensor:
    seen: list[Tensor] = []
    hook = detector.get_submodule(path).register_forward_hook(lambda *call: seen.append(call[2]))
    call_with(detector, state, images)
    hook.remove()
    return seen[0].detach().transpose(0, 1).flatten(1)


@pytest.mark.parametrize("converted", [False, True])
def test_a_dying_layer_varies_again_around_its_own_mean(converted: bool) -> None:
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    model = build("retinanet")
    if converted:
        model = ds.convert(model, (list(images),))
    detector, inputs = Detector(model), Inputs(images)
    before = outputs_of(detector, LOGITS, {}, inputs)
    state = revived(detector, inputs)
    # Only this layer's new weights: those before it would move its mean.
    own = {key: tensor for key, tensor in state.items() if key.startswith(LOGITS)}
    assert set(own) == {f"{LOGITS}.weight", f"{LOGITS}.bias"}
    above = {key: tensor for key, tensor in state.items() if not key.startswith(LOGITS)}
    raised = outputs_of(detector, LOGITS, state, inputs)
    plain = outputs_of(detector, LOGITS, above, inputs)
    assert float(before.std(1).mean()) < 0.1
    assert float(raised.std(1, correction=0).mean()) == pytest.approx(ALIVE, rel=0.05)
    assert float((raised.mean(1) - plain.mean(1)).abs().max()) < 1e-3
    assert float(raised.sigmoid().max()) < 0.5  # at the prior of 0.01, not all at 1

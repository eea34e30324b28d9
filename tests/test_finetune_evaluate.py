"""Accuracy and gain against a plain loop over the samples."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from finetune_helpers import blobs, dynamic_net, static_net
from nets import perturb_

import dynsurgeon as ds
from dynsurgeon.training.finetune.arm import Arm
from dynsurgeon.training.finetune.evaluate import evaluate
from dynsurgeon.training.finetune.launch import accelerators
from dynsurgeon.training.finetune.loading import Sharing


@pytest.mark.parametrize("batch", [1, 4, 13, 50])
def test_scores_and_gain_are_those_of_a_plain_loop(batch: int) -> None:
    data, nets = blobs(val=13), {"dynamic": perturb_(dynamic_net()), "static": static_net(seed=3)}
    settings = ds.FinetuneSettings(cpu=True)
    with accelerators(settings, 2) as engines:
        arms = [
            Arm(name, net, settings, 1, engine)
            for (name, net), engine in zip(nets.items(), engines, strict=True)
        ]
        scores, gain = evaluate(arms, data, Sharing(batch), 0)
        alone, none = evaluate(arms[:1], data, Sharing(batch), 0)
    right: dict[str, list[bool]] = {}
    for name, net in nets.items():
        losses, right[name] = [], []
        for i in range(13):
            image, label = data.val[i]
            with torch.no_grad():
                answer = net.eval()(image.unsqueeze(0))
            losses.append(float(F.cross_entropy(answer, torch.tensor([label]))))
            right[name].append(int(answer.argmax()) == label)
        assert scores[name].loss == pytest.approx(math.fsum(losses) / 13, rel=1e-5)
        assert scores[name].accuracy == sum(right[name]) / 13
    assert gain is not None
    assert gain.difference == pytest.approx((sum(right["dynamic"]) - sum(right["static"])) / 13)
    assert gain.samples == 13
    assert (alone["dynamic"], none) == (scores["dynamic"], None)

"""Attention is fitted before the first step where it has not been, and only then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_helpers import QUICK, SHAPE, Blobs, blobs, dynamic_net, same_tensors, static_net
from nets import perturb_
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.operators import KernelAttention
from dynsurgeon.recipe import attach_recipe, recipe_of
from dynsurgeon.training.finetune import calibration
from dynsurgeon.training.finetune.calibration import is_fresh
from dynsurgeon.training.finetune.listener import Listener
from dynsurgeon.training.finetune.loading import plain_batches


def run(net: nn.Module, **changes: Any) -> ds.FinetuneResult:
    settings = ds.FinetuneSettings(**{**QUICK, "cpu": True, "epochs": 1, **changes})
    return ds.finetune(net, blobs(), settings)


def images() -> list[Tensor]:
    return [torch.stack([Blobs(26, 0)[i][0] for i in range(26)])]


def fitted_net(**arguments: Any) -> nn.Module:
    net = dynamic_net()
    ds.calibrate(net, images(), **arguments)
    return net


def converted(**settings: Any) -> nn.Module:
    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(**settings))
    return ds.convert(static_net(), torch.zeros(2, *SHAPE), config)


def relu_net() -> nn.Module:
    config = ds.SurgeryConfig(conv=None, activation=ds.DynamicReLUConfig())
    return ds.convert(static_net(), torch.zeros(2, *SHAPE), config)


def test_a_converted_network_is_calibrated_first() -> None:
    result = run(dynamic_net())
    assert result.calibration is not None
    (site,) = result.calibration.sites
    assert (site.name, site.temperature, site.spread) == ("3", 1.0, 0.0)
    assert site.entropy == pytest.approx(0.65, abs=0.01)
    assert result.calibration.samples == 26
    assert result.before == run(dynamic_net(), calibrate=False).before
    assert result.to_dict()["calibration"]["samples"] == 26
    assert not same_tensors(result.model, run(dynamic_net(), calibrate=False).model)


def test_it_starts_as_if_it_had_been_calibrated_by_hand() -> None:
    by_hand = dynamic_net()
    data, settings = blobs(vary=False), ds.FinetuneSettings(**QUICK, seed=4)
    batches = plain_batches(data, 4096, 8, seed=4, workers=0)
    ds.calibrate(by_hand, batches, seed=4)
    alone = ds.finetune(dynamic_net(), data, settings)
    assert alone.calibration is not None
    result = ds.finetune(by_hand, data, settings)
    assert result.calibration is None  # it was before
    assert same_tensors(alone.model, result.model)


def foreign_net() -> nn.Module:
    """A network whose statistics are of images unlike those of the tests."""
    net = dynamic_net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean += 3.0
    return net


def test_not_where_the_images_are_unlike_those_of_the_pretraining(tmp_path: Path) -> None:
    told: list[str] = []

    class Ear(Listener):
        def uncalibrated(self, reason: str) -> None:
            told.append(reason)

    settings = ds.FinetuneSettings(**{**QUICK, "cpu": True, "epochs": 1})
    net = foreign_net()
    result = ds.finetune(net, blobs(), settings, checkpoints=tmp_path, listener=Ear())
    assert result.calibration is None
    assert told == [result.notes[0]]
    assert "the attention was not fitted: BatchNorm's pretrained statistics are" in told[0]
    resumed = ds.finetune(foreign_net(), blobs(), settings, checkpoints=tmp_path, resume=True)
    assert resumed.notes == result.notes
    assert run(foreign_net(), calibrate=True).calibration is not None
    assert run(foreign_net(), freeze_batchnorm=True).calibration is not None


@pytest.mark.parametrize(
    ("build", "fresh"),
    [
        (dynamic_net, True),
        (lambda: converted(temperature=0.5), True),
        (lambda: dynamic_net().bfloat16(), True),
        (fitted_net, False),
        (lambda: fitted_net(temperature=30.0), False),
        (lambda: fitted_net(entropy=0.9), False),
        (lambda: perturb_(dynamic_net()), False),
        (lambda: converted(start="zero-sum"), False),
        (lambda: converted(experts=1), False),
        (relu_net, False),
        (static_net, False),
    ],
)
def test_what_a_network_says_of_its_attention(build: Any, fresh: bool) -> None:
    assert is_fresh(build()) is fresh


@pytest.mark.parametrize("how", ["flat", "steep"])
def test_the_recipe_tells_and_not_the_size_of_the_weights(how: str) -> None:
    net = dynamic_net() if how == "steep" else fitted_net()
    for module in net.modules():
        if isinstance(module, KernelAttention):
            for parameter in module.parameters():
                nn.init.constant_(parameter, 100.0 if how == "steep" else 0.0)
    assert is_fresh(net) is (how == "steep")


def test_an_older_recipe_says_nothing_and_the_weights_are_looked_at() -> None:
    for net, fresh in ((dynamic_net(), True), (fitted_net(), False)):
        attach_recipe(net, replace(recipe_of(net), fitted=None))
        assert is_fresh(net) is fresh


def test_a_resumed_run_records_the_fit_of_its_checkpoint(tmp_path: Path) -> None:
    settings = ds.FinetuneSettings(**{**QUICK, "cpu": True, "epochs": 1})
    first = ds.finetune(dynamic_net(), blobs(), settings, checkpoints=tmp_path)
    resumed = ds.finetune(dynamic_net(), blobs(), settings, checkpoints=tmp_path, resume=True)
    assert recipe_of(first.model).fitted
    assert recipe_of(resumed.model).fitted
    assert not recipe_of(run(dynamic_net(), calibrate=False).model).fitted


def test_what_has_no_attention_to_fit_is_left_alone_or_refused() -> None:
    assert run(relu_net()).calibration is None
    assert run(perturb_(dynamic_net())).calibration is None
    with pytest.raises(ds.UnsupportedModelError, match="differ, so another attention"):
        run(perturb_(dynamic_net()), calibrate=True)
    with pytest.raises(ds.UnsupportedModelError, match="no dynamic convolution"):
        run(relu_net(), calibrate=True)
    again = run(fitted_net(entropy=0.3), calibrate=True)
    assert again.calibration is not None
    assert again.calibration.sites[0].entropy == pytest.approx(0.65, abs=0.01)


def test_the_last_temperature_is_that_of_the_fit() -> None:
    for end, wanted in ((2.0, 2.0), (None, 30.0)):
        report = run(dynamic_net(), temperature_end=end).calibration
        assert report is not None
        assert report.sites[0].temperature == wanted
        assert report.sites[0].entropy == pytest.approx(0.65, abs=0.01)


def test_samples_are_plain_few_and_chosen_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SAMPLES", 10)
    plain = replace(blobs(), plain=Blobs(26, 0))

    def chosen(data: ds.TrainingData, seed: int = 0) -> Tensor:
        return torch.cat(list(plain_batches(data, 10, 4, seed=seed, workers=0)))

    known = images()[0]
    assert len(chosen(plain)) == 10
    assert (
        len({int((known - image).abs().sum((1, 2, 3)).argmin()) for image in chosen(plain)}) == 10
    )
    assert all((known == image).all((1, 2, 3)).any() for image in chosen(plain))
    assert not torch.equal(chosen(plain), chosen(blobs()))  # these vary
    assert torch.equal(chosen(blobs()), chosen(blobs()))
    assert not torch.equal(chosen(plain), chosen(plain, seed=1))
    report = run(dynamic_net()).calibration
    assert report is not None
    assert report.samples == 10


def test_folders_give_plain_images(tmp_path: Any) -> None:
    from finetune_helpers import write_images

    write_images(tmp_path, ["a", "b"], 4)
    data = ds.load_images(tmp_path, (3, 8, 8), augment="crop")
    assert data.plain is not None
    assert len(data.plain) == len(data.train)  # type: ignore[arg-type]
    assert len({float(data.plain[0][0].sum()) for _ in range(10)}) == 1
    assert data.plain[3][1] == data.train[3][1]

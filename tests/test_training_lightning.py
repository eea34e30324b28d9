from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyResNet
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dynsurgeon as ds
from dynsurgeon.operators import KernelAttention

pytestmark = pytest.mark.filterwarnings("ignore")


def lightning() -> Any:
    """Import it for the tests that use it: seconds, which every process would pay otherwise."""
    return pytest.importorskip("lightning")


def callback(**options: Any) -> Any:
    from dynsurgeon.training.lightning_callback import TemperatureCallback

    return TemperatureCallback(**options)


def make_module() -> Any:
    class Classifier(lightning().LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            net = TinyResNet()
            self.net = ds.convert(net, net.example())
            self.seen: list[float] = []

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            self.seen.append(temperature(self))
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(ds.parameter_groups(self.net, 0.01))

    return Classifier()


def temperature(module: nn.Module) -> float:
    found = {float(m.temperature) for m in module.modules() if isinstance(m, KernelAttention)}
    assert len(found) == 1
    return found.pop()


def trainer(folder: Path, callbacks: list[Any], **options: Any) -> Any:
    return lightning().Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
        **options,
    )


def loader() -> DataLoader[Any]:
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8)
    return DataLoader(TensorDataset(x, y), batch_size=2)


def test_the_temperature_falls_with_the_steps(tmp_path: Path) -> None:
    module = make_module()
    trainer(
        tmp_path, [callback(start=9.0, share=0.5)], max_epochs=2, enable_checkpointing=False
    ).fit(module, loader())
    assert module.seen == [9.0, 7.0, 5.0, 3.0, 1.0, 1.0, 1.0, 1.0]


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    module = make_module()
    options = {"max_epochs": 1, "accumulate_grad_batches": 2, "enable_checkpointing": False}
    trainer(tmp_path, [callback(start=5.0, steps=2)], **options).fit(module, loader())
    assert module.seen == [5.0, 5.0, 3.0, 3.0]
    assert temperature(module) == 1.0


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    straight = make_module()
    trainer(tmp_path, [callback(start=9.0, steps=8)], max_epochs=2, enable_checkpointing=False).fit(
        straight, loader()
    )
    first, second = make_module(), make_module()
    broken_off = trainer(tmp_path, [callback(start=9.0, steps=8)], max_epochs=1)
    broken_off.fit(first, loader())
    path = tmp_path / "last.ckpt"
    broken_off.save_checkpoint(path)
    resumed = trainer(tmp_path, [callback(start=9.0, steps=8)], max_epochs=2)
    resumed.fit(second, loader(), ckpt_path=path, weights_only=False)
    assert first.seen + second.seen == straight.seen


def test_an_endless_training_needs_steps(tmp_path: Path) -> None:
    endless = trainer(tmp_path, [callback()], max_steps=-1, max_epochs=-1)
    with pytest.raises(ds.ConfigError, match="give the callback steps"):
        endless.fit(make_module(), loader())

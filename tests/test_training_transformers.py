from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyResNet
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.operators import KernelAttention

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """Let Accelerate forget the Trainer: it keeps one precision and one device a process."""
    pytest.importorskip("transformers")  # here, for every process of tests would pay the seconds
    pytest.importorskip("accelerate")
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class Classifier(nn.Module):
    """What the Trainer wants: keyword arguments in, a loss out."""

    def __init__(self) -> None:
        super().__init__()
        net = TinyResNet()
        self.net = ds.convert(net, net.example())
        self.seen: list[float] = []

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self.seen.append(temperature(self))
        logits = self.net(pixel_values)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def temperature(module: nn.Module) -> float:
    found = {float(m.temperature) for m in module.modules() if isinstance(m, KernelAttention)}
    assert len(found) == 1
    return found.pop()


def train(model: Classifier, folder: Path, resume: bool = False, **options: Any) -> None:
    import transformers

    from dynsurgeon.training.transformers_callback import TemperatureCallback

    steps = options.pop("steps", None)
    images = torch.randn(8, 3, 16, 16)
    data = [{"pixel_values": images[i], "labels": torch.tensor(i)} for i in range(8)]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )
    callback = TemperatureCallback(start=9.0, steps=steps, share=0.5)
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback])
    trainer.train(resume_from_checkpoint=resume or None)


def test_the_temperature_falls_with_the_steps(tmp_path: Path) -> None:
    model = Classifier()
    train(model, tmp_path, num_train_epochs=2, save_strategy="no")
    assert model.seen == [9.0, 7.0, 5.0, 3.0, 1.0, 1.0, 1.0, 1.0]


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    model = Classifier()
    options: dict[str, Any] = {"num_train_epochs": 1, "gradient_accumulation_steps": 2}
    train(model, tmp_path, steps=2, save_strategy="no", **options)
    assert model.seen == [9.0, 9.0, 5.0, 5.0]
    assert temperature(model) == 1.0


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    straight, first, second = Classifier(), Classifier(), Classifier()
    train(straight, tmp_path / "straight", steps=8, max_steps=8, save_strategy="no")
    train(first, tmp_path / "run", steps=8, max_steps=4, save_strategy="steps", save_steps=4)
    train(second, tmp_path / "run", True, steps=8, max_steps=8, save_strategy="no")
    assert first.seen + second.seen == straight.seen

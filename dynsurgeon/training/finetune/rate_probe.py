"""The learning rate, from short runs: a copy of the network for each rate, on the same batches.

Each run goes through a whole schedule, warm-up and cosine, since a rate that does not fall would be
judged by its noise. It is judged by training images that it was not trained on, normalised by their
own statistics; the validation set plays no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.errors import TrainingError
from dynsurgeon.running.copying import copy_of
from dynsurgeon.running.randomness import seed_random
from dynsurgeon.training.batch_norm import batch_statistics, tracked_layers
from dynsurgeon.training.finetune.arm import train_mode
from dynsurgeon.training.finetune.data import Images, TrainingData
from dynsurgeon.training.finetune.listener import Listener
from dynsurgeon.training.finetune.loading import Sharing, load_batches
from dynsurgeon.training.finetune.rates import make_optimizer, rate_factor, set_rate
from dynsurgeon.training.finetune.results import RateProbe
from dynsurgeon.training.finetune.seeds import order_of, seed_of
from dynsurgeon.training.finetune.settings import FinetuneSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

RATES = {
    "sgd": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "adamw": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
}
LEAST, MOST = 16, 48
"""Steps of each rate: all rates together take about an epoch, within these bounds."""

HELD, HELD_BATCH = 256, 64
"""Images that judge a rate at most, a fifth of the training set; and how many run at once."""

ROUND = -1
"""Augmentation is drawn as in epochs that no run has: this one, and those before it."""


def probe_rates(
    models: Mapping[str, nn.Module],
    data: TrainingData,
    settings: FinetuneSettings,
    sharing: Sharing,
    engine: Accelerator,
    listener: Listener,
) -> dict[str, RateProbe]:
    """Choose a rate for each network, if the settings want it; the networks stay as they are.

    Several processes try a rate each, with whole batches, so that the result is that of one.

    Raises:
        TrainingError: The network diverges at every rate.
        DataError: An image can't be read, or a label is that of no class.
    """
    if settings.lr != "auto":
        return {}
    found = {}
    for name, model in models.items():
        runs = _ShortRuns(model.to(engine.device), data, settings, sharing, engine)
        found[name] = runs.probe(name, listener)
        listener.probed(name, found[name])
    return found


def choose(losses: Tensor) -> int:
    """Return which rate to take: the lowest that is as good as the best.

    That is, whose loss is above the best by no more than the standard error of their difference. A
    short run favours no rate among such, and over a long one the lower is the safer.

    Args:
        losses: Of each rate, from low to high, on each sample ``(rates, samples)``; infinite where
            the run diverged, but for one rate at least.
    """
    best = losses[int(losses.mean(1).argmin())]
    for i, row in enumerate(losses):
        apart = row - best
        if apart.isfinite().all() and apart.mean() <= apart.std() / len(apart) ** 0.5:
            return i
    raise AssertionError("the best rate is as good as itself")


class _ShortRuns:
    """The short runs of one network, all on the same batches."""

    def __init__(
        self,
        model: nn.Module,
        data: TrainingData,
        settings: FinetuneSettings,
        sharing: Sharing,
        engine: Accelerator,
    ) -> None:
        self.model, self.data, self.settings, self.engine = model, data, settings, engine
        self.rates = RATES[settings.optimizer]
        order = order_of(settings.seed, ROUND, len(data.train)).tolist()  # type: ignore[arg-type]
        held = min(max(len(order) // 5, 1), HELD)
        self.held, self.rest = order[:held], order[held:] or order
        self.part = min(sharing.part_size, len(self.rest))
        most = min(settings.batch, len(self.rest))
        self.batch = most - most % self.part  # a smaller part would have other statistics
        epoch = len(order) // settings.batch
        self.steps = min(max(epoch // len(self.rates), LEAST), MOST)

    def probe(self, name: str, listener: Listener) -> RateProbe:
        """Try all rates.

        Raises:
            TrainingError: All diverge.
        """
        world, rank = self.engine.num_processes, self.engine.process_index
        what, total = f"learning rates of the {name} network", len(self.rates)
        losses = torch.zeros(total, len(self.held), dtype=torch.float64)
        listener.work(what, 0, total)
        for i, rate in enumerate(self.rates):
            if i % world == rank:
                losses[i] = self._try(rate)
            listener.work(what, i + 1, total)
        if world > 1:
            losses = self.engine.reduce(losses.to(self.engine.device)).cpu()
        if not losses.isfinite().all(1).any():
            raise TrainingError(
                f"the {name} network diverges within {self.steps} steps at every learning rate "
                f"from {self.rates[0]:g} to {self.rates[-1]:g}; give a lower one"
            )
        means = tuple(float(row.mean()) if row.isfinite().all() else None for row in losses)
        return RateProbe(self.rates, means, self.rates[choose(losses)], self.steps, len(self.held))

    def _try(self, rate: float) -> Tensor:
        """Run at this rate; return the loss on each held-out image, infinite if it diverged."""
        model = copy_of(self.model)
        if not self._train(model, rate):
            return torch.full((len(self.held),), torch.inf, dtype=torch.float64)
        layers = {} if self.settings.freeze_batchnorm else tracked_layers(model.eval())
        losses = []
        with batch_statistics(model, layers):
            for inputs, labels in self._held_out():
                scores = self._scores(model, inputs).float().cpu()
                losses.append(F.cross_entropy(scores, labels, reduction="none").double())
        return torch.cat(losses).nan_to_num(nan=torch.inf, posinf=torch.inf)

    def _train(self, model: nn.Module, rate: float) -> bool:
        """Run all steps, and say whether the loss stayed a finite number."""
        settings, device = self.settings, self.engine.device
        optimizer = make_optimizer(model, settings.at(rate))
        scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        train_mode(model, settings)
        for step, parts in enumerate(self._batches()):
            set_rate(optimizer, rate_factor(step, self.steps, self.steps // 5))
            loss = torch.zeros((), device=device)
            for i, (inputs, labels) in enumerate(parts):
                seed_random(seed_of("rate", settings.seed, step, i))
                share = self._loss(model, inputs, labels) * (len(labels) / self.batch)
                scaler.scale(share).backward()  # type: ignore[no-untyped-call]
                loss += share.detach()
            if not bool(loss.isfinite()):
                return False
            if settings.clip_norm is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        return True

    def _loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        scores = self._scores(model, inputs).float()
        smoothing = self.settings.label_smoothing
        return F.cross_entropy(scores, labels.to(scores.device), label_smoothing=smoothing)

    def _scores(self, model: nn.Module, inputs: Tensor) -> Tensor:
        device, mixed = self.engine.device, self.settings.precision
        kind = torch.float16 if mixed == "fp16" else torch.bfloat16
        with torch.autocast(device.type, kind, enabled=mixed != "no"):
            scores: Tensor = model(inputs.to(device))
        return scores

    def _batches(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Yield the parts of each step's batch."""
        seed, count = self.settings.seed, len(self.rest)
        rounds = -(-self.steps * self.batch // count)
        keys = [
            (epoch, self.rest[place])
            for epoch in range(ROUND - 1, ROUND - 1 - rounds, -1)
            for place in order_of(seed, epoch, count).tolist()
        ]
        steps = _chunks(keys[: self.steps * self.batch], self.batch)
        parts = [_chunks(step, self.part) for step in steps]
        loaded = self._load(self.data.train, [part for step in parts for part in step])
        for step in parts:
            yield [next(loaded) for _ in step]

    def _held_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.held)
        size = count // max(count // HELD_BATCH, 1)
        chunks = _chunks([(ROUND, index) for index in self.held], size)
        if len(chunks) > 1 and len(chunks[-1]) < size:  # too few for statistics of their own
            chunks[-2:] = [chunks[-2] + chunks[-1]]
        return self._load(self.data.unvaried, chunks)

    def _load(
        self, samples: Images, keys: list[list[tuple[int, int]]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        settings = self.settings
        return load_batches(samples, len(self.data.classes), keys, settings.seed, settings.workers)


def _chunks(items: Sequence[Any], size: int) -> list[Any]:
    return [items[i : i + size] for i in range(0, len(items), size)]

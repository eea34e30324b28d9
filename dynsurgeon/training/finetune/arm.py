"""One network in training: the dynamic one, or its static twin.

Each arm has an `Accelerator` of its own, so that its gradient scaler and its count of accumulated
parts are its own: a twin beside it changes nothing in the dynamic network's result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.running.randomness import seed_random
from dynsurgeon.training.batch_norm import (
    BatchNorm,
    Estimates,
    present,
    put,
    tracked_layers,
)
from dynsurgeon.training.finetune.ema import MovingAverage
from dynsurgeon.training.finetune.rates import make_optimizer, make_schedule, rate_factor, set_rate
from dynsurgeon.training.finetune.seeds import seed_of
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.finetune.sharding import State, fill, load_optimizer, shard, whole

if TYPE_CHECKING:
    from accelerate import Accelerator


class Arm:
    """A network with its optimizer, schedules and average.

    Args:
        name: ``"dynamic"`` or ``"static"``.
        model: The network, trained in place.
        settings: How.
        steps: Steps of an epoch.
        accelerator: Its own.

    Attributes:
        core: The network itself.
        network: The same as it is called in training, for several processes and mixed precision.
        layers: BatchNorm whose running statistics follow the data.
        rate: Rate of the ordinary parameters at the latest step.
        statistics: What takes their place where the network is measured or saved, until the next
            step; None for their own.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        settings: FinetuneSettings,
        steps: int,
        accelerator: Accelerator,
    ) -> None:
        self.name, self.settings, self.accelerator = name, settings, accelerator
        self.steps = steps * settings.epochs
        self.warmup = min(round(steps * settings.warmup), self.steps)
        self.core = model.to(accelerator.device)
        self._own = set(vars(model))
        self.temperature = make_schedule(self.core, settings, steps)
        if settings.shard:
            shard(self.core, accelerator.device, accelerator.num_processes)
        self.optimizer = make_optimizer(self.core, settings)
        self.network = accelerator.prepare_model(self.core, evaluation_mode=settings.shard)
        self.prepared = accelerator.prepare_optimizer(self.optimizer)
        self.average = MovingAverage(self.core, settings.ema) if settings.ema else None
        self.layers = {} if settings.freeze_batchnorm else tracked_layers(self.core.eval())
        self.statistics: Estimates | None = None
        self.rate = 0.0

    def train_step(self, parts: Sequence[tuple[Tensor, Tensor]], step: int) -> Tensor:
        """Run one step of the optimizer.

        Args:
            parts: This process's share of the batch.
            step: The step, from 0.

        Returns:
            Mean loss and number of correct answers on this share, before the step: ``(2,)``.
        """
        train_mode(self.core, self.settings)
        self.statistics = None
        factor = rate_factor(step, self.steps, self.warmup)
        set_rate(self.optimizer, factor)
        self.rate = factor * float(self.settings.lr)
        found = []
        for i, (inputs, labels) in enumerate(parts):
            # Both arms draw the same drop-out, and a resumed run the same as the whole one.
            rank = self.accelerator.process_index
            seed_random(seed_of("model", self.settings.seed, step, i, rank))
            found.append(self._part(inputs, labels))
        if self.temperature is not None:
            self.temperature.step()
        if self.average is not None:
            self.average.update()
        loss, correct = torch.stack(found).unbind(1)
        return torch.stack([loss.mean(), correct.sum()])

    def _part(self, inputs: Tensor, labels: Tensor) -> Tensor:
        device, settings = self.accelerator.device, self.settings
        inputs, labels = inputs.to(device), labels.to(device)
        with self.accelerator.accumulate(self.network):
            scores = self.network(inputs)
            loss = F.cross_entropy(scores, labels, label_smoothing=settings.label_smoothing)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients and settings.clip_norm is not None:
                self.accelerator.clip_grad_norm_(self.core.parameters(), settings.clip_norm)
            self.prepared.step()
            self.prepared.zero_grad()
        correct = (scores.detach().argmax(1) == labels).sum()
        return torch.stack([loss.detach().float(), correct.float()])

    @torch.no_grad()
    def scores(self, inputs: Tensor) -> Tensor:
        """Return the class scores of inputs, in the mode and with the weights that are in place."""
        # Not through DistributedDataParallel, which would exchange buffers at each call.
        scores: Tensor = self.core(inputs.to(self.accelerator.device))
        return scores

    @contextmanager
    def evaluating(self, *, adjusted: bool = True) -> Iterator[None]:
        """Put the network in eval mode, as it would be saved now, or as it is.

        Args:
            adjusted: With its average and its `statistics` in place, if there are any.
        """
        self.core.eval()
        with ExitStack() as stack:
            if adjusted and self.average is not None:
                stack.enter_context(self.average.in_place())
            if adjusted and self.statistics is not None:
                stack.callback(put, self.layers, present(self.layers))
                put(self.layers, self.statistics)
            yield

    def weights(self) -> State:
        """Return the weights in place, whole and on the CPU; all processes call it."""
        state: State = whole(self.core.state_dict())
        return state

    def set_weights(self, weights: State) -> None:
        """Put whole weights in place; all processes call it."""
        fill(self.core.state_dict(), weights)

    def state_dict(self) -> State:
        """Return everything that training goes on from; all processes call it."""
        state = {"model": self.weights(), "optimizer": whole(self.optimizer.state_dict())}
        return state | {name: part.state_dict() for name, part in self._further().items()}

    def load_state_dict(self, state: State) -> None:
        """Go on where `state_dict` was taken; all processes call it."""
        self.set_weights(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        for name, part in self._further().items():
            part.load_state_dict(state[name])

    def _further(self) -> dict[str, Any]:
        parts = {
            "temperature": self.temperature,
            "average": self.average,
            "scaler": self.accelerator.scaler,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def release(self) -> nn.Module:
        """Return the network without what the engine put around it, in eval mode."""
        network: nn.Module = self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False)
        for name in set(vars(network)) - self._own:
            delattr(network, name)  # marks of Accelerate, and a forward for mixed precision
        return network.eval()


def train_mode(model: nn.Module, settings: FinetuneSettings) -> None:
    """Put a network in the mode that it is trained in."""
    model.train()
    if settings.freeze_batchnorm:
        for module in model.modules():
            if isinstance(module, BatchNorm):
                module.eval()

"""What a user can choose about a fine-tuning: one frozen dataclass, checked when it is built."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from dynsurgeon.errors import ConfigError

Optimizer = Literal["sgd", "adamw"]
Precision = Literal["no", "bf16", "fp16"]
Calibrate = bool | Literal["auto"]
Rate = float | Literal["auto"]
Tracker = Literal["csv", "tensorboard"]

OPTIONAL = ("temperature_start", "temperature_end", "clip_norm", "bank_factor", "relu_factor")
"""Numbers that can be None."""

FREE = ("workers", "save_every", "latency", "track")
"""Settings that may differ when a run is resumed: they change nothing in its result."""


@dataclass(frozen=True)
class FinetuneSettings:
    """How a converted network is trained.

    Attributes:
        epochs: Passes over the training set.
        batch: Samples a step of the optimizer, over all processes and accumulated parts. What is
            left of an epoch after its last full batch is not used in it.
        accumulate: Parts that each process runs its share of a batch in.
        lr: Largest learning rate, of the ordinary parameters; ``"auto"`` tries some for a few steps
            before the run, for the network and for its twin, and takes the best for each.
        bank_factor: Rate over `lr` at which kernels part, None for sqrt(K); with SGD the mean
            kernel learns as the static one would, whatever this is (`balance_banks`). With AdamW,
            which steps as far for a K times smaller gradient, None is 1 and it is the rate of all.
        attention_factor: Rate of the attentions over `lr`.
        relu_factor: Rate of the DY-ReLUs' heads over `lr`, None for less the wider they are, see
            `parameter_groups`.
        calibrate: Fit the attention to training images before the first step (`ds.calibrate`),
            which changes nothing of the function; ``"auto"`` does where the kernels are the same
            still and no attention has been fitted.
        freeze: Groups or globs on names of parameters that are not trained.
        optimizer: ``"sgd"`` (with Nesterov's `momentum`) or ``"adamw"``.
        momentum: Momentum of SGD.
        weight_decay: Of kernels and matrices; biases and norms have none.
        warmup: Epochs, or a part of one, in which the learning rate rises from 0; a cosine follows
            that ends at 0 (arXiv 1608.03983, without restarts).
        temperature_start: Softmax temperature of the attention at the start; None for the one that
            the network has.
        temperature_end: Softmax temperature that the attention reaches (arXiv 1912.03458 ends at
            1); None leaves it where it is.
        temperature_epochs: Epochs in which it gets there, linearly.
        label_smoothing: Share of the target that is spread over all classes.
        clip_norm: Largest norm of the gradient, or None.
        ema: Decay a step of an exponential moving average of the weights, 0 for none. Accuracy is
            measured with the average, and it becomes the result.
        batchnorm_samples: Training images, without augmentation, on which the statistics of
            BatchNorm are re-estimated with the present weights (`ds.update_batch_norm`) for every
            evaluation and for what is saved; training goes on with its own. 0 leaves those that
            momentum found, which lag behind.
        freeze_batchnorm: Normalise with the pretrained statistics, and leave them as they are.
        baseline: Train the original network beside it, on the same batches.
        latency: Time both networks at the end, where there is a twin, for some seconds.
        precision: ``"no"`` (that of the weights), ``"bf16"`` or ``"fp16"`` in mixed precision.
        shard: Divide parameters and optimizer among the processes (`fully_shard`) instead of
            keeping a copy in each (`DistributedDataParallel`).
        cpu: Stay on the CPU where there is an accelerator.
        workers: Processes that read images, a training process.
        save_every: Steps between checkpoints, besides those at the end of each epoch; 0 for none.
        track: Where the numbers of each step and epoch go, through Accelerate's trackers:
            ``"csv"``, ``"tensorboard"``, or both.
        seed: Seed of the order of the data, of augmentation, drop-out and a new head.
    """

    epochs: int = 10
    batch: int = 128
    accumulate: int = 1
    lr: Rate = 0.02
    bank_factor: float | None = None
    attention_factor: float = 0.05
    relu_factor: float | None = None
    calibrate: Calibrate = "auto"
    freeze: tuple[str, ...] = ()
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.5
    temperature_start: float | None = None
    temperature_end: float | None = 1.0
    temperature_epochs: float = 10.0
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    ema: float = 0.0
    batchnorm_samples: int = 1024
    freeze_batchnorm: bool = False
    baseline: bool = False
    latency: bool = True
    precision: Precision = "no"
    shard: bool = False
    cpu: bool = False
    workers: int = 0
    save_every: int = 0
    track: tuple[Tracker, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("accumulate", 1)):
            _require_count(name, getattr(self, name), least)
        for name in ("workers", "save_every", "seed", "batchnorm_samples"):
            _require_count(name, getattr(self, name), 0)
        if self.lr != "auto":
            _require_number("lr", self.lr, above=0)
        elif self.shard:
            raise ConfigError(
                "lr is chosen on each process by itself, which shard (--shard) does not allow: "
                "give a number"
            )
        for name in ("temperature_start", "temperature_end", "clip_norm"):
            _require_number(name, getattr(self, name), above=0)
        for name in ("momentum", "label_smoothing", "ema"):
            _require_number(name, getattr(self, name), least=0, below=1)
        for name in ("weight_decay", "warmup", "temperature_epochs", "bank_factor"):
            _require_number(name, getattr(self, name), least=0)
        for name in ("attention_factor", "relu_factor"):
            _require_number(name, getattr(self, name), least=0)
        for name, choices in (("optimizer", Optimizer), ("precision", Precision)):
            if getattr(self, name) not in get_args(choices):
                listed = ", ".join(get_args(choices))
                raise ConfigError(f"{name} must be one of {listed}, got {getattr(self, name)!r}")
        if isinstance(self.freeze, str) or not all(isinstance(name, str) for name in self.freeze):
            raise ConfigError(f"freeze must be a tuple of names, got {self.freeze!r}")
        object.__setattr__(self, "freeze", tuple(self.freeze))
        _require_trackers(self.track)
        object.__setattr__(self, "track", tuple(dict.fromkeys(self.track)))
        if not isinstance(self.calibrate, bool) and self.calibrate != "auto":
            raise ConfigError(f"calibrate must be true, false or auto, got {self.calibrate!r}")
        for name in ("freeze_batchnorm", "baseline", "latency", "shard", "cpu"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}")

    def at(self, rate: float) -> FinetuneSettings:
        """Return the same settings with this learning rate."""
        return replace(self, lr=rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return {**asdict(self), "freeze": list(self.freeze), "track": list(self.track)}

    def of_result(self) -> dict[str, Any]:
        """Return those settings that the result depends on."""
        return {name: value for name, value in self.to_dict().items() if name not in FREE}


def _require_trackers(value: object) -> None:
    known = get_args(Tracker)
    if not isinstance(value, list | tuple) or any(name not in known for name in value):
        raise ConfigError(f"track must be a tuple of {' and '.join(known)}, got {value!r}")


def _require_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _require_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> None:
    if value is None and name in OPTIONAL:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value!r}")
    if above is not None and value <= above:
        raise ConfigError(f"{name} must be above {above}, got {value!r}")
    if least is not None and value < least:
        raise ConfigError(f"{name} must not be below {least}, got {value!r}")
    if below is not None and value >= below:
        raise ConfigError(f"{name} must be below {below}, got {value!r}")

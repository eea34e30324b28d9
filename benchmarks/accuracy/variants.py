"""What is compared: a static twin and dynamic networks, each a frozen set of choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import dynsurgeon as ds


@dataclass(frozen=True)
class Variant:
    """One way to train on from the pretrained network.

    Attributes:
        experts: K of the dynamic convolutions, or 0 to leave the convolutions static.
        relu: Kind of the DY-ReLUs, or None to leave the activations static.
        start: Start of the dynamic convolutions: as converted, or calibrated.
        entropy: Mean entropy of a calibrated attention, over log K.
        heat: First temperature; annealed to 1 over the first half of the steps unless it is 1.
        bank_factor: Learning rate of the kernels over the base rate; sqrt(K) when None.
        attention_factor: The same for the attention.
        relu_factor: The same for the heads of the DY-ReLUs.
        weight_decay: Weight decay of what is neither a bias nor a norm.
        preset: Which sites are converted.
        balanced: Whether the mean kernel learns as the static one would (`ds.balance_banks`).
        conv: Another operator for the convolutions: its name, for its defaults, or its settings.
        activation: The same for the activations.
    """

    experts: int = 0
    relu: Literal["A", "B", "C"] | None = None
    start: Literal["identical", "zero-sum", "calibrated"] = "calibrated"
    entropy: float = 0.65
    heat: float = 1.0
    bank_factor: float | None = None
    attention_factor: float = 0.05
    relu_factor: float | None = None
    weight_decay: float = 1e-4
    preset: str = "all"
    balanced: bool = False
    conv: str | ds.ODConvConfig | None = None
    activation: str | None = None


VARIANTS = {
    "static": Variant(),
    "conv": Variant(experts=4),
    "relu-b": Variant(relu="B"),
    "both": Variant(experts=4, relu="B"),
    # one choice changed at a time
    "conv-uncalibrated": Variant(experts=4, start="identical"),
    "conv-uncalibrated-classic": Variant(
        experts=4, start="identical", heat=30.0, bank_factor=1.0, attention_factor=1.0
    ),
    "conv-zero-sum": Variant(experts=4, start="zero-sum"),
    "conv-heat-30": Variant(experts=4, heat=30.0),
    "conv-attention-1": Variant(experts=4, attention_factor=1.0),
    "conv-bank-1": Variant(experts=4, bank_factor=1.0),
    "conv-bank-4": Variant(experts=4, bank_factor=4.0),
    "conv-entropy-0.4": Variant(experts=4, entropy=0.4),
    "conv-entropy-0.85": Variant(experts=4, entropy=0.85),
    "conv-balanced": Variant(experts=4, balanced=True),
    "both-balanced": Variant(experts=4, relu="B", balanced=True),
    "conv-k1": Variant(experts=1),
    "conv-k2": Variant(experts=2),
    "conv-k8": Variant(experts=8),
    "relu-a": Variant(relu="A"),
    "relu-c": Variant(relu="C"),
    "relu-b-0.1": Variant(relu="B", relu_factor=0.1),
    "relu-b-0.01": Variant(relu="B", relu_factor=0.01),
    # the further operators
    "scale": Variant(conv="scale"),
    "dcd": Variant(conv="dcd"),
    "se": Variant(conv="se"),
    "odconv": Variant(conv="odconv"),
    "odconv-k1": Variant(conv=ds.ODConvConfig(experts=1)),
    "shift-max": Variant(activation="shift-max"),
    "se-after": Variant(activation="se"),
    "scale-shift-max": Variant(conv="scale", activation="shift-max"),
    # sites, for networks with depthwise convolutions
    "last": Variant(experts=4, preset="last-1x1", start="identical", balanced=True),
    "last-k2": Variant(experts=2, preset="last-1x1", start="identical", balanced=True),
    "last-calibrated": Variant(experts=4, preset="last-1x1", balanced=True),
    "last-bank-1": Variant(
        experts=4, preset="last-1x1", start="identical", bank_factor=1.0, balanced=True
    ),
    "last-attention-1": Variant(
        experts=4, preset="last-1x1", start="identical", attention_factor=1.0, balanced=True
    ),
    "last-sqrt": Variant(experts=4, preset="last-1x1", start="identical"),
    "conv-all": Variant(experts=4, start="identical", balanced=True),
    "balanced": Variant(experts=4, preset="balanced", start="identical", balanced=True),
    "recommended": Variant(relu="B", preset="recommended"),
}

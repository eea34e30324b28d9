"""What is compared: a static twin and dynamic networks, each a frozen set of choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    """

    experts: int = 0
    relu: Literal["A", "B", "C"] | None = None
    start: Literal["identical", "zero-sum", "calibrated"] = "calibrated"
    entropy: float = 0.65
    heat: float = 1.0
    bank_factor: float | None = None
    attention_factor: float = 0.05
    relu_factor: float = 1.0
    weight_decay: float = 1e-4


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
    "conv-k1": Variant(experts=1),
    "conv-k2": Variant(experts=2),
    "conv-k8": Variant(experts=8),
    "relu-a": Variant(relu="A"),
    "relu-c": Variant(relu="C"),
}

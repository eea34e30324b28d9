"""Mixtures of a bank's rows, and the gradients back to bank and attention.

    sum_k pi_k W_k = W_1 + sum_{k>1} pi_k (W_k - W_1)          since sum_k pi_k = 1

With identical kernels every difference is exactly 0: the mixed kernel is then the static one bit
for bit, and no rounding is left for BatchNorm in train mode to blow up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import Needs


def mix(pi: Tensor, bank: Tensor, out: Tensor | None = None) -> Tensor:
    """Mix the rows of a bank ``(K, M)`` by attention ``(N, K)`` to ``(N, M)``."""
    if out is None:
        return torch.addmm(bank[0], pi[:, 1:], bank[1:] - bank[0])
    return torch.addmm(bank[0], pi[:, 1:], bank[1:] - bank[0], out=out)


def unmix(
    grad: Tensor, pi: Tensor, bank: Tensor, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `pi` and `bank` for `grad` ``(N, M)``, that of the mixture.

    That of pi is the gradient of ``sum_k pi_k W_k``. It differs from that of the formula above by
    the same number for all kernels, which the softmax takes out.
    """
    for_pi = grad @ bank.t() if needs.pi else None
    return for_pi, pi.t() @ grad if needs.weight else None

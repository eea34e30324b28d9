from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import dynsurgeon as ds
from dynsurgeon.proof.receipt import TOLERANCES, SiteParity

SITES = (
    SiteParity("a", "eval", 0.5, 1e-7),
    SiteParity("a", "train", 0.1, 3e-7),
    SiteParity("b", "eval", 0.2, 2e-7),
)
RECEIPT = ds.Receipt(
    passed=True,
    max_abs=0.25,
    max_rel=3e-7,
    tolerance=1e-5,
    output_rel={"eval": 1e-7, "train": 3e-7},
    sites=SITES,
    notes=("something",),
)


def test_plain_values() -> None:
    values = json.loads(json.dumps(RECEIPT.to_dict()))
    assert values["passed"] is True
    assert values["output_rel"] == {"eval": 1e-7, "train": 3e-7}
    assert values["sites"][1] == {"name": "a", "mode": "train", "max_abs": 0.1, "max_rel": 3e-7}
    assert values["notes"] == ["something"]
    assert values["gradient_rel"] is None
    assert RECEIPT.modes == ("eval", "train")


def test_text() -> None:
    assert str(RECEIPT) == (
        "parity passed: max abs 0.25, max rel 3e-07 (tolerance 1e-05) in eval and train mode, "
        "2 sites\nnote: something"
    )
    assert "gradient" not in str(RECEIPT)
    assert "2 sites, gradients to 2e-06\n" in str(replace(RECEIPT, gradient_rel=2e-6))
    failed = replace(RECEIPT, passed=False, output_rel={"eval": 1.0}, notes=())
    assert str(failed).startswith("parity FAILED: ")
    assert str(failed).endswith("in eval mode, 2 sites")


def test_the_worst_sites_come_first() -> None:
    assert [(s.name, s.mode) for s in RECEIPT.worst_sites()] == [
        *(("a", "train"), ("b", "eval"), ("a", "eval")),
    ]
    assert len(RECEIPT.worst_sites(1)) == 1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_promised_tolerances(dtype: torch.dtype, tolerance: float) -> None:
    assert TOLERANCES[dtype] == tolerance

"""Directories for the tests of reports: receipts as `convert` and `finetune` write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynsurgeon.recipe import FORMAT

HOSTILE = "</script><img src=x onerror=\"document.title='taken'\">"
"""A name that takes over a page which does not escape it."""


def chain(count: int) -> list[str]:
    """Return names of so many sites, in blocks of five."""
    kinds = ("conv1", "relu1", "conv2", "relu2", "conv3")
    return [f"stages.{i // 125}.blocks.{i // 5 % 25}.{kinds[i % 5]}" for i in range(count)]


def write_directory(
    folder: Path,
    names: Sequence[str],
    *,
    model: str = "tinynet",
    trained: bool = False,
    plan: bool = True,
    onnx: bool = True,
) -> Path:
    """Write a recipe and a receipt; the first site stays static, and every fifth is bit-equal."""
    folder.mkdir()
    sites = [_site(i, name) for i, name in enumerate(names)]
    dynamic = [site for site in sites if site["operator"]]
    origin = {"model": model, "arguments": {}, "weights": "random", "input_size": [3, 8, 8]}
    recipe = {
        "format": FORMAT,
        "sites": [
            {"name": site["name"], "operator": site["operator"], "place": "module",
             "settings": {}, "dtype": "float32", "inplace": False, "channels": None, "form": None}
            for site in dynamic
        ],
        "owners": [], "config": {}, "seed": 0, "origin": origin, "versions": {},
        "sha256": "ab" * 32, "fitted": False,
    }  # fmt: skip
    receipt = _receipt(sites, dynamic, origin, plan=plan, onnx=onnx)
    if trained:
        receipt |= {"torch": None, "start": {"torch": receipt["torch"]}, "finetuned": training()}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "receipt.json").write_text(json.dumps(receipt))
    return folder


def _site(number: int, name: str) -> dict[str, Any]:
    conv = "conv" in name
    operator = None if number == 0 else "DynamicConv2d" if conv else "DynamicReLUB"
    return {
        "name": name, "operation": "Conv2d" if conv else "ReLU", "owner": "",
        "input_shape": [2, 8, 8, 8], "operator": operator,
        "reason": None if operator else "the first convolution",
        "params_before": 100 + number, "params_after": 400 + number if operator else 100,
        "macs_before": 1000, "macs_after": 1100,
    }  # fmt: skip


def _receipt(
    sites: list[dict[str, Any]],
    dynamic: list[dict[str, Any]],
    origin: dict[str, Any],
    *,
    plan: bool,
    onnx: bool,
) -> dict[str, Any]:
    parity = [
        {"name": site["name"], "mode": mode, "max_abs": 1e-7,
         "max_rel": 0.0 if i % 5 == 0 else 1e-8 * (1 + i % 7)}
        for i, site in enumerate(dynamic) for mode in ("eval", "train")
    ]  # fmt: skip
    return {
        "format": 1,
        "model": origin,
        "costs": {"sites": len(sites), "converted": len(dynamic), "params_before": 1000,
                  "params_after": 4000, "macs_before": 50000, "macs_after": 55000},
        "torch": {"passed": True, "max_abs": 1e-6, "max_rel": 2.1e-6, "tolerance": 1e-5,
                  "output_rel": {"eval": 1e-6, "train": 2.1e-6}, "sites": parity, "notes": [],
                  "gradient_rel": None},
        "onnx": {"path": "model.onnx", "form": "scan", "opset": 20, "batch": None,
                 "max_rel": 1e-6, "checks": [{}]} if onnx else None,
        "notes": ["a note of the plan"],
        "versions": {"torch": "2.9", "dynsurgeon": "0.1.0"},
        **({"sites": sites} if plan else {}),
    }  # fmt: skip


def training() -> dict[str, Any]:
    """Return what a receipt says of a fine-tuning of two epochs beside its twin."""
    score = {"loss": 1.0, "accuracy": 0.5}
    better = {"loss": 0.5, "accuracy": 0.75}
    history = [
        {"number": n, "temperature": None, "lag": {},
         "train": {"dynamic": one, "static": score}, "val": {"dynamic": one, "static": score}}
        for n, one in ((1, score), (2, better))
    ]  # fmt: skip
    return {
        "from": "tinynet-dynamic",
        "settings": {"epochs": 2, "batch": 8, "baseline": True, "freeze": []},
        "data": {"train": 80, "val": 20},
        "classes": ["cat", "dog"],
        "best_epoch": {"dynamic": 2, "static": 1},
        "val": {"dynamic": better, "static": score},
        "before": score,
        "calibration": None,
        "gain": {"difference": 0.25, "error": 0.1, "samples": 20},
        "cost": {"device": "cpu", "threads": 1, "static_ms": 1.0, "dynamic_ms": 1.5,
                 "ratio": 1.5, "spread": 0.1, "rounds": 50},
        "verdict": "The gain is more than twice its error",
        "history": history,
        "steps": 20,
        "notes": [],
    }  # fmt: skip

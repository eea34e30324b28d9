"""Fine-tune variants from the same pretrained networks; append one JSON line a run.

    python benchmarks/accuracy/run.py --variants static,relu-b --seeds 0,1,2,3,4
    python benchmarks/accuracy/run.py --data FOLDER --images corrupted --variants static --lr 0.2

Runs whose line is there already are skipped, so a broken-off series goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from data import DEBIAN_FOLDER, Images, load_images
from fitting import BATCH, accuracy, fit
from making import make_variant
from networks import build_network
from torch import nn
from variants import VARIANTS, Variant

HERE = Path(__file__).parent
EPOCHS = {"conv4": 12, "mobilenet": 4}
"""Epochs from scratch, and again for each variant."""

PRETRAIN_RATE = 0.1
DEFAULT_RATE = 0.1
"""The static twin's best learning rate of those tried; all variants are trained at it."""

WEIGHT_DECAY = 1e-4
CALIBRATION_SAMPLES = 6000
KEY = ("images", "network", "variant", "lr", "epochs", "seed")


def main() -> None:
    """Run what the arguments name."""
    options = parse()
    torch.set_num_threads(1)
    images = load_images(options.images, options.data)
    path = options.results / f"{options.images}-{options.network}.jsonl"
    for seed in options.seeds:
        for name in options.variants:
            key = dict(zip(KEY, (options.images, options.network, name, options.lr,
                                 options.epochs, seed), strict=True))  # fmt: skip
            if key in [{k: row[k] for k in KEY} for row in read_rows(path)]:
                continue
            row = {**key, **run(VARIANTS[name], images, options, seed)}
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(
                *(row[k] for k in ("variant", "lr", "seed", "test", "train", "seconds")), flush=True
            )


def run(variant: Variant, images: Images, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Fine-tune one variant from the pretrained network of `seed`."""
    model = pretrained(images, options, seed)
    start = time.process_time()
    x, y = images.train_x, images.train_y
    steps = options.epochs * (len(x) // BATCH)
    samples = x[:CALIBRATION_SAMPLES].split(250)
    made = make_variant(model, variant, samples, options.lr, steps, seed)
    try:
        fit(made.model, x, y, made.groups, epochs=options.epochs, seed=1000 + seed,
            every_step=made.every_step, prepare=made.prepare)  # fmt: skip
    except FloatingPointError:
        return {"test": None, "train": None, "seconds": time.process_time() - start}
    return {
        "test": accuracy(made.model, images.test_x, images.test_y),
        "train": accuracy(made.model, x, y),
        "seconds": round(time.process_time() - start, 1),
        **made.describe(),
    }


def pretrained(images: Images, options: argparse.Namespace, seed: int) -> nn.Module:
    """Train the static network of `seed` from scratch, or read it where that was done before."""
    path = options.cache / f"{options.images}-{options.network}-{seed}.pth"
    torch.manual_seed(seed)
    model = build_network(options.network)
    if path.exists():
        model.load_state_dict(torch.load(path))
        return model
    groups = [
        {"params": list(model.parameters()), "lr": PRETRAIN_RATE, "weight_decay": WEIGHT_DECAY}
    ]
    fit(model, images.train_x, images.train_y, groups, epochs=EPOCHS[options.network], seed=seed)
    print("pretrained", seed, accuracy(model, images.test_x, images.test_y), flush=True)
    path.parent.mkdir(exist_ok=True)
    torch.save(model.state_dict(), path)
    return model


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a results file; none where there is no file."""
    return [json.loads(line) for line in path.open()] if path.exists() else []


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(VARIANTS))
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2, 3, 4])
    parser.add_argument("--images", choices=("clean", "corrupted"), default="clean")
    parser.add_argument("--network", choices=("conv4", "mobilenet"), default="conv4")
    parser.add_argument("--lr", type=float, default=DEFAULT_RATE)
    parser.add_argument("--epochs", type=int, help="epochs of each variant, if others")
    parser.add_argument("--data", type=Path, default=DEBIAN_FOLDER)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--cache", type=Path, default=HERE / "pretrained")
    options = parser.parse_args()
    options.epochs = options.epochs or EPOCHS[options.network]
    return options


if __name__ == "__main__":
    main()

"""Fine-tune pretrained networks and their dynamic forms on photographs; one JSON line a run.

    python benchmarks/accuracy/photo_run.py lite0 signs --data FOLDER --per-class 20 --epochs 10 \
        --variants static,relu-b --rates 0.03,0.1 --seeds 0,1,2,3,4
    python benchmarks/accuracy/photo_run.py resnet20 cifar --data FOLDER --weights FOLDER \
        --train 10000 --shift 4 --mirror --batch 64 --epochs 2

The second word names the results, `results/photos-<it>.jsonl`. Every network, static or dynamic, is
tested with BatchNorm statistics of its final weights (`ds.update_batch_norm`). Runs whose line is
there already are skipped, so a broken-off series goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from making import Made, make_variant
from photos import Draw, Photos, Samples, load_photos, prepare, training_batches
from pretrained import SIZES, load_pretrained
from run import HERE, read_rows
from torch import nn
from variants import VARIANTS, Variant

import dynsurgeon as ds
from dynsurgeon.training.finetune.rates import rate_factor

KEY = (
    "network", "variant", "lr", "seed", "epochs", "batch", "train_images", "per_class", "optimizer",
    "adapt", "anew",
)  # fmt: skip
OLDER = {"optimizer": "sgd", "adapt": 0, "anew": False}
"""What rows without a key were run with."""

ADAPT_RATE = 0.1
"""Learning rate of the static epochs: no row and no kept network tells another."""

STATISTICS, CALIBRATION, EVALUATION = 1024, 512, 64
"""Training images for BatchNorm and for the attention; images that are tested at once."""

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": torch.optim.AdamW,
}


def main() -> None:
    """Run what the arguments name."""
    options = parse()
    torch.set_num_threads(1)
    path = options.results / f"photos-{options.name}.jsonl"
    for seed in options.seeds:
        photos = None
        for name in options.variants:
            for lr in options.rates:
                key = _key(options, name, lr, seed)
                if any(_is_of(row, key) for row in read_rows(path)):
                    continue
                photos = photos or _photos(options, seed)
                row = {**key, **run(VARIANTS[name], photos, options, lr, seed)}
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


def run(
    variant: Variant, photos: Photos, options: argparse.Namespace, lr: float, seed: int
) -> dict[str, Any]:
    """Fine-tune one variant of the pretrained network."""
    torch.manual_seed(seed)
    model = starting_network(photos, options, seed)
    samples = [prepare(part) for part in photos.train[0][:CALIBRATION].split(EVALUATION)]
    start = time.process_time()
    steps = options.epochs * (len(photos.train[0]) // options.batch)
    if options.optimizer == "adamw":  # as `finetune` does: steps are as long for any gradient
        variant = replace(variant, balanced=False, bank_factor=variant.bank_factor or 1.0)
    made = make_variant(model, variant, samples, lr, steps, seed)
    made.model.to(memory_format=torch.channels_last)
    try:
        training = fit(made, photos, options, 1000 + seed, options.epochs)
    except FloatingPointError:
        return {"test": None, "train": None, "seconds": time.process_time() - start}
    lagging = score(made.model, photos.test) if options.lagging else None
    fit_statistics(made.model, photos)
    return {
        "test": score(made.model, photos.test),
        "lagging": lagging,
        "train": training,
        "parameters": sum(p.numel() for p in made.model.parameters()),
        "seconds": round(time.process_time() - start, 1),
    }


def starting_network(photos: Photos, options: argparse.Namespace, seed: int) -> nn.Module:
    """Load the pretrained network, fine-tuned as it is for `--adapt` epochs; kept between runs."""
    model = load_pretrained(options.network, photos.classes, options.weights).eval()
    if not options.adapt:
        return model
    images = options.train or options.per_class
    path = options.cache / f"{options.name}-{options.network}-{images}-{options.adapt}-{seed}.pth"
    if not path.exists():
        steps = options.adapt * (len(photos.train[0]) // options.batch)
        made = make_variant(model, VARIANTS["static"], [], ADAPT_RATE, steps, seed)
        made.model.to(memory_format=torch.channels_last)
        fit(made, photos, options, 2000 + seed, options.adapt)
        fit_statistics(made.model, photos)
        print("adapted", seed, score(made.model, photos.test), flush=True)
        path.parent.mkdir(exist_ok=True)
        torch.save(made.model.state_dict(), path)
    model.load_state_dict(torch.load(path))
    return model.eval()


def fit_statistics(model: nn.Module, photos: Photos) -> None:
    """Re-estimate BatchNorm statistics on training images."""
    statistics = photos.train[0][:STATISTICS].split(EVALUATION)
    ds.update_batch_norm(model, [prepare(part) for part in statistics], samples=None)


def fit(made: Made, photos: Photos, options: argparse.Namespace, seed: int, epochs: int) -> float:
    """Train with a cosine to 0; return the last epoch's accuracy in percent.

    Half of the first epoch warms up, at most a quarter of all steps.
    """
    optimizer = OPTIMIZERS[options.optimizer](made.groups)
    made.prepare(optimizer)
    base = [group["lr"] for group in optimizer.param_groups]
    each = len(photos.train[0]) // options.batch
    steps, step = epochs * each, 0
    warmup = min(each // 2, steps // 4)
    generator = torch.Generator().manual_seed(seed)
    right = 0
    for _ in range(epochs):
        made.model.train()
        right = 0
        for images, labels in training_batches(photos, options.draw, options.batch, generator):
            factor = rate_factor(step, steps, warmup)
            for rate, group in zip(base, optimizer.param_groups, strict=True):
                group["lr"] = rate * factor
            optimizer.zero_grad()
            scores = made.model(images)
            loss = F.cross_entropy(scores, labels)
            loss.backward()
            optimizer.step()
            made.every_step()
            right += int((scores.argmax(1) == labels).sum())
            step += 1
        if not bool(loss.detach().isfinite()):
            raise FloatingPointError("training diverged")
    return round(100 * right / (each * options.batch), 2)


@torch.no_grad()
def score(model: nn.Module, samples: Samples) -> float:
    """Return the share of images classified right, in percent."""
    model.eval()
    x, y = samples
    right = sum(
        int((model(prepare(images)).argmax(1) == labels).sum())
        for images, labels in zip(x.split(EVALUATION), y.split(EVALUATION), strict=True)
    )
    return round(100 * right / len(x), 3)


def _is_of(row: dict[str, Any], key: dict[str, Any]) -> bool:
    return key == {k: (OLDER | row).get(k) for k in KEY}


def _photos(options: argparse.Namespace, seed: int) -> Photos:
    return load_photos(options.data, SIZES[options.network], options.draw, seed)


def _key(options: argparse.Namespace, variant: str, lr: float, seed: int) -> dict[str, Any]:
    values = (options.network, variant, lr, seed, options.epochs, options.batch,
              options.train, options.per_class, options.optimizer, options.adapt,
              options.anew)  # fmt: skip
    return dict(zip(KEY, values, strict=True))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    integers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    numbers = lambda text: [float(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("network", choices=tuple(SIZES))
    parser.add_argument("name", help="of the results")
    parser.add_argument("--data", type=Path, required=True, help="a folder for each class")
    parser.add_argument("--weights", type=Path, help="checkout of pytorch_resnet_cifar10")
    parser.add_argument("--variants", type=lambda text: text.split(","), default=["static"])
    parser.add_argument("--rates", type=numbers, default=[0.03])
    parser.add_argument("--seeds", type=integers, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--adapt", type=int, default=0, help="epochs as a static network first")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--train", type=int, help="training images")
    parser.add_argument("--per-class", type=int, help="training images of each class")
    parser.add_argument("--test", type=int, help="test images")
    parser.add_argument("--shift", type=int, default=0, help="pixels, either way")
    parser.add_argument("--optimizer", choices=tuple(OPTIMIZERS), default="sgd")
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--corrupt", action="store_true", help="each image in one of six ways")
    parser.add_argument("--anew", action="store_true", help="corrupt anew in each epoch")
    parser.add_argument(
        "--lagging", action="store_true", help="test with the statistics that training left, too"
    )
    parser.add_argument("--cache", type=Path, default=HERE / "pretrained")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    options.draw = Draw(
        options.train, options.per_class, options.test, options.shift, options.mirror,
        options.corrupt, options.anew,
    )  # fmt: skip
    return options


if __name__ == "__main__":
    main()

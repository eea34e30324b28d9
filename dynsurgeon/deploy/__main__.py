"""``python -m dynsurgeon.deploy FILE IMAGE``: what a network sees in images, without PyTorch.

``--layout OUT`` lays the file out for this CPU instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dynsurgeon.deploy.facts import Preprocessing
from dynsurgeon.deploy.laying_out import layout
from dynsurgeon.deploy.network import Network, load
from dynsurgeon.deploy.pictures import read_image
from dynsurgeon.errors import ConfigError, SurgeryError

EPILOG = """examples:
  python -m dynsurgeon.deploy resnet18-dynamic/model.onnx photo.jpg
  python -m dynsurgeon.deploy model.onnx a.jpg b.jpg --normalize 0.5,0.5,0.5/0.5,0.5,0.5 --json
  python -m dynsurgeon.deploy model.onnx --layout fast-here.onnx
"""


def main(words: Sequence[str] | None = None) -> int:
    """Print the best classes of each image, or lay the file out, and return the exit code."""
    parser = _parser()
    options = parser.parse_args(words)
    if bool(options.image) == bool(options.layout):
        parser.error("give images, or --layout OUT")
    try:
        if options.layout:
            return _lay_out(options.file, options.layout, as_json=options.json)
        network = load(options.file, threads=options.threads)
        if network.finds:
            raise ConfigError(
                f"'{network.path}' finds boxes, and this prints classes: in Python, "
                "deploy.load(file).run(image) returns boxes, labels and scores"
            )
        how = _preprocessing(network, options.normalize)
        found = [
            {"image": path, "classes": _best(network, path, how, options.top)}
            for path in options.image
        ]
    except SurgeryError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps({"preprocessing": asdict(how), "images": found}, indent=2))
        return 0
    for one in found:
        print(one["image"])
        for best in one["classes"]:
            print(f"  {best['class']} {best['share']:.4f}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dynsurgeon.deploy",
        description="Print what a network sees in images, or lay its file out for this CPU. Needs "
        "onnxruntime and NumPy; Pillow for images, onnx-ir for --layout.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a file that dynsurgeon exported")
    parser.add_argument("image", metavar="IMAGE", nargs="*", help="an image file")
    parser.add_argument(
        "--layout",
        metavar="OUT",
        help="write a file that runs faster on this machine's CPU, and on those of its kind alone",
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes (default: 5)")
    parser.add_argument(
        "--normalize",
        metavar="MEANS/DEVIATIONS",
        help="as in 0.5,0.5,0.5/0.5,0.5,0.5, where the file doesn't say how images are prepared",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of an operator")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _lay_out(file: str, output: str, *, as_json: bool) -> int:
    found = layout(file, output)
    print(json.dumps(found.to_dict(), indent=2) if as_json else found)
    return 0


def _preprocessing(network: Network, normalize: str | None) -> Preprocessing:
    shape = next(iter(network.inputs.values()))
    if len(network.inputs) != 1 or len(shape) != 4 or shape[1] not in (1, 3):
        raise ConfigError(f"'{network.path}' takes no images, but {network.inputs}")
    known = network.preprocessing
    if normalize is None:
        if known is None:
            raise ConfigError(
                f"'{network.path}' doesn't say how images are prepared; pass "
                "--normalize MEANS/DEVIATIONS, as in 0.485,0.456,0.406/0.229,0.224,0.225"
            )
        return known
    size = [side if isinstance(side, int) else 224 for side in shape[2:]]
    size = size if known is None else [known.height, known.width]
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in normalize.split("/"))
    except ValueError as error:
        raise ConfigError(f"--normalize takes MEANS/DEVIATIONS, got {normalize!r}") from error
    values = {"height": size[0], "width": size[1], "mean": mean, "std": std}
    return Preprocessing.of(values)


def _best(network: Network, path: str, how: Preprocessing, top: int) -> list[dict[str, Any]]:
    channels = next(iter(network.inputs.values()))[1]
    scores = network(read_image(path, how, int(channels))[None])[0].astype(np.float64).ravel()
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    names = network.labels if network.labels and len(network.labels) == len(shares) else None
    order = np.argsort(-shares, kind="stable")[: max(top, 1)].tolist()
    return [
        {"class": names[i] if names else str(i), "index": i, "share": float(shares[i])}
        for i in order
    ]


if __name__ == "__main__":
    sys.exit(main())

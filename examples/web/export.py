"""Write what the page needs: a network with its attention as outputs, and how to show them.

    dynsurgeon convert resnet18
    python export.py resnet18-dynamic

`model.onnx` gives the scores and, for each dynamic convolution, how its kernels are weighed;
`model.json` says how a photo is prepared, what the classes are called, and which outputs are which.
The file is verified in onnxruntime, and where it is installed in onnxruntime-web too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models import ResNet18_Weights

import dynsurgeon as ds
from dynsurgeon.cli.work.loading import reload_subject
from dynsurgeon.cli.work.normalization import facts_of
from dynsurgeon.errors import ConfigError, SurgeryError
from dynsurgeon.runtimes.table import find_runtimes

HERE = Path(__file__).parent
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SCORES = "scores"


class WithAttention(nn.Module):
    """A classifier that tells the weights of the kernels of each dynamic convolution as well."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        modules = network.named_modules()
        self.sites = [name for name, module in modules if isinstance(module, ds.DynamicConv)]

    def forward(self, photo: Tensor) -> dict[str, Tensor]:
        """Return the scores, and the attention ``(N, K)`` of each site."""
        found: dict[str, Tensor] = {}
        handles = []
        for name in self.sites:
            attention = self.network.get_submodule(f"{name}.attention")

            def keep(module: Any, inputs: Any, output: Tensor, name: str = name) -> None:
                found[f"attention {name}"] = output

            handles.append(attention.register_forward_hook(keep))
        try:
            scores = self.network(photo)
        finally:
            for handle in handles:
                handle.remove()
        return {SCORES: scores, **found}


def main() -> None:
    """Export the network in the directory that is named."""
    options = parse()
    subject = reload_subject(options.directory, options.model)
    facts = {key.rpartition(".")[2]: json.loads(text) for key, text in facts_of(subject).items()}
    height, width = subject.origin["input_size"][1:]
    known = {"height": height, "width": width, **IMAGENET, **facts.get("preprocessing", {})}
    for name, values in (("mean", options.mean), ("std", options.std)):
        known |= {name: values} if values else {}
    about = {
        "name": Path(subject.origin["model"]).name,
        "preprocessing": known,
        "labels": facts.get("labels"),
    }
    print(write(subject.model, subject.inputs, options.output, about))
    print(f"wrote model.onnx and model.json into {options.output}; now: python -m http.server")


def write(network: nn.Module, inputs: Any, folder: Path, about: dict[str, Any]) -> ds.ExportResult:
    """Write the network and what the page has to know of it.

    Args:
        network: The dynamic network, in eval mode.
        inputs: Example inputs.
        folder: Where ``model.onnx`` and ``model.json`` go.
        about: The keys ``name``, ``preprocessing`` and ``labels``.
    """
    shown = WithAttention(network).eval()
    path, runtimes = folder / "model.onnx", ("web",) if web_is_here() else ()
    result = ds.export_onnx(shown, path, inputs, batch=1, target="web", runtimes=runtimes)
    sites = {name: f"attention {name}" for name in shown.sites}
    names = about["labels"] or labels(result.outputs[SCORES][-1])
    text = json.dumps({**about, "labels": names, "sites": sites})
    (folder / "model.json").write_text(text, encoding="utf-8")
    return result


def labels(classes: object) -> list[str]:
    """Return ImageNet's names for a thousand classes, and numbers for others."""
    names = [str(name) for name in ResNet18_Weights.DEFAULT.meta["categories"]]
    return names if classes == len(names) else []


def web_is_here() -> bool:
    """Whether the file can be verified in onnxruntime-web."""
    try:
        find_runtimes(["web"])
    except ConfigError:
        return False
    return True


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help="what convert wrote")
    parser.add_argument("--model", metavar="SPEC", help="the code of a network of your own")
    parser.add_argument("--mean", type=numbers, metavar="N,N,N", help="default: as trained")
    parser.add_argument("--std", type=numbers, metavar="N,N,N", help="default: as trained")
    parser.add_argument("--output", type=Path, default=HERE, metavar="FOLDER")
    return parser.parse_args()


def numbers(text: str) -> list[float]:
    """Return the numbers between commas."""
    return [float(word) for word in text.split(",")]


if __name__ == "__main__":
    try:
        main()
    except SurgeryError as error:
        raise SystemExit(f"error: {error}") from error

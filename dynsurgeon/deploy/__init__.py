"""Run an exported file where PyTorch is not: onnxruntime and NumPy are all it needs.

    from dynsurgeon import deploy

    network = deploy.load("resnet18-dynamic/model.onnx")
    scores = network(images)

Pillow reads images, where those are wanted. ``python -m dynsurgeon.deploy FILE IMAGE`` prints what
a network sees.
"""

from dynsurgeon.deploy.facts import Preprocessing
from dynsurgeon.deploy.network import Network, load

__all__ = ["Network", "Preprocessing", "load"]

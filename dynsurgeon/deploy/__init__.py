"""Run an exported file where PyTorch is not: onnxruntime and NumPy are all it needs.

    from dynsurgeon import deploy

    network = deploy.load("resnet18-dynamic/model.onnx")
    scores = network(images)

Pillow reads images, where those are wanted. ``python -m dynsurgeon.deploy FILE IMAGE`` prints what
a network sees. `layout`, which takes onnx-ir too, lays a file out for the CPU that it runs on.
"""

from dynsurgeon.deploy.facts import Preprocessing
from dynsurgeon.deploy.laying_out import Layout, layout
from dynsurgeon.deploy.network import Network, load

__all__ = ["Layout", "Network", "Preprocessing", "layout", "load"]

"""Build the tables of torch.onnx once a run of the tests, not once an export.

Each call of ``torch.onnx.export`` reads and parses some 500 onnxscript functions anew, which takes
over half a second: about as long as the rest of the export of a tiny network. It also looks up
every operator of torch twice for each of its namespaces, a sixth of the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import pytest


@contextmanager
def torchlib_once() -> Iterator[None]:
    """Keep what torch.onnx has built; where another torch has it elsewhere, change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        with suppress(ImportError, AttributeError):
            from torch.onnx._internal.exporter._registration import ONNXRegistry

            build: Any = ONNXRegistry.from_torchlib
            patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(_kept(build)))
        with suppress(ImportError, AttributeError):
            from torch._export import utils

            look_up: Any = utils._materialize_cpp_cia_ops
            patch.setattr(utils, "_materialize_cpp_cia_ops", cache(look_up))
        yield


def _kept(build: Callable[..., Any]) -> Callable[..., Any]:
    build = cache(build)

    def registry(*args: Any, **kwargs: Any) -> Any:
        own = copy.copy(build(*args, **kwargs))  # so that no export changes another's table
        own.functions = {target: list(found) for target, found in own.functions.items()}
        return own

    return registry

"""Networks of the user's own: ``package.module:callable`` and ``file.py:callable``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from dynsurgeon.errors import ConfigError, ModelNotFoundError, SurgeryError, suggest
from dynsurgeon.messages import one_line


def call_spec(spec: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Import the callable that `spec` names, call it, and return the network it returns.

    While it runs, the working directory (or the file's own) is on the import path. In place of a
    callable a finished `nn.Module` will do.

    Raises:
        ModelNotFoundError: The import fails, or the callable is missing, raises, or returns
            something else.
        ConfigError: The callable doesn't take the arguments.
    """
    source, _, attribute = spec.rpartition(":")
    is_file = source.endswith(".py")
    with _on_path(Path(source).resolve().parent if is_file else Path.cwd()):
        module = _import_file(Path(source)) if is_file else _import_module(source)
        return _run(_find(module, attribute, source), spec, arguments)


@contextmanager
def _on_path(directory: Path) -> Iterator[None]:
    entry = str(directory)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelNotFoundError(f"there is no file '{path}'")
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_{abs(hash(path.resolve()))}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and torch.fx look their module up
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelNotFoundError(f"'{path}' can't be imported ({one_line(error)})") from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ModelNotFoundError(f"{name} can't be imported ({one_line(error)})") from error


def _find(module: ModuleType, attribute: str, source: str) -> Any:
    target: Any = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            public = [name for name in vars(target) if not name.startswith("_")]
            raise ModelNotFoundError(f"{source} has no {attribute!r}{suggest(part, public)}")
        target = getattr(target, part)
    return target


def _run(target: Any, spec: str, arguments: Mapping[str, Any]) -> nn.Module:
    if isinstance(target, nn.Module):
        if arguments:
            raise ConfigError(f"{spec} is a finished module and takes no --model-arg")
        return target
    if not callable(target):
        raise ModelNotFoundError(f"{spec} is a {type(target).__name__}, nothing to call")
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{spec} can't be called so ({one_line(error)})") from error
    try:
        model = target(**arguments)
    except SurgeryError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelNotFoundError(f"{spec} raised {one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelNotFoundError(f"{spec} returned a {type(model).__name__}, not an nn.Module")
    return model

"""The work of ``convert``: build the network that is named, and have it converted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

import dynsurgeon as ds
from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import ExportError
from dynsurgeon.workflow.conversion import INSTEAD, convert_into, export_document, export_with

from ..options.onnx_file import OnnxOptions
from ..options.shared import ModelOptions
from ..progress import Steps
from .loading import Subject, load_subject
from .normalization import facts_of

Document = dict[str, Any]


@dataclass(frozen=True)
class Calibration:
    """The images that the attention is fitted to.

    Attributes:
        folder: Where they lie.
        normalize: The option that says how they are normalised.
    """

    folder: Path
    normalize: str = "auto"

    def apply(
        self, dynamic: nn.Module, *, subject: Subject, seed: int, step: Steps
    ) -> ds.AttentionReport:
        """Fit the attention of `dynamic`."""
        from .calibration import calibrate_on

        step(f"fitting the attention to the images in {self.folder}")
        return calibrate_on(self.folder, dynamic, subject, self.normalize, seed)


def convert_named(
    directory: Path,
    options: ModelOptions,
    config: SurgeryConfig,
    onnx: OnnxOptions | None,
    step: Steps,
    *,
    calibration: Calibration | None = None,
    latency: bool = True,
) -> Document:
    """Convert the model that the options name, and write everything into `directory`.

    Returns:
        The receipt, as written to ``receipt.json``.

    Raises:
        SurgeryError: Whatever stands in the way, or a parity that fails.
    """
    settings = None if onnx is None else export_settings(onnx)
    with step.aside(f"building {options.model}"):
        subject = load_subject(options)
    calibrate = None
    if calibration is not None:
        calibrate = partial(calibration.apply, subject=subject, seed=config.seed, step=step)
    with _own_words():
        done = convert_into(
            directory,
            subject.model,
            subject.inputs,
            config,
            export=settings,
            calibrate=calibrate,
            origin=subject.origin,
            metadata=facts_of(subject),
            latency=latency,
            progress=step,
        )
    return done.document


def export_settings(options: OnnxOptions) -> ds.ExportSettings:
    """Return the library's form of the options.

    Raises:
        ConfigError: One is not valid.
    """
    return ds.ExportSettings(**asdict(options))


def export_named(subject: Subject, path: Path, settings: ds.ExportSettings) -> Document:
    """Export and verify; return what the receipt says of it.

    Raises:
        ExportError: The network can't be exported; names ``--no-onnx`` as the way out.
        ParityError: onnxruntime computes something else.
    """
    with _own_words():
        result = export_with(settings, subject.model, path, subject.inputs, facts_of(subject))
    return export_document(result)


@contextmanager
def _own_words() -> Iterator[None]:
    try:
        yield
    except ExportError as error:
        error.args = (str(error).replace(INSTEAD, "--no-onnx"), *error.args[1:])
        raise

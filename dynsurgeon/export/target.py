"""What an exported file is for: which batch it takes, and in which form."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from dynsurgeon.errors import ConfigError, suggest

LEAST_OPSET = 18
"""The oldest operator set that torch's exporter has translations for."""


@dataclass(frozen=True)
class ExportForm:
    """One way to lay out the whole file.

    Attributes:
        name: Its name, as a user gives it.
        summary: What it is, in one line.
        convolutions: Forms of the single convolutions (`forms.CONV_FORMS`), the best first.
        lines: Forms of the DY-ReLUs (`lines.LINES_FORMS`), the best first.
        scanned: Whether the graph always computes one sample, in a Scan over the batch.
        any_batch: Whether the batch can be left free.
        native: Whether the graph of one sample is laid out for onnxruntime on this machine's CPU.
    """

    name: str
    summary: str
    convolutions: tuple[str, ...]
    lines: tuple[str, ...] = ("elementwise",)
    scanned: bool = False
    any_batch: bool = False
    native: bool = False


EXPORT_FORMS: dict[str, ExportForm] = {
    form.name: form
    for form in (
        ExportForm(
            "scan",
            "one sample at a time, in a Scan over the batch: any batch, each sample by itself",
            ("plain", "grouped", "portable"),
            scanned=True,
            any_batch=True,
        ),
        ExportForm(
            "portable",
            "constant convolution weights at K times the multiply-adds: any batch, any runtime",
            ("portable",),
            any_batch=True,
        ),
        ExportForm("plain", "batch 1 only", ("plain", "grouped", "portable")),
        ExportForm(
            "grouped", "a fixed batch, folded into groups", ("plain", "grouped", "portable")
        ),
        ExportForm(
            "native",
            "for onnxruntime on CPUs like this one: its own fast layout; any batch",
            ("plain", "grouped", "portable"),
            lines=("pointwise", "elementwise"),
            any_batch=True,
            native=True,
        ),
    )
}


@dataclass(frozen=True)
class Target:
    """What to export for.

    Attributes:
        form: Layout of the file.
        batch: Fixed batch, or None for a free one.
        dynamic_size: Whether height and width are free.
        opset: Version of the ONNX operator set, or None for the exporter's default.
    """

    form: ExportForm
    batch: int | None = None
    dynamic_size: bool = False
    opset: int | None = None

    @classmethod
    def choose(
        cls, form: str, batch: int | None, *, dynamic_size: bool = False, opset: int | None = None
    ) -> Target:
        """Check what a user asked for; ``"auto"`` takes the form that suits the batch.

        Raises:
            ConfigError: A value is not valid, or the form can't have that batch.
        """
        _check_batch(batch)
        _check_opset(opset)
        if form == "auto":
            form = "scan" if batch is None else "plain" if batch == 1 else "grouped"
        if form not in EXPORT_FORMS:
            known = ["auto", *EXPORT_FORMS]
            hint = suggest(str(form), known) or f"; known forms: {', '.join(known)}"
            raise ConfigError(f"unknown form {form!r}{hint}")
        chosen = EXPORT_FORMS[form]
        if batch is None and not chosen.any_batch:
            raise ConfigError(f"form {form!r} needs a fixed batch: give batch=N")
        if form == "plain" and batch != 1:
            raise ConfigError(f"form 'plain' is for batch 1, got batch={batch}")
        return cls(chosen, batch, dynamic_size, opset)

    @property
    def scanned(self) -> bool:
        """Whether the graph computes one sample, in a Scan over the batch."""
        return self.form.scanned or (self.form.native and self.batch != 1)

    @property
    def traced_batch(self) -> int:
        """Samples to trace the model with: two stand for a free batch, so that 1 is not special."""
        if self.scanned:
            return 1
        return 2 if self.batch is None else self.batch


def _check_batch(batch: object) -> None:
    if batch is None:
        return
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ConfigError(
            f"batch must be a whole number of at least 1, or None for any, got {batch!r}"
        )


def _check_opset(opset: object) -> None:
    newest = onnx.defs.onnx_opset_version()
    if opset is None:
        return
    if isinstance(opset, bool) or not isinstance(opset, int) or not LEAST_OPSET <= opset <= newest:
        raise ConfigError(f"opset must lie between {LEAST_OPSET} and {newest}, got {opset!r}")

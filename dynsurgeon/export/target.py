"""What an exported file is for: which batch it takes, and in which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from dynsurgeon.errors import ConfigError
from dynsurgeon.export.destinations import DESTINATIONS
from dynsurgeon.form_names import AUTO, NATIVE, RULE, Rounding, check_form, check_target

QUICK_CONVOLUTIONS, QUICK_LINES = ("depthwise",), ("normalised", "grouped")
"""What is quick in onnxruntime's CPU provider for one sample."""

LEAST_OPSET = 18
"""The oldest operator set that torch's exporter has translations for."""


@dataclass(frozen=True)
class ExportForm:
    """One way to lay out the whole file.

    Attributes:
        name: Its name, as a user gives it.
        summary: What it is, in one line.
        convolutions: Forms of the single convolutions (`forms.CONV_FORMS`), the best first.
        alternatives: Further forms that ``"auto"`` measures beside those.
        lines: Forms of the DY-ReLUs (`lines.LINES_FORMS`), the best first.
        quick_convolutions: Forms to try before those where onnxruntime's CPU provider runs the
            file: measured there, and slower elsewhere.
        quick_lines: The same for DY-ReLUs.
        scanned: Whether the graph always computes one sample, in a Scan over the batch.
        any_batch: Whether the batch can be left free.
        native: Whether the graph of one sample is laid out for onnxruntime on this machine's CPU.
    """

    name: str
    summary: str
    convolutions: tuple[str, ...]
    alternatives: tuple[str, ...] = ()
    lines: tuple[str, ...] = ("elementwise",)
    quick_convolutions: tuple[str, ...] = ()
    quick_lines: tuple[str, ...] = ()
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
            ("matmul", "experts"),
            quick_convolutions=QUICK_CONVOLUTIONS,
            quick_lines=QUICK_LINES,
            scanned=True,
            any_batch=True,
        ),
        ExportForm(
            "portable",
            "constant convolution weights at K times the multiply-adds: any batch, any runtime",
            ("portable",),
            ("experts",),
            any_batch=True,
        ),
        ExportForm(
            "plain",
            "batch 1 only",
            ("plain", "grouped", "portable"),
            ("matmul", "experts"),
            quick_convolutions=QUICK_CONVOLUTIONS,
            quick_lines=QUICK_LINES,
        ),
        ExportForm(
            "grouped",
            "a fixed batch, folded into groups",
            ("plain", "grouped", "portable"),
            ("matmul", "experts"),
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
        rounding: How the kernel banks are stored, or ``"fp16"`` for all; None for the precision of
            the network.
        sites: Forms of single convolutions, by the name of their bank; wins over `form`.
        destination: The target that was named, one of `destinations.DESTINATIONS`, or None.
    """

    form: ExportForm
    batch: int | None = None
    dynamic_size: bool = False
    opset: int | None = None
    rounding: Rounding | None = None
    sites: Mapping[str, str] = field(default_factory=dict)
    destination: str | None = None

    @classmethod
    def choose(
        cls,
        form: str,
        batch: int | None,
        *,
        dynamic_size: bool = False,
        opset: int | None = None,
        rounding: Rounding | None = None,
        destination: str | None = None,
    ) -> Target:
        """Check what a user asked for; ``"rule"`` takes the form that suits the batch.

        That is *plain* at batch 1, *grouped* at another fixed batch, *scan* at a free one: files of
        standard operators that run one convolution a call.

        Raises:
            ConfigError: A value is not valid, or the form can't have that batch.
        """
        _check_batch(batch)
        _check_opset(opset)
        check_form(form)
        if form == RULE:
            form = "scan" if batch is None else "plain" if batch == 1 else "grouped"
        chosen = EXPORT_FORMS[form]
        if batch is None and not chosen.any_batch:
            raise ConfigError(f"form {form!r} needs a fixed batch: give batch=N")
        if form == "plain" and batch != 1:
            raise ConfigError(f"form 'plain' is for batch 1, got batch={batch}")
        if chosen.native and rounding == "fp16":
            raise ConfigError("form 'native' is for CPUs and precision 'fp16' for GPUs: leave one")
        return cls(chosen, batch, dynamic_size, opset, rounding, destination=destination)

    @classmethod
    def candidates(
        cls,
        form: str,
        batch: int | None,
        *,
        this_cpu: bool = False,
        constant: bool = False,
        target: str | None = None,
        **wishes: Any,
    ) -> list[Target]:
        """Return what to try: for ``"auto"`` every form that is worth its measurement.

        For ``"rule"`` it is what to try first, and what is left if the network can't be traced so.

        Args:
            form: As `choose` takes it, or ``"auto"``.
            batch: A fixed batch, or None.
            this_cpu: Whether the file may run on CPUs like this one alone.
            constant: Whether every kernel of the network is a constant, so that a free batch needs
                no Scan.
            target: What the file is for, one of `destinations.DESTINATIONS`; chooses the form.
            wishes: What else `choose` takes.

        Raises:
            ConfigError: As `choose`.
        """
        check_form(form, this_cpu=this_cpu)
        check_target(target, form, this_cpu=this_cpu)
        first = ["portable"] if constant and batch is None else []
        if target is not None:
            _check_batch(batch)
            row = DESTINATIONS[target]
            wishes |= {"destination": target, "opset": wishes.get("opset") or row.opset}
            return [cls.choose(name, batch, **wishes) for name in (*first, row.form(batch))]
        if form == RULE:
            return [cls.choose(name, batch, **wishes) for name in (*first, RULE)]
        if form != AUTO:
            return [cls.choose(form, batch, **wishes)]
        names = [RULE] if batch in (None, 1) else [RULE, "scan"]
        names += [NATIVE] if this_cpu else []
        return [cls.choose(name, batch, **wishes) for name in names]

    @property
    def convolutions(self) -> tuple[str, ...]:
        """Forms of the single convolutions, the best first."""
        # Kernels in 8 or 16 bits are rounded as one bank.
        quick = self.quick and self.rounding is None
        return (*(self.form.quick_convolutions if quick else ()), *self.form.convolutions)

    @property
    def lines(self) -> tuple[str, ...]:
        """Forms of the DY-ReLUs, the best first."""
        return (*(self.form.quick_lines if self.quick else ()), *self.form.lines)

    @property
    def quick(self) -> bool:
        """Whether onnxruntime's CPU provider is what runs the file, as it is if nothing is said."""
        row = None if self.destination is None else DESTINATIONS[self.destination]
        return self.rounding != "fp16" and (row is None or row.cpu_provider)

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

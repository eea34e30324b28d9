"""Which layout a batch gets, and which wishes are refused."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from dynsurgeon.errors import ConfigError
from dynsurgeon.export.forms import CONV_FORMS
from dynsurgeon.export.target import EXPORT_FORMS, Target
from dynsurgeon.form_names import AUTO, NATIVE, RULE, ExportFormName


@pytest.mark.parametrize(
    ("form", "batch", "expected", "traced"),
    [
        ("rule", None, "scan", 1),
        ("rule", 1, "plain", 1),
        ("rule", 4, "grouped", 4),
        ("portable", None, "portable", 2),
        ("portable", 3, "portable", 3),
        ("scan", 3, "scan", 1),
    ],
)
def test_choose(form: str, batch: int | None, expected: str, traced: int) -> None:
    target = Target.choose(form, batch)
    assert target.form.name == expected
    assert target.traced_batch == traced


@pytest.mark.parametrize(
    ("form", "batch", "opset", "message"),
    [
        ("rule", True, None, "batch must be"),
        ("rule", 1.0, None, "batch must be"),
        ("rule", -1, None, "batch must be"),
        ("rule", None, 17, "opset must lie between 18"),
        ("rule", None, 99, "opset must lie between 18"),
        ("rule", None, "20", "opset must lie between 18"),
        ("plain", 2, None, "is for batch 1"),
        ("plain", None, None, "needs a fixed batch"),
        ("portabel", None, None, "did you mean 'portable'"),
        ("zzz", None, None, "known forms: rule, auto, scan"),
    ],
)
def test_refusals(form: str, batch: Any, opset: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Target.choose(form, batch, opset=opset)


def test_the_names_that_a_configuration_checks_are_those_of_the_table() -> None:
    assert get_args(ExportFormName) == (RULE, AUTO, *EXPORT_FORMS)
    assert EXPORT_FORMS[NATIVE].native


def test_every_layout_ends_in_a_form_that_always_fits() -> None:
    for name, form in EXPORT_FORMS.items():
        assert form.name == name
        assert set(form.convolutions) <= set(CONV_FORMS)
        assert form.convolutions[-1] == "portable"

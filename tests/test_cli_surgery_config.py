"""Options win over the file, the file over the defaults; nonsense is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynsurgeon.cli.options.surgery import Start, SurgeryOptions
from dynsurgeon.cli.options.surgery_config import surgery_config
from dynsurgeon.config import DynamicConvConfig, DynamicReLUConfig, SurgeryConfig
from dynsurgeon.errors import ConfigError


def file_with(directory: Path, text: str) -> Path:
    path = directory / "settings.toml"
    path.write_text(text)
    return path


def test_nothing_given_is_the_default() -> None:
    assert surgery_config(SurgeryOptions()) == SurgeryConfig()


def test_every_option_reaches_the_configuration() -> None:
    options = SurgeryOptions(
        experts=8,
        relu="c",
        include=["layer4.*"],
        exclude=["Conv2d", "re:.*relu"],
        start=Start.ZERO_SUM,
        reduction=2,
        relu_reduction=3,
        temperature=7.0,
        smooth=True,
    )
    assert surgery_config(options, seed=5) == SurgeryConfig(
        conv=DynamicConvConfig(experts=8, start="zero-sum", reduction=2, temperature=7.0),
        activation=DynamicReLUConfig(kind="C", reduction=3, smooth=True),
        include=("layer4.*",),
        exclude=("Conv2d", "re:.*relu"),
        seed=5,
    )


def test_no_conv_and_relu_none_leave_that_kind_alone() -> None:
    assert surgery_config(SurgeryOptions(no_conv=True)).conv is None
    assert surgery_config(SurgeryOptions(relu="none")).activation is None


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = file_with(
        tmp_path,
        'include = ["a"]\nseed = 3\n[conv]\nexperts = 2\nreduction = 1\n[activation]\nkind = "A"\n'
        '[overrides."layer1.*"]\nexperts = 6\n',
    )
    config = surgery_config(SurgeryOptions(experts=8, include=["b"], config=path))
    assert config == SurgeryConfig(
        conv=DynamicConvConfig(experts=8, reduction=1),
        activation=DynamicReLUConfig(kind="A"),
        include=("b",),
        seed=3,
        overrides={"layer1.*": {"experts": 6}},
    )


def test_the_file_can_leave_a_kind_alone_and_an_option_takes_it_back(tmp_path: Path) -> None:
    path = file_with(tmp_path, "conv = false\n")
    assert surgery_config(SurgeryOptions(config=path)).conv is None
    conv = surgery_config(SurgeryOptions(config=path, experts=3)).conv
    assert conv == DynamicConvConfig(experts=3)


@pytest.mark.parametrize("text", ['activation = "C"\n', '[activation]\noperator = "C"\n'])
def test_the_file_names_operators(tmp_path: Path, text: str) -> None:
    path = file_with(tmp_path, f"{text}")
    assert surgery_config(SurgeryOptions(config=path)).activation == DynamicReLUConfig(kind="C")
    mine = surgery_config(SurgeryOptions(config=path, relu="A", relu_reduction=2)).activation
    assert mine == DynamicReLUConfig(kind="A", reduction=2)
    assert surgery_config(SurgeryOptions(config=path, relu="none")).activation is None


def test_an_operator_named_on_the_command_line_keeps_what_the_file_says_of_it(
    tmp_path: Path,
) -> None:
    path = file_with(tmp_path, '[activation]\nkind = "A"\nreduction = 2\n')
    config = surgery_config(SurgeryOptions(config=path, relu="C"))
    assert config.activation == DynamicReLUConfig(kind="C", reduction=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[conv]\nexpert = 2", "unknown setting 'expert'; did you mean 'experts'"),
        ("exclud = ['a']", "unknown setting 'exclud'; did you mean 'exclude'"),
        ("[conv]\nexperts = 0", "at least 1, got 0"),
        ("[overrides.a]\nexpert = 2", "did you mean 'experts'"),
        ("conv = 3", "conv must be a table"),
        ("overrides = [1]", "overrides must be a table"),
        ("include = 3", "include"),
        ("include = 'a'", "include must be"),
        ("conv = ", "no valid TOML"),
        ("[conv\n", "no valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = file_with(tmp_path, text)
    with pytest.raises(ConfigError, match=r"settings\.toml") as caught:
        surgery_config(SurgeryOptions(config=path))
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        surgery_config(SurgeryOptions(config=tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SurgeryOptions(no_conv=True, experts=2), "--experts would do nothing"),
        (SurgeryOptions(relu="none", smooth=True), "--smooth would do nothing"),
        (SurgeryOptions(relu="none", relu_reduction=2), "--relu-reduction would do nothing"),
        (SurgeryOptions(relu="none", no_conv=True), "nothing to do"),
        (SurgeryOptions(conv="none", experts=2), "--conv none .* --experts would do nothing"),
        (SurgeryOptions(conv="dynamic", no_conv=True), "contradict each other"),
        (SurgeryOptions(conv="dynamc"), "--conv: unknown operator 'dynamc'; did you mean"),
        (
            SurgeryOptions(conv="scale", experts=2),
            "scale has no setting 'experts'; it has reduction",
        ),
        (SurgeryOptions(relu="D"), "--relu: unknown operator 'D'; known: A, B, C"),
    ],
)
def test_contradictions_are_refused(options: SurgeryOptions, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        surgery_config(options)

"""Weights come from where they were asked for, or not at all."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dynsurgeon.errors import WeightsError
from dynsurgeon.models.weights import (
    WeightsChoice,
    choose_weights,
    downloading,
    hub_fails_fast,
    load_weights,
    read_state_dict,
)

NAMES = ("IMAGENET1K_V1", "IMAGENET1K_V2")


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize(
    ("weights", "choice"),
    [
        (None, WeightsChoice("default")),
        ("DEFAULT", WeightsChoice("default")),
        ("default", WeightsChoice("default")),
        ("random", WeightsChoice("random")),
        ("imagenet1k_v2", WeightsChoice("name", "IMAGENET1K_V2")),
    ],
)
def test_words_are_known(weights: str | None, choice: WeightsChoice) -> None:
    assert choose_weights(weights, NAMES, "resnet50") == choice


def test_a_file_is_a_file_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text("")
    monkeypatch.chdir(tmp_path)
    assert choose_weights("mine", NAMES, "resnet50") == WeightsChoice("file", "mine")


@pytest.mark.parametrize("path", ["net.pth", "net.safetensors", "folder/net"])
def test_a_missing_file_is_named(path: str) -> None:
    with pytest.raises(WeightsError, match=f"no weights file '{path}'"):
        choose_weights(path, NAMES, "resnet50")


def test_a_wrong_name_suggests_and_lists() -> None:
    with pytest.raises(WeightsError, match="did you mean 'IMAGENET1K_V") as caught:
        choose_weights("IMAGENET1K_V3", NAMES, "resnet50")
    assert "DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2, random" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        HTTPError("address", 403, "Forbidden", None, None),  # type: ignore[arg-type]
        TimeoutError("timed out"),
        ConnectionResetError("reset"),
        RuntimeError('invalid hash value (expected "f37072fd", got "00000000")'),
        EOFError("Ran out of input"),
        pickle.UnpicklingError("invalid load key"),
    ],
)
def test_whatever_stops_a_download_names_the_ways_out(error: Exception) -> None:
    with (
        pytest.raises(WeightsError, match="resnet18 can't be had") as caught,
        downloading("resnet18"),
    ):
        raise error
    assert "--weights FILE" in str(caught.value)
    assert "--weights random" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_download_does_not_wait_for_ever() -> None:
    before = socket.getdefaulttimeout()
    with downloading("resnet18"):
        assert socket.getdefaulttimeout()
    assert socket.getdefaulttimeout() == before


def test_errors_of_other_kinds_pass() -> None:
    with pytest.raises(TypeError), downloading("resnet18"):
        raise TypeError


@pytest.mark.parametrize("reached", [True, False])
def test_an_unreachable_hub_is_set_offline_while_it_is_asked(
    reached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("dynsurgeon.models.weights.getproxies", dict)
    monkeypatch.setattr("dynsurgeon.models.weights._resolves", lambda host: reached)
    with hub_fails_fast():
        assert constants.HF_HUB_OFFLINE is not reached
    assert constants.HF_HUB_OFFLINE is False


Save = Callable[[Mapping[str, Tensor], Path], None]


def save_bare(state: Mapping[str, Tensor], path: Path) -> None:
    torch.save(dict(state), path)


def save_wrapped(state: Mapping[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": dict(state), "epoch": 3}, path)


def save_model_key(state: Mapping[str, Tensor], path: Path) -> None:
    torch.save({"model": dict(state), "optimizer": {}}, path)


def save_parallel(state: Mapping[str, Tensor], path: Path) -> None:
    torch.save({f"module.{key}": value for key, value in state.items()}, path)


def save_twice_wrapped(state: Mapping[str, Tensor], path: Path) -> None:
    inner = {f"module._orig_mod.{key}": value for key, value in state.items()}
    torch.save({"model": {"state_dict": inner}}, path)


def save_safetensors(state: Mapping[str, Tensor], path: Path) -> None:
    save_file(dict(state), path)


def save_safetensors_parallel(state: Mapping[str, Tensor], path: Path) -> None:
    save_file({f"module.{key}": value for key, value in state.items()}, path)


@pytest.mark.parametrize(
    ("save", "suffix"),
    [
        (save_bare, ".pth"),
        (save_bare, ".pt"),
        (save_wrapped, ".pth"),
        (save_model_key, ".pth"),
        (save_parallel, ".pth"),
        (save_twice_wrapped, ".pth"),
        (save_safetensors, ".safetensors"),
        (save_safetensors_parallel, ".safetensors"),
    ],
)
def test_every_common_file_loads(save: Save, suffix: str, tmp_path: Path) -> None:
    source, target = small_net(), small_net()
    path = tmp_path / f"net{suffix}"
    save(source.state_dict(), path)
    load_weights(target, path)
    for key, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], tensor), key


def test_a_net_of_that_prefix_keeps_it(tmp_path: Path) -> None:
    source, target = (nn.ModuleDict({"module": nn.Linear(2, 2)}) for _ in range(2))
    save_bare(source.state_dict(), tmp_path / "net.pth")
    load_weights(target, tmp_path / "net.pth")
    assert torch.equal(*(net.state_dict()["module.weight"] for net in (source, target)))


def changed(change: Callable[[dict[str, Any]], Any], path: Path) -> Path:
    state: dict[str, Any] = dict(small_net().state_dict())
    change(state)
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.weight"), "1 missing (0.weight)"),
        (lambda s: s.update(extra=torch.ones(1)), "1 unexpected (extra)"),
        (
            lambda s: s.update({"3.weight": torch.ones(5, 16), "3.bias": torch.ones(5)}),
            "2 of another shape (3.weight [5, 16] instead of [2, 16], 3.bias [5] instead of [2])",
        ),
        (lambda s: s.update({"epoch": 3}), "1 that are no tensors (epoch)"),
        (
            lambda s: [s.pop(key) for key in list(s) if key.startswith("1.")],
            "4 missing (1.weight, 1.bias, 1.running_mean, 1.running_var)",
        ),
        (
            lambda s: s.update({f"new{i}": torch.ones(1) for i in range(9)}),
            "9 unexpected (new0, new1, new2, new3, …)",
        ),
    ],
)
def test_what_does_not_fit_is_listed(
    change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    path = changed(change, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"net\.pth") as caught:
        load_weights(small_net(), path)
    assert message in str(caught.value)


class Hostile:
    def __reduce__(self) -> Any:
        return (print, ("this code must never run",))


def test_a_file_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pth"
    torch.save({"weight": Hostile()}, path)
    with pytest.raises(WeightsError, match="more than tensors"):
        read_state_dict(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 20, -40])
def test_a_damaged_file_is_refused(suffix: str, keep: int, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    (save_safetensors if suffix == ".safetensors" else save_bare)(small_net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=f"net{suffix}") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{}, [1, 2], {"state_dict": {"a": 1}}, torch.ones(3)])
def test_a_file_without_a_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="holds no state_dict"):
        read_state_dict(tmp_path / "net.pth")

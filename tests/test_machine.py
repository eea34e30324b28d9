from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynsurgeon.timing import machine
from dynsurgeon.timing.machine import cpu_name, describe_machine


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    cpu_name.cache_clear()
    yield
    cpu_name.cache_clear()


def test_the_name_is_that_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: Tiny CPU 9\nmodel name\t: Tiny CPU 9\n")
    monkeypatch.setattr(machine, "CPU_INFO", info)
    assert cpu_name() == "Tiny CPU 9"


def test_without_that_file_there_is_a_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "none")
    assert cpu_name()


def test_the_description_is_plain() -> None:
    found = json.loads(json.dumps(describe_machine()))
    assert set(found) == {"cpu", "cores", "system"}
    assert found["cores"] >= 1

"""Writing: external data, the move to the final name, and what the file says of itself."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from export_nets import DynamicNet, assert_close, perturbed, run_onnx
from nets import TinyResNet
from shared_traces import share_equal_traces

import dynsurgeon as ds
from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.export import export_onnx
from dynsurgeon.graphs.saving import data_path, install, staging
from dynsurgeon.recipe import recipe_of

equal_traces = pytest.fixture(autouse=True)(share_equal_traces)


def test_many_weights_go_to_a_file_beside(tmp_path: Path) -> None:
    net, path, x = perturbed(DynamicNet()), tmp_path / "m.onnx", torch.randn(3, 3, 12, 12)
    assert export_onnx(net, path, x, external_data_limit=1000).passed
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    stored = onnx.load(path, load_external_data=False)
    bank = next(t for t in stored.graph.initializer if t.name == "conv2.weight")
    location = {entry.key: entry.value for entry in bank.external_data}["location"]
    assert location == "m.onnx.data"
    assert path.stat().st_size < 60_000
    onnx.checker.check_model(str(path), full_check=True)
    assert_close(run_onnx(path, x), [net(x).detach()])


def test_weights_within_the_limit_stay_inside_and_old_data_goes(tmp_path: Path) -> None:
    net, path, x = DynamicNet(), tmp_path / "m.onnx", torch.randn(2, 3, 12, 12)
    export_onnx(net, path, x, external_data_limit=0)
    assert data_path(path).exists()
    export_onnx(net, path, x)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_a_data_file_that_nobody_refers_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "m.onnx.data").write_text("somebody's")
    (tmp_path / "staged").write_text("new")
    install(tmp_path / "staged", tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").read_text() == "somebody's"


def test_nothing_is_left_behind_when_the_work_fails(tmp_path: Path) -> None:
    def half_done() -> None:
        with staging(tmp_path / "m.onnx") as folder:
            (folder / "half").write_text("done")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    assert not list(tmp_path.iterdir())


def test_staging_refuses_what_is_no_file_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"), staging(tmp_path):
        pass
    with pytest.raises(StorageError, match="there is no folder"), staging(tmp_path / "a" / "b"):
        pass


def test_the_file_says_what_made_it(tmp_path: Path) -> None:
    net, x = TinyResNet().eval(), torch.randn(2, 3, 16, 16)
    dynamic = ds.convert(net, x)
    export_onnx(dynamic, tmp_path / "m.onnx", x)
    stored = onnx.load(tmp_path / "m.onnx")
    metadata = {entry.key: entry.value for entry in stored.metadata_props}
    assert metadata["dynsurgeon.recipe"] == recipe_of(dynamic).to_json()
    assert metadata["dynsurgeon.torch"] == torch.__version__
    assert metadata["dynsurgeon.onnx"] == onnx.__version__
    assert (metadata["dynsurgeon.form"], metadata["dynsurgeon.batch"]) == ("scan", "any")
    assert stored.producer_name == "dynsurgeon"


def test_a_network_without_recipe_has_none_in_its_file(tmp_path: Path) -> None:
    export_onnx(DynamicNet(), tmp_path / "m.onnx", torch.randn(1, 3, 12, 12), batch=1)
    stored = onnx.load(tmp_path / "m.onnx")
    metadata = {entry.key: entry.value for entry in stored.metadata_props}
    assert "dynsurgeon.recipe" not in metadata
    assert metadata["dynsurgeon.batch"] == "1"

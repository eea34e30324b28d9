"""What a release is made of agrees with itself: versions, metadata, workflows, what is shipped."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYTHONS = ["3.11", "3.12", "3.13"]


def read_yaml(path: Path) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(path.read_text())


def test_pythons_agree() -> None:
    named = [c for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert [c.rpartition(" ")[2] for c in named] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


def test_the_changelog_is_in_its_shape() -> None:
    versions = re.findall(r"^## (.*)$", CHANGELOG, flags=re.MULTILINE)
    kinds = set(re.findall(r"^### (.*)$", CHANGELOG, flags=re.MULTILINE))
    assert versions[0] == "Unreleased"
    assert all(
        re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", version) for version in versions[1:]
    )
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_is_of_this_version() -> None:
    cited = read_yaml(ROOT / "CITATION.cff")
    assert cited["version"] == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_write_only_where_they_publish(path: Path) -> None:
    flow = read_yaml(path)
    assert flow["permissions"] == {"contents": "read"}
    for name, job in flow["jobs"].items():
        assert job["timeout-minutes"] <= 60
        assert name == "publish" or "permissions" not in job
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def test_tests_run_on_every_python_and_on_the_oldest_packages() -> None:
    jobs = read_yaml(ROOT / ".github/workflows/tests.yml")["jobs"]
    matrix = jobs["newest"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos"}
    assert any("lowest-direct" in step.get("run", "") for step in jobs["oldest"]["steps"])


def test_make_has_what_the_workflows_call() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    called = {t for path in WORKFLOWS for t in re.findall(r"run: make (\w+)", path.read_text())}
    assert called
    assert called <= targets


def test_issue_forms_ask_for_the_version() -> None:
    for name in ("bug", "network"):
        form = read_yaml(ROOT / f".github/ISSUE_TEMPLATE/{name}.yml")
        fields = {part["id"]: part for part in form["body"]}
        assert "dynsurgeon --version" in fields["version"]["attributes"]["label"]
        assert fields["version"]["validations"]["required"]


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_they_should(tmp_path: Path) -> None:
    pytest.importorskip("build")
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    source.mkdir()
    subprocess.run(["tar", "-x", "-C", str(source)], input=tracked.stdout, check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*command, str(source)], capture_output=True, check=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {"dynsurgeon/cli/app.py", "dynsurgeon/py.typed"} <= set(inside)
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert {name.partition("/")[0].partition("-")[0] for name in inside} == {"dynsurgeon"}
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/nets.py", "tests/test_readme.py", "docs/tour.md", "mkdocs.yml"} <= shipped

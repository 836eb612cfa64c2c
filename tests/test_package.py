"""What is shipped: the wheel is complete and runs outside the checkout, and the constraints pin what it needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PIN = re.compile(r'[a-z0-9-]+==[0-9a-z.+]+( ; python_version (<|>=) "3\.\d+")?')


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_wheel_has_the_code_and_every_config_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"transfer/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    modules = {
        path.relative_to(ROOT).as_posix() for top in ("transfer", "hydra_plugins") for path in (ROOT / top).rglob("*.py")
    }
    assert {
        "transfer/conf/config.yaml",
        "transfer/report/page/page.html",
        "transfer/serve/page.html",
        "transfer/py.typed",
    } <= names
    assert "hydra_plugins/transfer_searchpath.py" in names
    assert configs | modules <= names
    meta = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert {name.split("/")[0] for name in names - meta} == {"transfer", "hydra_plugins"}
    assert {Path(name).suffix for name in names - meta} <= {".py", ".yaml", ".typed", ".html"}
    assert not [name for name in names if "tests" in name.split("/") or Path(name).name.startswith(("test_", "conftest"))]


def test_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere.mkdir()
    # PYTHONPATH comes before site-packages, so an editable install of the checkout cannot stand in for the wheel.
    environment = {**os.environ, "PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert Path(python("-c", "import transfer; print(transfer.__file__)").strip()).is_relative_to(site)
    text = python("-m", "transfer", "--help")
    assert "method" in text
    assert "emcdr" in text
    assert "simulated" in text


def test_constraints_hold_no_addresses_or_paths() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not PIN.fullmatch(line)] == []


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_constraints_pin_every_direct_dependency_once(python: str) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins: dict[str, str] = {}
    for pin in (Requirement(line) for line in lines if not line.startswith("#")):
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            assert pins.setdefault(canonicalize_name(pin.name), str(pin.specifier)) == str(pin.specifier)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted_lines = [*project["dependencies"], *extras["dev"], *extras["parity"]]
    own = [line for line in wanted_lines if Requirement(line).name == project["name"]]
    wanted_lines += [line for one in own for extra in Requirement(one).extras for line in extras[extra]]
    for line in (line for line in wanted_lines if line not in own):
        wanted = Requirement(line)
        version = pins[canonicalize_name(wanted.name)].removeprefix("==")
        assert wanted.specifier.contains(version, prereleases=True), f"{line} is pinned to {version}"


def test_xla_gets_enough_threads_not_to_wait_for_itself() -> None:
    code = "import os, transfer; print(os.environ['NPROC'])"
    environment = {key: value for key, value in os.environ.items() if key != "NPROC"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) >= 8

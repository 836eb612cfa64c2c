"""What is shipped: the wheel is complete and runs outside the checkout, and the constraints pin what it needs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
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
    wanted_lines = [*project["dependencies"], *extras["dev"], *extras["docs"], *extras["parity"]]
    own = [line for line in wanted_lines if Requirement(line).name == project["name"]]
    wanted_lines += [line for one in own for extra in Requirement(one).extras for line in extras[extra]]
    for line in (line for line in wanted_lines if line not in own):
        wanted = Requirement(line)
        version = pins[canonicalize_name(wanted.name)].removeprefix("==")
        assert wanted.specifier.contains(version, prereleases=True), f"{line} is pinned to {version}"


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The packages that a file imports, and whether it does when it is itself imported."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
        yield from ((name.partition(".")[0], node in tree.body) for name in names)


def test_a_plain_install_has_what_every_file_begins_with() -> None:
    """Extras may be missing: they are imported where they are used, but for the room that only its extra opens."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(lines: list[str]) -> set[str]:
        return {canonicalize_name(Requirement(line).name) for line in lines}

    plain = names(project["dependencies"])
    extras = set().union(*(names(lines) for lines in project["optional-dependencies"].values()))
    known, others = (
        packages_distributions(),
        set(sys.stdlib_module_names) | {"transfer", "jaxlib", ""},
    )  # jaxlib is jax's own
    found = {pair for path in (ROOT / "transfer").rglob("*.py") if path.parent.name != "serve" for pair in _imports(path)}
    for package, at_once in found:
        if package not in others and package in known:
            made_by = {canonicalize_name(name) for name in known[package]}
            assert made_by & (plain if at_once else plain | extras), f"{package} is imported and not declared"
    assert {"h5py", "wandb"} & {package for package, at_once in found if not at_once}


def test_a_missing_extra_is_named_by_one_that_has_its_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = "".join(path.read_text() for path in (ROOT / "transfer").rglob("*.py"))
    said = re.findall(r'missing\([^()]*, "([\w-]+)", "(\w+)"\)', text)
    assert {("pillow", "images"), ("h5py", "digits"), ("tokenizers", "text"), ("optuna", "optuna")} <= set(said)
    for package, extra in said:
        assert package in {Requirement(line).name for line in extras[extra]}, extra


def test_a_picture_without_pillow_and_digits_without_h5py_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from transfer.api import run
    from transfer.data.examples.images import picture
    from transfer.errors import TransferError

    for module in ("PIL", "h5py"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        TransferError, match=re.escape("needs the package pillow; in the checkout write pip install -e '.[images]'")
    ):
        picture(ROOT, "README.md", 8)
    with pytest.raises(TransferError, match=r"domain=digits needs the package h5py.*\[digits\]"):
        run(["domain=digits"])


def test_xla_gets_enough_threads_not_to_wait_for_itself() -> None:
    code = "import os, transfer; print(os.environ['NPROC'])"
    environment = {key: value for key, value in os.environ.items() if key != "NPROC"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) >= 8

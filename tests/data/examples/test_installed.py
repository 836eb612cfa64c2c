"""Readers of other people's packages are found by entry point, with settings of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "extending.md").read_text(encoding="utf-8")
METHOD = """
from transfer.program import Needs, Range

NEEDS, HP = Needs(), {"first": Range(1.0, low=0), "second": Range(3.0, low=0)}


def build(config, world, task, model): ...
"""
RUN = """
from transfer import run
from transfer.errors import TransferError
from transfer.api import compose
from transfer.experiment.checks import check_numbers
from transfer.registry import names

# a file of theirs is read in place of the declaration, which fills in what it leaves out; none takes the place of ours
assert check_numbers(compose(["method=dull"])).hp == {"first": 2.0, "second": 3.0}
assert compose(["method=duller"]).hp == {"first": 1.0, "second": 3.0}
assert compose(["method=popularity"]).hp == {}
assert "clouds" in names("domains")
base = ["domain=clouds", "method=source_only", "method.classifier=ridge"]
near, far = (run([*base, f"domain.gap={gap}"]).metrics["test"]["accuracy"] for gap in (0.0, 6.0))
print(near, far)
assert near < 0.75 and far > 0.95, (near, far)
for word in ("+domain.gab=1", "domain.gap=wide"):
    try:
        run([*base, word])
    except TransferError as error:
        print(error)
"""


def block(name: str) -> str:
    """The file of this name as docs/extending.md has it."""
    found = re.search(rf"^`{re.escape(name)}`\n```\w+\n(.*?)^```", PAGE, re.S | re.M)
    assert found, name
    return found.group(1)


def test_a_reader_of_an_installed_package_has_settings_of_its_own(tmp_path: Path) -> None:
    files = {
        "clouds_package/clouds.py": block("clouds_package/clouds.py"),
        "clouds_package/conf/domain/clouds.yaml": block("clouds_package/conf/domain/clouds.yaml"),
        "clouds_package/dull.py": METHOD,
        "clouds_package/conf/method/dull.yaml": "# @package _global_\nmethod: {name: dull}\nhp: {first: 2.0}\n",
        "clouds_package/conf/method/popularity.yaml": "# @package _global_\nmethod: {name: popularity}\nhp: {first: 2.0}\n",
        "clouds_package-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: clouds-package\nVersion: 1\n",
        "clouds_package-1.dist-info/entry_points.txt": "[transfer.domains]\nclouds = clouds_package.clouds\n"
        "[transfer.methods]\ndull = clouds_package.dull\nduller = clouds_package.dull\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[-2].startswith("domain.gab: no such key here; did you mean domain.gap? domain=clouds has ")
    assert said[-1].startswith("domain.gap: 'wide': ")

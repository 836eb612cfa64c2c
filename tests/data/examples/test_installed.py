"""Readers of other people's packages are found by entry point, with settings of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

READER = '''
"""Two clouds a gap apart."""
import numpy as np
from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, one_hot

DOMAINS, FEATURES = ("left", "right"), ("points",)


class Settings(ExampleDomains):
    gap: float = 3.0


def read(name, settings, data_dir):
    y = np.arange(60) % 2
    x = np.random.default_rng(DOMAINS.index(name)).normal(size=(60, 2)) + settings.gap * y[:, None]
    return Raw(name, one_hot(y, 2), ("low", "high"), np.zeros(60, bool), arrays=x.astype(np.float32))
'''
CONFIG = """# @package _global_
defaults:
  - override /task: classification
  - override /split: examples
  - override /model: softmax
  - _self_
domain: {kind: examples, name: clouds, reader: clouds, source: left, target: right, features: points, standardise: none}
"""
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
near, far = (run([*base, f"+domain.gap={gap}"]).metrics["test"]["accuracy"] for gap in (0.0, 6.0))
print(near, far)
assert near < 0.75 and far > 0.95, (near, far)
for word in ("+domain.gab=1", "+domain.gap=wide"):
    try:
        run([*base, word])
    except TransferError as error:
        print(error)
"""


def test_a_reader_of_an_installed_package_has_settings_of_its_own(tmp_path: Path) -> None:
    files = {
        "clouds_package/clouds.py": READER,
        "clouds_package/conf/domain/clouds.yaml": CONFIG,
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

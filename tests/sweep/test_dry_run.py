"""dry_run=true: what a grid would run is listed, with what is there, memory and time; nothing is run or written."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest
from conftest import Command
from planted import RATING, WORLD, tiny

from transfer.experiment import run_batch
from transfer.experiment.build import load_world
from transfer.experiment.footprint import footprint

GRID = ("-m", *RATING, *WORLD, "method=global_mean,item_bias", "hydra.sweep.dir=S")


def files() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}


def test_a_grid_is_listed_and_nothing_is_run(command: Command) -> None:
    said = command(*GRID, "seed=0,1", "dry_run=true")
    assert said.code == 0, said.err
    assert "4 runs, the rest in 2 programs: 0 s; 2 programs have no earlier run of their kind here" in said.out
    assert [line for line in said.out.splitlines() if line.split()[:2] == ["method=item_bias", "2"]]
    assert files() == {}, "not even the folder"
    assert command(*GRID, "seed=0,1").code == 0
    before = files()
    assert "4 runs, 4 of them there already, the rest in 0 programs" in command(*GRID, "seed=0,1", "dry_run=true").out
    said = command(*GRID, "seed=0,1,2", "dry_run=true")
    assert "6 runs, 4 of them there already, the rest in 2 programs" in said.out
    assert "unknown" not in said.out, "there are earlier runs to guess from"
    assert "4 of them there" not in command(*GRID, "seed=0,1,2", "dry_run=true", "retry=done").out
    assert files() == before


def test_what_cannot_be_listed_is_refused(command: Command) -> None:
    said = command(*GRID, "method=global_mean,item_biass", "dry_run=true")
    assert (said.code, "did you mean item_bias" in said.out) == (2, True)
    said = command(*RATING, *WORLD, "method=item_bias", "dry_run=true")
    assert (said.code, "-m" in said.err) == (2, True)
    said = command("-m", "sweep=auto", *RATING, *WORLD, "dry_run=true")
    assert (said.code, "lists a grid" in said.err) == (2, True)
    assert files() == {}


def test_memory_is_that_of_the_world_and_of_five_times_the_parameters() -> None:
    """Adam's two moments, the best so far, and the parameters that are kept at the end."""
    config = tiny("method=target_only")
    whole, of_run = footprint(config)
    world = load_world(config).world
    assert whole == sum(leaf.nbytes for leaf in jax.tree.leaves(world) if hasattr(leaf, "nbytes"))
    assert of_run == pytest.approx(5 * 4 * run_batch([config])[0].facts["parameters"], rel=0.05)

"""The gap of every run to the reference on the same world and seed, kept in its result.json."""

from __future__ import annotations

from transfer.report.comparison.comparison import Comparison, reference, reference_name
from transfer.report.comparison.runs import Run
from transfer.results.run_folder import RESULT, write_json


def write_gaps(comparison: Comparison) -> None:
    """Into every result.json, where it is new: the test metrics minus those of the reference on the same world and seed."""
    name = reference_name(comparison)
    for run in (run for setting in comparison.settings for run in setting.runs):
        gap = gap_of(run, comparison)
        if gap and run.result.get("gap") != {name: gap}:
            run.result["gap"] = {name: gap}
            write_json(run.folder / RESULT, run.result, flush=False)


def gap_of(run: Run, comparison: Comparison) -> dict[str, float]:
    """Test metrics minus those of the chosen reference on the same world and seed; empty where there is no such run."""
    base = reference(comparison)
    other = next((other for other in base.runs if other.pair == run.pair), None) if base else None
    if other is None:
        return {}
    mine, theirs = (each.result["metrics"].get("test", {}) for each in (run, other))
    both = [name for name in mine if mine[name] is not None and theirs.get(name) is not None]  # AUC may be unknown
    return {name: mine[name] - theirs[name] for name in both}

"""The gaps of every run to the reference and to target_only on the same world and seed, kept in its result.json."""

from __future__ import annotations

from transfer.report.comparison.comparison import Comparison, Setting
from transfer.report.comparison.reference import bases
from transfer.report.comparison.runs import Run
from transfer.results.run_folder import RESULT, write_json


def write_gaps(comparison: Comparison) -> None:
    """Into every result.json, where they are new: `gap` has the differences of the test metrics by the name of a base."""
    named = bases(comparison)
    for setting in comparison.settings:
        others = {name: base_of(setting) for name, base_of in named.items()}
        for run in setting.runs:
            gaps = {name: gap for name, base in others.items() if base and (gap := gap_of(run, base))}
            if gaps and run.result.get("gap") != gaps:
                run.result["gap"] = gaps
                write_json(run.folder / RESULT, run.result, flush=False)


def gap_of(run: Run, base: Setting) -> dict[str, float]:
    """Test metrics minus those of another setting on the same world and seed; empty where it has no such run."""
    other = next((other for other in base.runs if other.pair == run.pair), None)
    if other is None:
        return {}
    mine, theirs = (each.result["metrics"].get("test", {}) for each in (run, other))
    both = [metric for metric in mine if mine[metric] is not None and theirs.get(metric) is not None]  # AUC may be unknown
    return {metric: mine[metric] - theirs[metric] for metric in both}

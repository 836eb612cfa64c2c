"""Studies: a folder that names sweeps, what they should find and what they cost; run again and compared.

A figure agrees where |mean - expected| ≤ 2 · std / √n + floor, with std and n those of the expected runs: two standard
errors, and a floor for what another machine's arithmetic changes.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import yaml
from pydantic import AfterValidator, Field, ValidationError

from transfer.config.domains import Frozen
from transfer.config.schema import describe
from transfer.errors import TransferError
from transfer.report.comparison.average import alone, compare_all
from transfer.report.comparison.compare import UNSAID, full_key
from transfer.report.comparison.comparison import Comparison, Setting
from transfer.report.comparison.reference import preferred
from transfer.report.comparison.runs import Run, read_runs
from transfer.report.comparison.titles import EXAMPLE_SPLITS
from transfer.report.page.tables import markdown, plain
from transfer.storage.trees import write

EXPECTED, COMPARISON = "expected.csv", "comparison.md"
SCHEMA = {"comparison": pl.String, "method": pl.String, "metric": pl.String, "runs": pl.Int64}
SCHEMA |= {"mean": pl.Float64, "std": pl.Float64, "gap": pl.Float64, "verdict": pl.String}


def _word(word: str) -> str:
    """An override that a study may have: others wrote it, so that it names no code to call and no other configuration."""
    key = word.partition("=")[0].lstrip("+~")
    if word.startswith("-") or "_target_" in word or (key.startswith("hydra") and not key.startswith("hydra.sweeper.")):
        raise ValueError(f"{word} is no setting of runs; a study has these, and of Hydra hydra.sweeper alone")
    return word


Word = Annotated[str, AfterValidator(_word)]


class Order(Frozen):
    """`better` must beat `worse` on the test metric, in every comparison of this task whose title has the parts `where`;
    of means over pairs of domains in these, not in every pair."""

    task: str
    better: str
    worse: str
    where: tuple[str, ...] = ()


class Study(Frozen):
    """What study.yaml holds: sweeps by name, each the overrides of one `transfer -m` after those `common` to all; those
    that `quick` replaces in each sweep, and the orderings that hold in both; what the whole study costs, in words; floor
    of the tolerance."""

    title: str
    cost: str
    common: tuple[Word, ...] = ()
    sweeps: dict[str, list[Word]] = Field(min_length=1)
    quick: dict[str, list[Word]]
    order: list[Order]
    floor: float = Field(default=0.001, gt=0)


class Line(NamedTuple):
    """One line of a comparison: what was looked at, what came out, and whether it agrees."""

    what: str
    expected: str
    got: str
    tolerance: str
    agrees: bool


def read_study(folder: Path) -> Study:
    """The study in a folder. Raises TransferError where there is none or it is wrong."""
    path = folder / "study.yaml"
    if not path.exists():
        there = sorted(other.parent.name for other in folder.parent.glob("*/study.yaml"))
        raise TransferError(f"{folder}: no study.yaml here; studies: {', '.join(there) or 'none'}")
    try:
        study = Study.model_validate(yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        line = describe(error) if isinstance(error, ValidationError) else str(error).splitlines()[0]
        raise TransferError(f"{path}: {line}") from None
    if strange := sorted(set(study.quick) - set(study.sweeps)):
        raise TransferError(f"{path}: quick.{strange[0]}: no sweep of that name; sweeps: {', '.join(study.sweeps)}")
    return study


def commands(study: Study, out: Path, quick: bool, more: list[str]) -> dict[str, list[str]]:
    """The arguments of `transfer` for every sweep; `more` overrides of the caller come last."""
    replaced = {name: study.quick.get(name, []) if quick else [] for name in study.sweeps}
    return {
        name: ["-m", *merge([*study.common], [*words, *replaced[name], *more]), f"hydra.sweep.dir={out.resolve() / name}"]
        for name, words in study.sweeps.items()
    }


def merge(words: list[str], later: list[str]) -> list[str]:
    """Overrides with those of the same key replaced: a key given twice would be swept twice."""
    pairs = {word.partition("=")[0]: word for word in words}
    return list((pairs | {word.partition("=")[0]: word for word in later}).values())


def run_study(study: Study, out: Path, quick: bool, more: list[str]) -> list[Run]:
    """Run its sweeps one after another, as the command line would, and read what they left.

    Raises TransferError where a sweep ends with an error of its own (runs that failed are only marked).
    """
    runs: list[Run] = []
    for name, words in commands(study, out, quick, more).items():
        _claim(out / name, words)
        print(f"$ transfer {shlex.join(words)}", flush=True)
        done = subprocess.run([sys.executable, "-m", "transfer", *words], check=False)
        if done.returncode not in (0, 1):  # 1: some of its runs failed
            raise TransferError(
                f"the sweep {name} ended with status {done.returncode}; the same command goes on from there"
            )
        runs.extend(read_runs(out / name))
    return runs


def _claim(sweep: Path, words: list[str]) -> None:
    """Note what runs in a folder. Raises TransferError where another command has left its runs there."""
    note, text = sweep / "command.txt", shlex.join(words) + "\n"
    if note.exists() and note.read_text() != text:
        raise TransferError(f"{sweep} holds the runs of another command; give --out another folder, or remove that one")
    sweep.mkdir(parents=True, exist_ok=True)
    write(note, text.encode())


def figures(comparisons: list[Comparison]) -> pl.DataFrame:
    """The test metric of every method at its chosen setting, with its gap to the reference."""
    rows = []
    for comparison in comparisons:
        for setting in comparison.best:
            summary, gap = setting.summary("test", comparison.metric), comparison.gap(setting.method)
            rest = (gap.paired.difference, gap.verdict) if gap else (None, None)
            std = None if np.isnan(summary.std) else summary.std
            rows.append((comparison.title, setting.method, comparison.metric, summary.n, summary.mean, std, *rest))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def against(expected: pl.DataFrame, got: pl.DataFrame, floor: float) -> list[Line]:
    """A line for every expected figure."""
    figures_now = {_key(row): row for row in got.iter_rows(named=True)}
    lines = []
    for row in expected.iter_rows(named=True):
        key = _key(row)
        other, tolerance = figures_now.get(key), 2 * (row["std"] or 0.0) / max(row["runs"], 1) ** 0.5 + floor
        agrees = other is not None and other["runs"] >= row["runs"] and abs(other["mean"] - row["mean"]) <= tolerance
        shown = "missing" if other is None else f"{other['mean']:.4f} ({other['runs']} runs)"
        wanted = f"{row['mean']:.4f} ({row['runs']} runs)"
        lines.append(
            Line(f"{row['comparison']}: {row['method']}, {row['metric']}", wanted, shown, f"{tolerance:.4f}", agrees)
        )
    return lines


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    """What a figure is a figure of; expected files may call every split of labelled examples by the kind's name."""
    title = re.sub(rf"split ({'|'.join(EXAMPLE_SPLITS)})\b", "split examples", row["comparison"])
    return title, row["method"], row["metric"]


def named(name: str, comparison: Comparison) -> Setting | None:
    """The chosen setting that `METHOD KEY=VALUE ...` names, whatever else varies in a sweep; of several the one that
    validation prefers. Who names no guard means none."""
    method, *parts = name.split(" ")
    wanted = dict(UNSAID) | {full_key(key): value for key, _, value in (part.partition("=") for part in parts)}
    rows = [
        setting
        for setting in comparison.best
        if setting.values.get("method.name") == method
        and all(str(setting.values.get(key, UNSAID.get(key))) == value for key, value in wanted.items())
    ]
    return preferred(rows) if rows else None


def orderings(study: Study, comparisons: list[Comparison]) -> list[Line]:
    """A line for every ordering in every comparison of its task; one that nothing speaks to does not agree."""
    lines = []
    for order in study.order:
        claim = f"{order.better} better than {order.worse}"
        of_task = [
            f for f in alone(comparisons) if f.facts["task"] == order.task and {*order.where} <= {*f.title.split(", ")}
        ]
        for comparison in of_task:
            pair = (named(order.better, comparison), named(order.worse, comparison))
            a, b = (setting.summary("test", comparison.metric).mean if setting else None for setting in pair)
            agrees = a is not None and b is not None and comparison.sign * (a - b) > 0
            figures = "missing" if a is None or b is None else f"{a:.4f} and {b:.4f}"
            lines.append(Line(f"{comparison.title}: {comparison.metric}", claim, figures, "", agrees))
        if not of_task:
            lines.append(Line(f"task {order.task}", claim, "missing", "", False))
    return lines


def comparison_text(title: str, lines: list[Line], comparisons: list[Comparison], runs: list[Run]) -> str:
    """comparison.md: the lines, whatever is outside first said in words, and the tables."""
    outside = [line for line in lines if not line.agrees]
    lost = [run for run in runs if not run.done]
    verdict = f"All {len(lines)} checks agree." if not outside else f"{len(outside)} of {len(lines)} checks do not agree."
    parts = [f"# {title}: run again\n", verdict + (f" {len(lost)} of {len(runs)} runs did not finish." if lost else "")]
    heads = ["what", "expected", "found", "tolerance", "agrees"]
    rows = [heads, ["---"] * len(heads)]
    rows += [[*map(plain, line[:4]), "yes" if line.agrees else "**no**"] for line in lines]
    parts.append("\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")
    rule = "A figure agrees within 2 std / √n of the expected runs plus a floor."
    return "\n".join([*parts, rule + "\n", markdown(comparisons)])


def judge(study: Study, folder: Path, out: Path, runs: list[Run], quick: bool, accept: bool = False) -> tuple[str, bool]:
    """Compare, write comparison.md into `out` (with `accept` expected.csv and table.md into the study): text, all agree.

    Raises TransferError where there is nothing to compare with, and where runs that did not finish would be accepted.
    """
    comparisons = compare_all(runs)
    lost = [run for run in runs if not run.done]
    if accept and (quick or lost or not comparisons):
        why = "a quick run" if quick else f"{len(lost)} of {len(runs)} runs did not finish"
        raise TransferError(f"expected figures come from a whole study, and this is not one: {why}")
    got = figures(comparisons)
    if accept:
        table = got.with_columns(pl.col("mean", "std", "gap").round(6))
        write(folder / EXPECTED, table.write_csv().encode())
        write(folder / "table.md", markdown(comparisons).encode())
    lines = orderings(study, comparisons)
    if not quick:
        if not (folder / EXPECTED).exists():
            raise TransferError(f"{folder}: no {EXPECTED} yet; give --accept to take this run's figures for it")
        lines = [*against(pl.read_csv(folder / EXPECTED, schema=SCHEMA), got, study.floor), *lines]
    text = comparison_text(study.title, lines, comparisons, runs)
    write(out / COMPARISON, text.encode())
    return text, all(line.agrees for line in lines) and not lost

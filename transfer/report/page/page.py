"""The report of a sweep: results.parquet and .csv, table.md, table.tex, and index.html, from its folder alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from transfer.config import selection
from transfer.errors import TransferError
from transfer.report.comparison.average import alone, compare_all, pair_name
from transfer.report.comparison.compare import users_by_group
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.files import CONTROLS, clean, paragraphs, read_choice, read_yaml
from transfer.report.comparison.reference import TARGET_ONLY, bases, reference_name, reference_words
from transfer.report.comparison.runs import Run, read_runs, results_table, shown_name, spreadsheet
from transfer.report.comparison.verdicts import MARGIN
from transfer.report.page import (
    business,
    cost,
    distances,
    distribution,
    figures,
    grid,
    head,
    selectors,
    source,
    source_heatmap,
    source_weights,
    words,
)
from transfer.report.page.ablation import ABLATION_NOTE, ablation
from transfer.report.page.latex import NARROW, latex
from transfer.report.page.tables import leaderboard, lines, markdown, matrix, plain
from transfer.results.run_folder import CHOICE, sweep_name
from transfer.storage.trees import write

PAGE, RECORD = "index.html", "multirun.yaml"
# A sweep over many worlds stays one page: so many comparisons stand open with all their figures, more are folded with those
# that matter; of the others, and of the pairs behind a mean, there are tables.
OPEN, DRAWN, FAILURES = 2, 9, 100
# What is counted of the parts of a world of interactions, and of the domains of labelled examples: key and head.
COLUMNS = {
    "users": {"users": "users", "items": "items", "events": "events"},
    "examples": {"train": "learnt from", "stop": "selecting", "unlabelled": "seen unlabelled", "test": "test"},
}


def write_report(folder: Path, runs: list[Run] | None = None, columns: Sequence[str] = NARROW) -> Path:
    """Write the report into the sweep's folder: the path of its page. columns: of table.tex, see `latex`.

    Raises TransferError where there are no runs, and for a column that no table has.
    """
    runs = read_runs(folder) if runs is None else runs
    if not runs:
        raise TransferError(f"{folder}: no runs here; give the folder of a sweep, which holds 0, 1, 2, ...")
    comparisons = compare_all(runs)
    paper = latex(comparisons, columns)
    table = results_table(runs, folder)
    table.write_parquet(folder / "results.parquet", compression="zstd")
    spreadsheet(table).write_csv(folder / "results.csv")
    texts = {
        "table.md": f"{markdown(comparisons)}{more_markdown(comparisons)}",
        "table.tex": paper,
        PAGE: render(folder, runs, comparisons, DRAWN),
    }
    for name, text in texts.items():
        write(folder / name, CONTROLS.sub(" ", text).encode(errors="replace"))
    return folder / PAGE


def more_markdown(comparisons: list[Comparison]) -> str:
    """What the page says beside the leaderboard: whether the source helps, and what selectors would have chosen."""
    parts = []
    if (worlds := grid.overview(comparisons)) is not None:
        parts.append(f"\n### All worlds\n\n{lines(worlds)}\n")
    for comparison in alone(comparisons):
        if answers := source.sentences(comparison):
            effects = source.table(comparison)
            parts.append(f"\n### Does the source help? {plain(comparison.title)}\n\n{plain(' '.join(answers))}\n")
            parts.append(f"\n{lines(effects)}\n" if effects else "")
        if told := business.sentences(comparison):
            parts.append(f"\n### In business terms: {plain(comparison.title)}\n\n{plain(' '.join(told))}\n")
        if beyond := business.table(comparison):
            parts.append(f"\n### Beyond accuracy: {plain(comparison.title)}\n\n{lines(beyond)}\n")
        if swept := ablation(comparison):
            parts.append(f"\n### All settings: {plain(comparison.title)}\n\n{lines(swept)}\n\n{ABLATION_NOTE}\n")
        if chosen := selectors.table(comparison):
            parts.append(f"\n### Choosing without target labels: {plain(comparison.title)}\n\n{lines(chosen)}\n")
    return "".join(parts)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": words.number, "chance": words.chance}
    environment.globals["ablation_note"] = ABLATION_NOTE
    return environment.get_template("page.html")


def render(folder: Path, runs: list[Run], comparisons: list[Comparison], drawn: int) -> str:
    """The page: one file that needs no other and no network, with figures of the first `drawn` comparisons."""
    outside = alone(comparisons)
    figured = ["all"] * OPEN if len(outside) <= OPEN else ["all", *["main"] * len(outside)]
    sections = [section(each, figured[place] if place < drawn else "") for place, each in enumerate(outside)]
    faults = [
        (shown_name(run, folder), run.status, clean(line), clean(" ".join(_words(run))))
        for run in runs
        for line in ([run.error] if not run.done else run.problems)
    ]
    finished = next((run.result for run in runs if run.done), {})
    took = head.wall(runs)
    return _template().render(
        title=sweep_name(folder),
        question=head.question(comparisons, sweep_name(folder)),
        folder=str(folder),
        outcome=words.outcome(runs),
        ended=head.ended(runs),
        wall="" if took is None else head.spoken(took),
        commits=head.commits(runs),
        run_rows=head.run_rows(runs, folder),
        more_runs=max(0, len(runs) - head.RUNS),
        choice=_choice(folder),
        seconds=head.spoken(cost.seconds(runs)),
        command=command(folder, runs),
        overview=grid.overview(comparisons),
        pictures=[*grid.pictures(comparisons), *source_heatmap.heatmap(comparisons)] if drawn else [],
        sections=sections,
        open=OPEN,
        failures=faults[:FAILURES],
        more_failures=max(0, len(faults) - FAILURES),
        versions={**finished.get("versions", {}), "python": finished.get("python")} if finished else {},
        devices=sorted({run.result["device"] for run in runs if run.result.get("device")}),
    )


def _choice(folder: Path) -> dict[str, Any] | None:
    """What sweep=auto chose, with its numbers as they are shown; None where there is nothing that can be read."""
    try:
        found = read_choice(folder / CHOICE) if (folder / CHOICE).exists() else None
    except TransferError:
        return None
    if found is None:
        return None

    def shown(name: str, value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}" if name in ("gain", "lose") else words.number(value, "+")

    gains = {clean(name): {key: shown(key, value) for key, value in of.items()} for name, of in found.gains.items()}
    return {"paragraphs": paragraphs(found), "gains": gains}


def section(comparison: Comparison, drawn: str) -> dict[str, Any]:
    """What the page shows of one comparison, with `all` its figures, the `main` ones or none."""
    groups: list[tuple[str, list[Any]]] = []
    folded: list[tuple[str, list[Any]]] = []
    if drawn:
        of_test, gained = figures.figures_of_test(comparison), figures.gains(comparison)
        first = [of_test, *gained[: None if drawn == "all" else 1], *distribution.gains_of_readers(comparison)]
        costs = cost.cost(comparison) if drawn == "all" else []
        parts = ["Quality", *([f"gain from {figures.helper(comparison)}"] if len(first) > 1 else [])]
        groups.append((f"{', '.join(parts)}{' and cost' if costs else ''}", [*first, *costs]))
    if drawn == "all":
        example = comparison.members[0] if comparison.members else comparison
        pair = f", {pair_name(example)}" if comparison.members else ""
        # Of a mean over pairs they show one pair: folded, for there is much besides.
        (folded if comparison.members else groups).append(
            (f"Source and target before and after the map{pair}", distances.projections(example))
        )
        groups += [
            ("Sources, one after another", source_weights.curves(comparison)),
            ("Learning curves", [] if comparison.members else figures.learning_curves(comparison)),
            ("Hyper-parameters, judged on validation", figures.hyperparameters(comparison)),
        ]
    return {
        "comparison": comparison,
        "lead": words.lead(comparison),
        "reference": reference_name(comparison),
        "reference_words": reference_words(comparison),
        "beside": TARGET_ONLY in [*bases(comparison)][1:],
        "board": leaderboard(comparison),
        "matrix": matrix(comparison) if comparison.members else None,
        "distances": distances.table(comparison),
        "helps": source.sentences(comparison),
        "effects": source.table(comparison),
        "business": business.sentences(comparison),
        "assumptions": business.assumptions(comparison),
        "beyond": business.table(comparison),
        "beyond_by_group": business.group_table(comparison) if drawn else None,
        "source_weights": source_weights.table(comparison),
        "by_seed": source.by_seed(comparison),
        "by_class": source.by_class(comparison),
        "whole": source.whole(comparison),
        "choices": selectors.table(comparison),
        "ablation": ablation(comparison),
        "members": [(pair_name(each), words.lead(each), leaderboard(each)) for each in comparison.members],
        "pairs": sorted(comparison.pairs, key=lambda pair: pair.paired.p)[:200],
        "groups": users_by_group(comparison) if comparison.unit == "users" else {},
        "margin": f"{MARGIN:.0%}",
        "repeats": comparison.repeats,
        "figures": [(name, some) for name, some in groups if some],
        "folded": [(name, some) for name, some in folded if some],
        "protocol": list(_protocol(comparison)),
        "worlds": [] if comparison.members else _worlds(comparison),
        "columns": COLUMNS[comparison.unit],
    }


def _protocol(comparison: Comparison) -> list[tuple[str, str]]:
    facts = comparison.facts
    split = {key: value for key, value in facts["protocol"]["split"].items() if key != "seed"}
    rows = [("split", clean(", ".join(f"{key} {value}" for key, value in split.items() if value not in ("", None)), 1000))]
    rows += [(clean(key), clean(str(value), 1000)) for key, value in facts["protocol"].items() if key != "split"]
    rows.append(("selection", selection.spoken(facts)))
    if not all(run.result.get("reproducible", True) for run in comparison.runs):
        rows.append(("budget", "seconds of wall-clock (train.seconds): these figures are not reproducible"))
    seeds = sorted({run.result["seed"] for run in comparison.runs if run.done})
    splits = sorted({run.result["split_seed"] for run in comparison.runs if run.done})
    return [*rows, ("seeds", _several(seeds)), ("split seeds", _several(splits))]


def _several(values: list[int]) -> str:
    return ", ".join(map(str, values[:12])) + (f", … ({len(values)})" if len(values) > 12 else "")


def _worlds(comparison: Comparison) -> list[dict[str, Any]]:
    """Parts and their counts of every world of this comparison (one for each split), the first few."""
    worlds = {run.result["fingerprint"]: run.result for run in comparison.runs if run.done}
    rows = []
    for facts in list(worlds.values())[:5]:
        world = facts["world"]
        target, sources = world["target"], world["sources"]
        if comparison.unit == "examples":
            parts = [(f"{target['name']} (target)", target)]
            parts += [(f"{source['name']} (source)", source) for source in sources]
        else:
            parts = [(f"{target['name']}, {part}", target.get(part)) for part in ("train", "valid", "test")]
            parts += [(f"{source['name']} (source)", source.get("train")) for source in sources]
        shared = world.get("users_trained_in_both")
        rows.append(
            {
                "name": f"split seed {facts['split_seed']}",
                "shared": shared if isinstance(shared, int) else None,
                "fingerprint": clean(facts["fingerprint"]),
                "parts": [(clean(name), _counts(part)) for name, part in parts if part],
            }
        )
    return rows


def _counts(part: Any) -> dict[str, int]:
    """What is counted of a part of a world, as far as it is a number."""
    return {key: value for key, value in part.items() if isinstance(value, int)} if isinstance(part, dict) else {}


def command(folder: Path, runs: list[Run]) -> str:
    """The command of this sweep, or a line for each of a study: Hydra's record, or else what the jobs were given."""
    places = list(dict.fromkeys(run.folder.parent for run in runs)) or [folder]
    if all((place / RECORD).exists() for place in places):
        try:
            return "\n".join(_recorded(place / RECORD) for place in places)
        except TransferError:
            pass  # somebody else's record: what the jobs were given says the same
    choices: dict[str, dict[str, None]] = {}
    for run in runs:
        for key, value in run.overrides.items():
            choices.setdefault(key, {})[value] = None
    return clean(shlex.join(["transfer", "-m", *(f"{key}={','.join(values)}" for key, values in choices.items())]), 5000)


def _recorded(path: Path) -> str:
    """The command in Hydra's record of a multirun, as it was written: nothing is resolved. Raises TransferError."""
    value = read_yaml(path)
    given = value.get("hydra", {}) if isinstance(value, dict) else {}
    lists = given.get("overrides", {}) if isinstance(given, dict) else {}
    words = [lists.get(key, []) for key in ("task", "hydra")] if isinstance(lists, dict) else []
    if not words or not all(isinstance(part, list) and all(isinstance(word, str) for word in part) for part in words):
        raise TransferError(f"{path.name}: no overrides of a multirun")
    task, own = words
    return clean(shlex.join(["transfer", "-m", *task, *(word for word in own if not word.startswith("hydra.mode="))]), 5000)


def _words(run: Run) -> list[str]:
    return [f"{key}={value}" for key, value in run.overrides.items()]

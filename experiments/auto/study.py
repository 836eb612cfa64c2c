"""What sweep=auto chooses, and what else could have been chosen, in many worlds.

python experiments/auto/study.py measure DATA FOLDER KIND...    a line of FOLDER/worlds.jsonl for each world of these kinds
python experiments/auto/study.py tables FOLDER/worlds.jsonl     the tables of the README, as Markdown

Every candidate is fitted on five folds and once on all but the test, which no choice sees. A world that is in worlds.jsonl
already is not measured again.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import asked
from order import described
from worlds import World, worlds

from transfer.auto.decision import Candidate, Decision, contenders, decide, gain
from transfer.auto.ensemble import Fold, folds_of
from transfer.auto.mixtures import mixtures_of
from transfer.composing import compose
from transfer.config import selection
from transfer.config.schema import Config
from transfer.config.splits import Split
from transfer.errors import TransferError
from transfer.experiment.run import Result, run_batch
from transfer.learning.gate import TRAITS, tilted
from transfer.report.comparison.per_user import column_of
from transfer.report.comparison.runs import Run, read_runs
from transfer.results.run_folder import PER_USER, VALID_PER_USER

KINDS = ("digits", "simulated", "amazon", "epinions", "goodbooks", "reviews")
FOLDS, DIVISIONS, MEMBERS = 5, 5, 6
BUDGETS = (0.1, 0.3, 1.0)


class Measured(NamedTuple):
    """A candidate on its folds and on the test, its result there, and the seconds of all folds with compilation."""

    valid: Candidate
    test: Candidate
    result: Result
    seconds: float


def measure(data: str, folder: Path, kinds: Sequence[str]) -> None:
    """Append a line to worlds.jsonl for every world of these kinds that is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "worlds.jsonl"
    there = {json.loads(line)["name"] for line in path.read_text().splitlines()} if path.exists() else set()
    for world in worlds():
        if world.kind not in kinds or world.name in there:
            continue
        began = time.perf_counter()
        try:
            found = of_world(world, data, folder / "runs")
        except TransferError as error:
            found = {"error": str(error)}
        line = {"name": world.name, "kind": world.kind, **world.facts, **found, "seconds": time.perf_counter() - began}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        shutil.rmtree(folder / "runs", ignore_errors=True)
        print(f"{world.name}: {line['seconds']:.1f} s, {found.get('chosen', found)}", flush=True)


def of_world(world: World, data: str, folder: Path) -> dict[str, Any]:
    """Everything that is chosen in a world, with its test value."""
    measured = {}
    for words in world.candidates:
        try:
            measured[" ".join(words)] = candidate(world, words, data, folder)
        except TransferError as error:
            print(f"{world.name}, {' '.join(words)}: {error}", flush=True)
    if all(one.valid.uses_source for one in measured.values()):
        raise TransferError("no candidate without a source has ended")
    if world.kind in ("digits", "reviews"):  # few labels: two of them again, as sweep=auto does
        for one in contenders([one.valid for one in measured.values()]):
            known = measured[" ".join(one.words)]
            runs = [*one.runs, *folds_run(world, one.words, data, folder, range(len(one.runs), DIVISIONS * len(one.runs)))]
            measured[" ".join(one.words)] = known._replace(valid=one._replace(runs=runs))
    tried = [one.valid for one in measured.values()]
    began = time.perf_counter()
    mixtures = mixtures_of(tried, MEMBERS)
    overhead = time.perf_counter() - began
    tests = {one.valid.name: one.test for one in measured.values()}
    values = {name: own(one) for name, one in tests.items()}
    together = on_test(mixtures, measured)
    decision = decide(tried, mixtures)
    chosen, reference = (tests.get(one.name) or together[one.name] for one in (decision.chosen, decision.reference))
    against = gain(of_one_test(chosen), of_one_test(reference)) if chosen is not reference else None
    everything = values | {name: own(one) for name, one in together.items()}
    first = next(iter(measured.values())).result.predictor.loaded.world
    about = {"described": described(first)} if world.task == "ranking" else {}
    total = sum(one.seconds for one in measured.values())
    spent = np.cumsum([one.seconds for one in measured.values()])
    return {
        "candidates": {
            name: {
                "source": one.valid.uses_source,
                "folds": [selection.score(run.result) for run in one.valid.runs],
                "test": values[one.valid.name],
                "seconds": one.seconds,
            }
            for name, one in measured.items()
        },
        "variants": {name: everything[of.name] for name, of in variants(tried, mixtures, decision).items()}
        | {
            f"budget {share:g}": everything[decide(some, []).chosen.name]
            for share in BUDGETS
            if (some := _first(tried, spent, share * total)) and not all(one.uses_source for one in some)
        },
        "mixtures": {
            "gate" if "method.gate=true" in one.candidate.words else "ensemble": {
                "gain": one.gain._asdict(),
                "test": everything[one.candidate.name],
                "best": everything[one.best.name],
            }
            for one in decision.mixtures
        },
        **about,
        "chosen": decision.chosen.name,
        "transfer": decision.chosen.uses_source,
        "reference": values[decision.reference.name],
        "against": against._asdict() if against else None,
        "mixing": overhead,
    }


def candidate(world: World, words: Sequence[str], data: str, folder: Path) -> Measured:
    """The runs of a candidate. Raises TransferError where it does not fit the world."""
    config = compose([*world.words, *words, f"data_dir={data}", "train.progress=false"])
    began = time.perf_counter()
    runs = folds_run(world, words, data, folder, range(folds_in(config)))
    seconds = time.perf_counter() - began
    place = _place(folder)
    result, tested = _tested(config, place / "0"), read_runs(place)
    if not all(run.done for run in tested):
        raise TransferError("a run has diverged")
    return Measured(
        Candidate(tuple(words), runs, VALID_PER_USER), Candidate(tuple(words), tested, PER_USER), result, seconds
    )


def folds_run(world: World, words: Sequence[str], data: str, folder: Path, numbers: Iterable[int]) -> list[Run]:
    """The runs of a candidate on these folds. Raises TransferError where it does not fit the world."""
    config = compose([*world.words, *words, f"data_dir={data}", "train.progress=false"])
    place = _place(folder)
    for fold in numbers:
        split = config.split.model_copy(update={"folds": folds_in(config), "fold": fold, **room(config)})
        run_batch([config.model_copy(update={"split": split, "test": False})], [place / f"{fold:03}"])
    runs = sorted(read_runs(place), key=lambda run: run.folder.name)
    if not all(run.done for run in runs):
        raise TransferError("a run has diverged")
    return runs


def room(config: Config) -> dict[str, float]:
    """Of readers: the folds have the shape of a fit on all of them."""
    return {"valid": 0.0} if isinstance(config.split, Split) else {}


def folds_in(config: Config) -> int:
    """No more of few labels than there are of a class."""
    labels = getattr(config.split, "target_labels", None)
    return min(FOLDS, labels) if isinstance(labels, int) else FOLDS


def _place(folder: Path) -> Path:
    return folder / str(len(list(folder.glob("*"))) if folder.exists() else 0)


def _tested(config: Config, place: Path) -> Result:
    """The last fit, on the validation part too where nothing is selected by it."""
    of_folds = {"folds": folds_in(config)} if room(config) else {}
    split = config.split.model_copy(update={"valid": 0.0, **of_folds})
    whole = config.model_copy(update={"split": split, "seed": 1})
    try:
        return run_batch([whole], [place])[0]
    except TransferError:
        shutil.rmtree(place, ignore_errors=True)
        return run_batch([config.model_copy(update={"seed": 1})], [place])[0]


def on_test(mixtures: list[Candidate], measured: dict[str, Measured]) -> dict[str, Candidate]:
    """The mixtures on the test part: the scores of their members' last fits in the shares that were chosen."""
    found = {}
    for one in mixtures:
        said = next(word for word in one.words if word.startswith("method.members=")).partition("=")[2]
        members = [next(m for m in measured.values() if m.valid.name == name) for name in json.loads(said)]
        (fold,) = folds_of([[member.result] for member in members], "test")
        column = column_of(one.runs[0].result["select"]["metric"])
        rows = fold.readers._replace(values={column: fold.gated(shares(one, fold, len(members)))})
        found[one.name] = one._replace(runs=[members[0].test.runs[0]], nested={members[0].test.runs[0].pair: rows})
    return found


def of_one_test(one: Candidate) -> Candidate:
    """Last fits with and without a validation part are tested on the same readers, by splits of other fingerprints."""
    (table,) = one.tests().values()
    return one._replace(nested={("test", 1): table})


def shares(one: Candidate, fold: Fold, count: int) -> np.ndarray:
    """Of each reader [readers, members]."""
    numbers = {
        key: float(value) for key, _, value in (w.removeprefix("hp.").partition("=") for w in one.words if w[:3] == "hp.")
    }
    weights = np.array([numbers[f"weight_{place}"] for place in range(1, count + 1)])
    slopes = np.array([numbers.get(f"gate_{name}", 0.0) for name in TRAITS])
    return np.asarray(tilted(weights / weights.sum(), slopes, fold.traits))


def variants(tried: list[Candidate], mixtures: list[Candidate], decision: Decision) -> dict[str, Candidate]:
    """What is chosen by other rules, by name."""
    first = [one._replace(runs=one.runs[:1]) for one in tried]
    place = {id(short): one for short, one in zip(first, tried, strict=True)}
    gates = [one for one in mixtures if "method.gate=true" in one.words]
    ensembles = [one for one in mixtures if "method.gate=true" not in one.words]
    return {
        "auto": decision.chosen,
        "without mixtures": decide(tried).chosen,
        "near the surest, in order": near_the_surest(tried, decision),
        "without gate": decide(tried, ensembles).chosen,
        "without ensemble": decide(tried, gates).chosen,
        "without bound": max([*tried, *mixtures], key=lambda one: one.score),
        "best of 5 folds": max(tried, key=lambda one: one.score),
        "best of 1 fold": place[id(max(first, key=lambda one: one.score))],
        "1 fold with bound": next(one for one in tried if one.words == decide(first).chosen.words),
        "without source": decision.reference,
    }


def near_the_surest(tried: list[Candidate], decision: Decision) -> Candidate:
    """The rule before: the first within a standard error of the surest, or the surest of mixtures that are surely better
    than the best alone."""
    gains = decision.gains
    better = [one for one in tried if one.uses_source and gains[one.name].low > 0]
    sure = [mixed for mixed in decision.mixtures if mixed.gain.low > 0]
    sure = [mixed for mixed in sure if not mixed.candidate.uses_source or gains[mixed.candidate.name].low > 0]
    if sure:
        return max(sure, key=lambda mixed: mixed.gain.low).candidate
    if not better:
        return decision.reference
    first = gains[max(better, key=lambda one: gains[one.name].low).name]
    return next(one for one in better if gains[one.name].mean >= first.mean - first.error)


def own(one: Candidate) -> float:
    """The metric on the test part, higher is better."""
    if one.nested is None:
        run: Run = one.runs[0]
        how = run.result["select"]
        value = run.metric("test", how["metric"])
        return math.nan if value is None else how["sign"] * float(value)
    return one.score


def _first(tried: list[Candidate], spent: np.ndarray, seconds: float) -> list[Candidate]:
    return [one for one, until in zip(tried, spent, strict=True) if until <= seconds + 1e-9] or tried[:1]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The worlds that were measured without an error."""
    for line in path.read_text().splitlines():
        found = json.loads(line)
        if "error" not in found:
            yield found


if __name__ == "__main__":
    words = asked(__doc__, "FOLDER", KINDS)
    if words.what == "measure":
        measure(words.data, words.out, words.kinds)
    else:
        from tables import tables

        print(tables(list(read(words.file))))

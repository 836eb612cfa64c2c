"""A fair comparison: equally many trials for every method, chosen on validation; only the chosen setting is tested.

With `rungs` the trials of a batch begin with a small budget, and those that Optuna's pruner lets live go on to the next one
(successive halving). A rung is a run of its own, from the start, so that schedules have the length of its budget. With
`folds` a trial is a run for each of them, and its figure their mean.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf

from transfer.config import selection
from transfer.console import console
from transfer.errors import TransferError, missing
from transfer.registry import current
from transfer.results import run_folder
from transfer.sweep.plan import TUNED

TRIAL_SEED = 0  # of all trials; the tests use 1, 2, ...


class Cell(NamedTuple):
    """One combination of the choices given on the command line: its overrides, its search space, its study, and the
    overrides of every rung's budget (of the last, which is all of it, none)."""

    words: list[str]
    space: list[Override]
    study: Any
    budgets: list[list[str]]

    @property
    def trials(self) -> int:
        """Without a space there is nothing to try."""
        return 0 if not self.space else len(self.study.trials)


Tried = tuple[Cell, Any, list[str]]  # a trial and its overrides


def fair(sweeper: Any, arguments: list[str]) -> list[Any]:
    """Tune and test every combination; returns what the launcher returned, batch by batch.

    The same command finds its finished runs again: suggestions depend on the sampler's seed and on results only.
    Raises TransferError where Optuna is missing or a space is not one.
    """
    folder = Path(sweeper.config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(sweeper.config, folder / "multirun.yaml")
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    overrides = parser.parse_overrides(arguments)
    if any(override.key_or_group == "seed" for override in overrides):
        raise TransferError("sweep=fair has seeds of its own: leave `seed` out and say how many, hydra.sweeper.seeds=3")
    (combinations,) = sweeper.split_arguments(overrides, None)
    cells = [_cell(sweeper, parser, list(words)) for words in combinations]
    folds = _folds(sweeper)
    returns, count, stopped = [], 0, 0
    while any(cell.space and cell.trials < sweeper.trials for cell in cells):
        asked = [
            (cell, cell.study.ask())
            for cell in cells
            for _ in range(min(sweeper.batch, sweeper.trials - cell.trials) if cell.space else 0)
        ]
        given = [(cell, trial, [*_suggest(trial, cell.space), f"seed={TRIAL_SEED}", "test=false"]) for cell, trial in asked]
        for rung in range(sweeper.rungs):
            if not given:
                break
            jobs = [[*cell.words, *words, *cell.budgets[rung], *fold] for cell, _, words in given for fold in folds]
            returns.append(sweeper.launcher.launch(jobs, initial_job_idx=count))
            scores = [selection.score(run_folder.read_result(folder / str(count + i))) for i in range(len(jobs))]
            values = [fmean(scores[i : i + len(folds)]) for i in range(0, len(jobs), len(folds))]
            kept = _judged(given, values, rung, sweeper)
            count += len(jobs)
            stopped += len(given) - len(kept) if rung + 1 < sweeper.rungs else 0
            given = kept
    chosen = [[*cell.words, *_best(cell), *_tuned(cell)] for cell in cells]
    console.print(
        f"{sum(cell.trials for cell in cells)} trials are done"
        + (f", {stopped} of them ended early" if sweeper.rungs > 1 else "")
        + f"; the chosen settings go to the test, {sweeper.seeds} seeds each",
        highlight=False,
    )
    seeds = range(TRIAL_SEED + 1, TRIAL_SEED + 1 + sweeper.seeds)
    jobs = [[*words, f"seed={seed}"] for words in chosen for seed in seeds]
    returns.append(sweeper.launcher.launch(jobs, initial_job_idx=count))
    return returns


def _cell(sweeper: Any, parser: OverridesParser, words: list[str]) -> Cell:
    try:
        import optuna
    except ImportError:
        raise missing("sweep=fair", "optuna", "optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = dict(word.split("=", 1) for word in words)
    method = current("methods", given.get("method", "target_only"))
    space = parser.parse_overrides([w for w in sweeper.spaces.get(method) or [] if w.partition("=")[0] not in given])
    sampler = optuna.samplers.TPESampler(seed=sweeper.sampler_seed, n_startup_trials=sweeper.batch)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=sweeper.reduction)
    study = optuna.create_study(sampler=sampler, pruner=pruner, direction="maximize")
    return Cell(words, space, study, _budgets(sweeper, words))


def _folds(sweeper: Any) -> list[list[str]]:
    """The overrides of every fold; of one, none: the split's own validation part. Raises TransferError for none at all."""
    many = sweeper.folds
    if many < 1:
        raise TransferError(f"hydra.sweeper.folds={many}: write 1 or more")
    return [[]] if many == 1 else [[f"split.folds={many}", f"split.fold={fold}"] for fold in range(many)]


def _budgets(sweeper: Any, words: list[str]) -> list[list[str]]:
    """The overrides of every rung: a power of 1 / reduction of the steps or epochs; none for the last rung, the whole."""
    if sweeper.rungs == 1:
        return [[]]
    train = sweeper.hydra_context.config_loader.load_sweep_config(sweeper.config, words).train
    key = "epochs" if train.steps is None else "steps"
    parts = [math.ceil(train[key] / sweeper.reduction**left) for left in range(sweeper.rungs - 1, 0, -1)]
    return [*([f"train.{key}={part}"] for part in parts), []]


def _suggest(trial: Any, space: list[Override]) -> list[str]:
    """The overrides of a trial. Raises TransferError for a value that is no search space."""
    words = []
    for override in space:
        name, value = override.get_key_element(), override.value()
        if isinstance(value, IntervalSweep):
            log = "log" in value.tags
            number: Any = trial.suggest_float(name, value.start, value.end, log=log)
        elif isinstance(value, RangeSweep):
            number = trial.suggest_int(name, value.start, (value.stop or 0) - 1, step=value.step)
        elif override.is_choice_sweep():
            number = trial.suggest_categorical(name, list(override.sweep_string_iterator()))
        else:
            raise TransferError(f"{override.input_line}: write interval(a, b), tag(log, interval(a, b)), choice or range")
        words.append(f"{name}={number}")
    trial.set_user_attr("words", words)
    return words


def _judged(given: list[Tried], values: list[float], rung: int, sweeper: Any) -> list[Tried]:
    """Tell every study how good its trials were on validation: those that go on. Without a figure (NaN) one has failed.

    Optuna judges a trial against those that reported before it. In the order best, losers, other winners its judgement is
    that on a whole rung: the best n / reduction go on.
    """
    from optuna.trial import TrialState

    kept: list[int] = []
    for study in dict.fromkeys(cell.study for cell, _, _ in given):
        own = [i for i, (cell, _, _) in enumerate(given) if cell.study is study]
        for i in own:
            if values[i] != values[i]:
                study.tell(given[i][1], state=TrialState.FAIL)
            elif rung + 1 == sweeper.rungs:
                study.tell(given[i][1], values[i])
        if rung + 1 == sweeper.rungs:
            continue
        ranked = sorted((i for i in own if values[i] == values[i]), key=lambda i: -values[i])
        winners = max(1, len(ranked) // sweeper.reduction)
        for i in ranked[:1] + ranked[winners:] + ranked[1:winners]:
            trial = given[i][1]
            trial.report(values[i], step=sweeper.reduction**rung)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
            else:
                kept.append(i)
    return [given[i] for i in sorted(kept)]


def _best(cell: Cell) -> list[str]:
    """The overrides of the best trial; none where nothing was tried or every trial failed (its runs then say why)."""
    try:
        return list(cell.study.best_trial.user_attrs["words"])
    except ValueError:
        return []


def _tuned(cell: Cell) -> list[str]:
    """Which keys were chosen: runs of one method that differ in these alone, say from split to split, are one setting."""
    return [f"+{TUNED}=[{','.join(override.key_or_group for override in cell.space)}]"] if cell.space else []

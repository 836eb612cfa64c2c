"""The candidates of sweep=auto, one after another until the budget is spent; then the choice and its one test."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from transfer.auto import words as told
from transfer.auto.decision import Candidate, contenders, decide, gain, name, without_labels
from transfer.auto.mixtures import mixtures_of
from transfer.config.schema import Config
from transfer.config.selection import ORACLE
from transfer.config.splits import FOLDED, ExampleSplit
from transfer.data.examples.world import ExamplesWorld
from transfer.data.interactions.world import World, asked_users
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task, load_world
from transfer.experiment.unlabelled_selection import is_unlabelled
from transfer.report.comparison.runs import read_runs
from transfer.results.run_folder import CHOICE, PER_USER, VALID_PER_USER, write_json
from transfer.sweep.plan import plan

CHOSEN = "chosen"
SEED = 0
WHOLE = "split.valid=0"
TARGET = "method.domains=target"
LAST = "train.keep=last"  # few labelled examples cannot say where to stop and how good that is
SELECTOR = "source_valid"  # where the target has no labels: of those in our studies the one whose worst choice costs least


END = 0.2  # of the budget's seconds: for the ensemble, the gate and the last fits


class Budget(NamedTuple):
    """Wall-clock seconds for all of it, and the most candidates; None: as many as there are."""

    seconds: float | None = None
    runs: int | None = None


def auto(sweeper: Any, arguments: list[str]) -> list[Any]:
    """Try the candidates, choose, test the chosen one and the best without a source once, and say what was found.

    Raises TransferError for a command that leaves nothing to choose, or gives more than one world.
    """
    folder = Path(sweeper.config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(sweeper.config, folder / "multirun.yaml")
    budget, given = budget_of(arguments)
    for word in given:
        key, _, value = word.partition("=")
        if key in ("method", "seed", "test", "split.folds", "split.fold"):
            raise TransferError(f"sweep=auto sets {key} itself: leave {word} out")
        if word == f"select={ORACLE}":
            raise TransferError(f"{word}: sweep=auto never sees a test label before it has chosen; leave it out")
        if "," in value and not value.startswith(("[", "{", "'", '"')):
            raise TransferError(f"{word}: sweep=auto decides for one world; give {key} one value")
    began = time.perf_counter()
    default = _configs(sweeper, [given])[0]
    folds = _folds(sweeper, default)
    applying, left_out, world = _applying(sweeper, default.task.name, [*given, *folds[0]])
    unlabelled = is_unlabelled(world)
    if isinstance(world, ExamplesWorld):
        usual = f"select={SELECTOR}" if unlabelled else LAST
        given = [*given, *([] if any(word.split("=")[0] == usual.split("=")[0] for word in given) else [usual])]
    returns: list[Any] = []
    tried: list[Candidate] = []
    not_reached: list[list[str]] = []

    def left(share: float) -> float:
        """Seconds that are left of this share of the budget."""
        return math.inf if budget.seconds is None else share * budget.seconds - (time.perf_counter() - began)

    for place, words in enumerate(applying):
        if place >= (budget.runs or math.inf) or (tried and left(1 - END) < 0):
            not_reached.append(words)
            continue
        jobs = _jobs(given, words, folds)
        first = place * len(folds)
        returns.append(sweeper.launcher.launch(jobs[:1], initial_job_idx=first))
        runs = _of(folder, first, 1)  # alone: it compiles for all folds, and what it is refused for, they would be
        if len(jobs) > 1 and all(run.done for run in runs):
            if tried and left(1 - END) < sum(run.seconds or 0.0 for run in runs) * (len(jobs) - 1):
                not_reached.append(words)
                continue
            returns.append(sweeper.launcher.launch(jobs[1:], initial_job_idx=first + 1))
            runs = _of(folder, first, len(jobs))
        if len(runs) == len(folds) and all(run.done for run in runs):
            tried.append(Candidate(tuple(words), runs, VALID_PER_USER))
        else:
            left_out[name(words)] = next((run.error for run in runs if not run.done), "it left no result")
    if not tried or (not unlabelled and all(one.uses_source for one in tried)):
        raise TransferError("sweep=auto: no method without a source has ended, so nothing can be measured against it")
    first = len(applying) * len(folds)
    again = [] if unlabelled else _again(sweeper, default, len(folds))
    for one in contenders(tried) if again else []:
        if left(1 - END) < one.seconds * len(again) / len(folds):
            break
        returns.append(sweeper.launcher.launch(_jobs(given, one.words, again), initial_job_idx=first))
        more = _of(folder, first, len(again))
        if len(more) == len(again) and all(run.done for run in more):
            tried[tried.index(one)] = one._replace(runs=[*one.runs, *more])
        first += len(again)
    mixtures: list[Candidate] = []
    try:
        mixtures = [] if unlabelled or left(1) < 0 else mixtures_of(tried, sweeper.members)
    except TransferError as error:
        left_out["ensemble"] = str(error)
    decision = without_labels(tried) if unlabelled else decide(tried, mixtures)
    final = list({one.words: one for one in (decision.chosen, decision.reference)}.values())
    jobs = [[*given, *one.words, f"seed={SEED + 1}"] for one in final]
    of_folds = folds[0][:1] if WHOLE in folds[0] else []  # of their shape, so that what was compiled for them serves it
    on_all = [[*job, *of_folds, WHOLE] for job in jobs]
    if whole := not unlabelled and _can_do_without(sweeper, on_all):
        jobs = on_all
    returns.append(sweeper.launcher.launch(jobs, initial_job_idx=first))
    tested = [Candidate(one.words, _done(folder, first + i), PER_USER, one.called) for i, one in enumerate(final)]
    report = told.report(
        decision,
        tested,
        gain(tested[0], tested[-1]) if len(tested) > 1 and all(one.runs for one in tested) else None,
        tried=len(tried),
        folds=len(folds),
        left_out=left_out,
        not_reached=[name(words) for words in not_reached],
        whole=whole,
        seconds=time.perf_counter() - began,
    )
    write_json(folder / CHOICE, report)
    link = folder / CHOSEN  # a run like any other; the report counts it once
    link.unlink(missing_ok=True)
    link.symlink_to(str(first))
    return returns


def budget_of(arguments: list[str]) -> tuple[Budget, list[str]]:
    """`budget.seconds` and `budget.runs`, and the other words. Raises TransferError for another key or no such number."""
    found: dict[str, Any] = {}
    for word in (word for word in arguments if word.startswith("budget.")):
        key, _, value = word.removeprefix("budget.").partition("=")
        if key not in Budget._fields:
            raise TransferError(f"budget.{key}: no such key; a budget has seconds and runs")
        try:
            found[key] = float(value) if key == "seconds" else int(value)
        except ValueError:
            raise TransferError(f"{word}: write a number") from None
        if not found[key] > 0:
            raise TransferError(f"{word}: write a number above 0")
    return Budget(**found), [word for word in arguments if not word.startswith("budget.")]


def _configs(sweeper: Any, jobs: list[list[str]]) -> list[Config]:
    """The configurations of jobs. Raises TransferError for the first that has none."""
    planned = _planned(sweeper, jobs)
    if error := next((job.error for job in planned if job.error), None):
        raise TransferError(error)
    return [job.config for job in planned if job.config]


def _planned(sweeper: Any, jobs: list[list[str]]) -> list[Any]:
    loader, config = sweeper.hydra_context.config_loader, sweeper.config
    return plan(lambda words: loader.load_sweep_config(config, words), jobs, 0, Path(config.hydra.sweep.dir))


def _applying(sweeper: Any, task: str, given: list[str]) -> tuple[list[list[str]], dict[str, str], Any]:
    """The candidates that fit the task and the world, in their order; why others do not; the world. Raises TransferError
    for none."""
    candidates = [str(words).split() for words in sweeper.candidates.get(task, [])]
    if not candidates:
        known = ", ".join(sweeper.candidates)
        raise TransferError(f"sweep=auto has no candidates for task={task}; it has some for {known}")
    world, left_out, applying = None, {}, []
    for words, job in zip(candidates, _planned(sweeper, [[*given, *words] for words in candidates]), strict=True):
        error = job.error
        if job.config:
            world = world or load_world(job.config).world
            try:
                build_program(job.config, world, build_task(job.config, world))
                if TARGET in words and _are_new(world):
                    raise TransferError("who is asked is new to the target, and it knows nobody by anything else")
                applying.append(words)
            except TransferError as reason:
                error = str(reason)
        if error:
            left_out[name(words)] = error
    if not applying:
        raise TransferError(f"sweep=auto: no candidate fits; {next(iter(left_out.values()))}")
    return applying, left_out, world


def _are_new(world: Any) -> bool:
    """Whether nobody who is asked in validation has an event in the target."""
    return isinstance(world, World) and not asked_users(world, world.valid)["history"].any()


def _folds(sweeper: Any, config: Config) -> list[list[str]]:
    """The overrides of every fold, with room for a fit on all of them; none of them where the split draws nobody, or the
    target has no labels: what selects is the validation part. Few labelled examples have no more folds than there are of a
    class.

    Raises TransferError for fewer than two folds.
    """
    count, split = sweeper.folds, config.split
    if split.name not in FOLDED and not (isinstance(split, ExampleSplit) and split.target_labels):
        return [[]]
    if count < 2:
        raise TransferError(f"hydra.sweeper.folds={count}: sweep=auto judges by folds; write 2 or more")
    if isinstance(split, ExampleSplit) and isinstance(split.target_labels, int):
        count = min(count, split.target_labels)
    room = [] if isinstance(split, ExampleSplit) else [WHOLE]
    return [[f"split.folds={count}", f"split.fold={fold}", *room] for fold in range(count)]


def _again(sweeper: Any, config: Config, folds: int) -> list[list[str]]:
    """The folds of further divisions of few labelled examples; none of anything else, of which there is enough."""
    if not isinstance(config.split, ExampleSplit) or not isinstance(config.split.target_labels, int):
        return []
    return [[f"split.folds={folds}", f"split.fold={fold}"] for fold in range(folds, sweeper.divisions * folds)]


def _jobs(given: list[str], words: Sequence[str], folds: list[list[str]]) -> list[list[str]]:
    return [[*given, *words, f"seed={SEED}", "test=false", *fold] for fold in folds]


def _can_do_without(sweeper: Any, jobs: list[list[str]]) -> bool:
    """Whether all of these can learn from the validation part too: none of them selects by it, as what stops early does."""
    for job in _planned(sweeper, jobs):
        try:
            if job.config is None:
                return False
            world = load_world(job.config).world
            build_program(job.config, world, build_task(job.config, world))
        except TransferError:
            return False
        if int(world.valid.n_events):  # a rule without such a share
            return False
    return True


def _of(folder: Path, first: int, count: int) -> list[Any]:
    numbers = {str(first + i) for i in range(count)}
    return [run for run in read_runs(folder) if run.folder.name in numbers]


def _done(folder: Path, number: int) -> list[Any]:
    return [run for run in _of(folder, number, 1) if run.done]

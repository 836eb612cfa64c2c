"""Composing, running and sweeping from Python as from the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer.composing import compose, composed, spelled_out

if TYPE_CHECKING:
    import polars as pl

    from transfer.data.given import Domain
    from transfer.experiment import Result
    from transfer.experiment.evaluate_log import LogReport
    from transfer.experiment.online_test import OnlineReport
    from transfer.report.sweep_result import SweepResult


def domain(
    x: Any = None, y: Any = None, *, events: Any = None, examples: Any = None, items: Any = None, **settings: Any
) -> Domain:
    """A domain in memory, for `run(…, source=…, target=…)`: arrays, or a frame of Polars or pandas.

    x, y: labelled examples, numbers [n, …], texts or a sparse matrix, with a class for each (None or NaN: not known; no y:
    of none). examples: a frame of them; settings: label, text, x, where, … as `domain=examples` has them. events: a frame
    of users, items, ratings and times, items: one of the items; settings: user, item, rating, scale, positive, … as
    `domain=files` has them. name: what it is called. Raises TransferError for settings that there are not.
    """
    from pydantic import ValidationError

    from transfer.config.domains import Files
    from transfer.config.labelled import ExampleFile
    from transfer.config.schema import describe
    from transfer.data.given import Domain, of_arrays, of_frame
    from transfer.errors import TransferError

    if examples is not None and x is not None:
        settings, x = {**settings, "x": x}, None
    if sum(given is not None for given in (x, events, examples)) != 1:
        raise TransferError("a domain is one of x=ARRAY (with y=LABELS), events=FRAME or examples=FRAME")
    if y is not None and x is None:
        raise TransferError("y= goes with x=ARRAY; of a frame name the column with label=COLUMN")
    if items is not None and events is None:
        raise TransferError("items= goes with events=FRAME")
    path, content = of_arrays(x, y) if x is not None else of_frame(events if events is not None else examples)
    contents: dict[str, Any] = {path: content}
    if items is not None:
        place, contents_of_items = of_frame(items)
        contents[place] = contents_of_items
        settings = {**settings, "items": {"path": place}}
    given = {"path": path, "name": settings.pop("name", "") or "memory", **settings}
    try:
        (Files if events is not None else ExampleFile).model_validate(given)
    except ValidationError as error:
        raise TransferError(describe(error, given=given)) from None
    return Domain("files" if events is not None else "examples", given, contents)


def run(
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    *,
    source: Domain | Sequence[Domain] | None = None,
    target: Domain | None = None,
) -> Result:
    """Run one configuration: `run(["method=emcdr", "seed=3"])`.

    overrides: as on the command line. folder: where to leave a run folder; None writes nothing. source, target: domains of
    the world that `domain(…)` made of arrays or frames. The result has `status`, `metrics` ({"valid": {...}, "test":
    {...}}), `parameters` by stage and a `predictor` with `score(users, items)` and `recommend(users, k)`. Raises
    TransferError, one line, for bad settings or data.
    """
    from transfer.experiment import run_batch
    from transfer.results.trackers import copies

    config = compose([*overrides, *_words_of(overrides, source, target)])
    copied = folder is not None and copies.wanted(config.track)
    with _told_how_to_go_on("run", overrides, folder):
        result = run_batch([config], [Path(folder)] if folder is not None else None)[0]
    if result.folder and copied:
        copies.copy_run(result.folder)
    return result


def sweep(
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    *,
    source: Domain | Sequence[Domain] | None = None,
    target: Domain | None = None,
) -> SweepResult:
    """Run every combination: `sweep(["method=target_only,cmf", "seed=0,1,2"])`, as `transfer -m` does with `sweep=grid`.

    folder: where the runs are left, and found again by the same call; None: a folder that goes with the result. Raises
    TransferError, one line, before anything runs where a choice fits nothing.
    """
    import shutil
    import tempfile

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from transfer.errors import TransferError, one_line
    from transfer.report.sweep_result import SweepResult
    from transfer.sweep.grid import combinations
    from transfer.sweep.launch import note_words, run_jobs
    from transfer.sweep.plan import plan, wrong_choices

    words = spelled_out([*overrides, *_words_of(overrides, source, target)])
    if strange := [word for word in words if word.startswith(("sweep=", "hydra.", "sweep."))]:
        raise TransferError(f"{strange[0]}: from Python a sweep is the grid of its values; write transfer -m for others")
    if (source or target) and any(word.startswith("engine=") and word != "engine=inprocess" for word in words):
        raise TransferError("domains in memory are of this process alone: leave engine= out, or give files")
    try:
        parsed = OverridesParser.create().parse_overrides(words)
    except HydraException as error:
        raise TransferError(one_line(error)) from None
    grid = [job for batch in combinations(parsed, None) for job in batch]
    place = Path(tempfile.mkdtemp(prefix="transfer-") if folder is None else folder)
    jobs = plan(composed, grid, 0, place)
    try:
        if lines := wrong_choices(jobs, composed):
            raise TransferError(lines[0])
        place.mkdir(parents=True, exist_ok=True)
        with _told_how_to_go_on("sweep", overrides, folder):
            run_jobs(jobs, place)
        note_words(jobs)
        return SweepResult(place, temporary=folder is None)
    except BaseException:
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
        raise


def load(
    folder: str | Path, *, source: Domain | Sequence[Domain] | None = None, target: Domain | None = None
) -> Result | SweepResult:
    """A finished run, or a sweep, from its folder. source, target: the domains in memory that it was made of."""
    from transfer.experiment import load_run
    from transfer.report.sweep_result import SweepResult
    from transfer.results.run_folder import CONFIG

    if not (Path(folder) / CONFIG).exists() and any(path.is_dir() for path in Path(folder).glob("*")):
        return SweepResult(Path(folder))
    return load_run(Path(folder))


def evaluate_log(log: Any, policy: Any = (), against: Any = None, **settings: Any) -> LogReport:
    """What came of impressions, and what other policies would have brought: `evaluate_log("log.csv", "RUN")`.

    log: a file, a frame, a mapping with a path and the names of columns, or a list of them. policy: the folder of a run,
    what `run` gave, another log, "uniform", or a list of them. against: what they are compared with (None: the log's own).
    settings: those of `transfer.experiment.log_values.How`, and `data_dir`. Raises TransferError, one line, for bad
    input and where the log does not support a policy.
    """
    from transfer.experiment.evaluate_log import evaluate_given

    return evaluate_given(log, policy, against, **settings)


def online_test(runs: Any, **settings: Any) -> OnlineReport:
    """A simulated A/B test: `online_test({"old": "RUN", "new": "OTHER_RUN"}, days=30, readers=1000)`.

    runs: folders, or what `run` gave, in order or by name, of one `domain=simulated`: its readers come, look down the best
    items of a run, click, buy and judge as the simulator planted it. settings: those of
    `transfer.experiment.online_test.online_test`. The report has `arms`, `days`, `interleaving` and the `log`. Raises
    TransferError, one line, for bad input.
    """
    from transfer.experiment.online_test import online_test as test

    return test(runs, **settings)


def methods() -> pl.DataFrame:
    """All methods: name, tasks, what each needs, what it does in one line."""
    import polars as pl

    from transfer.registry import names, outline

    rows = []
    for name in names("methods"):
        doc, _, needs = outline("methods", name)
        wants = [key for key, value in needs._asdict().items() if value is True and key != "next_item"]
        rows.append({"method": name, "tasks": list(needs.tasks), "needs": wants, "does": doc.partition("\n")[0]})
    return pl.DataFrame(rows)


@contextmanager
def _told_how_to_go_on(call: str, overrides: Sequence[str], folder: str | Path | None) -> Iterator[None]:
    """A stop (Ctrl-C, a notebook's button) ends as on the command line: after a checkpoint, and with how to go on."""
    from transfer.console import say, stoppable

    try:
        with stoppable():
            yield
    except KeyboardInterrupt:
        again = f"the same call, transfer.{call}({list(overrides)}, {str(folder)!r})"
        say(f"interrupted; {'nothing is kept without folder=' if folder is None else f'to go on: {again}'}")
        raise


def _words_of(overrides: Sequence[str], source: Domain | Sequence[Domain] | None, target: Domain | None) -> list[str]:
    """The words that put domains in memory into the world. Raises TransferError where they are of two kinds."""
    from transfer.data.given import Domain
    from transfer.errors import TransferError

    sources = [] if source is None else [source] if isinstance(source, Domain) else list(source)
    domains = [*([target] if target else []), *sources]
    if not domains:
        return []
    if len({of.kind for of in domains}) > 1:
        raise TransferError("source and target are of two kinds: events of users, and labelled examples; one is needed")
    chosen = any(word.startswith("domain=") for word in overrides)
    words = [] if chosen else [f"domain={domains[0].kind}"]
    if target:
        words.append(f"domain.target={_said(target.settings)}")
    if sources or not chosen:
        words.append(f"domain.source={_said([of.settings for of in sources]) if sources else 'null'}")
    return words


def _said(value: Any) -> str:
    """A value as a word of the command has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_said(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_said, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

"""Composing configurations, from Python as from the command line."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from omegaconf import DictConfig

    from transfer.config.choices import Declared, Kept
    from transfer.config.schema import Config
    from transfer.data.given import Domain
    from transfer.experiment import Result
    from transfer.experiment.evaluate_log import LogReport
    from transfer.report.sweep_result import SweepResult

_HERE = Path(__file__).resolve().parent
_kept: dict[Hashable, Kept] = {}


def config_folder() -> Path:
    """Where the configuration lies: inside an installed package, beside it in a checkout."""
    inside = _HERE / "conf"
    return inside if inside.is_dir() else _HERE.parent / "conf"


def compose(overrides: Sequence[str] = ()) -> Config:
    """The configuration for these overrides, as `transfer OVERRIDES` has it. Raises TransferError for what does not fit."""
    from hydra.errors import HydraException

    from transfer.config.schema import parse
    from transfer.errors import TransferError, one_line

    words = spelled_out(overrides)
    try:
        return parse(_composed(words))
    except HydraException as error:
        raise TransferError(one_line(error)) from None


def spelled_out(words: Sequence[str]) -> list[str]:
    """The words of a command with `domain.target.path=FILE` for `domain.target=FILE`, and of a sweep with settings of swept
    choices on each of them. Raises TransferError where settings stand beside a list of sources."""
    from transfer.config.overrides import with_paths, with_swept_groups

    words = with_paths(words, _domain)
    return with_swept_groups(words) if {"-m", "--multirun"} & set(words) else words


def _domain(choices: list[str]) -> Any:
    """The domain that these choices of groups name, as plain values; None where they fit nothing (Hydra says what)."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(_composed(choices).domain)
    except HydraException:
        return None


def _composed(words: list[str]) -> DictConfig:
    """What Hydra composes of these words; composed once for the same groups while nothing of it changes."""
    import hydra

    from transfer.config.choices import once_per_choice

    def compose(words: list[str]) -> DictConfig:
        with _own_hydra(), hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return hydra.compose("config", overrides=words)

    if any(word.startswith("hydra.searchpath=") for word in words):  # somebody's folder, of which we know nothing
        return compose(words)
    return once_per_choice(compose, _kept, _files(), _declared)(words)


def _files() -> Hashable:
    """The files that configurations are made of, as they are now."""
    from transfer.registry import configuration_folders

    folders = [config_folder(), *(folder for _, folder in configuration_folders())]
    files = [path for folder in folders for path in sorted(folder.rglob("*.yaml"))]
    return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)


def _declared() -> Declared:
    """What the modules of this process declare now."""
    from transfer.config.declared import KINDS, configuration
    from transfer.registry import imported

    modules = [(group, *one) for group, kind in KINDS.items() for one in imported(kind).items()]
    return {(group, name): str(configuration(group, name, module)) for group, name, module in modules}


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Hydra as at its start, and afterwards again that of the application which calls us."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    instances: dict[type, Any] = Singleton._instances
    kinds: tuple[type, ...] = (GlobalHydra, JobRuntime, VersionBase)
    theirs = {kind: instances.pop(kind) for kind in kinds if kind in instances}
    try:
        yield
    finally:
        instances.update(theirs)


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
    jobs = plan(_composed, grid, 0, place)
    try:
        if lines := wrong_choices(jobs, _composed):
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

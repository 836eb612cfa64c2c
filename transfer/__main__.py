"""The command: one run, or with -m a sweep. `transfer --help` explains it."""

from __future__ import annotations

# Little is imported here: a signal that comes before `main` heeds it ends in a traceback.
import gc
import os
import shlex
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer.composing import config_folder, spelled_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omegaconf import DictConfig

EXAMPLES = """\
  transfer                                                     the embedded default, seconds
  transfer domain=amazon_movies_books data_dir=DATA task=ranking split=cold_start split.beta=0.2 method=user_knn
  transfer domain=files domain.source=A/movies.inter domain.target=A/books.inter task=rating method=source_bias
  transfer domain=simulated domain.correlation=0.9 method=emcdr method.map=mlp seed=3 hp.learning_rate=1e-3
  transfer domain=digits_shift domain.target=rotated method=coral
  transfer domain=examples domain.source=film_reviews.csv domain.target=book_reviews.csv method=coral
  transfer domain=office_caltech domain.source=amazon domain.target=webcam data_dir=DATA method=coral
  transfer -m method=target_only,cmf,emcdr seed=0,1,2 split.seed=0,1,2
  transfer -m sweep=auto task=ranking split=cold_start budget.seconds=300      should I transfer, and how?"""

# Words for what goes without one too: `transfer sweep seed=0,1` is `transfer -m seed=0,1`.
PLAIN: dict[str, list[str]] = {"run": [], "sweep": ["-m"]}

# Words that a command may begin with: the module whose `main(words)` returns the exit code, and what it does.
COMMANDS = {
    "recommend": ("transfer.commands.recommend", "RUN: books for readers, or for new ones from what they tell"),
    "explain": ("transfer.commands.explain", "RUN [FILM,...]: what people who loved a film read"),
    "runs": ("transfer.commands.runs", "[FOLDER]: the runs below a folder, with their figures"),
    "compare": ("transfer.commands.compare", "A B: what differs between two runs, with a test by reader"),
    "report": ("transfer.commands.report", "SWEEP: write the report of a sweep again"),
    "reproduce": ("transfer.commands.reproduce", "STUDY: run a study again, compare with its expected figures"),
    "serve": ("transfer.commands.serve", "RUN: recommend for new readers over HTTP, with a page to try it"),
    "export": ("transfer.commands.export", "RUN: keep in a run folder what serving takes, without the data"),
    "describe": ("transfer.commands.describe", "FILE ...: what would be read of files, what they share, how to begin"),
    "evaluate-log": (
        "transfer.commands.evaluate_log",
        "LOG [--policy RUN]: what came of impressions, and of other policies",
    ),
}

# Tracing makes many objects and few cycles: by Python's own thresholds a tenth of a start is spent on looking for them.
COLLECT = (100_000, 20, 100)

# Words of a command that change how a sweep runs, not what it is.
HOW = ("engine", "retry", "track", "resume", "budget", "dry_run", "train.progress")


def main() -> None:
    """Entry point of the console command. Exit codes: 0, 1 a run failed, 2 the command cannot run, 130 it was stopped."""
    if sys.argv[1:] and sys.argv[1] in PLAIN:
        sys.argv[1:2] = PLAIN[sys.argv[1]]
    first = sys.argv[1] if sys.argv[1:] else ""
    is_word = first.isidentifier() or first in COMMANDS  # no KEY=VALUE, no ~KEY, no option
    if not is_word and {"--help", "-h", "--version"} & set(sys.argv[1:]):  # Hydra would take seconds
        from importlib.metadata import version

        from transfer.errors import DISTRIBUTION

        print(f"transfer {version(DISTRIBUTION)}" if "--version" in sys.argv else help_text())
        return
    gc.set_threshold(*COLLECT)

    def leave(number: int, frame: Any) -> None:
        """Nothing is lost where nothing runs: no way up through other people's imports, and no traceback."""
        again = shlex.join(["transfer", *sys.argv[1:]])
        os.write(2, f"interrupted; to go on: {again}\n".encode())
        os._exit(130)

    heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in heeded}
    try:
        code = begun_with(first, sys.argv[2:]) if is_word else command()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code:
        sys.exit(code)


def begun_with(word: str, words: list[str]) -> int:
    """What a word of its own does: the exit code."""
    from importlib import import_module

    from transfer.errors import TransferError, nearest
    from transfer.registry import names

    try:
        if word not in COMMANDS and {"--help", "-h"} & set(words) and word in names("methods"):
            return import_module("transfer.commands.method").main([word])
        if word not in COMMANDS:
            raise TransferError(
                f"{word}: no such command{nearest(word, {**PLAIN, **COMMANDS}) or ';'} there are "
                f"{', '.join({**PLAIN, **COMMANDS})}, or KEY=VALUE"
            )
        return import_module(COMMANDS[word][0]).main(words)
    except (TransferError, OSError) as error:
        complain(error)
        return exit_code(error)


def command() -> int:
    """Hydra's main with our endings: the exit code."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from transfer.errors import TransferError
    from transfer.results.command import close

    OmegaConf.register_new_resolver("sweep_name", sweep_name, use_cache=True, replace=True)
    # Hydra would print its own errors over many lines; asked to raise them, they can be told in one like ours
    asked = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    code = 0
    try:
        if {"-m", "--multirun"} & set(sys.argv) and {"-c", "--cfg"} & {word.partition("=")[0] for word in sys.argv}:
            raise TransferError("--cfg shows one configuration: leave -m out and give every key one value")
        sys.argv[1:] = spelled_out(sys.argv[1:])
        if any(word.startswith("processes=") for word in sys.argv[1:]):
            from transfer.training import processes

            sys.argv[1:] = processes.begin(sys.argv[1:])
        with mode_by_flag(sys.argv[1:]):
            hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(task)()
    except (HydraException, OmegaConfBaseException, TransferError, OSError) as error:  # a full disk, too
        if asked == "1":
            raise
        complain(error)
        code = exit_code(error)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = asked
        if others := sys.modules.get("transfer.training.processes"):  # it takes long to import
            others.give_up()
        failed = close()
    return code or failed


@contextmanager
def mode_by_flag(words: list[str]) -> Iterator[None]:
    """Hydra composes everything twice, the first time to look for `hydra.mode`; not where no word can set it."""
    from hydra._internal import hydra

    internal: Any = hydra.Hydra
    asked = internal.get_mode
    if not any(
        word.lstrip("+").startswith(("hydra.mode", "hydra.searchpath", "experiment", "-c", "--c")) for word in words
    ):
        internal.get_mode = lambda *_, **__: None  # as where it is not set: -m decides
    try:
        yield
    finally:
        internal.get_mode = asked


def task(raw: DictConfig) -> float:
    """Run one composed configuration; returns what sweepers maximise."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from transfer.config.schema import parse
    from transfer.console import say, stoppable
    from transfer.errors import TransferError, one_line
    from transfer.experiment import run_batch
    from transfer.report.run_table import print_run
    from transfer.results.command import note_failed
    from transfer.results.run_folder import refuse_run
    from transfer.results.trackers import copies
    from transfer.training import processes

    hydra_config = HydraConfig.get()
    folder, single = Path(hydra_config.runtime.output_dir), hydra_config.mode == RunMode.RUN
    try:
        with stoppable():
            config = parse(raw)
            if raw.processes != 1 and not processes.several():
                raise TransferError("processes= has to be in the command itself, where it begins, and not in a file")
            copied = copies.wanted(config.track) and single  # a sweep is copied at its end
            result = run_batch([config], [folder])[0]
    except (TransferError, OSError) as error:
        complain(error)
        if single:
            sys.exit(exit_code(error))
        refuse_run(folder, one_line(error), list(hydra_config.overrides.task))
        note_failed(folder)
        return float("nan")
    except KeyboardInterrupt:
        again = shlex.join(["transfer", *hydra_config.overrides.task, f"hydra.run.dir={folder}"])
        say(f"interrupted; to go on: {again}")
        sys.exit(130)
    if single and result.status != "done":
        note_failed(folder)
    if not processes.first():
        return result.objective
    if copied:
        try:
            copies.copy_run(folder)
        except Exception as error:  # of the network, or of the tracker: the run is complete without it
            say(f"the run is complete, its copy (track={config.track.name}) is not: {one_line(error)}", style="red")
    print_run(result, short=not single)
    return result.objective


def complain(error: Exception) -> None:
    """Say the line of an error, also where a process of several is silent otherwise."""
    from transfer.console import console, say
    from transfer.errors import one_line

    console.quiet = False
    say(f"error: {one_line(error)}", style="red")


def exit_code(error: Exception) -> int:
    """1 where the machine failed and the same command may go through, 2 where the command has to be changed."""
    from errno import EDQUOT, EIO, EMFILE, ENOMEM, ENOSPC

    from transfer.errors import MachineError

    full = isinstance(error, OSError) and error.errno in (EDQUOT, EIO, EMFILE, ENOMEM, ENOSPC)
    return 1 if full or isinstance(error, MachineError) else 2


def sweep_name(words: Sequence[str]) -> str:
    """The folder of a sweep below sweeps/, the same for the same command: DAY-HASH, found again on a later day."""
    import hashlib

    kept = sorted(word for word in words if not word.lstrip("+").startswith(HOW))
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()[:8]
    there = sorted(path.name for path in Path("sweeps").glob(f"*-{digest}"))
    return there[-1] if there else f"{time.strftime('%Y-%m-%d')}-{digest}"


def help_text() -> str:
    """What `--help` prints."""
    return f"""\
transfer: train and compare methods that carry knowledge from one domain (movies) to another (books).

usage: transfer [GROUP=CHOICE ...] [KEY=VALUE ...]            one run; `transfer run ...` is the same
       transfer -m [GROUP=A,B ...] [KEY=C,D ...]              every combination; `transfer sweep ...` is the same
       transfer METHOD --help                                 its equation, what it needs, its numbers and settings
{command_lines()}

Groups and choices
{group_lines()}

Methods
{method_lines()}

Examples
{EXAMPLES}

A run prints its figures and leaves a folder (hydra.run.dir=FOLDER chooses it); -m runs every combination and ends with a
table. `transfer ... --cfg job` shows the whole configuration of a command without running it.
"""


def command_lines() -> str:
    """One line per word that a command may begin with."""
    return "\n".join(f"       transfer {word} {does}" for word, (_, does) in COMMANDS.items())


def group_lines() -> str:
    """One line per group of the configuration: its choices, with the methods and models of installed packages."""
    from transfer.registry import names

    folders = sorted(path for path in config_folder().iterdir() if path.is_dir() and path.name != "hydra")
    choices = {path.name: {file.stem for file in path.glob("*.yaml")} for path in folders}
    for kind in ("method", "model"):
        choices[kind] = set(names(f"{kind}s"))
    choices["domain"] -= {"files_base", "files_one_source"}
    return "\n".join(f"  {group}: {', '.join(sorted(names))}" for group, names in sorted(choices.items()))


def method_lines() -> str:
    """One line per method: name, tasks, needs, what it does; from the sources, so that none has to be imported."""
    from transfer.registry import names, outline

    lines = []
    for name in names("methods"):
        doc, _, needs = outline("methods", name)
        wants = "shared users" if needs.shared_users else "texts" if needs.texts else "a source" if needs.source else "-"
        lines.append(f"  {name:<20} {'/'.join(needs.tasks):<29} needs {wants:<13} {doc.splitlines()[0] if doc else ''}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""What all tests share: JAX at its strictest, caches that leave the user's home alone, the real data, a small world."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from transfer.__main__ import COLLECT, main
from transfer.api import compose
from transfer.config.schema import Config
from transfer.data.interactions.events import Interactions, heldout_of, interactions_of
from transfer.data.interactions.world import Loaded, Side, World
from transfer.experiment.build import load_world
from transfer.training.compile_cache import use_compile_cache
from transfer.training.compiler import executables_of

gc.set_threshold(*COLLECT)  # a tenth of the suite
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# jax_debug_key_reuse stays off: a vmapped `cond` over a state with a key (train.replicas=vmap) is reported wrongly.
# Tests of batches switch it on for themselves.


# More than half of the suite's time was XLA's: programs are small and most run once. So they are compiled with few
# optimisations, in child processes too; modules that run many steps ask for more with `full_compile`. XLA reads its flags
# when it first compiles, and ends the process at one that it has dropped, as it has the emitters' after jaxlib 0.10.
QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"
EMITTERS = "xla_cpu_use_fusion_emitters"
FLAGS = ("--xla_backend_optimization_level=1", "--xla_cpu_parallel_codegen_split_count=1")
if version("jaxlib").startswith("0.10."):
    FLAGS = (*FLAGS, f"--{EMITTERS}=false")
given = os.environ.get("XLA_FLAGS", "").split()  # a pytest worker has those of its parent
os.environ["XLA_FLAGS"] = " ".join([*given, *(flag for flag in FLAGS if flag not in given)])
os.environ[QUICK] = "true"
jax.config.update(QUICK.lower(), True)


def _strict_but_for_optax() -> None:
    """Adam's own bias correction raises a float to an integer power: the only place where promotion is let through."""
    original = optax.adam

    def adam(*arguments: Any, **settings: Any) -> optax.GradientTransformation:
        init, update = original(*arguments, **settings)

        def relaxed(*state: Any) -> Any:
            with jax.numpy_dtype_promotion("standard"):
                return update(*state)

        return optax.GradientTransformation(init, relaxed)

    optax.adam = adam


_strict_but_for_optax()


# What takes half a minute or more, the longest first: begun early, so that no worker waits for one that began last.
LONG = (
    *("training/test_devices", "test_readme", "test_cli", "solvers/test_likeness"),
    *("models/test_sequences", "training/test_shards", "learning/test_source_weights"),
    *("experiment/test_transfer", "auto/test_auto", "methods/test_methods", "tasks/test_tasks"),
    *("data/interactions/test_capacity", "models/test_parity", "data/examples/test_examples"),
    *("models/test_pretrained", "tasks/test_regression", "learning/test_adversarial"),
    *("methods/test_finetune", "results/test_new_readers", "test_notebooks"),
    *("methods/test_source_prices", "methods/test_attention", "methods/test_residual_map"),
    *("training/test_rows", "report/test_report", "training/test_processes"),
    *("methods/test_joint_models", "auto/test_labelled", "methods/test_alignment"),
    *("methods/test_factor_maps", "training/test_warm_start", "experiment/test_export"),
    *("sweep/test_sweep", "learning/test_guard", "serve/test_serve", "models/test_windows_of_images"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {Path(__file__).parent / f"{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """The bytes of a file are in no test's name: a packed one holds the time at which a worker made it."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True, scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled programs and other caches go to a folder of this test session, in its workers and child processes too."""
    folder = tmp_path_factory.getbasetemp()  # a worker's own lies in that of the session
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        use_compile_cache()  # now, for tests that call no run_batch too
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: TRANSFER_DATA, or shared/data beside the repository; tests are skipped without it."""
    folder = Path(os.environ.get("TRANSFER_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "amazon-movies-books").is_dir():
        pytest.skip("no real data: set TRANSFER_DATA to a folder that has amazon-movies-books")
    return folder


@pytest.fixture(scope="module")
def full_compile() -> Iterator[None]:
    """Compile with more optimisations, which takes longer: for tests that run thousands of steps, or that compare bits of
    programs for different numbers of replicas."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(QUICK)
        jax.config.update(QUICK.lower(), False)
        executables_of.cache_clear()
        yield
    jax.config.update(QUICK.lower(), True)
    executables_of.cache_clear()


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of sweeps without their figures, which take a second to draw: for tests of what the runs of a sweep do."""
    monkeypatch.setattr("transfer.report.page.page.DRAWN", 0)


SMALL = {
    "domain": "simulated",
    "domain.users": 200,
    "domain.source_items": 80,
    "domain.target_items": 60,
    "domain.source_events": 15,
    "domain.target_events": 8,
    "train.epochs": 4,
    "train.batch_size": 256,
    "train.progress": "false",
    "model.dim": 8,
}


class Small(NamedTuple):
    """A composed configuration and the world that it describes."""

    config: Config
    loaded: Loaded

    @property
    def world(self) -> World:
        return self.loaded.world


def small_overrides(**changes: Any) -> list[str]:
    """Overrides of a small simulated run; a double underscore stands for a dot: domain__users=50, split="ratio"."""
    values = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    groups = [key for key in values if "." not in key]  # a group's choice comes before the keys that change it
    ordered = [*groups, *(key for key in values if "." in key)]
    return [f"{key}={'null' if values[key] is None else values[key]}" for key in ordered]


def small_world(**changes: Any) -> Small:
    """A small simulated world, loaded: `from conftest import small_world`."""
    config = compose(small_overrides(**changes))
    return Small(config, load_world(config))


def interactions(items_of_users: Sequence[Iterable[int]], n_items: int, seed: int = 0) -> Interactions:
    """Events of users 0, 1, … with these items and random ratings from 1 to 5; `longest` is n_items for all of them."""
    pairs = [(user, item) for user, items in enumerate(items_of_users) for item in sorted(items)]
    users, items = np.array(pairs, np.int32).reshape(-1, 2).T
    ratings = np.random.default_rng(seed).integers(1, 6, len(pairs)).astype(np.float32)
    host = interactions_of({"user": users, "item": items, "rating": ratings}, len(items_of_users), n_items)
    return replace(jax.tree.map(jnp.asarray, host), longest=n_items)


def world_of(target: Interactions, *sources: Interactions) -> World:
    """A world with nothing hidden, as far as closed forms look at it."""
    sides = [Side(train=events, fit=events, stop=None) for events in (target, *sources)]  # type: ignore[arg-type]
    none = {"user": np.zeros(0, np.int32), "item": np.zeros(0, np.int32), "rating": np.zeros(0, np.float32)}
    hidden = heldout_of(none, [none], none, target.n_items)
    return World(target=sides[0], sources=tuple(sides[1:]), valid=hidden, test=hidden, scale=(1.0, 5.0))


class Said(NamedTuple):
    """How a command ended, and what it wrote on the screen."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """`transfer WORDS` in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    # Hydra configures logging anew, which closes old handlers; absl's would take pytest's capture of stderr with it.
    monkeypatch.setattr(logging, "shutdown", lambda *_: None)

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["transfer", *words])
        code: int | str | None = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
        assert isinstance(code, int | None)
        return Said(code or 0, *capsys.readouterr())

    return call

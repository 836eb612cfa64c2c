"""Small runs for tests, and planted worlds whose arrays have the same shapes whatever is planted: one compilation each."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import jax
import numpy as np
import polars as pl
from omegaconf import OmegaConf

from transfer.api import compose
from transfer.config.domains import SimulatedDomains
from transfer.config.schema import Config
from transfer.data.interactions.simulate import simulate
from transfer.data.interactions.world import Loaded
from transfer.experiment import Result, run_batch
from transfer.experiment.build import load_world
from transfer.registry import names, outline

DEFAULTS = Path(__file__).parents[1] / "conf" / "domain" / "simulated.yaml"

# One tiny world and one tiny budget; every test that can uses exactly these, so that programs are compiled once.
WORLD = (
    "domain.users=200",
    "domain.source_items=80",
    "domain.target_items=60",
    "domain.source_events=15",
    "domain.target_events=8",
)
BUDGET = ("model.dim=8", "train.batch_size=256", "train.evaluate_every=1", "train.epochs=6", "train.progress=false")
RANKING, RATING = ("task=ranking", "task.k=[10]", "task.loss=full_softmax"), ("task=rating",)

# The planted world: readers with equally many events in each of its files.
USERS, EVENTS = 700, {"books": 12, "movies": 24, "series": 8}
LEARN = (
    "split.beta=0.5",
    "model.dim=8",
    "train.batch_size=1024",
    "train.evaluate_every=3",
    "train.epochs=48",
    "train.patience=8",
    "train.progress=false",
)


# Settings with which every method has a fair chance here; the defaults of conf/ are tuned for other data.
GRADIENT = ("target_only", "cmf", "dann_factors", "finetune", "emcdr")
NUMBERS = {
    "ease": ("hp.ridge=1000", "hp.source_weight=1"),
    "item_knn": ("hp.shrinkage=50", "hp.source_weight=1"),
    "graph_filter": ("method.rank=8", "hp.low_pass=0.3"),
    "ials": ("hp.ridge=0.03", "hp.unobserved=0.3"),
    "lightgcn": ("hp.learning_rate=0.2", "hp.l2=0.003"),
    "user_knn": ("hp.shrinkage=1",),
    "ridge_map": ("hp.ridge=10", "hp.normalise=0.5"),
    "kernel_map": ("train.epochs=12", "train.evaluate_every=6"),
    "history_map": ("train.epochs=48", "train.evaluate_every=6", "hp.learning_rate=0.01"),
    "log_linear": ("train.epochs=12", "train.evaluate_every=6", "hp.learning_rate=0.2"),
    "codebook": ("method.users=4", "method.items=4", "method.starts=2"),
    "darec": ("train.epochs=48", "train.evaluate_every=6", "hp.learning_rate=0.03"),
    "ptupcdr": ("train.epochs=12", "train.evaluate_every=6", "hp.learning_rate=0.01", "hp.map_rate=0.01"),
    "dann_factors": ("train.epochs=96",),
    "gradient ranking": ("hp.learning_rate=0.02", "hp.l2=0.1"),
    "gradient rating": ("hp.learning_rate=0.01", "hp.l2=5"),
}


# What test_transfer.py trains with all of its budget.
LEARNT = ("target_only", "cmf", "dann_factors", "darec", "finetune", "emcdr")
TRAINED = {
    "ranking": (*LEARNT, "popularity", "ease", "graph_filter", "ials", "lightgcn", "ridge_map", "log_linear"),
    "rating": (*LEARNT, "item_bias", "source_bias", "ridge_map"),
}

# What test_capacity.py trains for a few steps: methods of interactions, once each; those whose closed forms look at ratings
# do so. Left out are two that compile long and read events as others here do: emcdr as ptupcdr, darec as history_map.
OF_RATINGS = ("item_bias", "global_mean", "source_bias", "user_knn", "ridge_map", "codebook", "target_only")
_RANKING = [
    method
    for method in names("methods")
    if "ranking" in outline("methods", method).needs.tasks and method not in (*OF_RATINGS, "emcdr", "darec")
]
PADDED = [*((method, "rating") for method in OF_RATINGS), *((method, "ranking") for method in _RANKING)]


def tiny(*overrides: str) -> Config:
    """A configuration of the tiny world with the rating task."""
    return compose([*RATING, *WORLD, *BUDGET, *overrides])


def atomic_files(folder: Path) -> Path:
    """Write books, movies and music as RecBole does: typed headers in .inter files, titles in books.item."""
    sizes = {key.removeprefix("domain."): int(value) for key, value in (word.split("=") for word in WORLD)}
    settings = SimulatedDomains.model_validate({**OmegaConf.to_object(OmegaConf.load(DEFAULTS)), **sizes})
    books, (movies,), _ = simulate(settings)
    music = movies.events.filter(pl.col("item").str.tail(1) == "1")
    headers = {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float", "time": "timestamp:float"}
    for name, events in (("books", books.events), ("movies", movies.events), ("music", music)):
        events.rename(headers).write_csv(folder / f"{name}.inter", separator="\t")
    titles = books.items.select("item", "title").rename({"item": "item_id:token", "title": "title:token_seq"})
    titles.write_csv(folder / "books.item", separator="\t")
    return folder


@cache
def plant(correlation: float) -> tuple[str, ...]:
    """Write books.csv, movies.csv and series.csv of one simulation to a folder; the overrides that read them."""
    folder = Path(tempfile.mkdtemp(prefix="planted-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = OmegaConf.to_object(OmegaConf.load(DEFAULTS))
    changes = {"users": 3 * USERS, "shared": 1.0, "correlation": correlation, "popularity_skew": 0.5}
    changes |= {"source_items": 120, "source_events": 60, "target_items": 80, "target_events": 20}
    books, (watched,), _ = simulate(SimulatedDomains.model_validate({**settings, **changes}))
    is_series = pl.col("item").str.tail(1).is_in(["0", "4", "8"])
    events = {
        "books": books.events,
        "movies": watched.events.filter(~is_series),
        "series": watched.events.filter(is_series),
    }
    counts = [frame.group_by("user").len().filter(pl.col("len") >= EVENTS[name])["user"] for name, frame in events.items()]
    users = sorted(set.intersection(*(set(part) for part in counts)))[:USERS]
    assert len(users) == USERS
    for name, frame in events.items():
        frame = frame.filter(pl.col("user").is_in(users))
        frame = frame.with_columns(draw=pl.Series(np.random.default_rng(0).random(len(frame)))).sort("user", "draw")
        kept = frame.group_by("user", maintain_order=True).head(EVENTS[name]).drop("draw")
        kept.write_csv(folder / f"{name}.csv")
    sources = "domain.source=[movies.csv,series.csv]"
    return "domain=files", f"data_dir={folder}", "domain.target=books.csv", sources


def planted(correlation: float, task: str, method: str, *more: str) -> list[str]:
    """The overrides of a method (with its settings, space separated) on the planted world."""
    kind = RANKING if task == "ranking" else RATING
    name = method.split()[0]
    numbers = (*(NUMBERS[f"gradient {task}"] if name in GRADIENT else ()), *NUMBERS.get(name, ()))
    return [*plant(correlation), *LEARN, *kind, *f"method={method}".split(), *numbers, *more]


def replicas(method: str) -> tuple[tuple[str, ...], ...]:
    """The cmf that gives the source no weight, and another seed, are further rows of its program."""
    return (("seed=0",), ("seed=1",), ("seed=0", "hp.source_weight=0")) if method == "cmf" else ((),)


@cache
def outcome(correlation: float, task: str, method: str) -> list[Result]:
    """Results of a method on the planted world, one per replica; every combination runs once in a session."""
    return run_batch([compose(planted(correlation, task, method, *more)) for more in replicas(method)])


def check_whole(result: Result, task: str) -> None:
    """A run has ended well, and has all the figures of its task and finite parameters."""
    assert result.status == "done"
    assert {"valid", "test"} == set(result.metrics)
    for metrics in result.metrics.values():
        if task == "ranking":
            assert {"ndcg@10", "recall@10", "hit@10"} < set(metrics)
        else:
            assert {"mae", "rmse"} == set(metrics)
        assert all(np.isfinite(value) for value in metrics.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.parameters))


def figure(correlation: float, task: str, method: str) -> float:
    """The test figure, nDCG@10 or RMSE, mean over seeds where there are two."""
    name = "ndcg@10" if task == "ranking" else "rmse"
    return float(np.mean([result.metrics["test"][name] for result in outcome(correlation, task, method)[:2]]))


def world_of(correlation: float, task: str) -> Loaded:
    """The planted world as the methods see it."""
    return load_world(compose(planted(correlation, task, "item_bias" if task == "rating" else "popularity")))

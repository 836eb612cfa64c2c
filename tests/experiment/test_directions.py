"""task.domains=all: both domains are targets in one run, and neither sees what the other hides."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import small_overrides

from transfer.api import compose
from transfer.config.schema import Config
from transfer.data.interactions.events import Heldout
from transfer.data.interactions.world import Loaded
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.experiment.build import load_world
from transfer.experiment.directions import turned


def config(*words: str, **changes: object) -> Config:
    changes = {"method": "popularity", "split": "ratio", "task__k": "[10]", "domain__shared": 1.0, **changes}
    return compose([*small_overrides(**changes), *words])


def hidden(part: Heldout, loaded: Loaded) -> set[tuple[str, str]]:
    width = part.users.shape[1]
    chunk, place = np.nonzero(np.asarray(part.row) < width)
    users = np.asarray(part.users)[chunk, np.asarray(part.row)[chunk, place]]
    return {(loaded.users[u], loaded.items[i]) for u, i in zip(users, np.asarray(part.item)[chunk, place], strict=True)}


def visible(loaded: Loaded) -> set[tuple[str, str]]:
    """What is seen of the source."""
    events = loaded.world.sources[0].train
    pairs = zip(np.asarray(events.users), np.asarray(events.items), strict=True)
    return {(loaded.users[u], loaded.source_items[0][i]) for u, i in pairs}


def test_no_direction_sees_what_the_other_hides() -> None:
    every = config("task.domains=all")
    books, movies = load_world(every), load_world(turned(every, 1))
    assert isinstance(books, Loaded)
    assert isinstance(movies, Loaded)
    assert [of.summary["target"]["name"] for of in (books, movies)] == ["books", "movies"]
    alone = load_world(config())
    assert isinstance(alone, Loaded)
    for one, other in ((books, movies), (movies, books)):
        assert not visible(one) & (hidden(other.world.test, other) | hidden(other.world.valid, other))
    assert hidden(books.world.test, books) == hidden(alone.world.test, alone), "the target hides what it hides alone"
    assert visible(alone) & hidden(movies.world.test, movies), "the control: with one target the source is seen whole"


def test_one_run_has_the_figures_of_both(tmp_path: Path) -> None:
    (result,) = run_batch([config("task.domains=all")], [tmp_path / "run"])
    told = json.loads((tmp_path / "run" / "result.json").read_text())["domains"]
    assert set(told) == {"movies"}
    assert told["movies"]["status"] == "done"
    (alone,) = run_batch([turned(config("task.domains=all"), 1)])
    assert told["movies"]["metrics"]["test"]["ndcg@10"] == pytest.approx(alone.metrics["test"]["ndcg@10"], rel=1e-5)
    assert result.facts["world"]["target"]["name"] == "books"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "cold_start"}, "split=cold_start hides readers, items or days of the target; write split=ratio"),
        ({"domain": "files", "domain__target": "b.csv", "domain__source": "null"}, "and there is none"),
        (
            {"domain": "files", "domain__target": "b.csv", "domain__source": "'{path: a.csv, each: c}'"},
            "in place of `each`",
        ),
    ],
)
def test_where_not_all_can_be_targets_it_is_refused(changes: dict[str, str], message: str) -> None:
    words = ["task.domains=all", "method=popularity", "split=ratio"]
    given = [f"{key.replace('__', '.')}={value}".replace("'", "") for key, value in changes.items()]
    with pytest.raises(TransferError, match=re.escape(message)):
        run_batch([compose([*given, *[word for word in words if word.split("=")[0] not in changes]])])

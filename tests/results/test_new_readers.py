"""Readers who were not there: scored as the same histories of readers who were, whatever else is asked at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from pairs import FOLDS_IN, PAIRS, files, outcome

from transfer.api import compose
from transfer.data.interactions.world import at_inference
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.results.new_readers import History
from transfer.results.predictor import Predictor


def history_of(predictor: Predictor, user: int) -> History:
    """What a reader of the world has, by id."""
    loaded = predictor.loaded
    sides = [(loaded.summary["target"], loaded.world.target, loaded.items)]
    sides += zip(loaded.summary["sources"], loaded.world.sources, loaded.source_items, strict=True)
    found = {}
    for told, side, ids in sides:
        starts, items = np.asarray(side.train.starts), np.asarray(side.train.items)
        found[told["name"]] = [ids[item] for item in items[starts[user] : starts[user + 1]]]
    return found


def cold(predictor: Predictor, count: int) -> list[int]:
    starts = np.asarray(predictor.loaded.world.target.train.starts)
    return np.flatnonzero(np.diff(starts) == 0)[:count].tolist()


@pytest.mark.parametrize("method", FOLDS_IN)
def test_new_readers_are_scored_as_old_ones_with_their_films(method: str) -> None:
    predictor = outcome(method).predictor
    users = cold(predictor, 3)
    old = predictor.score([predictor.loaded.users[user] for user in users])
    histories = [history_of(predictor, user) for user in users]
    np.testing.assert_allclose(predictor.score_new(histories), old, rtol=1e-4, atol=1e-5)
    assert np.abs(old - old[[1, 2, 0]]).max() > 1e-3
    alone = predictor.score_new(histories[:1])
    np.testing.assert_allclose(alone, old[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["ease", "item_knn", "residual_map", "history_map"])
def test_what_she_has_of_the_target_counts_too(method: str) -> None:
    """A reader with books is scored as the reader whose history it is, where scores read nothing but histories."""
    predictor = outcome(method).predictor
    counts = np.diff(np.asarray(predictor.loaded.world.target.train.starts))
    user = int(np.argmax(counts == 2))
    history = history_of(predictor, user)
    assert len(history["books"]) == 2
    old, new = predictor.score([predictor.loaded.users[user]]), predictor.score_new([history])
    without = predictor.score_new([{**history, "books": []}])
    if method in ("ease", "item_knn"):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    assert (np.abs(new - without).max() > 1e-3) == (method != "history_map"), "it reads films alone"


def test_requests_of_one_size_share_a_program() -> None:
    predictor = outcome("ease").predictor
    fresh = Predictor(predictor.loaded, predictor.program, predictor.parameters, {})
    fresh.hp = predictor.hp
    for film in ("m0", "m1", "m2"):
        fresh.score_new([{"movies": [film]}])
    compiled: Any = fresh._scores_of_new
    assert compiled._cache_size() == 1


def test_padding_of_a_world_with_capacity_is_no_reader() -> None:
    """The places that a world keeps free stand behind its events and its readers; none of them is a new reader's."""
    words = ["domain.users=150", "domain.source_items=40", "domain.target_items=30", "domain.source_events=8"]
    words += ["domain.capacity=2048", "task=ranking", "split=cold_start", "method=residual_map", "method.levels=1"]
    (result,) = run_batch([compose(words)])
    predictor = result.predictor
    world = predictor.loaded.world
    assert (np.asarray(world.bridges) == world.n_users).any()
    users = cold(predictor, 2)
    old = predictor.score([predictor.loaded.users[user] for user in users])
    new = predictor.score_new([history_of(predictor, user) for user in users])
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-6)


def test_a_next_item_model_reads_a_new_history_in_its_order() -> None:
    words = [
        "domain.users=80",
        "domain.source_items=20",
        "domain.target_items=15",
        "domain.source_events=8",
        "domain.target_events=6",
    ]
    words += ["task=ranking", "split=fold_in", "split.valid=0.2", "split.test=0.2", "model=gru4rec", "model.dim=8"]
    words += ["method=target_only", "train.epochs=2", "train.progress=false"]
    (result,) = run_batch([compose(words)])
    predictor = result.predictor
    loaded = predictor.loaded
    sequence = at_inference(loaded.world).target.sequence
    assert sequence
    starts, items = np.asarray(sequence.starts), np.asarray(sequence.items)
    users = np.flatnonzero(np.diff(starts) > 2)[:3]
    histories = [{"books": [loaded.items[i] for i in items[starts[u] : starts[u + 1]]]} for u in users]
    old = predictor.score([loaded.users[u] for u in users])
    np.testing.assert_allclose(predictor.score_new(histories), old, rtol=1e-4, atol=1e-5)
    backwards = predictor.score_new([{"books": history["books"][::-1]} for history in histories])
    assert np.abs(backwards - old).max() > 1e-4


def test_lists_leave_out_what_she_has_and_what_is_excluded() -> None:
    predictor = outcome("ease").predictor
    history = {"movies": ["m0", "m1", "m2"], "books": ["b0"]}
    (whole,) = predictor.recommend_new([history], PAIRS)
    assert {line.item for line in whole} == {f"b{n}" for n in range(1, PAIRS)}
    assert {whole[0].item, whole[1].item} == {"b1", "b2"}
    (some,) = predictor.recommend_new([history], PAIRS, candidates=["b0", "b1", "b5", "b6"], exclude=["b1"])
    assert [line.item for line in some] == [line.item for line in whole if line.item in ("b5", "b6")]
    user = predictor.loaded.users[0]
    listed = predictor.recommend([user], PAIRS, candidates=["b3", "b4"])[user]
    assert {line.item for line in listed} <= {"b3", "b4"}


def test_because_names_the_film_of_the_book() -> None:
    predictor = outcome("ease").predictor
    found = predictor.because({"movies": ["m0", "m4", "m6"], "books": ["b2"]}, ["b4", "b1"])[0]
    assert (found[0].domain, found[0].item, found[0].title) == ("movies", "m4", "The Film e")
    assert len(found) == 4
    place = predictor.loaded.items.index("b4")
    for one in found:  # EASE adds up what items say
        alone, nothing = predictor.score_new([{one.domain: [one.item]}, {}])[:, place]
        assert one.adds == pytest.approx(alone - nothing, abs=1e-6)


def test_a_rating_below_what_is_liked_makes_a_book_known_and_tells_nothing(tmp_path: Any) -> None:
    random = np.random.default_rng(0)
    for name in ("movies", "books"):
        pairs = random.random((60, 9)) < 0.4
        users, items = np.nonzero(pairs)
        rated = {"user": [f"u{u}" for u in users], "item": [f"{name[0]}{i}" for i in items]}
        pl.DataFrame(rated).with_columns(rating=pl.Series(random.integers(1, 6, len(users)))).write_csv(
            tmp_path / f"{name}.csv"
        )
    likes = ["domain.target.scale=[1,5]", "domain.target.positive=4"]
    domain = ["domain=files", f"domain.target={tmp_path}/books.csv", f"domain.source={tmp_path}/movies.csv", *likes]
    (result,) = run_batch([compose([*domain, "task=ranking", "split=ratio", "method=ease"])])
    predictor = result.predictor
    disliked = {"books": [("b1", 2.0), ("b2", 5.0)]}
    np.testing.assert_array_equal(predictor.score_new([disliked]), predictor.score_new([{"books": ["b2"]}]))
    (lines,) = predictor.recommend_new([disliked], 9)
    assert not {"b1", "b2"} & {line.item for line in lines}
    with pytest.raises(TransferError, match="movies was learnt without ratings; give ids alone"):
        predictor.score_new([{"movies": [("m1", 3.0)]}])


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"movis": ["m0"]}, r"no domain 'movis' here; did you mean movies\? there are books, movies"),
        ({"movies": ["m99"]}, "movies has no item 'm99' in training; it has 8, such as m0"),
        ({"books": ["m0"]}, "books has no item 'm0'"),
    ],
)
def test_what_a_run_does_not_know_is_named(history: History, message: str) -> None:
    with pytest.raises(TransferError, match=message):
        outcome("ease").predictor.score_new([history])


def test_a_method_that_knows_its_readers_by_name_says_so() -> None:
    with pytest.raises(TransferError, match="knows its readers by name"):
        outcome("cmf").predictor.score_new([{"movies": ["m0"]}])
    with pytest.raises(TransferError, match="item 'b99' is unknown"):
        outcome("ease").predictor.recommend_new([{}], candidates=["b99"])


def test_a_result_recommends_to_old_and_new_readers() -> None:
    result = outcome("ease")
    history = {"movies": ["m0", "m1"]}
    assert result.recommend(history=history, k=3) == result.predictor.recommend_new([history], 3)[0]
    user = result.predictor.loaded.users[0]
    assert result.recommend([user], 3, exclude=["b0"]) == result.predictor.recommend([user], 3, exclude=["b0"])
    with pytest.raises(TransferError, match="recommend for users="):
        result.recommend(k=3)


def test_an_ensemble_of_methods_that_read_histories_does_too() -> None:
    (result,) = run_batch([compose([*files(), "method=ensemble", 'method.members=[ease,"item_knn method.domains=both"]'])])
    predictor = result.predictor
    users = cold(predictor, 2)
    old = predictor.score([predictor.loaded.users[user] for user in users])
    new = predictor.score_new([history_of(predictor, user) for user in users])
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-4)

"""The estimators of scikit-learn: they are the run that the command makes, and keep scikit-learn's contract."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import estimator_checks_generator

import transfer
from transfer.errors import TransferError
from transfer.sklearn import TransferClassifier, TransferRecommender, TransferRegressor

RNG = np.random.default_rng(0)
Y = np.array(["warm", "cold", "dry"])[np.arange(120) % 3]
CENTRES = {"warm": [3, 0, 0], "cold": [0, 3, 0], "dry": [0, 0, 3]}
X = (RNG.normal(size=(120, 3)) + [CENTRES[y] for y in Y]).astype(np.float32)
TURN = np.array([[1.0, 0.9, 0], [0, 1, 0], [0.5, 0, 1]], np.float32)  # what the target does to the columns
RIDGE = ("method.classifier=ridge",)
NO_FIT = ("get_params", "set_params", "no_attributes", "default_constructible", "unfitted", "clone", "repr", "tags")
# a fitted estimator holds a compiled program, which nothing can pickle
UNPICKLED = {"check_estimators_pickle": "compiled", "check_array_api_input": "asks for a variable of the environment"}


def checks(words: tuple[str, ...], of: Any = TransferClassifier) -> list[str]:
    """The names of scikit-learn's checks with these words in their names that fail."""
    failed = []
    for estimator, check in estimator_checks_generator(of(overrides=RIDGE)):
        name = check.func.__name__  # type: ignore[attr-defined]
        if name in UNPICKLED or not any(word in name for word in words):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                check(estimator)
            except Exception as error:
                failed.append(f"{name}: {error}")
    return failed


def test_the_contract_of_parameters() -> None:
    assert checks(NO_FIT) == checks(NO_FIT, TransferRegressor) == []
    one = TransferClassifier("coral", overrides=RIDGE).set_params(seed=3)
    assert clone(one).get_params() == {"method": "coral", "model": "softmax", "overrides": RIDGE, "seed": 3}


@pytest.mark.slow
def test_all_checks_of_scikit_learn() -> None:
    assert checks(("",)) == checks(("",), TransferRegressor) == []
    assert cross_val_score(TransferClassifier(overrides=RIDGE), X, Y, cv=2).min() > 0.8


def test_an_estimator_is_the_run_of_the_command() -> None:
    found = TransferClassifier("coral", overrides=RIDGE).fit(X, Y, X @ TURN)
    words = ["method=coral", *RIDGE, "split=transductive", "test=false", "train.progress=false"]
    classes, codes = np.unique(Y, return_inverse=True)
    run = transfer.run(
        words, source=transfer.domain(X, codes, name="source"), target=transfer.domain(X @ TURN, name="target")
    )
    assert found.result_.facts["id"] == run.facts["id"]
    p = found.predict_proba(X @ TURN)
    np.testing.assert_allclose(p, run.predictor.probabilities(vectors=X @ TURN), rtol=1e-6)  # type: ignore[union-attr]
    assert (found.predict(X @ TURN) == classes[p.argmax(1)]).all()
    assert found.classes_.tolist() == ["cold", "dry", "warm"]
    alone = TransferClassifier("source_only", overrides=RIDGE).fit(X, Y)
    assert found.score(X @ TURN, Y) > alone.score(X @ TURN, Y)  # what the map is for


def test_labels_of_the_target_are_learnt_from_where_they_are_known() -> None:
    swapped = np.roll(Y, 1)  # of the target, whose labels say something else than the source's
    known = [label if i % 2 else None for i, label in enumerate(swapped)]
    found = TransferClassifier("target_only", overrides=RIDGE).fit(X, Y, X, known)
    assert found.score(X, swapped) > 0.8
    assert (found.predict(X) != Y).mean() > 0.8
    with pytest.raises(ValueError, match="labels that the source lacks: \\['wet'\\]"):
        found.fit(X, Y, X, ["wet"] * 120)
    with pytest.raises(TransferError, match="method=colar: unknown; did you mean coral"):
        TransferClassifier("colar").fit(X, Y, X)


def test_a_regressor_learns_numbers_of_both_domains() -> None:
    x = RNG.normal(size=(200, 4))
    y = 50 + x @ np.array([4.0, -3, 2, 1])
    shifted = np.where(np.arange(200) < 30, y + 100, np.nan)  # of the target, where the source's numbers are wrong by 100
    one = TransferRegressor("target_only", overrides=RIDGE)
    found = clone(one).fit(x, y, x, shifted)
    assert found.get_params() == one.get_params()
    assert found.score(x, y + 100) > 0.95
    assert TransferRegressor("source_only", overrides=(*RIDGE, "hp.target_weight=0")).fit(x, y, x).score(x, y) > 0.95
    with pytest.raises(ValueError, match="yt= goes with Xt="):
        found.fit(x, y, None, shifted)


def test_texts_are_classified() -> None:
    texts = [f"{label} weather in book {i}" for i, label in enumerate(Y)]
    found = TransferClassifier(overrides=RIDGE).fit(texts, Y, [text.replace("book", "film") for text in texts])
    assert found.predict(["a dry story", "so cold"]).tolist() == ["dry", "cold"]


def test_a_recommender_reads_frames() -> None:
    users = [f"u{i % 40}" for i in range(320)]
    rows = {"user": users, "item": [f"m{(i % 40 % 2) * 8 + i // 40}" for i in range(320)]}
    books = {"user": users, "item": [f"b{(i % 40 % 2) * 8 + i // 40}" for i in range(320)]}
    kept = pl.DataFrame(books).filter((pl.col("user") != "u0") | pl.col("item").is_in(["b0", "b1", "b2"]))
    found = TransferRecommender("ease", overrides=["split.test=0.1", "split.valid=0.1"])
    lists = found.fit(pd.DataFrame(rows), kept).recommend(["u0", "u1"], k=5)
    own = lists.filter(pl.col("user") == "u0")
    assert own["rank"].to_list() == [1, 2, 3, 4, 5]
    assert set(own["item"]) <= {f"b{i}" for i in range(8)}  # what readers of her films chose
    assert clone(found).get_params()["method"] == "ease"
    with pytest.raises(TransferError, match="user 'nobody' is unknown"):
        found.recommend(["nobody"])

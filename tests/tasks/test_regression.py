"""task=regression: numbers of examples in their own unit; a source with the target's rule helps, a swapped one does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, mean_squared_error, root_mean_squared_error

import transfer
from transfer.data.examples.world import CHUNK, Examples, hidden
from transfer.data.given import Domain
from transfer.errors import TransferError
from transfer.report.comparison.average import compare_all
from transfer.report.comparison.runs import read_runs
from transfer.report.page.words import lead
from transfer.report.run_table import world_table
from transfer.solvers import classifiers
from transfer.tasks import regression

RNG = np.random.default_rng(0)
RULE = RNG.normal(size=12)
XS, XT = RNG.normal(size=(300, 12)), RNG.normal(size=(200, 12))
YS, YT = (20 + 3 * x @ RULE + 0.3 * RNG.normal(size=len(x)) for x in (XS, XT))
WORDS = ("task=regression", "split=few_labels", "split.target_labels=8", "train.progress=false")
RIDGE = "method.classifier=ridge"


def domains(ys: Any = YS, yt: Any = YT) -> dict[str, Any]:
    return {"source": transfer.domain(XS, ys, name="films"), "target": transfer.domain(XT, yt, name="books")}


def rmse(*words: str, **given: Domain) -> float:
    return transfer.run([*WORDS, *words], **(given or domains())).metrics["test"]["rmse"]


def test_errors_are_those_of_scikit_learn_in_the_unit_of_the_numbers() -> None:
    """Over more than a chunk, with padding, which would be wrong by far."""
    n, (mean, std) = CHUNK + 5, (40.0, 7.0)
    y, said = RNG.normal(size=(n, 1)).astype(np.float32), RNG.normal(size=n).astype(np.float32)
    part = hidden([(0, Examples(np.zeros((n, 1), np.float32), y, False))], False, (mean, std))
    size = part.weight.size
    predicted = jnp.full(size, 1e3).at[:n].set(said).reshape(*part.weight.shape, 1)
    means, rows = regression.measure(predicted, part)
    true, guess = y[:, 0] * std + mean, said * std + mean
    assert float(means["rmse"]) == pytest.approx(root_mean_squared_error(true, guess), rel=1e-5)
    assert float(means["mae"]) == pytest.approx(mean_absolute_error(true, guess), rel=1e-5)
    assert float(np.mean(rows["mse"][:n])) == pytest.approx(mean_squared_error(true, guess), rel=1e-5)
    assert set(rows) == {"mae", "mse"}


@pytest.mark.parametrize("n", [40, 8], ids=["more examples than features", "fewer"])
def test_the_closed_form_is_ridge_regression(n: int) -> None:
    z, y, l2 = XS[:n].astype(np.float32), ((YS[:n, None] - 20) / 9).astype(np.float32), 0.05
    fitted = classifiers.fit("svm", jnp.array(z), jnp.array(y), jnp.ones(n), jnp.float32(l2), False, numeric=True)
    ours = classifiers.logits(fitted, jnp.array(XT, jnp.float32))[:, 0]
    mean = z.mean(axis=0)
    peer = Ridge(alpha=l2 * n, fit_intercept=False).fit(np.c_[z - mean, np.full(n, classifiers.CONSTANT)], y[:, 0])
    wanted = peer.predict(np.c_[XT - mean, np.full(len(XT), classifiers.CONSTANT)])
    np.testing.assert_allclose(ours, wanted, atol=2e-3)
    nearest = classifiers.fit("nn", jnp.array(z), jnp.array(y), jnp.ones(n), jnp.float32(l2), False, numeric=True)
    assert classifiers.logits(nearest, jnp.array(z[:5]))[:, 0].tolist() == y[:5, 0].tolist()


def test_a_source_with_the_rule_helps_and_a_swapped_one_does_not() -> None:
    alone, joined = rmse("method=target_only", RIDGE), rmse("method=source_only", RIDGE)
    swapped = rmse("method=source_only", RIDGE, **domains(ys=RNG.permutation(YS)))
    assert joined < 1 < 0.5 * alone, "eight examples do not tell twelve numbers"
    assert swapped > 0.9 * alone


def test_figures_have_the_unit_of_the_numbers_and_splits_do_not_look_at_them() -> None:
    ours = transfer.run([*WORDS, "method=source_only", RIDGE], **domains())
    times = transfer.run([*WORDS, "method=source_only", RIDGE], **domains(1000 * YS - 5, 1000 * YT - 5))
    for name in ("rmse", "mae"):
        assert times.metrics["test"][name] == pytest.approx(1000 * ours.metrics["test"][name], rel=1e-3)
    assert ours.per_user is not None
    assert times.per_user is not None
    assert ours.per_user["user"].to_list() == times.per_user["user"].to_list()
    assert ours.metrics["test"]["rmse"] == pytest.approx(np.sqrt(ours.per_user["mse"].mean()), rel=1e-5)
    tested = ours.per_user["user"].to_numpy()
    values = ours.predictor.values(vectors=XT[tested].astype(np.float32))  # type: ignore[union-attr]
    assert root_mean_squared_error(YT[tested], values) == pytest.approx(ours.metrics["test"]["rmse"], rel=1e-4)
    with pytest.raises(TransferError, match="this run predicts numbers: use values"):
        ours.predictor.classify(vectors=XT)  # type: ignore[union-attr]
    assert ours.facts["world"]["target"]["train"] + ours.facts["world"]["target"]["stop"] == 8, "in all, not of a class"


def test_models_learn_numbers_by_gradient_and_several_sources_are_weighed() -> None:
    assert rmse("method=deep_coral", "train.epochs=30", "hp.learning_rate=0.01") < 0.5 * np.std(YT)
    given = domains()
    given["source"] = [given["source"], transfer.domain(XS, RNG.permutation(YS), name="noise")]
    words = [*WORDS, "split.target_labels=30", "method=source_only", RIDGE, "hp.target_weight=0"]
    run = transfer.run(words, **given)
    assert run.parameters["mix"]["shares"][0] > 0.9
    assert run.metrics["test"]["rmse"] < 1.5


def test_what_needs_classes_or_numbers_says_so(tmp_path: Path) -> None:
    for words, said in (
        (["method=cdan", "model=mlp"], "method=cdan does not do task=regression; methods that do: adabn, coral"),
        (
            ["method=coral", "method.classifier=softmax"],
            "method.classifier=softmax is for classes; task=regression has ridge",
        ),
        (["method=source_only", "split=transductive", "select=entropy"], "select=entropy is for classes"),
        (["method=source_only", "task.select=accuracy"], "task=regression measures rmse and mae"),
    ):
        with pytest.raises(TransferError, match=said):
            transfer.run([*WORDS, *words], **domains())
    with pytest.raises(TransferError, match="all numbers that are learnt from are 1"):
        transfer.run([*WORDS, "method=target_only"], target=transfer.domain(XT, np.ones(200)))
    with pytest.raises(TransferError, match="domain=digits_shift has classes"):
        transfer.run(["domain=digits_shift", "task=regression", "method=source_only"])
    (tmp_path / "t.csv").write_text("text,label\n" + "a b,1.5\n" * 3 + "c,good\n")
    with pytest.raises(TransferError, match=r"line 5: the label 'good' is not one finite number"):
        transfer.run(
            [*WORDS, "domain=examples", "domain.source=null", f"domain.target={tmp_path / 't.csv'}", "method=target_only"]
        )


def test_the_report_speaks_of_numbers(tmp_path: Path) -> None:
    for number, method in enumerate(("target_only", "source_only")):
        transfer.run([*WORDS, f"method={method}", RIDGE], folder=tmp_path / str(number), **domains())
    (found,) = compare_all(read_runs(tmp_path))
    assert (found.metric, found.sign, found.unit) == ("rmse", -1, "examples")
    assert (
        "rmse is the root of the mean squared error of predicted numbers, in their own unit; lower is better"
        in lead(found)[0]
    )
    assert "numbers 19.85 ± 7.652" in str(world_table(found.facts).title)

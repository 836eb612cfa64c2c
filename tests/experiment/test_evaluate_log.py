"""A log of impressions from a command or from Python: a run as a policy, what is refused, what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pairs import files

import transfer
from transfer.api import run
from transfer.commands import evaluate_log
from transfer.data.logs.simulate import softmax
from transfer.errors import TransferError
from transfer.experiment.log_values import refuse_without_support


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run([*files(), "method=ease", "test=false"], tmp_path_factory.mktemp("shelf") / "run")  # it is asked for scores


@pytest.fixture(scope="module")
def told(own: Any) -> tuple[pl.DataFrame, np.ndarray, list[str], list[str]]:
    """Impressions of the run's readers, drawn uniformly; a click is likelier where the run's score is higher."""
    predictor = own.predictor
    users, items = predictor.loaded.users, sorted(predictor.loaded.items)
    scores = predictor.score(users, items).astype(float)
    rng = np.random.default_rng(0)
    user, item = rng.integers(len(users), size=6000), rng.integers(len(items), size=6000)
    rank = scores.argsort(1).argsort(1) / len(items)
    click = rng.random(6000) < 0.05 + 0.4 * rank[user, item]
    frame = pl.DataFrame(
        {
            "user": np.array(users)[user],
            "item": np.array(items)[item],
            "position": rng.integers(1, 4, 6000),
            "propensity": np.full(6000, 1 / len(items)),
            "click": click.astype(int),
        }
    )
    return frame, 0.05 + 0.4 * rank, users, items


@pytest.fixture(scope="module")
def lists(told: tuple[Any, ...]) -> pl.DataFrame:
    """The same in lists of three, whoever the reader was."""
    return told[0].with_columns(position=pl.int_range(pl.len()) % 3 + 1, slate=pl.int_range(pl.len()) // 3).drop("user")


def test_a_run_is_worth_what_its_chances_say(own: Any, told: tuple[Any, ...]) -> None:
    frame, rate, users, items = told
    report = transfer.evaluate_log(frame, own, temperature=0.05)
    predictor = own.predictor
    chance = softmax(predictor.score(users, items).astype(float), 0.05)
    counts = frame["user"].value_counts()
    share = np.array([dict(counts.iter_rows()).get(user, 0) for user in users]) / len(frame)
    truth = float(share @ (chance * rate).sum(1))
    assert truth > 1.1 * rate.mean(), "a policy that follows what is clicked"
    for row in report.values.drop_nulls("value").iter_rows(named=True):
        assert abs(row["value"] - truth) < 2 * (row["high"] - row["low"]) / 2, row
    paired = report.values.filter(estimator="snips").row(0, named=True)
    assert paired["difference_low"] > 0
    assert report.support["temperature"].to_list() == [0.05]
    assert report.support["mean_weight"].item() == pytest.approx(1, abs=0.1)
    usual = transfer.evaluate_log(frame, own, by=["position"])
    spread = predictor.score(users, items).astype(np.float64).std(1).mean()
    assert usual.support["temperature"].item() == pytest.approx(spread, rel=1e-6)
    assert usual.rates["position"].to_list() == [1, 2, 3]
    row = report.values.filter(estimator="dr").row(0, named=True)
    ours, theirs = (f"{1000 * value:.0f}" for value in (row["value"], row["value"] - row["difference"]))
    assert report.sentences[0].startswith(
        f"run against what was shown: {ours} instead of {theirs} clicks per 1,000 impressions: "
    )
    assert "more (95 % interval +" in report.sentences[0]
    assert "takes for granted that the propensities are the chances" in report.sentences[1]


def test_policies_are_compared_with_each_other(own: Any, told: tuple[Any, ...], lists: pl.DataFrame) -> None:
    frame = told[0]
    report = transfer.evaluate_log(frame, [own, "uniform"], "uniform", temperature=0.2)
    value = {name: part["value"].drop_nulls() for (name,), part in report.values.group_by("policy")}
    found = report.values["difference"].to_numpy()
    np.testing.assert_allclose(found[:8], (value["run"] - value["uniform"]).to_numpy(), atol=1e-5)
    np.testing.assert_allclose(found[10:], 0, atol=1e-5)
    alone = transfer.evaluate_log(frame, own, temperature=0.2)
    np.testing.assert_allclose(alone.values["value"].drop_nulls(), value["run"], atol=1e-5)
    other = lists.filter(pl.col("item").is_in(told[3][:3]))
    narrow = transfer.evaluate_log(lists, {"path": other, "name": "narrow"}, propensities="frequency")
    assert narrow.values.filter(estimator="ips")["value"].item() == pytest.approx(other["click"].mean(), abs=0.01)


def test_lists_are_valued_where_the_log_says_what_was_shown_together(lists: pl.DataFrame) -> None:
    shuffled = lists.sample(fraction=1.0, shuffle=True, seed=1)
    found = transfer.evaluate_log(shuffled, "uniform").slates
    assert found is not None
    value = dict(found.select("estimator", "value").iter_rows())
    assert value["independent"] == pytest.approx(3 * lists["click"].mean(), rel=1e-5)  # π is the log's own policy
    assert value["reward_interaction"] == pytest.approx(value["independent"], rel=1e-5)
    last = pl.int_range(pl.len()) == len(lists) - 1
    cut = lists.with_columns(slate=pl.when(last).then(0).otherwise("slate"))
    assert transfer.evaluate_log(cut, "uniform").slates is None, "a list that is cut off, and one with a position twice"


def test_what_the_log_does_not_support_is_refused(own: Any, told: tuple[Any, ...], lists: pl.DataFrame) -> None:
    frame, _, _, items = told
    never = frame.with_columns(pl.col("item").replace(items[0], items[1]))
    with pytest.raises(TransferError, match=r"of its choices are items that the log never shows there"):
        transfer.evaluate_log(never, own, candidates=tuple(items), temperature=5.0)
    rare = lists.with_columns(propensity=pl.when(pl.int_range(pl.len()) == 0).then(1e-6).otherwise("propensity"))
    with pytest.raises(TransferError, match=r"6,000 impressions speak for it like 1, and 100 are needed"):
        transfer.evaluate_log(rare, "uniform")
    few = lists.with_columns(click=pl.when(pl.int_range(pl.len()) < 5).then(1).otherwise(0))
    with pytest.raises(TransferError, match=r"with click speak for it like [0-5]\.\d, and 10 are needed"):
        transfer.evaluate_log(few, "uniform")
    with pytest.raises(TransferError, match=r"mean weight is 0\.33 ± 0\.0\d and has to be 1"):
        transfer.evaluate_log(lists.with_columns(pl.col("propensity") * 3), "uniform")
    with pytest.raises(TransferError, match=r"no propensities.*--propensities frequency"):
        transfer.evaluate_log(frame.drop("propensity"), "uniform")
    with pytest.raises(TransferError, match=r"no column is recognised as the user"):
        transfer.evaluate_log(frame.drop("user"), own)
    with pytest.raises(TransferError, match=r"knows none of its 1 readers, such as stranger"):
        transfer.evaluate_log(frame.with_columns(user=pl.lit("stranger")), own)
    with pytest.raises(TransferError, match=r"reward=purchase: what the log has is click"):
        transfer.evaluate_log(frame, reward="purchase")
    with pytest.raises(TransferError, match=r"temperatur: no such setting; did you mean temperature"):
        transfer.evaluate_log(frame, "uniform", temperatur=1)
    with pytest.raises(TransferError, match="from the log of one arm"):
        transfer.evaluate_log(frame.with_columns(arm=pl.col("click").cast(pl.String)), "uniform")


def test_readers_whom_a_run_does_not_know_are_counted(own: Any, told: tuple[Any, ...]) -> None:
    strangers = told[0].head(60).with_columns(user=pl.lit("x"))
    report = transfer.evaluate_log(pl.concat([told[0], strangers]), own, temperature=1.0)
    assert report.notes == ["60 impressions of readers whom run does not know are left out"]
    assert report.support["impressions"].item() == 6000


def test_a_frame_is_read_as_strictly_as_a_file() -> None:
    with pytest.raises(TransferError, match=r"row 2: click 3 is not 0 or 1"):
        transfer.evaluate_log(pl.DataFrame({"item": ["a", "b"], "click": [1, 3]}))
    with pytest.raises(TransferError, match=r"itm: no such key here; did you mean item\? a log has path, name, user"):
        transfer.evaluate_log({"path": pl.DataFrame({"item": ["a"], "click": [1]}), "itm": "x"})
    rates = transfer.evaluate_log(pl.DataFrame({"opened": [True, False]}).rename({"opened": "click"})).rates
    assert rates["ctr"].item() == 0.5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (pl.lit(float("nan")).alias("propensity"), r"row 1: propensity nan is not above 0 and at most 1"),
        (pl.lit(0.0).alias("propensity"), r"row 1: propensity 0\.0 is not above 0 and at most 1"),
        (pl.lit(None, pl.Float64).alias("propensity"), r"row 1: propensity '' is not above 0 and at most 1"),
        (pl.lit(float("nan")).alias("click"), r"row 1: click nan is not 0 or 1"),
        (pl.lit("x").alias("position"), r"row 1: position 'x' is not a whole number"),
    ],
)
def test_a_frame_with_chances_that_are_none_is_refused(changed: pl.Expr, said: str) -> None:
    frame = pl.DataFrame({"item": ["a", "b"], "position": [1, 1], "propensity": [0.5, 0.5], "click": [1, 0]})
    with pytest.raises(TransferError, match=said):
        transfer.evaluate_log(frame.with_columns(changed), "uniform")


def test_a_log_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item": ["a"], "propensity": [0.5], "click": [1]})
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("item,propensity,click\n")
    for log in (frame.head(0), tmp_path / "header.csv"):
        with pytest.raises(TransferError, match="no rows below the header; give a file with rows"):
            transfer.evaluate_log(log, "uniform")
    with pytest.raises(TransferError, match=r"empty\.csv: the file is empty"):
        transfer.evaluate_log(tmp_path / "empty.csv", "uniform")
    with pytest.raises(TransferError, match="no column is recognised as the click; its columns are none"):
        transfer.evaluate_log(pl.DataFrame())
    with pytest.raises(TransferError, match="no column is recognised as the click; its columns are thing, opened"):
        transfer.evaluate_log(pl.DataFrame({"thing": ["a"], "opened": [1]}))
    for bad, said in (
        ({"temperature": float("nan")}, "temperature=nan: a number above 0"),
        ({"clip": -1}, "clip=-1: a number above 0"),
        ({"draws": -1}, "draws=-1: write 0"),
        ({"propensities": "freq"}, "propensities=freq: unknown; did you mean frequency"),
        ({"candidates": []}, "candidates: there are none"),
        ({"by": "position"}, "no column is recognised as the position"),
    ):
        with pytest.raises(TransferError, match=said):
            transfer.evaluate_log(frame, "uniform", **bad)


def test_support_is_refused_at_its_bounds() -> None:
    fine = {"policy": "p", "impressions": 1000, "effective": 100.0, "events": 10.0, "mean_weight": 1.1, "missing": 0.05}
    refuse_without_support(fine, "click")
    for worse in ({"effective": 99.0}, {"events": 9.9}, {"missing": 0.051}, {"mean_weight": 0.4}, {"events": float("nan")}):
        with pytest.raises(TransferError):
            refuse_without_support(fine | worse, "click")


def test_the_command_prints_it(own: Any, told: tuple[Any, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told[0].rename({"item": "isbn", "click": "opened"}).write_csv(tmp_path / "log.csv")
    words = [str(tmp_path / "log.csv"), "click=opened"]
    assert evaluate_log.main([*words, "--by", "position"]) == 0
    said = capsys.readouterr().out
    assert "CTR" in said
    assert "snips" not in said
    words += ["--policy", str(own.folder), "--policy", "uniform", "--against", "uniform", "--temperature", "0.3"]
    assert evaluate_log.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("delta_beta" in line for line in lines) == 2
    assert any(line.split()[:2] == ["run", "0.3"] for line in lines)
    assert [line.partition(":")[0] for line in lines[-3:-1]] == [
        "run against uniform",
        "uniform against uniform",
    ]
    with pytest.raises(TransferError, match=r"no column 'clicked'"):
        evaluate_log.main([str(tmp_path / "log.csv"), "click=clicked"])


def test_both_policies_of_the_open_bandit_sample(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [f"{{path: open-bandit/{policy}/women/women.csv, name: {policy}}}" for policy in ("random", "bts")]
    assert evaluate_log.main([*parts, f"data_dir={data_dir}"]) == 0
    said = capsys.readouterr().out
    assert "0.0046 (0.003451 to 0.00613)" in said
    with pytest.raises(TransferError, match="it is so far from what was shown"):
        evaluate_log.main([parts[1], f"data_dir={data_dir}", "--policy", "uniform"])

"""Logs of impressions: what is read of a file, what is refused and where, and the figures with their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from transfer.config.logs import LogFile
from transfer.data.logs.read import read_log, together
from transfer.errors import TransferError
from transfer.evaluate.logged.rates import bootstrap_ratio, design_effect, rates, wilson

HEADER = "user_id,item_id,position,propensity_score,click,purchase,price,feedback"
ROWS = ["u1,007,1,0.5,1,1,12.5,1", "u1,b2,2,0.25,0,0,,", "u2,007,1,0.5,1,0,9.0,0", "u3,b2,1,0.5,0,0,,"]


def log_file(folder: Path, rows: list[str] = ROWS, header: str = HEADER, name: str = "log.csv") -> LogFile:
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return LogFile(path=str(folder / name))


def test_columns_are_recognised_and_typed(tmp_path: Path) -> None:
    log = read_log(log_file(tmp_path), tmp_path)
    assert log.columns["propensity"] == "propensity_score"
    assert log.rows["item"].to_list() == ["007", "b2", "007", "b2"], "ids keep their zeros"
    assert log.rows["feedback"].to_list() == [1, None, 0, None]
    assert log.rows["arm"].to_list() == ["log"] * 4
    log.rows.drop("arm").rename({"item": "isbn"}).write_parquet(tmp_path / "log.parquet")
    again = read_log(LogFile(path="log.parquet", name="other"), tmp_path)
    assert again.rows.drop("arm").equals(log.rows.drop("arm"))
    both = together([log, again])
    assert both.rows["arm"].value_counts().sort("arm").rows() == [("log", 4), ("other", 4)]
    with pytest.raises(TransferError, match="two logs are called log"):
        together([log, log])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("u9,b1,1,0,0,0,,", r"line 6: propensity '0' is not above 0"),
        ("u9,b1,1,1.5,0,0,,", r"line 6: propensity '1.5' is not above 0 and at most 1"),
        ("u9,b1,1,nan,0,0,,", r"line 6: propensity 'nan'"),
        ("u9,b1,1,0.5,2,0,,", r"line 6: click '2' is not 0 or 1; correct"),
        ("u9,b1,1,0.5,,0,,", r"line 6: click '' is not 0 or 1|line 6: click None"),
        ("u9,b1,1,0.5,0,0,,maybe", r"line 6: feedback 'maybe' is not 0 or 1 or empty"),
        ("u9,b1,1.5,0.5,0,0,,", r"line 6: position '1.5' is not a whole number"),
        ("u9,b1,1,0.5,1,1,,", r"line 6: a purchase without a price"),
        ("u9,b1,1,0.5,1,1,-2,", r"line 6: price '-2' is not a number of 0 or more"),
        (",b1,1,0.5,0,0,,", r"line 6: empty user"),
        ("u9,,1,0.5,0,0,,", r"line 6: empty item"),
        ("u9,b1,1,0.5,0,0,", r"line 6: 7 fields, the header has 8"),
    ],
)
def test_faults_have_a_line(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(TransferError, match=said) as caught:
        read_log(log_file(tmp_path, [*ROWS, row]), tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"no column is recognised as the click.*item_id.*transfer evaluate-log"):
        read_log(log_file(tmp_path, ["b1,0.5"], "item_id,pscore"), tmp_path)
    with pytest.raises(TransferError, match=r"the purchase, which the price needs"):
        read_log(log_file(tmp_path, ["b1,1,2.0"], "item_id,click,price"), tmp_path)
    with pytest.raises(TransferError, match=r"no column 'shown'.*correct `item: shown`"):
        read_log(log_file(tmp_path).model_copy(update={"item": "shown"}), tmp_path)


def test_figures_are_the_definitions(tmp_path: Path) -> None:
    log = read_log(log_file(tmp_path), tmp_path)
    (row,) = rates(log.rows).rows(named=True)
    assert (row["impressions"], row["clicks"], row["purchases"], row["feedback"]) == (4, 2, 1, 2)
    assert (row["ctr"], row["conversion"], row["revenue"], row["rpm"]) == (0.5, 0.5, 12.5, 3125.0)
    assert row["feedback_rate"] == 0.5
    by = rates(log.rows, ("arm", "position"))
    assert by["position"].to_list() == [1, 2]
    assert by["clicks"].to_list() == [2, 0]


def test_a_purchase_without_a_click_is_no_conversion() -> None:
    rows = pl.DataFrame({"arm": ["a"] * 4, "click": [1, 1, 0, 0], "purchase": [1, 0, 1, 0]})
    assert rates(rows)["conversion"].item() == 0.5
    assert rates(rows)["purchases"].item() == 2


@pytest.mark.parametrize(("yes", "count"), [(0, 10), (3, 20), (46, 10_000), (10, 10)])
def test_wilson_is_that_of_an_independent_implementation(yes: int, count: int) -> None:
    other = stats.binomtest(yes, count).proportion_ci(method="wilson")
    assert wilson(yes, count) == pytest.approx((other.low, other.high), abs=1e-9)


def test_readers_who_are_alike_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    unit = np.repeat(np.arange(400), 10)
    alike = np.repeat(random.random(400) < 0.3, 10).astype(float)
    apart = (random.random(4000) < 0.3).astype(float)
    every = np.ones(4000)
    assert design_effect(alike, every, unit) == pytest.approx(10, rel=0.05), "ten copies are one trial"
    assert design_effect(apart, every, unit) < 1.3
    narrow, wide = wilson(1200, 4000), wilson(1200, 4000, 10)
    assert wide[1] - wide[0] == pytest.approx(10**0.5 * (narrow[1] - narrow[0]), rel=0.02)


def test_bootstrap_of_revenue_agrees_with_the_normal_interval() -> None:
    random = np.random.default_rng(1)
    revenue = np.where(random.random(5000) < 0.1, random.gamma(4.0, 3.0, 5000), 0.0)
    low, high = bootstrap_ratio(revenue, np.ones(5000), np.arange(5000), 4000)
    half = 1.96 * revenue.std() / 5000**0.5
    assert (low, high) == pytest.approx((revenue.mean() - half, revenue.mean() + half), rel=0.02)
    unit = np.repeat(np.arange(2500), 2)
    doubled = np.repeat(revenue[:2500], 2)
    wide = bootstrap_ratio(doubled, np.ones(5000), unit, 4000)
    assert wide[1] - wide[0] > 1.3 * (high - low) * doubled.std() / revenue.std(), "a reader is drawn with all she has"

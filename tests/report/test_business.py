"""The page in business terms: planted differences come out per 1,000 readers, with what had to be assumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sweeps import USERS, write_sweep

from transfer.report.comparison.business import deal
from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.per_user import linearised
from transfer.report.comparison.runs import read_runs
from transfer.report.page import business
from transfer.report.page.distribution import gains_of_readers
from transfer.report.page.page import write_report

HIT = {"target_only": 0.5, "emcdr": 0.75}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A method that is better for all, finds a book for half as many more, sells 2.50 more and shows more that is liked."""
    place = write_sweep(tmp_path_factory.mktemp("business"), {"target_only": 0.0, "emcdr": 0.1}, seeds=(0,), noise=0.01)
    for path in place.glob("*/per_user.parquet"):
        facts = json.loads((path.parent / "result.json").read_text())
        better = facts["method"] == "emcdr"
        random = np.random.default_rng(facts["split_seed"])
        hit = (random.random(USERS) < HIT[facts["method"]]).astype(np.float32)
        judged = random.integers(0, 4, USERS).astype(np.float32)
        share = np.where(judged > 0, 0.5 if better else 0.25, np.nan).astype(np.float32)
        paid = random.uniform(5, 6, USERS).astype(np.float32) + 2.5 * better
        more = {"hit@10": hit, "precision@10": hit / 10, "judged@10": judged, "like_share@10": share, "revenue@10": paid}
        more["text_diversity@10"] = np.where(np.arange(USERS) < 7, np.nan, 0.5 + 0.25 * better).astype(np.float32)
        table = pl.read_parquet(path).with_columns(**more)
        table.fill_nan(None).write_parquet(path)
        means = {name: float(np.nanmean(values)) for name, values in more.items()}
        facts["metrics"]["test"] |= means | {"like_share": 0.8, "price_coverage": 0.28, "coverage@10": 0.4, "gini@10": None}
        (path.parent / "result.json").write_text(json.dumps(facts))
    return place


def comparison(folder: Path) -> Comparison:
    return compare(read_runs(folder))[0]


def test_planted_differences_are_told_per_thousand_readers(folder: Path) -> None:
    found = deal(comparison(folder))
    assert found is not None
    assert (found.method.method, found.base.method, found.repeats) == ("emcdr", "target_only", 3)
    assert found.changes["hit"].ours == pytest.approx(0.75, abs=0.06)
    assert found.changes["revenue"].paired.difference == pytest.approx(2.5, abs=0.1)
    assert found.changes["like_share"].ours == pytest.approx(0.5)
    assert found.changes["like_share"].paired.difference == pytest.approx(0.25)
    assert found.changes["text_diversity"].paired.difference == pytest.approx(0.25), "of readers with a value"
    said = business.sentences(comparison(folder))
    assert said[0].startswith("emcdr, which validation prefers of the methods that see the source, against target_only")
    per_thousand = round(1000 * found.changes["hit"].paired.difference)
    assert f": {per_thousand} more (95 % interval " in said[1]
    assert "a price is known of 28% of what they like" in " ".join(said)
    assert "50 instead of 25 of 100 listed books" in " ".join(said)
    assert "of all that they have judged 80% is liked" in " ".join(said)
    assert "worse for 0;" in said[-1], "nobody loses"
    assert any("buys it at its listed price" in one for one in business.assumptions(comparison(folder)))


def test_the_page_and_the_table_have_them(folder: Path) -> None:
    page = write_report(folder).read_text()
    assert "In business terms" in page
    assert "What had to be assumed" in page
    assert "Distribution of readers" in page
    beyond = business.table(comparison(folder))
    assert beyond is not None
    assert beyond.heads[:2] == ["method", "coverage @10"]
    assert "Gini @10" not in beyond.heads, "no run has measured it"
    assert "### Beyond accuracy" in (folder / "table.md").read_text()
    groups = business.group_table(comparison(folder))
    assert groups is not None
    assert {row[0].text for row in groups.rows} == {f"{m}, {g} users" for m in HIT for g in ("cold", "sparse", "warm")}


def test_one_split_or_one_method_says_no_more_than_it_can(tmp_path: Path) -> None:
    alone = comparison(write_sweep(tmp_path / "a", {"target_only": 0.0}))
    assert business.sentences(alone) == business.assumptions(alone) == gains_of_readers(alone) == []
    single = comparison(write_sweep(tmp_path / "b", {"target_only": 0.0, "emcdr": 0.1}, splits=(0,)))
    said = business.sentences(single)
    assert "fewer than three splits nothing is tested" in said[0]
    assert not any("interval" in one for one in said)


def test_the_share_of_likes_is_that_of_all_that_is_judged() -> None:
    share, judged = np.array([1.0, np.nan, 0.25]), np.array([1.0, 0.0, 4.0])
    value, weight = linearised("like_share@10", share, judged)
    assert weight @ value == pytest.approx((1 + 1) / 5)
    assert value[1] == pytest.approx(2 / 5), "who has judged nothing moves nothing"

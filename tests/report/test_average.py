"""Many pairs of domains: the grid leaves out what is its own source, means are means, their intervals are over pairs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console
from scipy import stats
from sweeps import USERS, write_run

from hydra_plugins.transfer_sweeper import TransferSweeper
from transfer.evaluate.projection import project
from transfer.report.comparison.average import alone, averages, pair_name
from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison, by_pair
from transfer.report.comparison.reference import reference
from transfer.report.comparison.runs import Run, read_runs
from transfer.report.page.page import write_report
from transfer.report.page.tables import markdown
from transfer.report.study import Order, Study, figures, orderings
from transfer.report.sweep_table import sweep_table
from transfer.results.run_folder import PROJECTION

PAIRS = [("plain", "rotated"), ("rotated", "plain"), ("plain", "noisy")]
GAINS = {"source_only": (0.0, 0.0, 0.0), "coral": (0.3, 0.1, 0.2), "whitening": (0.1, 0.2, -0.3)}
MEAN = "digits_shift, classification, split examples, mean over 3 pairs of domains"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs, two splits; examples that are right with known gains; a method that lacks a pair; no training."""
    place, number = tmp_path_factory.mktemp("pairs"), 0
    points = project(*[[np.random.default_rng(i).normal(i, 1, (30, 4)).astype(np.float32) for i in (0, 1)]] * 2)
    assert points is not None
    for method, gains in (*GAINS.items(), ("tca", (0.9, 0.9))):
        for (source, target), gain in zip(PAIRS, gains, strict=False):
            for split in (0, 1):
                words = (f"method={method}", f"domain.source=[{source}]", f"domain.target={target}", f"split.seed={split}")
                right = np.random.default_rng(split).uniform(0, 0.4, USERS) + gain
                apart = {
                    "distance": {time: dict.fromkeys(("mmd", "coral", "proxy_a"), 0.5) for time in ("before", "after")}
                }
                write_run(place / str(number), *words, values=right, task="classification", **apart)
                points.write_parquet(place / str(number) / PROJECTION)
                number += 1
    return place


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Run]:
    return read_runs(folder)


@pytest.fixture(scope="module")
def found(runs: list[Run]) -> Comparison:
    (mean,) = averages(compare(runs, pairs=False))
    return mean


def test_a_mean_over_pairs_is_the_mean_of_their_figures(found: Comparison) -> None:
    assert found.title == MEAN
    assert [one.method for one in found.best] == ["coral", "source_only", "whitening"], "tca lacks a pair, it has no mean"
    assert sorted(pair_name(member) for member in found.members) == sorted(f"{a} → {b}" for a, b in PAIRS)
    for one in found.best:
        values = by_pair(one.method, found)
        assert one.summary("test", "accuracy").mean == pytest.approx(np.mean(values), abs=1e-6)
        assert len(one.runs) == 2
    base = reference(found)
    assert base is not None
    assert base.method == "source_only"


def test_its_gaps_have_intervals_over_pairs(found: Comparison) -> None:
    for method in ("coral", "whitening"):
        gap = found.gap(method)
        assert gap is not None
        assert (gap.basis, gap.size) == ("pairs of domains", 3)
        peer = stats.ttest_1samp(GAINS[method], 0)
        interval = peer.confidence_interval(0.95)
        assert gap.paired.difference == pytest.approx(np.mean(GAINS[method]), abs=1e-5)
        assert (gap.paired.low, gap.paired.high) == pytest.approx((interval.low, interval.high), abs=1e-4)
        assert gap.paired.p == pytest.approx(peer.pvalue, abs=1e-4)
        assert gap.verdict == "not shown", "three pairs are few"


def test_tables_and_studies_speak_of_the_mean(found: Comparison) -> None:
    everything = [found, *found.members]
    assert alone(everything) == [found]
    text = markdown(everything)
    assert text.count("### ") == 1
    assert "| method | plain → rotated | rotated → plain | plain → noisy | mean |" in text
    rows = figures(everything).filter(pl.col("comparison") == MEAN)
    assert rows["method"].to_list() == ["coral", "source_only", "whitening"]
    assert rows["runs"].to_list() == [2, 2, 2]
    order = Order(task="classification", better="source_only", worse="whitening")  # better on the mean, not in every pair
    several = ("classification", "split examples")
    for where, lines in (((), [True]), (("split examples",), [True]), (several, [True]), (("split",), [False])):
        study = Study(title="t", cost="c", sweeps={"s": []}, quick={}, order=[order.model_copy(update={"where": where})])
        assert [line.agrees for line in orderings(study, everything)] == lines, where


def test_the_page_shows_pairs_distances_and_both_domains(folder: Path) -> None:
    page = write_report(folder).read_text()
    assert "Test accuracy by pair of domains" in page
    assert "<details><summary>Source and target before and after the map, plain → rotated</summary>" in page, (
        "of one of many"
    )
    assert "Distances between the domains, before and after the map" in page
    assert page.count("Source and target before and after coral: MMD² 0.5000 → 0.5000") == 1, "of one pair"
    assert "Reference: source_only, the source&#39;s own model, not adapted" in page
    assert "means over pairs of domains, which say so" in page


def test_a_grid_leaves_out_domains_that_are_their_own_source(capsys: pytest.CaptureFixture[str]) -> None:
    def jobs(*words: str) -> list[list[str]]:
        (batch,) = TransferSweeper.split_arguments(OverridesParser.create().parse_overrides(list(words)), None)
        return batch

    grid = jobs("method=coral", "domain.source=a,b,c", "domain.target=a,b,c")
    assert len(grid) == 6
    assert all(job[1].partition("=")[2] != job[2].partition("=")[2] for job in grid)
    assert "3 combinations with domain.source = domain.target are left out" in capsys.readouterr().err
    assert len(jobs("domain.source=a", "domain.target=a", "seed=0,1")) == 2, "no grid: the runs say what is wrong"
    assert len(jobs("method=a,b", "seed=0,1")) == 4
    part = "domain.target.where={kind: a},{kind: b}"
    assert len(jobs("domain.source.path=x", "domain.source.each=kind", "domain.target.path=x", part)) == 2, (
        "parts of a file"
    )
    assert capsys.readouterr().err == ""


def test_projections_share_their_axes_where_the_space_is_the_same() -> None:
    rng = np.random.default_rng(0)
    source, target = (rng.normal([i * 30, 0, 0, 0, 0], [1, 1, 9, 1, 4], (400, 5)) for i in (0, 1))
    points = project([source, target], [source + 30 * np.eye(5)[0], target])
    assert points is not None
    assert points["same_axes"].all()
    ours, theirs = points.filter(domain=1), points.filter(domain=0)
    assert (len(ours), len(theirs)) == (200, 200)
    shift = {time: abs(ours[f"{time}_x"].mean() - theirs[f"{time}_x"].mean()) for time in ("before", "after")}  # type: ignore[operator]
    assert shift["before"] == pytest.approx(30, rel=0.1)  # the first direction is that of the shift
    assert shift["after"] < 1.5
    np.testing.assert_array_equal(theirs["before_x"], theirs["after_x"])
    both = np.concatenate([target[::2], source[::2]])
    leading = np.linalg.eigvalsh(np.cov(both.T))[-2:].sum()
    assert points["before_x"].var() + points["before_y"].var() == pytest.approx(leading, rel=1e-3)  # type: ignore[operator]
    elsewhere = project([source, target], [source[:, :3], target[:, :3]])
    assert elsewhere is not None
    assert not elsewhere["same_axes"].any()
    assert project([source, target], [source * np.nan, target]) is None


def test_pairs_without_a_common_method_have_no_mean(tmp_path: Path) -> None:
    for number, (method, (source, target)) in enumerate(zip(("coral", "tca"), PAIRS[:2], strict=True)):
        words = (f"method={method}", f"domain.source=[{source}]", f"domain.target={target}")
        write_run(tmp_path / str(number), *words, values=np.full(USERS, 0.5), task="classification")
    comparisons = compare(read_runs(tmp_path), pairs=False)
    assert len(comparisons) == 2
    assert averages(comparisons) == []


def test_on_the_screen_a_mean_tells_variants_of_a_method_apart(tmp_path: Path) -> None:
    kinds = ("method.classifier=ridge", "method.classifier=softmax")
    for number, ((source, target), kind) in enumerate((pair, kind) for pair in PAIRS[:2] for kind in kinds):
        words = ("method=source_only", kind, f"domain.source=[{source}]", f"domain.target={target}")
        write_run(tmp_path / str(number), *words, values=np.full(USERS, 0.1 * number), task="classification")
    (mean,) = averages(compare(read_runs(tmp_path), pairs=False))
    console = Console(file=io.StringIO(), width=180)
    console.print(sweep_table(mean))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "source_only classifier=softmax" in said
    assert "source_only classifier=ridge" in said

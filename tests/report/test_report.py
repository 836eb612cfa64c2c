"""The report of a sweep: what is compared with what, verdicts on planted gains, and the files that it leaves."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from planted import tiny
from sweeps import HISTORY, USERS, write_run, write_sweep

from transfer.evaluate import significance
from transfer.experiment.run import Result, count_parameters, run_batch
from transfer.program import Fit, Program, Rate, Solve
from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.per_user import difference, in_group, linearised, read_tested
from transfer.report.comparison.reference import reference
from transfer.report.comparison.runs import read_runs
from transfer.report.page.latex import tex
from transfer.report.page.page import write_report
from transfer.report.page.words import lead
from transfer.report.sweep_end import end_sweep
from transfer.report.sweep_table import print_sweep

GAINS = {"target_only": 0.0, "emcdr": 0.08, "item_knn": 0.0, "popularity": -0.08}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("sweeps") / "planted", GAINS)


@pytest.fixture(scope="module")
def found(sweep: Path) -> Comparison:
    (only,) = compare(read_runs(sweep))
    return only


# --- the values of users ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["ranking", "rating"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A real run of each task."""
    more = ("task=ranking", "task.k=[5,10]", "task.select=mrr@10") if request.param == "ranking" else ()
    method = "popularity" if request.param == "ranking" else "item_bias"
    config = tiny(*more, f"method={method}", "split=ratio")
    return run_batch([config], [tmp_path_factory.mktemp("run") / "0"])[0]


def test_the_mean_over_users_is_the_reported_metric(run: Result) -> None:
    assert run.folder is not None
    table, test = pl.read_parquet(run.folder / "per_user.parquet"), run.metrics["test"]
    assert run.per_user is not None
    assert table.equals(run.per_user)
    ids = {"user": pl.Int32, "id": pl.String, "history": pl.Int32, "events": pl.Int32}
    names = ("mrr@10", "ndcg@5", "ndcg@10", "recall@5", "recall@10") if "mrr@10" in test else ("mae", "mse")
    more = [name for name in table.columns if name not in (*ids, *names)]
    assert dict(table.schema) == ids | dict.fromkeys((*names, *more), pl.Float32)
    assert bool(more) == ("mrr@10" in test)
    events = table["events"].to_numpy()
    for name in names:
        value = table[name].to_numpy().astype(np.float64)
        if name in ("mae", "mse"):
            mean, expected = np.average(value, weights=events), test["mae"] if name == "mae" else test["rmse"] ** 2
        else:
            mean, expected = value.mean(), test[name]
        assert mean == pytest.approx(expected, rel=1e-5), name


def test_the_users_of_a_run_are_those_of_the_test(run: Result) -> None:
    world, facts = run.predictor.loaded.world, run.facts["world"]["target"]["test"]
    table = run.per_user
    assert table is not None
    users, events = table["user"].to_numpy(), table["events"].to_numpy()
    assert len(set(users)) == len(users) == facts["users"] == world.test.n_users
    assert events.sum() == facts["events"]
    assert events.min() >= 1
    train = np.bincount(np.asarray(world.target.train.users), minlength=world.n_users)
    np.testing.assert_array_equal(table["history"], train[users])


def test_parameters_are_counted_without_what_is_frozen(run: Result) -> None:
    """A closed form trains nothing; of a fit with two leaves one of which stays, the other counts."""
    sizes = sum(np.asarray(leaf).size for leaf in jax.tree.leaves(run.parameters))
    assert (run.facts["parameters"], run.facts["trainable_parameters"]) == (sizes, 0)
    fit = Fit("fit", *[None] * 7, rates=lambda params: {"kept": Rate(0.0), "moved": Rate()})  # type: ignore[arg-type]
    done = {"fit": {"kept": np.zeros((2, 3, 4)), "moved": np.zeros((2, 5))}, "closed": {"x": np.zeros((2, 7))}}
    program = Program((fit, Solve("closed", solve=None)), scores=None)  # type: ignore[arg-type]
    assert count_parameters(program, done) == {
        "parameters": 12 + 5 + 7,
        "trainable_parameters": 5,
        "trainable_by_stage": {"fit": 5},
    }


def test_the_root_of_errors_is_a_weighted_mean_of_linear_values() -> None:
    random = np.random.default_rng(0)
    mse, events = random.exponential(1, 50), random.integers(1, 6, 50).astype(float)
    root = np.sqrt(np.average(mse, weights=events))
    value, weight = linearised("rmse", mse, events)
    assert weight @ value == pytest.approx(root)
    nudged = mse + 1e-6 * (np.arange(50) == 7)
    slope = (np.sqrt(np.average(nudged, weights=events)) - root) / 1e-6
    assert slope == pytest.approx(weight[7] / (2 * root), rel=1e-3)
    assert linearised("mae", mse, events)[0] is mse


# --- the comparison --------------------------------------------------------------------------------------------------


def test_planted_gains_get_their_verdicts(found: Comparison) -> None:
    ranked = [one.method for one in found.best]
    assert (ranked[0], set(ranked[1:3]), ranked[3]) == ("emcdr", {"item_knn", "target_only"}, "popularity")
    for group, members in (("all", USERS), ("cold", 60), ("sparse", 30), ("warm", 30)):
        assert in_group(HISTORY, group).sum() == members
        for method, gain in GAINS.items():
            gap = found.gap(method, group)
            if method == "target_only":
                assert gap is None
                continue
            assert gap is not None
            same = "no difference" if group == "all" else "not shown"  # few users cannot show that they gain little
            words = {0.08: ["helps"], 0.0: ["no difference", same], -0.08: ["no source"]}
            assert gap.verdict in words[gain], (method, group, gap)
            assert gap.paired.low < gap.paired.difference < gap.paired.high
            assert gap.paired.difference == pytest.approx(gain, abs=0.015)
            assert (gap.basis, gap.size) == ("users", 3 * members)


def test_a_pair_is_tested_on_users_averaged_over_seeds(found: Comparison) -> None:
    assert len(found.pairs) == 6
    pair = next(pair for pair in found.pairs if {pair.a, pair.b} == {"emcdr", "popularity"})
    assert pair.a == "emcdr"
    values = {method: {} for method in (pair.a, pair.b)}
    for one in found.best:
        for run in one.runs if one.method in values else ():
            column = pl.read_parquet(run.folder / "per_user.parquet")["ndcg@10"].to_numpy().astype(np.float64)
            values[one.method].setdefault(run.result["split_seed"], []).append(column)
    d = np.concatenate([np.mean(values[pair.a][s], axis=0) - np.mean(values[pair.b][s], axis=0) for s in range(3)])
    assert pair.users == len(d) == 3 * USERS
    assert pair.paired.difference == pytest.approx(d.mean())
    p, effect = significance.wilcoxon(d)
    assert p < pair.wilcoxon <= 6 * p < 1e-6
    assert pair.paired.p < pair.holm <= 6 * pair.paired.p < 1e-3
    assert pair.rank_biserial == pytest.approx(effect) != 0
    assert (pair.runs.n, pair.runs.mean) == (6, pytest.approx(d.mean()))
    assert pair.runs_wilcoxon == pytest.approx(2 / 2**6)
    assert pair.bootstrap_low < d.mean() < pair.bootstrap_high


def test_errors_get_the_opposite_sign(tmp_path: Path) -> None:
    for number, (method, shift) in enumerate([("target_only", 0.0), ("cmf", -0.2), ("finetune", 0.2)]):
        for split in range(3):
            common = np.random.default_rng(split).uniform(0.5, 1.5, USERS)
            words = (f"method={method}", f"split.seed={split}")
            write_run(tmp_path / f"{number}{split}", *words, values=common + shift, task="rating")
    (found,) = compare(read_runs(tmp_path))
    assert [one.method for one in found.best] == ["cmf", "target_only", "finetune"]
    assert [found.gap(method).verdict for method in ("cmf", "finetune")] == ["helps", "hurts"]  # type: ignore[union-attr]
    tests = {one.method: {run.pair: read_tested(run) for run in one.runs} for one in found.best}
    delta = difference("rmse", tests["cmf"], tests["target_only"])  # type: ignore[arg-type]
    assert delta is not None
    figures = [
        np.mean([r.metric("test", "rmse") for r in found.runs if r.result["method"] == m]) for m in ("cmf", "target_only")
    ]
    assert delta.units.balanced() @ delta.linear == pytest.approx(figures[0] - figures[1], rel=1e-5)
    assert next(pair for pair in found.pairs if "cmf" in pair).rank_biserial == 1


def test_the_best_setting_is_chosen_by_validation_alone(tmp_path: Path) -> None:
    for number, (ridge, valid, test) in enumerate([(1.0, 0.3, 0.9), (10.0, 0.5, 0.2), (100.0, 0.9, 0.9)]):
        for seed in (0, 1):
            words = ("method=ridge_map", f"hp.ridge={ridge}", f"seed={seed}")
            folder = write_run(tmp_path / f"{number}{seed}", *words, values=np.full(USERS, test))
            facts = json.loads((folder / "result.json").read_text())
            facts["metrics"]["valid"]["ndcg@10"] = valid
            if (ridge, seed) == (100.0, 1):  # a setting that lost a run is not compared with whole ones
                facts |= {"status": "diverged", "metrics": {"valid": {}, "test": {}}}
            (folder / "result.json").write_text(json.dumps(facts))
    (found,) = compare(read_runs(tmp_path))
    (best,) = found.best
    assert best.values["hp.ridge"] == 10
    assert [len(one.runs) for one in found.settings] == [2, 2, 1]
    assert found.settings[2].planned == 2


@pytest.mark.parametrize(
    "word", ["split.beta=0.5", "domain.correlation=0.1", "split=ratio", "task.sampled=99", "domain.name=x"]
)
def test_nothing_is_averaged_over_what_is_measured_differently(word: str, tmp_path: Path) -> None:
    for number, more in enumerate([(), (word,)]):
        write_run(tmp_path / f"{2 * number}", "method=target_only", *more, values=np.full(USERS, 0.1 + number))
        write_run(tmp_path / f"{2 * number + 1}", "method=emcdr", *more, values=np.full(USERS, 0.2 + number))
    both = compare(read_runs(tmp_path))
    assert [round(one.facts["metrics"]["test"]["ndcg@10"], 4) for one in both] == [0.1, 1.1]
    for found in both:
        assert [len(one.runs) for one in found.best] == [1, 1]
        assert found.gap("emcdr").paired.difference == pytest.approx(0.1, abs=1e-6)  # type: ignore[union-attr]
    assert both[0].title != both[1].title


def test_without_values_by_user_the_gap_is_one_of_runs(tmp_path: Path) -> None:
    shutil.copytree(write_sweep(tmp_path / "S", {"target_only": 0.0, "emcdr": 0.1}), tmp_path / "T")
    for path in (tmp_path / "T").glob("*/per_user.parquet"):
        path.unlink()
    (found,) = compare(read_runs(tmp_path / "T"))
    gap = found.gap("emcdr")
    assert gap is not None
    assert (gap.basis, gap.size, gap.verdict) == ("splits", 3, "helps"), "seeds on one split are no new splits"
    ours, base = found.best[0], reference(found)
    assert base is not None
    d = [a.metric("test", "ndcg@10") - b.metric("test", "ndcg@10") for a, b in zip(ours.runs, base.runs, strict=True)]  # type: ignore[operator]
    splits = [run.result["split_seed"] for run in ours.runs]
    assert gap.paired.low == pytest.approx(significance.summary(d, splits).low)
    assert not found.pairs
    one = [run for run in read_runs(tmp_path / "T") if run.result.get("seed") == 0 and run.result.get("split_seed") == 0]
    assert compare(one)[0].gap("emcdr").verdict == "not tested"  # type: ignore[union-attr]


# --- files and words -------------------------------------------------------------------------------------------------


def test_the_report_is_complete(sweep: Path) -> None:
    page = write_report(sweep)
    runs = pl.read_parquet(sweep / "results.parquet")
    assert len(runs) == 27
    assert runs["status"].value_counts(sort=True).rows()[0] == ("done", 24)
    assert set(runs.filter(pl.col("status") != "done")["status"]) == {"failed", "diverged", "missing"}
    assert runs.filter(status="failed")["error"].to_list() == ["first <b>line</b>"]
    assert {"run", "method", "seed", "split_seed", "hp.l2", "test/ndcg@10", "valid/ndcg@10", "seconds"} < set(runs.columns)
    with (sweep / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 27
    text = page.read_text()
    assert "first &lt;b&gt;line&lt;/b&gt;" in text
    assert "second" not in re.findall(r"first &lt;b&gt;line&lt;/b&gt;.*", text)[0]
    for method in GAINS:
        assert method in (sweep / "table.md").read_text()
    assert "target\\_only" in (sweep / "table.tex").read_text()
    assert r"\toprule" in (sweep / "table.tex").read_text()
    for outside in ("http://", "https://", "src=", "@import"):
        assert outside not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text), outside
    assert not re.search(r"#000[01][0-9a-f]{2}\b", text)  # stand-ins of colours
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    for figure in re.findall(r"<svg [^>]*>", text):
        assert re.search(r'role="img" aria-label="[^"]{20,}"', figure)


def test_the_first_paragraph_says_what_was_found(found: Comparison) -> None:
    best, second, source = lead(found)
    assert best.startswith("emcdr is the choice of validation among 4 methods: its test ndcg@10 is 0.4")
    assert re.search(r"behind, and the difference is real \(p (= 0\.0[0-4]|< 0\.001)", second), second
    reference = "The reference is target_only, best without a source on validation."
    assert source.startswith(f"{reference} The source helps: emcdr is 0.0")
    counts = "Of 2 that use the source, 1 do better than it, 1 differ by less than 5% of its figure"
    assert f"{counts} (paired over 360 users × splits; p corrected for 2 methods)" in source


def test_the_paragraph_claims_nothing_without_a_difference(tmp_path: Path) -> None:
    write_sweep(tmp_path / "S", {"target_only": 0.0, "emcdr": 0.0})
    (found,) = compare(read_runs(tmp_path / "S"))
    said = " ".join(lead(found))
    assert "no more than chance can explain" in said
    assert "The source does not show its use" in said
    (alone,) = compare([run for run in read_runs(tmp_path / "S") if run.result.get("method") == "emcdr"])
    assert "cannot be said: the sweep has no method without it, such as target_only" in " ".join(lead(alone))


def test_the_table_on_the_screen(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(sweep)
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "emcdr" in line and "±" in line)
    assert "helps" in row
    assert re.search(r"\+0\.0\d+ … \+0\.\d+", row)
    assert "failed first <b>line</b>" in out
    assert "missing left no result" in out
    result = json.loads((sweep / "6" / "result.json").read_text())
    assert result["gap"]["target_only"]["ndcg@10"] == pytest.approx(0.08, abs=0.03)
    before = (sweep / "6" / "result.json").stat().st_mtime_ns
    print_sweep(sweep)
    assert (sweep / "6" / "result.json").stat().st_mtime_ns == before


def test_a_fault_of_the_report_says_how_to_go_on(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("transfer.report.page.page.write_report", full)
    end_sweep(sweep)
    out = capsys.readouterr().out
    assert "the runs are complete, their report is not: no space left" in out
    assert f"transfer report {sweep}" in out


def test_hyperparameters_are_drawn_with_the_best_marked(tmp_path: Path) -> None:
    for number in range(9):
        a, b = 10.0 ** (number // 3), 1.0 + number % 3
        quality = 0.3 - 0.05 * abs(number // 3 - 1) - 0.02 * (b - 2) ** 2
        words = ("method=emcdr", f"hp.ridge={a}", f"hp.l2={b}")
        write_run(tmp_path / str(number), *words, values=np.full(USERS, quality))
        write_run(tmp_path / f"1{number}", "method=cmf", f"hp.l2={b}", f"seed={number // 3}", values=np.full(USERS, b / 9))
    text = write_report(tmp_path).read_text()
    assert "frame marks the best: best at hp.l2=2, hp.ridge=10" in text or (
        "frame marks the best: best at hp.ridge=10, hp.l2=2" in text
    )
    assert "ring marks the best: best at hp.l2=3" in text
    assert "All 12 settings" in text


def test_the_command_and_its_refusal(sweep: Path, tmp_path: Path) -> None:
    done, empty = (
        subprocess.run(
            [sys.executable, "-m", "transfer", "report", folder], capture_output=True, text=True, timeout=120, check=False
        )
        for folder in (sweep, tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert f"report: {sweep}/index.html" in done.stdout
    assert empty.returncode == 2
    assert empty.stderr.startswith(f"error: {tmp_path}: no runs here")
    assert len(empty.stderr.splitlines()) == 1


def test_a_thousand_runs_are_reported_quickly(sweep: Path, tmp_path: Path) -> None:
    """Linked copies with other numbers: 1,000 runs of 167 settings."""
    source = sorted(path for path in sweep.iterdir() if (path / "per_user.parquet").exists())
    for number in range(1000):
        folder = tmp_path / "S" / str(number)
        shutil.copytree(source[number % len(source)], folder, copy_function=shutil.copyfile)
        config = (folder / "config.yaml").read_text()
        rate = 1 + number // len(source)
        (folder / "config.yaml").write_text(config.replace("learning_rate: 0.003", f"learning_rate: 0.{rate:03d}"))
    began = time.perf_counter()
    write_report(tmp_path / "S")
    assert time.perf_counter() - began < 20
    assert (tmp_path / "S" / "index.html").stat().st_size < 3_000_000


def test_latex_escapes_what_is_special() -> None:
    assert tex("50 % of a_b & c ± 1") == r"50 \% of a\_b \& c $\pm$ 1"
    assert tex("p < 0.001 | a → b") == r"p \textless{} 0.001 \textbar{} a $\rightarrow$ b", "LaTeX would print ¡ and —"
    assert tex("[1]*") == "{[}1]{*}", "after the end of a row they would be an argument of it"

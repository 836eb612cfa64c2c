"""Studies: run from a folder, compared with expected figures, scaled down, refused where there is nothing to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from planted import RATING, WORLD
from sweeps import write_run, write_sweep

from transfer.__main__ import begun_with
from transfer.commands import reproduce
from transfer.errors import TransferError
from transfer.report.comparison.compare import compare
from transfer.report.comparison.runs import read_runs
from transfer.report.study import Study, commands, figures, judge, merge, read_study

ROOT = Path(__file__).parents[2]
STUDY: dict[str, Any] = {
    "title": "Item means",
    "cost": "seconds",
    "sweeps": {"rating": [*RATING, *WORLD, "method=global_mean,item_bias", "split.seed=0,1"]},
    "quick": {"rating": ["split.seed=0"]},
    "order": [{"task": "rating", "better": "item_bias", "worse": "global_mean"}],
}


def study_in(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))
    return folder


def test_a_study_is_accepted_and_then_reproduced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The real thing, small: two sweeps of the command line, expected figures, a figure that somebody changed."""
    folder, out = study_in(tmp_path / "item_means"), tmp_path / "out"

    def call(*words: str) -> int:
        return begun_with("reproduce", [str(folder), "--out", str(out), *words])

    assert call("--accept") == 0
    expected = pl.read_csv(folder / "expected.csv")
    assert expected["method"].to_list() == ["item_bias", "global_mean"]
    assert expected["runs"].to_list() == [2, 2]
    assert "item_bias" in (folder / "table.md").read_text()
    page = (out / "index.html").read_text()
    assert f"hydra.sweep.dir={out}/rating" in page, "the sweep's own command, not what its jobs were given"
    assert pl.read_parquet(out / "results.parquet")["run"].to_list() == [f"rating/{number}" for number in range(4)]
    assert call("--quick") == 2
    assert "holds the runs of another command; give --out" in capfd.readouterr().err
    out = tmp_path / "quick"
    assert call("--quick", "split.seed=1") == 0
    said = capfd.readouterr().out
    assert "All 1 checks agree." in said
    assert "method=global_mean,item_bias split.seed=1 hydra.sweep.dir=" in said


def test_studies_have_names_in_a_checkout_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read_study(reproduce._folder("dann_moons")).title
    with pytest.raises(
        TransferError, match=r"^open_bandit is a script of its own: python experiments/open_bandit/evaluate.py"
    ):
        reproduce._folder("open_bandit")
    monkeypatch.setattr(reproduce, "STUDIES", tmp_path / "experiments")
    with pytest.raises(TransferError, match="give the folder of a study"):
        reproduce._folder("dann_moons")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a study, without those that failed."""
    folder = write_sweep(tmp_path_factory.mktemp("study") / "S", {"target_only": 0.0, "emcdr": 0.1})
    for number in (12, 13, 14):
        (folder / str(number)).rename(folder.parent / str(number))
    return folder


RANKING: list[dict[str, str]] = [{"task": "ranking", "better": "emcdr", "worse": "target_only"}]


def test_a_figure_outside_its_tolerance_is_named(planted: Path, tmp_path: Path) -> None:
    folder, runs = study_in(tmp_path / "study", order=RANKING), read_runs(planted)
    study = read_study(folder)
    assert judge(study, folder, tmp_path, runs, quick=False, accept=True)[1]
    text, agrees = judge(study, folder, tmp_path, runs, quick=False)
    assert agrees
    assert text == (tmp_path / "comparison.md").read_text()
    assert "All 3 checks agree." in text
    table = pl.read_csv(folder / "expected.csv")
    row = table.row(0, named=True)
    tolerance = 2 * row["std"] / row["runs"] ** 0.5 + study.floor
    for factor, inside in ((0.9, True), (1.1, False)):
        moved = table.with_columns(mean=pl.col("mean") + factor * tolerance * (pl.col("method") == row["method"]))
        moved.write_csv(folder / "expected.csv")
        text, agrees = judge(study, folder, tmp_path, runs, quick=False)
        assert agrees == inside, text
        assert ("1 of 3 checks do not agree" in text) == (not inside)
    table.write_csv(folder / "expected.csv")
    fewer = [run for run in runs if run.result["seed"] == 0]
    assert not judge(study, folder, tmp_path, fewer, quick=False)[1], "with fewer runs it is another study"
    missing = [run for run in runs if run.result["method"] != "emcdr"]
    text, agrees = judge(study, folder, tmp_path, missing, quick=False)
    assert not agrees
    assert "missing" in text


def test_orderings_are_checked_in_every_comparison(planted: Path, tmp_path: Path) -> None:
    runs = read_runs(planted)
    for order, inside in ((RANKING, True), ([{**RANKING[0], "better": "target_only", "worse": "emcdr"}], False)):
        folder = study_in(tmp_path / "study", order=order)
        assert judge(read_study(folder), folder, tmp_path, runs, quick=True)[1] == inside
    folder = study_in(tmp_path / "study", order=[{**RANKING[0], "task": "rating"}])
    assert not judge(read_study(folder), folder, tmp_path, runs, quick=True)[1], "nothing speaks to it"


def test_runs_that_failed_are_never_accepted(planted: Path, tmp_path: Path) -> None:
    folder = study_in(tmp_path / "study", order=[])
    study, runs = read_study(folder), read_runs(planted)
    with pytest.raises(TransferError, match=r"no expected.csv yet; give --accept"):
        judge(study, folder, tmp_path, runs, quick=False)
    with pytest.raises(TransferError, match="a quick run"):
        judge(study, folder, tmp_path, runs, quick=True, accept=True)
    write_run(tmp_path / "S" / "0", "method=cmf", status="failed", error="out of memory")
    lost = [*runs, *read_runs(tmp_path / "S")]
    with pytest.raises(TransferError, match="1 of 13 runs did not finish"):
        judge(study, folder, tmp_path, lost, quick=False, accept=True)
    text, agrees = judge(study, folder, tmp_path, lost, quick=True)
    assert not agrees
    assert "1 of 13 runs did not finish" in text
    assert not (folder / "expected.csv").exists()


def test_figures_say_what_they_are_figures_of(planted: Path) -> None:
    table = figures(compare(read_runs(planted)))
    row = table.filter(method="emcdr").row(0, named=True)
    assert row["comparison"] == "simulated, ranking, split cold_start"
    assert (row["metric"], row["runs"], row["verdict"]) == ("ndcg@10", 6, "helps")
    assert row["gap"] == pytest.approx(0.1, abs=0.02)


def test_overrides_replace_those_of_the_same_key() -> None:
    assert merge(["a=1", "b=2"], ["b=3", "c=4"]) == ["a=1", "b=3", "c=4"]
    study = Study.model_validate(STUDY)
    (full,), (quick,) = (list(commands(study, Path("/O"), how, ["seed=7"]).values()) for how in (False, True))
    assert full[0] == quick[0] == "-m"
    assert {"split.seed=0,1", "seed=7", "hydra.sweep.dir=/O/rating"} < set(full)
    assert {"split.seed=0", "seed=7"} < set(quick)
    assert "split.seed=0,1" not in quick


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep": {}}, "sweep: no such key here"),
        ({"sweeps": {}}, "sweeps"),
        ({"quick": {"other": []}}, "quick.other: no sweep of that name; sweeps: rating"),
        ({"common": ["hydra.callbacks.table._target_=os.system"]}, "is no setting of runs"),
        ({"common": ["--config-dir=elsewhere"]}, "is no setting of runs"),
        ({"sweeps": {"rating": ["+hydra.callbacks={x: {_target_: os.system}}"]}}, "is no setting of runs"),
        ({"quick": {"rating": ["hydra/launcher=other"]}}, "of Hydra hydra.sweeper alone"),
        ({"quick": {"rating": ["hydra.sweeper._target_=os.system"]}}, "is no setting of runs"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=message) as caught:
        read_study(study_in(tmp_path / "study", **changes))
    assert "\n" not in str(caught.value)
    with pytest.raises(TransferError, match=r"no study\.yaml here; studies: study"):
        read_study(tmp_path / "other")


@pytest.mark.parametrize("folder", sorted(path.parent for path in (ROOT / "experiments").glob("*/study.yaml")))
def test_committed_studies_can_be_read(folder: Path) -> None:
    study = read_study(folder)
    assert (folder / "README.md").exists()
    assert set(study.quick) == set(study.sweeps)
    if (folder / "expected.csv").exists():
        assert len(pl.read_csv(folder / "expected.csv")) > 0

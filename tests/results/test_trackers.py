"""Copies in trackers: names, curves, final figures and verdicts, written once or told live, and read back."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from planted import tiny
from sweeps import write_run, write_sweep

from transfer.config.schema import Track
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.report.comparison.compare import compare
from transfer.report.comparison.gaps import write_gaps
from transfer.report.comparison.runs import read_runs
from transfer.report.page.page import write_report
from transfer.report.sweep_end import verdicts
from transfer.results.trackers import copies
from transfer.results.trackers.entry import Writer, live_entry

Lines = dict[tuple[str, str], dict[str, str]]  # by stage and step, the value of each metric


def tracked(folder: Path, name: str, **more: Any) -> Path:
    """A planted sweep of two methods whose runs name a tracker."""
    write_sweep(folder, {"target_only": 0.0, "emcdr": 0.1}, splits=(0, 1, 2), seeds=(0,))
    for place in folder.glob("*/config.yaml"):
        config = yaml.safe_load(place.read_text())
        place.write_text(yaml.safe_dump(config | {"track": {"name": name, **more}}))
    for comparison in compare(read_runs(folder), pairs=False):
        write_gaps(comparison)
    write_report(folder)
    copies.copy_sweep(folder, *verdicts(read_runs(folder)))
    return folder


def lines_of(path: Path) -> Lines:
    found: Lines = defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["stage"], row["step"]][row["metric"]] = row["value"]
    return found


def test_csv_has_every_value_of_a_sweep_once(tmp_path: Path) -> None:
    folder = tracked(tmp_path / "S", "csv")
    files = sorted((folder / "csv").iterdir())
    assert len(files) == 6 + 2 + 1  # done, failed and diverged, and the sweep; the run without a result is left out
    (path,) = [path for path in files if path.name.startswith("emcdr_seed=0_split.seed=1-")]
    found = lines_of(path)
    run = next(
        run.folder
        for run in read_runs(folder)
        if run.done and run.overrides["method"] == "emcdr" and run.pair[0][-1] == "1"
    )
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        line = found[record["stage"], str(record["step"])]
        assert {name: float(value) for name, value in line.items()} == {key: record[key] for key in ("loss", "ndcg@10")}
    result = json.loads((run / "result.json").read_text())
    end = found["end", ""]
    assert float(end["test/ndcg@10"]) == result["metrics"]["test"]["ndcg@10"]
    assert float(end["gap/target_only"]) == pytest.approx(result["gap"]["target_only"]["ndcg@10"])
    assert (end["status"], end["setting/verdict"], end["setting/reference"]) == ("done", "helps", "target_only")
    assert float(end["setting/gap_low"]) < float(end["setting/gap"]) < float(end["setting/gap_high"])
    (whole,) = [path for path in files if path.name.startswith("S-")]
    assert lines_of(whole)["end", ""]["emcdr/verdict"] == "helps"
    before = {path: path.read_bytes() for path in files}
    copies.copy_sweep(folder)
    assert {path: path.read_bytes() for path in (folder / "csv").iterdir()} == before, "what is there is not copied again"


def test_a_name_that_a_spreadsheet_would_run_is_text_and_no_path(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "method=target_only", status="failed", error="none")
    config = yaml.safe_load((tmp_path / "0" / "config.yaml").read_text())
    config["method"]["name"], config["track"] = "=1+1/../x", {"name": "csv"}
    (tmp_path / "0" / "config.yaml").write_text(yaml.safe_dump(config))
    copies.copy_run(tmp_path / "0")
    (path,) = (tmp_path / "0" / "csv").iterdir()
    assert path.read_text().splitlines()[1].startswith("'=1+1/../x,end,,status,failed")


def test_a_live_run_is_told_while_it_trains_and_not_copied_again(tmp_path: Path) -> None:
    words = ("method=target_only", "track=csv", "track.live=true", "hp.l2=0.125")
    config = tiny(*words)
    folder = tmp_path / "run"
    folder.mkdir()
    with copies.told([config], [folder], alone=True) as watch:
        assert watch is not None
        watch(0, {"stage": "target", "step": 3, "loss": 0.5})
        (path,) = (folder / "csv").iterdir()
        assert lines_of(path)["target", "3"] == {"loss": "0.5"}
    assert lines_of(path)["end", ""] == {"status": "interrupted"}
    path.unlink()
    run_batch([config], [folder])
    (path,) = (folder / "csv").iterdir()
    found = lines_of(path)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == len(found) - 1 > 3
    assert float(found["target", str(records[-1]["step"])]["rmse"]) == records[-1]["rmse"]
    assert found["end", ""]["status"] == "done"
    before = path.read_bytes()
    copies.copy_run(folder)
    assert path.read_bytes() == before
    with copies.told([tiny("method=target_only", "track=csv", "hp.l2=0.125")], [folder], alone=True) as watch:
        assert watch is None, "live is a choice"


def test_a_tracker_that_fails_costs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny("method=target_only", "track=csv", "track.live=true", "hp.l2=0.125")

    def failing(*_: Any) -> None:
        raise OSError("no such server")

    for begins in (False, True):
        begin = (lambda entry, again: Writer(failing, failing)) if begins else failing
        monkeypatch.setattr(copies, "_session", lambda *_, begin=begin: nullcontext(begin))
        if begins:
            assert run_batch([config], [tmp_path / "run"])[0].status == "done"
            assert capsys.readouterr().err.count("track=csv: no such server; the run goes on without it") == 1
        else:
            with pytest.raises(TransferError, match="track=csv: no such server"):
                run_batch([config], [tmp_path / "run"])


def test_runs_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    for number, words in enumerate((["seed=0", "hp.l2=1"], ["seed=1", "hp.l2=1"])):
        write_run(tmp_path / str(number), "method=emcdr", *words, "data_dir=x")
    config = tiny("method=emcdr", "track=csv", "track.live=true", "seed=1")
    assert live_entry(config, tmp_path / "1", alone=False).name == "emcdr seed=1"
    assert live_entry(config, tmp_path / "1", alone=True).name == "emcdr seed=1 hp.l2=1"
    assert live_entry(config, tmp_path / "2", alone=True).name == "emcdr seed=1"


def test_a_tracker_that_cannot_be_told_is_refused() -> None:
    for track in ({"name": "none", "live": True}, {"name": "csv", "live": True, "per": "program"}):
        with pytest.raises(TransferError, match=r"track\.live=true"):
            copies.wanted(Track.model_validate(track))


def test_tensorboard_reads_curves_hparams_and_the_end(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = tracked(tmp_path / "S", "tensorboard")
    (place,) = folder.glob("tensorboard/emcdr_seed=0_split.seed=1-*")
    events = accumulator.EventAccumulator(str(place)).Reload()
    assert [event.step for event in events.Scalars("target/ndcg@10")] == [10, 20, 30, 40, 50]
    assert events.Scalars("test/ndcg@10")[0].step == 50
    tags = events.Tags()
    assert "setting/verdict/text_summary" in tags["tensors"] or "setting/verdict" in tags["tensors"]
    assert "_hparams_/session_start_info" in events.summary_metadata
    files = sorted(folder.rglob("events.*"))
    copies.copy_sweep(folder)
    assert sorted(folder.rglob("events.*")) == files


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_finds_the_runs_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tracked(tmp_path / "S", "mlflow")
    client = tracking.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "transfer"]
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 9
    (run,) = [run for run in runs if run.info.run_name == "emcdr seed=0 split.seed=1"]
    assert run.data.params["split.seed"] == "1"
    assert (run.data.tags["status"], run.data.tags["setting/verdict"]) == ("done", "helps")
    history = client.get_metric_history(run.info.run_id, "target/ndcg_at_10")
    assert [metric.step for metric in history] == [10, 20, 30, 40, 50]
    (whole,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    assert {artifact.path for artifact in client.list_artifacts(whole.info.run_id)} == {"results.parquet", "index.html"}
    assert {run.info.status for run in runs if run.data.tags.get("status") == "failed"} == {"FAILED"}
    copies.copy_sweep(folder)
    assert len(client.search_runs([experiment.experiment_id])) == 9

"""The run folder and its copy in W&B: what is written, atomically, without secrets and without a network."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from planted import tiny
from sweeps import write_sweep

from transfer.console import Interrupted
from transfer.errors import MachineError, TransferError
from transfer.experiment import Result, load_run, run_batch
from transfer.report.page.page import write_report
from transfer.results import run_folder
from transfer.results.trackers import copies
from transfer.storage import trees
from transfer.storage.memory import Free
from transfer.training.compiler import NoRoom, TooLarge

BLOCK = 32 * 1024  # of the .wandb format
SECRETS = {"WANDB_API_KEY": "0123456789secret0123456789secret01234567", "MY_TOKEN": "another-secret-value"}


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A finished run with track=wandb and secrets in the environment, in a folder inside that of a sweep."""
    folder = tmp_path_factory.mktemp("tracked") / "sweep" / "0"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("WANDB_MODE", "offline")
        patch.delenv("WANDB_PROJECT", raising=False)
        settings = ("method=target_only", "track=wandb", "seed=5", "hp.learning_rate=0.01", "hp.l2=0.125")
        result = run_batch([tiny(*settings)], [folder])[0]
        copies.copy_run(folder)
        return result


def folder_of(result: Result) -> Path:
    assert result.folder is not None
    return result.folder


def records(file: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    assert file[:4] == b":W&B"
    place, parts = 7, []
    while place + 7 <= len(file):
        if BLOCK - place % BLOCK < 7:  # no header fits here: the rest of the block is padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", file, place)
        parts.append(file[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


def read_wandb(folder: Path) -> dict[str, Any]:
    """What the file of an offline run holds for W&B: config, summary, history, artifacts and the run's own facts."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("run-*.wandb")
    found: dict[str, Any] = {"config": {}, "summary": {}, "history": [], "artifacts": [], "metrics": {}}
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if kind == "history":
            found["history"].append(
                {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            )
        if kind == "summary":
            update = record.summary.update
            found["summary"] |= {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in update}
        if kind == "metric":
            found["metrics"][record.metric.name or record.metric.glob_name] = record.metric
        if kind == "artifact":
            found["artifacts"].append(record.artifact)
    return found


@pytest.fixture(scope="module")
def uploaded(offline: Result) -> dict[str, Any]:
    (folder,) = folder_of(offline).glob("wandb/offline-run-*")
    return read_wandb(folder)


def sweep_of(folder: Path, per: str) -> dict[str, list[dict[str, Any]]]:
    """A planted sweep of two methods, copied into W&B: what it holds, by job type."""
    write_sweep(folder, {"target_only": 0.0, "emcdr": 0.1}, splits=(0,))
    for place in folder.glob("*/config.yaml"):
        config = yaml.safe_load(place.read_text())
        place.write_text(yaml.safe_dump(config | {"track": {"name": "wandb", "per": per}}))
    write_report(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_DATA_DIR", str(folder.parent / "staging"))
        copies.copy_sweep(folder)
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("wandb/offline-run-*")):
        read = read_wandb(path)
        found.setdefault(read["run"].job_type, []).append(read)
        assert read["run"].run_group == folder.name
    return found


def test_a_sweep_is_one_wandb_run_per_run_and_a_summary(tmp_path: Path) -> None:
    folder = tmp_path / "S"
    found = sweep_of(folder, "run")
    counts = {kind: len(runs) for kind, runs in found.items()}
    assert counts == {"run": 6, "sweep": 1}  # the run without a result is left out
    assert sorted(read["summary"]["status"] for read in found["run"]) == ["diverged", *["done"] * 4, "failed"]
    done = [read for read in found["run"] if read["summary"]["status"] == "done"]
    for read in done:
        assert set(read["run"].tags) == {"simulated", read["config"]["method"]["name"], "mf"}
        assert [record["target/step"] for record in read["history"]] == [10, 20, 30, 40, 50]
    (summary,) = found["sweep"]
    assert [artifact.type for artifact in summary["artifacts"] if artifact.type == "report"]
    (table,) = summary["history"]
    assert (table["results/nrows"], table["results/_type"]) == (7, "table-file")
    (file,) = folder.glob("wandb/offline-run-*/files/media/table/*.json")
    data = json.loads(file.read_text())
    assert data["data"][0][data["columns"].index("method")] == "target_only"
    before = sorted(folder.glob("wandb/*"))
    copies.copy_sweep(folder)
    assert sorted(folder.glob("wandb/*")) == before, "what is there is not copied again"


def test_a_sweep_is_one_wandb_run_per_program(tmp_path: Path) -> None:
    found = sweep_of(tmp_path / "S", "program")
    assert {kind: len(runs) for kind, runs in found.items()} == {"program": 3, "sweep": 1}
    (read,) = [read for read in found["program"] if read["config"]["method"]["name"] == "emcdr"]
    lines = [
        [json.loads(line)["ndcg@10"] for line in path.read_text().splitlines()]
        for path in sorted((tmp_path / "S").glob("*/metrics.jsonl"))[2:]
    ]
    assert [r["target/ndcg@10_mean"] for r in read["history"]] == pytest.approx(np.mean(lines, axis=0).tolist())
    assert [r["target/ndcg@10_std"] for r in read["history"]] == pytest.approx(np.std(lines, axis=0, ddof=1).tolist())
    assert (read["summary"]["replicas"], read["summary"]["done"]) == (2, 2)
    results = [json.loads((tmp_path / "S" / str(n) / "result.json").read_text())["metrics"]["test"] for n in (2, 3)]
    mean = np.mean([metrics["ndcg@10"] for metrics in results])
    assert read["summary"]["test/ndcg@10_mean"] == pytest.approx(mean)


def test_copying_a_run_takes_milliseconds(tmp_path: Path) -> None:
    """One service process for all runs, and nothing watched: an upload must not cost what a run does."""
    sweep_of(tmp_path / "warm", "run")
    folder = tmp_path / "S"
    for number in range(30):
        source = tmp_path / "warm" / str(number % 4)
        shutil.copytree(source, folder / str(number))
    began = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        copies.copy_sweep(folder)
    assert len(list(folder.glob("wandb/offline-run-*"))) == 31
    assert (time.perf_counter() - began) / 30 < 0.15


def test_wandb_has_the_configuration_and_the_group(offline: Result, uploaded: dict[str, Any]) -> None:
    written = yaml.safe_load((folder_of(offline) / "config.yaml").read_text())
    assert uploaded["config"]["hp"] == written["hp"] == {"learning_rate": 0.01, "l2": 0.125}
    for key in ("domain", "split", "task", "model", "method", "train", "seed"):
        assert uploaded["config"][key] == written[key], key
    run = uploaded["run"]
    assert run.project == "transfer"
    assert (run.run_group, run.job_type) == ("", "run")
    assert run.display_name == "target_only seed=5"
    assert set(run.tags) == {"simulated", "target_only", "mf"}


def test_wandb_has_the_metrics_of_every_evaluation_and_of_the_end(offline: Result, uploaded: dict[str, Any]) -> None:
    for part in ("valid", "test"):
        for name, value in offline.metrics[part].items():
            assert uploaded["summary"][f"{part}/{name}"] == pytest.approx(value)
    assert uploaded["summary"]["status"] == "done"
    chosen = offline.facts["selected"]["target"]
    assert uploaded["summary"]["selected/target/step"] == chosen["step"]
    assert uploaded["summary"]["selected/target/rmse"] == pytest.approx(chosen["rmse"])
    assert uploaded["metrics"]["target/*"].step_metric == "target/step"
    assert (uploaded["metrics"]["target/rmse"].summary.min, uploaded["metrics"]["target/rmse"].summary.max) == (True, False)
    lines = [json.loads(line) for line in (folder_of(offline) / "metrics.jsonl").read_text().splitlines()]
    assert len(uploaded["history"]) == len(lines) > 3
    for logged, line in zip(uploaded["history"], lines, strict=True):
        assert logged["target/rmse"] == pytest.approx(line["rmse"])
        assert logged["target/loss"] == pytest.approx(line["loss"])
        assert logged["target/step"] == line["step"]


def test_under_an_agent_the_run_is_the_one_that_it_began(
    offline: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(folder_of(offline), tmp_path / "run", ignore=shutil.ignore_patterns("wandb"))
    for name, value in {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "mysweep", "WANDB_RUN_ID": "agents1"}.items():
        monkeypatch.setenv(name, value)
    copies.copy_run(folder)
    (place,) = folder.glob("wandb/offline-run-*-agents1")
    assert read_wandb(place)["run"].sweep_id == "mysweep"


def test_no_secret_of_the_environment_is_written(offline: Result) -> None:
    files = [path for path in folder_of(offline).rglob("*") if path.is_file()]
    assert {"config.yaml", "result.json", "hp.json", "metrics.jsonl"} < {path.name for path in files}
    for path in files:
        for name, value in SECRETS.items():
            assert value.encode() not in path.read_bytes(), f"{name} is in {path}"


def test_without_tracking_there_is_no_wandb_folder(tmp_path: Path) -> None:
    assert run_batch([tiny("method=target_only", "seed=5", "hp.l2=0.125")], [tmp_path])[0].status == "done"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("config.yaml", "hp.json", "learning_curve.svg", "metrics.jsonl", "parameters.safetensors"),
        *("per_user.parquet", "result.json"),
    ]


def test_a_run_without_parameters_says_so_where_they_are_wanted(tmp_path: Path) -> None:
    kept, bare = tmp_path / "kept", tmp_path / "bare"
    words = ["method=target_only", "seed=5"]
    runs = run_batch([tiny(*words)], [kept]) + run_batch([tiny(*words, "track.parameters=false")], [bare])
    assert runs[0].metrics == runs[1].metrics
    assert (kept / "parameters.safetensors").exists()
    assert not (bare / "parameters.safetensors").exists()
    with pytest.raises(TransferError, match=r"parameters\.safetensors: not there; .* track\.parameters=true"):
        load_run(bare)


def test_a_run_is_read_back_from_its_folder(offline: Result, tmp_path: Path) -> None:
    again = load_run(folder_of(offline))
    assert again.metrics == json.loads((folder_of(offline) / "result.json").read_text())["metrics"] == offline.metrics
    assert again.config.hp == offline.config.hp
    users = offline.predictor.loaded.users[:3]
    np.testing.assert_array_equal(again.predictor.score(users), offline.predictor.score(users))
    assert offline.per_user is not None
    assert again.per_user is not None
    assert again.per_user.equals(offline.per_user)
    assert again.plot() == offline.plot()
    damaged = shutil.copytree(folder_of(offline), tmp_path / "run", ignore=shutil.ignore_patterns("wandb"))
    for name in ("per_user.parquet", "metrics.jsonl"):
        (damaged / name).write_bytes(b"PAR1 {")
    again = load_run(damaged)
    assert (again.per_user, again.records) == (None, []), "what is scored needs neither"


class Full(OSError):
    """The disk is full."""


@pytest.mark.parametrize("moment", ["fsync", "replace", "write"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    run_folder.write_json(path, {"old": 1})

    def fail(*_: Any) -> None:
        raise Full

    if moment == "write":
        monkeypatch.setattr(run_folder, "plain", lambda value: {"unserialisable": fail})
    else:
        monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[moment], fail)
    with pytest.raises(TypeError if moment == "write" else Full):
        run_folder.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    monkeypatch.undo()
    run_folder.write_json(path, {"new": float("nan"), "list": [1.5, float("inf")]})
    assert json.loads(path.read_text()) == {"new": None, "list": [1.5, None]}


@pytest.mark.parametrize(
    ("error", "status"),
    [(Interrupted(), "interrupted"), (KeyboardInterrupt(), "interrupted"), (ValueError("first\nsecond"), "failed")],
)
def test_fail_run_says_how_it_ended(error: BaseException, status: str, tmp_path: Path) -> None:
    config = tiny("method=target_only", "seed=7")
    run_folder.open_run(tmp_path, config)
    run_folder.fail_run(tmp_path, config, error)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["status"] == status
    assert written["metrics"] == {"valid": {}, "test": {}}
    assert (written["method"], written["task"], written["domain"], written["seed"]) == (
        "target_only",
        "rating",
        "simulated",
        7,
    )
    assert written.get("error") == ("first" if status == "failed" else None)
    with pytest.raises(TransferError, match=status):
        run_folder.read_run(tmp_path)
    assert json.loads((tmp_path / "hp.json").read_text()) == {"seed": 7, **config.hp}


@pytest.mark.parametrize(
    ("error", "machine"),
    [
        (OSError(28, "No space left on device"), True),
        (MemoryError(), True),
        (TooLarge(3, 2.0, Free(1.0, "of the test")), True),
        (MachineError("its worker died"), True),
        (NoRoom(), True),
        (TransferError("books.csv: no column user"), None),
        (ValueError("shapes"), None),
    ],
)
def test_failures_of_the_machine_are_told_from_those_of_the_run(error: Exception, machine: bool, tmp_path: Path) -> None:
    run_folder.fail_run(tmp_path, tiny("method=target_only"), error)
    facts = run_folder.read_result(tmp_path)
    assert (facts["status"], facts.get("machine")) == ("failed", machine)


def test_an_error_is_kept_as_one_line_of_bounded_length(tmp_path: Path) -> None:
    run_folder.fail_run(tmp_path, tiny("method=target_only"), ValueError("\x1b[31m" + "x" * 5_000_000))
    (tmp_path / "log").mkdir()
    line = run_folder.read_result(tmp_path)["error"]
    assert 1900 < len(line) <= 2000
    assert line.isprintable()
    run_folder.refuse_run(tmp_path / "log", "y\n" * 5_000, [])
    assert len(run_folder.read_result(tmp_path / "log")["error"]) <= 2000


def test_a_run_that_was_killed_while_it_took_an_older_ones_place_is_put_there(tmp_path: Path) -> None:
    config = tiny("method=target_only")
    for place, text in ((tmp_path, "old"), (tmp_path / run_folder.RERUN, "new")):
        place.mkdir(exist_ok=True)
        (place / "metrics.jsonl").write_text(text)
        run_folder.write_json(place / "result.json", {"status": "done", "identity": config.identity(), "text": text})
    assert run_folder.place_of(tmp_path).name == run_folder.RERUN
    assert run_folder.read_result(tmp_path)["text"] == "old"
    (tmp_path / "result.json").unlink()  # as `replace_run` does first
    run_folder.place_of(tmp_path)
    assert run_folder.read_result(tmp_path)["text"] == "new"
    assert (tmp_path / "metrics.jsonl").read_text() == "new"
    assert not (tmp_path / run_folder.RERUN).exists()


def test_an_error_inside_a_run_leaves_a_result_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(import_module("transfer.experiment.run"), "run_stages", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_batch([tiny("method=target_only", f"seed={seed}") for seed in (0, 1)], [tmp_path / "a", tmp_path / "b"])
    for name in ("a", "b"):
        assert json.loads((tmp_path / name / "result.json").read_text())["error"] == "out of memory"


def test_trees_survive_safetensors(tmp_path: Path) -> None:
    tree = {
        "a": {"matrix": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1], "flag": np.array(True)},
        "list": [np.int32(7), np.zeros((0, 4), np.float32)],
    }
    path = tmp_path / "tree.safetensors"
    trees.save_tree(path, tree, {"stage": 3, "nan": float("nan")})
    back = trees.load_tree(path, tree)
    assert back["list"][0] == 7
    assert back["list"][1].shape == (0, 4)
    assert back["a"]["flag"].dtype == bool
    np.testing.assert_array_equal(back["a"]["matrix"], tree["a"]["matrix"])  # type: ignore[index,call-overload]
    assert trees.load_facts(path)["stage"] == 3
    with pytest.raises(TransferError, match="no array b"):
        trees.load_tree(path, {"b": np.zeros(1)})
    with pytest.raises(TransferError, match="has shape"):
        trees.load_tree(path, {"a": {"matrix": np.zeros((3, 3))}})

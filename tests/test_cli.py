"""The command line and its twin in Python: runs, folders, files of strangers, clear refusals, sweeps."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Command
from omegaconf import OmegaConf
from planted import BUDGET, RANKING, RATING, WORLD, atomic_files

import transfer
import transfer.data.load
from transfer.api import run
from transfer.errors import TransferError
from transfer.registry import names

SMALL = (*RANKING, *WORLD, *BUDGET)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return atomic_files(tmp_path_factory.mktemp("files"))


def read(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """`python -m transfer` as a stranger types it, scaled down: the run folder, the screen, and what Python imported."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    words = [sys.executable, "-X", "importtime", "-m", "transfer", *SMALL, "method=target_only"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=elsewhere, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (result,) = elsewhere.glob("runs/*/*/result.json")
    return result.parent, done.stdout, done.stderr


def test_a_run_prints_its_figures_and_where_its_folder_is(process: tuple[Path, str, str]) -> None:
    folder, out, _ = process
    test = read(folder)["metrics"]["test"]
    lists = next(line for line in out.splitlines() if line.startswith("│ ndcg"))
    assert f"{test['ndcg@10']:.4f}" in lists
    assert "selects: ndcg@10" in out
    assert f"run folder: {folder}" in out
    assert "books train" in out
    assert "movies (source)" in out


def test_a_run_folder_is_complete(process: tuple[Path, str, str]) -> None:
    folder, *_ = process
    wanted = {"config.yaml", "hp.json", "metrics.jsonl", "result.json", "parameters.safetensors", "learning_curve.svg"}
    wanted |= {"per_user.parquet"}
    assert {path.name for path in folder.iterdir()} - {".hydra", "transfer.log"} == wanted
    result = read(folder)
    assert result["status"] == "done"
    assert {"load", "compile", "train", "evaluate"} <= set(result["seconds"])
    assert {"protocol", "world", "versions", "device", "fingerprint", "id", "select", "selected"} <= set(result)
    assert result["world"]["target"]["test"]["events"] > 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"stage", "step", "loss", "ndcg@10"} <= set(lines[0])
    best = max(lines, key=lambda line: line["ndcg@10"])
    assert result["metrics"]["valid"]["ndcg@10"] == pytest.approx(best["ndcg@10"], rel=1e-6)
    assert result["selected"]["target"]["step"] == best["step"]
    assert ElementTree.parse(folder / "learning_curve.svg").getroot().tag.endswith("svg")
    assert set(json.loads((folder / "hp.json").read_text())) == {"seed", "learning_rate", "l2"}
    assert OmegaConf.load(folder / "config.yaml").method.name == "target_only"


def test_a_run_imports_no_library_that_it_has_no_use_for(process: tuple[Path, str, str]) -> None:
    imported = {line.rpartition("|")[2].strip() for line in process[2].splitlines()}
    assert {"jax", "polars", "optax"} <= imported
    assert not imported & {"flax", "sklearn", "matplotlib", "pandas", "PIL", "wandb", "joblib", "ray", "torch"}


def test_python_gives_what_the_command_line_gives(process: tuple[Path, str, str]) -> None:
    folder, *_ = process
    result = run([*SMALL, "method=target_only"])
    assert result.metrics == read(folder)["metrics"]
    assert result.status == "done"
    assert result.parameters["target"]["head"]["bias"].shape == (60,)
    predictor = result.predictor
    users = predictor.loaded.users[:40]
    scores = predictor.score(users)
    assert scores.shape == (40, 60)
    np.testing.assert_array_equal(predictor.score(users[:2], predictor.loaded.items[5:8]), scores[:2, 5:8])
    world = predictor.loaded.world
    history = {user: set() for user in users}
    for events in (world.target.train, world.rated):  # what she chose, and what she rated and did not like
        for u, i in zip(np.asarray(events.users), np.asarray(events.items), strict=True):
            if u < 40:
                history[predictor.loaded.users[u]].add(predictor.loaded.items[i])
    assert sum(map(len, history.values())) > 40
    for user, lines in predictor.recommend(users, k=58).items():
        items, values = [line.item for line in lines], [line.score for line in lines]
        assert not history[user] & set(items)
        assert len(set(items)) == len(items) == min(58, 60 - len(history[user]))
        assert values == sorted(values, reverse=True)
        assert [line.rank for line in lines] == list(range(1, len(lines) + 1))
        row = dict(zip(predictor.loaded.items, scores[users.index(user)], strict=True))
        assert all(row[item] == pytest.approx(value) for item, value in zip(items, values, strict=True))
        assert min(values) >= max((row[item] for item in set(row) - set(items) - history[user]), default=-math.inf)
    with pytest.raises(TransferError, match=r"user 'nobody' is unknown.*such as") as caught:
        predictor.recommend(["nobody"])
    assert "\n" not in str(caught.value)


def test_the_package_exports_the_function_for_good() -> None:
    """A submodule of the same name would take its place as soon as somebody imports it, which the first call does."""
    assert transfer.run is run


def test_sweepers_get_the_validation_metric(command: Command, tmp_path: Path) -> None:
    back = "+hydra.callbacks.back._target_=hydra.experimental.callbacks.LogJobReturnCallback"
    out = tmp_path / "OUT"
    assert command(*RATING, *WORLD, "method=item_bias", back, f"hydra.run.dir={out}").code == 0
    (line,) = [line for line in (out / "transfer.log").read_text().splitlines() if "return value" in line]
    metrics = read(out)["metrics"]
    assert float(line.rpartition(" ")[2]) == -metrics["valid"]["rmse"] != -metrics["test"]["rmse"], "higher is better"


def test_files_of_a_stranger(command: Command, files: Path, tmp_path: Path) -> None:
    words = (f"domain.target={files}/books.inter", "task=rating", "method=source_bias", "split.seed=1")
    assert command("domain=files", f"domain.source={files}/movies.inter", *words, "hydra.run.dir=one").code == 0
    several = f"domain.source=[{files}/movies.inter,{{path: {files}/music.inter, name: songs}}]"
    said = command("domain=files", several, *words, "hydra.run.dir=two")
    assert said.code == 0
    assert "songs (source)" in said.out
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert [source["name"] for source in one["world"]["sources"]] == ["movies"]
    assert [source["name"] for source in two["world"]["sources"]] == ["movies", "songs"]
    assert one["split_seed"] == 1
    assert one["metrics"]["test"]["rmse"] != two["metrics"]["test"]["rmse"]


def test_real_data(command: Command, data_dir: Path, tmp_path: Path) -> None:
    domain = ("domain=amazon_movies_books", f"data_dir={data_dir}", "task=ranking", "split=cold_start", "split.beta=0.2")
    assert command(*domain, "method=user_knn", "hydra.run.dir=out").code == 0
    result = read(tmp_path / "out")
    assert 0.12 < result["metrics"]["test"]["ndcg@10"] < 0.17
    assert result["world"]["cleaning"]["books"]["merged_items"] > 50


BAD = {
    "method=magic": ["magic", "emcdr"],
    "hp.dropout=0.1": ["hp.dropout|dropout"],
    "hp.damping=much": ["hp.damping", "much"],
    "domain.users=many": ["domain.users", "many"],
    "split.beta=2": ["split.beta", "2"],
    "seed=-1": ["seed", "-1"],
    "task.select=accuracy": ["task.select", "rmse"],
    "train.replicas=sideways": ["train.replicas", "vmap"],
    "nonsense=1": ["nonsense"],
    "method=ease": ["method=ease does not do task=rating", "item_bias"],
    "domain.target=nowhere.csv": ["nowhere.csv"],
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_gives_one_clear_line(bad: str, command: Command) -> None:
    world = ["domain=files", "domain.source=nowhere.csv"] if bad.startswith("domain.target") else WORLD
    said = command(*RATING, *world, "method=item_bias", bad)
    assert said.code == 2
    assert "Traceback" not in said.err
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert len(lines) == 1, said.err
    for part in BAD[bad]:
        assert any(option in lines[0] for option in part.split("|")), lines[0]
    assert not said.out


def test_help_lists_groups_methods_and_examples(command: Command) -> None:
    said = command("--help")
    assert said.code == 0
    for method in names("methods"):
        line = next(line for line in said.out.splitlines() if line.split()[:1] == [method])
        assert "needs" in line
    for group in ("domain", "task", "split", "method", "track"):
        assert f"{group}: " in said.out
    assert "amazon_movies_books" in said.out
    assert "transfer -m method=" in said.out


def test_a_multirun_ends_with_one_table(command: Command, tmp_path: Path) -> None:
    words = (*RATING, *WORLD, *BUDGET, "method=target_only,item_bias,source_bias", "seed=0,1", "hydra.sweep.dir=S")
    said = command("-m", *words)
    assert said.code == 0, said.err
    results = [read(tmp_path / "S" / str(number)) for number in range(6)]
    assert [result["status"] for result in results] == ["done"] * 6
    rmse = {m: [r["metrics"]["test"]["rmse"] for r in results if r["method"] == m] for m in names("methods")}
    chosen = {m: np.mean([r["metrics"]["valid"]["rmse"] for r in results if r["method"] == m]) for m in rmse if rmse[m]}
    reference = min(("target_only", "item_bias"), key=lambda method: chosen[method])
    for method in ("target_only", "item_bias", "source_bias"):
        (row,) = [line for line in said.out.splitlines() if line.strip("│┃ ").startswith(f"{method} ") and "±" in line]
        values = np.array(rmse[method])
        assert f"{values.mean():.4f} ± {values.std(ddof=1):.4f}" in row
        gap = values - np.array(rmse[reference])
        assert (f"{gap.mean():+.4f}" if method != reference else "reference") in row
    assert said.out.count("gap: to the reference") == 1
    assert rmse["target_only"][0] != rmse["target_only"][1]
    assert [r["gap"]["target_only"]["rmse"] for r in results] == pytest.approx(
        [r["metrics"]["test"]["rmse"] - rmse["target_only"][r["seed"]] for r in results]
    )


def test_a_disk_that_refuses_is_told_in_one_line(command: Command, tmp_path: Path) -> None:
    """A file where a folder should be stands for a full or read-only disk: what the system says, and status 2."""
    (tmp_path / "file").write_text("")
    said = command(*RATING, *WORLD, "method=item_bias", "hydra.run.dir=file/run")
    assert said.code == 2
    (line,) = [line for line in said.err.splitlines() if line.strip()]
    assert "file/run" in line


NOT_HEEDED = {
    "engine=ray": ("transfer -m",),
    "sweep=fair": ("transfer -m",),
    "retry=failed": ("transfer -m",),
    "-m --cfg=job": ("leave -m out",),
    "-m hydra.sweep.subdir=${hydra.job.override_dirname}": ("hydra.sweep.subdir", "numbers"),
    "track=wandb": ("WANDB_MODE=sometimes", "offline"),
    "-m track=wandb": ("WANDB_MODE=sometimes", "offline"),
}


@pytest.mark.parametrize("words", NOT_HEEDED)
def test_what_would_not_be_heeded_is_refused_before_anything_is_written(
    words: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    said = command(*words.split(), *RATING, *WORLD, "method=item_bias")
    assert said.code == 2
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert len(lines) == 1, said.err
    assert all(part in lines[0] for part in NOT_HEEDED[words]), said.err
    assert {path.name for path in tmp_path.rglob("*.*")} <= {"multirun.yaml"}, "Hydra's note of a sweep and nothing else"


def test_a_command_is_composed_once_and_hydra_mode_is_heeded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra._internal.hydra import Hydra

    composed = []
    real = Hydra.compose_config
    monkeypatch.setattr(Hydra, "compose_config", lambda *words, **more: composed.append(more) or real(*words, **more))
    words = (*RATING, *WORLD, "method=item_bias")
    assert command(*words, "hydra.run.dir=one").code == 0
    assert len(composed) == 1
    assert Path("one/result.json").exists()
    assert command(*words, "seed=0,1", "hydra.mode=MULTIRUN", "hydra.sweep.dir=many").code == 0
    assert {path.parent.name for path in Path("many").glob("*/result.json")} == {"0", "1"}
    file = Path("mine/experiment/two.yaml")
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '3,4'}}}\n")
    folder = Path("mine").resolve()
    assert command(*words, f"hydra.searchpath=[file://{folder}]", "experiment=two", "hydra.sweep.dir=more").code == 0
    assert len(list(Path("more").glob("*/result.json"))) == 2


def test_a_missing_wandb_is_told_before_training(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transfer.results.trackers.copies.find_spec", lambda name: None)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    said = command(*RATING, *WORLD, "method=item_bias", "track=wandb")
    assert said.code == 2
    assert "pip install -e '.[wandb]'" in said.err
    assert "pip install -e '.[mlflow]'" in command(*RATING, *WORLD, "method=item_bias", "track=mlflow").err
    assert "track.per=run" in command(*RATING, *WORLD, "method=item_bias", "track.live=true").err
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert command(*RATING, *WORLD, "method=item_bias", "track=wandb", "hydra.run.dir=out").code == 0
    assert not Path("out/wandb").exists()


def test_a_finished_run_gives_way_to_another_only_when_that_has_ended(command: Command, tmp_path: Path) -> None:
    words = (*RATING, "domain=files", "domain.source=null", "domain.target=books.csv", "split=ratio", "hydra.run.dir=out")
    rows = "".join(f"u{u},i{(u * j) % 7},{1 + (u + j) % 5}\n" for u in range(40) for j in range(1, 6))
    (tmp_path / "books.csv").write_text("user,item,rating\n" + rows)
    assert command(*words, "method=item_bias").code == 0
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.suffix != ".log"}

    def unchanged() -> bool:
        return all(path.read_bytes() == content for path, content in before.items())

    for other in ("domain.target=boks.csv", "method=global_mean", "hp.dampin=3", "seed=4"):
        said = command(*words, "method=item_bias", other)
        assert said.code == 2
        assert unchanged(), other
    assert "resume=false" in said.err
    (tmp_path / "books.csv").rename(tmp_path / "gone.csv")
    assert command(*words, "method=item_bias").code == 2
    assert unchanged(), "the same run, whose data are not there"
    (tmp_path / "gone.csv").rename(tmp_path / "books.csv")
    assert command(*words, "method=item_bias", "seed=4", "resume=false").code == 0
    assert read(out)["seed"] == 4
    assert {path.name for path in out.iterdir()} == {path.relative_to(out).parts[0] for path in before} | {"transfer.log"}


def test_a_run_that_diverges_ends_with_one(command: Command) -> None:
    assert command(*RATING, *WORLD, *BUDGET, "method=target_only", "hp.learning_rate=1e30").code == 1


def test_markup_in_an_error_is_printed_as_it_is(command: Command) -> None:
    said = command(
        *RATING,
        "domain=files",
        "domain.source=null",
        "domain.target='a[/b] [paperback].csv'",
        "split=ratio",
        "method=item_bias",
    )
    assert said.code == 2
    assert "a[/b] [paperback].csv" in said.err


def test_a_run_inside_another_application_of_hydra_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text("x: 1\n")
    (tmp_path / "app.py").write_text(
        """import hydra, transfer
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(config_path=".", config_name="conf", version_base="1.2")
def main(config):
    mine = GlobalHydra.instance().hydra
    print(transfer.run(["task=rating", "domain.users=60", "method=item_bias"]).status)
    assert GlobalHydra.instance().hydra is mine and HydraConfig.get().job.name == "app"
    assert hydra.compose("conf").x == 1 and hydra.version.getbase().minor == 2

main()
"""
    )
    done = subprocess.run(
        [sys.executable, "app.py"], capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout.splitlines()


def heeds_signals(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, which Python itself has not."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux when the command heeds signals")
@pytest.mark.parametrize("after", [0.0, 0.7, 2.5])
def test_a_signal_at_any_time_of_the_start_ends_in_one_line(after: float, tmp_path: Path) -> None:
    """While Python imports and data are loaded: no traceback, and how to go on."""
    number = signal.SIGINT if after else signal.SIGTERM
    words = [sys.executable, "-m", "transfer", *RATING, "domain.users=4000", "method=target_only", "train.epochs=10000"]
    running = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not heeds_signals(running.pid):
        time.sleep(0.01)
    time.sleep(after)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted; to go on: transfer task=rating" in said

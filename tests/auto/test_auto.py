"""sweep=auto: it transfers where that surely helps and nowhere else, within its budget, and tests its choice once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from conftest import Command
from planted import LEARN, RANKING, plant

from transfer.auto.decision import decide, gain
from transfer.auto.search import Budget, budget_of
from transfer.errors import TransferError
from transfer.experiment.run import load_run
from transfer.report.comparison import per_user
from transfer.solvers import histories
from transfer.training import compiler
from transfer.training.device_memory import device_memory

pytestmark = pytest.mark.usefixtures("no_figures")
METHODS = ("popularity", "ridge_map", "text_bridge", "ease method.domains=target")
CANDIDATES = f"hydra.sweeper.candidates.ranking={json.dumps([f'method={method}' for method in METHODS])}"
FOLDS, READERS = 3, 60


class Fold(NamedTuple):
    result: dict[str, Any]
    pair: tuple[str, int]


class Made:
    """A candidate whose readers' values are given [folds, readers]."""

    def __init__(self, name: str, values: np.ndarray, uses_source: bool, seconds: float = 1.0, sign: int = 1):
        self.of_examples = False
        self.name, self.uses_source, self.seconds, self.values = name, uses_source, seconds, values
        self.score = sign * float(values.mean())
        self.runs = [Fold({"select": {"metric": "ndcg@10", "sign": sign}}, (f"fold {k}", 0)) for k in range(len(values))]

    def tests(self) -> dict[tuple[str, int], per_user.Tested]:
        def tested(k: int) -> per_user.Tested:
            ids = np.arange(READERS) + k * READERS
            return per_user.Tested(ids, np.zeros(READERS, int), np.ones(READERS), {"ndcg@10": self.values[k]})

        return {run.pair: tested(k) for k, run in enumerate(self.runs)}


def values(rng: np.random.Generator, mean: float) -> np.ndarray:
    return mean + 0.1 * rng.standard_normal((FOLDS, READERS))


def choose(*candidates: Made) -> Any:
    return decide(list(candidates))  # type: ignore[arg-type]


def test_of_the_surely_better_the_highest_mean_is_chosen() -> None:
    rng = np.random.default_rng(0)
    base, weak = Made("base", values(rng, 0.2), False), Made("weak", values(rng, 0.1), False)
    most, near = Made("most", values(rng, 0.3), True, seconds=9), Made("near", values(rng, 0.29), True)
    wild = Made("wild", 0.31 + 8 * rng.standard_normal((FOLDS, READERS)), True)
    wild.values += 0.31 - wild.values.mean()
    wild.score = 0.31
    found = choose(weak, base, near, wild, most)
    assert found.reference is base
    assert found.gains["near"].low > 0 > found.gains["wild"].low
    assert found.chosen is most, "near is surely better too; the mean of wild is higher, and not sure"
    assert choose(weak, base, near, most, Made("twin", most.values, True)).chosen is most, "of equals the first"
    assert found.gains["most"].mean == pytest.approx((most.values - base.values).mean())
    assert found.gains["most"].gain == pytest.approx((most.values > base.values).mean())
    assert choose(weak, base, Made("worse", values(rng, 0.15), True)).chosen is base


def test_a_mixture_with_a_source_needs_no_sure_lead_on_the_best_alone_and_one_without_does() -> None:
    rng = np.random.default_rng(0)
    base, best = Made("base", values(rng, 0.2), False), Made("best", values(rng, 0.3), True)
    noise = 0.05 * rng.standard_normal((FOLDS, READERS))
    for lead, source, is_chosen in ((0.002, True, True), (-0.002, True, False), (0.002, False, False), (0.1, False, True)):
        mixed = Made("mixed", best.values + lead + noise - noise.mean(), source)
        found = decide([base, best], [mixed])  # type: ignore[list-item]
        assert (found.mixtures[0].gain.low > 0) == (lead == 0.1)
        assert (found.chosen is mixed) == is_chosen
        assert is_chosen or found.chosen is best


def test_an_error_is_better_where_it_is_smaller() -> None:
    rng = np.random.default_rng(0)
    base, low = Made("base", values(rng, 0.9), False, sign=-1), Made("low", values(rng, 0.7), True, sign=-1)
    high = Made("high", values(rng, 1.2), True, sign=-1)
    found = choose(base, low, high)
    assert found.chosen is low
    assert found.gains["low"].mean > 0 > found.gains["high"].mean


def test_of_many_useless_sources_none_is_taken_more_often_than_promised() -> None:
    """Twenty candidates without any gain: a choice without correction would transfer in about a third of the worlds."""
    rng, taken, uncorrected = np.random.default_rng(0), 0, 0
    for _ in range(100):
        base = Made("base", values(rng, 0.2), False)
        rivals = [Made(f"{i}", values(rng, 0.2), True) for i in range(20)]
        taken += choose(base, *rivals).chosen is not base
        uncorrected += any(gain(one, base).low > 0 for one in rivals)  # type: ignore[arg-type]
    assert taken <= 0.06 * 100
    assert uncorrected > 0.15 * 100


def test_candidates_that_are_alike_need_no_larger_gain_than_one() -> None:
    """Twenty copies of a gain are one finding; among twenty strangers the same gain may be chance."""
    rng = np.random.default_rng(0)
    base, change = Made("base", values(rng, 0.2), False), values(rng, 0.0)
    change = change - change.mean() + 2.5 * change.std() / np.sqrt(change.size)
    helps = Made("helps", base.values + change, True)
    copies = [Made(f"copy {i}", helps.values, True) for i in range(20)]
    strangers = [Made(f"{i}", values(rng, 0.1), True) for i in range(20)]
    assert choose(base, helps, *copies).chosen is not base
    assert choose(base, helps, *strangers).chosen is base


def test_it_transfers_where_tastes_are_shared_and_only_there(command: Command, tmp_path: Path) -> None:
    for correlation, transfers in ((0.9, True), (0.0, False)):
        words = ("-m", "sweep=auto", *plant(correlation), *LEARN, *RANKING, "split=cold_start", CANDIDATES)
        words = (*words, "hydra.sweeper.folds=2", f"hydra.sweep.dir={transfers}")
        said = command(*words)
        assert said.code == 0, said.err
        folder = tmp_path / str(transfers)
        choice = json.loads((folder / "choice.json").read_text())
        assert choice["transfer"] is transfers, choice["text"]
        assert ("Do not transfer" in said.out) is not transfers
        assert choice["left_out"]["text_bridge"].startswith("method=text_bridge needs vectors"), "and is no failed run"
        assert choice["left_out"]["ease method.domains=target"].startswith("who is asked is new to the target")
        results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/result.json")}
        tested = {name: one for name, one in results.items() if "test" in one["metrics"] and name != "chosen"}
        assert len(results) - len(tested) - 1 == 2 * 2, "every candidate on every fold, and nothing on the test"
        events = {name: one["world"]["target"] for name, one in results.items() if name != "chosen"}
        selecting = {
            len(pl.read_parquet(folder / name / "valid_per_user.parquet"))
            for name in results
            if name not in (*tested, "chosen")
        }
        assert choice["whole"], "these select nothing by the validation part, and learn from it before they are tested"
        for name in tested:
            assert events[name]["train"]["users"] == events["0"]["train"]["users"] + max(selecting)
        assert {one["method"] for one in tested.values()} == {words[0].split("=")[1] for words in both(choice)}
        assert load_run(folder / "chosen").config.method.name == choice["chosen"][0].split("=")[1]
        page = (folder / "index.html").read_text()
        assert "Transfer or not?" in page
    before = (folder / "0" / "result.json").read_bytes()
    assert command(*words).code == 0
    assert (folder / "0" / "result.json").read_bytes() == before


def both(choice: dict[str, Any]) -> list[list[str]]:
    return [choice["chosen"], choice["reference"]]


def test_a_budget_ends_the_search_and_what_was_not_reached_is_told(command: Command, tmp_path: Path) -> None:
    words = ("-m", "sweep=auto", *plant(0.9), *LEARN, *RANKING, "split=cold_start", CANDIDATES, "hydra.sweeper.folds=2")
    said = command(*words, "budget.runs=1", "hydra.sweep.dir=S")
    assert said.code == 0, said.err
    choice = json.loads((tmp_path / "S" / "choice.json").read_text())
    assert (choice["tried"], choice["not_reached"]) == (1, ["ridge_map"])
    assert "The budget ended before ridge_map" in said.out.replace("\n", " ")
    assert budget_of(["budget.seconds=1.5", "task=ranking"]) == (Budget(1.5), ["task=ranking"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("method=cmf",), "sweep=auto sets method itself: leave method=cmf out"),
        (("split.seed=0,1",), "split.seed=0,1: sweep=auto decides for one world; give split.seed one value"),
        (("task=ranking", "hydra.sweeper.folds=1"), "hydra.sweeper.folds=1: sweep=auto judges by folds; write 2 or more"),
        (("budget.runs=0",), "budget.runs=0: write a number above 0"),
        (
            ("domain=digits_shift", "select=oracle"),
            "select=oracle: sweep=auto never sees a test label before it has chosen",
        ),
    ],
)
def test_what_leaves_nothing_to_choose_is_refused(words: tuple[str, ...], line: str, command: Command) -> None:
    said = command("-m", "sweep=auto", *words, "hydra.sweep.dir=S")
    assert said.code == 2
    assert line in said.err.replace("\n", " ")


def test_a_budget_has_seconds_and_runs() -> None:
    with pytest.raises(TransferError, match=r"budget\.minutes: no such key; a budget has seconds and runs"):
        budget_of(["budget.minutes=1"])


def test_a_candidate_that_is_refused_is_asked_once(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its size before anything runs; for what only a run can tell, on its first fold alone."""
    monkeypatch.setattr(histories, "DENSE_CELLS", 10_000)  # ease has more, of 80 books and 120 films; popularity none
    real = compiler.Compiler._check_memory

    def check(self: Any, memory: Any, count: int, devices: int) -> None:
        if "items/solve" in self.executables:  # the stage of item_knn
            raise compiler.TooLarge(0, 2**60, device_memory().free)
        real(self, memory, count, devices)

    monkeypatch.setattr(compiler.Compiler, "_check_memory", check)
    candidates = [f"method={name}" for name in ("popularity", "ease", "item_knn")]
    words = ("-m", "sweep=auto", *plant(0.9), *LEARN, *RANKING, "split=cold_start", "hydra.sweeper.folds=3")
    command(*words, f"hydra.sweeper.candidates.ranking={json.dumps(candidates)}", "hydra.sweep.dir=S")
    choice = json.loads((tmp_path / "S" / "choice.json").read_text())
    assert choice["chosen"] == ["method=popularity"]
    assert "method=ease without a smaller method.most needs a" in choice["left_out"]["ease"]
    assert "of memory" in choice["left_out"]["item_knn"]
    results = [json.loads(path.read_text()) for path in (tmp_path / "S").glob("[0-9]*/result.json")]
    failed = [one for one in results if one["status"] == "failed"]
    assert len(failed) == 1
    assert len(results) - len(failed) == 3 + 1

"""sweep=auto for labelled examples: judged by folds of few labels, and without any by what has not seen them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from transfer.api import compose
from transfer.experiment.run import run_batch
from transfer.training import loop

pytestmark = pytest.mark.usefixtures("no_figures")
METHODS = ("target_only method.classifier=ridge", "source_only method.classifier=ridge", "coral method.classifier=ridge")
DIGITS = ("-m", "sweep=auto", "domain=digits_shift", "train.progress=false", "hp.l2=0.1")


def candidates(*methods: str) -> str:
    return f"hydra.sweeper.candidates.classification={json.dumps([f'method={words}' for words in methods])}"


def choice(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "choice.json").read_text())


@pytest.mark.parametrize(("target", "strength", "transfers"), [("noisy", 0.3, True), ("inverted", 1.0, False)])
def test_few_labels_say_whether_the_source_helps(
    target: str, strength: float, transfers: bool, command: Command, tmp_path: Path
) -> None:
    words = ("split=few_labels", "split.target_labels=5", f"domain.target={target}", f"domain.strength={strength}")
    said = command(*DIGITS, candidates(*METHODS[:2]), *words, "hydra.sweeper.folds=20", "hydra.sweep.dir=S")
    assert said.code == 0, said.err
    found = choice(tmp_path / "S")
    assert found["transfer"] is transfers, found["text"]
    assert found["folds"] == 5, "no more than there are labels of a class"
    assert found["whole"]
    assert found["ensemble"] is None
    assert "of the examples gain" in found["text"] or not transfers
    results = [json.loads(path.read_text()) for path in (tmp_path / "S").glob("[0-9]*/result.json")]
    tested = [one for one in results if "test" in one["metrics"]]
    assert {one["world"]["target"]["stop"] for one in tested} == {0}
    assert {one["world"]["target"]["train"] for one in tested} == {50}, "all that is labelled"
    divisions = 5 if transfers else 1
    assert len(results) - len(tested) == 2 * 5 * divisions, "a source that is worse is not looked at again"
    assert (f"5 folds of each of {divisions} divisions" in found["text"]) is transfers
    assert "keep: last" in (tmp_path / "S" / "0" / "config.yaml").read_text(), "what judges says not where to stop"


def test_without_a_label_nothing_is_promised(command: Command, tmp_path: Path) -> None:
    said = command(*DIGITS, candidates(*METHODS), "split=examples", "domain.target=rotated", "hydra.sweep.dir=S")
    assert said.code == 0, said.err
    found = choice(tmp_path / "S")
    assert found["left_out"].keys() == {METHODS[0]}
    assert found["reference"] == [f"method={METHODS[1].split()[0]}", METHODS[1].split()[1]]
    assert "nothing can be promised" in found["text"]
    assert found["gains"] == {}
    results = [json.loads(path.read_text()) for path in (tmp_path / "S").glob("[0-9]*/result.json")]
    values = {one["method"]: one["selectors"]["source_valid"] for one in results if "test" not in one["metrics"]}
    assert found["chosen"][0] == f"method={max(values, key=lambda name: values[name])}"


def test_folds_of_labels_share_their_compiled_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[str] = []
    real = loop.stream
    monkeypatch.setattr(loop, "stream", lambda key, name, *rest: traced.append(name) or real(key, name, *rest))

    def run(fold: int) -> float:
        split = ("split=few_labels", "split.target_labels=all", "split.folds=3", f"split.fold={fold}", "test=false")
        learn = ("method=target_only", "train.steps=8", "train.keep=last", "train.progress=false")
        return run_batch([compose(["domain=digits_shift", *split, *learn])])[0].metrics["valid"]["accuracy"]

    first, count = run(0), len(traced)
    assert run(1) != first
    assert len(traced) == count > 0

"""Runs that start from parameters of another run: those that are taken are so bit by bit, the rest is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import small_overrides
from safetensors.numpy import load_file, save_file

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment import Result, load_run, run_batch
from transfer.storage.trees import name_of
from transfer.sweep import finished

WORDS = ("domain=digits_shift", "split=few_labels", "model=mlp", "model.dim=4", "train.epochs=1", "train.progress=false")
STILL = ("hp.learning_rate=0", "seed=7")  # what a run that never moves ends with is what it started from


def ended(*words: str, folder: Path | None = None, base: tuple[str, ...] = WORDS) -> Result:
    return run_batch([compose([*base, *words])], [folder] if folder else None)[0]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two stages, source and target."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    ended("method=finetune", "method.strategy=full", folder=folder)
    return folder


def flat(result: Result) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(result.parameters)
    return {name_of(keys): leaf for keys, leaf in leaves}


def test_a_run_starts_bit_by_bit_where_the_other_ended(first: Path) -> None:
    stored = load_file(first / "parameters.safetensors")
    fresh, started = (flat(ended("method=target_only", *STILL, *more)) for more in ((), (f"init_from={first}",)))
    for name, array in started.items():
        assert array.tobytes() == stored[name].tobytes(), name
    assert any(not np.array_equal(fresh[name], stored[name]) for name in fresh), "the control: afresh it is elsewhere"


def test_a_pattern_takes_what_it_names_and_nothing_else(first: Path, tmp_path: Path) -> None:
    stored = load_file(first / "parameters.safetensors")
    fresh = flat(ended("method=target_only", *STILL))
    result = ended("method=target_only", *STILL, f"init_from={first}", "init_only=body/*kernel", folder=tmp_path / "run")
    for name, array in flat(result).items():
        named = "/body/" in name and name.endswith("kernel")
        assert np.array_equal(array, (stored if named else fresh)[name]), name
    begun = json.loads((tmp_path / "run" / "result.json").read_text())["begun"]
    assert set(begun["taken"]) == {name for name in fresh if "/body/" in name and name.endswith("kernel")}
    assert set(begun["drawn"]) == set(fresh) - set(begun["taken"])
    assert set(begun["left"]) == set(stored) - set(begun["taken"].values())
    assert flat(load_run(tmp_path / "run")).keys() == fresh.keys(), "the folder alone is enough to load it"


def test_a_stage_that_goes_on_from_an_earlier_one_still_does(first: Path) -> None:
    """Pre-training starts from the other run, tuning from pre-training."""
    result = ended("method=finetune", "method.strategy=full", f"init_from={first}", *STILL)
    stored, found = load_file(first / "parameters.safetensors"), flat(result)
    body = [name for name in found if name.startswith("target/body/")]
    assert body
    for name in body:
        of_source = name.replace("target/", "source/")
        assert np.array_equal(found[name], stored[of_source])
        assert np.array_equal(found[of_source], stored[of_source])
    assert any(not np.array_equal(stored[name], stored[name.replace("target/", "source/")]) for name in body)


def test_interactions_too_and_files_without_stages(tmp_path: Path) -> None:
    base = (*small_overrides(method="target_only", train__epochs=1), *STILL)
    drawn = flat(ended(base=base))
    mine = {name.removeprefix("target/"): np.asarray(array + np.float32(1)) for name, array in drawn.items()}
    save_file(mine, tmp_path / "own.safetensors")
    for name, array in flat(ended(f"init_from={tmp_path / 'own.safetensors'}", base=base)).items():
        assert np.array_equal(array, mine[name.removeprefix("target/")])


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (
            lambda t: t.update({"target/head/kernal": t.pop("target/head/kernel")}),
            (),
            "no parameter target/head/kernel; the closest match is target/head/kernal",
        ),
        (
            lambda t: t.update({"target/head/bias": t["target/head/bias"][:3]}),
            (),
            "target/head/bias has shape [3] and this run needs [10]; the closest match is source/head/bias",
        ),
        (lambda t: None, ("init_only=bodies/*",), "init_only=bodies/* names no parameter that could be taken"),
        (lambda t: None, ("method=coral",), "method=coral has no parameter that could be taken"),
        (
            lambda t: [t.update({name.replace("target/", "tuned/"): t.pop(name)}) for name in [*t] if "target/" in name],
            (),
            "it has the stages source, tuned, none of them target or target",
        ),
        (lambda t: [t.pop(name) for name in [*t]], (), "no stage with a body or head"),
    ],
)
def test_what_does_not_fit_is_named(first: Path, tmp_path: Path, change: Any, words: tuple[str, ...], said: str) -> None:
    stored = load_file(first / "parameters.safetensors")
    change(stored)
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(TransferError) as caught:
        ended("method=target_only", f"init_from={tmp_path / 'w.safetensors'}", *words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_a_finished_run_has_parameters(first: Path, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"neither the folder of a run nor a \.safetensors file"):
        ended("method=target_only", f"init_from={tmp_path}")
    for name in ("result.json", "config.yaml"):
        (tmp_path / name).write_text((first / name).read_text().replace('"status": "done"', '"status": "diverged"'))
    with pytest.raises(TransferError, match="this run is diverged"):
        ended("method=target_only", f"init_from={tmp_path}")


def test_a_run_is_known_by_the_content_that_it_starts_from(first: Path, tmp_path: Path) -> None:
    """The same parameters elsewhere are the same run; others at the same place are another, and a sweep runs it again."""
    stored = load_file(first / "parameters.safetensors")
    ids, facts = [], []
    for name, shift in (("a", 0.0), ("b", 0.0), ("a", 1.0)):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: array + np.float32(shift) for key, array in stored.items()}, path)
        result = ended("method=target_only", *STILL, f"init_from={path}")
        ids.append(result.facts["id"])
        facts.append((result.config, result.facts, tmp_path))
    assert ids[0] == ids[1] != ids[2]
    assert [finished.same_data(*each, finished._stamp) for each in facts] == [False, True, True]

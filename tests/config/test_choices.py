"""Configurations composed once for each choice of groups are those that Hydra composes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from transfer import composing
from transfer.config.choices import once_per_choice
from transfer.errors import TransferError

WORDS = [
    ["split.beta=0.3", "method=cmf"],
    ["hp.l2=0.3", "seed=4", "method=cmf", "train.epochs=2"],
    ["method=emcdr", "method.map=mlp", "task.k=[5,20]", "train.patience=null"],
    ["domain=files", "domain.source.path=a.csv", "domain.target.path='b c.csv'"],
    ["task=rating", "data_dir=somewhere", "domain.name='1,2'", "+hp.new=3"],
    ["domain=moons", "domain.name=clouds"],
    ["train.epochs=3", "++train.epochs=5", "++hp.new=2"],
    ["++train.epochs=5", "train.epochs=3", "train.epochs=4"],
    ["++train.epochs=5", "~hp.l2", "+hp.l2=7"],
    ["method=cmf", "track=wandb", "track.per=program"],
]
WRONG = [
    ["train.epoch=3"],
    ["method=cfm", "train.epochs=3"],
    ["train.epochs=1,2"],
    ["train.epochs=[3"],
    ["train.epochs.deep=3"],
    ["+train.epochs=3"],
]


@pytest.fixture
def compose() -> Iterator[list[list[str]]]:
    """Hydra itself, and what it was asked."""
    asked: list[list[str]] = []
    with composing._own_hydra(), hydra.initialize_config_dir(str(composing.config_folder()), version_base="1.3"):
        yield asked


def _hydra(words: list[str]) -> DictConfig:
    return hydra.compose("config", overrides=words)


def test_values_are_set_as_hydra_sets_them(compose: list[list[str]]) -> None:
    kept = once_per_choice(_hydra, {})
    for words in WORDS:
        right = OmegaConf.to_container(_hydra(words))
        for _ in range(2):
            assert OmegaConf.to_container(kept(words)) == right, words
        assert OmegaConf.is_struct(kept(words))
    assert GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize("words", WRONG)
def test_what_does_not_fit_is_said_in_hydras_words(words: list[str], compose: list[list[str]]) -> None:
    kept = once_per_choice(_hydra, {})
    with pytest.raises(HydraException) as theirs:
        _hydra(words)
    for _ in range(2):
        with pytest.raises(HydraException) as ours:
            kept(words)
        assert str(ours.value) == str(theirs.value)


def test_the_groups_are_composed_once_and_no_run_changes_another(compose: list[list[str]]) -> None:
    kept = once_per_choice(lambda words: compose.append(words) or _hydra(words), {})  # type: ignore[func-returns-value]
    first = kept(["method=cmf", "train.epochs=3", "seed=1"])
    second = kept(["method=cmf", "train.batch_size=7", "seed=2"])
    first.train.epochs = 99
    assert compose == [["method=cmf"]]
    assert (second.train.batch_size, second.seed, second.train.epochs) == (7, 2, _hydra([]).train.epochs)
    assert kept(["method=cmf", "train.epochs=3"]).train.epochs == 3
    kept(["method=ease"])
    assert compose == [["method=cmf"], ["method=ease"]]


def test_what_is_declared_since_changes_nothing_and_what_is_declared_otherwise_does(compose: list[list[str]]) -> None:
    """A method that is imported later leaves what was composed before; one that a notebook has reloaded does not."""
    declared: dict[Any, str] = {"before": "1"}

    def composed(words: list[str]) -> DictConfig:
        compose.append(words)
        declared.setdefault("cmf", "1")  # imported on the way
        return _hydra(words)

    kept = once_per_choice(composed, {}, None, lambda: dict(declared))
    changes: list[tuple[dict[Any, str], int]] = [({}, 1), ({}, 1), ({"later": "1"}, 1), ({"cmf": "2"}, 2), ({}, 2)]
    for change, times in changes:
        declared.update(change)
        kept(["method=cmf", "seed=1"])
        assert len(compose) == times, change


def test_a_file_of_the_configuration_that_changes_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(composing.config_folder(), conf)
    monkeypatch.setattr(composing, "config_folder", lambda: conf)
    usual = composing.compose([]).train.epochs
    text = (conf / "train" / "default.yaml").read_text()
    (conf / "train" / "default.yaml").write_text(text.replace(f"epochs: {usual}", f"epochs: {usual + 123}"))
    assert composing.compose([]).train.epochs == usual + 123
    with pytest.raises(TransferError):
        composing.compose(["domain=mine"])
    (conf / "domain" / "mine.yaml").write_text((conf / "domain" / "simulated.yaml").read_text())
    assert composing.compose(["domain=mine"]).domain == composing.compose([]).domain


def test_a_folder_of_the_search_path_is_read_every_time(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    words = [f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"]
    for epochs in (3, 4):
        file.write_text(f"# @package _global_\ntrain: {{epochs: {epochs}}}\n")
        assert composing.compose(words).train.epochs == epochs

"""A method declares its numbers once: they lie in their ranges, and its configuration is what it declares."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from conftest import Command

from transfer.api import compose
from transfer.config.declared import Range
from transfer.config.schema import Method, Model
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.experiment.checks import check_numbers, check_settings
from transfer.registry import find, names, outline
from transfer.results.run_folder import read_run

METHODS, MODELS = names("methods"), names("models")


@pytest.mark.parametrize(
    ("number", "value", "refused"),
    [
        (Range(1.0, low=0), 0, None),
        (Range(1.0, low=0), -0.1, "must be at least 0"),
        (Range(1.0, low=0, above=True), 0, "must be above 0"),
        (Range(0.5, low=0, high=1), 1, None),
        (Range(0.5, low=0, high=1), 1.5, "must be at least 0 and at most 1"),
        (Range(0.5, low=0, high=1, below=True), 1, "must be at least 0 and below 1"),
        (Range(0.5), -1e9, None),
        (Range(0.5, low=0), float("nan"), "must be at least 0"),
    ],
)
def test_a_range_says_what_is_wrong(number: Range, value: float, refused: str | None) -> None:
    assert number.refusal(value) == refused


@pytest.mark.parametrize("kind", ["methods", "models"])
def test_every_default_lies_in_its_range(kind: str) -> None:
    for name in names(kind):
        for key, number in getattr(find(kind, name), "HP", {}).items():
            value = 0.1 if isinstance(number.default, str) else number.default
            assert number.refusal(value) is None, f"{name}: hp.{key}"


@pytest.mark.parametrize("method", METHODS)
def test_a_composed_configuration_has_exactly_what_the_method_declares(method: str) -> None:
    task = outline("methods", method).needs.tasks[0]
    config = compose([f"method={method}", "domain=moons" if task == "classification" else f"task={task}"])
    module = find("methods", method)
    declared = getattr(module, "HP", {})
    assert set(config.hp) == set(declared)
    for name, number in declared.items():
        assert config.hp[name] == (config.task.l2 if isinstance(number.default, str) else number.default)
    declared_settings = getattr(module, "Settings", Method)(name=method)
    assert config.method.model_dump(mode="json") == declared_settings.model_dump(mode="json")
    assert check_settings(config).hp == config.hp


@pytest.mark.parametrize("model", MODELS)
def test_a_composed_configuration_has_what_the_model_declares(model: str) -> None:
    module = find("models", model)
    config = compose([f"model={model}"])
    assert config.static()["model"] == getattr(module, "Settings", Model)(name=model).model_dump(mode="json")
    assert set(getattr(module, "HP", {})) == set(config.hp) - {"learning_rate", "l2"}


def refusal(*overrides: str) -> str:
    with pytest.raises(TransferError) as caught:
        run_batch([compose(list(overrides))])
    assert "\n" not in str(caught.value)
    return str(caught.value)


OF_CMF = "hp.learning_rate, hp.l2, hp.source_weight, hp.temperature, hp.source_weight_1"
RATE = f"hp.learning_rat: method=cmf has no such number; did you mean hp.learning_rate? it has {OF_CMF}"
REFUSED = {
    "method=cmf hp.learning_rat=0.1": RATE,
    "method=cmf +hp.learning_rat=0.1": RATE,
    "method=user_knn hp.neighbours=20": "hp.neighbours: method=user_knn has no such number; it is a setting: write "
    "method.neighbours",
    "method=cmf hp.dim=1": "hp.dim: method=cmf has no such number; it is a setting: write model.dim",
    "method=cmf hp.alone_l2=1": f"hp.alone_l2: method=cmf has no such number; it has {OF_CMF}",
    "method=cmf method.guard=gate hp.alone_l=1": "hp.alone_l: method=cmf has no such number; did you mean hp.alone_l2? "
    f"it has {OF_CMF}, hp.alone_learning_rate, hp.alone_l2",
    "method=cmf method.guard=gate hp.alone_l2=-1": "hp.alone_l2=-1: must be at least 0",
    "method=cmf hp.l2=-1": "hp.l2=-1: must be at least 0",
    "method=ease hp.ridge=0": "hp.ridge=0: must be above 0",
    "method=ease hp.source_weight_2=1": "hp.source_weight_2: method=ease has no such number; "
    "did you mean hp.source_weight_1? it has hp.ridge, hp.source_weight, hp.weight, hp.source_weight_1",
    "model=gru4rec hp.dropout=1": "hp.dropout=1: must be at least 0 and below 1",
    "method=emcdr method.mapp=mlp": "method.mapp: no such key here; did you mean method.map? it has "
    "method.name, method.map, method.hidden, method.permute, method.permute_seed, method.fusion, method.rank_by, "
    "method.guard",
    "method=emcdr +method.mapp=mlp": "method.mapp: no such key here; did you mean method.map? method=emcdr has "
    "method.guard, method.permute, method.permute_seed, method.fusion, method.rank_by, method.map, method.hidden",
    "model=mf +model.dimm=3": "model.dimm: no such key here; did you mean model.dim? model=mf has model.dim, model.init",
    "domain=moons +domain.pointz=30": "domain.pointz: no such key here; did you mean domain.points? domain=moons has ",
    "task.selec=rmse": "task.selec: no such key here; did you mean task.select? it has task.name, ",
    "+train.epoch=3": "train.epoch: no such key here; did you mean train.epochs? it has train.epochs, ",
    "+nonsense=3": "nonsense: no such key here; it has ",
    "hydra.swep=1": "hydra.swep: no such key here; did you mean hydra.sweep? it has ",
    "metod=coral": "metod: no such key here; did you mean method? it has ",
    "method=colar": "method=colar: unknown; did you mean coral? choose from adabn, ",
    "model=mff": "model=mff: unknown; did you mean mf? choose from caser, ",
    "split=colt_start": "split=colt_start: unknown; did you mean cold_start? choose from cold_items, cold_start, ",
    "method=item_knn method.neighbours=0": "method.neighbours: 0: ",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_exist_or_make_sense_is_refused_with_the_nearest(words: str) -> None:
    said = refusal(*words.split())
    assert said.startswith(REFUSED[words])
    assert "use +" not in said
    if not REFUSED[words].endswith((" ", ": ")):
        assert said == REFUSED[words]


def test_a_number_of_each_source_and_of_the_guard_may_be_given() -> None:
    for words in ("method=ease hp.source_weight_1=2", "method=cmf method.guard=gate +hp.alone_l2=2"):
        config = compose(words.split())
        assert check_numbers(config) is config


def test_a_missing_number_takes_its_default() -> None:
    config = compose(["method=cmf", "hp.source_weight=2", "task.l2=0.7"])
    bare = config.model_copy(update={"hp": {"source_weight": 2.0}})
    assert check_numbers(bare).hp == {"source_weight": 2.0, "learning_rate": 0.003, "l2": 0.7, "temperature": 0.005}


def test_jobs_of_a_sweep_are_refused_before_programs_start(command: Command, tmp_path: Any) -> None:
    said = command("-m", "method=item_bias", "task=rating", "domain.users=60", "hp.damping=-1,3", "hydra.sweep.dir=S")
    assert said.code == 2
    assert "hp.damping=-1: must be at least 0" in said.err
    assert not list(tmp_path.rglob("result.json"))


def test_softmax_is_understood_as_log_linear(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = compose(["method=softmax"]), compose(["method=log_linear"])
    assert old.hp == new.hp
    assert "softmax" not in METHODS
    assert find("methods", "softmax") is find("methods", "log_linear")
    whole = {**old.static(), "resume": True, "track": "none", "seed": 0, "hp": old.hp}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(whole))
    (tmp_path / "result.json").write_text('{"status": "done"}')
    assert check_settings(read_run(tmp_path)[0]).method.name == "softmax"


def test_a_misspelt_number_in_a_methods_code_names_the_file_and_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    module = find("methods", "item_bias")
    monkeypatch.setattr(module, "HP", {"dampening": Range(10.0, low=0)})
    assert refusal("method=item_bias", "task=rating", "domain.users=60") == (
        'transfer.methods.baselines.item_bias: hp["damping"] is read and not declared; did you mean dampening? '
        'its HP and that of the model have "dampening"'
    )

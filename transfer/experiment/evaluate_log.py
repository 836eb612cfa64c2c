"""A log of impressions in figures: what came of it, and what policies that did not make it would have brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from transfer.config.logs import LogFile
from transfer.data.given import Domain, of_frame
from transfer.data.logs.read import Log, read_log, together
from transfer.errors import TransferError, no_such_key
from transfer.evaluate.logged.rates import rates
from transfer.experiment.export import load_with_data
from transfer.experiment.log_policies import Contexts, Policy, contexts_of, known_readers, of_log, of_run, uniform
from transfer.experiment.log_values import How, check, values_of
from transfer.experiment.log_words import sentences
from transfer.results.predictor import Predictor
from transfer.results.run_folder import CONFIG

REWARDS = ("click", "purchase", "revenue", "feedback")


@dataclass(frozen=True)
class LogReport:
    """rates: what came of the log. values: of every policy and estimator its value per impression, the difference to what
    the log brought, or to another policy, and 95 % intervals of both. support: how far the log speaks of each policy.
    notes: what was left out. slates: values of whole lists, where the log says what was shown together. sentences: what
    that means for 1,000 impressions, and what has to hold for it."""

    rates: pl.DataFrame
    values: pl.DataFrame
    support: pl.DataFrame
    reward: str
    notes: list[str] = field(default_factory=list)
    slates: pl.DataFrame | None = None
    sentences: list[str] = field(default_factory=list)


def evaluate(
    log: Log, policies: Sequence[Any] = (), against: Any = None, how: How | None = None, data_dir: Path | None = None
) -> LogReport:
    """The rates of a log and the values of policies: folders of runs (or what `run` gives), other logs, or "uniform".

    against: the policy that the others are compared with (None: what the log brought).
    Raises TransferError, one line, where a column is missing, and where the log does not support a policy or has too few
    impressions or rewards to speak of it.
    """
    how = how or How()
    check(how)
    reward = _reward_of(log, how.reward)
    for column in how.by:
        _needed(log, column)
    told = rates(log.rows, how.by, seed=how.seed)
    if not policies:
        return LogReport(told, pl.DataFrame(), pl.DataFrame(), reward)
    if log.rows["arm"].n_unique() > 1:
        raise TransferError(f"{log.name}: a policy is valued from the log of one arm; give that log alone")
    _needed(log, "item")
    found = [_opened(policy, data_dir or Path()) for policy in (*policies, *([] if against is None else [against]))]
    notes = list[str]()
    runs = [(name, policy) for name, policy in found if isinstance(policy, Predictor)]
    for name, policy in runs:
        log, others = known_readers(log, policy, name)
        notes += [f"{others:,} impressions of readers whom {name} does not know are left out"] if others else []
    contexts = contexts_of(log, ["user", "position"] if runs else ["position"], how.candidates)
    every = [_policy(contexts, name, policy, how) for name, policy in found]
    first, second = (every, None) if against is None else (every[:-1], every[-1])
    values, support, slates = values_of(log, contexts, first, second, reward, how)
    said = sentences(values, "what was shown" if second is None else second.name, reward, how.propensities)
    return LogReport(told, values, support, reward, notes, slates, said)


def _needed(log: Log, role: str) -> None:
    if role not in log.rows.columns:
        raise TransferError(f"{log.name}: no column is recognised as the {role}; name it: {role}=COLUMN")


def _reward_of(log: Log, asked: str | None) -> str:
    there = [name for name in REWARDS if ("price" if name == "revenue" else name) in log.rows.columns]
    if asked is not None and asked not in there:
        raise TransferError(f"{log.name}: reward={asked}: what the log has is {', '.join(there)}")
    return asked or there[0]


def _opened(policy: Any, data_dir: Path) -> tuple[str, Predictor | Log | None]:
    """A name and what it is: a predictor, a log, or None for the uniform policy."""
    if isinstance(policy, Log):
        return policy.name, policy
    if (predictor := getattr(policy, "predictor", None)) is not None:
        return "run", predictor
    if isinstance(policy, str) and policy == "uniform":
        return policy, None
    if isinstance(policy, str | Path):
        folder = Path(policy)
        if (folder / CONFIG).exists():
            return folder.name, load_with_data(folder)
        if folder.is_dir() and not any(folder.glob("**/*.parquet")):
            raise TransferError(f"{folder}: neither the folder of a run nor a log; give one of them, or uniform")
    other = opened_log(policy, data_dir)
    return other.name, other


def _policy(contexts: Contexts, name: str, policy: Predictor | Log | None, how: How) -> Policy:
    if policy is None:
        return uniform(contexts, how.candidates)
    if isinstance(policy, Log):
        return of_log(contexts, policy)
    return of_run(contexts, policy, name, how.temperature, how.candidates)


def opened_log(given: Any, data_dir: Path) -> Log:
    """A log from a path, a frame, or a mapping with a path (or a frame in its place) and the names of columns; several as
    one. Raises TransferError for what is none."""
    if isinstance(given, list | tuple):
        return together([opened_log(one, data_dir) for one in given])
    said = dict(given) if isinstance(given, dict) else {"path": given}
    place = said.get("path")
    held = None
    if place is not None and not isinstance(place, str | Path):
        said["path"], content = of_frame(place)
        said = {"name": "memory"} | said
        held = Domain("log", said, {said["path"]: content})  # it is there as long as somebody holds it
    elif place is not None:
        said["path"] = str(place)
    try:
        files = LogFile.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise TransferError(no_such_key(place, LogFile.model_fields, owner="a log")) from None
        raise TransferError(f"{place}: {first['msg']}; a log has {', '.join(LogFile.model_fields)}") from None
    log = read_log(files, data_dir)
    del held
    return log


def evaluate_given(
    log: Any, policy: Any = (), against: Any = None, data_dir: str | Path = ".", **settings: Any
) -> LogReport:
    """`evaluate` of what is given by path or in memory; settings: the fields of How."""
    names = [one.name for one in fields(How)]
    if strange := [name for name in settings if name not in names]:
        raise TransferError(no_such_key(strange[0], names, what="no such setting"))
    said: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    if isinstance(said.get("by"), str):
        said["by"] = (said["by"],)
    policies = list(policy) if isinstance(policy, list | tuple) else [policy]
    return evaluate(opened_log(log, Path(data_dir)), policies, against, How(**said), Path(data_dir))

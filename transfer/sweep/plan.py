"""From the overrides of a sweep's jobs to runs and programs: composed once per static part, grouped, cut into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from transfer.config.choices import Compose
from transfer.config.schema import Config, parse, traced
from transfer.errors import TransferError, one_line
from transfer.experiment.checks import check_numbers, check_settings
from transfer.results.trackers import copies

# The override that names the keys whose values a search chose, for each combination of the other choices.
TUNED = "sweep.tuned"


@dataclass(frozen=True)
class Static:
    """What the jobs of one static part share: the composed configuration, and its parsed form or what is wrong with it."""

    composed: DictConfig
    config: Config | None
    error: str | None


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its number, its overrides, its folder, and its configuration (None: it cannot run)."""

    number: int
    overrides: tuple[str, ...]
    folder: Path
    static: Static
    values: dict[str, Any]  # of its traced overrides, by key
    config: Config | None
    error: str | None


def plan(compose: Compose, overrides: Sequence[Sequence[str]], first: int, folder: Path) -> list[Job]:
    """The jobs of these overrides; what cannot be composed or validated becomes a job with an error, in one line.

    compose is called once for every distinct static part: the overrides without `seed` and `hp.*`.
    """
    statics: dict[tuple[str, ...], Static] = {}
    jobs = []
    for number, words in enumerate(overrides, start=first):
        static, values = _divided(words)
        if static not in statics:
            statics[static] = _static(compose, static)
        shared = statics[static]
        config, error = None, shared.error
        if shared.config is not None:
            try:
                config = check_numbers(traced(shared.config, values))
            except TransferError as problem:
                error = str(problem)
        jobs.append(Job(number, tuple(words), folder / str(number), shared, values, config, error))
    return jobs


def _divided(words: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Static overrides, and the values of the traced ones."""
    static, values = [], {}
    for word in words:
        key, _, text = word.partition("=")
        if key == "seed" or key.startswith("hp."):
            values[key] = _number(text)
        else:
            static.append(word)
    return tuple(static), values


def _number(text: str) -> Any:
    """A number where the text is one; else the text, for the validation to complain about."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _static(compose: Compose, words: tuple[str, ...]) -> Static:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    composed = OmegaConf.create()
    try:
        composed = compose(list(words))
        config = parse(composed)
        check_settings(config)
        copies.wanted(config.track)
        return Static(composed, config, None)
    except (HydraException, OmegaConfBaseException, TransferError) as problem:
        return Static(composed, None, one_line(problem))


def wrong_choices(jobs: list[Job], compose: Compose) -> list[str]:
    """What no job can run with, a line each: choices that are wrong on their own, or all that is said where no job can run.

    A choice that is wrong only with some of the others, as the number of one method is with another, is no such thing.
    """

    def error(*words: str) -> str | None:
        return plan(compose, [words], 0, Path())[0].error

    bad, good = [job for job in jobs if job.error], [job for job in jobs if not job.error]
    if not good:
        return list(dict.fromkeys(job.error or "" for job in bad))
    right = {word for job in good for word in job.overrides}
    suspects = dict.fromkeys(word for job in bad for word in job.overrides if word not in right)
    lines = []
    for word in suspects:
        if alone := error(word):
            key = word.partition("=")[0]
            beside = [other for other in good[0].overrides if other.partition("=")[0] != key]
            lines.append(error(*beside, word) or alone)
    return list(dict.fromkeys(lines))


def chunks(jobs: list[Job], max_batch: int | None, workers: int) -> list[list[Job]]:
    """Programs: jobs of one static part, at most max_batch each; cut further while there are fewer than workers."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        assert job.config is not None
        groups.setdefault(job.config.program_key(), []).append(job)
    pieces = max(1, -(-workers // max(len(groups), 1)))
    result = []
    for members in groups.values():
        count = max(-(-len(members) // (max_batch or len(members))), min(pieces, len(members)))
        # dealt like cards: neighbours in a grid often take equally long, and no program should get all the long ones
        result += [members[i::count] for i in range(count)]
    return result

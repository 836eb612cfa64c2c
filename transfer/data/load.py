"""From a configuration to a world: read, check, clean, split, index."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import polars as pl

from transfer.config.domains import FileDomains, LabelledDomains, SimulatedDomains
from transfer.config.labelled import ExampleFiles
from transfer.config.schema import Config
from transfer.config.splits import ExampleSplit, Split
from transfer.data.cleaned import Cleaned, kept_or_read
from transfer.data.examples.encoded import Encode
from transfer.data.examples.load import load_examples
from transfer.data.examples.world import LoadedExamples
from transfer.data.features.blocks import featuriser
from transfer.data.features.catalogue import cataloguer, check_sources
from transfer.data.interactions.build import build_world
from transfer.data.interactions.candidates import read_candidates
from transfer.data.interactions.domain import Domain, with_numbered_ids
from transfer.data.interactions.file_parts import read_domains as read_files
from transfer.data.interactions.folds import alike
from transfer.data.interactions.identity import compared, ids_of
from transfer.data.interactions.judged import disliked_up_to
from transfer.data.interactions.likes import counted, with_likes, with_ratings
from transfer.data.interactions.parts import Parts
from transfer.data.interactions.read import locate
from transfer.data.interactions.same_titles import with_common_ids
from transfer.data.interactions.simulate import simulate
from transfer.data.interactions.split import split
from transfer.data.interactions.world import Loaded, on_device
from transfer.data.kept import kept
from transfer.data.labelled import read as own_files
from transfer.errors import TransferError

IN_TIME = ("global_time", "fold_in")  # splits whose events have an order: next-item models learn from it


def load_world(config: Config, reader: ModuleType | None, encode: Encode | None = None) -> Loaded | LoadedExamples:
    """The world of a configuration; the last few are kept while their files stay as they are.

    Raises TransferError where data and configuration disagree.

    reader: the module that reads a set of labelled examples (None: they are files of one's own); encode: the network that
    encodes texts
    (`transfer.experiment.build.load_world` finds both).
    """
    if isinstance(config.domain, LabelledDomains):
        assert isinstance(config.split, ExampleSplit)
        reader = own_files if isinstance(config.domain, ExampleFiles) else reader
        assert reader is not None
        numeric = config.task.name == "regression"
        return _load_examples(config.domain, config.split, config.data_dir, reader, encode, config.test, numeric)
    assert isinstance(config.split, Split)
    asked = config.task.asked if config.task.domains == "all" else None
    given = Given(config.domain, Path(config.data_dir), config.task.positives, encode, asked)
    if config.split.folds is None:
        return _load(given, config.split)
    folds = _load_folds(given, config.split.model_copy(update={"fold": 0}))
    return folds[-1 if config.split.of_all else config.split.fold or 0]


class Given(NamedTuple):
    """What worlds are made from, whatever their split.

    asked: the place of the domain that is the target, where every domain hides events (None: the target alone does).
    """

    domains: FileDomains | SimulatedDomains
    data_dir: Path
    positives: bool
    encode: Encode | None
    asked: int | None


@kept(2)
def _load_examples(
    domains: LabelledDomains,
    how: ExampleSplit,
    data_dir: str,
    reader: ModuleType,
    encode: Encode | None,
    test: bool,
    numeric: bool,
) -> LoadedExamples:
    return load_examples(domains, how, Path(data_dir), reader, encode, test, numeric)


@kept(4)
def _load(given: Given, how: Split) -> Loaded:
    (loaded,) = _worlds(given, [how])
    return replace(loaded, world=on_device(loaded.world))


@kept(1)
def _load_folds(given: Given, how: Split) -> list[Loaded]:
    """The folds, and with split.valid=0 last the world in which none of them is held out."""
    every = [how.model_copy(update={"fold": fold}) for fold in range(how.folds or 0)]
    if how.valid == 0:
        every.append(how.model_copy(update={"folds": None, "fold": None}))
    return alike(_worlds(given, every))


def _worlds(given: Given, every: list[Split]) -> list[Loaded]:
    """The worlds of one split, or of all its folds, on the host."""
    domains, data_dir, positives, encode, asked = given
    how = every[0]
    cleaning: dict[str, dict[str, int]] = {}
    if isinstance(domains, SimulatedDomains):
        target, sources, _ = simulate(domains)
    elif how.name == "files":  # which brings the events itself
        target, sources = _as_they_are(domains, data_dir)
    else:
        target, sources, cleaning = kept_or_read(partial(read_domains, domains, data_dir), domains, data_dir)
    if asked is None:
        check_sources(sources)
    if asked:
        sides = [target, *sources]
        target, sources = sides.pop(asked), sides
    in_common = {}
    if isinstance(domains, FileDomains) and how.name != "files":
        in_common = _alike(target, target.events, [(s.name, s.events) for s in sources], domains)
    if positives:  # before the split: what is hidden is liked, and what is not is known
        target, sources = with_likes(target), [with_likes(source) for source in sources]
    else:
        target, sources = with_ratings(target), [with_ratings(source) for source in sources]
    divided = [_divided(target, sources, one, data_dir, asked is not None) for one in every]
    if how.name == "files" and isinstance(domains, FileDomains):
        (parts,) = divided
        if not domains.same_users:
            own = (_own_users(events, source.name) for events, source in zip(parts.sources, sources, strict=True))
            divided = [replace(parts, sources=tuple(own))]
        whole = pl.concat([part.select("user", "item") for part in (parts.train, parts.valid, parts.test)])
        pairs = [(s.name, part) for s, part in zip(sources, divided[0].sources, strict=True)]
        in_common = _alike(target, whole, pairs, domains)
    timed, capacity = how.name in IN_TIME, getattr(domains, "capacity", None)
    if timed and capacity:
        raise TransferError(f"domain.capacity={capacity}: split={how.name} keeps sequences, which have no room; write null")
    same_items = isinstance(domains, FileDomains) and domains.global_ids
    features = featuriser(domains, data_dir, encode)
    options: Any = {"timed": timed, "capacity": capacity, "shared_items": same_items}
    options["catalogue"] = cataloguer(domains, data_dir)
    if how.candidates:
        options["candidates"] = (how.candidates, read_candidates(locate(how.candidates, data_dir)))
    options["folded"] = how.fold is not None and not capacity
    worlds = [build_world(target, sources, parts, positives, domains.core, features, **options) for parts in divided]
    for loaded in worlds:
        loaded.summary["cleaning"] = cleaning
        loaded.summary["alike"] = in_common
    judged = worlds[0].world.test.disliked_row is not None
    said = [_protocol(domains, parts.order, target, positives, judged) for parts in divided]
    return [replace(loaded, protocol=own) for loaded, own in zip(worlds, said, strict=True)]


def _divided(target: Domain, sources: list[Domain], how: Split, data_dir: Path, all_hide: bool) -> Parts:
    """all_hide: of a source too, what it hides as a target stays hidden."""
    parts = split(target, sources, how, data_dir)
    if all_hide:
        return replace(parts, sources=tuple(split(source, [], how, data_dir).train for source in sources))
    return parts


def _alike(
    target: Domain, events: pl.DataFrame, sources: list[tuple[str, pl.DataFrame]], domains: FileDomains
) -> dict[str, dict[str, int]]:
    """What the target has in common with each source."""
    ids = ids_of(events, domains)
    return {name: compared(ids, ids_of(part, domains), (target.name, name), domains) for name, part in sources}


def _protocol(
    domains: FileDomains | SimulatedDomains, order: str | None, target: Domain, positives: bool, judged: bool
) -> dict[str, str]:
    """What is decided before the split or by the data, in words."""
    said = {"order": order} if order else {}
    if positives:
        said["likes"] = f"{counted(target)}, taken before the split"
        said["rated"] = "what a user is known to have rated is no candidate, liked or not"
    if judged:
        said["disliked"] = f"ratings of {disliked_up_to(target):g} or less, hidden with the likes"
    if isinstance(domains, FileDomains):
        said["near_duplicates"] = f"{domains.near_duplicates}, found before the split by who rated what"
    return said


def read_domains(domains: FileDomains, data_dir: Path) -> Cleaned:
    """Target, sources and what cleaning them did."""
    target, sources = _as_they_are(domains, data_dir)
    target, *sources = with_numbered_ids([target, *sources])
    from transfer.data.interactions.clean import clean  # late: kept domains need no sparse matrices

    return clean(target, sources, domains)


def _as_they_are(domains: FileDomains, data_dir: Path) -> tuple[Domain, list[Domain]]:
    target, sources = read_files(domains.target, domains.source, data_dir)
    if domains.same_titles:
        sources = with_common_ids(target, sources)
    if not domains.same_users:
        sources = [replace(source, events=_own_users(source.events, source.name)) for source in sources]
    return target, sources


def _own_users(events: pl.DataFrame, name: str) -> pl.DataFrame:
    """The domain's name before every user id, so that equal ids of strangers do not make one person of them; a stroke in a
    name is written %2F, or the readers c of a/b and b/c of a would be one."""
    before = name.replace("%", "%25").replace("/", "%2F")
    return events.with_columns(user=pl.lit(f"{before}/") + pl.col("user"))

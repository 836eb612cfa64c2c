"""From a configuration to a world of labelled examples: read, check, split, featurise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from transfer.config.domains import ExampleDomains, LabelledDomains
from transfer.config.splits import ExampleSplit
from transfer.data.examples.encoded import Encode
from transfer.data.examples.featurise import featurise
from transfer.data.examples.label_split import source_rows, target_rows
from transfer.data.examples.modalities import joined, settings_of
from transfer.data.examples.sets.raw import Raw, check, check_classes, read_as, without_hidden
from transfer.data.examples.world import LoadedExamples, Rows, build_examples
from transfer.data.kept import kept
from transfer.errors import TransferError


def load_examples(
    domains: LabelledDomains,
    how: ExampleSplit,
    data_dir: Path,
    reader: ModuleType,
    encode: Encode | None = None,
    test: bool = True,
    numeric: bool = False,
) -> LoadedExamples:
    """The world; without a test part only where no label of the target is known and no `test` is asked for.

    Raises TransferError, one line, for unknown names, missing files, bad labels or empty parts.

    reader: a module with DOMAINS, FEATURES and read(name, settings, data_dir) -> Raw; of files of one's own the module with
    read(domains, data_dir, numeric) -> [Raw]. numeric: labels are numbers, which files of one's own may have; they are
    standardised by those that are learnt from, of all domains together.
    """
    views = {name: settings_of(domains, name) for name in domains.modalities}
    raws = read_examples(next(iter(views.values()), domains), data_dir, reader, numeric)
    names = [raw.name for raw in raws]
    if not isinstance(domains, ExampleDomains) and how.target_labels == 0 and not numeric:
        check_classes(raws)
    rng = [np.random.default_rng([how.seed, i]) for i in range(len(raws))]
    rows = [target_rows(raws[0], how, rng[0])]
    rows += [source_rows(raw, how, draw) for raw, draw in zip(raws[1:], rng[1:], strict=True)]
    fit = [np.union1d(part.train, part.unlabelled) for part in rows]
    for name, part in zip(names, fit, strict=True):
        if not len(part):
            raise TransferError(f"no example of {name} is left to learn from; change split.stop, split.test or split.valid")
    if test and raws[0].unlabelled is not None and raws[0].unlabelled.all():
        raise TransferError(
            f"{raws[0].path}: the target has no labels, and nothing to test on; name their column with label: COLUMN in "
            "domain.target, or write test=false, which trains and scores nothing of the target"
        )
    if test and not len(rows[0].test):
        raise TransferError(f"no example of {names[0]} is left to test on; lower split.target_labels")
    widths: tuple[tuple[str, int], ...] = ()
    featuriser = None
    if views:
        blocks = {name: _seen(view, raws, fit, data_dir, reader, encode, numeric) for name, view in views.items()}
        xs, widths = joined(blocks, fit, "domain.modalities")
    elif domains.features == "msda":
        # no label is looked at: what is held out of the sources for validation takes part, whichever draw it is
        fit[1:] = [np.union1d(known, part.stop) for known, part in zip(fit[1:], rows[1:], strict=True)]
        xs = _denoised(domains, data_dir, reader, tuple(known.tobytes() for known in fit))
    else:
        xs, featuriser = featurise(raws, fit, domains, encode)
    same = [raw.classes == raws[0].classes for raw in raws] if not isinstance(domains, ExampleDomains) else []
    ys, scale = _standardised([raw.y for raw in raws], rows) if numeric else ([raw.y for raw in raws], None)
    built = build_examples(names, xs, ys, rows, raws[0].classes, raws[0].multi_label, widths, same, scale)
    for raw, part in zip(raws, (built.summary["target"], *built.summary["sources"]), strict=True):
        part |= read_as(raw)
    return replace(built, featuriser=featuriser)


def _seen(
    view: LabelledDomains,
    raws: list[Raw],
    fit: list[np.ndarray],
    data_dir: Path,
    reader: ModuleType,
    encode: Encode | None,
    numeric: bool,
) -> list[np.ndarray]:
    """Features of every domain as one modality has them. Raises TransferError where it has other examples than `raws`."""
    own = read_examples(view, data_dir, reader, numeric)
    if not all(np.array_equal(one.y, other.y) for one, other in zip(own, raws, strict=True)):
        raise TransferError("domain.modalities: they have different examples; what decides these stands beside them")
    return featurise(own, fit, view, encode)[0]


def _standardised(ys: list[np.ndarray], rows: list[Rows]) -> tuple[list[np.ndarray], tuple[float, float]]:
    """(y - m) / s with mean m and standard deviation s of all that is learnt from, and these. Raises TransferError for
    numbers that are all the same."""
    known = np.concatenate([y[part.train] for y, part in zip(ys, rows, strict=True)]).astype(np.float64)
    mean, std = float(known.mean()), float(known.std())
    if not std > 0:
        raise TransferError(f"all numbers that are learnt from are {mean:g}: there is nothing to predict")
    return [((y - mean) / std).astype(np.float32) for y in ys], (mean, std)


@kept(1)
def _denoised(domains: LabelledDomains, data_dir: Path, reader: ModuleType, fit: tuple[bytes, ...]) -> list[np.ndarray]:
    """Features of denoising autoencoders fitted on these rows; they take a minute, and are the same for all draws."""
    raws = read_examples(domains, data_dir, reader)
    return featurise(raws, [np.frombuffer(known, np.int64) for known in fit], domains)[0]


def read_examples(domains: LabelledDomains, data_dir: Path, reader: ModuleType, numeric: bool = False) -> list[Raw]:
    """The target as it is in its files, and its sources without the test examples that theirs prescribe."""
    if not isinstance(domains, ExampleDomains):
        raws = reader.read(domains, data_dir, numeric)
        for raw in raws:
            check(raw)
        return raws
    for key, given in (("target", [domains.target]), ("source", domains.source)):
        for name in given:
            if name not in reader.DOMAINS:
                raise TransferError(f"domain.{key}={name}: {domains.name} has {', '.join(reader.DOMAINS)}")
    if domains.features not in reader.FEATURES:
        raise TransferError(f"domain.features={domains.features}: {domains.name} has {', '.join(reader.FEATURES)}")
    raws = [reader.read(name, domains, data_dir) for name in (domains.target, *domains.source)]
    for raw in raws:
        check(raw)
    return [raws[0], *map(without_hidden, raws[1:])]

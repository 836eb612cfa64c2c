"""Files -> domains of labelled examples: every file once, its parts by `where` and `each`, one set of features for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transfer.config.labelled import ExampleFile, ExampleFiles
from transfer.config.parts import domain_name, said
from transfer.data.examples.idx import is_idx
from transfer.data.examples.sets.raw import Raw
from transfer.data.given import from_memory
from transfer.data.interactions.columns import named
from transfer.data.interactions.formats import Dialect
from transfer.data.interactions.places import no_file
from transfer.data.interactions.table import Table, open_table
from transfer.data.kept import noted
from transfer.data.labelled.arrays import SVMLIGHT, of_arrays, read_grey, read_images, read_npz, read_svmlight
from transfer.data.labelled.classes import NUMBER, check_labels, classes_of, known_of, numbers_of
from transfer.data.labelled.found import Found, plain
from transfer.data.labelled.tables import kind_of, read_table
from transfer.errors import TransferError, nearest
from transfer.storage.packaged import read_by

MOST = 300  # domains that one column makes
SHOWN = 40  # values of a column in an error
OF_TABLES = ("label", "labels", "text", "x", "image", "columns", "separator", "encoding")  # settings of a file
KINDS = {"text": "text", "tokens": "text", "vectors": "vectors", "counts": "vectors", "images": "images"}


@dataclass(frozen=True)
class Part:
    """One domain: its name and its examples."""

    name: str
    found: Found


def read(domains: ExampleFiles, data_dir: Path, numeric: bool = False) -> list[Raw]:
    """The target and its sources; an `each` among these makes one of every value. numeric: labels are numbers.

    Raises TransferError, one line, for the first fault of a file, for examples of a source without a label, and where the
    domains have features of different kinds.
    """
    files = (domains.target, *domains.source)
    wanted = _wanted(domains)
    found = _read_files(files, wanted, domains.side, data_dir)
    parts = [_whole(domains.target, found[0])]
    for file, of_file in zip(files[1:], found[1:], strict=True):
        parts += _sources(file, of_file, domains.target if of_file.path == found[0].path else None)
    if len({part.name for part in parts}) < len(parts):
        parts = [replace(part, name=f"{part.name} {i}" if i else part.name) for i, part in enumerate(parts)]
    for i, part in enumerate(parts):
        check_labels(part.name, part.found, target=i == 0, numeric=numeric)
    if numeric:
        return [_raw(part, numbers_of(part.found), NUMBER, domains.features, numeric=True) for part in parts]
    classes = classes_of([part.found for part in parts])
    several = any(part.found.several for part in parts)
    return [
        _raw(part, known_of(part.found.labels, of), of, domains.features, multi_label=several)
        for part, of in zip(parts, classes, strict=True)
    ]


def _wanted(domains: ExampleFiles) -> str | None:
    """What is to be read: text, vectors or images; None: what there is."""
    if domains.features == "encoded":
        return "images" if read_by(domains.encoder) == "images" else "text"
    return KINDS.get(domains.features)


def _read_files(files: Sequence[ExampleFile], wanted: str | None, side: int, data_dir: Path) -> list[Found]:
    """What the file of every domain holds; the target's says what kind all have, and which numbers."""
    places = [_place(file.path, data_dir) for file in files]
    sparse = [path for path in places if path.suffix in SVMLIGHT]
    counts = dict(zip(sparse, read_svmlight(list(dict.fromkeys(sparse))), strict=False)) if sparse else {}
    made: list[Found] = []
    for file, path in zip(files, places, strict=True):
        if arrays := _no_table(path, side, counts):
            found = arrays
            if idle := [name for name in OF_TABLES if getattr(file, name) != ExampleFile.model_fields[name].default]:
                raise TransferError(
                    f"{path}: {', '.join(idle)} would say how a table is read, and it is none; leave it out"
                )
        else:
            of = "domain.source" if made else "domain.target"
            table = open_table(path, Dialect(file.separator, file.encoding, file.columns, of=of, name=file.path))
            kind = wanted or kind_of(table, file, _kind(made[0]) if made else None)
            found = read_table(
                table, file, kind, _keys(table, file, files[0], places), side, made[0].numbers if made else ()
            )
        if (file.where or file.each) and not found.keys:
            raise TransferError(f"{path}: `where` and `each` need a table with columns; it is none")
        if _kind(found) != (kind := wanted or _kind(made[0] if made else found)):
            whose = "domain.features asks for" if wanted else f"{made[0].path} has"
            raise TransferError(
                f"{path}: its examples are {_kind(found)}, and {whose} {kind}; one kind is needed of all domains"
            )
        made.append(found)
    return made


def _no_table(path: Path, side: int, counts: dict[Path, Found]) -> Found | None:
    """What a file that is no table holds; counts: what those of svmlight do."""
    if path.is_dir():
        return read_images(path, side)
    if path.suffix == ".npz":
        return read_npz(path)
    if is_idx(path):
        return read_grey(path)
    arrays = from_memory(path)
    return of_arrays(path, *arrays) if isinstance(arrays, tuple) else counts.get(path)


def _kind(found: Found) -> str:
    if found.texts is not None:
        return "text"
    return "images" if found.arrays is not None and found.arrays.ndim > 2 else "vectors"


def _place(name: str, data_dir: Path) -> Path:
    """The existing file or folder that a path means: in `data_dir`, or from here."""
    if from_memory(name) is not None:
        return Path(name)
    places = [Path(name)] if Path(name).is_absolute() else [data_dir / name, Path(name)]
    for place in places:
        if noted(place).exists():
            return place
    raise no_file(places)


def _keys(table: Table, file: ExampleFile, target: ExampleFile, places: Sequence[Path]) -> list[str]:
    """The columns that tell the domains of this table apart."""
    given = [column for column, _ in file.where] + ([file.each] if file.each else [])
    if file.each and table.path == places[0]:
        given += [column for column, _ in target.where]
    return list(dict.fromkeys(named(table, column, f"where: {{{column}: …}}") for column in given))


def _whole(file: ExampleFile, found: Found) -> Part:
    values = " ".join(" + ".join(values) for _, values in file.where)
    return Part(file.name or domain_name(values or found.path.stem), found.rows(_within(found, file)))


def _sources(file: ExampleFile, found: Found, target: ExampleFile | None) -> list[Part]:
    """The domain of a file, or one of every value of its column `each`; without the target's rows and values, where the
    target is a part of the same file."""
    if file.each is None:
        return [_whole(file, found)]
    key = _column(found, file.each)
    kept = _within(found, file)
    cells = found.keys[key]
    if target is not None:
        own = set(_within(found, target)) if target.where else set(range(len(cells)))
        named_there = {plain(value) for column, given in target.where if _column(found, column) == key for value in given}
        kept = np.array([i for i in kept if i not in own and cells[i] not in named_there], np.int64)
        if not len(kept):
            raise TransferError(
                f"{found.path}: the target leaves no row to `each: {file.each}`; say which part of the file it is, as in "
                f"domain.target.where={{{file.each}: VALUE}}"
            )
    if any(cells[i] is None for i in kept):
        raise TransferError(
            f"{found.path}: `each: {file.each}` makes a domain of every value, and some rows have none; fill them in, or "
            "remove them"
        )
    values = sorted({str(cells[i]) for i in kept})
    if len(values) > MOST:
        raise TransferError(
            f"{found.path}: `each: {file.each}` would make {len(values):,} domains; name a column of at most {MOST} values"
        )
    return [
        Part(domain_name(f"{file.name} {value}"), found.rows(np.array([i for i in kept if cells[i] == value], np.int64)))
        for value in values
    ]


def _column(found: Found, given: str) -> str:
    """The column that `where` or `each` names, as the table calls it."""
    for key in found.keys:
        if given in (key, key.rpartition(":")[0]):
            return key
    raise TransferError(f"{found.path}: no column {given!r} for `where` or `each`; it has {', '.join(found.keys)}")


def _within(found: Found, file: ExampleFile) -> np.ndarray:
    """The rows that `where` takes. Raises TransferError for a value that no row has."""
    kept = np.ones(len(found.labels), bool)
    for column, given in file.where:
        cells = found.keys[_column(found, column)]
        there = sorted({cell for cell in cells if cell is not None})
        wanted = [*map(plain, given)]  # 4 is 4.0 in a column of decimals
        for value in wanted:
            if value not in there:
                more = f" … ({len(there):,} values)" if len(there) > SHOWN else ""
                raise TransferError(
                    f"{found.path}: no row has {column} {value!r}{nearest(value, there) or ';'} "
                    f"it has {', '.join(there[:SHOWN])}{more}"
                )
        kept &= np.isin(np.array([cell or "" for cell in cells]), wanted)
    if not kept.any():
        raise TransferError(f"{found.path}: no row has {said(file.where)} at once; correct `where`")
    return np.flatnonzero(kept)


def _raw(part: Part, y: np.ndarray, classes: tuple[str, ...], features: str, **kind: Any) -> Raw:
    found = part.found
    counts: Any = found.counts
    arrays = found.arrays
    if features == "counts" and arrays is not None:
        from scipy import sparse

        counts, arrays = sparse.csr_matrix(arrays), None
    elif features != "counts" and counts is not None:
        counts, arrays = None, np.asarray(counts.todense(), np.float32)
    unlabelled = np.array([label is None for label in found.labels])
    given: dict[str, Any] = {"texts": found.texts, "counts": counts, "arrays": arrays}
    nameless = unlabelled if unlabelled.any() else None
    given |= {"path": found.path, "unlabelled": nameless, "columns": found.columns}
    return Raw(part.name, y, classes, np.zeros(len(y), bool), **given, **kind)

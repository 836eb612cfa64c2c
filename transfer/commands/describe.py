"""transfer describe FILE ...: what would be read of files of events, what they share, and a command to begin with.

usage: transfer describe FILE [FILE ...] [KEY=VALUE ...]

FILE is a file, a pattern in quotes ("ratings-*.csv") or a folder of Parquet files; or all that is to say of one, as in
'{path: books.dat, separator: "::", columns: [user, item, rating, time]}'. KEY=VALUE is said of all files: header=false,
encoding=latin-1 ...; data_dir=FOLDER is where they lie. The last file is taken for the target, the others for its sources.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from transfer.commands.given import given_files
from transfer.config.domains import FileDomains, Files
from transfer.data.interactions.columns import column_of
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.file_parts import read_domains
from transfer.data.interactions.formats import said
from transfer.data.interactions.overview import Overview, Shared, overview, scale_of, shared
from transfer.data.interactions.read import opened
from transfer.data.interactions.summary import read_as
from transfer.data.interactions.table import Table
from transfer.data.labelled.tables import LABEL, recognised
from transfer.errors import TransferError

OF = "transfer describe"
MOST = 20  # columns of no role that are named
SAMPLE = 1000  # rows by which labels are taken for numbers
FEW = 10  # readers that both have, below which nothing can be learnt from one to the other


def main(words: list[str]) -> int:
    """Print it all; the exit code."""
    if not words or {"-h", "--help"} & set(words):
        print((__doc__ or "").strip())
        return 0 if words else 2
    given, data_dir = given_files(words, OF)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    _refuse_examples(given, data_dir)
    domains = [read_domains(_checked(one), (), data_dir, OF)[0] for one in given]
    found = [overview(domain) for domain in domains]
    for one, domain, counts in zip(given, domains, found, strict=True):
        every = opened(_checked(one), data_dir, OF).schema
        console.print("\n".join([one["path"], *(f"  {line}" for line in lines_of(domain, counts, list(every)))]) + "\n")
    pairs = [shared(domains[-1], source) for source in domains[:-1]]
    for one, both, counts in zip(given, pairs, found, strict=False):
        console.print(f"{given[-1]['path']} and {one['path']} share {_in_words(both, found[-1], counts)}\n")
    for note in _notes(given, domains, found, pairs):
        console.print(note)
    begin = command(given, found, pairs, data_dir)
    console.print(f"to begin ({given[-1]['path']} is the target; name another file last for another one):\n  {begin}")
    return 0


def _refuse_examples(given: list[dict[str, Any]], data_dir: Path) -> None:
    """Raise TransferError for tables of labelled examples, with the command that begins with them."""
    for one in given:
        files = _checked(one)
        table = opened(files, data_dir, OF)
        if column_of(table, "user", files.user) is None and (label := recognised(table, LABEL)):
            source, target = given[0]["path"] if len(given) > 1 else "OTHER", given[-1]["path"]
            words = ["domain=examples", f"domain.source={source}", f"domain.target={target}", "split.seed=0,1,2"]
            numbers = _are_numbers(table, label)
            words += ["task=regression"] if numbers else []
            begin = shlex.join(["transfer", "-m", *words, "method=source_only,coral,whitening"])
            what = "numbers to predict" if numbers else "a label"
            raise TransferError(
                f"{one['path']}: no column says who, and {label} looks like {what}; labelled examples begin with {begin}"
            )


def _are_numbers(table: Table, label: str) -> bool:
    """Whether the first labels are numbers of which there are too many for classes."""
    cells = (
        table.rows.select(pl.col(label).cast(pl.String).replace("", None)).head(SAMPLE).collect().to_series().drop_nulls()
    )
    numbers = cells.cast(pl.Float64, strict=False)
    return numbers.null_count() == 0 and numbers.n_unique() > max(MOST, len(cells) / 2)


def _checked(given: dict[str, Any]) -> Files:
    from pydantic import ValidationError

    try:
        files = Files.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(Files.model_fields)
        raise TransferError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}; a file has {known}") from None
    if files.each is not None:
        raise TransferError(f"each: {files.each} makes many domains; describe one with where: {{{files.each}: VALUE}}")
    return files


def lines_of(domain: Domain, found: Overview, columns: list[str]) -> list[str]:
    """What is said of one domain, of a file with these columns."""
    read = read_as(domain)
    lines = ["columns   " + ", ".join(f"{role} {column or 'none'}" for role, column in read["columns"].items())]
    others = [column for column in columns if column not in read["columns"].values()]
    more = f" and {len(others) - MOST} more" if len(others) > MOST else ""
    lines += [f"not used  {', '.join(others[:MOST])}{more}"] if others else []
    least, median, most = found.each
    counts = f"{found.events:,} of {found.users:,} users on {found.items:,} items"
    lines.append(f"events    {counts}; {least:,} to {most:,} of each user, median {median:g}")
    if found.ratings:
        low, high, values = found.ratings
        unrated = f"; {found.unrated:,} events without one" if found.unrated else ""
        lines.append(f"ratings   {low:g} to {high:g}, {values:,} values{unrated}")
    if found.times:
        lines.append(f"times     {' to '.join(map(_moment, found.times))}")
    lines.append(f"repeated  {found.repeated:,} events of a user and an item that have an earlier one")
    if (titles := read["titles"])["known"]:
        lines.append(f"titles    of {titles['known']:,} of {titles['of']:,} items")
    notes = [f"{name.replace('_', ' ')} {count:,}" for name, count in domain.notes.items()]
    return [*lines, *([f"noted     {', '.join(notes)}"] if notes else [])]


def _moment(seconds: float) -> str:
    """A day; a small number, which is no moment of a person's life with films, as it is."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if 1e6 < seconds < 1e11 else f"{seconds:g}"


def _in_words(both: Shared, target: Overview, source: Overview) -> str:
    users = f"{both.users:,} users (of {target.users:,} and {source.users:,})"
    return f"{users}, {both.items:,} items (of {target.items:,} and {source.items:,}), {both.pairs:,} pairs of them"


def _copies(both: Shared, target: Overview, source: Overview) -> bool:
    """Whether a run would refuse the two, which have too many events in common."""
    most: float = FileDomains.model_fields["same_pairs"].default
    return both.pairs > most * min(target.events - target.repeated, source.events - source.repeated)


def _notes(given: list[dict[str, Any]], domains: list[Domain], found: list[Overview], pairs: list[Shared]) -> list[str]:
    """What to look at before a first run."""
    notes = []
    for one, domain, counts in zip(given, domains, found, strict=True):
        rated = domain.events["rating"].drop_nulls()
        if (
            counts.ratings
            and counts.ratings[0] == 0
            and counts.ratings[1] >= 4
            and not (rated.is_between(0, 0.99, "right")).any()
        ):
            zeros = int((rated == 0).sum())
            notes.append(f'{one["path"]}: {zeros:,} ratings of 0; if they mean "not rated", say unrated=0')
    for one, both, counts in zip(given, pairs, found, strict=False):
        name = one["path"]
        if _copies(both, found[-1], counts):
            notes.append(f"{name}: left out of the command, for many of its events are those of the target")
        elif both.users < FEW and both.items < FEW:
            notes.append(f"{name}: left out of the command, for it shares neither users nor items with the target")
        elif both.numbered and both.users:
            notes.append(
                f"{name}: users are small whole numbers in both; if they are not the same people: domain.same_users=false"
            )
    return notes


def command(given: list[dict[str, Any]], found: list[Overview], pairs: list[Shared], data_dir: Path) -> str:
    """A first command, which runs: the sources that share users, else those that share items, else the target alone."""
    usable = [i for i, both in enumerate(pairs) if not _copies(both, found[-1], found[i])]
    by_users = [i for i in usable if pairs[i].users >= FEW]
    by_items = [] if by_users else [i for i in usable if pairs[i].items >= FEW]
    sources = [_domain(given[i], found[i]) for i in by_users or by_items]
    source = f"[{','.join(sources)}]" if len(sources) > 1 else "".join(sources) or "null"
    words = ["domain=files", f"domain.target={_domain(given[-1], found[-1])}", f"domain.source={source}"]
    words += [] if str(data_dir) == "." else [f"data_dir={said(str(data_dir))}"]
    alone = "split=leave_one_out" if found[-1].times else "split=ratio"
    words += ["method=user_knn"] if by_users else [alone, "method=ease"]
    words += ["domain.global_ids=true"] if by_items else []
    return " ".join(["transfer", *map(shlex.quote, words)])


def _domain(given: dict[str, Any], found: Overview) -> str:
    """What is said of a file as a word of the command, with a scale and a threshold where it has ratings."""
    scale = scale_of(found)
    settings = given | ({"scale": list(scale[0]), "positive": scale[1]} | given if scale else {})
    return said(given["path"]) if len(settings) == 1 else said({"path": given["path"], **settings})

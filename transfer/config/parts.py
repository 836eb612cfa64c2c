"""Parts of files as domains: `where` takes rows by what stands in their columns, `each` makes a domain of every value."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

ALL = "all"  # in the place of a world's sources: every value of its column but the target's
LONGEST = 100  # letters of a domain's name


def domain_name(text: str) -> str:
    """What a domain is called in lines, tables, pages and keys of results: printable text of one line, composed as Unicode
    has it (NFC), with single spaces, at most 100 letters of it."""
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in composed).split())[:LONGEST].rstrip()


def _as_text(column: Any, value: Any) -> str:
    """A value as the text that is compared with a cell: true and false in small letters, without spaces around it."""
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value).strip()
    if isinstance(value, Mapping | list | tuple | set) or not text:
        raise ValueError(f"{column}: give a value, or a list of values")
    return text


def _as_pairs(value: Any) -> Any:
    """{column: value or values} as pairs, which can be hashed: (("category", ("Books",)),)."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        if isinstance(value, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            return value
        raise ValueError("write {COLUMN: VALUE} or {COLUMN: [VALUE, VALUE]}")
    pairs = []
    for column, given in value.items():
        values = given if isinstance(given, list | tuple) else [given]
        if not values:
            raise ValueError(f"{column}: give a value, or a list of values")
        pairs.append((str(column), tuple(dict.fromkeys(_as_text(column, one) for one in values))))
    return tuple(pairs)


def _as_mapping(pairs: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, list[str]]:
    return {column: list(values) for column, values in pairs}


# Which rows of a file a domain has: in each of these columns one of these values.
Where = Annotated[
    tuple[tuple[str, tuple[str, ...]], ...], BeforeValidator(_as_pairs), PlainSerializer(_as_mapping, dict[str, list[str]])
]


def said(where: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    """`category Books and step 1 or 2`."""
    return " and ".join(f"{column} {' or '.join(values)}" for column, values in where)


def of_one_file(world: Any) -> Any:
    """A world of `parts`, one file and the column `each` whose values are its domains, with files in the place of names.

    `target: Books` is the part with that value; `source: all` is every other one, and a list names some.
    """
    if not isinstance(world, Mapping) or "parts" not in world:
        return world
    shared, rest = world["parts"], {key: value for key, value in world.items() if key != "parts"}
    if shared is None:
        return rest
    if not isinstance(shared, Mapping) or not isinstance(shared.get("each"), str):
        raise ValueError("parts: give a file and the column whose values are domains, as in {path: x.csv, each: category}")

    def part(named: Any) -> Any:
        """The file of one domain: given, or the part with this value."""
        if isinstance(named, Mapping):
            return named
        return {**shared, "each": None, "where": {**(shared.get("where") or {}), shared["each"]: named}}

    source = rest.get("source")
    sources = source if isinstance(source, list | tuple) else [] if source is None else [source]
    rest["source"] = [shared] if source == ALL else [part(one) for one in sources]
    return {**rest, "target": part(rest.get("target"))}


def one_target(each: str | None) -> None:
    """Raise ValueError where a target is said to be every value of a column."""
    if each is not None:
        raise ValueError(f"`each` makes many domains, and there is one target; write where: {{{each}: VALUE}}")

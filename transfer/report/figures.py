"""A study that is a script of its own: it prints its figures as JSON and compares them with those beside it."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple


class Near(NamedTuple):
    """|found - expected| <= absolute + relative · |expected| is the same figure; what stands under `free` may be any."""

    relative: float
    absolute: float
    free: Collection[str] = ()


def differing(found: Any, expected: Any, near: Near, place: str = "") -> list[str]:
    """A line for every figure that is not the expected one: where it stands, and both. NaN is NaN's equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = [key for key in expected | found if key not in near.free]
        return [line for key in keys for line in differing(found.get(key), expected.get(key), near, f"{place}/{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for i, pair in pairs for line in differing(*pair, near, f"{place}/{i}")]
    alike = found == expected or (found != found and expected != expected)
    if isinstance(expected, float) and isinstance(found, int | float):
        alike |= abs(found - expected) <= near.absolute + near.relative * abs(expected)
    return [] if alike else [f"{place}: {found}, expected {expected}"]


def settle(
    script: Path,
    study: Callable[[Namespace], dict[str, Any]],
    tables: Callable[[dict[str, Any]], str],
    near: Near,
    parser: ArgumentParser,
) -> None:
    """Do what the command line asks; exit status 1 where a figure is not the one in expected.json beside the script.

    study: figures for the arguments, `quick` among them, for which nothing is compared; tables: them as Markdown, which
    --accept writes to table.md.
    """
    parser.add_argument("--quick", action="store_true", help="small: that it runs; nothing is compared")
    parser.add_argument("--accept", action="store_true", help="take these figures for the expected ones")
    asked = parser.parse_args()
    if asked.quick and asked.accept:
        parser.error("--quick --accept: figures of a small run are nobody's expected ones; leave one out")
    found = study(asked)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    print(text)
    place = script.parent / "expected.json"
    if asked.accept:
        place.write_text(text + "\n", encoding="utf-8")
        (script.parent / "table.md").write_text(tables(found), encoding="utf-8")
    elif not place.exists() and not asked.quick:
        parser.error(f"{place} is not there, so nothing can be compared: write --accept to take these figures for it")
    elif not asked.quick:
        lines = differing(found, json.loads(place.read_text(encoding="utf-8")), near)
        print("\n".join(lines) or "all figures are the expected ones")
        sys.exit(bool(lines))

"""The command line of the scripts of this study: measure worlds of some kinds, or print the tables of what was measured."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path


def asked(about: str | None, out: str, kinds: Sequence[str]) -> Namespace:
    """what: measure, with data, out and kinds, or tables, with file. out: what `measure` writes, a FOLDER or a FILE."""
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="what", required=True)
    measure = parts.add_parser("measure", help="add a line for every world that is not there")
    measure.add_argument("data", metavar="DATA", help="the folder of the data sets")
    measure.add_argument("out", metavar=out, type=Path)
    measure.add_argument("kinds", metavar="KIND", nargs="+", choices=kinds, help=", ".join(kinds))
    parts.add_parser("tables", help="print them as Markdown").add_argument("file", metavar="FILE", type=Path)
    return parser.parse_args()

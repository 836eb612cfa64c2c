"""transfer evaluate-log LOG: what came of impressions, and what other policies would have brought.

usage: transfer evaluate-log LOG [LOG ...] [KEY=VALUE ...] [--by arm,position]
       transfer evaluate-log LOG --policy RUN [--temperature T] [--reward click]

LOG is a table with a row for every item shown: item, position, propensity (the chance with which it was shown), click,
purchase, price, feedback, user, arm, group, slate, as far as there are such columns. KEY=VALUE names them (item=isbn) or
says how the files are written (header=false ...); data_dir=FOLDER is where they lie; '{path: FILE, name: ARM, KEY: VALUE}'
says it of one file. A policy is the folder of a run, which shows items by chance, exp(score / T), another log, or uniform.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from transfer.commands.given import given_files
from transfer.commands.recommend import ids_of_file
from transfer.console import wide_console
from transfer.experiment.evaluate_log import REWARDS, LogReport, evaluate, opened_log
from transfer.experiment.log_values import PROPENSITIES, How

OF = "transfer evaluate-log"
SHARES = {"ctr": "CTR", "conversion": "conversion", "rpm": "revenue per 1,000", "feedback_rate": "feedback rate"}
COUNTS = ("impressions", "clicks", "purchases", "revenue", "feedback")


def main(words: list[str]) -> int:
    """Print rates, and values of policies; the exit code."""
    asked = _arguments(words)
    given, data_dir = given_files(asked.log, OF)
    log = opened_log(given, data_dir)
    how = How(
        reward=asked.reward,
        by=tuple(asked.by.split(",")),
        temperature=asked.temperature,
        propensities=asked.propensities,
        candidates=None if asked.candidates is None else tuple(ids_of_file(asked.candidates) or ()),
        clip=asked.clip,
        switch=asked.switch,
        shrink=asked.shrink,
        draws=asked.draws,
    )
    report = evaluate(log, asked.policy or (), asked.against, how, data_dir)
    console = wide_console()
    _rates(console, report, how.by)
    if asked.policy:
        _values(console, report, asked.against or "the log")
    for line in (*report.notes, *report.sentences):
        print(line)
    return 0


def _rates(console: Console, report: LogReport, by: tuple[str, ...]) -> None:
    counts = [name for name in COUNTS if name in report.rates.columns]
    shares = [name for name in SHARES if name in report.rates.columns]
    rows = [
        [
            *(str(row[name]) for name in by),
            *(f"{row[name]:,.10g}" for name in counts),
            *(_between(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in shares),
        ]
        for row in report.rates.iter_rows(named=True)
    ]
    columns = [*by, *counts, *(SHARES[name] for name in shares)]
    _print(console, "what came of it, with 95 % intervals", columns, rows, len(by))


def _values(console: Console, report: LogReport, against: str) -> None:
    rows = [
        [
            str(row["policy"]),
            "" if row["temperature"] is None else f"{row['temperature']:.4g}",
            f"{row['impressions']:,}",
            f"{row['effective']:,.0f}",
            f"{row['events']:,.1f}",
            f"{row['mean_weight']:.3f}",
            f"{row['largest_weight']:.3g}",
            f"{row['clipped']:.2%}",
            f"{row['missing']:.2%}",
        ]
        for row in report.support.iter_rows(named=True)
    ]
    columns = ["policy", "T", "impressions", "effective", f"with {report.reward}", "mean weight", "largest", "clipped"]
    _print(console, "how far the log speaks of it", [*columns, "not shown"], rows, 1)
    rows = [
        [
            str(row["policy"]),
            row["estimator"],
            _between(row["value"], row["low"], row["high"]),
            _between(row["difference"], row["difference_low"], row["difference_high"], "+"),
        ]
        for row in report.values.iter_rows(named=True)
    ]
    columns = ["policy", "estimator", f"{report.reward} per impression", f"less that of {against}"]
    _print(console, "what it would have brought, with 95 % intervals", columns, rows, 2)
    if report.slates is not None:
        rows = [
            [str(row["policy"]), row["estimator"], _between(row["value"], row["low"], row["high"])]
            for row in report.slates.iter_rows(named=True)
        ]
        _print(console, "and by whole lists", ["policy", "estimator", f"{report.reward} per list"], rows, 2)


def _between(value: float | None, low: Any, high: Any, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.4g} ({low:{sign}.4g} to {high:{sign}.4g})"


def _print(console: Console, title: str, columns: list[str], rows: list[list[str]], names: int) -> None:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < names else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        OF, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("log", nargs="+", metavar="LOG", help="files of impressions, and KEY=VALUE of them")
    parser.add_argument("--policy", action="append", metavar="RUN", help="a run, a log, or uniform; may be given again")
    parser.add_argument(
        "--against", metavar="RUN", help="the policy that others are compared with (default: the log's own)"
    )
    parser.add_argument("--temperature", type=float, help="T of a run (default: the spread of its scores, printed)")
    parser.add_argument("--reward", choices=REWARDS, help="what is valued (default: the first that the log has)")
    parser.add_argument("--by", default="arm", help="of arm, group and position, comma separated (default arm)")
    parser.add_argument("--propensities", choices=PROPENSITIES, default="log", help="or how often it was shown there")
    parser.add_argument(
        "--candidates", type=Path, metavar="FILE", help="what a policy may show: an id a line (default: all)"
    )
    parser.add_argument("--clip", type=float, help="M of clipped_ips (default √impressions)")
    parser.add_argument("--switch", type=float, help="τ of switch_dr (default √impressions)")
    parser.add_argument("--shrink", type=float, help="λ of dros (default impressions)")
    parser.add_argument("--draws", type=int, default=0, help="bootstrap draws for the values (default: standard errors)")
    return parser.parse_intermixed_args(words)

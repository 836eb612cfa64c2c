"""transfer report SWEEP: write the report of a sweep again, results and tables and the page, into its own folder."""

from __future__ import annotations

import argparse
import time
from pathlib import Path


def main(words: list[str]) -> int:
    """results.parquet, results.csv, table.md, table.tex and index.html; the exit code."""
    parser = argparse.ArgumentParser("transfer report", description=__doc__)
    parser.add_argument("sweep", type=Path, help="the folder that transfer -m printed at its end: it holds 0, 1, 2, ...")
    parser.add_argument("--columns", help="of table.tex: method,test,gap,verdict (the default), or all")
    asked = parser.parse_args(words)
    folder = asked.sweep

    from transfer.report.page.latex import NARROW
    from transfer.report.page.page import write_report
    from transfer.report.sweep_table import print_sweep

    began = time.perf_counter()
    page = write_report(folder, print_sweep(folder), asked.columns.split(",") if asked.columns else NARROW)
    print(f"report: {page} ({time.perf_counter() - began:.1f} s)")
    return 0

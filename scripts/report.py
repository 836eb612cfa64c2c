"""Write the report of a sweep again: python scripts/report.py SWEEP_DIR."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from transfer.errors import TransferError


def main() -> None:
    """results.parquet, results.csv, table.md, table.tex and index.html in the sweep's own folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path, help="the folder that transfer -m printed at its end: it holds 0, 1, 2, ...")
    folder = parser.parse_args().sweep

    from transfer.report.page.page import write_report
    from transfer.report.sweep_table import print_sweep

    began = time.perf_counter()
    try:
        page = write_report(folder, print_sweep(folder))
    except TransferError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"report: {page} ({time.perf_counter() - began:.1f} s)")


if __name__ == "__main__":
    main()

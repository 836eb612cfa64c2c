"""transfer export RUN: keep in a run folder what scores of new readers take, so that it serves without the data.

Ids, titles, counts and features of the items are written beside the parameters, and nothing of any reader. Refused where
the method scores new readers by those that it was trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main(words: list[str]) -> int:
    """Export, say how large it is; the exit code."""
    parser = argparse.ArgumentParser("transfer export", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    folder = parser.parse_args(words).run
    from transfer.experiment.export import ITEMS, export

    size = export(folder)
    print(f"{folder / ITEMS} written; with the parameters {size / 2**20:.1f} MiB, no data of readers among them")
    return 0

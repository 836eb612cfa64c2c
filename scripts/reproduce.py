"""Run a study again and compare: python scripts/reproduce.py NAME [--quick] [--accept] [OVERRIDE ...]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transfer.errors import TransferError

STUDIES = Path(__file__).resolve().parents[1] / "experiments"


def main() -> None:
    """Exit status 0 where all figures agree, 1 where one is outside its tolerance, 2 where the study cannot run."""
    arguments = _arguments()
    try:
        agrees = reproduce(arguments.study, arguments.out, arguments.quick, arguments.accept, arguments.overrides)
    except TransferError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if agrees else 1)


def reproduce(name: str, out: Path | None, quick: bool, accept: bool, more: list[str]) -> bool:
    """Run the study NAME (or the folder of one), write the report and comparison.md; whether all of it agrees."""
    from transfer.report.page.page import write_report
    from transfer.report.study import judge, read_study, run_study

    folder = Path(name) if (Path(name) / "study.yaml").exists() else STUDIES / name
    study = read_study(folder)
    out = out or Path("sweeps") / "studies" / (folder.name + ("-quick" if quick else ""))
    print(f"{study.title}\ncost: {study.cost if not quick else 'scaled down'}")
    out.mkdir(parents=True, exist_ok=True)
    runs = run_study(study, out, quick, more)
    page = write_report(out, runs)
    text, agrees = judge(study, folder, out, runs, quick, accept)
    print(f"{text}\nreport: {page}")
    return agrees


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", metavar="NAME", help="a folder of experiments/, or the path of one like it")
    parser.add_argument("--quick", action="store_true", help="scaled down: that it runs, and the orderings it names")
    parser.add_argument("--accept", action="store_true", help="take this run's figures for the expected ones")
    parser.add_argument("--out", type=Path, help="where the sweeps go; sweeps/studies/NAME by default")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for all sweeps, such as data_dir=DATA")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()

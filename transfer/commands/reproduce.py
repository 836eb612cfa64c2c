"""transfer reproduce STUDY [--quick] [--accept] [KEY=VALUE ...]: run a study again and compare with its expected figures.

STUDY is a folder with a study.yaml, or the name of one of the checkout's experiments/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from transfer.composing import config_folder
from transfer.errors import TransferError

STUDIES = config_folder().parent / "experiments"  # of a checkout; an installed package has none


def main(words: list[str]) -> int:
    """The exit code: 0 where all figures agree, 1 where one is outside its tolerance."""
    asked = _arguments(words)
    return 0 if reproduce(asked.study, asked.out, asked.quick, asked.accept, asked.overrides) else 1


def reproduce(name: str, out: Path | None, quick: bool, accept: bool, more: list[str]) -> bool:
    """Run the study NAME (or the folder of one), write the report and comparison.md; whether all of it agrees."""
    from transfer.report.page.page import write_report
    from transfer.report.study import judge, read_study, run_study

    folder = _folder(name)
    study = read_study(folder)
    out = out or Path("sweeps") / "studies" / (folder.name + ("-quick" if quick else ""))
    print(f"{study.title}\ncost: {study.cost if not quick else 'scaled down'}")
    out.mkdir(parents=True, exist_ok=True)
    runs = run_study(study, out, quick, more)
    page = write_report(out, runs)
    text, agrees = judge(study, folder, out, runs, quick, accept)
    print(f"{text}\nreport: {page}")
    return agrees


def _folder(name: str) -> Path:
    """The folder of a study. Raises TransferError for a script, and where an installed package is asked for a name."""
    if (Path(name) / "study.yaml").exists():
        return Path(name)
    if not STUDIES.is_dir():
        raise TransferError(f"{name}: no study.yaml there; give the folder of a study: only a checkout knows them by name")
    for script in ("evaluate.py", "study.py"):
        if (STUDIES / name / script).exists():
            raise TransferError(f"{name} is a script of its own: python experiments/{name}/{script} --help")
    return STUDIES / name


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("transfer reproduce", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help="a folder of experiments/, or the path of one like it")
    parser.add_argument("--quick", action="store_true", help="scaled down: that it runs, and the orderings it names")
    parser.add_argument("--accept", action="store_true", help="take this run's figures for the expected ones")
    parser.add_argument("--out", type=Path, help="where the sweeps go; sweeps/studies/NAME by default")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for all sweeps, such as data_dir=DATA")
    return parser.parse_intermixed_args(words)

"""Run folders that somebody else left, or a bad disk: a broken file costs that run and one line, never the report."""

from __future__ import annotations

import json
import os
import random
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sweeps import USERS, write_run

from transfer.errors import TransferError
from transfer.report.comparison.average import averages
from transfer.report.comparison.compare import compare
from transfer.report.comparison.files import clean, read_yaml
from transfer.report.comparison.runs import Run, read_runs, results_table, spreadsheet
from transfer.report.page.latex import latex, tex
from transfer.report.page.page import command, more_markdown, render, write_report
from transfer.report.page.tables import markdown, plain
from transfer.report.sweep_table import print_sweep

FILES = ("result.json", "config.yaml", "per_user.parquet", "metrics.jsonl", ".hydra/overrides.yaml")
NASTY: list[Any] = [
    None, True, -1, 0, 1.5, 10**400, "", "[/b]", "[paperback]", "\x1b[31m", "=1+1", "${oc.env:HOME}", "$x_$", "<b>", "a|b",
    "x" * 10_000, [], [[]], {}, {"a": {"b": None}}, "\ud800", "NaN", float("nan"), float("inf"), [1, "a", None], "\u202e",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on three splits, one of them with distances, and a classification: what the mutations begin from."""
    folder = tmp_path_factory.mktemp("whole")
    number = 0
    for method, value in (("target_only", 0.3), ("emcdr", 0.4)):
        for split in range(3):
            values = [value + split / 50 + user / 1000 for user in range(USERS)]
            write_run(folder / str(number), f"method={method}", f"split.seed={split}", values=values)
            number += 1
    words = ("method=source_only",)
    distance = {time: dict.fromkeys(("mmd", "coral", "proxy_a"), 0.5) for time in ("before", "after")}
    write_run(folder / "6", *words, values=[1.0, 0.0] * (USERS // 2), task="classification", distance=distance)
    return folder


def report(folder: Path) -> list[Run]:
    """What a report computes and says, but for the figures (drawn once in a while: they take a second)."""
    runs = print_sweep(folder)
    comparisons = compare(runs, pairs=False)
    comparisons = [*averages(comparisons), *comparisons]
    spreadsheet(results_table(runs, folder)).write_csv(None)
    for text in (
        markdown(comparisons),
        more_markdown(comparisons),
        latex(comparisons),
        render(folder, runs, comparisons, 0),
    ):
        text.encode(errors="replace")
    return runs


def mutate(value: Any, chance: random.Random) -> Any:
    """One place of a JSON value replaced, removed or doubled."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        kind = chance.random()
        if kind < 0.2:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.3:
            return value | {chance.choice([k for k in NASTY if isinstance(k, str)]): value[key]}
        return value | {key: mutate(value[key], chance)}
    return chance.choice(NASTY)


def bytes_of(data: bytes, chance: random.Random) -> bytes:
    """Bytes cut, flipped, doubled, put in or replaced."""
    at = chance.randrange(len(data) + 1)
    kind = chance.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return bytes(chance.randrange(256) for _ in range(chance.randrange(400)))
    if kind == 2:
        flipped = bytearray(data)
        for _ in range(chance.randrange(1, 9)):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        return bytes(flipped)
    if kind == 3:
        return data[:at] + bytes(chance.choice(string.printable.encode()) for _ in range(9)) + data[at:]
    if kind == 4:
        return data[:at] + data[: chance.randrange(len(data) + 1)]
    return chance.choice(
        [b"", b"\xff\xfe", b"{" * 5000, b"[" * 5000, b"null", b"NaN", b"- &a [*a, *a]", b"PAR1", b"&a [*a]"]
    )


def damage(run: Path, chance: random.Random) -> str:
    """Break one file of a run: the name of what was done."""
    file = run / chance.choice(FILES)
    kind = chance.random()
    if kind < 0.06:
        file.unlink()
        return f"{file.name} gone"
    if kind < 0.1:
        file.unlink()
        file.mkdir()
        return f"{file.name} a folder"
    if kind < 0.13:
        file.unlink()
        file.symlink_to(chance.choice([file.name, "..", "/dev/zero", "nowhere"]))
        return f"{file.name} a link"
    if kind < 0.55 and file.suffix in (".json", ".yaml"):
        read = json.loads if file.suffix == ".json" else read_yaml
        value = mutate(read(file.read_text()) if file.suffix == ".json" else read(file), chance)  # type: ignore[operator]
        file.write_text(json.dumps(value), errors="surrogatepass")
        return f"{file.name} mutated"
    if kind < 0.55 and file.suffix == ".parquet":
        table = pl.read_parquet(file)
        name = chance.choice(table.columns)
        other: list[Any] = [pl.lit(None), pl.lit("x"), pl.lit(float("nan")), pl.lit(-1), pl.lit(0), pl.lit([1])]
        changed = table.drop(name) if chance.random() < 0.3 else table.with_columns(chance.choice(other).alias(name))
        changed.head(chance.choice([0, 1, USERS])).write_parquet(file)
        return f"{file.name} other columns"
    file.write_bytes(bytes_of(file.read_bytes(), chance))
    return f"{file.name} bytes"


def attack(whole: Path, place: Path, rounds: int, seed: int, drawn: int) -> dict[str, int]:
    """Damage one run at a time and report: how many runs were lost, kept with a line, or kept whole."""
    chance, counts = random.Random(seed), {"lost": 0, "kept with a line": 0, "kept": 0}
    shutil.copytree(whole, place)
    names = sorted(path.name for path in whole.iterdir())
    for number in range(rounds):
        victim = place / chance.choice(names)
        done = damage(victim, chance)
        try:
            runs = report(place)
            if number % drawn == 0:
                write_report(place, runs)
        except Exception as error:
            raise AssertionError(f"seed {seed}, round {number}: {done}: {error!r}") from error
        rest = [run for run in runs if run.folder.name != victim.name]
        assert len(rest) == 6, done
        assert all(run.done for run in rest), f"round {number}: {done} costs another run"
        (mine,) = [run for run in runs if run.folder.name == victim.name] or [None]
        lost = mine is None or not mine.done
        assert not lost or mine is None or mine.error, f"round {number}: {done} is not named"
        shutil.rmtree(victim)
        shutil.copytree(whole / victim.name, victim)
        counts["lost" if lost else "kept with a line" if mine and mine.problems else "kept"] += 1
    return counts


def test_a_broken_file_costs_that_run_alone(whole: Path, tmp_path: Path) -> None:
    counts = attack(whole, tmp_path / "S", 60, seed=0, drawn=30)
    assert counts["lost"] > 9
    assert counts["kept with a line"] > 5


@pytest.mark.slow
def test_thousands_of_broken_files(whole: Path, tmp_path: Path) -> None:
    print(attack(whole, tmp_path / "S", 3000, seed=1, drawn=100))


BROKEN: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "cut": ("result.json", lambda file: file.write_bytes(file.read_bytes()[:200]), "not readable as JSON"),
    "nan": ("result.json", lambda file: file.write_text('{"status": NaN}'), "NaN is no number"),
    "unknown status": (
        "result.json", lambda file: file.write_text(file.read_text().replace('"done"', '"NaN"')), "status: ",
    ),
    "no status": ("result.json", lambda file: file.write_text("{}"), "status: "),
    "latin": ("config.yaml", lambda file: file.write_bytes(b"name: caf\xe9"), "not readable as YAML"),
    "bomb": (
        "config.yaml",
        lambda file: file.write_text("a: &a [1,2,3,4,5,6,7,8,9]\n" + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        )),
        "counted through its aliases",
    ),
    "ring": ("config.yaml", lambda file: file.write_text("a: &a [*a]"), "counted through its aliases"),
    "no method": ("config.yaml", lambda file: file.write_text("domain: {name: x}"), "task.name is missing"),
    "huge": ("result.json", lambda file: os.truncate(file, 2**26), "at most"),
    "zero": ("result.json", lambda file: (file.unlink(), file.symlink_to("/dev/zero")), "not a regular file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(name: str, whole: Path, tmp_path: Path) -> None:
    file, break_it, line = BROKEN[name]
    shutil.copytree(whole, tmp_path / "S")
    break_it(tmp_path / "S" / "3" / file)
    (lost,) = [run for run in read_runs(tmp_path / "S") if not run.done]
    assert (lost.folder.name, lost.status) == ("3", "unreadable")
    assert lost.error.startswith(f"{file}: ")
    assert line in lost.error
    assert len(lost.error) < 300


def test_values_by_user_that_cannot_be_read_are_said_and_the_figure_stays(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "S"
    shutil.copytree(whole, folder)
    (folder / "3" / "per_user.parquet").write_bytes(b"PAR1 and no more")
    page = write_report(folder).read_text()
    assert "per_user.parquet: not readable as Parquet" in page
    assert all(run.done for run in read_runs(folder))


def test_copies_links_and_rings_are_named_or_skipped(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "S"
    shutil.copytree(whole, folder)
    shutil.copytree(folder / "0", folder / "0-backup")
    (folder / "ring").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "notes").mkdir()
    runs = print_sweep(folder)
    assert len(runs) == 8
    assert "0-backup: copy the same run as 0, left out" in capsys.readouterr().out
    assert sum(run.done for run in runs) == 7


def test_nothing_in_a_record_is_resolved(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    folder = tmp_path / "S"
    shutil.copytree(whole, folder)
    record = {"hydra": {"overrides": {"task": ["method=${oc.env:SECRET}"], "hydra": ["hydra.mode=MULTIRUN"]}}}
    (folder / "multirun.yaml").write_text(json.dumps(record))
    assert command(folder, read_runs(folder)) == "transfer -m 'method=${oc.env:SECRET}'"
    assert "hunter2" not in write_report(folder).read_text()
    (folder / "multirun.yaml").write_text("hydra: &a [*a]")
    assert command(folder, read_runs(folder)).startswith("transfer -m method=target_only,emcdr,source_only")
    with pytest.raises(TransferError, match="aliases"):
        read_yaml(folder / "multirun.yaml")


def test_what_others_wrote_is_text_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "[bold] =1+1 $x$ a|b"
    markup = "[/b] [paperback] \x1b[31m <img src=x> [x](javascript:alert(1)) a|b $x_$ \u202e"
    for number, method in enumerate(("target_only", "emcdr")):
        words = (f"method={method}", "domain.name=" + json.dumps(markup))
        write_run(folder / str(number), *words, values=[0.5] * USERS, domain=markup)
    write_run(folder / "2", "method=cmf", status="failed", error=markup + "x" * 5_000_000, domain="=cmd()", id="-1.5")
    page = write_report(folder, print_sweep(folder)).read_text()
    screen, table, latex_table = (
        capsys.readouterr().out,
        (folder / "table.md").read_text(),
        (folder / "table.tex").read_text(),
    )
    assert "[/b] [paperback]" in screen.replace("\n", " ")
    for text in (screen, table, latex_table, page):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert len(screen) + len(table) + len(page) < 400_000
    assert "<img" not in page
    assert "&lt;img src=x&gt; \\[x\\](javascript:alert(1)) a\\|b" in table
    assert r"{[}x](javascript:alert(1)) a\textbar{}b \$x\_\$" in latex_table
    rows = (folder / "results.csv").read_text()
    assert ",'=cmd()," in rows
    assert ",-1.5," in rows, "a number is a number"
    assert "5000000" not in rows


def test_text_is_made_plain() -> None:
    assert clean("a\x1b[31m\nb\t\u202ec\u2028") == "a [31m b c"
    assert clean("x" * 5_000_000) == "x" * 200 + "…"
    assert plain("a|b\\|c") == r"a\|b\\\|c"
    assert tex("a\n\nb") == "a b"

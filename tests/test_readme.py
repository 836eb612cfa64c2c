"""README and docs/: worked examples run as they stand, commands compose, links lead somewhere, nothing is unnamed."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from transfer.__main__ import COMMANDS, PLAIN

ROOT = Path(__file__).parents[1]
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
ALL = "\n".join(PAGES.values())
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)


def _block(opening: str) -> str:
    """The code block that begins right after `opening`."""
    found = re.search(re.escape(opening) + r"\n?```\w*\n(.*?)```", ALL, re.S)
    assert found, f"no code block after {opening!r}"
    return found.group(1)


def test_the_method_of_the_pages_is_found_through_its_package(tmp_path: Path) -> None:
    for name in ("my_methods/watched_together.py", "pyproject.toml"):
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_block(f"`{name}`\n"), encoding="utf-8")
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    subprocess.run([*install, str(tmp_path / "package")], check=True, timeout=120)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    out = tmp_path / "out"
    command = [sys.executable, "-m", "transfer", "method=watched_together", "hp.shrinkage=2", f"hydra.run.dir={out}"]
    subprocess.run([*command, "domain.users=300"], check=True, env=environment, cwd=tmp_path, timeout=300)
    result = json.loads((out / "result.json").read_text())
    assert result["status"] == "done"
    assert result["method"] == "watched_together"
    assert result["metrics"]["test"]["ndcg@10"] > 0.05  # a constant scorer has 10 / 300


def test_the_notebook_example_runs() -> None:
    space: dict[str, object] = {}
    exec(compile(_block("From Python, for notebooks:\n"), "docs", "exec"), space)
    lists = space["result"].predictor.recommend([space["user"]], k=5)  # type: ignore[attr-defined]
    assert len(lists[space["user"]]) == 5


def test_the_arrays_of_the_pages_are_worlds() -> None:
    space: dict[str, object] = {}
    exec(compile(_block("Your arrays:\n"), "docs", "exec"), space)
    assert space["model"].score(space["books"], space["y"]) > 0.9  # type: ignore[attr-defined]
    assert len(space["sweep"]) == 4  # type: ignore[arg-type]
    folder = space.pop("sweep").folder  # type: ignore[attr-defined]
    gc.collect()
    assert not folder.exists()


def test_the_table_of_methods_is_the_one_that_the_code_makes() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    from method_table import method_table

    opening, closing = "<!-- methods: made by scripts/method_table.py -->\n", "\n<!-- /methods -->"
    table = PAGES[ROOT / "docs" / "methods.md"].partition(opening)[2].partition(closing)[0]
    assert table == method_table(), "write what `python scripts/method_table.py` prints"


def test_every_method_has_a_page_with_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from method_pages import figures_of_studies, method_page

    from transfer.registry import names

    figures = figures_of_studies()
    rows = pl.read_csv(ROOT / "experiments" / "movies_to_books" / "expected.csv")
    mean = rows.filter(method="ridge_map")["mean"][0]
    page = method_page("ridge_map", figures)
    assert f"| {mean:.4f} ± " in page
    studies = set(figures.filter(pl.col("method").str.split(" ").list.first() == "ridge_map")["study"])
    assert len(studies) > 5
    assert {study for study in studies if f"](../experiments/{study}/README.md)" in page} == studies
    for name in names("methods"):
        text = method_page(name, figures)
        assert text.startswith(f"# {name}\n\n```text\n"), name
        assert len(text) > 200


def test_the_pages_name_every_method_domain_task_and_split() -> None:
    from transfer.composing import config_folder
    from transfer.registry import names

    assert [name for name in names("methods") if f"`{name}`" not in ALL] == []
    for group in ("domain", "task", "split", "track", "sweep", "engine"):
        for path in (config_folder() / group).glob("*.yaml"):
            if path.stem not in ("files_base", "files_one_source"):
                assert f"`{path.stem}`" in ALL, f"no page names {group}={path.stem}"


def _lines() -> list[list[str]]:
    """The words of every `transfer ...` line in a block without a language, without comments."""
    blocks = [block for language, block in FENCE.findall(ALL) if not language]
    lines = [line for block in blocks for line in _joined(block).splitlines() if line.startswith("transfer ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def _commands() -> list[list[str]]:
    """Those that are runs or sweeps."""
    runs = [given for given in _lines() if given[0] not in COMMANDS]
    return [given for given in runs if "=" in "".join(given) and not {"--cfg", "KEY=VALUE"} & set(given)]


def test_every_word_of_the_pages_is_a_command() -> None:
    from transfer.registry import names

    first = {given[0] for given in _lines() if "=" not in given[0] and not given[0].startswith("-")}
    assert first - {*COMMANDS, *PLAIN, *names("methods"), "METHOD", "OVERRIDES"} == set()
    assert "reproduce" in first


def _joined(block: str) -> str:
    """Lines that end in a backslash, or inside quotes, with the next one."""
    text = block.replace("\\\n", " ")
    lines: list[str] = []
    for line in text.splitlines():
        unfinished = bool(lines) and lines[-1].split(" #")[0].count("'") % 2 == 1
        lines[-1:] = [f"{lines[-1]} {line.strip()}"] if unfinished else [*lines[-1:], line]
    return "\n".join(lines)


@pytest.mark.parametrize("words", _commands(), ids=lambda words: " ".join(words)[:60])
def test_every_command_of_the_pages_composes(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first job of a sweep stands for all of them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from transfer.api import compose
    from transfer.experiment.checks import check_settings

    monkeypatch.chdir(tmp_path)
    for folder in ("DATA", "FOLDER"):
        (tmp_path / folder).mkdir()
    single = []
    for word in (word for word in words if word != "-m"):
        override = OverridesParser.create().parse_override(word)
        choices = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
        place = -1 if override.key_or_group == "domain.target" else 0  # of a grid over pairs not one with itself
        single.append(f"{override.key_or_group}={choices[place]}" if choices else word)
    of_sweeps = ("sweep=", "budget.", "hydra.", "engine", "+engine", "retry=")
    single = [word for word in single if not word.startswith(of_sweeps)]
    check_settings(compose(single))


def _places(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page: Path) -> list[str]:
    """The links of a page, but for those of the web, that lead to no file of the repository, or to no heading of it."""
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8")))
    broken = []
    for target in (target for target in targets if not target.startswith(("https://", "http://"))):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not (path.is_file() and path.is_relative_to(ROOT)) or (anchor and anchor not in _places(path)):
            broken.append(target)
    return broken


LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "experiments").rglob("*.md"))]


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert _broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# One thing\n")
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](other.md) [b](other.md#one-thing) [c](#here) [d](https://x.org)\n```\n[e](no.md)\n```\n")
    assert _broken(page) == []
    page.write_text("# Here\n[a](another.md) [b](other.md#two-things) [c](#there) ![d](d.png)\n")
    assert _broken(page) == ["another.md", "other.md#two-things", "#there", "d.png"]


def test_every_page_and_every_study_is_in_its_index() -> None:
    pages, studies = PAGES[ROOT / "docs" / "index.md"], (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md"]
    assert [name for name in names if f"({name})" not in pages] == []
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [name for name in names if f": {name}\n" not in site] == []
    folders = [path.parent.name for path in (ROOT / "experiments").glob("*/study.yaml")]
    assert [name for name in folders if f"| [{name}]({name}/README.md) |" not in studies] == []

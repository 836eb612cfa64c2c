"""The worked examples of the README run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _block(opening: str) -> str:
    """The code block that begins right after `opening`."""
    found = re.search(re.escape(opening) + r"\n?```\w*\n(.*?)```", README, re.S)
    assert found, f"no code block after {opening!r}"
    return found.group(1)


def test_the_method_of_the_readme_is_found_through_its_package(tmp_path: Path) -> None:
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
    exec(compile(_block("From Python, for notebooks:\n"), "README", "exec"), space)
    lists = space["result"].predictor.recommend([space["user"]], k=5)  # type: ignore[attr-defined]
    assert len(lists[space["user"]]) == 5


def test_the_table_of_methods_is_the_one_that_the_code_makes() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    from method_table import method_table

    opening, closing = "<!-- methods: made by scripts/method_table.py -->\n", "\n<!-- /methods -->"
    table = README.partition(opening)[2].partition(closing)[0]
    assert table == method_table(), "write what `python scripts/method_table.py` prints"


def test_the_readme_names_every_method_domain_task_and_split() -> None:
    from transfer.api import config_folder
    from transfer.registry import names

    assert [name for name in names("methods") if f"`{name}`" not in README] == []
    for group in ("domain", "task", "split", "track"):
        for path in (config_folder() / group).glob("*.yaml"):
            if path.stem != "files_base":
                assert f"`{path.stem}`" in README, f"README does not name {group}={path.stem}"

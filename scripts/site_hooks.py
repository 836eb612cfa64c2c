"""What `mkdocs build` needs beyond mkdocs.yml: the studies of experiments/ and each method are pages too.

Pages link to each other by their places in the repository, so that links work on a code host as well. On the site
experiments/ lies inside what was docs/.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from transfer.registry import names

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # mkdocs runs this file alone

from method_pages import figures_of_studies, method_page  # noqa: E402

SHOWN = {".md", ".png"}


def on_files(files: Files, config: Any) -> Files:
    """The pages and pictures of experiments/ besides those of docs/."""
    for path in sorted((ROOT / "experiments").rglob("*")):
        if path.suffix in SHOWN:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    figures = figures_of_studies()
    for name in names("methods"):
        files.append(File.generated(config, f"methods/{name}.md", content=method_page(name, figures)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links between docs/ and experiments/ as they are on the site, where docs/ is no folder any more."""
    if page.file.src_uri.startswith("experiments/"):
        return re.sub(r"\]\(((?:\.\./)+)docs/", r"](\1", markdown)
    if page.file.src_uri.startswith("methods/"):
        return markdown
    if page.file.src_uri == "methods.md":
        markdown = re.sub(r"^\| `(\w+)` \|", r"| [`\1`](methods/\1.md) |", markdown, flags=re.M)
    return markdown.replace("](../experiments/", "](experiments/")

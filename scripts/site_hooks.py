"""What `mkdocs build` needs beyond mkdocs.yml: the studies of experiments/ are pages of the site, beside those of docs/.

Pages link to each other by their places in the repository, so that links work on a code host as well. On the site
experiments/ lies inside what was docs/.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SHOWN = {".md", ".png"}


def on_files(files: Files, config: Any) -> Files:
    """The pages and pictures of experiments/ besides those of docs/."""
    for path in sorted((ROOT / "experiments").rglob("*")):
        if path.suffix in SHOWN:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links between docs/ and experiments/ as they are on the site, where docs/ is no folder any more."""
    if page.file.src_uri.startswith("experiments/"):
        return re.sub(r"\]\(((?:\.\./)+)docs/", r"](\1", markdown)
    return markdown.replace("](../experiments/", "](experiments/")

"""A figure that a notebook shows and a file keeps."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from transfer.storage.trees import write


class Drawing(NamedTuple):
    """A figure as SVG: what a notebook shows where it is the last line of a cell."""

    svg: str

    def _repr_html_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> Path:
        """Write it to a file that ends in .svg: its path."""
        path = Path(path)
        write(path, self.svg.encode())
        return path

    def __repr__(self) -> str:
        return f"<figure of {len(self.svg):,} characters; .save(PATH) writes it as SVG>"

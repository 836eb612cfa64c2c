"""What a run leaves in memory: configuration, figures, parameters, predictor; short where it is printed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from transfer.config.schema import Config
from transfer.config.selection import score
from transfer.errors import TransferError
from transfer.program import Done
from transfer.results.drawing import Drawing
from transfer.results.learning_curve import learning_curve
from transfer.results.new_readers import History
from transfer.results.predictor import LabelPredictor, Predictor, Recommendation


@dataclass(frozen=True, repr=False)
class Result:
    """What a run leaves in memory; `facts` is the content of result.json."""

    config: Config
    facts: dict[str, Any]
    parameters: Done
    predictor: Predictor | LabelPredictor
    folder: Path | None
    per_user: pl.DataFrame | None = None  # test values by user, with their ids, or by example; None for one that diverged
    records: Sequence[dict[str, Any]] = ()  # of every evaluation of a gradient stage

    @property
    def status(self) -> str:
        return self.facts["status"]

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        return self.facts["metrics"]

    @property
    def objective(self) -> float:
        """What a sweeper maximises: by default the validation metric `task.select`, an error negated; NaN if diverged."""
        return score(self.facts)

    def recommend(
        self,
        users: Sequence[str] | None = None,
        k: int = 10,
        *,
        history: History | None = None,
        candidates: Collection[str] | Mapping[str, Collection[str]] | None = None,
        exclude: Collection[str] = (),
    ) -> dict[str, list[Recommendation]] | list[Recommendation]:
        """The k best items: {user: list} for readers of the run by id, or the list of a new one by her history.

        history: {domain: ids, or (id, rating)}, the oldest first; candidates, exclude: ids of items, candidates also
        {user: ids} for readers of the run. Raises TransferError for what the run does not know, and where it classifies
        examples.
        """
        if not isinstance(self.predictor, Predictor):
            raise TransferError("this run classifies examples and has no readers to recommend to")
        if (users is None) == (history is None):
            raise TransferError("recommend for users=[ID, ...] of the run, or for history={DOMAIN: [ID, ...]}")
        if history is not None:
            if isinstance(candidates, Mapping):
                raise TransferError("candidates by reader are for readers of the run; give a new one a list of ids")
            return self.predictor.recommend_new([history], k, candidates, exclude)[0]
        return self.predictor.recommend(users or (), k, candidates, exclude)

    def frame(self) -> pl.DataFrame:
        """A row for each metric, with a column for each part: valid, test."""
        names = dict.fromkeys(name for values in self.metrics.values() for name in values)
        parts = [part for part in ("valid", "test") if part in self.metrics]
        columns = {part: [self.metrics[part].get(name) for name in names] for part in parts}
        return pl.DataFrame({"metric": list(names)}).with_columns(pl.Series(part, of) for part, of in columns.items())

    def plot(self) -> Drawing:
        """Loss and validation metric by step, the selected step marked. Raises TransferError for closed forms alone."""
        if not self.records:
            raise TransferError(f"method={self.config.method.name} is solved in closed form: there is no learning curve")
        return Drawing(learning_curve(self.records, self.facts))

    def __repr__(self) -> str:
        chosen = self.facts["select"]["metric"]
        figures = [f"{part} {values[chosen]:.4f}" for part, values in self.metrics.items() if chosen in values]
        figures = [f"{chosen}: {', '.join(figures)}"] if figures else []
        place = [f"folder: {self.folder}"] if self.folder else []
        return f"<{'; '.join([self._title, *figures, *place])}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the figures as a table."""
        rows = self.frame().rows()
        heads = "".join(f"<th>{escape(name)}</th>" for name in self.frame().columns)
        cells = ["".join(f"<td>{escape(_shown(value))}</td>" for value in row) for row in rows]
        return f"<table><caption>{escape(self._title)}</caption><tr>{heads}</tr><tr>{'</tr><tr>'.join(cells)}</tr></table>"

    @property
    def _title(self) -> str:
        return f"method={self.config.method.name} on {self.config.domain.name}, seed {self.config.seed}: {self.status}"


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)

"""Estimators as scikit-learn has them: `TransferClassifier(method="coral").fit(Xs, ys, Xt)`, `TransferRecommender`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from transfer.api import domain, run
from transfer.errors import TransferError

QUIET = "train.progress=false"


class _OfExamples(BaseEstimator):
    """What the estimators of labelled examples share: their parameters, the checks of what they are given, and the run."""

    def __init__(
        self, method: str = "source_only", model: str = "softmax", overrides: Sequence[str] = (), seed: int = 0
    ) -> None:
        self.method, self.model, self.overrides, self.seed = method, model, overrides, seed

    def _learn(self, X: Any, y: Any, Xt: Any, known: Any, task: str) -> None:
        """The run on a source X with labels y and a target Xt (None: X) with labels `known` (None: none)."""
        if Xt is not None and not self._texts:
            Xt = validate_data(self, Xt, reset=False, accept_sparse="csr")
        if Xt is None and known is not None:
            raise ValueError("yt= goes with Xt=")
        source, target = domain(X, y, name="source"), domain(X if Xt is None else Xt, known, name="target")
        split = "transductive" if known is None else "labelled"
        chosen = [word for word in self.overrides if word.startswith("split=")]
        words = [f"method={self.method}", f"model={self.model}", f"seed={self.seed}", f"split.seed={self.seed}", QUIET]
        words += [*task.split(), "test=false", *([] if chosen else [f"split={split}"]), *self.overrides]
        self.result_ = run(words, source=source, target=target)
        if self.result_.status != "done":
            raise TransferError(f"method={self.method}: the run {self.result_.status}; lower its learning rate")

    def _raw(self, X: Any) -> dict[str, Any]:
        """Examples as the predictor of the run takes them."""
        check_is_fitted(self, "result_")
        if self._texts:
            return {"texts": list(X)}
        return {"vectors": _dense(validate_data(self, X, reset=False, accept_sparse="csr", allow_nd=True))}

    def _checked(self, X: Any, y: Any, numeric: bool = False) -> tuple[Any, np.ndarray]:
        """X and y as arrays of one length; a list of texts stays one."""
        self._texts = isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], str)
        if self._texts:
            y = check_array(y, ensure_2d=False, dtype="numeric" if numeric else None)
            if len(X) != len(y):
                raise ValueError(f"X has {len(X)} texts and y {len(y)} labels")
            return list(X), y
        X, y = validate_data(self, X, y, accept_sparse="csr", allow_nd=True, y_numeric=numeric)
        return X, y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class TransferClassifier(ClassifierMixin, _OfExamples):
    """A classifier that learns from labelled source examples and unlabelled or few labelled target examples.

    method, model: as in `method=coral model=mlp`. overrides: more words of the command, such as "hp.l2=0.1"; without a
    split among them it is labelled where the target has labels, else transductive. seed: of the run and its split.

    fit(X, y, Xt, yt): X [n, …] numbers, texts or a sparse matrix with labels y, of the source; Xt of the target (None: the
    source's own), yt its labels, None or NaN where they are not known (yt=None: of none). Nothing is held out for a test;
    what selects is held out of the target's labels where there are some, else of the source's.

    It passes the checks of scikit-learn but for pickling: a fitted one holds a compiled program.
    """

    def fit(self, X: Any, y: Any, Xt: Any = None, yt: Any = None) -> Self:
        """Learn. Raises ValueError for what scikit-learn refuses, TransferError for what the method does."""
        X, y = self._checked(X, y)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"the source has one class alone, {self.classes_[0]}; two are needed")
        self._learn(X, np.searchsorted(self.classes_, y), Xt, None if yt is None else self._codes(yt), "")
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """P of every class in `classes_`, float32 [n, classes]."""
        raw = self._raw(X)
        predictor: Any = self.result_.predictor
        places = [int(name) for name in predictor.loaded.classes]
        p = np.zeros((len(next(iter(raw.values()))), len(self.classes_)), np.float32)
        p[:, places] = predictor.probabilities(**raw)
        return p

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each example."""
        check_is_fitted(self, "result_")
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _codes(self, labels: Any) -> list[int | None]:
        """The places of labels in `classes_`, None where one is not known."""
        places = {label: i for i, label in enumerate(self.classes_.tolist())}
        known = [None if label is None or label != label else label for label in np.asarray(labels, object).tolist()]
        if strange := {label for label in known if label is not None} - set(places):
            raise ValueError(f"yt has labels that the source lacks: {sorted(map(str, strange))}")
        return [None if label is None else places[label] for label in known]


class TransferRegressor(RegressorMixin, _OfExamples):
    """A regressor that learns from source examples with numbers and target examples of which few numbers or none are known.

    Parameters and data are those of TransferClassifier; y and yt are numbers, NaN or None in yt where they are not known.
    """

    def fit(self, X: Any, y: Any, Xt: Any = None, yt: Any = None) -> Self:
        """Learn. Raises ValueError for what scikit-learn refuses, TransferError for what the method does."""
        X, y = self._checked(X, y, numeric=True)
        known = None if yt is None else np.asarray([np.nan if number is None else number for number in yt], float)
        self._learn(X, y, Xt, known, "task=regression")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number of each example, float32 [n]."""
        raw = self._raw(X)
        predictor: Any = self.result_.predictor
        return predictor.values(**raw)


class TransferRecommender(BaseEstimator):
    """Recommends a target domain's items to readers of a source domain.

    method, model, overrides, seed: as of TransferClassifier. split: what is held out to select and test by, as `split=`.

    fit(source, target): frames of Polars or pandas with columns user, item and, where they have them, rating and time.
    """

    def __init__(
        self,
        method: str = "ease",
        split: str = "ratio",
        overrides: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self.method, self.split, self.overrides, self.seed = method, split, overrides, seed

    def fit(self, source: Any, target: Any) -> Self:
        """Learn from what readers chose. Raises TransferError for frames that are no events, and for what it lacks."""
        words = [f"method={self.method}", f"split={self.split}", f"seed={self.seed}", f"split.seed={self.seed}", QUIET]
        sources = None if source is None else domain(events=source, name="source")
        self.result_ = run([*words, *self.overrides], source=sources, target=domain(events=target, name="target"))
        return self

    def recommend(self, users: Sequence[str], k: int = 10) -> pl.DataFrame:
        """The k best items for each user, without those she is known to have: user, rank, item, title, score."""
        check_is_fitted(self, "result_")
        predictor: Any = self.result_.predictor
        lists = predictor.recommend([str(user) for user in users], k)
        rows = [{"user": user, **line._asdict()} for user, of in lists.items() for line in of]
        return pl.DataFrame(
            rows, {"user": pl.String, "rank": pl.Int64, "item": pl.String, "title": pl.String, "score": pl.Float64}
        )


def _dense(X: Any) -> np.ndarray:
    return np.asarray(X.todense() if hasattr(X, "todense") else X, np.float32)

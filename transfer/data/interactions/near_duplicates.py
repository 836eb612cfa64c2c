"""Editions of one work: items rated by nearly the same users; one seen in training gives away the other in test."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy import sparse
from scipy.sparse import csgraph

from transfer.data.interactions.domain import places

BLOCK = 4096  # items per block of the product: bounds the memory of large catalogues


def editions(events: pl.DataFrame, jaccard: float, common_raters: int) -> dict[str, str]:
    """Find the items of one domain that are editions of the same work.

    Two items are linked if more than `jaccard` of the users of either rated both and at least `common_raters` did;
    links are joined into connected components. The item with the most raters stays (ties: smallest id).

    Returns: item -> item that stays, for the items that do not stay themselves.
    """
    (raters,), (items,) = _raters([events], common_raters)
    left, right = _links(raters, raters, jaccard, common_raters)
    graph = sparse.coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(items), len(items)))
    _, component = csgraph.connected_components(graph, directed=False)
    table = pl.DataFrame({"item": items, "component": component, "raters": np.diff(raters.indptr)})
    stays = pl.col("item").sort_by("raters", "item", descending=[True, False]).first().over("component")
    changed = table.select("item", stays=stays).filter(pl.col("item") != pl.col("stays"))
    return dict(changed.sort("item").cast(pl.String).iter_rows())


def mirrors(target: pl.DataFrame, source: pl.DataFrame, jaccard: float, common_raters: int) -> set[str]:
    """Find the source items that are the same product as some target item, by the rule of `editions`."""
    (in_target, in_source), (_, items) = _raters([target, source], common_raters)
    found, _ = _links(in_source, in_target, jaccard, common_raters)
    return set(items.gather(np.unique(found)).to_list())


def _raters(domains: list[pl.DataFrame], at_least: int) -> tuple[list[sparse.csr_array], list[pl.Series]]:
    """Per domain: the 0/1 matrix items × users of items with `at_least` raters, and their ids in ascending order."""
    users = pl.concat([events["user"] for events in domains]).unique().sort()
    matrices, names = [], []
    for events in domains:
        items = events["item"].unique().sort()
        cells = places(events["item"], items), places(events["user"], users)
        raters = sparse.csr_array((np.ones(len(events), np.int32), cells), shape=(len(items), len(users)))
        raters.data[:] = 1  # repeated pairs were summed
        enough = np.diff(raters.indptr) >= at_least
        matrices.append(raters[enough])
        names.append(items.filter(pl.Series(enough)))
    return matrices, names


def _links(a: sparse.csr_array, b: sparse.csr_array, jaccard: float, common_raters: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `a` and rows of `b` with enough raters in common, as two aligned index arrays."""
    size_a, size_b, columns = np.diff(a.indptr), np.diff(b.indptr), b.T.tocsr()
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, a.shape[0], BLOCK):
        common = (a[start : start + BLOCK] @ columns).tocoo()
        enough = common.data >= common_raters
        row, column, both = common.row[enough] + start, common.col[enough], common.data[enough]
        linked = both > jaccard * (size_a[row] + size_b[column] - both)
        left.append(row[linked])
        right.append(column[linked])
    return np.concatenate(left), np.concatenate(right)

"""Two domains in two dimensions: their principal components, before and after a map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

MOST = 300  # examples of each domain that are kept


class Axes(NamedTuple):
    """The plane of two principal components: mean [d] and orthonormal directions [d, 2]."""

    mean: np.ndarray
    directions: np.ndarray


def principal_axes(x: np.ndarray) -> Axes:
    """The plane in which x [n, d] varies most, each direction with its largest entry positive."""
    mean = x.mean(0, dtype=np.float64)
    centred = x - mean
    values, inner = np.linalg.eigh(centred @ centred.T)  # n examples are few, features may be thousands
    scale = np.where(values > 1e-9 * values[-1], 1 / np.sqrt(np.maximum(values, 1e-30)), 0.0)
    found = (centred.T @ (inner * scale))[:, :-3:-1]
    directions = np.zeros((x.shape[1], 2))
    directions[:, : found.shape[1]] = found
    largest = directions[np.abs(directions).argmax(0), [0, 1]]
    return Axes(mean, directions * np.where(largest < 0, -1.0, 1.0))


def project(before: list[np.ndarray], after: list[np.ndarray]) -> pl.DataFrame | None:
    """At most 300 examples of each domain, the target (0) first: `domain`, `before_x`, `before_y`, `after_x`, `after_y`.

    before, after: [source, target], each [n, d]. Axes are those of both domains before the map; `same_axes` says whether
    they hold afterwards too: where the map leads to a space of other dimension, these have axes of their own. None where
    a value is not finite.
    """
    some = [[x[:: max(1, -(-len(x) // MOST))][:MOST] for x in (pair[1], pair[0])] for pair in (before, after)]
    xs = [np.concatenate(pair) for pair in some]
    if not all(np.isfinite(x).all() for x in xs):
        return None
    same = xs[0].shape[1] == xs[1].shape[1]
    axes = principal_axes(xs[0])
    planes = [axes, axes if same else principal_axes(xs[1])]
    points = [((x - of.mean) @ of.directions).astype(np.float32) for x, of in zip(xs, planes, strict=True)]
    columns = {
        f"{name}_{axis}": of[:, i]
        for name, of in zip(("before", "after"), points, strict=True)
        for i, axis in enumerate("xy")
    }
    domain = np.repeat([0, 1], [len(part) for part in some[0]]).astype(np.int8)
    return pl.DataFrame({"domain": domain, **columns, "same_axes": np.full(len(domain), same)})

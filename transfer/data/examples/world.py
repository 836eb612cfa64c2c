"""Labelled examples: sources with labels and a target whose labels are hidden but for a few, as arrays for a program."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from transfer.data.examples.featurise import Featuriser
from transfer.data.examples.sparse_rows import SparseRows

# Examples of a chunk are scored at once; a multiple of the usual batch, so that distances to a training set stay small.
CHUNK = 1024
MOST = 500  # examples of a domain that distances and selectors look at


class Inputs(NamedTuple):
    """What is known of examples without their labels: x [n, ...], float32 or int32 tokens; domain int32 [n], target 0."""

    x: jax.Array
    domain: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Examples:
    """x float32 [n, ...] and y float32 [n, classes]: one class each (one-hot), or any number with `multi_label`; or
    y [n, 1], a standardised number.

    sparse: x by its entries, where a model reads them alone; a batch then has a SparseBatch in place of x.
    """

    x: Any
    y: jax.Array
    multi_label: bool = field(metadata={"static": True})
    sparse: SparseRows | None = None

    def batch(self, rows: jax.Array) -> Examples:
        """These rows, to learn from."""
        return Examples((self.sparse or self.x)[rows], self.y[rows], self.multi_label)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HiddenExamples:
    """Examples to evaluate on, in equal chunks: inputs [C, B, ...], y [C, B, classes], weight [C, B] (0 marks padding).

    scale: float32 [2], the mean and the standard deviation by which numbers y were standardised; None: y are classes.
    """

    inputs: Inputs
    y: jax.Array
    weight: jax.Array
    multi_label: bool = field(metadata={"static": True})
    n_events: int = field(metadata={"static": True})
    scale: Any = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Source:
    """One source: `train` is learnt from; `stop` is held out for stages that learn this domain alone.

    same_labels: its classes are the target's.
    """

    train: Examples
    stop: HiddenExamples
    same_labels: bool = field(default=True, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ExamplesWorld:
    """Sources, the target's unlabelled x [n, ...], its few labelled examples (or None), the parts that select and test.

    `valid` holds labelled target examples where there are some, else what the sources hold out: never test labels.
    Labels of target examples that count as unlabelled are in `test` alone, if anywhere. `tested` and
    `selecting` int32 [n] name the examples of `test` and `valid`: their rows in the target's data (in `valid`, of sources:
    their places). `pretrained` holds a model's body from a file of weights, `initial` the
    parameters of another run that stages start from, where one is named. `sparse_unlabelled`: x by its entries, as in
    Examples. `modalities`: the blocks of columns of x by name, with their widths; none: x is one.
    """

    sources: tuple[Source, ...]
    unlabelled: jax.Array
    labelled: Examples | None
    valid: HiddenExamples
    test: HiddenExamples
    tested: jax.Array
    selecting: Any
    pretrained: Any = None
    initial: Any = None
    sparse_unlabelled: SparseRows | None = None
    modalities: tuple[tuple[str, int], ...] = field(default=(), metadata={"static": True})

    def batch(self, rows: jax.Array) -> Any:
        """x of these rows of `unlabelled`, to learn from: [B, ...], or a SparseBatch."""
        return (self.sparse_unlabelled or self.unlabelled)[rows]

    def with_inputs(self, change: Callable[[jax.Array, str], jax.Array]) -> ExamplesWorld:
        """The same with change(x [..., d], name of the part) in place of x, wherever it stands."""

        def seen(part: Any, name: str) -> Any:
            if isinstance(part, Examples):
                return Examples(change(part.x, name), part.y, part.multi_label)
            return replace(part, inputs=part.inputs._replace(x=change(part.inputs.x, name)))

        sources = tuple(
            replace(side, train=seen(side.train, f"source {i}"), stop=seen(side.stop, f"stop {i}"))
            for i, side in enumerate(self.sources)
        )
        return replace(
            self,
            sources=sources,
            unlabelled=change(self.unlabelled, "unlabelled"),
            labelled=self.labelled and seen(self.labelled, "labelled"),
            valid=seen(self.valid, "valid"),
            test=seen(self.test, "test"),
            sparse_unlabelled=None,
        )

    @property
    def n_classes(self) -> int:
        return self.test.y.shape[-1]

    @property
    def multi_label(self) -> bool:
        return self.test.multi_label

    @property
    def numeric(self) -> bool:
        """Whether numbers are predicted, and no classes."""
        return self.test.scale is not None


@dataclass(frozen=True)
class LoadedExamples:
    """A world of examples with what people need to read it: names of classes, counts, the fingerprint of its data, and
    what makes features of raw examples (None: a world made of features)."""

    world: ExamplesWorld
    classes: tuple[str, ...]
    summary: dict[str, Any]
    fingerprint: str
    featuriser: Featuriser | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of one domain by use, int64 indices: `train`, `stop` or `valid` (labelled), `unlabelled`, `test`."""

    train: np.ndarray
    stop: np.ndarray
    unlabelled: np.ndarray
    test: np.ndarray


def build_examples(
    names: list[str],
    xs: list[np.ndarray],
    ys: list[np.ndarray],
    rows: list[Rows],
    classes: tuple[str, ...],
    multi: bool,
    modalities: tuple[tuple[str, int], ...] = (),
    same_labels: Sequence[bool] = (),
    scale: tuple[float, float] | None = None,
) -> LoadedExamples:
    """The world of domains 0 (the target) and 1, 2, ... (its sources) from features, labels and what each row is for.

    same_labels: whether each domain has the target's classes; empty: those have that have as many. scale: mean and standard
    deviation by which the numbers ys were standardised; None: they are classes.
    """
    same = same_labels or [y.shape[1] == ys[0].shape[1] for y in ys]

    def examples(i: int, which: np.ndarray) -> Examples:
        return Examples(xs[i][which], ys[i][which], multi)

    def kept(parts: list[tuple[int, np.ndarray]]) -> HiddenExamples:
        return hidden([(i, examples(i, which)) for i, which in parts], multi, scale)

    sources = tuple(Source(examples(i, rows[i].train), kept([(i, rows[i].stop)]), same[i]) for i in range(1, len(xs)))
    labelled = examples(0, rows[0].train) if len(rows[0].train) else None
    domains = [0] if labelled else [i for i in range(1, len(xs)) if same[i]]
    valid = kept([(i, rows[i].stop) for i in domains or [0]])
    chosen = rows[0].stop if labelled else np.arange(valid.n_events)
    host = ExamplesWorld(
        sources=sources,
        unlabelled=xs[0][rows[0].unlabelled],
        labelled=labelled,
        valid=valid,
        test=kept([(0, rows[0].test)]),
        tested=jax.numpy.asarray(rows[0].test, jax.numpy.int32),
        selecting=jax.numpy.asarray(chosen, jax.numpy.int32),
        modalities=modalities,
    )
    summary = {
        "target": {"name": names[0], **_counts(rows[0]), "selecting": "target" if labelled else "sources"},
        "sources": [{"name": name, **_counts(row)} for name, row in zip(names[1:], rows[1:], strict=True)],
        "classes": list(classes) if scale is None else [],
        **({} if scale is None else {"numbers": {"mean": scale[0], "std": scale[1]}}),
        "inputs": list(xs[0].shape[1:]),
        **({"modalities": dict(modalities)} if modalities else {}),
        "multi_label": multi,
    }
    return LoadedExamples(jax.device_put(host), classes, summary, _fingerprint(host))


def hidden(parts: list[tuple[int, Examples]], multi: bool, scale: tuple[float, float] | None = None) -> HiddenExamples:
    """Lay examples of one or several domains out in equal padded chunks."""
    x = np.concatenate([np.asarray(part.x) for _, part in parts])
    y = np.concatenate([np.asarray(part.y) for _, part in parts])
    domain = np.concatenate([np.full(len(part.x), i, np.int32) for i, part in parts])
    chunks = max(1, -(-len(x) // CHUNK))
    width = max(1, -(-len(x) // chunks))

    def chunked(values: np.ndarray) -> Any:
        padding = np.zeros((chunks * width - len(values), *values.shape[1:]), values.dtype)
        return np.concatenate([values, padding]).reshape(chunks, width, *values.shape[1:])

    weight = chunked(np.ones(len(x), np.float32))
    unit = None if scale is None else np.array(scale, np.float32)
    return HiddenExamples(Inputs(chunked(x), chunked(domain)), chunked(y), weight, multi, n_events=len(x), scale=unit)


def evenly_spaced(x: jax.Array, most: int = MOST) -> jax.Array:
    """At most `most` rows, evenly spaced."""
    return x[:: max(1, -(-x.shape[0] // most))][:most]


def _counts(rows: Rows) -> dict[str, int]:
    return {name: len(getattr(rows, name)) for name in ("train", "stop", "unlabelled", "test")}


def _fingerprint(world: ExamplesWorld) -> str:
    digest = hashlib.sha256(str(world.modalities).encode() if world.modalities else b"")
    for leaf in jax.tree.leaves(replace(world, selecting=None)):  # what selects is itself in it
        digest.update(str(leaf.shape).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]

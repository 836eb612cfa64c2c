"""Damaged files: every reader of examples, caches, weights and checkpoints says one clear line, or reads what is there.

The long run is marked slow: pytest -m slow tests/test_fuzz.py, with FUZZ=N files for each reader.
"""

from __future__ import annotations

import gzip
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import jax
import numpy as np
import polars as pl
import pytest
from mutations import mutated
from PIL import Image
from pretrained import CONFIG, TINY, bert_folder, resnet_body, settings, tensors
from safetensors.numpy import save_file
from scipy import io
from torch_files import old, tensor

from transfer.api import compose
from transfer.data.examples.encoded import encoded
from transfer.data.examples.featurise import Featuriser, featurise, read_featuriser
from transfer.data.examples.load import load_examples
from transfer.data.examples.sets.raw import Raw
from transfer.data.examples.tokens import tokenised
from transfer.errors import TransferError
from transfer.experiment.build import load_world
from transfer.models import resnet50, text_encoder
from transfer.registry import find
from transfer.storage import trees, weights

RNG = np.random.default_rng(0)
FEW, LONGEST = 6, 10.0  # damaged files of a reader in every run of the suite; seconds of work that one may take
NOBODY: Any = None


class Case(NamedTuple):
    """A file to damage and what reads it; checked: content that is not the original's must never come back.

    again: a cache, which is made again where it is damaged and raises nothing.
    """

    path: Path
    read: Callable[[], Any]
    checked: bool = False
    again: bool = False


def texts(n: int) -> list[str]:
    words = ["ship", "star", "robot", "sword", "ghost", "love", "war", "king", "clue", "laugh"]
    return [" ".join(RNG.choice(words, 6)) for _ in range(n)]


def examples(folder: Path, *words: str) -> Callable[[], Any]:
    """Reads a world of examples as a run does."""
    config: Any = compose([*words, "method=source_only", f"data_dir={folder}"])
    reader = find("domains", config.domain.reader)
    return lambda: load_examples(config.domain, config.split, folder, reader).fingerprint


def ratings(folder: Path) -> Iterator[tuple[str, Case]]:
    """Tables of events and of items as people have them, their texts, and a split that is given as files."""
    people, things = np.repeat(np.arange(30), 8), np.concatenate([RNG.permutation(20)[:8] for _ in range(30)])
    rows = {"user": people, "item": things, "rating": 1 + things % 5, "timestamp": 1_500_000_000 + 60 * np.arange(240)}
    for name in ("movies", "books"):
        table = pl.DataFrame({**rows, "item": [f"{name[0]}{i}" for i in things]})
        for write, suffix in ((table.write_csv, "csv"), (table.write_parquet, "parquet")):
            write(folder / f"{name}.{suffix}")
        table.write_ndjson(folder / f"{name}.jsonl")
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress((folder / f"{name}.csv").read_bytes()))
        typed = table.rename(
            {"user": "user:token", "item": "item:token", "rating": "rating:float", "timestamp": "time:float"}
        )
        typed.write_csv(folder / f"{name}.inter", separator="\t")
    target = {"train": slice(0, 6), "valid": slice(6, 7), "test": slice(7, 8)}
    source = {"train": slice(0, 6), "valid": slice(6, 8)}
    for side, name, parts in (("target", "books", target), ("source", "movies", source)):
        for part, kept in parts.items():
            chosen = np.arange(240).reshape(30, 8)[:, kept].ravel()
            pl.read_csv(folder / f"{name}.csv")[chosen].write_csv(folder / f"{side}_{part}.csv")
    words = [" ".join("ab" + chr(97 + i) for i in RNG.integers(0, 26, 3)) for _ in range(40)]
    for name, titles in (("movies", words[:20]), ("books", words[20:])):
        ids = [f"{name[0]}{i}" for i in range(20)]
        pl.DataFrame({"item": ids, "title": titles}).write_csv(folder / f"{name}_items.csv")
    pl.DataFrame({"item": ids, "plot": words[:20]}).write_parquet(folder / "plots.parquet")

    def world(suffix: str, *words: str) -> Callable[[], Any]:
        paths = [f"domain.{side}={folder / name}.{suffix}" for side, name in (("source", "movies"), ("target", "books"))]
        config: Any = compose(["domain=files", *paths, "domain.core=1", "method=popularity", "task=ranking", *words])
        return lambda: load_world(config).fingerprint

    for suffix in ("csv", "parquet", "inter", "jsonl", "csv.gz"):
        yield f"ratings.{suffix}", Case(folder / f"books.{suffix}", world(suffix, "split=leave_one_out"))
    given = world("csv", "split=files", f"split.dir={folder}")
    yield "parts", Case(folder / "target_train.csv", given)
    titled = [
        f"domain.{side}.items={folder / name}_items.csv" for side, name in (("source", "movies"), ("target", "books"))
    ]
    described = ("split=leave_one_out", "domain.text_dim=4", *titled)
    plots = f"domain.target.texts=[{{path: {folder / 'plots.parquet'}, item: item, columns: [plot]}}]"
    np.save(folder / "vectors.npy", RNG.normal(size=(20, 3)).astype(np.float32))
    (folder / "covers").mkdir()
    for item in ids:
        Image.fromarray(RNG.integers(0, 256, (4, 4, 3), np.uint8)).save(folder / "covers" / f"{item}.png")
    places = f"{{v: {{path: {folder / 'vectors.npy'}}}, cover: {{path: {folder / 'covers'}}}}}"
    blocks = ("domain.features={v: vectors, cover: images}", f"domain.target.items.features={places}")
    yield "items", Case(folder / "books_items.csv", world("csv", *described))
    for path in (folder / "vectors.npy", folder / "covers" / "b3.png"):
        yield path.name, Case(path, world("csv", *described, *blocks))
    yield "plots.parquet", Case(folder / "plots.parquet", world("csv", *described, plots))


def sets(folder: Path) -> Iterator[tuple[str, Case]]:
    """The files of every data set, a few rows each."""
    for name in ("amazon-reviews", "book-covers", "digits", "office-caltech", "movie-overviews", "ag-news"):
        (folder / name).mkdir()
    (folder / "game-and-book-covers").mkdir()
    (folder / "cmu-book-summaries").mkdir()
    reviews = folder / "amazon-reviews"
    for name in ("books", "kitchen"):
        for part in ("train", "test"):
            lines = [f"{i % 2} " + " ".join(f"{k}:{1 + k % 3}" for k in range(i % 2, 9, 2 + i % 3)) for i in range(20)]
            (reviews / f"{name}_{part}.svmlight").write_text("\n".join(lines) + "\n")
    rows = {"domain": ["books", "kitchen"] * 20, "title": ["t"] * 40, "text": texts(40), "label": [0, 0, 1, 1] * 10}
    pl.DataFrame(rows).write_parquet(reviews / "reviews.parquet")
    pair = ("domain=amazon_reviews", "domain.source=kitchen", "domain.target=books")
    yield "svmlight", Case(reviews / "kitchen_train.svmlight", examples(folder, *pair))
    yield "reviews", Case(reviews / "reviews.parquet", examples(folder, *pair, "domain.features=text"))

    for i in range(24):
        for place in ("book-covers", "game-and-book-covers"):
            form = "png" if i % 2 else "jpg"
            Image.fromarray(RNG.integers(0, 255, (9, 7, 3), np.uint8)).save(folder / place / f"{i}.{form}")
    names = [f"{i}.{'png' if i % 2 else 'jpg'}" for i in range(24)]
    books = {"cover": names, "category": ["art", "war"] * 12, "title": ["A"] * 24, "description": texts(24)}
    pl.DataFrame(books).write_csv(folder / "book-covers" / "books.csv")
    pl.DataFrame({"cover": names, "kind": ["book", "game"] * 12}).write_csv(folder / "game-and-book-covers" / "covers.csv")
    pair = ("domain=book_covers", "domain.source=kinds", "domain.features=cover", "domain.side=6", "split=few_labels")
    read = examples(folder, *pair, "split.target_labels=4", "split.stop=0.25")
    yield "books.csv", Case(folder / "book-covers" / "books.csv", read)
    yield "covers.csv", Case(folder / "game-and-book-covers" / "covers.csv", read)
    yield "png", Case(folder / "book-covers" / "1.png", read)
    yield "jpg", Case(folder / "book-covers" / "2.jpg", read)

    with h5py.File(folder / "digits" / "MNIST_vs_USPS.mat", "w") as file:
        for part in "st":
            file[f"X{part}"], file[f"Y{part}"] = RNG.random((30, 256)), 1 + np.arange(30.0)[None] % 10
    yield "digits.mat", Case(folder / "digits" / "MNIST_vs_USPS.mat", examples(folder, "domain=digits"))
    for part, axes in (("images-idx3", (28, 28)), ("labels-idx1", ())):
        values = np.resize(np.arange(10, dtype=np.uint8), (4000, *axes))
        head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
        path = folder / "digits" / f"t10k-{part}-ubyte.gz"
        path.write_bytes(gzip.compress(head + values.tobytes(), 1))
        yield part, Case(path, examples(folder, "domain=digits_colour"))

    for name, packed in (("amazon", True), ("webcam", False)):
        tables = {"fts": RNG.integers(0, 5, (30, 800)).astype(float), "labels": 1 + np.arange(30.0)[:, None] % 10}
        path = folder / "office-caltech" / f"{name}_SURF_L10.mat"
        io.savemat(path, tables, do_compression=packed)
        yield f"{name}.mat", Case(path, examples(folder, "domain=office_caltech"))

    genres = ["Fantasy", "Mystery", "Horror", "Thriller"]
    films = {"title": ["t"] * 24, "genres": [f"{genres[i % 4]}|{genres[i % 3]}" for i in range(24)], "overview": texts(24)}
    pl.DataFrame(films).write_csv(folder / "movie-overviews" / "tmdb_movies.csv")
    summaries = folder / "cmu-book-summaries" / "booksummaries.parquet"
    works = {"title": ["b"] * 24, "genres": [[genres[i % 4]] for i in range(24)], "summary": texts(24)}
    pl.DataFrame(works).write_parquet(summaries)
    for part in ("dev", "test"):
        news = {"label": [1 + i % 4 for i in range(20)], "content": texts(20)}
        pl.DataFrame(news).write_csv(folder / "ag-news" / f"{part}.csv")
    films_to_books = examples(folder, "domain=movie_to_book_genres")
    yield "movies.csv", Case(folder / "movie-overviews" / "tmdb_movies.csv", films_to_books)
    yield "summaries", Case(summaries, films_to_books)
    few = ("split=few_labels", "split.target_labels=2")
    yield "news.csv", Case(folder / "ag-news" / "dev.csv", examples(folder, "domain=news_to_books", *few))


def own(folder: Path) -> Iterator[tuple[str, Case]]:
    """Labelled examples of one's own, in every format."""
    x, labels = RNG.normal(size=(30, 3)).astype(np.float32), np.arange(30) % 2
    table = pl.DataFrame({"text": texts(30), "label": labels, "p": x[:, 0], "q": x[:, 1]})
    table.write_csv(folder / "a.csv")
    table.with_columns(vector=pl.Series(x.tolist())).write_parquet(folder / "a.parquet")
    np.savez(folder / "a.npz", x=x, y=labels)
    rows = [f"{y} " + " ".join(f"{j + 1}:{v:.3f}" for j, v in enumerate(of)) for y, of in zip(labels, x, strict=True)]
    (folder / "a.svmlight").write_text("\n".join(rows) + "\n")
    for i, label in enumerate(labels):
        (folder / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (5, 4, 3), np.uint8)).save(folder / "images" / str(label) / f"{i}.png")
    grey = RNG.integers(0, 255, (30, 5, 4), np.uint8)
    for part, values in (("images-idx3", grey), ("labels-idx1", labels.astype(np.uint8))):
        head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
        (folder / f"a-{part}-ubyte").write_bytes(head + values.tobytes())
    for name, path, *words in (
        ("texts", "a.csv"),
        ("numbers", "a.csv", "domain.features=vectors"),
        ("vectors.parquet", "a.parquet", "domain.features=vectors", "domain.target.x=vector"),
        ("own.npz", "a.npz"),
        ("own.svmlight", "a.svmlight"),
        ("own.png", "images"),
        ("own.idx", "a-images-idx3-ubyte"),
    ):
        given = ("domain=examples", f"domain.target={folder / path}", "domain.source=null", "split=labelled", *words)
        config: Any = compose([*given, "method=target_only", f"data_dir={folder}"])
        place = folder / "images" / "0" / "0.png" if path == "images" else folder / path
        yield f"own {name}", Case(place, lambda config=config: load_world(config).fingerprint)


def made(folder: Path) -> Iterator[tuple[str, Case]]:
    """Files that the framework wrote: caches, a featuriser, a checkpoint."""
    bert = folder / "bert"
    bert.mkdir()
    bert_folder(bert)
    known = [["a good book", "a dull film", "great plot"] * 5, ["poor story", "a great film"] * 5]
    config: Any = compose(["domain=movie_to_book_genres", "domain.features=encoded", f"domain.encoder={bert}"])
    domains = config.domain.model_copy(update={"tokenizer": str(bert), "length": 8})

    raws = [
        Raw(name, np.ones((len(of), 1)), ("c",), np.zeros(len(of), bool), texts=of)
        for name, of in zip("ts", known, strict=True)
    ]

    def counts() -> Any:
        plain = domains.model_copy(update={"features": "text"})
        return featurise(raws, [np.arange(6)] * 2, plain)[0]

    def vectors() -> Any:
        return encoded(raws, domains, lambda _, ids: ids.astype(np.float32) / 3)

    for name, read in (("counts", counts), ("tokens", lambda: tokenised(known, str(bert), 8)), ("vectors", vectors)):
        features = Path(os.environ["XDG_CACHE_HOME"]) / "transfer" / "features"
        before = set(features.glob("*"))
        read()
        path = sorted(set(features.glob("*-0.safetensors")) - before)[0]
        yield name, Case(path, read, checked=True, again=True)

    path = folder / "featuriser.safetensors"
    Featuriser("tfidf", ("texts",), ("a", "b"), np.ones(2, np.float32), np.zeros((2, 2)), np.ones((2, 2))).save(path)
    yield "featuriser", Case(path, lambda: vars(read_featuriser(path)), checked=True)
    state = folder / "checkpoint.safetensors"
    tree = {"done": {"a": RNG.normal(size=(3, 4))}, "state": np.arange(5)}
    trees.save_tree(state, tree, {"ids": ["x"], "stage": 0, "records": [[]]})
    yield "checkpoint", Case(state, lambda: (trees.load_tree(state, tree), trees.load_facts(state)), checked=True)


def others(folder: Path) -> Iterator[tuple[str, Case]]:
    """Weights and configurations that others wrote."""
    stored = tensors(resnet_body(*TINY), resnet50.torchvision)
    shards = folder / "shards"
    shards.mkdir()
    index = shards / "model.safetensors.index.json"
    save_file(dict(list(stored.items())[:9]), shards / "one.safetensors")
    save_file(dict(list(stored.items())[9:]), shards / "two.safetensors")
    parts = {key: "one.safetensors" if i < 9 else "two.safetensors" for i, key in enumerate(stored)}
    index.write_text(json.dumps({"weight_map": parts}))
    save_file(stored, folder / "w.safetensors")
    np.savez(folder / "w.npz", **stored)  # type: ignore[arg-type]
    for name, path, where in (
        ("safetensors", folder / "w.safetensors", folder / "w.safetensors"),
        ("npz", folder / "w.npz", folder / "w.npz"),
        ("shards", index, shards),
    ):
        given = settings("model=resnet50", f"model.weights={where}", *TINY)

        def resnet(given: Any = given, where: Path = where) -> Any:
            return weights.fingerprint(where), resnet50.read_weights(given, NOBODY)

        yield name, Case(path, resnet)
    pth = folder / "w.pth"
    pth.write_bytes(old({"a": tensor(), "b": tensor(shape=(4, 3), strides=(1, 4))}))
    yield "torch", Case(pth, lambda: weights.read(pth))
    bert = folder / "other"
    bert.mkdir()
    bert_folder(bert)
    assert json.loads((bert / "config.json").read_text()) == CONFIG

    given = settings("model=text_encoder", f"model.weights={bert}")

    def body() -> Any:
        return text_encoder._read(text_encoder.sizes_of(given), bert)

    yield "config.json", Case(bert / "config.json", body)
    yield "model.safetensors", Case(bert / "model.safetensors", body)
    config: Any = compose(["domain=movie_to_book_genres", "domain.features=tokens", f"domain.tokenizer={bert}"])
    yield (
        "tokenizer.json",
        Case(bert / "tokenizer.json", lambda: tokenised([["a good book"]], str(bert), config.domain.length)),
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        rooms = (ratings, sets, own, made, others)
        yield {name: case for of in rooms for name, case in of(tmp_path_factory.mktemp(of.__name__))}


def same(a: Any, b: Any) -> bool:
    return all(map(np.array_equal, *map(jax.tree.leaves, (a, b)))) and jax.tree.structure(a) == jax.tree.structure(b)


def attack(case: Case, name: str, count: int) -> list[str]:
    """Read `count` damaged copies; what went wrong, with the number of the mutation."""
    good, faults = case.path.read_bytes(), []
    wanted = case.read()
    for number in range(count):
        case.path.write_bytes(mutated(good, np.random.default_rng([zlib.crc32(name.encode()), number])))
        began = time.process_time()
        try:
            content = case.read()
            if case.checked and not same(content, wanted):
                faults.append(f"{name} {number}: other content, and nothing said")
        except TransferError as error:
            if "\n" in str(error) or case.again:
                faults.append(f"{name} {number}: {error}")
        except BaseException as error:  # panics of polars are no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            faults.append(f"{name} {number}: {type(error).__name__} {error}")
        if time.process_time() - began > LONGEST:
            faults.append(f"{name} {number}: {time.process_time() - began:.0f} s")
    case.path.write_bytes(good)
    assert same(case.read(), wanted), f"{name}: the whole file reads as before"
    return faults


def test_damaged_files_cost_one_line(cases: dict[str, Case], capfd: pytest.CaptureFixture[str]) -> None:
    faults = [fault for name, case in cases.items() for fault in attack(case, name, FEW)]
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_thousands_of_damaged_files_cost_one_line_each(cases: dict[str, Case]) -> None:
    count, faults, began = int(os.environ.get("FUZZ", "250")), list[str](), time.process_time()
    for name, case in cases.items():
        faults += attack(case, name, count)
        print(f"{name}: {count} files, {len(faults)} faults so far, {time.process_time() - began:.0f} s", flush=True)
    assert not faults, "\n".join(faults)

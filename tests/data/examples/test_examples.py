"""Worlds of labelled examples: splits, readers and features keep hidden what is hidden; every method runs where it may."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from transfer.api import compose
from transfer.config.domains import ExampleDomains
from transfer.config.schema import Config
from transfer.config.splits import ExampleSplit
from transfer.data.examples import load
from transfer.data.examples.featurise import FILE, featurise, read_featuriser
from transfer.data.examples.label_split import few, share, source_rows, target_rows
from transfer.data.examples.msda import stacked
from transfer.data.examples.sets import amazon_reviews
from transfer.data.examples.sets.raw import Raw
from transfer.data.examples.world import Inputs, LoadedExamples
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task, load_world, replicas_of
from transfer.experiment.checks import check_settings
from transfer.experiment.run import load_run, run_batch
from transfer.program import Program, Solve
from transfer.registry import find, names
from transfer.report.comparison.compare import compare
from transfer.report.comparison.runs import read_runs
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages

METHODS = [name for name in names("methods") if "classification" in find("methods", name).NEEDS.tasks]
QUICK = ("train.epochs=1", "train.evaluate_every=1", "train.batch_size=32", "train.progress=false")
NAMES = {"texts": "texts", "images": "arrays"}  # what a predictor calls what a reader calls
WORDS = ["ship", "star", "robot", "sword", "ghost", "love", "war", "king", "clue", "laugh", "child", "gun"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny files in the formats of movie_to_book_genres, news_to_books and amazon_reviews."""
    place = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    for name in ("movie-overviews", "cmu-book-summaries", "ag-news", "amazon-reviews"):
        (place / name).mkdir()

    def text(topics: list[int]) -> str:
        return " ".join(rng.choice(WORDS, 6)) + " " + " ".join(WORDS[t] for t in topics for _ in range(3))

    pairs = [(i % 4, (i // 4) % 4) for i in range(80)]
    movie, book = ("Science Fiction", "Fantasy", "Family", "Mystery"), ("Science Fiction", "Fantasy", "Novel", "Mystery")
    films = {"title": ["t"] * 80, "genres": ["|".join(movie[t] for t in pair) for pair in pairs]}
    pl.DataFrame({**films, "overview": [text(list(pair)) for pair in pairs]}).write_csv(
        place / "movie-overviews" / "tmdb_movies.csv"
    )
    books = {"title": ["b"] * 80, "genres": [[book[t] for t in pair] for pair in pairs]}
    pl.DataFrame({**books, "summary": [text(list(pair)) for pair in pairs]}).write_parquet(
        place / "cmu-book-summaries" / "booksummaries.parquet"
    )
    for part in ("dev", "test"):
        news = {"label": [1 + i % 4 for i in range(40)], "content": [text([i % 4]) for i in range(40)]}
        pl.DataFrame(news).write_csv(place / "ag-news" / f"{part}.csv")
    for name in ("books", "dvd", "kitchen"):
        for part in ("train", "test"):
            lines = [f"{i % 2} " + " ".join(f"{k}:{1 + k % 3}" for k in range(i % 2, 9, 2 + i % 3)) for i in range(40)]
            (place / "amazon-reviews" / f"{name}_{part}.svmlight").write_text("\n".join(lines) + "\n")
    return place


labels = st.integers(2, 5).flatmap(lambda c: st.lists(st.integers(0, c - 1), min_size=12, max_size=60))


@given(labels, st.integers(0, 3), st.floats(0, 0.9), st.integers(0, 4), st.booleans(), st.booleans())
def test_every_row_has_one_use_and_test_rows_are_never_labelled(
    of: list[int], seed: int, stop: float, known: int, transductive: bool, own_test: bool
) -> None:
    y = np.eye(max(of) + 1, dtype=np.float32)[of]
    facts = {"name": "examples", "seed": 0, "stop": stop, "test": 0.5, "transductive": transductive, "valid": 0.2}
    how = ExampleSplit.model_validate({**facts, "target_labels": 0 if known < 2 else known})
    raw = Raw("d", y, tuple("abcde"), np.arange(len(y)) % 3 == 0 if own_test else np.zeros(len(y), bool))
    source = source_rows(raw, how, np.random.default_rng(seed))
    assert sorted([*source.train, *source.stop]) == sorted(np.flatnonzero(~raw.hidden))
    target = target_rows(raw, how, np.random.default_rng(seed))
    parts = [set(part) for part in (target.train, target.stop, target.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert parts[0] <= set(target.unlabelled)
    assert not parts[1] & set(target.unlabelled), "what selects is not learnt from, not even without its labels"
    assert bool(parts[2] & set(target.unlabelled)) == (transductive and bool(parts[2]))
    if own_test:
        assert parts[2] == set(np.flatnonzero(raw.hidden))
    if known >= 2:
        assert all(y[target.train][:, c].sum() + y[target.stop][:, c].sum() <= known for c in range(y.shape[1]))


@pytest.mark.parametrize("known", [6, "all"])
def test_every_fold_of_labels_selects_by_a_part_of_its_own(known: int | str) -> None:
    y = np.eye(3, dtype=np.float32)[np.arange(64) % 3]
    raw = Raw("d", y, tuple("abc"), np.zeros(64, bool))
    facts = {"name": "examples", "seed": 0, "stop": 0.1, "test": 0.5, "transductive": False, "valid": 0.2}

    def rows(**folds: float) -> Any:
        how = ExampleSplit.model_validate({**facts, "target_labels": known, **folds})
        return target_rows(raw, how, np.random.default_rng(0))

    alone, parts = rows(), [rows(folds=3, fold=fold) for fold in range(3)]
    labelled = {*alone.train, *alone.stop}
    selecting = [i for part in parts for i in part.stop]
    assert len(set(selecting)) == len(selecting)
    left = y[sorted(labelled - set(selecting))].sum(axis=0)
    assert max(left) <= (2 if known == "all" else 0), "fewer of a class than there are folds"
    assert len({(len(part.train), len(part.stop), len(part.unlabelled)) for part in parts}) == 1, "one shape"
    for part in parts:
        assert list(part.test) == list(alone.test)
        assert {*part.train, *part.stop} == labelled
        sizes = y[part.stop].sum(axis=0)
        assert max(sizes) - min(sizes) <= 1, "of every class as many"
    again = [set(rows(folds=3, fold=fold).stop) for fold in range(3, 6)]
    assert all(set(part.stop) not in again for part in parts), "another division"
    assert again[0] == set(rows(folds=3, fold=3).stop), "the same each time"
    assert sum(map(len, again)) == len(set.union(*again)) == len(selecting)
    assert set.union(*again) <= labelled
    whole = rows(valid=0)
    assert not len(whole.stop)
    np.testing.assert_array_equal(whole.test, alone.test)
    assert set(whole.train) == set(alone.train) | set(alone.stop)
    with pytest.raises(TransferError, match=r"split\.folds=70 needs that many labelled target examples of each class"):
        rows(folds=70, fold=0)


def test_few_takes_a_union_of_classes_and_share_the_same_part_of_each() -> None:
    y = np.array([[1, 1], [1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    assert list(few(y, np.array([4, 3, 2, 1, 0]), 1)) == [4, 3]
    assert list(few(y, np.arange(5), 1)) == [0]
    y = np.eye(2, dtype=np.float32)[[0] * 10 + [1] * 20]
    taken = share(y, np.arange(30), 0.3)
    assert [int(y[taken][:, c].sum()) for c in (0, 1)] == [3, 6]


def test_features_are_fitted_on_training_rows_only() -> None:
    config = compose(["domain=movie_to_book_genres", "domain.words=3"]).domain
    assert isinstance(config, ExampleDomains)
    y, hidden = np.ones((4, 1), np.float32), np.zeros(4, bool)
    texts = ["apple apple", "pear", "apple plum", "quince quince quince quince"]
    raws = [Raw(name, y, ("c",), hidden, texts=texts) for name in "ts"]
    rows = np.arange(3)
    xs, made = featurise(raws, [rows, rows], config)
    assert xs[0].shape == (4, 3)
    peer = TfidfVectorizer(max_features=3, sublinear_tf=True).fit([texts[i] for i in rows] * 2)
    np.testing.assert_allclose(xs[0], peer.transform(texts).toarray(), atol=1e-6)
    assert made.words == tuple(peer.get_feature_names_out())
    assert np.all(xs[0][3] == 0), "a word of hidden rows alone is unknown"
    np.testing.assert_allclose(np.linalg.norm(xs[0][:3], axis=1), 1, rtol=1e-5)
    arrays = np.random.default_rng(0).normal(3, 2, (4, 5)).astype(np.float32)
    arrays[3] = 1e6
    raws = [Raw(name, y, ("c",), hidden, arrays=arrays) for name in "ts"]
    xs, _ = featurise(raws, [rows, rows], config.model_copy(update={"standardise": "domain"}))
    np.testing.assert_allclose([xs[0][:3].mean(), xs[0][:3].std()], [0, 1], atol=1e-5)


@pytest.mark.parametrize("split", ["examples", "transductive", "few_labels"])
def test_labels_that_count_as_hidden_do_not_reach_the_fit(monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    """Target labels are corrupted once the split is drawn: all that a fit sees is bit-identical, the test figure is not."""
    config = check_settings(compose(["domain=digits_shift", f"split={split}", "method=coral", *QUICK]))
    original, programs = load.build_examples, {}  # type: ignore[var-annotated]

    def corrupted(names: Any, xs: Any, ys: Any, rows: Any, *rest: Any) -> LoadedExamples:
        shuffled = ys[0].copy()
        free = np.setdiff1d(np.arange(len(shuffled)), np.union1d(rows[0].train, rows[0].stop))
        shuffled[free] = np.roll(shuffled[free], 1, axis=1)
        return original(names, xs, [shuffled, *ys[1:]], rows, *rest)

    def fitted() -> tuple[Any, Any, float]:
        assert isinstance(config.domain, ExampleDomains)
        assert isinstance(config.split, ExampleSplit)
        world = load.load_examples(config.domain, config.split, Path(), find("domains", config.domain.reader)).world
        task = build_task(config, world)
        program, replicas = build_program(config, world, task), replicas_of([config])
        job = Job(task, world, "", replicas, ["x"], [config.seed], config.train, Compiler("map", {}, programs))
        done, _ = run_stages(program, job)
        one = jax.tree.map(lambda leaf: leaf[0], done)
        score = task.evaluate(program.scores(world, one, {}), world.test)["accuracy"]
        return replace(world, test=world.valid), done, float(score)

    clean = fitted()
    monkeypatch.setattr(load, "build_examples", corrupted)
    dirty = fitted()
    for a, b in zip(jax.tree.leaves(clean[:2]), jax.tree.leaves(dirty[:2]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert clean[2] > dirty[2] + 0.2


def refusal(*overrides: str) -> str:
    with pytest.raises(TransferError) as caught:
        run_batch([compose([*overrides, *QUICK])])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("domain=digits_shift method=coral domain.target=plain", "name each domain once"),
        ("domain=digits_shift method=coral domain.target=upside", "domain.target=upside: digits_shift has plain, rotated"),
        ("domain=digits_shift method=coral domain.features=sound", "domain.features=sound: digits_shift has pixels"),
        (
            "domain=office_caltech method=coral data_dir=/nowhere",
            "no such file; domain=office_caltech is read from data_dir",
        ),
        ("domain=digits_shift task=ranking method=popularity", "does not go with domain=digits_shift, which has labelled"),
        ("domain=simulated task=classification", "does not go with domain=simulated, which has interactions"),
        ("domain=digits_shift split=ratio method=coral", "split=ratio does not go with domain=digits_shift"),
        ("domain=digits_shift method=target_only", "needs labelled target examples; set split.target_labels=5"),
        ("domain=digits_shift method=linear_map", "needs labelled target examples"),
        ("domain=digits_shift method=mmd model=softmax", "model=softmax has none; choose model=mlp"),
        (
            "domain=digits_shift method=source_only model=mf",
            "models that do: cnn, efficientnet_lite, mlp, resnet50, softmax",
        ),
        ("domain=digits_shift method=ease", "methods that do: adabn, adda, cdan, coral"),
        ("domain=digits_shift method=gfk method.dim=60", "method.dim=60: here it must be from 1 to 32"),
        ("domain=digits_shift method=coral split.target_labels=1", "2 or more per class"),
        ("domain=digits_shift method=source_only split.stop=0", "no validation"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(overrides: str, said: str) -> None:
    assert said in refusal(*overrides.split())


def test_a_faulty_label_is_named(folder: Path) -> None:
    path = folder / "amazon-reviews" / "kitchen_train.svmlight"
    good = path.read_text()
    path.write_text(good.replace("\n1 ", "\n7 ", 1))
    try:
        said = refusal("domain=amazon_reviews", "domain.source=kitchen", "method=coral", f"data_dir={folder}")
        assert "labels must be whole numbers from 0 to 1; found 0.0 to 7.0" in said
    finally:
        path.write_text(good)


def test_autoencoders_are_stacked_on_the_word_counts_of_the_split_files(folder: Path) -> None:
    words = ["domain=amazon_reviews", "domain.source=kitchen", "domain.weighting=counts", f"data_dir={folder}"]
    plain, msda = (
        load_world(compose([*words, "method=coral", f"domain.features={features}", "domain.layers=1"])).world
        for features in ("svmlight", "msda")
    )
    assert msda.unlabelled.shape == (40, 10_000)
    np.testing.assert_array_equal(msda.unlabelled[:, :5000], plain.unlabelled)


def test_draws_of_a_pair_share_their_autoencoders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        "transfer.data.examples.featurise.stacked", lambda *words: calls.append(words[1]) or stacked(*words)
    )
    load._denoised.cache_clear()
    words = ["domain=amazon_reviews", "domain.source=kitchen", "domain.weighting=counts", f"data_dir={folder}"]
    words += ["method=coral", "domain.features=msda", "domain.layers=1"]
    first, second = (load_world(compose([*words, f"split.seed={seed}"])).world for seed in (0, 1))
    assert len(calls) == 1
    assert [len(fit) for fit in calls[0]] == [40, 40]  # of the source all, of the target what is no test
    assert not np.array_equal(first.sources[0].train.x, second.sources[0].train.x)
    rows = [{row.tobytes() for row in np.asarray(world.sources[0].train.x)} for world in (first, second)]
    assert rows[0] & rows[1]


def test_a_source_has_no_test_examples_and_keeps_the_others_in_order(folder: Path) -> None:
    config = compose(["domain=amazon_reviews", "domain.source=kitchen", "method=coral", f"data_dir={folder}"])
    books, kitchen = load.read_examples(config.domain, folder, amazon_reviews)
    alone = load.read_examples(
        config.domain.model_copy(update={"target": "kitchen", "source": ("books",)}), folder, amazon_reviews
    )[0]
    assert (len(books.y), int(books.hidden.sum())) == (80, 40)
    assert (len(kitchen.y), kitchen.hidden.any()) == (40, False)
    np.testing.assert_array_equal(kitchen.y, alone.y[~alone.hidden])
    np.testing.assert_array_equal(kitchen.counts.toarray(), alone.counts.toarray()[~alone.hidden])


def composed(method: str, domain: str, folder: Path) -> Config:
    split = "few_labels" if find("methods", method).NEEDS.target_labels or domain != "digits_shift" else "examples"
    extra = ["method.dim=4"] if method in ("gfk", "subspace_alignment", "tca") else []
    model = ["model=mlp"] if method == "finetune" else []
    model += ["model.dim=8"] if find("methods", method).NEEDS.representation else []
    numbers = ["split.target_labels=4", "domain.words=20"] if "words" in domain or domain != "digits_shift" else []
    words = [
        f"domain={domain}",
        f"method={method}",
        f"split={split}",
        *model,
        f"data_dir={folder}",
        *QUICK,
        *extra,
        *numbers,
    ]
    return check_settings(compose(words))


@pytest.mark.parametrize("domain", ["digits_shift", "movie_to_book_genres", "news_to_books"])
@pytest.mark.parametrize("method", METHODS)
def test_every_legal_combination_takes_a_step_and_the_others_are_refused(method: str, domain: str, folder: Path) -> None:
    config = composed(method, domain, folder)
    loaded = load_world(config)
    assert isinstance(loaded, LoadedExamples)
    task = build_task(config, loaded.world)
    if domain == "news_to_books" and find("methods", method).NEEDS.same_labels:
        with pytest.raises(TransferError, match=r"needs the same classes in source and target.*use finetune, target_only"):
            build_program(config, loaded.world, task)
        return
    program = build_program(config, loaded.world, task)
    for logits in jax.jit(stepped, static_argnums=0)(program, loaded.world, replicas_of([config])):
        assert logits.shape == (2, loaded.world.n_classes)
        assert np.isfinite(logits).all()


def stepped(program: Program, world: Any, replicas: Any) -> list[jax.Array]:
    """The stages after each other, gradient fits for one step: logits of a few examples, by each fit and in the end."""
    key, hp = replicas.keys[0], {name: value[0] for name, value in replicas.hp.items()}
    done: dict[str, Any] = {}
    said = []
    for stage in program.stages:
        if isinstance(stage, Solve):
            done[stage.name] = stage.solve(world, done, hp, key)
            continue
        params, batch = stage.init(world, done, key), stage.batch(world, done, key)
        slope = jax.grad(stage.loss)(params, done, batch, hp, key, jnp.float32(0.5))
        done[stage.name] = jax.tree.map(lambda value, by: value - 0.01 * by, params, slope)
        said.append(stage.scores(world, done, hp)(first(stage.heldout(world))))
    return [*(one for one in said if one.shape[1] == world.n_classes), program.scores(world, done, hp)(first(world.test))]


def first(hidden: Any) -> Inputs:
    return Inputs(hidden.inputs.x[0][:2], hidden.inputs.domain[0][:2])


def test_a_run_leaves_distances_protocol_and_a_predictor(folder: Path, tmp_path: Path) -> None:
    words = ["domain=amazon_reviews", "domain.source=[dvd,kitchen]", f"data_dir={folder}", "method=coral", *QUICK]
    (result,) = run_batch([compose(words)], [tmp_path / "run"])
    assert result.status == "done"
    assert set(result.facts["distance"]) == {"before", "after"}
    (tuned,) = run_batch([compose([*words, "test=false"])])
    assert "distance" not in tuned.facts, "while one tunes nobody looks at it"
    assert tuned.facts["selectors"].keys() == result.facts["selectors"].keys()
    assert result.facts["protocol"]["selected_on"] == "sources"
    assert result.facts["world"]["target"]["test"] == 40
    assert [source["name"] for source in result.facts["world"]["sources"]] == ["dvd", "kitchen"]
    shares = result.parameters["mix"]["shares"]
    assert shares.shape == (2,)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    again = load_run(tmp_path / "run").predictor
    x = np.asarray(result.predictor.loaded.world.test.inputs.x[0][:7])
    np.testing.assert_array_equal(again.probabilities(x), result.predictor.probabilities(x))
    assert set(again.classify(x)) <= {"negative", "positive"}
    with pytest.raises(TransferError, match="inputs of shape"):
        again.probabilities(x[:, :3])
    assert isinstance(result.config.domain, ExampleDomains)
    books = load.read_examples(result.config.domain, folder, amazon_reviews)[0]
    counts = books.counts[np.asarray(result.predictor.loaded.world.tested)[:7]]
    np.testing.assert_array_equal(again.probabilities(counts=counts), again.probabilities(x))
    assert again.classify(counts=counts) == again.classify(x)


@pytest.mark.parametrize("reads", [("texts",), ("images",), ("texts", "images")], ids=" ".join)
def test_a_stored_featuriser_makes_the_same_features_of_raw_examples(reads: tuple[str, ...], tmp_path: Path) -> None:
    config = compose(["domain=movie_to_book_genres", "domain.words=9", "domain.standardise=domain"]).domain
    assert isinstance(config, ExampleDomains)
    rng, y, hidden = np.random.default_rng(0), np.ones((6, 1), np.float32), np.zeros(6, bool)
    texts = [[" ".join(rng.choice(WORDS, 5)) for _ in range(6)] for _ in "ts"]
    images = [rng.random((6, 4, 4, 1), np.float32) for _ in "ts"]
    given = {"texts": texts, "images": images}
    raws = [
        Raw(name, y, ("c",), hidden, **{key: given[name][i] for name, key in NAMES.items() if name in reads})  # type: ignore[arg-type]
        for i, name in enumerate("ts")
    ]
    xs, made = featurise(raws, [np.arange(5)] * 2, config)
    made.save(tmp_path / FILE)
    again = read_featuriser(tmp_path / FILE)
    np.testing.assert_array_equal(again(**{name: given[name][0] for name in reads}), xs[0])  # type: ignore[arg-type]
    named = [r"images \(or vectors\)=..." if name == "images" else f"{name}=..." for name in reads]
    with pytest.raises(TransferError, match=" and ".join(named) + ", as its domain's reader has"):
        again(counts=xs[0])


def test_a_closed_form_without_a_solution_has_diverged() -> None:
    words = ["domain=digits_shift", "method=source_only", "method.classifier=ridge", *QUICK]
    for l2, status in ((0.0, "diverged"), (0.1, "done")):
        (result,) = run_batch([compose([*words, f"hp.l2={l2}"])])
        assert result.status == status
        assert bool(result.metrics["test"]) == (status == "done")


def test_a_sweep_compares_methods_example_by_example(command: Command, tmp_path: Path) -> None:
    """Rows name the test examples of every split; the page counts examples, not users; stages are shared as elsewhere."""
    quick = ["train.epochs=2", "train.evaluate_every=1", "train.batch_size=32"]
    words = ["domain=digits_shift", "split=few_labels", "method=target_only,finetune", "model=mlp", "model.dim=4", *quick]
    said = command("-m", *words, "split.seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert said.code == 0, said.err
    folders = [tmp_path / "sweep" / str(number) for number in range(4)]
    tables = [pl.read_parquet(place / "per_user.parquet") for place in folders]
    for place, table in zip(folders, tables, strict=True):
        facts = json.loads((place / "result.json").read_text())
        assert facts["world"]["target"]["test"] == len(table) == table["user"].n_unique()
        assert table["accuracy"].mean() == pytest.approx(facts["metrics"]["test"]["accuracy"], abs=1e-6)
        assert table["log_loss"].mean() == pytest.approx(facts["metrics"]["test"]["log_loss"], rel=1e-4)
    assert tables[0]["user"].equals(tables[2]["user"]), "both methods are tested on the same examples"
    assert not tables[0]["user"].equals(tables[1]["user"]), "another split tests others"
    found = compare(read_runs(tmp_path / "sweep"))[0]
    gap = found.gap("finetune")
    assert gap
    assert (gap.basis, gap.size, gap.group) == ("examples", len(tables[0]) + len(tables[1]), "all")
    page = (tmp_path / "sweep" / "index.html").read_text()
    assert "examples × splits" in page
    assert "seen unlabelled" in page
    assert "cold users" not in page


def test_planted_digits_differ_by_the_shift_alone() -> None:
    from transfer.data.examples.sets.digits_shift import DOMAINS, read, shifted

    images = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    for name in DOMAINS:
        np.testing.assert_allclose(shifted(name, images, 0.0), images, atol=1e-6)
        assert name == "plain" or np.abs(shifted(name, images, 1.0) - images).max() > 0.2
    settings = compose(["domain=digits_shift", "domain.strength=0"]).domain
    raws = [read(name, settings, Path()) for name in DOMAINS]  # type: ignore[arg-type]
    seen = np.concatenate([raw.arrays.reshape(len(raw.y), -1) for raw in raws])  # type: ignore[union-attr]
    assert len(seen) == 1797


def test_blended_digits_are_the_difference_to_a_ground_that_a_seed_draws(tmp_path: Path) -> None:
    from transfer.data.examples.sets.digits_colour import grounds, read

    rng = np.random.default_rng(0)
    (tmp_path / "digits").mkdir()
    images, labels = rng.integers(0, 256, (4000, 28, 28), np.uint8), rng.integers(0, 10, 4000, np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (tmp_path / "digits" / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))
    plain, blended, bare = (
        read(name, compose(["domain=digits_colour", f"domain.strength={by}"]).domain, tmp_path)  # type: ignore[arg-type]
        for name, by in (("plain", 1.0), ("blended", 1.0), ("blended", 0.0))
    )
    assert plain.arrays is not None
    assert blended.arrays is not None
    assert bare.arrays is not None
    np.testing.assert_allclose(plain.arrays[7, 3, 5], np.full(3, images[7, 6:8, 10:12].mean() / 255), rtol=1e-5)
    np.testing.assert_allclose(bare.arrays[7, 3, 5], np.full(3, images[2007, 6:8, 10:12].mean() / 255), rtol=1e-5)
    ground = grounds(2000, 14)
    np.testing.assert_allclose(blended.arrays, np.abs(ground - bare.arrays), atol=1e-6)
    assert ground.min() >= 0
    assert ground.max() <= 1
    assert ground.std(axis=3).mean() > 0.1, "colours"
    assert ground.std(axis=0).mean() > 0.1, "every digit its own"
    assert np.abs(np.diff(ground, axis=1)).max() < 0.4, "smooth"
    np.testing.assert_array_equal(blended.y.argmax(1), labels[2000:])
    (tmp_path / "digits" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"no digits"))
    with pytest.raises(TransferError, match="not an idx file"):
        read("plain", compose(["domain=digits_colour"]).domain, tmp_path)  # type: ignore[arg-type]

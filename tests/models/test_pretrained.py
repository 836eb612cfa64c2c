"""Runs that begin with given weights: they start there, what is to stay stays, and tokens reach the network as they are."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from pretrained import TINY, WORDS, bert_folder, resnet_body, tensors
from safetensors.numpy import save_file

from transfer.api import compose
from transfer.data import load
from transfer.data.examples import tokens
from transfer.data.examples.sets import amazon_reviews
from transfer.errors import TransferError
from transfer.experiment import load_run, run_batch
from transfer.experiment.build import build_program, build_task, load_world, with_weights
from transfer.experiment.checks import check_settings
from transfer.models import resnet50, text_encoder

QUICK = ("train.epochs=2", "train.evaluate_every=2", "train.batch_size=32", "train.progress=false", "hp.learning_rate=0.01")
STATISTICS = ("mean", "var")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small ResNet in torchvision's names."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(tensors(resnet_body(*TINY), resnet50.torchvision), path)
    return path


def stages(file: Path, *words: str) -> tuple[Any, Any, Any]:
    """The stages of fine-tuning given weights on digits, their world, and the configuration."""
    how = ("domain=digits_shift", "domain.target=inverted", "split=few_labels", "split.target_labels=5", *QUICK)
    weights = ("method=finetune", "method.strategy=full", "model=resnet50", f"model.weights={file}", *TINY)
    config = check_settings(compose([*how, *weights, *words]))
    loaded, _ = with_weights(config, load_world(config))
    return build_program(config, loaded.world, build_task(config, loaded.world)).stages, loaded.world, config


def equal(a: Any, b: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_a_run_begins_at_the_given_weights_and_trains_all_but_statistics(file: Path, tmp_path: Path) -> None:
    given, (fits, world, _) = resnet_body(*TINY), stages(file)
    assert equal(fits[0].init(world, {}, jax.random.key(0))["body"], given)
    alone = ("domain=digits_shift", "split=few_labels", "model=resnet50", f"model.weights={file}", *TINY, *QUICK)
    result = run_batch([compose([*alone, "method=target_only"])], [tmp_path])[0]
    assert len(result.facts["weights"]) == 16
    for keys, leaf in jax.tree_util.tree_leaves_with_path(result.parameters["target"]["body"]):
        start = given
        for key in keys:
            start = start[key.key]
        assert (np.abs(leaf - start).max() > 1e-4) == (keys[-1].key not in STATISTICS), jax.tree_util.keystr(keys)


@pytest.mark.parametrize("strategy", ["probe", "lora"])
def test_given_weights_are_tuned_without_a_source(file: Path, strategy: str) -> None:
    """What was given stays bit-identical; a head, or what is added, learns beside it."""
    alone = ("domain=digits_shift", "split=few_labels", "model=resnet50", f"model.weights={file}", *TINY, *QUICK)
    result = run_batch([compose([*alone, "method=target_only", f"method.strategy={strategy}", "method.rank=2"])])[0]
    params = result.parameters["target"]
    assert equal(params["body"]["carried"] if strategy == "lora" else params["body"], resnet_body(*TINY))
    assert np.abs(params["head"]["kernel"]).max() > 0
    if strategy == "lora":
        assert np.abs(params["body"]["added"]["stage2"]["block0"]["conv2"]["kernel"]["b"]).max() > 0


def test_a_strategy_without_a_source_is_that_of_finetune(file: Path) -> None:
    """A probe, then all from there; and without weights there is nothing to tune."""
    fits, world, _ = stages(file, "method=target_only", "method.strategy=lp_ft", "method.decay=0.5")
    assert [fit.name for fit in fits] == ["probe", "target"]
    begun = fits[0].init(world, {}, jax.random.key(0))
    assert equal(begun["body"], world.pretrained)
    after = {**begun, "head": {"bias": jnp.ones(10), "kernel": jnp.ones((128, 10))}}
    assert equal(fits[1].init(world, {"probe": after}, jax.random.key(1)), after)
    frozen, free = (fit.rates(begun) for fit in fits)
    assert {rate.factor for rate in jax.tree.leaves(frozen["body"])} == {0}
    assert free["body"]["stage4"]["block0"]["conv1"]["kernel"].factor == 0.5
    assert free["body"]["stage3"]["block0"]["conv1"]["kernel"].factor == 0.25
    with pytest.raises(
        TransferError, match=r"strategy=gradual tunes given weights, and there are none; write model\.weights"
    ):
        run_batch([compose(["domain=digits_shift", "split=few_labels", "method=target_only", "method.strategy=gradual"])])


def test_frozen_normalisation_does_not_train_and_kernels_do(file: Path) -> None:
    """A factor of 0 leaves a parameter bit-identical, which the tests of strategies show."""
    for norm, still in (("kept", STATISTICS), ("frozen", (*STATISTICS, "scale", "bias"))):
        fits, world, _ = stages(file, f"model.batch_norm={norm}")
        for fit in fits:
            params = {"body": world.pretrained, "head": {"bias": jnp.zeros(10), "kernel": jnp.zeros((128, 10))}}
            rates = fit.rates(params)
            for keys, rate in jax.tree_util.tree_leaves_with_path(rates["body"]):
                assert (rate.factor == 0) == (keys[-1].key in still), f"{norm} {jax.tree_util.keystr(keys)}"
            assert rates["head"]["bias"].factor == 1


def test_adapted_statistics_are_those_of_the_images_of_each_domain(file: Path) -> None:
    """The stem's, by NumPy: moments of the convolution of all visible images, in the target beyond the labelled ones."""
    given, (fits, world, _) = resnet_body(*TINY), stages(file, "model.batch_norm=adapted")
    source = jax.jit(fits[0].init)(world, {}, jax.random.key(0))
    target = jax.jit(fits[1].init)(world, {"source": source}, jax.random.key(0))
    for params, x in ((source, world.sources[0].train.x), (target, world.unlabelled)):
        x = np.asarray(x)[: len(x) // 64 * 64]
        assert len(x) >= 128, "more than one batch"
        pixels = (x.repeat(3, axis=3) - np.array(resnet50.MEAN)) / np.array(resnet50.STD)
        padded = np.pad(pixels, ((0, 0), (3, 3), (3, 3), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), (1, 2))[:, ::2, ::2]
        y = np.einsum("nhwcij,ijco->nhwo", windows, given["stem"]["kernel"]).reshape(-1, 64 * 16, 4)
        stem = params["body"]["stem"]["norm"]
        np.testing.assert_allclose(stem["mean"], y.mean((0, 1)), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(stem["var"], y.var(1).mean(0), rtol=1e-3)
        assert equal({**stem, "mean": 0, "var": 0}, {**given["stem"]["norm"], "mean": 0, "var": 0}), "nothing else is new"
    apart = source["body"]["stem"]["norm"]["mean"] - target["body"]["stem"]["norm"]["mean"]
    assert np.abs(apart).max() > 0.1, "each domain has its own"


def test_a_network_whose_statistics_are_its_images_gives_standardised_outputs() -> None:
    """With adapted statistics every normalisation's output has mean bias and deviation scale, whatever the weights."""
    body = jax.tree.map(jnp.asarray, resnet_body(*TINY))
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(64, 8, 8, 3)), jnp.float32)
    adapted = jax.jit(resnet50.adapt)(body, x)
    own, _ = jax.jit(partial(resnet50._forward, own=True))(body, x)
    features = jax.jit(resnet50.features)
    np.testing.assert_allclose(features(adapted, x), own, rtol=1e-3, atol=1e-4)
    assert np.abs(np.asarray(features(body, x) - own)).max() > 0.1


def test_fresh_blocks_are_identities_and_the_note_says_that_weights_are_random(capsys: pytest.CaptureFixture[str]) -> None:
    config = check_settings(compose(["domain=digits_shift", "model=resnet50", *TINY]))
    loaded, weights = with_weights(config, load_world(config))
    assert (loaded.world.pretrained, weights) == (None, "")
    assert "its weights are random" in capsys.readouterr().err
    body = jax.jit(lambda key: resnet50.build(config.model).body(key, (8, 8, 1), None))(jax.random.key(0))
    last = body["stage2"]["block1"]["conv3"]
    assert np.all(np.asarray(last["norm"]["scale"]) == 0)
    kernel = np.asarray(body["stage4"]["block0"]["conv2"]["kernel"])
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * kernel.shape[3])), rtol=0.05)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with tiny reviews of two domains, and a tiny encoder beside them."""
    place = tmp_path_factory.mktemp("reviews")
    (place / "amazon-reviews").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for domain, thing in (("dvd", "film"), ("books", "book")):
        for i in range(60):
            said = rng.choice(WORDS[5:7] if i % 2 else WORDS[6:9], 2)
            rows.append({"domain": domain, "label": i % 2, "title": None, "text": f"A {thing} {' '.join(said)} story"})
    pl.DataFrame(rows).write_parquet(place / "amazon-reviews" / "reviews.parquet")
    bert_folder(place / "tiny")
    return place


def words(reviews: Path, *more: str) -> list[str]:
    of = ["domain=amazon_reviews", "domain.features=tokens", "domain.tokenizer=tiny", "domain.length=10"]
    return [*of, f"data_dir={reviews}", "split=few_labels", "model=text_encoder", "model.weights=tiny", *QUICK, *more]


def test_tokens_are_those_of_the_texts_and_are_kept(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(words(reviews))
    assert config.model.weights == config.domain.tokenizer == str(reviews / "tiny"), "found in data_dir"  # type: ignore[union-attr]
    loaded = load_world(config)
    x = np.asarray(loaded.world.unlabelled)
    assert x.dtype == np.int32
    text = [WORDS[token] for token in x[0]]
    assert text[0] == "[CLS]"
    assert text[1:3] == ["a", "book"]
    assert text[5:] == ["story", "[SEP]", "[PAD]", "[PAD]", "[PAD]"]
    texts = [["a book", "A dull PLOT of a strange film, story and story and story"]]
    folder = str(reviews / "tiny")
    first = tokens.tokenised(texts, folder, config.domain.length)  # type: ignore[union-attr]
    assert [WORDS[i] for i in first[0][1]][-1] == "[SEP]", "cut to the length, with the closing token"
    monkeypatch.setattr(tokens, "_tokenizer", None)
    np.testing.assert_array_equal(tokens.tokenised(texts, folder, config.domain.length)[0], first[0])  # type: ignore[union-attr]
    with pytest.raises(TypeError):  # another length is not in the cache
        tokens.tokenised(texts, folder, 9)


def test_padding_changes_nothing(reviews: Path) -> None:
    config = check_settings(compose(words(reviews)))
    loaded, _ = with_weights(config, load_world(config))
    features = jax.jit(text_encoder.build(config.model).features)
    x = np.asarray(loaded.world.unlabelled[:4])
    long, short = features(loaded.world.pretrained, x), features(loaded.world.pretrained, x[:, :7])
    np.testing.assert_allclose(long, short, rtol=1e-4, atol=1e-5)
    swapped = x.copy()
    swapped[:, [2, 3]] = x[:, [3, 2]]
    assert np.abs(np.asarray(features(loaded.world.pretrained, swapped) - long)).max() > 1e-3, "the order of words counts"


def test_an_encoder_is_tuned_by_low_rank_factors(reviews: Path, tmp_path: Path) -> None:
    """The run has no distance of raw tokens, leaves the source's encoder as it is and is found again from its folder."""
    how = ("domain.source=dvd", "method=finetune", "method.strategy=lora", "method.rank=2")
    result = run_batch([compose(words(reviews, *how))], [tmp_path])[0]
    source, target = (result.parameters[stage]["body"] for stage in ("source", "target"))
    assert result.status == "done"
    assert "before" not in result.facts["distance"]
    assert equal(source, target["carried"])
    assert np.abs(target["added"]["layer0"]["query"]["kernel"]["b"]).max() > 0, "factors have trained"
    assert (
        np.abs(
            source["layer0"]["query"]["kernel"] - result.predictor.loaded.world.pretrained["layer0"]["query"]["kernel"]
        ).max()
        > 0
    )  # type: ignore[union-attr]
    x = np.asarray(result.predictor.loaded.world.unlabelled[:5])  # type: ignore[union-attr]
    again = load_run(tmp_path).predictor
    np.testing.assert_allclose(again.probabilities(x), result.predictor.probabilities(x), rtol=1e-5)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("model=softmax",), "model=text_encoder"),
        (("model=mlp", "method=deep_coral"), "model=text_encoder"),
        (("method=coral",), "takes for measurements"),
        (("domain.features=text",), "reads tokens; write domain.features=tokens"),
        (("domain.length=13",), "at most 12 tokens"),
        (("domain.tokenizer=none",), "domain.tokenizer=FOLDER needs tokenizer.json"),
        (("domain.tokenizer=null",), "write domain.tokenizer=FOLDER"),
        (("domain.standardise=domain",), "tokens have no mean"),
        (("model.width=15.5",), "model.width"),
        (("model.wdith=15",), "model.wdith"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(reviews: Path, given: tuple[str, ...], said: str) -> None:
    kept = [word for word in words(reviews) if not given[0].startswith("model=") or not word.startswith("model")]
    kept = [word for word in kept if given[0] != "method=coral" or not word.startswith("hp.")]
    with pytest.raises(TransferError) as caught:
        run_batch([compose([*kept, "method=target_only", *given])])
    assert said in str(caught.value), str(caught.value)


def test_weights_that_were_not_read_are_no_silent_random_start(file: Path) -> None:
    how = ("domain=digits_shift", "split=few_labels")
    config = check_settings(compose([*how, "model=resnet50", f"model.weights={file}", *TINY]))
    world = load_world(config).world
    with pytest.raises(TransferError, match="was not read"):
        build_program(config, world, build_task(config, world))


def test_a_frozen_encoder_makes_features_once(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what the network says of the same tokens, whatever their lengths; the second time nothing is encoded."""
    own = ["domain=amazon_reviews", "domain.length=10", "split=few_labels", f"data_dir={reviews}", "domain.encoder=tiny"]
    config = check_settings(compose([*own, "domain.features=encoded"]))
    assert config.domain.encoder == str(reviews / "tiny"), "found in data_dir"  # type: ignore[union-attr]
    x = np.asarray(load_world(config).world.unlabelled)
    of_tokens = check_settings(compose(words(reviews)))
    loaded, _ = with_weights(of_tokens, load_world(of_tokens))
    z = jax.jit(text_encoder.build(of_tokens.model).features)(loaded.world.pretrained, loaded.world.unlabelled)
    np.testing.assert_allclose(x, z, rtol=1e-4, atol=1e-5)
    assert np.asarray(z).std(axis=0).max() > 1e-3, "texts differ"
    result = run_batch([compose([*own, "domain.features=encoded", "method=source_only", "method.classifier=ridge"])])[0]
    assert result.status == "done"

    def never(folder: str, ids: np.ndarray) -> np.ndarray:
        raise AssertionError("encoded again")

    seconds = compose([*own, "domain.features=encoded", "split.seed=1"])
    assert (
        load.load_world(seconds, amazon_reviews, never).fingerprint
        != load.load_world(config, amazon_reviews, never).fingerprint
    )
    with pytest.raises(AssertionError, match="encoded again"):
        load.load_world(compose([*own, "domain.features=encoded", "domain.length=9"]), amazon_reviews, never)
    with pytest.raises(TransferError, match="need a network"):
        load.load_world(config, amazon_reviews)
    with pytest.raises(TransferError, match=r"write domain\.encoder=FOLDER"):
        compose(["domain=amazon_reviews", "domain.features=encoded"])

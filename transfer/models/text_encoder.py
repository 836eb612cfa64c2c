"""model=text_encoder: a BERT encoder, h ← norm(h + attention(h)), h ← norm(h + W gelu(V h)), averaged over the tokens.

attention(h) = softmax(Q Kᵀ / √d) V for every head, over the tokens that are not padding. Nothing is dropped out.

Paper: Vaswani et al. (2017), attention; Devlin et al. (2019), BERT; Reimers, Gurevych (2019), mean pooling.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from transfer.config.schema import Model
from transfer.data.examples.world import ExamplesWorld
from transfer.errors import TransferError
from transfer.models.in_parts import in_parts
from transfer.models.softmax import head, logits
from transfer.program import Classifier, Params, stream
from transfer.storage import weights
from transfer.storage.damaged import reading
from transfer.storage.packaged import located

TASKS = ("classification",)
PART = 128  # texts at once
ROUND = 32  # lengths at which frozen texts are encoded are multiples of this
SPREAD = 0.02  # standard deviation of fresh weights
LARGEST, DEEPEST = 10_000_000, 500  # what sizes and layers of an encoder may be
NEVER = -1e9  # added to the attention that would go to padding
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}


class Settings(Model):
    """Sizes of an encoder without given weights; with them config.json of their folder has the word."""

    weights: str | None = None  # a local Hugging Face folder, or minilm: the installed package; null: random
    width: int = Field(default=384, ge=1)  # these are MiniLM's
    layers: int = Field(default=6, ge=1)
    heads: int = Field(default=12, ge=1)
    hidden: int = Field(default=1536, ge=1)  # inside the feed-forward part
    vocabulary: int = Field(default=30522, ge=2)
    positions: int = Field(default=512, ge=2)  # longest text in tokens


class Sizes(NamedTuple):
    """What the shapes of the parameters follow from, and the two numbers that no parameter shows."""

    width: int
    layers: int
    heads: int
    hidden: int
    vocabulary: int
    positions: int
    types: int = 2
    epsilon: float = 1e-12
    activation: str = "gelu"


def build(settings: Settings) -> Classifier:
    """Token ids int32 [B, length], 0 for padding -> the mean of the last layer over the other tokens [B, width]."""
    sizes = sizes_of(settings)
    return Classifier(
        body=partial(_body, sizes),
        head=head,
        features=lambda body, x: in_parts(lambda part: encode(sizes, body, part), x, PART),
        logits=logits,
        layers=("embeddings", *(f"layer{i}" for i in range(sizes.layers))),
        dtype=jnp.int32,
    )


def read_weights(settings: Settings, world: ExamplesWorld) -> Params:
    """The body in the folder `model.weights`. Raises TransferError too where the world's tokens are beyond its words."""
    sizes = sizes_of(settings)
    largest = int(max(jnp.max(x) for x in (world.unlabelled, *(side.train.x for side in world.sources))))
    if largest >= sizes.vocabulary:
        raise TransferError(
            f"model.weights={settings.weights} knows {sizes.vocabulary:,} tokens and the texts have token {largest:,}; "
            "give domain.tokenizer the folder of the same model"
        )
    return _read(sizes, located(settings.weights or ""))


def _read(sizes: Sizes, folder: Path) -> Params:
    template = jax.eval_shape(lambda key: _body(sizes, key, (2,), None), jax.random.key(0))
    namings = {"Hugging Face": hugging_face, "older": lambda name: _older(hugging_face(name))}
    unused = ("pooler.", "cls.", "classifier.", "embeddings.position_ids", "embeddings.token_type_ids")
    return weights.load(folder, template, namings, ("bert.", "0.auto_model.", "model."), unused)


def encoded(given: str, x: np.ndarray) -> np.ndarray:
    """Vectors float32 [n, width] of token ids int32 [n, length] by the encoder in a folder, as it is.

    Texts of like length are read together, without the padding that none of them needs.
    """
    folder = located(given)
    sizes = _read_sizes(folder / "config.json")
    body, z = _read(sizes, folder), np.zeros((len(x), sizes.width), np.float32)
    run = jax.jit(partial(encode, sizes))
    lengths = np.maximum((x != 0).sum(axis=1), 1)
    order = np.argsort(lengths, kind="stable")
    for first in range(0, len(x), PART):
        rows = order[first : first + PART]
        longest = min(x.shape[1], -(-int(lengths[rows].max()) // ROUND) * ROUND)
        padded = np.zeros((PART, longest), np.int32)  # one shape for every length: the last part has rows of padding
        padded[: len(rows)] = x[rows, :longest]
        z[rows] = np.asarray(run(body, padded))[: len(rows)]
    return z


def sizes_of(settings: Settings) -> Sizes:
    """Sizes by the settings or by config.json of the given folder. Raises TransferError for another kind of encoder."""
    if settings.weights is None:
        return _divided(Sizes(*(getattr(settings, name) for name in Sizes._fields[:6])))
    return _read_sizes(located(settings.weights) / "config.json")


def _divided(sizes: Sizes) -> Sizes:
    if sizes.width % sizes.heads:
        raise TransferError(f"model.width={sizes.width} is not a multiple of model.heads={sizes.heads}")
    return sizes


def _read_sizes(path: Path) -> Sizes:
    how = "readable; model.weights must be a Hugging Face folder with config.json and model.safetensors, or minilm"
    with reading(path, how):
        facts: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(facts, dict):
            raise ValueError("it is no JSON object")
    for key, known in (("model_type", ("bert",)), ("hidden_act", ACTIVATIONS), ("position_embedding_type", ("absolute",))):
        value = facts.get(key, next(iter(known)))
        if not isinstance(value, str) or value not in known:
            raise TransferError(f"{path}: {key} is {value!r}; model=text_encoder knows {', '.join(known)}")
    names = (
        *("hidden_size", "num_hidden_layers", "num_attention_heads"),
        *("intermediate_size", "vocab_size", "max_position_embeddings"),
    )
    counts = []
    for name in (*names, "type_vocab_size"):
        if name not in facts and name in names:
            raise TransferError(f"{path}: no {name}, which the encoder needs")
        count = facts.get(name, 2)
        if type(count) is not int or not 1 <= count <= LARGEST:
            raise TransferError(f"{path}: {name} is {count!r}; a whole number from 1 to {LARGEST:,} is needed")
        counts.append(count)
    epsilon = facts.get("layer_norm_eps", 1e-12)
    if type(epsilon) not in (int, float) or not 0 < epsilon < 1:
        raise TransferError(f"{path}: layer_norm_eps is {epsilon!r}; a number between 0 and 1 is needed")
    width, layers, heads, hidden, vocabulary, positions, types = counts
    if layers > DEEPEST:
        raise TransferError(f"{path}: num_hidden_layers is {layers:,}; at most {DEEPEST} are read")
    activation = facts.get("hidden_act", "gelu")
    return _divided(Sizes(width, layers, heads, hidden, vocabulary, positions, types, float(epsilon), activation))


PARTS = {
    "words": "word_embeddings",
    "positions": "position_embeddings",
    "types": "token_type_embeddings",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "norm": "output.LayerNorm",
}


def hugging_face(name: str) -> str:
    """layer3/query/kernel -> encoder.layer.3.attention.self.query.weight."""
    top, part, leaf = name.split("/")
    leaf = "bias" if leaf == "bias" else "weight"
    if top == "embeddings":
        return f"embeddings.{'LayerNorm' if part == 'norm' else PARTS[part]}.{leaf}"
    return f"encoder.layer.{top.removeprefix('layer')}.{PARTS[part]}.{leaf}"


def _older(name: str) -> str:
    """Scale and offset of layer normalisation as files of the first BERT models call them."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def _body(sizes: Sizes, key: jax.Array, shape: tuple[int, ...], given: Params | None) -> Params:
    """The given weights, or fresh ones: normal with deviation 0.02, as BERT's."""
    if len(shape) != 1 or shape[0] > sizes.positions:
        raise TransferError(
            f"model=text_encoder reads at most {sizes.positions} tokens of a text, and the inputs are {list(shape)}; "
            "write domain.features=tokens domain.tokenizer=FOLDER, with domain.length within that"
        )
    if given is not None:
        return given

    def drawn(name: str, *shape: int) -> jax.Array:
        return SPREAD * jax.random.normal(stream(key, name), shape)

    def dense(name: str, inputs: int, outputs: int) -> Params:
        return {"kernel": drawn(name, inputs, outputs), "bias": jnp.zeros(outputs)}

    d, norm = sizes.width, {"scale": jnp.ones(sizes.width), "bias": jnp.zeros(sizes.width)}
    tables = {"words": sizes.vocabulary, "positions": sizes.positions, "types": sizes.types}
    body: Params = {"embeddings": {name: {"table": drawn(name, rows, d)} for name, rows in tables.items()}}
    body["embeddings"]["norm"] = norm
    for i in range(sizes.layers):
        same = {name: dense(f"layer{i}/{name}", d, d) for name in ("query", "key", "value", "attended")}
        wide, narrow = dense(f"layer{i}/wide", d, sizes.hidden), dense(f"layer{i}/narrow", sizes.hidden, d)
        body[f"layer{i}"] = {**same, "attended_norm": norm, "wide": wide, "narrow": narrow, "norm": norm}
    return body


def encode(sizes: Sizes, body: Params, x: jax.Array) -> jax.Array:
    """Token ids int32 [B, length] -> z [B, width]; the mean of the last layer over the tokens that are not padding."""
    real = x != 0
    tables = body["embeddings"]
    places = tables["positions"]["table"][: x.shape[1]] + tables["types"]["table"][0][None, :]
    h = _normalised(tables["norm"], tables["words"]["table"][x] + places[None], sizes.epsilon)
    for i in range(sizes.layers):
        layer = body[f"layer{i}"]
        h = _normalised(layer["attended_norm"], h + _attention(layer, h, real, sizes.heads), sizes.epsilon)
        wide = ACTIVATIONS[sizes.activation](_dense(layer["wide"], h))
        h = _normalised(layer["norm"], h + _dense(layer["narrow"], wide), sizes.epsilon)
    weight = real.astype(h.dtype)
    return jnp.einsum("bl,bld->bd", weight, h) / jnp.maximum(jnp.sum(weight, axis=1), 1.0)[:, None]


def _attention(layer: Params, h: jax.Array, real: jax.Array, heads: int) -> jax.Array:
    query, key, value = (
        _dense(layer[name], h).reshape(*h.shape[:2], heads, h.shape[2] // heads) for name in ("query", "key", "value")
    )
    closeness = jnp.einsum("bqhd,bkhd->bhqk", query, key) / jnp.sqrt(jnp.float32(query.shape[-1]))
    share = jax.nn.softmax(closeness + jnp.where(real, 0.0, NEVER)[:, None, None, :], axis=-1)
    return _dense(layer["attended"], jnp.einsum("bhqk,bkhd->bqhd", share, value).reshape(h.shape))


def _dense(layer: Params, h: jax.Array) -> jax.Array:
    return h @ layer["kernel"] + layer["bias"][None, None, :]


def _normalised(norm: Params, h: jax.Array, epsilon: float) -> jax.Array:
    """scale · (h - mean) / sqrt(var + ε) + bias over the last axis."""
    mean, var = jnp.mean(h, axis=-1, keepdims=True), jnp.var(h, axis=-1, keepdims=True)
    return (h - mean) * jax.lax.rsqrt(var + epsilon) * norm["scale"][None, None, :] + norm["bias"][None, None, :]

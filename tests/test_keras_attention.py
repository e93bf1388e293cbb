"""Attention as networks of Keras write it out, and masks that layers are called with, against live Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgru import BadModelFile, UnsupportedModel, from_keras
from fastgru.graph import Attention, MatMul
from tolerances import check

TARGET_STEPS, SOURCE_STEPS, FEATURES = 4, 7, 6


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = (3, TARGET_STEPS, FEATURES), (3, SOURCE_STEPS, FEATURES)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def network(head: Callable[[Any, Any, Any], Any], steps: int | None = None) -> Any:
    """What `head` makes of Keras' layers and the outputs of two GRUs."""
    from keras_live import keras

    L = keras.layers
    sources = keras.Input((None, FEATURES), name="target"), keras.Input((steps, FEATURES), name="source")
    query, key = (L.GRU(8, return_sequences=True)(source) for source in sources)
    return keras.Model(sources, head(L, query, key))


def context(L: Any, scores: Any, key: Any, weigh: Any = None) -> Any:
    return L.Dot(axes=[2, 1])([(weigh or L.Activation("softmax"))(scores), key])


WRITTEN_OUT: dict[str, Callable[[Any, Any, Any], Any]] = {
    "activation": lambda L, q, k: context(L, L.Dot(axes=[2, 2])([q, k]), k),
    "softmax": lambda L, q, k: context(L, L.Dot(axes=(2, -1))([q, k]), k, L.Softmax()),
    "cosine": lambda L, q, k: context(L, L.Dot(axes=2, normalize=True)([q, k]), k),
    "dropout": lambda L, q, k: context(L, L.Dropout(0.2)(L.Dot(axes=[2, 2])([q, k])), k),
    "other values": lambda L, q, k: context(L, L.Dot(axes=[2, 2])([q, k]), L.Dense(5)(k)),
    "joined": lambda L, q, k: L.Concatenate()([context(L, L.Dot(axes=[2, 2])([q, k]), k), q]),
}


@pytest.mark.parametrize("steps", [None, SOURCE_STEPS])
@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_dot_softmax_dot(name: str, steps: int | None) -> None:
    """Of a free number of steps it is an Attention."""
    keras_model = network(WRITTEN_OUT[name], steps)
    model = from_keras(keras_model)
    check(model(*arrays()), np.asarray(keras_model(arrays())), "keras")
    kinds = [type(layer) for layer in model.graph.layers]
    assert (kinds.count(Attention), kinds.count(MatMul)) == ((1, 0) if steps is None else (0, 2))


STRAY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "output": lambda L, q, k: L.Dot(axes=[2, 2], name="scores")([q, k]),
    "weights as output": lambda L, q, k: L.Softmax(name="scores")(L.Dot(axes=[2, 2])([q, k])),
    "no softmax": lambda L, q, k: L.Dot(axes=[2, 1])([L.Dot(axes=[2, 2], name="scores")([q, k]), k]),
    "two": lambda L, q, k: context(L, L.Softmax(name="scores")(L.Dot(axes=[2, 2])([q, k])), k),
    "another activation": lambda L, q, k: context(L, L.Dot(axes=[2, 2], name="scores")([q, k]), k, L.ReLU()),
    "joined": lambda L, q, k: L.Concatenate()([q, L.Dot(axes=[2, 2], name="scores")([q, k])]),
}


@pytest.mark.parametrize("name", STRAY)
def test_scores_of_a_free_number_of_steps_serve_attention_only(name: str) -> None:
    keras_model = network(STRAY[name])
    with pytest.raises(UnsupportedModel, match=r"layer 'scores' makes as many features as 'gru.*' has steps"):
        from_keras(keras_model)


# ---- masks -----------------------------------------------------------------------------------------------------------


def masked_network(head: Callable[[Any, Any, Any, Any], Any]) -> Any:
    """Inputs: words, whose Embedding masks 0, a sequence and a mask of it."""
    from keras_live import keras

    L = keras.layers
    words, source = keras.Input((None,), name="words"), keras.Input((None, FEATURES), name="source")
    mask = keras.Input((None,), dtype="bool", name="mask")
    embedded = L.Embedding(9, FEATURES, mask_zero=True)(words)
    return keras.Model([words, source, mask], head(L, embedded, source, mask))


def gru_and_attention(L: Any, q: Any, v: Any, mask: Any) -> list[Any]:
    return [L.GRU(5)(v, mask=mask), L.Attention()([q, v], mask=[None, mask])]


MASKED: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "attention": lambda L, q, v, mask: L.AdditiveAttention()([q, v], mask=[None, mask]),
    "heads": lambda L, q, v, mask: L.MultiHeadAttention(2, 3)(q, v, value_mask=mask),
    "two layers": gru_and_attention,
    "pooling": lambda L, q, v, mask: [L.GlobalAveragePooling1D()(v, mask=mask), q],
}


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_that_is_an_input(name: str) -> None:
    """A layer that is called with mask=[None, mask] uses no mask of the first, whatever hangs on it."""
    from keras_live import keras

    keras_model = masked_network(MASKED[name])
    model = from_keras(keras_model)
    rng = np.random.default_rng(0)
    words, mask = np.array([[3, 1, 0], [0, 2, 0]]), np.array([[1, 0, 1, 1], [0, 1, 1, 0]], bool)
    source = rng.normal(size=(2, 4, FEATURES)).astype(np.float32)
    expected = keras_model([keras.ops.convert_to_tensor(x) for x in (words, source, mask)])
    ours = model(words, source, mask)
    pairs = zip(ours, expected, strict=True) if isinstance(ours, tuple) else [(ours, expected)]
    for got, want in pairs:
        check(got, np.asarray(want), "keras")


def test_a_mask_that_is_computed_is_refused() -> None:
    def head(L: Any, q: Any, v: Any, mask: Any) -> list[Any]:
        return [L.GRU(5)(v, mask=L.GRU(1, name="chooses")(q)), L.GRU(5)(v, mask=mask)]

    keras_model = masked_network(head)
    with pytest.raises(UnsupportedModel, match="mask= is 'chooses', which is neither a mask nor an input of shape"):
        from_keras(keras_model)


def test_a_mask_without_time_is_refused() -> None:
    from keras_live import keras

    source, mask = keras.Input((None, FEATURES)), keras.Input((), dtype="bool", name="mask")
    with pytest.raises((UnsupportedModel, BadModelFile), match="mask"):
        from_keras(keras.Model([source, mask], keras.layers.GRU(4)(source, mask=mask)))

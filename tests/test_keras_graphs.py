"""How Keras networks are wired: shared and nested layers, several inputs and outputs, states, operations; and what
becomes of such a network whose architecture is not what Keras writes."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import importers
from fastgru.errors import BadModelFile, UnsupportedModel
from keras_live import keras

L, ops = keras.layers, keras.ops
RNG = np.random.default_rng(11)


def shared_layer() -> Any:
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    dense, gru = L.Dense(4, activation="tanh"), L.GRU(3)
    return keras.Model([a, b], L.Subtract()([gru(dense(a)), gru(dense(b))]))


def network_used_twice() -> Any:
    inner = keras.Sequential([keras.Input((None, 3)), L.GRU(3, return_sequences=True), L.BatchNormalization()])
    x = keras.Input((None, 3))
    return keras.Model(x, inner(inner(x)))


def networks_in_networks() -> Any:
    inner = keras.Sequential([keras.Input((None, 3)), L.GRU(3, return_sequences=True)], name="inner")
    a, b = keras.Input((None, 3)), keras.Input((None, 3))
    middle = keras.Model([a, b], [L.Add()([inner(a), b]), L.GRU(2)(b)], name="middle")
    x = keras.Input((None, 3))
    y, last = middle([x, L.Dense(3)(x)])
    return keras.Model(x, [middle([y, x])[1], last])


def calls_told_apart() -> Any:
    """The first call of a network is an output, the second is read by a layer: Keras 3 counts them differently."""
    h = keras.Input((None, 3))
    inner = keras.Model(h, L.GRU(3, return_sequences=True)(h))
    x = keras.Input((None, 3))
    return keras.Model(x, [inner(x), L.Dense(2)(inner(x + 1.0))])


def dicts_in_and_out() -> Any:
    one, two = keras.Input((None, 3), name="one"), keras.Input((None, 2), name="two")
    y = L.Concatenate()([one, two])
    return keras.Model({"one": one, "two": two}, {"z": L.GRU(2)(y), "a": L.GRU(3, return_sequences=True)(y)})


def states_passed_on() -> Any:
    x, h = keras.Input((None, 3)), keras.Input((4,))
    y, state = L.GRU(4, return_sequences=True, return_state=True)(x, initial_state=h)
    z = L.GRU(4, go_backwards=True)(y, initial_state=state)
    cells = L.RNN([L.GRUCell(4), L.GRUCell(4)], return_state=True)
    return keras.Model([x, h], [z, *cells(y, initial_state=[state, h])])


def states_of_both_directions() -> Any:
    x = keras.Input((None, 3))
    y, ahead, back = L.Bidirectional(L.GRU(2, return_sequences=True, return_state=True))(x)
    return keras.Model(x, L.Bidirectional(L.GRU(2), merge_mode="mul")(y, initial_state=[ahead, back]))


def residual() -> Any:
    x = keras.Input((None, 3))
    y = x
    for _ in range(3):
        y = L.Add()([y, L.Dropout(0.3)(L.GRU(3, return_sequences=True)(y))])
    return keras.Model(x, [y + 2.0 * x, y[:, -1]])


def output_that_is_an_input() -> Any:
    x = keras.Input((None, 3))
    y = L.GRU(3)(x)
    return keras.Model(x, [x, y, y])


def scaled_attention() -> Any:
    x = keras.Input((None, 3))
    return keras.Model(x, L.Attention(use_scale=True, score_mode="concat")([x, L.GRU(3, return_sequences=True)(x)]))


def axes_inside_time_distributed() -> Any:
    """An axis is one of a step there, also where it is as long as another."""
    x = keras.Input((4, 4, 4))
    y = L.TimeDistributed(L.BatchNormalization(axis=1))(x)
    y = L.TimeDistributed(L.BatchNormalization(axis=1))(L.TimeDistributed(L.Flatten())(y))
    return keras.Model(x, L.GRU(2)(y))


def numbers_of_steps_as_features() -> Any:
    """Attention pooling as users write it: a score for each step, which are the features of a softmax."""
    x = keras.Input((6, 3))
    y = L.GRU(4, return_sequences=True)(x)
    weights = ops.softmax(ops.sum(L.Dense(4, activation="tanh")(y), axis=-1))
    first = L.Dense(2)(y[:, :, 0])
    return keras.Model(x, [ops.sum(y * ops.expand_dims(weights, -1), axis=1), first, y[:, :, 1] + y[:, 0, 0:1]])


def attention_over_free_steps() -> Any:
    """A softmax over the steps, as a layer and as an operation, and the weighted sum in three spellings."""
    x = keras.Input((None, 3))
    y = L.GRU(4, return_sequences=True)(x)
    weights = L.Softmax(axis=1)(L.Dense(1)(y))
    others = ops.softmax(L.Dense(4)(y), axis=1)
    summed = ops.sum(L.Multiply()([y, weights]), axis=1)
    return keras.Model(x, [summed, L.Dot(axes=1)([weights, y]), L.Dot(axes=(1, 1))([y, weights]), others])


def frozen_network() -> Any:
    """Its arrays are listed layer by layer, whatever its own layers say."""
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4), L.BatchNormalization(), L.Dense(4), L.Dense(4)])
    inner.trainable = False
    inner.layers[2].trainable = True
    x = keras.Input((None, 3))
    return keras.Model(x, inner(L.GRU(4)(x)))


WIRINGS = (
    shared_layer, network_used_twice, networks_in_networks, calls_told_apart, dicts_in_and_out, states_passed_on,
    residual, states_of_both_directions, output_that_is_an_input, scaled_attention, numbers_of_steps_as_features,
    axes_inside_time_distributed, attention_over_free_steps, frozen_network,
)  # fmt: skip


def made(wiring: Callable[[], Any]) -> Any:
    """The network with weights that leave none of its parts at rest."""
    keras.utils.set_random_seed(3)
    model = wiring()
    for weight in model.weights:
        array = ops.convert_to_numpy(weight)
        weight.assign(array + RNG.uniform(0.05, 0.4, array.shape))
    return model


def flat(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        value = list(value.values())
    return [ops.convert_to_numpy(item) for item in (value if isinstance(value, (list, tuple)) else [value])]


@pytest.mark.parametrize("kind", ["live", "network.keras", "network.h5", "network.weights.h5"])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_wirings(wiring: Callable[[], Any], kind: str, tmp_path: Path) -> None:
    model, path = made(wiring), tmp_path / kind
    if kind == "live":
        ours = fastgru.from_keras(model)
    elif "weights" in kind:
        model.save_weights(path)
        ours = fastgru.load(path, config=json.loads(model.to_json()))
    else:
        model.save(path)
        ours = fastgru.load(path)
    arrays = [RNG.normal(size=(2, *(6 if n is None else n for n in x.shape[1:]))).astype("f4") for x in model.inputs]
    given: Any = dict(zip(("one", "two"), arrays, strict=True)) if wiring is dicts_in_and_out else arrays
    theirs = flat(model(given if len(arrays) > 1 else arrays[0]))
    results = ours(*arrays)
    results = results if isinstance(results, tuple) else (results,)
    assert len(results) == len(theirs)
    for y, expected in zip(results, theirs, strict=True):
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))
    for y, expected in zip(flat(ours(*arrays, threads=2)), results, strict=True):
        assert (y == expected).all()


# ---- architectures that Keras would not write ------------------------------------------------------------------------

ODD = (
    None, True, 0, 1, -1, 2, 1.5, float("nan"), 10**30, "", "relu", "same", [], [1], [1, 2], [[1, 2], [3, 4]], {},
    {"class_name": "GRU", "config": {}}, ["x", 0, 0], {"class_name": "__tuple__", "items": [1, 2]},
)  # fmt: skip


def every_operation() -> Any:
    x = keras.Input((6, 4))
    y = L.Concatenate()([L.PReLU(shared_axes=[1])(x), L.Rescaling(0.5)(x), L.UnitNormalization()(x)])
    y = L.MultiHeadAttention(2, 3)(y, y)
    y = L.Bidirectional(L.GRU(2, return_sequences=True))(L.MaxPooling1D(1)(L.Conv1D(4, 2, padding="same")(y)))
    z = ops.transpose(ops.flip(y, axis=1), (0, 2, 1))
    z = ops.reshape(ops.repeat(z, 2, axis=2), (-1, 6, 8)) / 3.0
    parts = ops.split(ops.softmax(z), 2, axis=-1)
    z = ops.stack([ops.mean(parts[0], axis=1), ops.max(parts[1], axis=1)], axis=1)
    z = ops.squeeze(ops.expand_dims(z[:, 0], 1), 1)
    return keras.Model(x, [ops.power(ops.matmul(y, ops.transpose(y, (0, 2, 1))), 2), L.Dot(axes=1)([z, z]), z])


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.parametrize("wiring", [every_operation, networks_in_networks, states_passed_on])
def test_odd_values_anywhere(wiring: Callable[[], Any], tmp_path: Path) -> None:
    model, path = wiring(), tmp_path / "network.weights.h5"
    model.save_weights(path)
    document, choose = json.loads(model.to_json()), random.Random(7)
    importers.read(path, config=document)
    everywhere = [place for place in places(document) if not str(place[-1]).endswith("_initializer")]
    for _ in range(300):
        changed = copy.deepcopy(document)
        *way, key = choose.choice(everywhere)
        parent = changed
        for step in way:
            parent = parent[step]
        if choose.random() < 0.2:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(choose.choice(ODD))
        with contextlib.suppress(BadModelFile, UnsupportedModel):
            importers.read(path, config=changed, keras_version="3")


def test_truth_values_are_no_numbers(tmp_path: Path) -> None:
    x = keras.Input((None, 3))
    for y in (ops.cast(ops.not_equal(x, 0.0), "float32"), ops.not_equal(x, 0.0)):
        model = keras.Model(x, [L.GRU(2)(x), y])
        with pytest.raises(UnsupportedModel, match="truth values"):
            fastgru.from_keras(model)


def test_refusals_come_before_weights_that_do_not_fit() -> None:
    model = keras.Sequential([keras.Input((5, 4)), L.GRU(3, return_sequences=True), L.LayerNormalization(axis=[1, 2])])
    with pytest.raises(UnsupportedModel, match="last axes, without time"):
        fastgru.from_keras(model)


def nested(depth: int) -> str:
    """An Activation in that many networks, in each of which nothing else is."""
    entry = '{"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [null, null, 3]}}'
    layer = '{"class_name": "Activation", "config": {"name": "a", "activation": "tanh"}}'
    opening = '{"class_name": "Sequential", "config": {"name": "n", "layers": [' + entry + ", "
    return opening * depth + layer + "]}}" * depth


def test_deep_networks(tmp_path: Path) -> None:
    path = tmp_path / "network.weights.h5"
    keras.Sequential([keras.Input((None, 3)), L.Activation("tanh")]).save_weights(path)
    graph = importers.read(path, config=nested(50))
    assert len(graph.layers[0].name) < 200
    with pytest.raises(BadModelFile, match=r"nested too deeply|recursion"):
        importers.read(path, config=nested(5000))
    document = json.loads(keras.Sequential([keras.Input((None, 3)), L.Activation("tanh")]).to_json())
    deep: Any = {"class_name": "__tuple__", "items": [1]}
    for _ in range(5000):
        deep = {"class_name": "__tuple__", "items": [deep]}
    document["config"]["layers"][1]["config"]["noise_shape"] = deep
    with pytest.raises((BadModelFile, UnsupportedModel)):
        importers.read(path, config=document)


def test_refusals_of_all_branches_at_once() -> None:
    x = keras.Input((6, 3))
    normalizations = (L.LayerNormalization(axis=1, name="one"), L.UnitNormalization(axis=1, name="two"))
    branches = [layer(x) for layer in normalizations]
    with pytest.raises(UnsupportedModel) as caught:
        fastgru.from_keras(keras.Model(x, branches))
    assert [reason.split("'")[1] for reason in caught.value.reasons] == ["one", "two"]

"""Make tests/data/onnx/loop_*.onnx: small Keras networks as Keras' exporter (tf2onnx) writes them, with Loops for GRUs.

    python tools/make_onnx_loops.py [folder] [name …]

Needs tensorflow, keras 3, tf2onnx and onnx. Beside each file goes an ``.npz`` with the inputs ``x0``, ``x1`` … and
Keras' own outputs ``y0``, ….
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import onnx
from keras import layers as L

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "onnx"
T, F, U = 5, 3, 4


def sequential(*stack, shape=(T, F), dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *stack])


def masking(*stack):
    return sequential(L.Masking(), *stack)


def words(*stack, mask_zero=False):
    return sequential(L.Embedding(7, F, mask_zero=mask_zero), *stack, shape=(T,), dtype="int32")


def states():
    x, h = keras.Input((T, F), name="x"), keras.Input((U,), name="h")
    return keras.Model([x, h], L.GRU(U, return_sequences=True, return_state=True)(x, initial_state=h))


def encoder_decoder():
    x, y = keras.Input((T, F), name="x"), keras.Input((T + 1, 2), name="y")
    _, state = L.GRU(U, return_state=True)(x)
    return keras.Model([x, y], L.GRU(U, return_sequences=True)(y, initial_state=state))


def branches():
    x = keras.Input((T, F), name="x")
    joined = L.Concatenate()([L.GRU(U, return_sequences=True)(x), L.GRU(2, return_sequences=True)(x)])
    return keras.Model(x, L.Dense(2)(joined))


NETWORKS = {
    "after": lambda: sequential(L.GRU(U, return_sequences=True)),
    "before": lambda: sequential(L.GRU(U, reset_after=False)),
    "no_bias": lambda: sequential(L.GRU(U, use_bias=False)),
    "cells": lambda: sequential(L.RNN([L.GRUCell(U), L.GRUCell(2, reset_after=False)], return_sequences=True)),
    "activations": lambda: sequential(L.GRU(U, activation="relu", recurrent_activation="hard_sigmoid")),
    "softsign": lambda: sequential(L.GRU(U, activation="softsign", recurrent_activation="hard_sigmoid")),
    "linear": lambda: sequential(L.GRU(U, activation="linear", return_sequences=True)),
    "backwards": lambda: sequential(L.GRU(U, go_backwards=True, return_sequences=True)),
    "bidirectional": lambda: sequential(L.Bidirectional(L.GRU(U, return_sequences=True))),
    "bidirectional_last": lambda: sequential(L.Bidirectional(L.GRU(U), merge_mode="sum")),
    "free": lambda: sequential(L.GRU(U, return_sequences=True), L.GRU(U), shape=(None, F)),
    "free_bidirectional": lambda: sequential(L.Bidirectional(L.GRU(U, return_sequences=True)), shape=(None, F)),
    "masking": lambda: masking(L.GRU(U, return_sequences=True)),
    "masking_bidirectional": lambda: masking(L.Bidirectional(L.GRU(U, return_sequences=True)), L.GRU(U)),
    "embedding": lambda: words(L.GRU(U)),
    "mask_zero": lambda: words(L.GRU(U, return_sequences=True), mask_zero=True),
    "mask_zero_bidirectional": lambda: words(L.Bidirectional(L.GRU(U)), mask_zero=True),
    "states": states,
    "encoder_decoder": encoder_decoder,
    "branches": branches,
    "distributed": lambda: sequential(
        L.GRU(U, return_sequences=True), L.TimeDistributed(L.Dense(2, activation="softmax"))
    ),
    "unrolled": lambda: sequential(L.GRU(U, unroll=True, return_sequences=True)),
}


def inputs_of(model, batch=2):
    rng = np.random.default_rng(5)
    made = []
    for tensor in model.inputs:
        shape = (batch, *(size or T + 2 for size in tensor.shape[1:]))
        if tensor.dtype == "int32":
            value = rng.integers(1, 7, shape).astype(np.int32)
            value[0, -2:] = value[-1, 1] = 0
            made.append(value)
        else:
            value = rng.normal(size=shape).astype(np.float32)
            if value.ndim == 3:
                value[0, -2:] = 0
                value[-1, :2] = 0
            made.append(value)
    return made


def make(folder: Path, name: str) -> None:
    keras.utils.set_random_seed(11)
    model = NETWORKS[name]()
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()])
    x = inputs_of(model)
    y = model.predict(x if len(x) > 1 else x[0], verbose=0)
    path = folder / f"loop_{name}.onnx"
    model.export(path, format="onnx", verbose=False)
    proto = onnx.load(path)
    onnx.save(proto, path)
    outputs = y if isinstance(y, (list, tuple)) else [y]
    arrays = {f"x{i}": v for i, v in enumerate(x)} | {f"y{i}": np.asarray(v) for i, v in enumerate(outputs)}
    np.savez(path.with_suffix(".npz"), **arrays)
    print(f"{path.name}: {path.stat().st_size} bytes, {len(proto.graph.node)} nodes")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for each in sys.argv[2:] or NETWORKS:
        make(target, each)

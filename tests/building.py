"""Small networks with random weights, for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru import _core
from fastgru.graph import GRU, Activation, Concatenate, Dense, Embedding, Graph, Layer, TensorSpec, tensor_spec

#: every kernel set that this machine can run
SETS = [name for name in _core.isa_names() if _core.isa_available(name)]
#: those with float32 kernels of their own, which the others share
ISAS = [name for name in SETS if "_" not in name]
#: those that promise each other the same bits
VECTOR_ISAS = [name for name in ISAS if name != "scalar"]
#: how the names of those end that have kernels of their own for a narrow dtype
_INSTRUCTIONS = {"bfloat16": "_bf16", "int8": "_vnni"}


def sets_of(dtype: str) -> list[str]:
    """The kernel sets of this machine that have kernels of their own for weights of a dtype. For narrow ones the best
    comes first: it is what a plain run of the tests takes."""
    if dtype == "float32":
        return ISAS
    return [name for name in reversed(SETS) if name in ISAS or name.endswith(_INSTRUCTIONS.get(dtype, " "))]


def vector_sets(dtype: str) -> list[str]:
    """Those of them that promise each other the same bits: not scalar code, which may lack FMA, nor what rounds the
    inputs of products."""
    return [name for name in sets_of(dtype) if name != "scalar" and not name.endswith("_bf16")]


def uniform(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return rng.uniform(-scale, scale, shape).astype(np.float32)


def gru(
    rng: np.random.Generator,
    input_size: int,
    units: int,
    *,
    name: str = "gru",
    source: str = "x",
    scale: float = 1.0,
    without: tuple[str, ...] = ("initial_state",),
    **options: Any,
) -> GRU:
    """A GRU with every tensor but those named in `without`; weights shrink with the length of their sums."""
    tensors = {
        "kernel": uniform(rng, input_size, 3 * units, scale=scale / np.sqrt(input_size)),
        "recurrent_kernel": uniform(rng, units, 3 * units, scale=scale / np.sqrt(units)),
        "bias": uniform(rng, 3 * units, scale=0.5 * scale),
        "recurrent_bias": uniform(rng, 3 * units, scale=0.5 * scale),
        "initial_state": uniform(rng, units),
    }
    tensors = {key: value for key, value in tensors.items() if key not in without}
    return GRU(**{"name": name, "inputs": (source,), "units": units} | tensors | options)


def bidirectional(
    rng: np.random.Generator, input_size: int, units: int, *, name: str = "both", source: str = "x", **options: Any
) -> tuple[GRU, GRU, Concatenate]:
    """Two GRUs of different weights, one in each direction, and their outputs side by side under `name`."""
    options = {"return_sequences": True, "without": ()} | options
    ahead = gru(rng, input_size, units, name=f"{name}/ahead", source=source, **options)
    turned = {"go_backwards": True, "time_order": options["return_sequences"]}
    back = gru(rng, input_size, units, name=f"{name}/back", source=source, **turned, **options)
    return ahead, back, Concatenate(name=name, inputs=(ahead.name, back.name))


def dense(rng: np.random.Generator, input_size: int, units: int, *, name: str, source: str, function: str) -> Dense:
    kernel = uniform(rng, input_size, units, scale=2 / np.sqrt(input_size))
    bias = uniform(rng, units)
    return Dense(name=name, inputs=(source,), kernel=kernel, bias=bias, activation=Activation.of(function))


def embedding(rng: np.random.Generator, vocabulary: int, features: int, **options: Any) -> Embedding:
    return Embedding(name="embedding", inputs=("x",), table=uniform(rng, vocabulary, features), **options)


def floats(features: int, time: int | None = None) -> TensorSpec:
    """The input x: (batch, time, features)."""
    return tensor_spec("x", time, (features,))


def tokens() -> TensorSpec:
    """The input x: (batch, time) token ids."""
    return tensor_spec("x", None, (), "int32")


def chain(spec: TensorSpec, *layers: Layer) -> Graph:
    """A Graph of one input and of layers whose last one is the output."""
    return Graph((spec,), layers, (layers[-1].name,))

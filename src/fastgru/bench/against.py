"""The largest GRU layer of a user's network, on fastgru and on other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..graph import GRU, Activation, Graph, dtype_name
from .cases import Case, Row, Weights, layer_case
from .compare import Comparison, contenders
from .peers import own_names

REPETITIONS = 7
SEED = 0
_STANDARD = (Activation.of("sigmoid"), Activation.of("tanh"))


def against(graph: Graph, peers: Sequence[str], batches: Sequence[int], steps: int, threads: int) -> dict[str, Any]:
    """Compare the layer on a single step and on each batch of sequences of `steps` steps.

    Where its weights are narrow, fastgru takes part both with these and with the float32 numbers that they stand for,
    which are everyone else's weights too.

    Returns
    -------
    dict
        ``layer``: its name; ``versions`` and ``missing`` by peer; ``rows``: a result of `Comparison.measure` each.

    Raises
    ------
    UnsupportedModel
        The network has no GRU layer, or its largest one has other gates than a sigmoid and a tanh.
    BadInput
        An unknown peer.
    FastGRUError
        fastgru's output is wrong, or a peer's process died.
    """
    layer = largest_gru(graph)
    taking_part = contenders([*own_names([dtype_name(layer.kernel)]), *peers])
    shapes = dict.fromkeys([(1, 1), *((batch, steps) for batch in batches)])
    with Comparison(taking_part, threads) as comparison:
        rows = [comparison.measure(case_of(layer, *shape), REPETITIONS) for shape in shapes]
        return {
            "layer": layer.name, "versions": comparison.versions, "missing": comparison.missing, "rows": rows,
        }  # fmt: skip


def largest_gru(graph: Graph) -> GRU:
    """The GRU layer with the most weights; it must be one that other runtimes have."""
    layers = [layer for layer in graph.layers if isinstance(layer, GRU)]
    if not layers:
        raise UnsupportedModel("the network has no GRU layer to compare with other runtimes")
    layer = max(layers, key=lambda one: one.kernel.size + one.recurrent_kernel.size)
    if (layer.recurrent_activation, layer.activation) != _STANDARD:
        names = f"{layer.recurrent_activation.name} and {layer.activation.name}"
        raise UnsupportedModel(
            f"GRU layer {layer.name!r} has the activations {names}; other runtimes are fast with sigmoid and tanh only"
        )
    return layer


def case_of(layer: GRU, batch: int, steps: int) -> Case:
    """A layer with its own weights, on random input."""
    row = Row(batch, steps, layer.kernel.shape[0], layer.units, layer.reset_after)
    zero = np.zeros(3 * layer.units, np.float32)
    bias, recurrent_bias = (zero if value is None else value for value in (layer.bias, layer.recurrent_bias))
    weights = Weights(np.asarray(layer.kernel), np.asarray(layer.recurrent_kernel), bias, recurrent_bias)
    return layer_case(row, [weights], np.random.default_rng(SEED))

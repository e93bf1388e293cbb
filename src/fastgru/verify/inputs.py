"""Random inputs that a network takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Array, Graph, OneHot, StepMask, TensorSpec, TimeDistributed
from ..text import Encoder, FrontEnd

Sizes = Mapping[str, tuple[int | None, ...]]


def random_inputs(graph: Graph, rows: int, steps: int, seed: int, sizes: Sizes | None = None) -> dict[str, Array]:
    """Inputs by the names and in the shapes that callers see.

    Normal numbers, token ids of the whole vocabulary, lengths from 0 to all steps, or texts of the vocabulary's words;
    the second half of every third row of ids is padding.

    Parameters
    ----------
    graph : Graph
    rows, steps : int
        Where the network and `sizes` leave them free. An input without a batch axis makes it one row.
    seed : int
    sizes : dict of str to tuple, optional
        Of inputs: further sizes that are fixed, as `Reference.sizes` has them.
    """
    rng = np.random.default_rng(seed)
    front = FrontEnd.of(graph)
    encoders = {} if front is None else front.inputs
    seen = [(value, value if port is None else port.spec(value)) for value, port in graph.ported_inputs]
    known = {spec.name: _known(spec, sizes or {}) for _, spec in seen}
    rows = _rows([spec for _, spec in seen], known, rows)
    free = {"batch": rows, "time": steps}
    found: dict[str, Array] = {}
    for value, spec in seen:
        if spec.name in encoders:
            found[spec.name] = _random_tokens(rng, encoders[spec.name], rows, steps)
            continue
        shape = tuple(
            free.get(axis, 1) if size is None else size for axis, size in zip(spec.axes, known[spec.name], strict=True)
        )
        if value.dtype != "int32":
            found[spec.name] = rng.normal(size=shape).astype(np.float32)
        elif _is_lengths(graph, value.name):
            most = _steps_beside(graph, value.name, known, steps)
            found[spec.name] = rng.integers(0, most + 1, shape).astype(spec.dtype)
        else:
            ids = rng.integers(0, vocabulary(graph, value.name), shape).astype(spec.dtype)
            if "time" in spec.axes:
                _pad(ids, spec)
            found[spec.name] = ids
    return found


def _known(spec: TensorSpec, sizes: Sizes) -> tuple[int | None, ...]:
    """The sizes of an input that the network or the framework fixes."""
    further = sizes.get(spec.name, ())
    if len(further) != len(spec.shape):
        return spec.shape
    return tuple(theirs if ours is None else ours for ours, theirs in zip(spec.shape, further, strict=True))


def _rows(specs: list[TensorSpec], known: Sizes, rows: int) -> int:
    """The number of rows: what an input fixes, one where an input has no axis for them."""
    for spec in specs:
        if "batch" not in spec.axes:
            return 1
        fixed = known[spec.name][spec.axes.index("batch")]
        if fixed is not None:
            return fixed
    return rows


def _pad(ids: Array, spec: TensorSpec) -> None:
    """The second half of every third row becomes token 0."""
    time = spec.axes.index("time")
    last = np.moveaxis(ids, time, 0)[ids.shape[time] // 2 :]  # a view: (time, …)
    if "batch" in spec.axes:
        batch = [axis for axis in spec.axes if axis != "time"].index("batch")
        last = np.moveaxis(last, batch + 1, 0)[::3]
    last[...] = 0


def _is_lengths(graph: Graph, name: str) -> bool:
    return any(isinstance(layer, StepMask) and layer.inputs[1] == name for layer in graph.layers)


def _steps_beside(graph: Graph, name: str, known: Sizes, steps: int) -> int:
    """The steps of the sequences whose lengths an input says."""
    least = steps
    for layer in graph.layers:
        if isinstance(layer, StepMask) and layer.inputs[1] == name:
            least = graph.specs[layer.inputs[0]].shape[1] or least
    for value, port in graph.ported_inputs:
        spec = value if port is None else port.spec(value)
        if value.is_sequence and "time" in spec.axes:
            least = min(least, known[spec.name][spec.axes.index("time")] or least)
    return least


def _random_tokens(rng: np.random.Generator, encoder: Encoder, rows: int, steps: int) -> Array:
    """What an encoder takes: texts of as many words as there are steps, or rows of tokens of its vocabulary."""
    if encoder.tokens is None:
        tokens = np.arange(encoder.size or encoder.buckets)
    else:
        tokens = np.array([token for token in encoder.tokens if token != ""], object if encoder.takes_strings else None)
    if encoder.split is not None:
        return np.array([" ".join(rng.choice(tokens, steps)) for _ in range(rows)], object)
    return rng.choice(tokens, (rows, *(steps if size is None else size for size in encoder.shape)))


def vocabulary(graph: Graph, name: str) -> int:
    """How many token ids every table that reads an input has."""
    least = 2**31
    for layer in graph.layers:
        if name not in layer.inputs:
            continue
        if isinstance(layer, TimeDistributed):
            least = min(least, vocabulary(layer.graph, layer.graph.inputs[0].name))
        elif layer.kind == "Embedding":
            least = min(least, layer.tensors["table"].shape[0])
        elif isinstance(layer, OneHot):
            least = min(least, layer.vocabulary)
    return least

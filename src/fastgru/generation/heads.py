"""The end of a network that scores tokens: of probabilities or logits, what generation wants."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

from ..errors import UnsupportedModel
from ..graph import (
    GRU,
    LINEAR,
    Activate,
    Activation,
    Attention,
    Conv,
    Dense,
    Embedding,
    Graph,
    Identity,
    Layer,
    Reshape,
    Slice,
    TimeDistributed,
)
from ..passes import fold_activations

_LOG_SOFTMAX = Activation.of("log_softmax")
#: layers whose values are numbers of their own, not those that they read
_MAKERS = (Attention, Conv, Dense, Embedding, GRU)


def with_scores(graph: Graph, place: int, log_probabilities: bool) -> Graph:
    """The Graph with log-probabilities, or logits, in the place of one output's probabilities or logits.

    A softmax at the end is cut off or becomes a log_softmax, which loses nothing where a probability is tiny. Where
    others read the probabilities, or what makes them is not the last layer that computes, their logarithm is taken.
    Without a softmax the numbers are logits.

    Parameters
    ----------
    graph : Graph
    place : int
        Of the output, (batch, …, classes).
    log_probabilities : bool
        Else logits, which may be log-probabilities where there is nothing to cut off.

    Raises
    ------
    UnsupportedModel
        The output is a mask, ids or one number without an axis of classes, or ends in a sigmoid.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import tensor_spec
    >>> head = Dense(name="d", inputs=("x",), kernel=np.eye(3, dtype="f4"), activation=Activation.of("softmax"))
    >>> network = Graph((tensor_spec("x", False, (3,)),), (head,), ("d",))
    >>> [with_scores(network, 0, wanted).layers[0].activation.name for wanted in (True, False)]
    ['log_softmax', 'linear']
    """
    output = graph.outputs[place]
    spec = graph.specs[output]
    if spec.dtype != "float32" or not spec.inner:
        raise UnsupportedModel(f"output {graph.output_names[place]!r} holds no scores of tokens: {spec}")
    layers = {layer.name: layer for layer in graph.layers}
    readers = Counter([*graph.outputs, *(value for layer in graph.layers for value in layer.inputs)])
    source, is_alone = output, readers[output] == 1
    while (layer := layers.get(source)) is not None and _keeps_classes(graph, layer):
        source = layer.inputs[0]
        is_alone = is_alone and readers[source] == 1
    function = _function(layer)
    if function in ("sigmoid", "hard_sigmoid"):
        name = graph.output_names[place]
        raise UnsupportedModel(f"output {name!r} ends in a {function}, which gives no distribution over tokens")
    if layer is not None and function == "softmax" and is_alone:
        activation = _LOG_SOFTMAX if log_probabilities else LINEAR
        changed: Layer = dataclasses.replace(layer, activation=activation)  # type: ignore[call-arg]
        return dataclasses.replace(graph, layers=tuple(changed if one is layer else one for one in graph.layers))
    is_probability = function != "log_softmax" and _holds_probabilities(graph, output)
    if not is_probability and (function == "log_softmax" or not log_probabilities):
        return graph
    activation = Activation.of("log") if is_probability else _LOG_SOFTMAX
    name = next(name for name in _names(f"{output}.scores") if name not in graph.specs)
    added = Activate(name=name, inputs=(output,), activation=activation)
    outputs = tuple(name if i == place else value for i, value in enumerate(graph.outputs))
    return fold_activations(dataclasses.replace(graph, layers=(*graph.layers, added), outputs=outputs))


def _names(name: str) -> Iterator[str]:
    while True:
        yield name
        name += "_"


def _keeps_classes(graph: Graph, layer: Layer) -> bool:
    """Whether a layer passes rows of classes on, all or some of them, as they are."""
    before, after = graph.specs[layer.inputs[0]], graph.specs[layer.name]
    match layer:
        case Identity():
            return True
        case Reshape():
            return before.shape[-1] == after.shape[-1] and before.inner != () and after.inner != ()
        case Slice():
            return layer.axis % len(before.shape) != len(before.shape) - 1
    return False


def _function(layer: Layer | None) -> str | None:
    return layer.activation.name if isinstance(layer, (Dense, Activate, Conv)) else None


def _holds_probabilities(graph: Graph, value: str) -> bool:
    """Whether a softmax made the numbers of a value, whatever moved, cut or mixed them since."""
    layer = next((layer for layer in graph.layers if layer.name == value), None)
    if layer is None:
        return False
    if _function(layer) == "softmax":
        return True
    if isinstance(layer, TimeDistributed):
        return _holds_probabilities(layer.graph, layer.graph.outputs[0])
    return not isinstance(layer, _MAKERS) and any(_holds_probabilities(graph, one) for one in layer.inputs)

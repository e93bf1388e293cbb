"""The end of a network that scores tokens: of probabilities or logits, what generation wants."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

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
    MatMul,
    Normalize,
    OneHot,
    Reshape,
    Slice,
    TimeDistributed,
)
from ..passes import fold_activations

_LOG_SOFTMAX = Activation.of("log_softmax")
#: functions whose numbers, one for each token by itself, are no distribution over tokens
_SIGMOIDS = frozenset(("sigmoid", "hard_sigmoid"))
_LINEAR, _SOFTMAX = frozenset(("linear",)), frozenset(("softmax",))


@dataclasses.dataclass(frozen=True)
class Head:
    """What one output of a network holds of each token, and what made it.

    Attributes
    ----------
    graph : Graph
    place : int
        Of the output.
    last : Layer or None
        The last layer that computes, with none behind it but those that move rows of classes; None: an input is given
        back.
    is_alone : bool
        Nobody else reads what `last` gives.
    functions : frozenset of str
        Names of the activations that its numbers come out of, whatever moved, cut or mixed them since. With a softmax
        among them they are probabilities, up to a factor, else logits.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import tensor_spec
    >>> dense = Dense(name="d", inputs=("x",), kernel=np.eye(3, dtype="f4"), activation=Activation.of("softmax"))
    >>> head = Head.of(Graph((tensor_spec("x", None, (3,)),), (dense,), ("d",)), 0)
    >>> head.holds_probabilities, head.has_softmax
    (True, True)
    >>> head.ending_in(LINEAR).layers[0].activation
    Activation(name='linear', params=())
    """

    graph: Graph
    place: int
    last: Layer | None
    is_alone: bool
    functions: frozenset[str]

    @classmethod
    def of(cls, graph: Graph, place: int) -> Head:
        """Of an output (batch, …, classes).

        Raises
        ------
        UnsupportedModel
            It is a mask, ids or one number without an axis of classes, or ends in sigmoids.
        """
        output, shown = graph.outputs[place], repr(graph.output_names[place])
        spec = graph.specs[output]
        if spec.dtype != "float32" or not spec.inner:
            raise UnsupportedModel(f"output {shown} holds no scores of tokens: {spec}")
        layers = {layer.name: layer for layer in graph.layers}
        readers = Counter([*graph.outputs, *(value for layer in graph.layers for value in layer.inputs)])
        source, is_alone = output, readers[output] == 1
        while (layer := layers.get(source)) is not None and _keeps_classes(graph, layer):
            source = layer.inputs[0]
            is_alone = is_alone and readers[source] == 1
        functions = activations_behind(graph, output)
        if functions <= _SIGMOIDS:
            raise UnsupportedModel(
                f"output {shown} ends in {' and '.join(sorted(functions))}, which gives no distribution over tokens; "
                "generation needs logits or softmax"
            )
        return cls(graph, place, layer, is_alone, functions)

    @property
    def holds_probabilities(self) -> bool:
        return "softmax" in self.functions

    @property
    def has_softmax(self) -> bool:
        """Whether a softmax is the end, which can be cut off."""
        return self.is_alone and _function(self.last) == "softmax"

    def ending_in(self, activation: Activation) -> Graph:
        """The Graph with another activation in the place of the softmax at its end."""
        changed: Any = dataclasses.replace(self.last, activation=activation)  # type: ignore[type-var,call-arg]
        layers = tuple(changed if one is self.last else one for one in self.graph.layers)
        return dataclasses.replace(self.graph, layers=layers)


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
        As `Head.of`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import tensor_spec
    >>> head = Dense(name="d", inputs=("x",), kernel=np.eye(3, dtype="f4"), activation=Activation.of("softmax"))
    >>> network = Graph((tensor_spec("x", False, (3,)),), (head,), ("d",))
    >>> [with_scores(network, 0, wanted).layers[0].activation.name for wanted in (True, False)]
    ['log_softmax', 'linear']
    """
    head = Head.of(graph, place)
    if head.has_softmax:
        return head.ending_in(_LOG_SOFTMAX if log_probabilities else LINEAR)
    is_log = _function(head.last) == "log_softmax"
    if not head.holds_probabilities and (is_log or not log_probabilities):
        return graph
    activation = Activation.of("log") if head.holds_probabilities else _LOG_SOFTMAX
    output = graph.outputs[place]
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


def activations_behind(graph: Graph, value: str) -> frozenset[str]:
    """The activations that a value's numbers come out of; "linear" where a layer, or an input, has none."""
    known: dict[str, frozenset[str]] = {}
    for layer in graph.layers:
        if not isinstance(layer, OneHot):  # which stands for an input
            known[layer.name] = _functions_of(layer, known)
    return known.get(value, _LINEAR)


def _functions_of(layer: Layer, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    match layer:
        case TimeDistributed():
            return activations_behind(layer.graph, layer.graph.outputs[0])
        case Dense() | Conv():
            return frozenset((layer.activation.name,))
        case Attention() | Embedding() | GRU() | Normalize():  # numbers of their own
            return _LINEAR
        case MatMul():  # probabilities, if weights by softmax choose among what is given, such as one-hot vectors
            made = [known[name] for name in layer.inputs if name in known]
            return _SOFTMAX if set(made) == {_SOFTMAX} else _LINEAR
    behind = frozenset[str]().union(*(known.get(name, _LINEAR) for name in layer.inputs))
    if not isinstance(layer, Activate) or layer.activation == LINEAR:
        return behind
    name = layer.activation.name
    if "softmax" not in behind or name in ("softmax", "log_softmax", *_SIGMOIDS):
        return frozenset((name,))
    return frozenset(("log_softmax",)) if name == "log" else behind  # those that are clipped, say, stay probabilities

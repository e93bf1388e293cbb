"""The network that an encoder–decoder was trained as, cut into encoder and decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..graph import (
    GRU,
    Attention,
    Embedding,
    Graph,
    Layer,
    TensorSpec,
    tensor_spec,
)  # fmt: skip
from ..model import Model
from ..ports import Port
from .decoders import batch_first_model
from .pairs import is_per_step
from .wiring import maker


def split(model: Model) -> tuple[Model, Model]:
    """Cut the network that an encoder–decoder was trained as into both.

    Such a network reads the source and the target, of which each step is the right token before (teacher forcing), and
    gives for each step of the target the scores of the next token. The encoder becomes what reads the source alone,
    the decoder the rest; what of the one the other reads becomes outputs and inputs.

    Parameters
    ----------
    model : Model
        Two inputs with a time axis, one output with the steps of the target.

    Returns
    -------
    encoder, decoder : Model
        As `generate` takes them; batch first, whatever the ports.

    Raises
    ------
    UnsupportedModel
        It is no such network, or a layer of the decoder sees steps of the target that are yet to come; all reasons.

    Examples
    --------
    >>> from fastgru.graph import GRU, Dense, Embedding, Graph, tensor_spec
    >>> def weights(*shape):
    ...     return np.ones(shape, np.float32)
    >>> source, target = (tensor_spec(name, None, (), "int32") for name in ("source", "target"))
    >>> layers = (
    ...     Embedding(name="a", inputs=("source",), table=weights(9, 4)),
    ...     GRU(name="reads", inputs=("a",), units=4, kernel=weights(4, 12), recurrent_kernel=weights(4, 12)),
    ...     Embedding(name="b", inputs=("target",), table=weights(7, 4)),
    ...     GRU(name="writes", inputs=("b", "reads"), units=4, kernel=weights(4, 12), recurrent_kernel=weights(4, 12),
    ...         return_sequences=True),
    ...     Dense(name="scores", inputs=("writes",), kernel=weights(4, 7)),
    ... )
    >>> encoder, decoder = split(Model(Graph((source, target), layers, ("scores",))))
    >>> [spec.name for spec in encoder.outputs], [spec.name for spec in decoder.inputs]
    (['writes_begin'], ['target', 'writes_begin'])
    """
    graph = batch_first_model(model).graph
    if len(graph.inputs) != 2 or not all(spec.is_sequence for spec in graph.inputs) or len(graph.outputs) != 1:
        shown = ", ".join(f"{spec.name!r} {spec.shape}" for spec in graph.inputs)
        outputs = ", ".join(map(repr, graph.output_names))
        needs = "a network that can be split reads the sequences of source and target, and gives one output"
        raise UnsupportedModel(f"{needs}; this one reads {shown} and gives {outputs}")
    cuts = [_Cut(graph, source, target) for source, target in (graph.inputs, graph.inputs[::-1])]
    whole = next((cut for cut in cuts if not cut.reasons), None)
    if whole is None:  # the more plausible of the two says why
        raise UnsupportedModel(min(cuts, key=lambda cut: len(cut.reasons)).reasons)
    options: dict[str, Any] = {"threads": model.threads, "matmul": model.matmul}
    return Model(whole.encoder(), **options), Model(whole.decoder(), **options)


class _Cut:
    """A Graph, cut between what reads the source alone and what reads the target.

    Attributes
    ----------
    reasons : list of str
        Why it cannot be; empty where it can.
    """

    def __init__(self, graph: Graph, source: TensorSpec, target: TensorSpec) -> None:
        self.graph, self.source, self.target = graph, source, target
        self.reasons: list[str] = []
        self.after: list[Layer] = []  # of the decoder
        self.crossing: dict[str, str] = {}  # the encoder's values that the decoder reads, by the names of both's ports
        self.reads: dict[tuple[str, int], str] = {}  # those names, by layer and place among what it reads
        self.mask: str | None = None  # the encoder's, if the decoder reads one
        made = {target.name}
        for layer in graph.layers:
            if made.isdisjoint(maker(value) for value in (*layer.inputs, *layer.masks.values())):
                continue
            made.add(layer.name)
            self.after.append(layer)
            self._check(layer, made)
        if maker(graph.outputs[0]) not in made or not graph.specs[graph.outputs[0]].is_sequence:
            self.reasons.append(f"output {graph.output_names[0]!r} has not the steps of {target.name!r}")
        if not self.crossing:
            self.reasons.append(f"nothing of what reads {source.name!r} goes into what reads {target.name!r}")
        self._attends = any(isinstance(layer, Attention) for layer in self.after)
        for layer in self.after:
            if self._attends and isinstance(layer, GRU) and not self._begins(layer):
                what = "begins with a state that the encoder does not give, beside an attention"
                self.reasons.append(f"GRU layer {layer.name!r} {what}")

    def _check(self, layer: Layer, made: set[str]) -> None:
        """What a layer of the decoder reads of the encoder, and whether it keeps to the steps so far."""
        specs, label = self.graph.specs, f"{layer.kind} layer {layer.name!r}"
        for place, value in enumerate(layer.inputs):
            if maker(value) in made:
                continue
            attended = isinstance(layer, Attention) and place > 0
            if specs[value].is_sequence and not attended:
                self.reasons.append(f"{label} reads steps of {value!r} side by side with those of {self.target.name!r}")
            elif specs[value].dtype != "float32":
                self.reasons.append(f"{label} reads {value!r}, which is {specs[value].dtype}")
            # a state changes from step to step, so it is an input of its own
            name = f"{layer.name}_begin" if isinstance(layer, GRU) else value.replace(":", "_")
            self.crossing[name] = value
            self.reads[layer.name, place] = name
        for field, mask in layer.masks.items():
            if maker(mask) in made:
                continue
            is_other = self.mask not in (None, mask)
            if is_other or field != "mask" or not isinstance(layer, Attention) or not self._is_of_source(mask):
                self.reasons.append(f"{label} reads the mask {mask!r}, which is not the one of the source's ids")
            self.mask = mask
        if not self._keeps_to_the_past(layer, made):
            self.reasons.append(f"{label} may see steps of {self.target.name!r} that are yet to come")

    def _is_of_source(self, mask: str) -> bool:
        """Whether a mask is what `Pair` computes of the encoder's input."""
        layers = {layer.name: layer for layer in self.graph.layers}
        layer = layers.get(maker(mask))
        own = f"{self.source.name}:mask"
        of_ids = isinstance(layer, Embedding) and layer.inputs == (self.source.name,) and layer.mask in (None, own)
        return mask == own or of_ids

    def _keeps_to_the_past(self, layer: Layer, made: set[str]) -> bool:
        if not any(self.graph.specs[value].is_sequence for value in layer.inputs):
            return True
        match layer:
            case GRU():
                return not layer.go_backwards
            case Attention():
                return made.isdisjoint(maker(value) for value in layer.inputs[1:])
        return is_per_step(self.graph, layer)

    def _begins(self, layer: GRU) -> bool:
        """Whether a GRU begins with a state that the encoder gives."""
        return (layer.name, 1) in self.reads

    def encoder(self) -> Graph:
        ours = {layer.name for layer in self.after}
        layers = [layer for layer in self.graph.layers if layer.name not in ours]
        outputs, text = tuple(self.crossing.values()), self._text_of(self.source)
        whole = dataclasses.replace(self.graph, layers=tuple(layers), outputs=outputs, text=text)
        ports = tuple(Port.plain(self.graph.specs[value], name) for name, value in self.crossing.items())
        return dataclasses.replace(_needed(whole), inputs=(self.source,), output_ports=ports)

    def decoder(self) -> Graph:
        """With states as inputs and outputs where an attention sees the encoder's steps; else it carries them."""
        specs = self.graph.specs
        inputs = [self.target, *(dataclasses.replace(specs[value], name=name) for name, value in self.crossing.items())]
        layers: list[Layer] = []
        changes: dict[str, Any] = {}
        if self.mask is not None:
            name = next(name for name in _fresh("source_mask") if name not in specs and name not in self.crossing)
            inputs.append(tensor_spec(name, None, (), "int32"))
            table = np.zeros((2, 1), np.float32)
            layers.append(Embedding(name=f"{name}.steps", inputs=(name,), table=table, mask_zero=True))
            changes["mask"] = f"{name}.steps:mask"
        for layer in self.after:
            read = tuple(self.reads.get((layer.name, i), value) for i, value in enumerate(layer.inputs))
            masked = changes if isinstance(layer, Attention) and layer.mask == self.mask else {}
            layers.append(dataclasses.replace(layer, inputs=read, **masked))
        states = [f"{layer.name}:state" for layer in self.after if isinstance(layer, GRU)] if self._attends else []
        outputs, text = (*self.graph.outputs, *states), self._text_of(self.target)
        return dataclasses.replace(self.graph, inputs=tuple(inputs), layers=tuple(layers), outputs=outputs, text=text)

    def _text_of(self, spec: TensorSpec) -> dict[str, Any] | None:
        """The text front end of one input."""
        inputs = (self.graph.text or {}).get("inputs", {})
        return {**(self.graph.text or {}), "inputs": {spec.name: inputs[spec.name]}} if spec.name in inputs else None


def _needed(graph: Graph) -> Graph:
    """Without layers that no output needs."""
    needed = {maker(value) for value in graph.outputs}
    kept: list[Layer] = []
    for layer in reversed(graph.layers):
        if layer.name in needed:
            kept.append(layer)
            needed |= {maker(value) for value in (*layer.inputs, *layer.masks.values())}
    return dataclasses.replace(graph, layers=tuple(reversed(kept)))


def _fresh(name: str) -> Iterator[str]:
    while True:
        yield name
        name += "_"

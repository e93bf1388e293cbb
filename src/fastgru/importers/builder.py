"""The Graph as an importer grows it, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..graph import Graph, Layer, TensorSpec
from ..layers.base import mask_of


class GraphBuilder:
    """Collects the inputs and layers of a Graph, in order of evaluation, under names that are unique.

    Attributes
    ----------
    inputs : list of TensorSpec
    layers : list of Layer
    """

    def __init__(self) -> None:
        self.inputs: list[TensorSpec] = []
        self.layers: list[Layer] = []
        self._specs: dict[str, TensorSpec] = {}
        self._taken: set[str] = set()

    def input(self, spec: TensorSpec) -> TensorSpec:
        """An input of the network; with a time axis it also defines the mask ``name:mask``."""
        spec = replace(spec, name=self.unique(spec.name))
        self.inputs.append(spec)
        self._define((spec, *mask_of(spec)))
        return spec

    def add(self, kind: type[Layer], name: str, *inputs: TensorSpec | str, **attributes: Any) -> TensorSpec:
        """Append a layer, called `name` or, where that is taken, one like it; the spec of its (first) value.

        Raises
        ------
        BadModelFile
            The layer does not go with its inputs; names it.
        """
        names = tuple(value if isinstance(value, str) else value.name for value in inputs)
        return self.append(kind(name=self.unique(name), inputs=names, **attributes))

    def append(self, layer: Layer) -> TensorSpec:
        """Append a layer whose name `unique` has given; the spec of its (first) value.

        Raises
        ------
        BadModelFile
            The layer does not go with its inputs; names it.
        """
        specs = layer.infer(self._specs)
        self._define(specs)
        self.layers.append(layer)
        return specs[0]

    def spec(self, name: str) -> TensorSpec:
        """The spec of a value, such as ``gru:state``, by its name."""
        return self._specs[name]

    def layer(self, name: str) -> Layer | None:
        """The layer that defines a value; None for an input."""
        stem = name.partition(":")[0]
        return next((layer for layer in self.layers if layer.name == stem), None)

    def change(self, layer: Layer, **attributes: Any) -> Layer:
        """Replace a layer by one that differs in some attributes; what it defines must keep its specs."""
        changed = replace(layer, **attributes)
        self._define(changed.infer(self._specs))
        self.layers[self.layers.index(layer)] = changed
        return changed

    def rename(self, name: str, new: str) -> str:
        """Give what a layer defines another name, if that is free; the name that it has then."""
        new = _clean(new)
        if new in self._taken or all(layer.name != name for layer in self.layers):
            return name
        self._taken.add(new)
        names = {key: new + key.removeprefix(name) for key in self._specs if key.partition(":")[0] == name}
        self.layers = [_reading(layer, names) for layer in self.layers]
        named = ((names.get(key, key), spec) for key, spec in self._specs.items())
        self._specs = {key: replace(spec, name=key) for key, spec in named}
        return new

    def graph(self, outputs: Iterable[str | TensorSpec], **fields: Any) -> Graph:
        """The Graph with these outputs; layers that none of them needs are left out.

        `fields` are further ones of the Graph: `name`, `notes`, `input_ports`, ….
        """
        names = tuple(value if isinstance(value, str) else value.name for value in outputs)
        return Graph(tuple(self.inputs), tuple(needed(self.layers, names)), names, **fields)

    def unique(self, name: str) -> str:
        """A name that no value has yet."""
        stem = name = _clean(name)
        count = 0
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name

    def _define(self, specs: Sequence[TensorSpec]) -> None:
        self._specs.update((spec.name, spec) for spec in specs)


def _clean(name: str) -> str:
    """A name without the marks that names of masks, states and tensors are made with."""
    return "".join(c if c.isprintable() else "_" for c in re.sub("[:/]", "_", name)) or "value"


def _reading(layer: Layer, names: Mapping[str, str]) -> Layer:
    """A layer after values, its own among them, have taken other names."""
    changes: dict[str, Any] = {key: names.get(mask, mask) for key, mask in layer.masks.items()}
    inputs = tuple(names.get(value, value) for value in layer.inputs)
    return replace(layer, name=names.get(layer.name, layer.name), inputs=inputs, **changes)


def needed(layers: Sequence[Layer], outputs: Iterable[str]) -> list[Layer]:
    """The layers on which outputs depend, in their order."""
    wanted = {name.partition(":")[0] for name in outputs}
    kept = []
    for layer in reversed(layers):
        if layer.name in wanted:
            wanted |= {value.partition(":")[0] for value in (*layer.inputs, *layer.masks.values())}
            kept.append(layer)
    return kept[::-1]

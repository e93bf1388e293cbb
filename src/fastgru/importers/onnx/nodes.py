"""The GRU nodes of an ONNX file: which there are, and each as a file of its own.

So the GRUs of a file can be used whose other operators are not ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadInput, BadModelFile, FastGRUError, UnsupportedModel
from .container import STANDARD, Container
from .network import Network, Scope
from .node import label
from .values import Constant

#: the operator's inputs and outputs
_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
_OUTPUTS = ("Y", "Y_h")
_FLOAT, _INT32 = 1, 6  # TensorProto.DataType


@dataclass(frozen=True)
class GRUNode:
    """A GRU node of an ONNX file.

    Attributes
    ----------
    name : str
        The node's own; where it has none, ``GRU→`` and its first output. ``load(path, node=name)`` takes it.
    input_size, hidden_size : int or None
        None where its weights are no constants: then it cannot be loaded.
    direction : str
        ``"forward"``, ``"reverse"`` or ``"bidirectional"``.
    linear_before_reset : bool
        As the file says.
    layout : int
        0: (time, batch, …), 1: (batch, time, …).
    steps, batch : int or None
        Of X, where the file says them.
    inputs, outputs : tuple of str
        What the network of that node alone takes and gives: among X, sequence_lens and initial_h (not those that are
        constants), Y and Y_h.
    """

    name: str
    input_size: int | None
    hidden_size: int | None
    direction: str
    linear_before_reset: bool
    layout: int
    steps: int | None
    batch: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def gru_nodes(path: str | os.PathLike[str]) -> tuple[GRUNode, ...]:
    """Every GRU node of an ONNX file, in the file's order, those inside loops and functions too.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    tuple of GRUNode

    Raises
    ------
    FileNotFoundError
    BadModelFile
        Damaged, or no ONNX file.
    MissingExtra
        The package onnx is not installed.
    """
    path = Path(path)
    try:
        container = Container.open(path)
        return tuple(_described(container, found) for found in _found(container))
    except BadModelFile as error:
        raise BadModelFile(f"{path}: {error}") from error


def cut(container: Container, name: str) -> Container:
    """The model of one GRU node: what it computes from X, sequence_lens and initial_h, its constants inside.

    Raises
    ------
    BadInput
        No GRU node has that name; lists those that there are.
    UnsupportedModel
        Its weights are computed while the network runs.
    """
    nodes = _found(container)
    found = next((one for one in nodes if one.name == name), None)
    if found is None:
        known = ", ".join(repr(one.name) for one in nodes) or "none"
        raise BadInput(f"no GRU node is called {name!r}; there are: {known}")
    if len(found.proto.input) > len(_INPUTS) or len(found.proto.output) > len(_OUTPUTS):
        given = f"{len(found.proto.input)} inputs and {len(found.proto.output)} outputs"
        raise UnsupportedModel(f"node {name!r} (GRU): has {given}, the operator has {len(_INPUTS)} and {len(_OUTPUTS)}")
    computed = [key for key in ("W", "R", "B") if key in found.sources and found.constant(key) is None]
    if computed:
        raise UnsupportedModel(f"node {name!r} (GRU): {', '.join(computed)} computed while the network runs")
    return Container(_model(container, found), container.folder)


# ---- finding ---------------------------------------------------------------------------------------------------------


class _Found:
    """A GRU node and where it stands.

    Attributes
    ----------
    name : str
        Unique in the file.
    proto : onnx.NodeProto
    scope : Scope
        The graph that it stands in.
    sources : dict of str to str
        The names of its inputs' values, by the operator's own names.
    """

    def __init__(self, name: str, proto: Any, scope: Scope) -> None:
        self.name = name
        self.proto = proto
        self.scope = scope
        self.sources = {key: value for key, value in zip(_INPUTS, proto.input, strict=False) if value}
        self.outputs = tuple(key for key, value in zip(_OUTPUTS, proto.output, strict=False) if value)

    def constant(self, key: str) -> list[tuple[Scope, Any]] | None:
        """The tensors and nodes of the file that an input is made of; None where it hangs on what a call gives."""
        return _ancestors(self.scope, self.sources[key])

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the default's type, whatever it says; the operator's reader looks closer."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return attribute.s.decode("utf-8", "replace") if isinstance(default, str) else attribute.i
        return default


def _found(container: Container) -> list[_Found]:
    """Every GRU node, under names that are unique."""
    found: list[_Found] = []
    taken: set[str] = set()
    for scope, proto in _scoped(Scope(container.model.graph)):
        if proto.op_type == "GRU" and proto.domain in STANDARD:
            name, count = label(proto), 0
            while name in taken:
                count += 1
                name = f"{label(proto)}_{count}"
            taken.add(name)
            found.append(_Found(name, proto, scope))
    return found


def _scoped(scope: Scope) -> Iterator[tuple[Scope, Any]]:
    """Every node with the graph that it stands in; protobuf bounds how deep graphs nest."""
    for proto in scope.proto.node:
        yield scope, proto
        for attribute in proto.attribute:
            for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _scoped(Scope(graph, scope))


def _ancestors(scope: Scope, name: str) -> list[tuple[Scope, Any]] | None:
    """The initializers and nodes of which a value is made, each with its scope; None where an input is among them."""
    found: dict[tuple[int, str], tuple[Scope, Any]] = {}
    rest = [(scope, name)]
    while rest:
        inner, wanted = rest.pop()
        owner = inner.owner(wanted)
        if owner is None:
            return None
        if (id(owner), wanted) in found:
            continue
        source = owner.initializers.get(wanted, owner.makers.get(wanted))
        if source is None or any(a.HasField("g") or a.graphs for a in getattr(source, "attribute", ())):
            return None
        found[id(owner), wanted] = owner, source
        rest += [(owner, value) for value in getattr(source, "input", ()) if value]
    return list(found.values())


# ---- describing ------------------------------------------------------------------------------------------------------


def _described(container: Container, found: _Found) -> GRUNode:
    layout = found.attribute("layout", 0)
    direction = found.attribute("direction", "forward")
    steps, batch = _declared(found)[:2][:: -1 if layout == 1 else 1]
    _, _, size = _shape(container, found, "W")
    _, _, hidden = _shape(container, found, "R")
    given = [key for key in ("X", "sequence_lens", "initial_h") if key in found.sources]
    return GRUNode(
        name=found.name,
        input_size=size,
        hidden_size=hidden,
        direction="forward" if direction == "foward" else direction,
        linear_before_reset=found.attribute("linear_before_reset", 0) != 0,
        layout=layout,
        steps=steps,
        batch=batch,
        inputs=tuple(key for key in given if key == "X" or found.constant(key) is None),
        outputs=found.outputs,
    )


def _declared(found: _Found) -> list[int | None]:
    """The sizes of X that the file says."""
    scope = found.scope.owner(found.sources.get("X", ""))
    if scope is not None:
        for entry in (*scope.proto.input, *scope.proto.value_info):
            if entry.name == found.sources["X"] and len(entry.type.tensor_type.shape.dim) == 3:
                return [dim.dim_value or None for dim in entry.type.tensor_type.shape.dim]
    return [None] * 3


def _shape(container: Container, found: _Found, key: str) -> Sequence[int | None]:
    """Of a weight; of None where it is no constant, or one of other axes."""
    parts = found.constant(key) if key in found.sources else None
    if not parts:
        return (None,) * 3
    sizes = list(parts[0][1].dims) if hasattr(parts[0][1], "dims") else _computed(container, found, key)
    return sizes if len(sizes) == 3 else (None,) * 3


def _computed(container: Container, found: _Found, key: str) -> list[int]:
    """The shape of a constant that nodes compute."""
    parts = _Parts(found, (key,))
    model = _empty(container)
    parts.into(model.graph)
    network = Network(Container(model, container.folder))
    try:
        value = network.value(network.main, parts.names[key])
    except FastGRUError:
        return []
    return list(value.array.shape) if isinstance(value, Constant) and value.is_plain else []


# ---- cutting ---------------------------------------------------------------------------------------------------------


class _Parts:
    """What some constant inputs of a node are made of, under names that are not the operator's own.

    Attributes
    ----------
    names : dict of str to str
        Of the inputs that are constants, by the operator's names.
    """

    def __init__(self, found: _Found, keys: Sequence[str]) -> None:
        self.names: dict[str, str] = {}
        self._makers: dict[str, Any] = {}  # by the name of what it defines: a tensor or node
        self._nodes: dict[tuple[int, int], Any] = {}  # by depth of the graph and place there, which is their order
        for key in keys:
            parts = found.constant(key) if key in found.sources else None
            if parts is None:
                continue
            self.names[key] = _inside(found.sources[key])
            for scope, source in parts:
                self._take(scope, source)

    def _take(self, scope: Scope, source: Any) -> None:
        is_tensor = hasattr(source, "dims")
        for name in [source.name] if is_tensor else source.output:
            if name and self._makers.setdefault(name, source) is not source:
                raise BadModelFile(f"{name!r} is defined twice")
        if is_tensor:
            return
        depth, outer = 0, scope.outer
        while outer is not None:
            depth, outer = depth + 1, outer.outer
        place = next(index for index, node in enumerate(scope.proto.node) if node is source)
        self._nodes[depth, place] = source

    def into(self, graph: Any) -> None:
        """Put them into a graph."""
        for name, source in self._makers.items():
            if hasattr(source, "dims"):
                graph.initializer.add().CopyFrom(source)
                graph.initializer[-1].name = _inside(name)
        for _, source in sorted(self._nodes.items(), key=lambda item: item[0]):
            node = graph.node.add()
            node.CopyFrom(source)
            node.input[:] = [_inside(name) for name in source.input]
            node.output[:] = [_inside(name) for name in source.output]


def _inside(name: str) -> str:
    return f"{name}.constant" if name else ""


def _empty(container: Container) -> Any:
    """A model without nodes, of the same versions by the same producer."""
    model = type(container.model)()
    for key in ("ir_version", "producer_name", "producer_version"):
        setattr(model, key, getattr(container.model, key))
    model.opset_import.extend(container.model.opset_import)
    return model


def _model(container: Container, found: _Found) -> Any:
    """The model of one node; batch and time are free, unless its lengths are constants."""
    model = _empty(container)
    graph = model.graph
    graph.name = found.name
    parts = _Parts(found, ("W", "R", "B", "sequence_lens", "initial_h"))
    parts.into(graph)
    node = graph.node.add()
    node.CopyFrom(found.proto)
    node.name = found.name
    node.input[:] = [parts.names.get(key, key if key in found.sources else "") for key in _INPUTS[: len(node.input)]]
    node.output[:] = [key if name else "" for key, name in zip(_OUTPUTS, node.output, strict=False)]

    directions, _, hidden = _shape(container, found, "R")
    batch_first = found.attribute("layout", 0) == 1
    sizes: list[Any] = _declared(found)[:2] if "sequence_lens" in parts.names else [None, None]
    free = ("batch", "time") if batch_first else ("time", "batch")
    lead = [size or name for size, name in zip(sizes, free, strict=True)]
    _add(graph.input, "X", _FLOAT, [*lead, _shape(container, found, "W")[2]])
    for key in ("sequence_lens", "initial_h"):
        if key in found.sources and key not in parts.names:
            state = ["batch", directions, hidden] if batch_first else [directions, "batch", hidden]
            _add(graph.input, key, *((_INT32, ["batch"]) if key == "sequence_lens" else (_FLOAT, state)))
    for key in found.outputs:
        _add(graph.output, key, _FLOAT, [])
    return model


def _add(entries: Any, name: str, dtype: int, shape: Sequence[Any]) -> None:
    entry = entries.add(name=name)
    entry.type.tensor_type.elem_type = dtype
    for size in shape:
        dim = entry.type.tensor_type.shape.dim.add()
        if isinstance(size, str):
            dim.dim_param = size
        elif size is not None:
            dim.dim_value = size

"""A graph of TensorFlow nodes → the fastgru Graph: each node's value in terms of those that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np

from ...errors import BadInput, BadModelFile, UnsupportedModel
from ...graph import GRU, Graph, TensorSpec, tensor_spec
from ...ports import Port
from ..sizes import Size, Symbol
from . import loops
from .assembly import Assembly
from .nodes import Node, Ref, Source
from .operations import OPERATIONS
from .values import Outputs, Refused, Tensor, Unknown

#: operations that train, save or watch a network; what only they read is no output
_PLUMBING = (
    "Assign",
    "AssignVariableOp",
    "Assert",
    "NoOp",
    "SaveV2",
    "RestoreV2",
    "VarIsInitializedOp",
    "IsVariableInitialized",
)
_LOSSES = ("SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits")
_PLACEHOLDERS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")


class TimeMajor(Exception):
    """Placeholders turn out to have time first."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)


@dataclass(eq=False)
class Scope:
    """Where names of nodes are looked up: the graph, or one call of a function. `known` holds the nodes' values."""

    nodes: Mapping[str, Node]
    known: dict[str, Any] = field(default_factory=dict)
    loop: loops.Loop | None = None


def understand(source: Source, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None) -> Graph:
    """The Graph of a network of TensorFlow 1.

    Parameters
    ----------
    source : Source
    inputs, outputs : sequence of str, optional
        Names of nodes or of their outputs (``"name:1"``); default: placeholders, and what nothing else reads.

    Raises
    ------
    UnsupportedModel
        Says of every node that is not understood why.
    BadInput
        `inputs` or `outputs` are not in the graph, or must be said.
    """
    wanted = [_ref(source, name) for name in outputs] if outputs else sinks(source)
    time_major: frozenset[str] = frozenset()
    while True:
        try:
            return Network(source, inputs, time_major).graph(wanted)
        except TimeMajor as found:  # a loop has come to the batch where it should find the steps: read it all anew
            if found.names <= time_major:
                reason = f"{', '.join(map(repr, sorted(found.names)))}: its first axis is both time and batch"
                raise UnsupportedModel(reason) from None
            time_major |= found.names


class Network:
    """Evaluates nodes; the reasons of those that are refused come together in `reasons`."""

    def __init__(self, source: Source, inputs: Sequence[str] | None, time_major: frozenset[str]) -> None:
        self.source = source
        self.time_major = time_major
        self.assembly = Assembly()
        self.reasons: dict[str, None] = {}
        #: place among the inputs, spec and port of each
        self.inputs: list[tuple[int, TensorSpec, Port | None]] = []
        self.fixed_batch: int | None = None
        self.root = Scope(source.nodes)
        self._places = {name: place for place, name in enumerate(source.nodes)}
        given = [_ref(source, name) for name in inputs or ()]
        self._places.update((ref.name, place - len(given)) for place, ref in enumerate(given))
        for ref in given:
            self._given_input(ref)

    # ---- from outputs to inputs ------------------------------------------------------------------------------------

    def graph(self, wanted: Sequence[Ref]) -> Graph:
        values, ports = [], []
        for ref in wanted:
            found = self.evaluate(self.root, ref)
            if isinstance(found, Unknown):
                continue
            try:
                tensor = self.assembly.tensor(found)
            except Refused as reason:
                self.reasons[f"{str(ref)!r}: as an output it {reason}"] = None
                continue
            values.append(tensor.spec)
            ports.append(_port(str(ref), tensor, _class_numbers(self.root.nodes[ref.name], tensor)))
        if self.reasons:
            raise UnsupportedModel(self.reasons)
        self.assembly.builder.inputs[:] = [spec for _, spec, _ in sorted(self.inputs, key=itemgetter(0))]
        input_ports = [port for _, _, port in sorted(self.inputs, key=itemgetter(0))]
        made = self.assembly.builder.graph(
            values, notes=tuple(self.assembly.notes),
            input_ports=tuple(input_ports) if any(input_ports) else (),
            output_ports=tuple(ports) if any(ports) else (),
        )  # fmt: skip
        return _without_unread_sequences(made)

    def evaluate(self, scope: Scope, ref: Ref) -> Any:
        """The value of a node's output; `Unknown` where it, or what it reads, is refused."""
        waiting, opened = [ref.name], set()
        while waiting:
            name = waiting[-1]
            if name in scope.known:
                waiting.pop()
                continue
            node = scope.nodes.get(name)
            if node is None:
                raise BadModelFile(f"a node reads {name!r}, which is not in the graph")
            missing = [source.name for source in loops.needs(self, scope, node) if source.name not in scope.known]
            if not missing:
                scope.known[name] = self._value(scope, node)
                opened.discard(name)
                waiting.pop()
            elif opened.isdisjoint(missing) and name not in opened:
                opened.add(name)
                waiting.extend(missing)
            else:
                raise BadModelFile(f"the graph goes round in a circle at {name!r}")
        return picked(scope.known[ref.name], ref.index)

    def _value(self, scope: Scope, node: Node) -> Any:
        of_graph, operation = loops.OPERATIONS.get(node.op), OPERATIONS.get(node.op)
        try:
            if of_graph is not None:
                return of_graph(self, scope, node)
            if operation is None:
                raise Refused("is not supported")
            values = [picked(scope.known[ref.name], ref.index) for ref in node.inputs]
            if any(isinstance(value, Unknown) for value in values):
                return Unknown()
            value = operation(Call(self, scope, node), *values)
            return np.asarray(value) if isinstance(value, (np.generic, int, float, Size)) else value
        except Refused as reason:
            return self.refuse(node, str(reason))
        except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            # what a sound graph would not ask of an operation, or arithmetic with sizes that are free
            return self.refuse(node, f"cannot be computed from what it reads ({error})")

    def refuse(self, node: Node, reason: str) -> Unknown:
        self.reasons[f"{node.name!r} ({node.op}): {reason}"] = None
        return Unknown()

    # ---- inputs ----------------------------------------------------------------------------------------------------

    def placeholder(self, node: Node) -> Any:
        """An input of the network."""
        dtype = node.attributes.get("dtype", "float32")
        return self._input(node.name, node.attributes.get("shape", "unknown"), dtype)

    def _given_input(self, ref: Ref) -> None:
        """A node that the caller calls an input, placeholder or not."""
        node = self.source.nodes[ref.name]
        if node.op in _PLACEHOLDERS:
            value = self.placeholder(node)
        else:
            shapes = node.attributes.get("_output_shapes") or node.attributes.get("output_shapes") or []
            types = node.attributes.get("output_types") or [node.attributes.get("T", "float32")]
            if ref.index >= len(shapes):
                raise BadInput(f"inputs: the file does not say which shape {str(ref)!r} has")
            value = self._input(str(ref), shapes[ref.index], types[min(ref.index, len(types) - 1)])
        known = self.root.known.get(ref.name)
        outputs = list(known.values) if isinstance(known, Outputs) else []
        outputs += [Unknown()] * (ref.index + 1 - len(outputs))
        outputs[ref.index] = value
        self.root.known[ref.name] = Outputs(outputs)

    def _input(self, name: str, shape: Any, dtype: str) -> Any:
        if not isinstance(shape, list) or not shape:
            raise Refused("is an input whose axes the file does not tell")
        is_ids = dtype in ("int32", "int64", "int16", "int8", "uint8", "uint16")
        if not is_ids and dtype not in ("float32", "float64", "float16", "bfloat16"):
            raise Refused(f"is an input of {dtype}")
        if not is_ids and dtype != "float32":
            self.assembly.notes[f"input {name} is {dtype}; it is taken as float32"] = None
        is_sequence = len(shape) >= (2 if is_ids else 3)
        sizes = [shape[1], shape[0], *shape[2:]] if is_sequence and name in self.time_major else shape
        if None in sizes[1 + is_sequence :] or (len(sizes) == 1 and not is_ids):
            raise Refused(f"is an input of shape {_shown(shape)}: only batch and time may be free")
        if sizes[0] is not None:
            self.fixed_batch = sizes[0]
        time: Any = sizes[1] if is_sequence else False
        inner = tuple(sizes[1 + is_sequence :])
        spec = self.assembly.builder.input(tensor_spec(name, time, inner, "int32" if is_ids else "float32"))
        axes = [(i,) for i in range(len(sizes))]
        if is_sequence and name in self.time_major:
            axes[:2] = [(1,), (0,)]
        tensor = Tensor(spec, tuple(axes), Size.of(Symbol(f"steps of {spec.name}")) if time is None else int(time))
        self.inputs.append((self._places[Ref.of(name).name], spec, _port(name, tensor)))
        return tensor


@dataclass(frozen=True, eq=False)
class Call:
    """What an operation is told beside its values."""

    network: Network
    scope: Scope
    node: Node

    @property
    def assembly(self) -> Assembly:
        return self.network.assembly

    @property
    def name(self) -> str:
        return self.node.name

    def option(self, key: str, default: Any = None) -> Any:
        return self.node.attributes.get(key, default)

    def array(self, name: str) -> Any:
        """A variable's array."""
        try:
            return self.network.source.arrays[name]
        except KeyError:
            raise Refused("is a variable that the file has no array for") from None

    def time_major(self) -> None:
        """Take the sequences that this node reads as having time first, and read the network again."""
        before = self.network.source.before(Ref(self.name))
        names = [node.name for node in before if node.op in _PLACEHOLDERS]
        raise TimeMajor(names)


def picked(value: Any, index: int) -> Any:
    """One output of a node."""
    if isinstance(value, Outputs):
        if index >= len(value.values):
            raise BadModelFile(f"a node has {len(value.values)} outputs, and one reads its number {index}")
        return value.values[index]
    if index and not isinstance(value, Unknown):
        raise BadModelFile(f"a node has one output, and one reads its number {index}")
    return value


def sinks(source: Source) -> list[Ref]:
    """What depends on a placeholder and is read by nothing.

    Raises
    ------
    BadInput
        The graph holds the training too, and so does not say what it is for.
    """
    nodes = source.nodes
    read = {ref.name for node in nodes.values() for ref in node.inputs if not node.op.endswith("Summary")}
    ends = [node for node in nodes.values() if node.name not in read and not _is_plumbing(node)]
    ends = [node for node in ends if any(before.op in _PLACEHOLDERS for before in source.before(Ref(node.name)))]
    if any(node.op in _LOSSES or "Apply" in node.op for node in nodes.values()) or not ends:
        losses = [str(node.inputs[0]) for node in nodes.values() if node.op in _LOSSES and node.inputs]
        hint = f"; its loss reads {', '.join(map(repr, losses))}" if losses else ""
        names = ", ".join(repr(node.name) for node in ends[:10])
        ending = f"; nothing reads {names}" if names else ""
        raise BadInput(
            f"outputs= should name the network's outputs: its graph holds more than the network{hint}{ending}"
        )
    return [Ref(node.name) for node in ends]


def _without_unread_sequences(made: Graph) -> Graph:
    """GRUs of which only the last state is read need not keep their outputs."""
    read = {*made.outputs, *(name for layer in made.layers for name in (*layer.inputs, *layer.masks.values()))}
    layers = tuple(
        replace(layer, return_sequences=False) if isinstance(layer, GRU) and layer.name not in read else layer
        for layer in made.layers
    )
    return replace(made, layers=layers)


def _is_plumbing(node: Node) -> bool:
    return node.op in _PLUMBING or node.op.endswith("Summary")


def _ref(source: Source, name: str) -> Ref:
    ref = Ref.of(name)
    if ref.name not in source.nodes:
        likely = [other for other in source.nodes if ref.name.rpartition("/")[2] in other][:5]
        hint = f"; it has {', '.join(map(repr, likely))}" if likely else ""
        raise BadInput(f"the graph has no node {ref.name!r}{hint}")
    return ref


def _port(name: str, tensor: Tensor, dtype: str | None = None) -> Port | None:
    """How callers see a value; None where they see it as it is, under its own name."""
    if tensor.is_plain and tensor.spec.name == name and dtype is None:
        return None
    return Port(name, tensor.spec.inner, tensor.axes, dtype)


def _class_numbers(node: Node, tensor: Tensor) -> str | None:
    """The dtype of an output of whole numbers, where TensorFlow has another than the Graph: ArgMax gives int64."""
    said = node.attributes
    dtype = said.get("output_type", "int64") if node.op == "ArgMax" else said.get("DstT", said.get("T"))
    return "int64" if tensor.spec.dtype == "int32" and dtype == "int64" else None


def _shown(shape: Sequence[int | None]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"

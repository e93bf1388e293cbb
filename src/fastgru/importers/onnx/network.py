"""An ONNX graph, evaluated into a Graph: node after node, each value a constant, a view of the Graph's, or unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import BadModelFile, UnsupportedModel
from ...graph import Graph, TensorSpec, tensor_spec
from ...ports import Port
from ...states import with_states
from ..builder import GraphBuilder
from ..sizes import Dim, Size, Symbol
from .arrange import unflipped
from .axes import Roles, find_roles
from .container import DTYPES, NEWEST_OPSET, STANDARD, Container
from .fold import ELEMENTWISE, SHAPING, folded
from .last import last_steps_as_states
from .lengths import with_lengths
from .node import Node, Refusal, label
from .operators import OPERATORS
from .reroll import rerolled
from .single import as_gru
from .values import UNKNOWN, Constant, Pending, Tensor, Unequal, Unknown, Value

#: dtypes of inputs, by what the Graph makes of them
_INPUT_DTYPES = {"float32": "float32", "float16": "float32", "float64": "float32", "bfloat16": "float32"}
_INPUT_DTYPES |= {"int32": "int32", "int64": "int32"}


class Scope:
    """A graph of the file, the main one or that of a Loop, with the values that it knows.

    Attributes
    ----------
    proto : onnx.GraphProto
    outer : Scope or None
        The one that it stands in.
    values : dict of str to Value
    depth : int
        How many graphs it stands in.
    """

    def __init__(self, proto: Any, outer: Scope | None = None) -> None:
        self.proto = proto
        self.outer = outer
        self.values: dict[str, Value] = {}
        self.depth: int = outer.depth + 1 if outer is not None else 0
        self.initializers = {tensor.name: tensor for tensor in proto.initializer}
        self.makers = {name: node for node in proto.node for name in node.output if name}

    def owner(self, name: str) -> Scope | None:
        """The scope, this one or one around it, that knows a name."""
        known = name in self.values or name in self.initializers or name in self.makers
        if known or any(entry.name == name for entry in self.proto.input):
            return self
        return self.outer.owner(name) if self.outer is not None else None


class Network:
    """The conversion of one file.

    Attributes
    ----------
    container : Container
    opset : int
    build : GraphBuilder
    batch : Dim
        The size of the batch.
    roles : Roles
        Which axes of inputs are batch and time.
    reasons, notes : list of str
        What is not supported; what the user should know.
    options : dict
        The importer's.
    sequences : list of (Dim, TensorSpec)
        Numbers of steps, each with a value that has so many.
    alike : dict of str to str
        Free numbers of steps that are taken for one with another, though the file does not say so.
    unequal : dict of str to str
        Those of which a node needs it.
    """

    def __init__(
        self,
        container: Container,
        axes: Mapping[str, Any] | None = None,
        *,
        turned: bool = False,
        alike: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.container = container
        self.opset = container.opset
        self.build = GraphBuilder()
        self.options = options
        self.reasons: list[str] = []
        self.notes: list[str] = []
        self.main = Scope(rerolled(container.model.graph))
        self._active: set[tuple[int, str]] = set()
        self.roles: Roles = find_roles(self, axes or {}, turned)
        self.batch: Dim = Size.of(Symbol("batch", self._declared_batch()))
        self.sequences: list[tuple[Dim, TensorSpec]] = []
        self.alike = dict(alike or {})
        self.unequal: dict[str, str] = {}

    # ---- the whole

    def graph(self) -> Graph:
        """Evaluate everything that the outputs need.

        Raises
        ------
        UnsupportedModel
            All that is not supported.
        """
        proto = self.main.proto
        if not 1 <= self.opset <= NEWEST_OPSET:
            self.reasons.append(f"opset {self.opset} of ONNX's operators is not known; 1 to {NEWEST_OPSET} are")
        self.refuse_foreign(self.main, [entry.name for entry in proto.output])
        names = {tensor.name for tensor in proto.initializer}
        entries = [entry for entry in proto.input if entry.name not in names]
        for entry in entries:
            self.main.values[entry.name] = self._input(entry)
        self.evaluate(self.main, [entry.name for entry in proto.output])
        outputs = [(entry.name, self.output(entry)) for entry in proto.output]
        if not self.reasons and any(tensor is None for _, tensor in outputs):
            missing = ", ".join(repr(name) for name, tensor in outputs if tensor is None)
            self.reasons.append(_printable(f"outputs {missing} hang on values that were worked into others"))
        if self.reasons:
            raise UnsupportedModel(dict.fromkeys(self.reasons))
        found = [(name, tensor) for name, tensor in outputs if tensor is not None]
        ports = [self._input_port(entry) for entry in entries]
        notes = [*self.notes, *self._width_notes()]
        graph = self.build.graph(
            [tensor.spec for _, tensor in found],
            name=_printable(proto.name),
            notes=tuple(dict.fromkeys(map(_printable, notes))),
            input_ports=tuple(ports),
            output_ports=tuple(_port(name, tensor) for name, tensor in found),
        )
        return with_states(with_lengths(last_steps_as_states(graph)))

    def evaluate(self, scope: Scope, names: Sequence[str]) -> None:
        """Evaluate the nodes of a scope that these values need, in the file's order; `scope.values` has them then."""
        nodes = scope.proto.node
        places = {name: index for index, node in enumerate(nodes) for name in node.output if name}
        for index in sorted(_needed(scope, names)):
            late = [name for name in nodes[index].input if places.get(name, -1) >= index and name not in scope.values]
            if late:
                raise BadModelFile(f"{late[0]!r} is read by {label(nodes[index])!r} before it is defined")
            self._evaluate(scope, nodes[index])

    def value(self, scope: Scope, name: str) -> Value:
        """A value by its name in a scope; one of an outer scope is evaluated there.

        Raises
        ------
        BadModelFile
            Nothing defines it.
        """
        owner = scope.owner(name)
        if owner is None:
            raise BadModelFile(f"nothing defines {name!r}")
        if name not in owner.values:
            if name in owner.initializers:
                owner.values[name] = Constant.of(self.container.array(owner.initializers[name], name))
            else:
                self.evaluate(owner, [name])
        if name not in owner.values:
            raise BadModelFile(f"{name!r} is read before it is defined")
        return owner.values[name]

    def output(self, entry: Any) -> Tensor | None:
        """The value of an output of the file, whole and in its order."""
        value = self.value(self.main, entry.name)
        if isinstance(value, Unknown):
            return None
        if isinstance(value, Constant):
            self.reasons.append(f"output {entry.name!r} is the same for all inputs")
            return None
        if isinstance(value, Pending):
            self.reasons.append(f"output {entry.name!r} is a comparison")
            return None
        if value.negated and value.contrary is not None:
            value = replace(value, spec=self.build.spec(value.contrary), negated=False)
        if value.negated:
            self.reasons.append(f"output {entry.name!r} is the contrary of a mask")
            return None
        return unflipped(self, f"{entry.name}.output", value)

    def traced(self) -> dict[str, tuple[TensorSpec, Port]]:
        """What of the file the Graph has, once that is made: by the file's name, the Graph's value and the file's
        layout.

        One name stands for each value of the Graph: the last, as a layer may have taken in several nodes.
        """
        found: dict[str, tuple[str, Tensor]] = {}
        for name, value in self.main.values.items():
            if isinstance(value, Tensor):
                found[value.name] = (name, value)
        return {
            name: (value.spec, Port(_printable(name), value.sizes, value.axes))
            for name, value in found.values()
            if value.spec.dtype == "float32" and not value.flipped
        }

    # ---- nodes

    def _evaluate(self, scope: Scope, proto: Any) -> None:
        if any(name in scope.values for name in proto.output if name):
            return
        key = id(scope), next((name for name in proto.output if name), "")
        if key in self._active:
            raise BadModelFile(f"{key[1]!r} is made of itself")
        self._active.add(key)
        try:
            self._evaluate_now(scope, proto)
        finally:
            self._active.discard(key)

    def _evaluate_now(self, scope: Scope, proto: Any) -> None:
        inputs = [self.value(scope, name) if name else None for name in proto.input]
        results: Sequence[Value] = [UNKNOWN] * len(proto.output)
        operator = OPERATORS.get((_domain(proto), proto.op_type))
        if self._is_known(proto) and not any(isinstance(value, Unknown) for value in inputs):
            try:
                results = self._read(Node(proto, inputs, self, scope), operator)
                results = [as_gru(self, scope, proto, results[0])] if len(results) == 1 else results
            except Refusal as error:
                self.refuse(proto, str(error))
                if isinstance(error, Unequal):
                    self._note_unequal(error)
            except BadModelFile as error:  # a layer that does not go with what it reads says so itself
                self.refuse(proto, str(error))
            except (ValueError, IndexError, OverflowError) as error:
                self.refuse(proto, f"cannot be read: {error}")
        for name, value in zip(proto.output, results, strict=False):
            if name:
                scope.values[name] = value

    def _read(self, node: Node, operator: Any) -> Sequence[Value]:
        results: Any = folded(node)
        if results is None:
            if operator is None:
                raise Refusal("is supported of constants and sizes only")
            if any(isinstance(value, Pending) for value in node.inputs) and node.op not in Pending.readers:
                raise Refusal("reads a comparison")
            results = operator.read(node)
        if not isinstance(results, (list, tuple)):
            results = (results,)
        if node.has:
            raise Refusal(f"attribute {', '.join(sorted(node.has))} is not known")
        wanted = sum(1 for name in node.outputs if name)
        if len(results) < len(node.outputs) and any(node.outputs[len(results) :]):
            raise Refusal(f"gives {len(results)} values, {wanted} are wanted")
        return list(results)

    def refuse(self, proto: Any, reason: str) -> None:
        """Note a reason why a node is not supported."""
        self.reasons.append(_printable(f"node {label(proto)!r} ({proto.op_type}): {reason}"))

    def _is_known(self, proto: Any) -> bool:
        return (_domain(proto), proto.op_type) in OPERATORS or is_folded(proto)

    def refuse_foreign(self, scope: Scope, names: Sequence[str]) -> None:
        """Note all operators that nobody reads, of all that some values of a scope need."""
        foreign: dict[str, list[str]] = {}
        for index in sorted(_needed(scope, names)):
            node = scope.proto.node[index]
            if not self._is_known(node):
                name = f"{node.domain}.{node.op_type}" if _domain(node) else node.op_type
                foreign.setdefault(name, []).append(label(node))
        for name, nodes in sorted(foreign.items()):
            shown = ", ".join(map(repr, nodes[:3])) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
            self.reasons.append(_printable(f"operator {name} is not supported: {shown}"))

    # ---- tensors

    def tensor(self, x: Tensor, spec: TensorSpec, **changes: Any) -> Tensor:
        """A view like `x`, of another value of the same sizes."""
        return replace(x, spec=spec, **changes)

    def fresh_steps(self, spec: TensorSpec) -> Dim:
        """The size of the time axis of a value that has steps of its own."""
        if not spec.is_sequence:
            return 1
        if spec.shape[1] is not None:
            return spec.shape[1]
        return self.sequence(self._free(f"time {len(self.sequences) + 1}"), spec)

    def sequence(self, steps: Dim, spec: TensorSpec) -> Dim:
        """Note that a value has so many steps."""
        self.sequences.append((steps, spec))
        return steps

    def _free(self, name: str) -> Size:
        """A free number of steps."""
        while name in self.alike:
            name = self.alike[name]
        return Size.of(Symbol(name))

    def _note_unequal(self, error: Unequal) -> None:
        symbols = [size.symbol if isinstance(size, Size) else None for size in error.sizes]
        if all(symbol is not None and symbol.name != "batch" for symbol in symbols):
            kept, other = (symbol.name for symbol in symbols if symbol is not None)
            self.unequal[other] = kept

    # ---- inputs and outputs

    def _declared_batch(self) -> int | None:
        """What the file says of the batch: the number that all inputs that say one agree on."""
        said = set()
        for entry in self.main.proto.input:
            role = self.roles.get(entry.name)
            dims = entry.type.tensor_type.shape.dim
            if role is not None and "batch" in role:
                dim = dims[role.index("batch")]
                said.add(_known(dim))
            elif role is not None:
                said.add(1)
        return said.pop() if len(said) == 1 else None

    def _input(self, entry: Any) -> Value:
        try:
            return self._read_input(entry)
        except (Refusal, BadModelFile) as error:
            self.reasons.append(_printable(f"input {entry.name!r}: {error}"))
            return UNKNOWN

    def _read_input(self, entry: Any) -> Tensor:
        kind = entry.type.tensor_type
        given = DTYPES.get(kind.elem_type, "of no known dtype")
        dtype = _INPUT_DTYPES.get(given)
        if dtype is None:
            raise Refusal(f"is {given}; inputs are floats, or int32 or int64 of ids or lengths")
        roles = self.roles[entry.name]
        sizes = [_known(dim) for dim in kind.shape.dim]
        rest = [axis for axis, role in enumerate(roles) if role not in ("batch", "time")]
        unknown = [axis for axis in rest if not sizes[axis]]
        if unknown:
            raise Refusal(
                f"axis {unknown[0]} of {entry.name!r} has no known size, and is not seen to be batch or time; "
                "say axes={" + f"{entry.name!r}: …" + "}"
            )
        inner: tuple[int, ...] = tuple(sizes[axis] for axis in rest)  # type: ignore[misc]
        time = sizes[roles.index("time")] if "time" in roles else False
        if dtype == "float32" and not inner:
            spec = tensor_spec(entry.name, time, (1,), dtype)
        else:
            spec = tensor_spec(entry.name, time, inner, dtype)
        if given not in ("float32", "int32", "int64"):
            self.container.widths.setdefault(given, []).append(entry.name)
        spec = self.build.input(spec)
        lead = 1 + spec.is_sequence
        places = {"batch": 0, "time": 1}
        axes = tuple((places[role],) if role in places else (lead + rest.index(i),) for i, role in enumerate(roles))
        steps: Dim = 1
        if spec.is_sequence:
            free = self._free(_steps_name(kind.shape.dim[roles.index("time")], entry.name))
            steps = self.sequence(spec.shape[1] if spec.shape[1] is not None else free, spec)
        return Tensor(spec, inner, axes, steps)

    def _input_port(self, entry: Any) -> Port | None:
        value = self.main.values[entry.name]
        return _port(entry.name, value) if isinstance(value, Tensor) else None

    def _width_notes(self) -> Iterator[str]:
        for dtype, names in self.container.widths.items():
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            yield f"{shown} of {dtype}: computed in float32"


def _port(name: str, value: Tensor) -> Port | None:
    natural = tuple((part,) for part in range(value.lead + len(value.sizes)))
    if value.name == name and value.axes == natural and value.sizes == value.spec.inner:
        return None
    dtype = "int64" if value.is_ids else None
    return Port(_printable(name), value.sizes, value.axes, dtype)


def captured(proto: Any) -> Iterator[str]:
    """Names that the graphs inside a node may read from around it."""
    for attribute in proto.attribute:
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            for node in graph.node:
                yield from node.input
                yield from captured(node)
            yield from (entry.name for entry in graph.output)


def _needed(scope: Scope, names: Sequence[str]) -> set[int]:
    """Which nodes of a scope some values need that are not known yet."""
    places = {name: index for index, node in enumerate(scope.proto.node) for name in node.output if name}
    wanted: set[int] = set()
    rest = [name for name in names if name not in scope.values]
    while rest:
        index = places.get(rest.pop())
        if index is None or index in wanted:
            continue
        wanted.add(index)
        node = scope.proto.node[index]
        rest += [name for name in (*node.input, *captured(node)) if name and name not in scope.values]
    return wanted


def is_folded(node: Any) -> bool:
    """Whether an operator is known of constants at least."""
    return not _domain(node) and (node.op_type in ELEMENTWISE or node.op_type in SHAPING)


def _domain(node: Any) -> str:
    return "" if node.domain in STANDARD else str(node.domain)


def _known(dim: Any) -> int | None:
    """The size of an axis of an input; None where it is free, for which some write 0 or −1."""
    return int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None


def _steps_name(dim: Any, name: str) -> str:
    """Inputs whose time axes have one name in the file have the same steps."""
    return f"dim {dim.dim_param}" if dim.dim_param else f"steps of {name}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)

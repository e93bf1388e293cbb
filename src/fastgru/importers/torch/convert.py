"""The operations of a traced module → Graph."""

from __future__ import annotations

import inspect
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ...errors import BadInput, BadModelFile, UnsupportedModel
from ...graph import Array, Graph, Layer, Reshape, Slice, TensorSpec, Transpose
from ...ports import Port
from ..builder import GraphBuilder
from ..recurrent import join_states, split_states, states_port
from ..sizes import Size
from .functions import FUNCTIONS, METHODS
from .in_place import Changes, is_named_so
from .modules import MODULES
from .trace import Traced, is_altered, trace
from .values import Const, Filled, Lengths, Packed, Pending, Refused, States, Tensor, input_tensor, shown

#: what follows from an operation that was refused
_UNKNOWN = object()


def from_module(module: Any, inputs: Mapping[str, Any] | None = None, initial_state: bool | None = None) -> Graph:
    """The Graph of a module; `fastgru.from_torch` says what the arguments mean."""
    if not isinstance(module, nn.Module):
        raise BadInput(f"from_torch takes a torch.nn.Module, got {type(module).__name__}")
    if inputs is not None and not isinstance(inputs, Mapping):
        raise BadInput(f"inputs should be a dict of axes by name, got {type(inputs).__name__}")
    traced = trace(module, isinstance(module, nn.GRUCell) if initial_state is None else initial_state)
    guess = next((m.batch_first for m in traced.modules.values() if isinstance(m, nn.GRU)), True)
    errors: list[UnsupportedModel] = []
    for batch_first in (guess, not guess):  # of inputs whose first reader does not care
        try:
            return Converter(traced, inputs or {}, batch_first).graph(type(module).__name__)
        except UnsupportedModel as error:
            errors.append(error)
    raise errors[0]


class Converter:
    """Walks the operations of a trace, in order; each becomes layers of the Graph, or a reason to refuse the module.

    Attributes
    ----------
    build : GraphBuilder
    batch_first : bool
        Where an input's first reader does not say which of its axes are batch and time.
    notes : list of str
    """

    def __init__(self, traced: Traced, inputs: Mapping[str, Any], batch_first: bool) -> None:
        self.build = GraphBuilder()
        self.batch_first = batch_first
        self.notes: list[str] = []
        self._traced = traced
        self._axes = dict(inputs)
        self._reasons: list[str] = []
        self._values: dict[fx.Node, Any] = {}
        self._readers: dict[fx.Node, Any] = {}
        self._changes = Changes(traced.nodes, self._values, self._readers)
        self._known: dict[str, Any] = {}
        self._guessed: dict[str, Sequence[Any]] = {}
        self._inputs: dict[str, tuple[TensorSpec, Port | None]] = {}
        self._constants: dict[int, Array] = {}
        self._fed: dict[tuple[str, ...], str] = {}
        self._node = traced.nodes[0]
        self._name = ""

    # ---- the walk

    def graph(self, name: str) -> Graph:
        """Convert all of it.

        Raises
        ------
        UnsupportedModel
        """
        outputs: Any = _UNKNOWN
        names = {node.target for node in self._traced.nodes if node.op == "placeholder"}
        foreign = sorted(set(self._axes) - names)
        if foreign:
            raise BadInput(f"inputs names {', '.join(foreign)}, which are no inputs of forward: {', '.join(names)}")
        for node in self._traced.nodes:
            self._node, self._name = node, node.name
            if node.op == "output":
                outputs = self._argument(node.args[0])
            elif node.op == "placeholder":
                self._values[node] = Pending(str(node.target))
            elif node.op == "get_attr":
                self._values[node] = Const(self.array(self._traced.tensors[str(node.target)]))
            elif node.users or node.target is not operator.getitem:  # others may change what they read
                table: Any = {"call_function": FUNCTIONS, "call_method": METHODS}.get(node.op)
                module = self._traced.modules[str(node.target)] if node.op == "call_module" else None
                reader = MODULES.get(type(module)) if module is not None else table.get(node.target)
                self._readers[node] = reader
                self._values[node] = self._run(node, reader, module)
        if not self._reasons:
            return self._finish(outputs, name)
        *reasons, last = dict.fromkeys(self._reasons)
        for name, axes in self._guessed.items():
            last += f" (input {name!r} was taken as {tuple(axes)}; if it is otherwise, say inputs=)"
        raise UnsupportedModel([*reasons, last])

    def _run(self, node: fx.Node, reader: Callable[..., Any] | None, module: nn.Module | None) -> Any:
        owner = _owner(node, module)
        if reader is None:
            self._reasons.append(f"{owner} is not supported")
            return _UNKNOWN
        args, kwargs = self._argument(node.args), self._argument(node.kwargs)
        if _holds_unknown((args, kwargs)):
            return _UNKNOWN
        lead = (self,) if module is None else (self, module)
        try:
            if module is not None and is_altered(module):
                raise Refused("has hooks or a forward of its own, which are not looked into")
            try:
                bound = inspect.signature(reader).bind(*lead, *args, **kwargs)
            except TypeError as error:
                raise Refused(f"is called in a way that is not supported: {error}") from None
            if getattr(module, "inplace", False) or bound.arguments.get("inplace") or is_named_so(node):
                self._changes.check(node)
            return reader(*lead, *args, **kwargs)
        except Refused as error:
            self._reasons.append(f"{owner} {error}")
        except (AttributeError, IndexError, TypeError, ValueError) as error:  # arguments that no reader expects
            self._reasons.append(f"{owner} is called in a way that is not supported: {error}")
        except BadModelFile as error:
            self._reasons.append(f"{owner}: {error}")
        return _UNKNOWN

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            found = self._values.get(value)
            return self._known.get(found.name, found) if isinstance(found, Pending) and found.is_plain else found
        if isinstance(value, (tuple, list)):
            return type(value)(self._argument(item) for item in value)
        if isinstance(value, dict):
            return {key: self._argument(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(*(self._argument(part) for part in (value.start, value.stop, value.step)))
        return value

    # ---- what readers use

    def add(self, kind: type[Layer], *inputs: TensorSpec | str, part: str = "", **attributes: Any) -> TensorSpec:
        """Append a layer named after the operation."""
        return self.build.add(kind, f"{self._name}_{part}" if part else self._name, *inputs, **attributes)

    @property
    def name(self) -> str:
        """Of the operation."""
        return self._name

    def array(self, tensor: Any) -> Array:
        """A parameter or buffer as float32, one array for each."""
        held = self._constants.get(id(tensor))
        if held is None:
            if not tensor.dtype.is_floating_point and tensor.dtype not in (torch.int64, torch.int32, torch.bool):
                raise Refused(f"has weights of {tensor.dtype}")
            if tensor.dtype.is_floating_point and tensor.dtype != torch.float32:
                self.note(f"weights of {str(tensor.dtype).removeprefix('torch.')} are computed in float32")
            held = tensor.detach().cpu().to(torch.float32).contiguous().numpy().copy()
            self._constants[id(tensor)] = held
        return held

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def tensor(self, value: Any, axes: Sequence[Any] | None = None, is_ids: bool = False) -> Tensor:
        """A value as a tensor; an input of which nothing is known yet gets the `axes` that its reader expects."""
        if isinstance(value, Pending):
            return self._settled(value, axes, is_ids)
        if isinstance(value, States):
            joined = join_states(self.build, f"{self._name}_states", value.parts)
            rows = self.add(Reshape, joined, part="rows", target=(len(value.parts), value.units))
            return Tensor(rows, (1, 0, 2))
        if not isinstance(value, Tensor):
            raise Refused(f"reads {_kind(value)} where a tensor that depends on the input is expected")
        if (value.spec.dtype == "int32") != is_ids:
            raise Refused("computes with token ids" if value.spec.dtype == "int32" else "needs token ids")
        return value

    def _settled(self, value: Pending, axes: Sequence[Any] | None, is_ids: bool) -> Tensor:
        if value.is_whole and not is_ids:
            raise Refused("reads whole numbers that were made of an input")
        if value.name not in self._known:
            if value.name in self._axes:
                given = self._axes[value.name]
                axes = list(given) if isinstance(given, (tuple, list)) else [given]
            elif axes is not None:
                axes = self._guessed[value.name] = value.moved(axes, back=True)
            else:
                raise Refused(
                    f'reads input {value.name!r}, whose axes are not known; say inputs={{"{value.name}": '
                    '("batch", "time", 40)}, with its own axes and sizes'
                )
            self._known[value.name] = self.input(input_tensor(value.name, axes, is_ids))
        known = self._known[value.name]
        if not isinstance(known, Tensor):
            raise Refused(f"reads {_kind(known)} where a sequence is expected")
        return self.tensor(replace(known, order=tuple(value.moved(known.order))), None, is_ids)

    def is_known(self, name: str) -> bool:
        """Whether an input's axes are known, by its first reader or the caller."""
        return name in self._known or name in self._axes

    def read_by_gru(self) -> int | None:
        """The features that a GRU expects of this operation's result; None where none reads it."""
        users = [self._traced.modules[str(user.target)] for user in self._node.users if user.op == "call_module"]
        return next((module.input_size for module in users if isinstance(module, nn.GRU)), None)

    def input(self, tensor: Tensor) -> Tensor:
        """Make a tensor an input of the network."""
        spec = self.build.input(tensor.spec)
        self._inputs[tensor.spec.name] = spec, replace(tensor, spec=spec).port()
        return replace(tensor, spec=spec, mask=f"{spec.name}:mask" if spec.is_sequence else None)

    def feeds(self, start: Any, states: Sequence[TensorSpec]) -> None:
        """Remember which input a layer's states start from, so that a Stream may carry them."""
        for name, known in self._known.items():
            if known is start or (isinstance(start, Pending) and start.name == name and start.is_plain):
                self._fed[tuple(spec.name for spec in states)] = name

    def states(self, value: Any, count: int, units: int) -> list[TensorSpec | Array | None]:
        """What `count` layers and directions start from, out of a tensor (count, batch, units)."""
        if value is None or (isinstance(value, Filled) and value.number == 0):
            return []
        if isinstance(value, Pending) and value.is_plain:
            spec = self.build.input(TensorSpec(value.name, (None, count * units), "float32", ("batch", "features")))
            self._inputs[value.name] = spec, states_port(spec.name, count, units)
            self._known[value.name] = value = States(tuple(split_states(self.build, spec, count)))
        if isinstance(value, Const):
            return list(_constant_states(value.array, count, units))
        if isinstance(value, States):
            if (len(value.parts), value.units) != (count, units):
                raise Refused(f"starts from {len(value.parts)} states of {value.units}, has {count} of {units}")
            return list(value.parts)
        tensor = self.tensor(value)
        if tensor.order == (None, 0, 1) and count == 1:
            return [tensor.spec]
        if tensor.order == (1, 0, 2) and tensor.spec.shape[1] == count:
            return [self.add(Slice, tensor.spec, part=str(k), axis=1, start=k, stop=k + 1, drop=True)
                    for k in range(count)]  # fmt: skip
        raise Refused(f"starts from a tensor of shape {shown(tensor.shape)}, not ({count}, batch, {units})")

    def length_input(self, value: Any) -> TensorSpec:
        """An input that holds the lengths of rows."""
        if isinstance(value, Pending) and not value.moves:
            value = self._known.get(value.name, value)
        if isinstance(value, Tensor) and value.spec.axes == ("batch",) and value.spec.dtype == "int32":
            return value.spec
        if not isinstance(value, Pending) or value.moves:
            raise Refused("takes lengths that are no input of forward")
        spec = self.build.input(TensorSpec(value.name, (None,), "int32", ("batch",)))
        self._inputs[value.name] = spec, None
        self._known[value.name] = Tensor(spec, (0,))
        return spec

    def arrange(self, x: Tensor, dims: Sequence[int]) -> TensorSpec:
        """The value with these axes of the tensor in this order; the batch first, a free time axis second."""
        orders = [x.order[dim] for dim in dims]
        real = [axis for axis in orders if axis is not None]
        if not real or real[0] != 0 or orders[0] is None:
            raise Refused(f"needs the batch at another place of {shown(x.shape)}")
        spec = x.spec
        if real != list(range(len(real))):
            if spec.shape[1] is None and real[1] != 1:
                raise Refused(f"moves the time axis of {shown(x.shape)} to where only known sizes can be")
            spec = self.add(Transpose, spec, part="laid", order=tuple(real[1:]))
        if len(real) == len(orders):
            return spec
        sizes = [1 if axis is None else x.spec.shape[axis] for axis in orders]
        if spec.is_sequence and orders[1] is not None:
            return self.add(Reshape, spec, part="split", target=tuple(sizes[2:]), per_step=True)
        if None in sizes[1:]:
            raise Refused(f"inserts an axis before the time of {shown(x.shape)}")
        return self.add(Reshape, spec, part="split", target=tuple(sizes[1:]))

    def canonical(self, x: Tensor) -> list[int]:
        """The tensor's axes with the batch first and time, if its size is free, second."""
        lead = [x.order.index(0)]
        if x.spec.is_sequence and x.spec.shape[1] is None:
            lead.append(x.order.index(1))
        return lead + [dim for dim in range(x.rank) if dim not in lead]

    def laid(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """The same tensor, its value arranged by `dims`."""
        spec = self.arrange(x, dims)
        return replace(x, spec=spec, order=tuple(list(dims).index(dim) for dim in range(x.rank)))

    def ending(self, x: Tensor, dim: Any) -> Tensor:
        """The same tensor, an axis of it the last one of the value."""
        dim = x.axis(dim)
        if x.order[dim] == len(x.spec.shape) - 1 and x.order[dim] != 0:
            return x
        dims = [other for other in self.canonical(x) if other != dim]
        return self.laid(x, [*dims, dim])

    # ---- the end

    def _finish(self, outputs: Any, name: str) -> Graph:
        flat: list[Any] = []

        def gather(value: Any) -> None:
            if isinstance(value, (tuple, list)):
                for item in value:
                    gather(item)
            elif isinstance(value, dict):
                gather(list(value.values()))
            elif value is not None:
                flat.append(value)

        gather(outputs)
        values: list[TensorSpec] = []
        ports: list[Port | None] = []
        states = []
        for number, value in enumerate(flat):
            self._name = f"output{number}"
            if isinstance(value, States):
                spec = join_states(self.build, "h_n", value.parts)
                taken = {port.name for port in ports if port is not None}
                port: Port | None = states_port(
                    "h_n" if "h_n" not in taken else f"h_n_{number}", len(value.parts), value.units
                )
                fed = self._fed.get(tuple(part.name for part in value.parts))
            elif isinstance(value, Tensor):
                if value.spec in self.build.inputs:
                    raise UnsupportedModel(f"forward returns its input {value.spec.name!r} as it is")
                spec, port, fed = value.spec, value.port(), self._fed.get((value.spec.name,))
            else:
                raise UnsupportedModel(f"forward returns {_kind(value)}")
            values.append(spec)
            ports.append(port)
            if fed is not None:
                states.append((fed, port.name if port is not None else spec.name))
        carried = Counter(source for source, _ in states)  # by several: which one goes on is the caller's to say
        if not values or not self.build.inputs:
            raise UnsupportedModel("forward returns nothing that depends on its inputs")
        names = [port.name if port is not None else spec.name for spec, port in zip(values, ports, strict=True)]
        if len(set(names)) != len(names) or len(set(values)) != len(values):
            raise UnsupportedModel(f"forward returns {max(names, key=names.count)!r} twice")
        training = [key or "it" for key, m in self._traced.modules.items() if m.training and _has_two_modes(m)]
        if training:
            shown = ", ".join(training[:3]) + (", …" if len(training) > 3 else "")
            self.note(f"is in training mode ({shown}); imported as it is in eval mode")
        input_ports = self._in_order()
        graph = self.build.graph(
            values,
            name=name,
            notes=tuple(self.notes),
            input_ports=input_ports if any(input_ports) else (),
            output_ports=tuple(ports) if any(ports) else (),
            states=tuple(pair for pair in states if carried[pair[0]] == 1),
        )
        return graph

    def _in_order(self) -> tuple[Port | None, ...]:
        """Put the inputs, which their first readers have made, into the order of forward's arguments; their ports."""
        arguments = [node for node in self._traced.nodes if node.op == "placeholder"]
        for node in arguments:
            is_left_out = bool(node.users) and all(_is_left_out(user) for user in node.users)
            if node.target not in self._inputs and not is_left_out:
                self.note(f"argument {str(node.target)!r} of forward changes nothing and is no input")
        made = [self._inputs[str(node.target)] for node in arguments if node.target in self._inputs]
        self.build.inputs[:] = [spec for spec, _ in made]
        return tuple(port for _, port in made)


def _has_two_modes(module: nn.Module) -> bool:
    """Whether a layer computes something else in training."""
    if isinstance(module, nn.GRU):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm))


def _owner(node: fx.Node, module: nn.Module | None) -> str:
    """How an operation is called in messages: by its place in the module where it is a layer."""
    if module is not None:
        return f"{node.target or 'module'!s} ({type(module).__name__})"
    called = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"{node.name} ({'method ' if node.op == 'call_method' else ''}{called})"


def _kind(value: Any) -> str:
    names = {
        Const: "a constant",
        Filled: "a constant",
        Size: "a size",
        Lengths: "lengths",
        Packed: "a PackedSequence",
        Pending: "an input as it is",
        States: "states",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _is_left_out(user: fx.Node) -> bool:
    """Whether an operation is the trace's own check that an optional argument is None."""
    return user.target is fx._symbolic_trace._assert_is_none


def _holds_unknown(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_holds_unknown, value))
    if isinstance(value, dict):
        return any(map(_holds_unknown, value.values()))
    return value is _UNKNOWN


def _constant_states(array: Array, count: int, units: int) -> list[Array | None]:
    """States out of a constant (count, batch, units) whose rows are equal."""
    if array.ndim != 3 or array.shape[::2] != (count, units) or not (array == array[:, :1]).all():
        raise Refused(f"starts from a constant of shape {array.shape}, not ({count}, 1, {units}) or of equal rows")
    return [np.ascontiguousarray(row) if row.any() else None for row in array[:, 0]]

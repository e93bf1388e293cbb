"""Steps that an exporter wrote out one after the other, rolled up again.

tf2onnx writes a TimeDistributed, and a GRU that was told to unroll, step by step: a hundred times Slice, Squeeze,
MatMul, …, Unsqueeze, and one Concat. Where all of them are alike, but for the step that they take of one sequence and
the result of the step before, they become one node ``Steps``, which is a Scan over exactly that many steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

#: domain of the node that is put in
DOMAIN = "fastgru.steps"
#: names in its body
STATE, STEP = "\0\0state", "\0\0step"
#: how far a step is followed back
DEPTH = 100


class _Differ(Exception):
    """Steps are not alike."""


@dataclass
class _Chain:
    """What one step computes, found by walking back through all steps side by side."""

    outputs: tuple[str, ...]  # of the steps
    nodes: list[Any] = field(default_factory=list)  # those of the last step, in order
    done: dict[tuple[str, ...], str] = field(default_factory=dict)  # by their names in all steps
    walked: str = ""
    axis: int = 0
    initial: str = ""


def rerolled(graph: Any) -> Any:
    """A graph with its written-out steps rolled up; the graph itself where there are none.

    Parameters
    ----------
    graph : onnx.GraphProto

    Returns
    -------
    GraphProto, or an object with the same fields
    """
    return _Rolling(graph).result() if any(_may_join(node) for node in graph.node) else graph


def _may_join(node: Any) -> bool:
    return node.op_type == "Concat" and len(node.input) > 1


class _Rolling:
    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.makers = {name: node for node in graph.node for name in node.output if name}
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}

    def result(self) -> Any:
        nodes = []
        is_changed = False
        for node in self.graph.node:
            rolled = self._rolled(node) if _may_join(node) else None
            is_changed |= rolled is not None
            nodes.append(rolled or node)
        if not is_changed:
            return self.graph
        given = {key: getattr(self.graph, key) for key in ("name", "input", "output", "initializer")}
        return SimpleNamespace(node=nodes, **given)

    def _rolled(self, joined: Any) -> Any:
        """The node that a Concat of steps is; None where it is none."""
        try:
            axis = next(attribute.i for attribute in joined.attribute if attribute.name == "axis")
            outputs = tuple(self._stacked(name, axis) for name in joined.input)
            if len(set(outputs)) < len(outputs):
                return None
            chain = _Chain(outputs)
            result = self._walk(chain, outputs, 0)
        except (_Differ, StopIteration):
            return None
        return self._node(joined, chain, result, axis) if chain.walked else None

    def _stacked(self, name: str, axis: int) -> str:
        """What of a step is put on the axis."""
        node = self.makers.get(name)
        if node is None or node.op_type != "Unsqueeze" or self._axes(node) != [axis]:
            raise _Differ
        return str(node.input[0])

    def _walk(self, chain: _Chain, names: tuple[str, ...], depth: int) -> str:
        """The name in the body of what has these names in the steps."""
        if names in chain.done:
            return chain.done[names]
        if len(set(names)) == 1:
            return names[0]
        if depth and names[1:] == chain.outputs[:-1]:
            if chain.initial not in ("", names[0]):
                raise _Differ
            chain.initial = names[0]
            return STATE
        if depth > DEPTH:
            raise _Differ
        return self._of_nodes(chain, names, depth)

    def _of_nodes(self, chain: _Chain, names: tuple[str, ...], depth: int) -> str:
        if all(name in self.tensors for name in names):
            self._check_alike(names)
            return names[-1]
        if not all(name in self.makers for name in names):
            raise _Differ
        nodes = [self.makers[name] for name in names]
        if self._is_step(chain, nodes, names):
            return STEP
        last = nodes[-1]
        for node in nodes:
            is_alike = (node.op_type, node.domain, len(node.input)) == (last.op_type, last.domain, len(last.input))
            if not is_alike or _attributes(node) != _attributes(last) or _places(node) != _places(last):
                raise _Differ
        place = list(last.output).index(names[-1])
        if any(list(node.output).index(name) != place for node, name in zip(nodes, names, strict=True)):
            raise _Differ
        columns = zip(*(node.input for node in nodes), strict=True)
        inputs = [self._walk(chain, tuple(column), depth + 1) for column in columns]
        for index, name in enumerate(last.output):
            chain.done[tuple(node.output[index] for node in nodes)] = _inside(name)
        copy = type(last)()
        copy.CopyFrom(last)
        copy.ClearField("input")
        copy.ClearField("output")
        copy.input.extend(inputs)
        copy.output.extend(map(_inside, last.output))
        chain.nodes.append(copy)
        return chain.done[names]

    def _is_step(self, chain: _Chain, nodes: Sequence[Any], names: Sequence[str]) -> bool:
        """Whether these are step 0, step 1, … of one sequence, without their time axis."""
        found = [self._step(node) for node in nodes]
        if any(step is None for step in found):
            return False
        source, axis, _ = found[0]  # type: ignore[misc]
        if found != [(source, axis, index) for index in range(len(nodes))]:
            return False
        if chain.walked not in ("", source) or (chain.walked and chain.axis != axis):
            raise _Differ
        chain.walked, chain.axis = source, axis
        return True

    def _step(self, node: Any) -> tuple[str, int, int] | None:
        """Sequence, time axis and number of a step: Squeeze of Slice or of one of a Split's outputs, or Gather."""
        if node.op_type == "Gather" and len(node.input) == 2:
            place = self._numbers(node.input[1], rank=0)
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            return (str(node.input[0]), axis, place[0]) if place else None
        if node.op_type != "Squeeze":
            return None
        axes, cut = self._axes(node), self.makers.get(node.input[0])
        if cut is None or not axes or len(axes) != 1:
            return None
        if cut.op_type == "Split":
            sizes = self._attribute_or_input(cut, "split", 1)
            axis = next((attribute.i for attribute in cut.attribute if attribute.name == "axis"), 0)
            if axis == axes[0] and (sizes is None or set(sizes) == {1}):
                return str(cut.input[0]), axis, list(cut.output).index(node.input[0])
        if cut.op_type == "Slice":
            bounds = [self._attribute_or_input(cut, *pair) for pair in (("starts", 1), ("ends", 2), ("axes", 3))]
            steps = self._numbers(cut.input[4]) if len(cut.input) > 4 else [1]
            start, stop, along = bounds
            if start and stop and along == axes and steps == [1] and len(start) == 1 and stop == [start[0] + 1]:
                return str(cut.input[0]), axes[0], start[0]
        return None

    def _axes(self, node: Any) -> list[int] | None:
        return self._attribute_or_input(node, "axes", 1)

    def _attribute_or_input(self, node: Any, name: str, index: int) -> list[int] | None:
        for attribute in node.attribute:
            if attribute.name == name:
                return list(attribute.ints)
        return self._numbers(node.input[index]) if len(node.input) > index else None

    def _numbers(self, name: str, rank: int = 1) -> list[int] | None:
        """A small constant of whole numbers."""
        from onnx import numpy_helper

        tensor = self.tensors.get(name)
        maker = self.makers.get(name)
        if tensor is None and maker is not None and maker.op_type == "Constant":
            tensor = next((attribute.t for attribute in maker.attribute if attribute.name == "value"), None)
        if tensor is None or len(tensor.dims) != rank or sum(tensor.dims) > 8 or tensor.data_type not in (6, 7):
            return None
        try:
            return [int(number) for number in numpy_helper.to_array(tensor).reshape(-1)]
        except (ValueError, TypeError):
            return None

    def _check_alike(self, names: Sequence[str]) -> None:
        """Constants of several names and the same numbers."""
        contents = []
        for name in names:
            copy = type(self.tensors[name])()
            copy.CopyFrom(self.tensors[name])
            copy.ClearField("name")
            contents.append(copy.SerializeToString(deterministic=True))
        if len(set(contents)) > 1:
            raise _Differ

    def _node(self, joined: Any, chain: _Chain, result: str, axis: int) -> Any:
        from onnx import helper

        def entry(name: str) -> Any:
            return helper.make_tensor_value_info(name, 1, None)

        states = [STATE] if chain.initial else []
        body = helper.make_graph(
            chain.nodes,
            "steps",
            [entry(name) for name in (*states, STEP)],
            [entry(result) for _ in range(len(states) + 1)],
        )
        inputs = [chain.initial, chain.walked] if chain.initial else [chain.walked]
        outputs = ["", joined.output[0]] if chain.initial else [joined.output[0]]  # nothing reads the last state
        return helper.make_node(
            "Steps", inputs, outputs, name=joined.name, domain=DOMAIN, body=body, num_scan_inputs=1,
            count=len(joined.input), scan_input_axes=[chain.axis], scan_output_axes=[axis],
        )  # fmt: skip


def _inside(name: str) -> str:
    """A name in the body that no name outside is equal to."""
    return f"\0{name}" if name else ""


def _attributes(node: Any) -> list[bytes]:
    return sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)


def _places(node: Any) -> tuple[int, list[bool]]:
    return len(node.output), [bool(name) for name in node.input]

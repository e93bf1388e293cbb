"""Which axes of a file's inputs are batch and time: what its GRUs and loops say of them, followed back to inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import BadInput
from .functions import nodes_of

if TYPE_CHECKING:
    from .network import Network

#: by input: a word for each axis, "batch", "time" or "" for others
Roles = dict[str, tuple[str, ...]]
#: what is known of a value's axes from the first or (negative) the last one on
_Known = dict[int, str]

_ELEMENTWISE = frozenset((
    "Abs", "Add", "And", "BatchNormalization", "Cast", "Celu", "Clip", "Concat", "Div", "Dropout", "Elu", "Equal",
    "Erf", "Exp", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity",
    "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "Max",
    "Mean", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "Reciprocal", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Slice", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh",
    "ThresholdedRelu", "Where",
))  # fmt: skip
_WINDOWS = frozenset(("Conv", "MaxPool", "AveragePool"))


def find_roles(net: Network, said: Mapping[str, Any], turned: bool = False) -> Roles:
    """The roles of every input's axes.

    GRUs know time and batch of what they read; that is followed back through the operators that keep axes apart. An
    input that no GRU says anything of has its batch first, and its time second if it has three or more axes, or holds
    ids.

    Parameters
    ----------
    net : Network
        Its graph is read, nothing else.
    said : dict of str to words
        What the caller says: for an input, a word for each axis, such as ``("time", "batch", "features")`` or one
        string of them.
    turned : bool
        Batch and time the other way round, where nobody says which is which.

    Raises
    ------
    BadInput
        The caller names an input or axes that are not there.
    """
    proto = net.main.proto
    held = {tensor.name for tensor in proto.initializer}
    ranks = {entry.name: len(entry.type.tensor_type.shape.dim) for entry in proto.input if entry.name not in held}
    free = {entry.name: _free_axes(entry) for entry in proto.input}
    is_whole = {entry.name: entry.type.tensor_type.elem_type in (6, 7) for entry in proto.input}
    foreign = sorted(set(said) - set(ranks))
    if foreign:
        raise BadInput(f"axes= names {', '.join(foreign)}; the inputs are {', '.join(ranks)}")
    found = _followed(net)
    roles: Roles = {}
    for name, rank in ranks.items():
        if name in said:
            roles[name] = _said(name, said[name], rank)
        else:
            known = {axis % rank: word for axis, word in found.get(name, {}).items() if -rank <= axis < rank}
            roles[name] = _words(known, rank, is_whole[name], free[name])
            if turned and not known:
                roles[name] = tuple({"batch": "time", "time": "batch"}.get(word, word) for word in roles[name])
    return roles


def _said(name: str, words: Any, rank: int) -> tuple[str, ...]:
    listed = tuple(words.split()) if isinstance(words, str) else tuple(words)
    kept = tuple(word if word in ("batch", "time") else "" for word in listed)
    if len(listed) != rank or any(kept.count(word) > 1 for word in ("batch", "time")):
        raise BadInput(f"axes={{{name!r}: …}} should have {rank} words, batch and time at most once, has {words!r}")
    return kept


def _free_axes(entry: Any) -> list[int]:
    dims = entry.type.tensor_type.shape.dim
    return [axis for axis, dim in enumerate(dims) if not (dim.HasField("dim_value") and dim.dim_value > 0)]


def _words(known: Mapping[int, str], rank: int, is_whole: bool, free: Sequence[int]) -> tuple[str, ...]:
    """What nothing says: the first axis is the batch; the other one of free size, or else the usual place, is time."""
    words = [known.get(axis, "") for axis in range(rank)]
    if "batch" not in words and words[:1] == [""] and ("time" not in words or rank > 2 or is_whole):
        words[0] = "batch"
    others = [axis for axis in free if not words[axis]]
    if "time" in words:
        return tuple(words)
    if len(others) == 1:
        words[others[0]] = "time"
    elif not known and (rank >= 3 or (is_whole and rank == 2)):
        usual = next(axis for axis in (2 if rank == 4 else 1, 1) if not words[axis])
        words[usual] = "time"
    return tuple(words)


def _followed(net: Network) -> dict[str, _Known]:
    """What is known of the axes of every name from which a GRU can be reached."""
    nodes = list(nodes_of(net.main.proto))
    makers = {name: node for node in nodes for name in node.output if name}
    known: dict[str, _Known] = {}
    rest: list[tuple[str, _Known]] = []
    for node in nodes:
        rest += _facts(node, nodes)
    steps = 0
    while rest and steps < 100_000:
        steps += 1
        name, facts = rest.pop(0)
        have = known.setdefault(name, {})
        new = {axis: word for axis, word in facts.items() if axis not in have and word not in have.values()}
        if not name or not new:
            continue
        have.update(new)
        maker = makers.get(name)
        if maker is not None:
            rest += _before(maker, new, net)
    return known


def _facts(node: Any, nodes: Sequence[Any]) -> list[tuple[str, _Known]]:
    """What an operator that walks sequences says of its inputs."""
    if node.op_type == "GRU":
        batch_first = any(a.name == "layout" and a.i == 1 for a in node.attribute)
        x: _Known = {0: "batch", 1: "time"} if batch_first else {0: "time", 1: "batch"}
        facts = [(name, x) for name in node.input[:1]]
        if len(node.input) > 4:
            facts.append((node.input[4], {0: "batch"}))
        if len(node.input) > 5:
            facts.append((node.input[5], {0: "batch"} if batch_first else {1: "batch"}))
        return facts
    for op, facts_of in LOOPS.items():
        if node.op_type == op:
            return facts_of(node)
    return []


def _loop_facts(node: Any) -> list[tuple[str, _Known]]:
    """A body that gathers step by step from a value says which axis is time; the first other one is batch."""
    graphs = [attribute.g for attribute in node.attribute if attribute.name == "body"]
    facts: list[tuple[str, _Known]] = []
    for graph in graphs:
        inside = {name for inner in graph.node for name in inner.output} | {entry.name for entry in graph.input}
        for inner in graph.node:
            if inner.op_type == "Gather" and len(inner.input) > 1 and inner.input[0] not in inside:
                time = next((attribute.i for attribute in inner.attribute if attribute.name == "axis"), 0)
                facts.append((inner.input[0], {time: "time", 0 if time else 1: "batch"}))
    return facts


def _scan_facts(node: Any) -> list[tuple[str, _Known]]:
    count = next((attribute.i for attribute in node.attribute if attribute.name == "num_scan_inputs"), 0)
    return [(name, {0: "time", 1: "batch"}) for name in list(node.input)[len(node.input) - count :]]


LOOPS: dict[str, Callable[[Any], list[tuple[str, _Known]]]] = {"Loop": _loop_facts, "Scan": _scan_facts}


def _before(node: Any, known: _Known, net: Network) -> list[tuple[str, _Known]]:
    """What follows for the inputs of a node from what is known of one of its outputs."""
    op = node.op_type
    attributes = {attribute.name: attribute for attribute in node.attribute}
    first = node.input[0] if node.input else ""
    if op in _ELEMENTWISE:
        return [(source, known) for source in node.input if source]
    if op == "Transpose" and "perm" in attributes:
        perm = list(attributes["perm"].ints)
        return [(first, {perm[axis]: word for axis, word in known.items() if -len(perm) <= axis < len(perm)})]
    if op in ("Squeeze", "Unsqueeze"):
        axes = _axes(node, attributes, net)
        if axes is None or any(axis < 0 for axis in axes):
            return []
        return [(first, _without(known, axes) if op == "Unsqueeze" else _with(known, axes))]
    if op in ("MatMul", "Gemm"):
        return [(first, {axis: word for axis, word in known.items() if axis >= 0})]
    if op == "Gather":
        return [(node.input[1], known)] if len(node.input) > 1 and _is_table(first, net) else []
    if op in _WINDOWS:
        return [(first, known)]
    if op == "OneHot":
        return [(first, {axis: word for axis, word in known.items() if axis >= 0})]
    if op == "Reshape":
        return _before_reshape(node, known, net)
    if op == "ReverseSequence":
        return [(first, known)]
    return []


def _before_reshape(node: Any, known: _Known, net: Network) -> list[tuple[str, _Known]]:
    """Leading sizes that are copied (0) keep their axes."""
    target = _constant(node.input[1], net) if len(node.input) > 1 else None
    if target is None:
        return []
    copied = 0
    while copied < len(target) and target[copied] == 0:
        copied += 1
    return [(node.input[0], {axis: word for axis, word in known.items() if 0 <= axis < copied})]


def _axes(node: Any, attributes: Mapping[str, Any], net: Network) -> list[int] | None:
    if "axes" in attributes:
        return list(attributes["axes"].ints)
    return _constant(node.input[1], net) if len(node.input) > 1 else None


def _constant(name: str, net: Network) -> list[int] | None:
    """A small constant, an initializer's or a Constant node's."""
    from onnx import numpy_helper

    tensor = net.main.initializers.get(name)
    maker = net.main.makers.get(name)
    if tensor is None and maker is not None and maker.op_type == "Constant":
        tensor = next((attribute.t for attribute in maker.attribute if attribute.name == "value"), None)
    if tensor is None or len(tensor.dims) > 1 or sum(tensor.dims) > 64 or tensor.data_type not in (6, 7):
        return None
    try:
        return [int(item) for item in numpy_helper.to_array(tensor).reshape(-1)]
    except (ValueError, TypeError):
        return None


def _is_table(name: str, net: Network) -> bool:
    maker = net.main.makers.get(name)
    return name in net.main.initializers or (maker is not None and maker.op_type in ("Constant", "Identity"))


def _without(known: _Known, axes: Sequence[int]) -> _Known:
    """Axes of a value before these were put in."""
    kept = {axis: word for axis, word in known.items() if axis >= 0 and axis not in axes}
    return {axis - sum(1 for new in axes if new < axis): word for axis, word in kept.items()}


def _with(known: _Known, axes: Sequence[int]) -> _Known:
    """Axes of a value before these were taken out."""
    moved = {}
    for axis, word in known.items():
        if axis >= 0:
            for gone in sorted(axes):
                axis += gone <= axis
            moved[axis] = word
    return moved

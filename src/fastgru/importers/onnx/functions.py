"""A model's own functions, put in place of their calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import BadModelFile

#: nodes that calls may become; functions that call each other twice would double them at every level
MAX_NODES = 1_000_000


def inlined(model: Any) -> Any:
    """The model without functions; itself where it has none.

    Raises
    ------
    BadModelFile
        Functions call themselves, or become too many nodes, or are wrong.
    """
    if not model.functions:
        return model
    count = _count(model)
    if count > MAX_NODES:
        raise BadModelFile(f"its functions would become {count:,} nodes; at most {MAX_NODES:,} are read")
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except Exception as error:  # whatever its C++ code throws at a model that is wrong
        raise BadModelFile(f"its functions cannot be put in place: {error}") from error


def nodes_of(graph: Any) -> Iterator[Any]:
    """Every node of a graph or function and of the graphs inside it."""
    rest = [graph]
    while rest:
        one = rest.pop()
        for node in one.node:
            yield node
            for attribute in node.attribute:
                rest += [attribute.g] if attribute.HasField("g") else []
                rest += attribute.graphs


def _count(model: Any) -> int:
    """How many nodes the model has once its functions are in place."""
    bodies = {(f.domain, f.name): [(node.domain, node.op_type) for node in nodes_of(f)] for f in model.functions}
    callers: dict[tuple[str, str], list[tuple[str, str]]] = {}
    open_calls = {}
    for name, calls in bodies.items():
        own = [call for call in calls if call in bodies]
        open_calls[name] = len(own)
        for call in own:
            callers.setdefault(call, []).append(name)
    sizes: dict[tuple[str, str], int] = {}
    ready = [name for name, count in open_calls.items() if not count]
    while ready:
        name = ready.pop()
        sizes[name] = sum(sizes.get(call, 1) for call in bodies[name])
        for caller in callers.get(name, ()):
            open_calls[caller] -= 1
            if not open_calls[caller]:
                ready.append(caller)
    if len(sizes) < len(bodies):
        raise BadModelFile(f"function {min(set(bodies) - set(sizes))[1]!r} calls itself")
    return sum(sizes.get((node.domain, node.op_type), 1) for node in nodes_of(model.graph))

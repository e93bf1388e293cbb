"""Graphs inside a node: a branch that the file decides for, and functions that it defines itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..node import Node, Refusal
from ..values import Constant, Value
from .table import reads

if TYPE_CHECKING:
    from ..network import Network, Scope

#: how many graphs may stand inside each other
MOST_DEEP = 16


@reads("If", note="where the condition is a constant")
def if_(node: Node) -> Sequence[Value]:
    condition = node.needed(0)
    branches = {True: node.graph("then_branch"), False: node.graph("else_branch")}
    if not isinstance(condition, Constant) or condition.array.size != 1 or condition.array.dtype == object:
        raise Refusal("branches by what only a call knows")
    from ..network import Scope

    graph = branches[bool(condition.array.reshape(()))]
    scope = Scope(graph, node.scope)
    names = [entry.name for entry in graph.output]
    return evaluated(node.network, scope, names)


def evaluated(net: Network, scope: Scope, names: Sequence[str]) -> list[Value]:
    """Some values of a graph inside a node."""
    if scope.depth > MOST_DEEP:
        raise Refusal(f"has more than {MOST_DEEP} graphs inside each other")
    net.refuse_foreign(scope, names)
    net.evaluate(scope, names)
    return [net.value(scope, name) for name in names]


def called(node: Node, function: Any) -> list[Value]:
    """A function of the file, its body put in the place of the call."""
    from onnx import GraphProto

    from ..network import Scope

    given = {attribute.name: attribute for attribute in node.proto.attribute}
    node.ignore(*function.attribute, *(attribute.name for attribute in function.attribute_proto))
    defaults = {attribute.name: attribute for attribute in function.attribute_proto}
    body = GraphProto()
    for inner in function.node:
        copy = body.node.add()
        copy.CopyFrom(inner)
        _bind(copy, {**defaults, **given})
    scope = Scope(body, None)
    scope.depth = node.scope.depth + 1
    scope.opset = node.network.container.opset_of(function, node.opset)
    for index, name in enumerate(function.input):
        value = node.input(index)
        scope.values[name] = value if value is not None else Constant(np.zeros(0), (0,))
        if value is None:
            _drop(body, name)
    return evaluated(node.network, scope, list(function.output))


def _bind(node: Any, given: dict[str, Any]) -> None:
    """Attributes that refer to the function's get its values, or go where these are absent."""
    bound = []
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            bound.append(attribute)
        elif attribute.ref_attr_name in given:
            value = type(attribute)()
            value.CopyFrom(given[attribute.ref_attr_name])
            value.name = attribute.name
            bound.append(value)
    copies = [type(attribute).FromString(attribute.SerializeToString()) for attribute in bound]
    del node.attribute[:]
    node.attribute.extend(copies)
    for attribute in node.attribute:
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            for inner in graph.node:
                _bind(inner, given)


def _drop(body: Any, name: str) -> None:
    """An optional input that was not given is absent inside as well."""
    for node in body.node:
        node.input[:] = ["" if given == name else given for given in node.input]

"""Graphs inside a node: a branch that the file decides for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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

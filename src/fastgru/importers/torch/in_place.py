"""Operations that change a tensor in place: allowed where nobody can tell."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx

from ..sizes import Size
from .functions import VIEWS
from .trace import IN_PLACE
from .values import Refused


class Changes:
    """What a trace changes in place.

    Parameters
    ----------
    nodes : sequence of fx.Node
        Of the trace, in order.
    values, readers : dict by node
        What each operation gave, and the function that read it; the walk over the trace fills them.
    """

    def __init__(
        self, nodes: Sequence[fx.Node], values: Mapping[fx.Node, Any], readers: Mapping[fx.Node, Callable[..., Any]]
    ) -> None:
        self._order = {node: place for place, node in enumerate(nodes)}
        self._values, self._readers = values, readers
        self._made: set[fx.Node] = set()  # operations that give their first argument, changed

    def check(self, node: fx.Node) -> None:
        """Refuse to change a tensor that somebody else reads afterwards, itself or as another view.

        Raises
        ------
        Refused
        """
        seen = node
        changed = node.args[0] if node.args else next(iter(node.kwargs.values()))
        while isinstance(changed, fx.Node):
            value = self._values.get(changed)
            if isinstance(value, (int, float, Size)):  # a new number, which leaves the old one as it is
                return
            users = [user for user in changed.users if user is not seen]
            if isinstance(value, tuple):
                users = [user for user in users if _reads_part(user, seen, len(value))]
            if any(self._order[user] > self._order[node] or self._is_view(user) for user in users):
                raise Refused(f"changes {changed.name!r} in place, which others read, too")
            source: Any = changed.args[0] if changed.args else None
            is_part = isinstance(self._values.get(source), tuple)
            seen, changed = changed, source if is_part or self._is_view(changed) else None
        self._made.add(node)

    def _is_view(self, node: fx.Node) -> bool:
        """Whether an operation gives its first argument, or another view of its numbers."""
        return node in self._made or (node.op != "placeholder" and self._readers.get(node) in VIEWS)


def is_named_so(node: fx.Node) -> bool:
    """Whether an operator or a method's name says that it changes its tensor."""
    if node.op == "call_method":
        return str(node.target).endswith("_") and node.target != "requires_grad_"
    return node.target in IN_PLACE.values()


def _reads_part(user: fx.Node, other: fx.Node, count: int) -> bool:
    """Whether an operation reads of several tensors the one that another operation takes."""
    picks: list[Any] = [node.args[1] if node.target is operator.getitem else None for node in (user, other)]
    return not all(type(pick) is int for pick in picks) or picks[0] % count == picks[1] % count

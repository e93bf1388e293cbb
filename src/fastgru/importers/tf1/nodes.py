"""The nodes of a TensorFlow graph as plain records: what `reading` makes and `network` understands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import BadModelFile

Array = np.ndarray

#: operations with several outputs that have names: a function's nodes refer to them by these
OUTPUTS = {
    "Switch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
    "TensorArrayV3": ("handle", "flow"),
    "GRUBlockCell": ("r", "u", "c", "h"),
}


@dataclass(frozen=True)
class Ref:
    """One output of a node."""

    name: str
    index: int = 0

    @classmethod
    def of(cls, text: str) -> Ref:
        """From TensorFlow's spelling: ``name``, ``name:1``."""
        name, _, index = text.partition(":")
        if index and not index.isdecimal():
            raise BadModelFile(f"{text!r} names no output of a node")
        return cls(name, int(index or 0))

    def __str__(self) -> str:
        return f"{self.name}:{self.index}" if self.index else self.name


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its data inputs (those that only order the execution are left out) and its attributes.

    Attributes hold numbers, texts, truth values and lists of them; a shape is a list with None for each free size, or
    None where the rank is free. `value` is that of a Const.
    """

    name: str
    op: str
    inputs: tuple[Ref, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    value: Array | None = None


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the graph's library: the body or the condition of a While."""

    arguments: tuple[str, ...]
    results: tuple[Ref, ...]
    nodes: Mapping[str, Node]


@dataclass(frozen=True, eq=False)
class Source:
    """A network as it was read: nodes by name, functions by name, arrays by the name of their variable's node."""

    nodes: Mapping[str, Node]
    functions: Mapping[str, Function] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def before(self, ref: Ref) -> Iterator[Node]:
        """Every node that `ref` depends on, itself included."""
        seen, waiting = set(), [ref.name]
        while waiting:
            name = waiting.pop()
            node = self.nodes.get(name)
            if name in seen or node is None:
                continue
            seen.add(name)
            yield node
            waiting.extend(source.name for source in node.inputs)

"""One node of an ONNX graph, as its reader sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadModelFile
from .values import Constant, Refusal, Tensor, Value

if TYPE_CHECKING:
    from .network import Network, Scope

__all__ = ["Node", "Refusal", "axis_in", "label"]


class Node:
    """A node with its inputs' values.

    Every attribute is taken by one of the methods; those that nobody took are refused.

    Attributes
    ----------
    name : str
        Its name or, where it has none, ``Op→output``.
    op : str
    inputs : list of Value or None
        None where an optional input is absent.
    outputs : list of str
        Their names in the file; empty where nobody wants them.
    network : Network
    scope : Scope
        The graph that it stands in.
    """

    def __init__(self, proto: Any, inputs: Sequence[Value | None], network: Network, scope: Scope) -> None:
        self.proto = proto
        self.name = label(proto)
        self.op = proto.op_type
        self.inputs = list(inputs)
        self.outputs = list(proto.output)
        self.network = network
        self.scope = scope
        self._attributes = {attribute.name: attribute for attribute in proto.attribute}
        if len(self._attributes) != len(proto.attribute):
            raise BadModelFile(f"node {self.name!r} has an attribute twice")

    @property
    def opset(self) -> int:
        return self.network.opset

    # ---- attributes

    def _take(self, name: str, kind: str, default: Any) -> Any:
        attribute = self._attributes.pop(name, None)
        if attribute is None:
            return default
        if attribute.ref_attr_name:
            raise Refusal(f"attribute {name} refers to a function's attribute")
        given = attribute.AttributeType.Name(attribute.type)
        if given != kind:
            raise BadModelFile(f"node {self.name!r}: attribute {name} should be of type {kind}, is {given}")
        return attribute

    def whole(self, name: str, default: Any = None) -> Any:
        """An int."""
        found = self._take(name, "INT", default)
        return found if found is default else int(found.i)

    def flag(self, name: str, default: bool = False) -> bool:
        """An int that is 0 or 1."""
        value = self.whole(name, int(default))
        if value not in (0, 1):
            raise BadModelFile(f"node {self.name!r}: attribute {name} should be 0 or 1, is {value}")
        return bool(value)

    def number(self, name: str, default: Any = None) -> Any:
        """A float."""
        found = self._take(name, "FLOAT", default)
        return found if found is default else float(found.f)

    def text(self, name: str, default: Any = None) -> Any:
        found = self._take(name, "STRING", default)
        return found if found is default else self._decoded(found.s, name)

    def wholes(self, name: str, default: Any = None) -> Any:
        """A tuple of int."""
        found = self._take(name, "INTS", default)
        return found if found is default else tuple(int(item) for item in found.ints)

    def numbers(self, name: str, default: Any = None) -> Any:
        """A tuple of float."""
        found = self._take(name, "FLOATS", default)
        return found if found is default else tuple(float(item) for item in found.floats)

    def texts(self, name: str, default: Any = None) -> Any:
        """A tuple of str."""
        found = self._take(name, "STRINGS", default)
        return found if found is default else tuple(self._decoded(item, name) for item in found.strings)

    def tensor(self, name: str, default: Any = None) -> Any:
        """An array."""
        found = self._take(name, "TENSOR", default)
        return found if found is default else self.network.container.array(found.t, f"{self.name}.{name}")

    def graph(self, name: str) -> Any:
        """A GraphProto."""
        found = self._take(name, "GRAPH", None)
        if found is None:
            raise BadModelFile(f"node {self.name!r} lacks its {name}")
        return found.g

    def ignore(self, *names: str) -> None:
        """Attributes without effect on inference."""
        for name in names:
            self._attributes.pop(name, None)

    @property
    def has(self) -> frozenset[str]:
        """Names of the attributes that nobody has taken yet."""
        return frozenset(self._attributes)

    def _decoded(self, value: bytes, name: str) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadModelFile(f"node {self.name!r}: attribute {name} is no text") from None

    # ---- inputs

    def input(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def needed(self, index: int) -> Value:
        """An input that must be there."""
        value = self.input(index)
        if value is None:
            raise BadModelFile(f"node {self.name!r} lacks its input {index}")
        return value

    def runtime(self, index: int) -> Tensor:
        """An input that only a call knows."""
        value = self.needed(index)
        if not isinstance(value, Tensor):
            raise Refusal(f"input {index} is a {'constant' if isinstance(value, Constant) else 'comparison'}")
        return value

    def constant(self, index: int, what: str) -> np.ndarray:
        """An input that the file must know, all its numbers."""
        value = self.needed(index)
        if not isinstance(value, Constant) or not value.is_plain:
            raise Refusal(f"its {what} (input {index}) is not a constant")
        return value.array

    def numbers_of(self, index: int, what: str) -> np.ndarray:
        """An input that the file must know, of numbers that hang on no free size."""
        array = self.constant(index, what)
        if array.dtype == object:
            raise Refusal(f"its {what} (input {index}) hangs on a size that is free")
        return array

    def whole_numbers(self, index: int, what: str) -> list[Any]:
        """An input of sizes, axes or places: a flat list of int or Size."""
        numbers = self.constant(index, what).reshape(-1)
        return [int(item) if isinstance(item, np.integer) else item for item in numbers]

    def axes(self, attribute: str, index: int, since: int) -> tuple[int, ...] | None:
        """Axes that are an attribute before opset `since`, an input from then on; None where they are absent."""
        if self.opset < since:
            return self.wholes(attribute)  # type: ignore[no-any-return]
        if self.input(index) is None:
            return None
        return tuple(int(axis) for axis in self.numbers_of(index, attribute).reshape(-1))


def label(proto: Any) -> str:
    """What a node is called: its name, or operator and first output."""
    return proto.name or f"{proto.op_type}→{next((name for name in proto.output if name), '?')}"


def axis_in(axis: int, rank: int) -> int:
    """An axis counted from the beginning."""
    if not -rank <= axis < rank:
        raise BadModelFile(f"axis {axis} is none of {rank}")
    return axis % rank if rank else 0

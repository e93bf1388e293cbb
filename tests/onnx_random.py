"""Random ONNX networks: GRUs with the plumbing around them that exporters write, in every layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_build import gru

#: an axis: "B" batch, "T" time, "1" of size 1, or the size of features
Axis = str | int

ACTIVATIONS = (
    "Relu", "Tanh", "Sigmoid", "Elu", "LeakyRelu", "Softplus", "HardSigmoid", "Softsign", "Selu", "Abs", "Neg",
)  # fmt: skip


class Maker:
    """A network as it grows; `value` is the last one's name, `axes` what its axes are."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.value, self.axes = "x", list[Axis]()
        self.states: list[str] = []
        self._count = 0

    # ---- writing

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the name of its first output."""
        names = [self.name(op.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **attributes))
        return names[0]

    def constant(self, array: Any) -> str:
        """An initializer or, at times, a Constant node."""
        array = np.asarray(array)
        name = self.name("c")
        if self.rng.integers(0, 2):
            self.weights.append(numpy_helper.from_array(array, name))
        else:
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        return name

    def normal(self, *shape: int) -> np.ndarray:
        return (0.5 * self.rng.standard_normal(shape)).astype(np.float32)

    def pick(self, items: Any) -> Any:
        return items[self.rng.integers(0, len(items))]

    # ---- axes

    def places(self) -> list[int]:
        return [place for place, axis in enumerate(self.axes) if isinstance(axis, int)]

    def features(self) -> int:
        return math.prod(axis for axis in self.axes if isinstance(axis, int))

    def arrange(self, wanted: list[Axis]) -> None:
        """Bring the value to these axes, features merged into one: transposes, squeezes, reshapes."""
        ones = [place for place, axis in enumerate(self.axes) if axis == "1"]
        if ones:
            self.value = self.node("Squeeze", self.value, self.constant(np.array(ones)))
            self.axes = [axis for axis in self.axes if axis != "1"]
        order = [self.axes.index(axis) for axis in wanted if isinstance(axis, str)]
        where = next(place for place, axis in enumerate(wanted) if isinstance(axis, int))
        order[where:where] = self.places()
        if order != sorted(order) or self.rng.integers(0, 4) == 0:
            self.value = self.node("Transpose", self.value, perm=order)
            self.axes = [self.axes[place] for place in order]
        if len(self.places()) > 1:
            axes = [*wanted[:where], self.features(), *wanted[where + 1 :]]
            self.reshape([0] * where + [-1] + self._tail(where), axes)

    def _tail(self, where: int) -> list[Any]:
        count = len(self.places())
        return list(range(where + count, len(self.axes)))

    def reshape(self, target: list[int], axes: list[Axis]) -> None:
        """0 copies, −1 is inferred; numbers above 0 behind the −1 are places, whose size a Shape gives."""
        behind = target[target.index(-1) + 1 :] if -1 in target else []
        if not behind:
            self.value = self.node("Reshape", self.value, self.constant(np.array(target)))
        else:
            shape = self.node("Shape", self.value)
            sizes = [self.node("Gather", shape, self.constant(np.array([place]))) for place in behind]
            head = self.constant(np.array(target[: target.index(-1) + 1]))
            self.value = self.node("Reshape", self.value, self.node("Concat", head, *sizes, axis=0))
        self.axes = axes


# ---- pieces: each changes the value in a way that a network might --------------------------------------------------


def transpose(make: Maker) -> None:
    order = [int(place) for place in make.rng.permutation(len(make.axes))]
    make.value, make.axes = make.node("Transpose", make.value, perm=order), [make.axes[place] for place in order]


def unsqueeze(make: Maker) -> None:
    if len(make.axes) < 5:
        place = int(make.rng.integers(0, len(make.axes) + 1))
        make.value = make.node("Unsqueeze", make.value, make.constant(np.array([place])))
        make.axes.insert(place, "1")


def activate(make: Maker) -> None:
    make.value = make.node(make.pick(ACTIVATIONS), make.value)


def with_constant(make: Maker) -> None:
    shape = [axis if isinstance(axis, int) and make.rng.integers(0, 3) else 1 for axis in make.axes]
    first = int(make.rng.integers(0, len(shape)))
    constant = make.constant(make.normal(*(shape if any(size != 1 for size in shape[:first]) else shape[first:])))
    pair = (make.value, constant) if make.rng.integers(0, 2) else (constant, make.value)
    make.value = make.node(make.pick(("Add", "Sub", "Mul")), *pair)


def residual(make: Maker) -> None:
    """Two ways from one value, joined again."""
    value, axes = make.value, list(make.axes)
    activate(make)
    other = make.value
    if make.rng.integers(0, 2):  # the other way is laid out differently in between
        order = [int(place) for place in make.rng.permutation(len(axes))]
        other = make.node("Tanh", make.node("Transpose", other, perm=order))
        other = make.node("Transpose", other, perm=np.argsort(order))
    make.value, make.axes = make.node(make.pick(("Add", "Mul", "Sub", "Max", "Mean")), value, other), axes


def dense(make: Maker) -> None:
    places = make.places()
    if len(make.axes) < 2 or not places or places[-1] != len(make.axes) - 1:
        return
    size, units = make.axes[-1], int(make.rng.integers(1, 9))
    make.value = make.node("MatMul", make.value, make.constant(make.normal(int(size), units)))
    if make.rng.integers(0, 2):
        make.value = make.node("Add", make.constant(make.normal(units)), make.value)
    make.axes[-1] = units


def split_axis(make: Maker) -> None:
    """One axis of features as two."""
    place = make.pick(make.places())
    size = int(make.axes[place])
    factor = make.pick([f for f in range(1, size + 1) if size % f == 0])
    if len(make.axes) < 5 and place == len(make.axes) - 1:
        make.reshape([0] * place + [factor, -1], [*make.axes[:place], factor, size // factor])


def concat(make: Maker) -> None:
    place = make.pick(make.places())
    other = make.node("Sigmoid", make.value)
    make.value = make.node("Concat", make.value, other, axis=place - len(make.axes) * int(make.rng.integers(0, 2)))
    make.axes[place] = 2 * int(make.axes[place])


def split(make: Maker) -> None:
    place = make.pick(make.places())
    size = int(make.axes[place])
    if size < 2:
        return
    first = int(make.rng.integers(1, size))
    name = make.node("Split", make.value, make.constant(np.array([first, size - first])), axis=place, outputs=2)
    make.value, make.axes[place] = name, first


def cut(make: Maker) -> None:
    place = make.pick(make.places())
    size = int(make.axes[place])
    start, step = int(make.rng.integers(0, size)), int(make.pick((1, 1, 2, -1)))
    stop = -(2**40) if step < 0 else 2**40
    bounds = [make.constant(np.array([bound])) for bound in (start, stop, place, step)]
    make.value = make.node("Slice", make.value, *bounds)
    make.axes[place] = len(range(*slice(start, None, step).indices(size)))


def gather(make: Maker) -> None:
    place = make.pick(make.places())
    entries = make.rng.integers(0, int(make.axes[place]), 3)
    make.value = make.node("Gather", make.value, make.constant(entries), axis=place)
    make.axes[place] = 3


def softmax(make: Maker) -> None:
    make.value = make.node(make.pick(("Softmax", "LogSoftmax")), make.value, axis=make.pick(make.places()))


def normalize(make: Maker) -> None:
    if make.places()[-1:] == [len(make.axes) - 1] and int(make.axes[-1]) > 1:
        size = int(make.axes[-1])
        scale, bias = make.constant(make.normal(size)), make.constant(make.normal(size))
        make.value = make.node("LayerNormalization", make.value, scale, bias, axis=-1, epsilon=0.1)


def reduce(make: Maker) -> None:
    places = make.places()
    if len(places) < 2:
        return
    place = make.pick(places)
    keep = int(make.rng.integers(0, 2))
    op = make.pick(("ReduceMean", "ReduceMax", "ReduceMin"))
    make.value = make.node(op, make.value, axes=[place], keepdims=keep)
    make.axes[place : place + 1] = ["1"] if keep else []


def reverse(make: Maker) -> None:
    """Steps turned round, something done, and turned back."""
    if "T" not in make.axes:
        return

    def turned() -> str:
        bounds = (-1, -(2**40), make.axes.index("T"), -1)
        return make.node("Slice", make.value, *(make.constant(np.array([bound])) for bound in bounds))

    make.value = turned()
    make.pick((activate, with_constant, transpose, recur))(make)
    if make.rng.integers(0, 3):
        make.value = turned()


def recur(make: Maker) -> None:
    if "T" not in make.axes:
        return
    make.arrange(["T", "B", 0])
    size, units = make.features(), int(make.rng.integers(1, 7))
    direction = make.pick(("forward", "forward", "reverse", "bidirectional"))
    directions = 2 if direction == "bidirectional" else 1
    weights = [make.constant(array) for array in gru(make.rng, "", size, units, directions).values()]
    names = [make.name("y"), make.name("h")]
    given = [make.value, *weights]
    if make.rng.integers(0, 3) == 0:  # zeros, or one state for all rows
        shape = make.node("Shape", make.value)
        rows = make.node("Slice", shape, *(make.constant(np.array([n])) for n in (1, 2)))
        target = [make.constant(np.array([directions])), rows, make.constant(np.array([units]))]
        full = make.node("Concat", *target, axis=0)
        zero = make.constant(make.normal(directions, 1, units)) if make.rng.integers(0, 2) else None
        given += ["", make.node("Expand", zero, full) if zero else make.node("ConstantOfShape", full)]
    attributes = {"hidden_size": units, "direction": direction, "linear_before_reset": int(make.rng.integers(0, 2))}
    make.nodes.append(helper.make_node("GRU", given, names, **attributes))
    make.value, make.axes = names[0], ["T", directions if directions > 1 else "1", "B", units]
    if make.rng.integers(0, 2):
        make.states.append(names[1])
    if directions > 1:
        make.value = make.node("Transpose", make.value, perm=[0, 2, 1, 3])
        make.axes = ["T", "B", 2, units]
    make.arrange(["T", "B", 0] if make.rng.integers(0, 2) else ["B", "T", 0])


def convolve(make: Maker) -> None:
    if "T" not in make.axes:
        return
    make.arrange(["B", 0, "T"])
    size, units, width = make.features(), int(make.rng.integers(1, 7)), int(make.rng.integers(1, 4))
    kernel, bias = make.constant(make.normal(units, size, width)), make.constant(make.normal(units))
    make.value = make.node("Conv", make.value, kernel, bias, pads=[width - 1, int(make.rng.integers(0, 2))])
    make.axes[1] = units


def last_step(make: Maker) -> None:
    """The end of a network that says one thing of a sequence."""
    if "T" not in make.axes:
        return
    place = make.axes.index("T")
    if make.rng.integers(0, 2):
        make.value = make.node("Gather", make.value, make.constant(np.int64(make.pick((-1, 0)))), axis=place)
    else:
        op = make.pick(("ReduceMean", "ReduceMax"))
        make.value = make.node(op, make.value, axes=[place], keepdims=0)
    del make.axes[place]


PIECES: tuple[Callable[[Maker], None], ...] = (
    transpose, transpose, unsqueeze, activate, with_constant, with_constant, residual, dense, dense, split_axis,
    concat, split, cut, gather, softmax, normalize, reduce, reverse, recur, recur, convolve,
)  # fmt: skip


def network(seed: int) -> onnx.ModelProto:
    """One network of up to a dozen pieces, at least one of them a GRU."""
    make = Maker(seed)
    size = int(make.rng.integers(1, 9))
    make.axes = make.pick([["B", "T", size], ["T", "B", size]])
    shape = [axis if isinstance(axis, str) else size for axis in make.axes]
    if make.rng.integers(0, 4) == 0:
        shape = [{"B": 1, "T": 7}.get(axis, axis) for axis in shape]  # type: ignore[call-overload]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    count = int(make.rng.integers(1, 12))
    at = int(make.rng.integers(0, count))
    for number in range(count):
        (recur if number == at else make.pick(PIECES))(make)
    if make.rng.integers(0, 3) == 0:
        last_step(make)
        for _ in range(int(make.rng.integers(0, 4))):
            make.pick((activate, with_constant, dense, transpose, split, concat, softmax))(make)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (make.value, *make.states)]
    graph = helper.make_graph(make.nodes, f"random {seed}", [entry], outputs, make.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

"""Random ONNX networks as people and lesser known exporters write them: each step in one of several spellings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from . import Case


def cases(seed: int, count: int) -> Iterator[Case]:
    """Networks `seed`, `seed` + 1, …"""
    for number in range(seed, seed + count):
        yield Writer(np.random.default_rng(number), number).case()


class Writer:
    """One network: a sequence (time, batch, features) or (batch, time, features) goes from step to step."""

    def __init__(self, rng: np.random.Generator, number: int) -> None:
        self.rng, self.number = rng, number
        self.opset = int(rng.choice([7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22]))
        self.nodes: list[Any] = []
        self.held: list[Any] = []
        self.inputs: dict[str, tuple[tuple, int]] = {}
        self.outputs: list[tuple[str, int]] = []
        self.said: list[str] = []
        self.count = 0
        self.named = bool(rng.integers(2))
        self.fixed_batch = int(rng.integers(1, 3)) if rng.integers(3) == 0 else None
        self.fixed_time = 6 if rng.integers(3) == 0 else None

    # ---- parts

    def one_of(self, *options):
        return options[self.rng.integers(len(options))]

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}" if self.named else f"{self.one_of('a', 'b/x', 'c:0', '%')}{self.count}"

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes) -> Any:
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(
            helper.make_node(kind, list(inputs), names, name=f"n_{names[0]}" if self.named else "", **attributes)
        )
        return names[0] if outputs == 1 else names

    def constant(self, array, dtype=np.float32) -> str:
        """An initializer, a Constant node, or something that folds to it."""
        array = np.asarray(array, dtype)
        kind = self.rng.integers(6)
        if kind == 1:
            return self.op("Constant", value=numpy_helper.from_array(array))
        name = self.name()
        if kind == 2 and array.ndim == 2:
            self.held.append(numpy_helper.from_array(np.ascontiguousarray(array.T), name))
            return self.op("Transpose", name, perm=[1, 0])
        if kind == 3 and array.dtype == np.float32:
            self.held.append(numpy_helper.from_array(array.astype(np.float64), name))
            return self.op("Cast", name, to=TensorProto.FLOAT)
        self.held.append(numpy_helper.from_array(array, name))
        return self.op("Identity", name) if kind == 4 else name

    def whole(self, *numbers) -> str:
        return self.constant(numbers, np.int64)

    def normal(self, *shape) -> np.ndarray:
        return self.rng.standard_normal(shape) * 0.5

    def unsqueeze(self, x, *axes):
        return (
            self.op("Unsqueeze", x, self.whole(*axes)) if self.opset >= 13 else self.op("Unsqueeze", x, axes=list(axes))
        )

    def squeeze(self, x, *axes):
        return self.op("Squeeze", x, self.whole(*axes)) if self.opset >= 13 else self.op("Squeeze", x, axes=list(axes))

    def slice(self, x, axis, start, stop, step=1):
        if self.opset < 10:
            return self.op("Slice", x, axes=[axis], starts=[start], ends=[stop])
        return self.op("Slice", x, self.whole(start), self.whole(stop), self.whole(axis), self.whole(step))

    def reduce(self, kind, x, axis, keep=1):
        if self.opset >= (13 if kind == "ReduceSum" else 18):
            return self.op(kind, x, self.whole(axis), keepdims=keep)
        return self.op(kind, x, axes=[axis], keepdims=keep)

    def size(self, x, axis) -> str:
        """One size of a value, as an array of one number."""
        kind = self.rng.integers(3)
        shape = self.op("Shape", x)
        if kind == 0:
            return self.slice(shape, 0, axis, axis + 1)
        if kind == 1:
            return self.op("Gather", shape, self.whole(axis), axis=0)
        return self.unsqueeze(self.op("Gather", shape, self.constant(axis, np.int64)), 0)

    # ---- the network

    def case(self) -> Case:
        x, features, first = self.front()
        for _ in range(int(self.rng.integers(1, 4))):
            step = self.one_of(*STEPS)
            self.said.append(step)
            x, features = getattr(self, step)(x, features, first)
        end = self.one_of(*ENDS)
        self.said.append(end)
        getattr(self, end)(x, features, first)
        if self.rng.integers(4) == 0:
            self.op("Relu", x)  # nobody reads it
        proto = self.proto()
        sizes = [(2, 7), (1, 9), (3, 12)]
        feeds = []
        for index, (batch, time) in enumerate(sizes):
            rng = np.random.default_rng(self.number + index)
            one = {}
            for name, (shape, kind) in self.inputs.items():
                known = {"B": self.fixed_batch or batch, "T": self.fixed_time or time}
                shape = [known.get(size, size) for size in shape]
                if kind == TensorProto.FLOAT:
                    one[name] = rng.standard_normal(shape).astype(np.float32)
                elif name == "lengths":
                    one[name] = rng.integers(1, known["T"] + 1, shape).astype(np.int32)
                else:
                    one[name] = rng.integers(0, 7, shape).astype(helper.tensor_dtype_to_np_dtype(kind))
            feeds.append(one)
        sizes_said = f"batch {self.fixed_batch} time {self.fixed_time}"
        name = f"written {self.number} opset {self.opset} {sizes_said}: {' '.join(self.said)}"
        return Case(name, proto, feeds)

    def proto(self):
        known = {"B": self.fixed_batch or "batch", "T": self.fixed_time or "time"}
        inputs = [
            helper.make_tensor_value_info(name, kind, [known.get(s, s) for s in shape])
            for name, (shape, kind) in self.inputs.items()
        ]
        outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in self.outputs]
        if self.rng.integers(4) == 0:  # as before IR version 4: initializers are inputs as well
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.held]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.held)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def front(self):
        first = bool(self.rng.integers(2))  # time first
        lead = ("T", "B") if first else ("B", "T")
        kind = self.one_of("floats", "floats", "ids", "channels", "flat", "pairs")
        self.said.append(("time first " if first else "") + kind)
        n = int(self.rng.integers(2, 7))
        if kind == "ids":
            dtype = self.one_of(TensorProto.INT32, TensorProto.INT64)
            self.inputs["ids"] = (lead, dtype)
            return self.op("Gather", self.constant(self.normal(7, n)), "ids"), n, first
        if kind == "channels":
            self.inputs["x"] = (("B", n, "T"), TensorProto.FLOAT)
            x = self.op("Conv", "x", self.constant(self.normal(4, n, 3)), self.constant(self.normal(4)), pads=[1, 1])
            x = self.op("Relu", x)
            return self.op("Transpose", x, perm=[2, 0, 1] if first else [0, 2, 1]), 4, first
        if kind == "flat" and not first:
            self.inputs["x"] = (("B", "T", n, 2), TensorProto.FLOAT)
            how = self.rng.integers(3)
            if how == 0:
                return self.op("Reshape", "x", self.whole(0, 0, -1)), 2 * n, first
            if how == 1:
                target = self.op("Concat", self.size("x", 0), self.size("x", 1), self.whole(2 * n), axis=0)
                return self.op("Reshape", "x", target), 2 * n, first
            joined = self.op("Mul", self.size("x", 2), self.size("x", 3))
            return (
                self.op("Reshape", "x", self.op("Concat", self.size("x", 0), self.whole(-1), joined, axis=0)),
                2 * n,
                first,
            )
        if kind == "pairs":
            self.inputs["x"], self.inputs["z"] = ((*lead, n), TensorProto.FLOAT), ((*lead, n), TensorProto.FLOAT)
            how = self.one_of("Add", "Mul", "Sub", "Max", "Concat")
            if how == "Concat":
                return self.op("Concat", "x", "z", axis=self.one_of(2, -1) if self.opset >= 11 else 2), 2 * n, first
            return self.op(how, "x", "z"), n, first
        self.inputs["x"] = ((*lead, n), TensorProto.FLOAT)
        return "x", n, first

    # ---- steps: (value, features, is time first) → (value, features)

    def gru_node(self, x, features, units, directions, state=None, **attributes):
        """x: (time, batch, features)."""
        direction = "bidirectional" if directions == 2 else self.one_of("forward", "forward", "reverse")
        w = self.constant(self.normal(directions, 3 * units, features))
        r = self.constant(self.normal(directions, 3 * units, units))
        given = [
            x,
            w,
            r,
            self.constant(self.normal(directions, 6 * units)) if self.rng.integers(4) else "",
            "",
            state or "",
        ]
        while not given[-1]:
            given.pop()
        if self.rng.integers(4):
            attributes["linear_before_reset"] = int(self.rng.integers(2))
        if self.rng.integers(5) == 0:
            attributes["activations"] = (
                self.one_of(["Sigmoid", "Tanh"], ["HardSigmoid", "Tanh"], ["Sigmoid", "Softsign"], ["sigmoid", "Relu"])
                * directions
            )
        return self.op("GRU", *given, outputs=2, hidden_size=units, direction=direction, **attributes)

    def gru(self, x, features, first):
        units, directions = int(self.rng.integers(2, 6)), int(self.rng.integers(1, 3))
        if not first:
            x = self.op("Transpose", x, perm=[1, 0, 2])
        state = None
        kind = self.rng.integers(5)
        if kind == 0:
            shape = self.op("Concat", self.whole(directions), self.size(x, 1), self.whole(units), axis=0)
            state = self.op("ConstantOfShape", shape) if self.opset >= 9 else None
        elif kind == 1 and "h0" not in self.inputs:
            how = self.rng.integers(3)
            if how == 0:
                self.inputs["h0"], state = ((directions, "B", units), TensorProto.FLOAT), "h0"
            elif how == 1:
                self.inputs["h0"] = (("B", directions, units), TensorProto.FLOAT)
                state = self.op("Transpose", "h0", perm=[1, 0, 2])
            elif directions == 1:
                self.inputs["h0"] = (("B", units), TensorProto.FLOAT)
                state = self.unsqueeze("h0", 0)
        elif kind == 2 and self.opset >= 8:
            start = self.constant(self.normal(directions, 1, units))
            state = self.op("Expand", start, self.op("Concat", self.whole(1), self.size(x, 1), self.whole(1), axis=0))
        y, _ = self.gru_node(x, features, units, directions, state)
        how = self.rng.integers(4)
        if directions == 1 and how < 2:
            y = self.squeeze(y, 1)
        elif directions == 2 and how == 0:
            y = self.reduce("ReduceSum", y, 1, 0)
            directions = 1
        elif directions == 2 and how == 1:
            parts = self.op("Split", y, outputs=2, axis=1, **({"num_outputs": 2} if self.opset >= 18 else {}))
            y = self.op("Concat", *(self.squeeze(part, 1) for part in parts), axis=2)
        else:
            y = self.op("Reshape", self.op("Transpose", y, perm=[0, 2, 1, 3]), self.whole(0, 0, -1))
        return (y if first else self.op("Transpose", y, perm=[1, 0, 2])), units * directions

    def linear(self, x, features, first):
        units, kind = int(self.rng.integers(2, 6)), self.rng.integers(5)
        w, b = self.normal(features, units), self.normal(units)
        if kind == 0:
            return self.op("Add", self.op("MatMul", x, self.constant(w)), self.constant(b)), units
        if kind == 1:
            return self.op("Add", self.constant(b[None, None]), self.op("MatMul", x, self.constant(w[None]))), units
        flat = self.op("Reshape", x, self.whole(-1, features))
        if kind == 2:
            y = self.op("Gemm", flat, self.constant(w.T), self.constant(b), transB=1, alpha=0.5)
        elif kind == 3 and self.opset >= 11:
            y = self.op("Gemm", flat, self.constant(w))
        else:
            y = self.op("Sub", self.op("MatMul", flat, self.constant(w)), self.constant(b))
        target = self.op("Concat", self.size(x, 0), self.size(x, 1), self.whole(units), axis=0)
        return self.op("Reshape", y, target), units

    def activation(self, x, features, first):
        kind = self.one_of(
            "Relu",
            "Tanh",
            "Sigmoid",
            "clip",
            "swish",
            "leaky",
            "Elu",
            "Softplus",
            "exp",
            "hard",
            "tanh of parts",
            "softplus",
        )
        if kind == "clip":
            if self.opset < 11:
                return self.op("Clip", x, min=-0.5, max=1.5), features
            return self.op("Clip", x, self.constant(-0.5), self.one_of("", self.constant(1.5))), features
        if kind == "swish":
            return self.op("Mul", x, self.op("Sigmoid", x)), features
        if kind == "leaky":
            return self.op("Max", x, self.op("Mul", x, self.constant(0.2))), features
        if kind == "exp":
            return self.op("Exp", self.op("Neg", self.op("Relu", x))), features
        if kind == "hard":
            y = self.op("Add", self.op("Mul", x, self.constant([0.2])), self.constant(0.5))
            return self.op("Min", self.op("Max", y, self.constant(0.0)), self.constant(1.0)), features
        if kind == "tanh of parts":
            y = self.op("Sigmoid", self.op("Add", x, x))
            return self.op("Sub", self.op("Mul", self.constant(2.0), y), self.constant(1.0)), features
        if kind == "softplus":
            return self.op("Log", self.op("Add", self.op("Exp", x), self.constant(1.0))), features
        return self.op(kind, x), features

    def normalization(self, x, features, first):
        kind = self.rng.integers(4)
        if kind == 0 and self.opset >= 17:
            return self.op(
                "LayerNormalization",
                x,
                self.constant(self.normal(features)),
                self.constant(self.normal(features)),
                epsilon=1e-4,
            ), features
        if kind == 1:
            mean = self.reduce("ReduceMean", x, self.one_of(2, -1) if self.opset >= 11 else 2)
            below = self.op("Sub", x, mean)
            var = self.reduce(
                "ReduceMean",
                self.op("Mul", below, below) if self.rng.integers(2) else self.op("Pow", below, self.constant(2.0)),
                2,
            )
            std = self.op("Sqrt", self.op("Add", var, self.constant(1e-3)))
            y = (
                self.op("Div", below, std)
                if self.rng.integers(2)
                else self.op("Mul", below, self.op("Reciprocal", std))
            )
            return self.op(
                "Add", self.op("Mul", y, self.constant(self.normal(features))), self.constant(self.normal(features))
            ), features
        if kind == 2 and not first:
            y = self.op("Transpose", x, perm=[0, 2, 1])
            given = [self.constant(self.normal(features)) for _ in range(3)]
            y = self.op("BatchNormalization", y, *given, self.constant(self.rng.uniform(0.5, 2, features)))
            return self.op("Transpose", y, perm=[0, 2, 1]), features
        return self.op(
            "Div",
            self.op("Sub", x, self.constant(self.normal(features))),
            self.constant(self.rng.uniform(0.5, 2, (1, 1, features))),
        ), features

    def softmax(self, x, features, first):
        kind = self.rng.integers(3)
        if kind == 0:
            return self.op("Softmax", x, axis=2), features
        if kind == 1:
            power = self.op("Exp", self.op("Sub", x, self.reduce("ReduceMax", x, 2)))
            return self.op("Div", power, self.reduce("ReduceSum", power, 2)), features
        flat = self.op("Softmax", self.op("Reshape", x, self.whole(-1, features)), axis=1)
        return self.op("Reshape", flat, self.op("Shape", x)), features

    def plumbing(self, x, features, first):
        kind = self.rng.integers(10)
        if kind == 0:
            return self.op("Identity", self.op("Identity", x)), features
        if kind == 1:
            return (
                self.op("Dropout", x, ratio=0.3) if self.opset < 12 else self.op("Dropout", x, self.constant(0.3))
            ), features
        if kind == 2:
            return self.squeeze(self.op("Tanh", self.unsqueeze(x, 1)), 1), features
        if kind == 3:
            return self.op("Cast", x, to=TensorProto.FLOAT), features
        if kind == 4:
            return self.op("Reshape", x, self.op("Shape", x)), features
        if kind == 5 and self.opset >= 8:
            return self.op("Expand", x, self.op("Shape", x)), features
        if kind == 6:
            parts = (
                self.op("Split", x, outputs=2, axis=2, **({"num_outputs": 2} if self.opset >= 18 else {}))
                if features % 2 == 0
                else [x, x]
            )
            return self.op("Concat", *parts[::-1], axis=2), features if features % 2 == 0 else 2 * features
        if kind == 7:
            return self.op(
                "Transpose", self.op("Relu", self.op("Transpose", x, perm=[2, 1, 0])), perm=[2, 1, 0]
            ), features
        if kind == 8:
            count = self.op("Cast", self.size(x, 0 if first else 1), to=TensorProto.FLOAT)
            return self.op("Div", x, count), features
        return self.branch(x), features

    def branch(self, x):
        """An If of a constant."""
        names = [self.name(), self.name()]
        graphs = {}
        for key, kind, name in (("then_branch", "Tanh", names[0]), ("else_branch", "Relu", names[1])):
            node = helper.make_node(kind, [x], [name])
            graphs[key] = helper.make_graph(
                [node], key, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
            )
        if self.rng.integers(2):
            condition = self.constant(bool(self.rng.integers(2)), np.bool_)
        else:
            condition = self.op(
                "Equal", self.op("Gather", self.op("Shape", x), self.constant(2, np.int64)), self.constant(4, np.int64)
            )
        return self.op("If", condition, **graphs)

    def residual(self, x, features, first):
        units = features
        y, _ = self.gru_node(x if first else self.op("Transpose", x, perm=[1, 0, 2]), features, units, 1)
        y = self.squeeze(y, 1)
        return self.op(
            self.one_of("Add", "Sum", "Mean", "Mul"), x, y if first else self.op("Transpose", y, perm=[1, 0, 2])
        ), features

    def gate(self, x, features, first):
        y = self.op("Sigmoid", self.op("MatMul", x, self.constant(self.normal(features, features))))
        z = self.op("Sub", self.constant(1.0), y)
        return self.op("Add", self.op("Mul", y, x), self.op("Mul", z, self.op("Tanh", x))), features

    def excitation(self, x, features, first):
        mean = self.reduce("ReduceMean", x, 0 if first else 1)
        return self.op(
            "Mul", x, self.op("Sigmoid", self.op("MatMul", mean, self.constant(self.normal(features, features))))
        ), features

    # ---- ends

    def give(self, *names, kind=TensorProto.FLOAT):
        for name in names:
            self.outputs.append((name, kind))

    def steps(self, x, features, first):
        self.give(self.gru(x, features, first)[0])

    def log_softmax(self, x, features, first):
        x, _ = self.gru(x, features, first)
        self.give(self.op("LogSoftmax", x, axis=2))

    def argmax(self, x, features, first):
        x, _ = self.gru(x, features, first)
        self.give(self.op("ArgMax", x, axis=2, keepdims=int(self.rng.integers(2))), kind=TensorProto.INT64)

    def last(self, x, features, first):
        x, features = self.gru(x, features, first)
        time, kind = (0 if first else 1), self.rng.integers(5)
        if kind == 0:
            y = (
                self.op("Gather", x, self.constant(-1, np.int64), axis=time)
                if self.opset >= 11
                else self.squeeze(self.slice(x, time, -1, 2**31 - 1), time)
            )
        elif kind == 1:
            y = self.squeeze(self.slice(x, time, -1, 2**62), time)
        elif kind == 2:
            place = self.op("Sub", self.size(x, time), self.whole(1))
            y = self.squeeze(self.op("Gather", x, place, axis=time), time)
        elif kind == 3:
            y = self.op("Reshape", self.slice(x, time, -1, 2**31 - 1), self.whole(-1, features))
        else:
            y = (
                self.op("Flatten", self.slice(x, time, -1, 2**62), axis=2)
                if first
                else self.op("Flatten", self.slice(x, time, -1, 2**62))
            )
        self.give(self.op("Gemm", y, self.constant(self.normal(features, 2)), self.constant(self.normal(2))))

    def last_state(self, x, features, first):
        units, directions, kind = int(self.rng.integers(2, 5)), int(self.rng.integers(1, 3)), self.rng.integers(4)
        x = x if first else self.op("Transpose", x, perm=[1, 0, 2])
        _, h = self.gru_node(x, features, units, directions)
        if kind == 0:
            self.give(h)
        elif kind == 1:
            self.give(self.op("Reshape", self.op("Transpose", h, perm=[1, 0, 2]), self.whole(0, -1)))
        elif kind == 2:
            self.give(self.op("Gather", h, self.constant(0, np.int64), axis=0))
        else:
            parts = [self.squeeze(self.slice(h, 0, i, i + 1), 0) for i in range(directions)]
            self.give(self.op("Concat", *parts, axis=1))

    def pooled(self, x, features, first):
        x, features = self.gru(x, features, first)
        kind = self.one_of("ReduceMean", "ReduceMax", "ReduceSum", "GlobalAveragePool")
        if kind == "GlobalAveragePool":
            x = self.op("Transpose", x, perm=[1, 2, 0] if first else [0, 2, 1])
            self.give(self.op("Flatten", self.op("GlobalAveragePool", x)))
        else:
            self.give(self.reduce(kind, x, 0 if first else 1, 0))

    def both(self, x, features, first):
        y, units = self.gru(x, features, first)
        self.give(y, self.op("Softmax", self.op("MatMul", y, self.constant(self.normal(units, 3))), axis=2))


STEPS = (
    "gru",
    "gru",
    "gru",
    "linear",
    "linear",
    "activation",
    "activation",
    "normalization",
    "softmax",
    "plumbing",
    "plumbing",
    "residual",
    "gate",
    "excitation",
)
ENDS = ("steps", "log_softmax", "argmax", "last", "last", "last_state", "pooled", "both")

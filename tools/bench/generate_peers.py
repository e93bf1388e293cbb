"""How each runtime computes the logits of the next character, one step a call, from Python; for generate.py.

A *stepper* carries its own state: ``stepper(token)`` gives the logits behind it as an array (vocabulary,), which the
next call may overwrite. All run on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
Step = Callable[[int], Array]


@dataclass(frozen=True)
class Network:
    """Embedding (or one-hot vectors), GRU, Dense: Keras' arrays. `table` is None where one-hot vectors are read."""

    table: Array | None
    kernel: Array
    recurrent_kernel: Array
    biases: Array  # (2, 3 · units)
    head: Array
    head_bias: Array

    @classmethod
    def of(cls, network: Any) -> Network:
        """Of a Keras network of these layers; a ValueError where it is not."""
        parts = {type(layer).__name__: layer for layer in network.layers if layer.weights}
        if list(parts) not in (["GRU", "Dense"], ["Embedding", "GRU", "Dense"]) or not parts["GRU"].reset_after:
            raise ValueError(f"needs [Embedding,] GRU and Dense, has {', '.join(parts)}")
        table = parts["Embedding"].get_weights()[0] if "Embedding" in parts else None
        return cls(table, *parts["GRU"].get_weights(), *parts["Dense"].get_weights())

    @property
    def units(self) -> int:
        return len(self.recurrent_kernel)

    @property
    def vectors(self) -> Array:
        """What the GRU reads for each token: (vocabulary, features)."""
        return np.eye(len(self.head_bias), dtype=np.float32) if self.table is None else self.table


@dataclass(frozen=True)
class Stepper:
    """One way to run a step, and how to begin afresh."""

    name: str
    step: Step
    reset: Callable[[], object]


def fastgru_steppers(model: Any) -> list[Stepper]:
    """`Stream.step` of a Model that reads ids."""
    stream = model.stream()
    ids, y = np.zeros(1, np.int32), np.empty((1, model.outputs[0].shape[-1]), np.float32)
    row = y[0]

    def step(token: int) -> Array:
        ids[0] = token
        return stream.step(ids)[0]  # type: ignore[no-any-return]

    def step_out(token: int) -> Array:
        ids[0] = token
        stream.step(ids, out=y)
        return row

    return [Stepper("step(ids)", step, stream.reset), Stepper("step(ids, out=y)", step_out, stream.reset)]


# ---- ONNX Runtime ----------------------------------------------------------------------------------------------------


def onnx_file(network: Network, by_id: bool) -> bytes:
    """[Gather,] GRU and a product; reads an id or a vector, and the state; gives logits and the state."""
    from onnx import TensorProto, checker, helper, numpy_helper

    units, vocabulary, features = network.units, len(network.head_bias), network.vectors.shape[1]
    arrays = {
        "table": network.vectors,
        "w": network.kernel.T[None],
        "r": network.recurrent_kernel.T[None],
        "b": network.biases.reshape(1, -1),
        "head": network.head,
        "head_bias": network.head_bias,
        "axis": np.array([1]),
    }
    x_type = (TensorProto.INT64, [1, 1]) if by_id else (TensorProto.FLOAT, [1, 1, features])
    read, attributes = "vector" if by_id else "x", {"hidden_size": units, "linear_before_reset": 1}
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["vector"]),
        helper.make_node("GRU", [read, "w", "r", "b", "", "h"], ["", "h_out"], **attributes),
        helper.make_node("Squeeze", ["h_out", "axis"], ["last"]),
        helper.make_node("Gemm", ["last", "head", "head_bias"], ["logits"]),
    ]
    state = [TensorProto.FLOAT, [1, 1, units]]
    graph = helper.make_graph(
        nodes[0 if by_id else 1 :], "step",
        [helper.make_tensor_value_info("x", *x_type), helper.make_tensor_value_info("h", *state)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, vocabulary]),
         helper.make_tensor_value_info("h_out", *state)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()
         if by_id or name != "table"],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    checker.check_model(made, full_check=True)
    return made.SerializeToString()  # type: ignore[no-any-return]


def onnxruntime_steppers(network: Network) -> list[Stepper]:
    """By `run`, and by I/O binding with two arrays for the state that take turns; ids and vectors."""
    return [stepper for by_id in (True, False) for stepper in _onnxruntime(network, by_id)]


def _onnxruntime(network: Network, by_id: bool) -> list[Stepper]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_file(network, by_id), options, providers=["CPUExecutionProvider"])
    vectors, form = network.vectors, "an id" if by_id else "a vector"
    x = np.zeros((1, 1), np.int64) if by_id else np.zeros((1, 1, vectors.shape[1]), np.float32)
    names, zeros = ["logits", "h_out"], np.zeros((1, 1, network.units), np.float32)
    feeds = {"x": x, "h": zeros}

    def put(token: int) -> None:
        x[0, 0] = token if by_id else vectors[token]

    def run(token: int) -> Array:
        put(token)
        logits, feeds["h"] = session.run(names, feeds)
        return logits[0]  # type: ignore[no-any-return]

    def begin() -> None:
        feeds["h"] = zeros

    states, logits = [zeros.copy(), zeros.copy()], np.zeros((1, len(network.head_bias)), np.float32)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (*states, logits, x)]  # they share memory
    bindings = []
    for before, after in (values[:2], values[1::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", values[3])
        binding.bind_ortvalue_input("h", before)
        binding.bind_ortvalue_output("h_out", after)
        binding.bind_ortvalue_output("logits", values[2])
        bindings.append(binding)
    turn, row = [0], logits[0]

    def run_bound(token: int) -> Array:
        put(token)
        session.run_with_iobinding(bindings[turn[0]])
        turn[0] ^= 1
        return row

    def begin_bound() -> None:
        turn[0] = 0
        states[0][:] = 0

    return [
        Stepper(f"run, {form}", run, begin),
        Stepper(f"I/O binding, {form}", run_bound, begin_bound),
    ]


# ---- LiteRT ----------------------------------------------------------------------------------------------------------


def litert_file(network: Network, by_id: bool) -> bytes:
    """The same step by TensorFlow's converter, with LiteRT's own operators."""
    import tensorflow as tf

    table, units = tf.constant(network.vectors), network.units
    head = tf.constant(network.head), tf.constant(network.head_bias)
    kernels = tf.constant(network.kernel), tf.constant(network.recurrent_kernel)
    biases = tf.constant(network.biases[0]), tf.constant(network.biases[1])

    def step(x: Any, h: Any) -> Any:
        vector = tf.gather(table, x) if by_id else x
        given = tf.matmul(vector, kernels[0]) + biases[0]
        carried = tf.matmul(h, kernels[1]) + biases[1]
        (given_z, given_r, given_n), (carried_z, carried_r, carried_n) = (tf.split(v, 3, 1) for v in (given, carried))
        z, r = tf.sigmoid(given_z + carried_z), tf.sigmoid(given_r + carried_r)
        n = tf.tanh(given_n + r * carried_n)
        after = z * h + (1 - z) * n
        return {"logits": tf.matmul(after, head[0]) + head[1], "state": after}

    x = tf.TensorSpec([1], tf.int32, "x") if by_id else tf.TensorSpec([1, network.vectors.shape[1]], tf.float32, "x")
    traced = tf.function(step).get_concrete_function(x, tf.TensorSpec([1, units], tf.float32, "h"))
    return tf.lite.TFLiteConverter.from_concrete_functions([traced]).convert()  # type: ignore[no-any-return]


def litert_steppers(network: Network) -> list[Stepper]:
    """By set_tensor and get_tensor, and through views of the interpreter's own memory; ids and vectors."""
    return [stepper for by_id in (True, False) for stepper in _litert(network, by_id)]


def _litert(network: Network, by_id: bool) -> list[Stepper]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=litert_file(network, by_id), num_threads=1)
    interpreter.allocate_tensors()
    places = {tuple(entry["shape"][1:]): entry["index"] for entry in interpreter.get_output_details()}
    logits_at, after_at = places[(len(network.head_bias),)], places[(network.units,)]
    (x_at,) = (entry["index"] for entry in interpreter.get_input_details() if "x" in entry["name"])
    (h_at,) = (entry["index"] for entry in interpreter.get_input_details() if "x" not in entry["name"])
    form, zeros = "an id" if by_id else "a vector", np.zeros((1, network.units), np.float32)
    tokens = np.arange(len(network.vectors), dtype=np.int32)
    vectors = list((tokens if by_id else network.vectors)[:, None])
    state = [zeros]

    def run(token: int) -> Array:
        interpreter.set_tensor(x_at, vectors[token])
        interpreter.set_tensor(h_at, state[0])
        interpreter.invoke()
        state[0] = interpreter.get_tensor(after_at)
        return interpreter.get_tensor(logits_at)[0]  # type: ignore[no-any-return]

    def begin() -> None:
        state[0] = zeros

    x_view, h_view, after_view = (interpreter.tensor(place) for place in (x_at, h_at, after_at))

    def run_in_place(token: int) -> Array:  # no view may be held while it is invoked
        x_view()[:] = vectors[token]
        interpreter.invoke()
        h_view()[:] = after_view()
        return interpreter.get_tensor(logits_at)[0]  # type: ignore[no-any-return]

    def begin_in_place() -> None:
        h_view()[:] = 0

    return [
        Stepper(f"set, invoke, get; {form}", run, begin),
        Stepper(f"views, invoke; {form}", run_in_place, begin_in_place),
    ]


PEERS: dict[str, Callable[[Network], list[Stepper]]] = {"LiteRT": litert_steppers, "onnxruntime": onnxruntime_steppers}

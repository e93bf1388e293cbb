"""Networks as they were written for TensorFlow 1, for `make_tf1_golden.py`, `check_tf1.py` and the live tests.

They are built with TensorFlow 2's `tf.compat.v1`, whose `rnn_cell`, `dynamic_rnn` and `static_rnn` are those of
TensorFlow 1 (the cells come with tf_keras). `CudnnCompatibleGRUCell` was in `tf.contrib`, which is gone: here it is
written anew from its published definition, with the names of its variables and the order of its operations.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
v1.logging.set_verbosity(v1.logging.ERROR)


class CudnnCompatibleGRUCell(v1.nn.rnn_cell.GRUCell):  # type: ignore[misc]
    """contrib's: r multiplies the product of h, which has a bias of its own."""

    def build(self, inputs_shape: Any) -> None:
        size, units = int(inputs_shape[1]), self._num_units
        ones = v1.constant_initializer(1.0)
        zeros = v1.zeros_initializer()
        self._gate_kernel = self.add_weight("gates/kernel", shape=[size + units, 2 * units])
        self._gate_bias = self.add_weight("gates/bias", shape=[2 * units], initializer=ones)
        self._input_kernel = self.add_weight("candidate/input_projection/kernel", shape=[size, units])
        self._hidden_kernel = self.add_weight("candidate/hidden_projection/kernel", shape=[units, units])
        self._input_bias = self.add_weight("candidate/input_projection/bias", shape=[units], initializer=zeros)
        self._hidden_bias = self.add_weight("candidate/hidden_projection/bias", shape=[units], initializer=zeros)
        self.built = True

    def call(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        gate_inputs = tf.matmul(tf.concat([inputs, state], 1), self._gate_kernel)
        gate_inputs = tf.nn.bias_add(gate_inputs, self._gate_bias)
        r, u = tf.split(value=tf.sigmoid(gate_inputs), num_or_size_splits=2, axis=1)
        candidate = tf.nn.bias_add(tf.matmul(state, self._hidden_kernel), self._hidden_bias)
        candidate *= r
        candidate += tf.nn.bias_add(tf.matmul(inputs, self._input_kernel), self._input_bias)
        candidate = self._activation(candidate)
        new_h = (1 - u) * candidate + u * state
        return new_h, new_h


class GRUBlockCell(v1.nn.rnn_cell.GRUCell):  # type: ignore[misc]
    """contrib's, around the operation of that name, which TensorFlow still has."""

    def call(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        made = tf.raw_ops.GRUBlockCell(
            x=inputs, h_prev=state, w_ru=self._gate_kernel, w_c=self._candidate_kernel, b_ru=self._gate_bias,
            b_c=self._candidate_bias,
        )  # fmt: skip
        return made.h, made.h


class ProjectedGRUCell(v1.nn.rnn_cell.GRUCell):  # type: ignore[misc]
    """A dense layer before and behind the cell, inside the loop, as OutputProjectionWrapper and its kin."""

    def call(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        new_h, _ = super().call(inputs, state)
        return tf.concat([tf.nn.relu(new_h * 2.0), inputs], 1), new_h

    @property
    def output_size(self) -> int:
        return self._num_units + 3


@dataclass(frozen=True)
class Network:
    """How a network is built: `build` returns its outputs, given what feeds it by the names of placeholders."""

    name: str
    build: Callable[[], list[Any]]
    feeds: dict[str, Callable[[np.random.Generator], np.ndarray]]
    functional: bool = False  # while loops of functions, and resource variables
    train: bool = False
    config: list[dict[str, Any]] = field(default_factory=list)  # what says the same of a checkpoint without .meta


def cells(*units: int, kind: Any = None, **options: Any) -> Any:
    kind = kind or v1.nn.rnn_cell.GRUCell
    return v1.nn.rnn_cell.MultiRNNCell([kind(count, **options) for count in units])


def dense(x: Any, units: int, name: str, activation: Any = None) -> Any:
    return v1.layers.dense(x, units, activation, name=name)


def floats(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.uniform(-1, 1, shape).astype(np.float32)


def placeholder(name: str, *shape: int | None, dtype: Any = tf.float32) -> Any:
    return v1.placeholder(dtype, list(shape), name=name)


def gru_layer(scope: str, sequences: bool, activation: str = "tanh", kind: str = "GRUCell") -> dict[str, Any]:
    return {"kind": kind, "scope": scope, "activation": activation, "return_sequences": sequences}


def dense_layer(name: str, activation: str = "linear") -> dict[str, Any]:
    return {"kind": "Dense", "kernel": f"{name}/kernel", "bias": f"{name}/bias", "activation": activation}


def digits() -> list[Any]:
    """28 rows of 28, two GRUCells of 100, dense 10 on the last output, with the loss and the optimizer of training."""
    x = placeholder("x", None, 28, 28)
    labels = placeholder("labels", None, dtype=tf.int64)
    outputs, _ = v1.nn.dynamic_rnn(cells(100, 100), x, dtype=tf.float32)
    logits = dense(outputs[:, -1], 10, "logits")
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits), name="loss")
    v1.train.AdamOptimizer(0.002).minimize(loss, name="train")
    return [logits]


def plain() -> list[Any]:
    x = placeholder("x", None, None, 3)
    outputs, _ = v1.nn.dynamic_rnn(v1.nn.rnn_cell.GRUCell(5), x, dtype=tf.float32)
    return [outputs]


def time_major() -> list[Any]:
    """Time first, and one dense layer over all steps of all rows at once."""
    x = placeholder("x", None, None, 3)
    outputs, _ = v1.nn.dynamic_rnn(cells(5, 4), x, dtype=tf.float32, time_major=True)
    flat = dense(tf.reshape(outputs, [-1, 4]), 2, "flat", tf.nn.relu)
    return [tf.reshape(flat, [tf.shape(x)[0], -1, 2], name="y")]


def lengths() -> list[Any]:
    x = placeholder("x", None, 7, 3)
    count = placeholder("lengths", None, dtype=tf.int32)
    outputs, states = v1.nn.dynamic_rnn(cells(5, 4), x, sequence_length=count, dtype=tf.float32)
    return [tf.identity(outputs, name="all"), dense(states[-1], 2, "last", tf.nn.softmax)]


def relu() -> list[Any]:
    x = placeholder("x", None, 6, 3)
    _, state = v1.nn.dynamic_rnn(v1.nn.rnn_cell.GRUCell(5, activation=tf.nn.relu), x, dtype=tf.float32)
    return [dense(state, 2, "y")]


def cudnn() -> list[Any]:
    x = placeholder("x", None, None, 3)
    outputs, _ = v1.nn.dynamic_rnn(cells(5, 4, kind=CudnnCompatibleGRUCell), x, dtype=tf.float32)
    return [dense(outputs[:, -1], 2, "y")]


def block() -> list[Any]:
    x = placeholder("x", None, None, 3)
    outputs, _ = v1.nn.dynamic_rnn(cells(5, 4, kind=GRUBlockCell), x, dtype=tf.float32)
    return [tf.nn.softmax(dense(tf.reduce_mean(outputs, 1), 2, "y"), name="scores")]


def static() -> list[Any]:
    """Unrolled: one node after the other."""
    x = placeholder("x", None, 6, 3)
    outputs, _ = v1.nn.static_rnn(cells(5, 4), tf.unstack(x, axis=1), dtype=tf.float32)
    return [dense(outputs[-1], 2, "y"), tf.stack(outputs, axis=1, name="all")]


def split() -> list[Any]:
    """Unrolled as the oldest tutorials did it: transposed, flattened, and split into steps."""
    x = placeholder("x", None, 6, 3)
    steps = tf.split(tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, 3]), 6, 0)
    outputs, _ = v1.nn.static_rnn(v1.nn.rnn_cell.GRUCell(5), steps, dtype=tf.float32)
    weights, bias = v1.get_variable("weights", [5, 2]), v1.get_variable("bias", [2])
    return [tf.add(tf.matmul(outputs[-1], weights), bias, name="y")]


def tagging() -> list[Any]:
    ids = placeholder("ids", None, None, dtype=tf.int32)
    count = placeholder("lengths", None, dtype=tf.int32)
    table = v1.get_variable("embedding", [20, 3])
    outputs, _ = v1.nn.dynamic_rnn(
        v1.nn.rnn_cell.GRUCell(5), tf.nn.embedding_lookup(table, ids), sequence_length=count, dtype=tf.float32
    )
    weights, bias = v1.get_variable("weights", [5, 4]), v1.get_variable("bias", [4])
    scores = tf.matmul(tf.reshape(outputs, [-1, 5]), weights) + bias
    scores = tf.reshape(scores, [-1, tf.shape(outputs)[1], 4])
    return [tf.nn.softmax(scores, name="tags")]


def state() -> list[Any]:
    x, h = placeholder("x", None, None, 3), placeholder("h", None, 5)
    outputs, after = v1.nn.dynamic_rnn(v1.nn.rnn_cell.GRUCell(5), x, initial_state=h)
    return [tf.identity(outputs, name="y"), tf.identity(after, name="after")]


def both_ways() -> list[Any]:
    x = placeholder("x", None, None, 3)
    two = [v1.nn.rnn_cell.GRUCell(units) for units in (5, 4)]
    outputs, _ = v1.nn.bidirectional_dynamic_rnn(*two, x, dtype=tf.float32)
    return [tf.concat(outputs, 2, name="y")]


def projected() -> list[Any]:
    x = placeholder("x", None, None, 3)
    count = placeholder("lengths", None, dtype=tf.int32)
    outputs, _ = v1.nn.dynamic_rnn(ProjectedGRUCell(5), x, sequence_length=count, dtype=tf.float32)
    return [tf.transpose(outputs, [1, 0, 2], name="y")]


def last_gathered() -> list[Any]:
    """784 numbers a picture, and the last output by tf.gather, as many tutorials have it; a batch of fixed size."""
    x = placeholder("x", 4, 24)
    outputs, _ = v1.nn.dynamic_rnn(cells(5, 4), tf.reshape(x, [-1, 6, 4]), dtype=tf.float32)
    outputs = tf.transpose(outputs, [1, 0, 2])
    last = tf.gather(outputs, int(outputs.shape[0]) - 1)
    return [tf.argmax(dense(last, 3, "scores"), 1, name="classes"), dense(last, 2, "y")]


_CELL = "rnn/multi_rnn_cell/cell_{}/{}"
_X = {"x": floats(4, 7, 3)}
_LENGTHS = {"lengths": lambda rng: np.array([7, 0, 3, 5], np.int32)}
_IDS = {"ids": lambda rng: rng.integers(0, 20, (4, 7)).astype(np.int32)}

NETWORKS = (
    Network(
        "digits", digits, {"x": lambda rng: rng.uniform(0, 1, (8, 28, 28)).astype(np.float32)}, train=True,
        config=[
            gru_layer(_CELL.format(0, "gru_cell"), True), gru_layer(_CELL.format(1, "gru_cell"), False),
            dense_layer("logits"),
        ],
    ),
    Network("plain", plain, _X, config=[gru_layer("rnn/gru_cell", True)]),
    Network("functional", plain, _X, functional=True, config=[gru_layer("rnn/gru_cell", True)]),
    Network("time_major", time_major, {"x": floats(7, 4, 3)}),
    Network("lengths", lengths, _X | _LENGTHS),
    Network("functional_lengths", lengths, _X | _LENGTHS, functional=True),
    Network(
        "relu", relu, {"x": floats(4, 6, 3)},
        config=[gru_layer("rnn/gru_cell", False, "relu"), dense_layer("y")],
    ),
    Network(
        "cudnn", cudnn, _X,
        config=[
            gru_layer(_CELL.format(0, "cudnn_compatible_gru_cell"), True, kind="CudnnCompatibleGRUCell"),
            gru_layer(_CELL.format(1, "cudnn_compatible_gru_cell"), False, kind="CudnnCompatibleGRUCell"),
            dense_layer("y"),
        ],
    ),
    Network("block", block, _X),
    Network("static", static, {"x": floats(4, 6, 3)}),
    Network("split", split, {"x": floats(4, 6, 3)}),
    Network("tagging", tagging, _IDS | _LENGTHS),
    Network("state", state, _X | {"h": floats(4, 5)}),
    Network("both_ways", both_ways, _X),
    Network("projected", projected, _X | _LENGTHS),
    Network("last_gathered", last_gathered, {"x": floats(4, 24)}),
)  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """A network's files in a folder, and what TensorFlow makes of its inputs."""

    prefix: Path
    frozen: Path
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def save(network: Network, folder: Path, seed: int = 0) -> Saved:
    """Build a network in graph mode, give it weights, save it with a Saver, and freeze it."""
    rng = np.random.default_rng(seed)
    v1.disable_eager_execution()
    _use_functions(network.functional)
    prefix, frozen = folder / "model", folder / "frozen.pb"
    with tf.Graph().as_default() as graph, v1.Session() as session:
        v1.set_random_seed(seed)
        outputs = network.build()
        session.run(v1.global_variables_initializer())
        if network.train:
            _train(session, rng)
        else:
            for variable in v1.global_variables():
                variable.load(rng.uniform(-0.7, 0.7, variable.shape.as_list()).astype(np.float32), session)
        feeds = {name: make(rng) for name, make in network.feeds.items()}
        values = session.run(outputs, {f"{name}:0": value for name, value in feeds.items()})
        v1.train.Saver().save(session, str(prefix))
        names = [output.op.name for output in outputs]
        definition = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), names)
        frozen.write_bytes(definition.SerializeToString())
    return Saved(prefix, frozen, feeds, dict(zip(names, values, strict=True)))


def _use_functions(functional: bool) -> None:
    for on, off in (
        (v1.enable_control_flow_v2, v1.disable_control_flow_v2),
        (v1.enable_resource_variables, v1.disable_resource_variables),
    ):
        (on if functional else off)()


def _train(session: Any, rng: np.random.Generator, rounds: int = 60) -> None:
    """A few rounds with noisy copies of ten random pictures."""
    pictures = rng.uniform(0, 1, (10, 28, 28))
    for _ in range(rounds):
        labels = rng.integers(0, 10, 32)
        x = np.clip(pictures[labels] + rng.normal(0, 0.2, (32, 28, 28)), 0, 1)
        session.run("train", {"x:0": x, "labels:0": labels})

"""GRU nodes of ONNX files whose inputs come from other nodes: turned sequences, states cut out of inputs, unit axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import fastgru
import onnx_oracle
from tolerances import check

Array = np.ndarray
FLOAT, INT32 = TensorProto.FLOAT, TensorProto.INT32
SIZE, UNITS, STEPS, BATCH = 3, 4, 6, 5


def weights(rng: np.random.Generator, directions: int, size: int = SIZE) -> dict[str, Array]:
    shapes = {
        "W": (directions, 3 * UNITS, size), "R": (directions, 3 * UNITS, UNITS), "B": (directions, 6 * UNITS),
    }  # fmt: skip
    return {key: rng.uniform(-0.8, 0.8, shape).astype(np.float32) for key, shape in shapes.items()}


def load(
    nodes: list[Any],
    inputs: Mapping[str, list[Any]],
    outputs: list[str],
    constants: Mapping[str, Array],
    axes: Mapping[str, str] | None = None,
    **kinds: int,
) -> fastgru.Model:
    """A model of these nodes; inputs by their shapes, of floats unless `kinds` says another dtype."""
    given = [helper.make_tensor_value_info(name, kinds.get(name, FLOAT), shape) for name, shape in inputs.items()]
    wanted = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", given, wanted, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return fastgru.from_onnx(model, axes=axes)


def sequence(rng: np.random.Generator) -> Array:
    return rng.uniform(-1, 1, (STEPS, BATCH, SIZE)).astype(np.float32)


TURN = {"start": np.array([-1]), "stop": np.array([-(2**31)]), "zero": np.array([0]), "step": np.array([-1])}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("with_lengths", [False, True])
def test_a_turned_sequence(direction: str, with_lengths: bool) -> None:
    """Behind a Slice of step -1 the GRU walks the other way; lengths count from what is first then."""
    rng = np.random.default_rng(1)
    arrays = weights(rng, 1 + (direction == "bidirectional"))
    x = sequence(rng)
    feeds = {"x": x} | ({"lengths": np.array([6, 0, 3, 1, 5], np.int32)} if with_lengths else {})
    nodes = [
        helper.make_node("Slice", ["x", "start", "stop", "zero", "step"], ["turned"]),
        helper.make_node(
            "GRU", ["turned", "W", "R", "B", *(["lengths"] if with_lengths else [])], ["Y", "Y_h"], direction=direction
        ),
    ]
    shapes = {"x": ["time", "batch", SIZE]} | ({"lengths": ["batch"]} if with_lengths else {})
    model = load(nodes, shapes, ["Y", "Y_h"], arrays | TURN, lengths=INT32)
    expected = onnx_oracle.gru({"direction": direction}, x[::-1], **arrays, sequence_lens=feeds.get("lengths"))
    for value, answer in zip(model(feeds), expected, strict=True):
        check(value, answer, "oracle")


@pytest.mark.parametrize("directions", [1, 2])
def test_a_state_of_all_layers_is_cut_up(directions: int) -> None:
    """PyTorch's h0 (layers · directions, batch, units), of which each GRU gets its part."""
    rng = np.random.default_rng(2)
    way = ["forward", "bidirectional"][directions - 1]
    first, second = weights(rng, directions), weights(rng, directions, directions * UNITS)
    constants = {f"1{key}": value for key, value in first.items()} | {f"2{key}": value for key, value in second.items()}
    constants |= {"0": np.array([0]), "d": np.array([directions]), "2d": np.array([2 * directions])}
    constants["flat"] = np.array([0, 0, -1])
    nodes = [
        helper.make_node("Slice", ["h0", "0", "d", "0"], ["ha"]),
        helper.make_node("Slice", ["h0", "d", "2d", "0"], ["hb"]),
        helper.make_node("GRU", ["x", "1W", "1R", "1B", "", "ha"], ["ya", "hna"], direction=way),
        helper.make_node("Transpose", ["ya"], ["yt"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["yt", "flat"], ["yr"]),
        helper.make_node("GRU", ["yr", "2W", "2R", "2B", "", "hb"], ["yb", "hnb"], direction=way),
    ]
    shapes = {"x": ["time", "batch", SIZE], "h0": [2 * directions, "batch", UNITS]}
    model = load(nodes, shapes, ["yb", "hna", "hnb"], constants)
    x, h0 = sequence(rng), rng.uniform(-1, 1, (2 * directions, BATCH, UNITS)).astype(np.float32)
    Y, first_state = onnx_oracle.gru({"direction": way}, x, **first, initial_h=h0[:directions])
    between = Y.transpose(0, 2, 1, 3).reshape(STEPS, BATCH, -1)
    Y, second_state = onnx_oracle.gru({"direction": way}, between, **second, initial_h=h0[directions:])
    for value, answer in zip(model({"x": x, "h0": h0}), (Y, first_state, second_state), strict=True):
        check(value, answer, "oracle")


def test_a_sequence_without_batch() -> None:
    """An unbatched module: X (time, input) gets an axis of 1, which Y loses again."""
    rng = np.random.default_rng(3)
    arrays = weights(rng, 1)
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["X"]),
        helper.make_node("GRU", ["X", "W", "R", "B"], ["Y", "Y_h"]),
        helper.make_node("Squeeze", ["Y", "both"], ["y"]),
    ]
    constants = arrays | {"one": np.array([1]), "both": np.array([1, 2])}
    model = load(nodes, {"x": ["time", SIZE]}, ["y", "Y_h"], constants)
    x = sequence(rng)[:, 0]
    Y, Y_h = onnx_oracle.gru({}, x[:, None], **arrays)
    for value, answer in zip(model(x), (Y[:, 0, 0], Y_h), strict=True):
        check(value, answer, "oracle")


def test_one_step_with_a_time_axis_of_its_own() -> None:
    """A network of one step: x (batch, input) gets a time axis of 1."""
    rng = np.random.default_rng(4)
    arrays = weights(rng, 1)
    nodes = [
        helper.make_node("Unsqueeze", ["x", "zero"], ["X"]),
        helper.make_node("GRU", ["X", "W", "R", "B", "", "h"], ["", "h_n"]),
    ]
    shapes = {"x": ["batch", SIZE], "h": [1, "batch", UNITS]}
    model = load(nodes, shapes, ["h_n"], arrays | {"zero": np.array([0])})
    x, h = sequence(rng)[0], rng.uniform(-1, 1, (1, BATCH, UNITS)).astype(np.float32)
    check(model({"x": x, "h": h}), onnx_oracle.gru({}, x[None], **arrays, initial_h=h)[1], "oracle")


def test_two_nodes_of_one_input_and_one_lengths() -> None:
    rng = np.random.default_rng(5)
    first, second = weights(rng, 1), weights(rng, 2)
    constants = {f"1{key}": value for key, value in first.items()} | {f"2{key}": value for key, value in second.items()}
    nodes = [
        helper.make_node("GRU", ["x", "1W", "1R", "1B", "lengths"], ["a"], direction="reverse"),
        helper.make_node("GRU", ["x", "2W", "2R", "2B", "lengths"], ["", "b"], direction="bidirectional"),
    ]
    shapes = {"x": ["time", "batch", SIZE], "lengths": ["batch"]}
    model = load(nodes, shapes, ["a", "b"], constants, lengths=INT32)
    x, lengths = sequence(rng), np.array([1, 6, 0, 4, 2], np.int32)
    a, b = model({"x": x, "lengths": lengths})
    check(a, onnx_oracle.gru({"direction": "reverse"}, x, **first, sequence_lens=lengths)[0], "oracle")
    check(b, onnx_oracle.gru({"direction": "bidirectional"}, x, **second, sequence_lens=lengths)[1], "oracle")


def test_a_sequence_of_rows_is_refused_by_name() -> None:
    """Batch and features in one axis would need a GRU over other rows than the network's."""
    arrays = weights(np.random.default_rng(6), 1)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["X"]),
        helper.make_node("GRU", ["X", "W", "R", "B"], ["Y"], name="the_gru"),
    ]
    constants = arrays | {"shape": np.array([0, -1, SIZE])}
    with pytest.raises(fastgru.UnsupportedModel, match=r"'the_gru' \(GRU\): the batch of X"):
        load(nodes, {"x": ["time", "batch", 2, SIZE]}, ["Y"], constants, {"x": "time batch channels features"})

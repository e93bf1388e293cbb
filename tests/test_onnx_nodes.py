"""GRU nodes out of ONNX files whose other operators are not ours: listed, and each loaded as a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fastgru
import onnx_oracle
from onnx_files import node_case
from tolerances import check

Array = np.ndarray
FLOAT = TensorProto.FLOAT


def weights(rng: np.random.Generator, size: int, units: int, directions: int = 1) -> dict[str, Array]:
    shapes = {"W": (directions, 3 * units, size), "R": (directions, 3 * units, units), "B": (directions, 6 * units)}
    return {key: rng.uniform(-0.8, 0.8, shape).astype(np.float32) for key, shape in shapes.items()}


def tensors(arrays: dict[str, Array], prefix: str = "") -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(array, prefix + key) for key, array in arrays.items()]


def save(path: Path, nodes: list[Any], initializers: list[Any], **fields: Any) -> Path:
    """A model from x (time, batch, 4) to y; the checker has not seen it."""
    entries = [
        helper.make_tensor_value_info("x", FLOAT, [7, "rows", 4]),
        helper.make_tensor_value_info("y", FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "g", entries[:1], entries[1:], initializers)
    opsets = fields.pop("opsets", [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)])
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8, **fields), path)
    return path


def hold(model: fastgru.Model, attributes: dict[str, Any], arrays: dict[str, Array], *feeds: str) -> None:
    """The network of a node computes what the oracle does, at sizes of its own."""
    rng = np.random.default_rng(9)
    directions, _, units = arrays["R"].shape
    given = {"X": rng.uniform(-1, 1, (5, 3, arrays["W"].shape[2])).astype(np.float32)}
    if "sequence_lens" in feeds:
        given["sequence_lens"] = np.array([5, 0, 2], np.int32)
    if "initial_h" in feeds:
        given["initial_h"] = rng.uniform(-1, 1, (directions, 3, units)).astype(np.float32)
    assert {spec.name for spec in model.inputs} == set(given)
    answers = dict(zip(("Y", "Y_h"), onnx_oracle.gru(attributes, **arrays, **given), strict=True))
    found = model(given)
    found = found if isinstance(found, tuple) else (found,)
    for spec, value in zip(model.outputs, found, strict=True):
        check(value, answers[spec.name], "oracle")


@pytest.fixture
def mixed(tmp_path: Path) -> tuple[Path, dict[str, dict[str, Array]]]:
    """Between operators of somebody else: a GRU, one without a name, and one whose state and lengths are computed."""
    rng = np.random.default_rng(1)
    held = {"a": weights(rng, 4, 3), "b": weights(rng, 3, 2, directions=2), "c": weights(rng, 4, 5)}
    zeros = np.zeros((2, 6, 2), np.float32)
    nodes = [
        helper.make_node("GRU", ["x", "aW", "aR", "aB"], ["ya"], name="first", hidden_size=3),
        helper.make_node("Secret", ["ya"], ["s"], domain="own", name="odd"),
        helper.make_node("GRU", ["s", "bW", "bR", "", "", "zeros"], ["", "yb"], hidden_size=2,
                         direction="bidirectional", linear_before_reset=1),
        helper.make_node("Secret", ["x"], ["lengths", "state"], domain="own"),
        helper.make_node("GRU", ["x", "cW", "cR", "cB", "lengths", "state"], ["yc", "hc"], name="first",
                         hidden_size=5, clip=0.5),
        helper.make_node("Secret", ["yb", "yc", "hc"], ["y"], domain="own"),
    ]  # fmt: skip
    initializers = [tensor for key, arrays in held.items() for tensor in tensors(arrays, key)]
    initializers.append(numpy_helper.from_array(zeros, "zeros"))
    return save(tmp_path / "mixed.onnx", nodes, initializers), held


def test_all_nodes_are_listed(mixed: Any) -> None:
    first, second, third = fastgru.onnx_gru_nodes(mixed[0])
    assert (first.name, first.input_size, first.hidden_size, first.direction) == ("first", 4, 3, "forward")
    assert (first.steps, first.batch, first.layout, first.linear_before_reset) == (7, None, 0, False)
    assert (first.inputs, first.outputs) == (("X",), ("Y",))
    assert (second.name, second.direction, second.linear_before_reset) == ("GRU→yb", "bidirectional", True)
    assert (second.inputs, second.outputs) == (("X",), ("Y_h",))  # its initial_h is a constant
    assert third.name == "first_1"  # a name that two nodes have
    assert third.inputs == ("X", "sequence_lens", "initial_h")


def test_each_loads_by_name(mixed: Any) -> None:
    path, held = mixed
    hold(fastgru.load(path, node="first"), {}, held["a"])
    both = {"direction": "bidirectional", "linear_before_reset": 1}
    hold(fastgru.load(path, node="GRU→yb"), both, {key: held["b"][key] for key in "WR"})
    hold(fastgru.load(path, node="first_1"), {"clip": 0.5}, held["c"], "sequence_lens", "initial_h")
    with pytest.raises(fastgru.UnsupportedModel, match=r"own\.Secret"):
        fastgru.load(path)


def test_an_unknown_name_lists_the_known_ones(mixed: Any) -> None:
    with pytest.raises(fastgru.BadInput, match="'GRU_12'; there are: 'first', 'GRU→yb', 'first_1'"):
        fastgru.load(mixed[0], node="GRU_12")


def test_from_memory(mixed: Any) -> None:
    path, held = mixed
    hold(fastgru.from_onnx(onnx.load(path), node="first"), {}, held["a"])


def test_a_node_streams_and_can_be_saved(mixed: Any, tmp_path: Path) -> None:
    model = fastgru.load(mixed[0], node="first")
    model.save(tmp_path / "first.safetensors")
    x = np.random.default_rng(2).uniform(-1, 1, (6, 1, 4)).astype(np.float32)
    whole = model(x)
    assert np.array_equal(fastgru.load(tmp_path / "first.safetensors")(x), whole)
    with model.stream() as stream:
        steps = [stream.step(x[t]) for t in range(6)]
    assert np.array_equal(np.stack(steps), whole[:, 0])


def test_weights_that_nodes_compute_from_constants(tmp_path: Path) -> None:
    """Exporters that do not fold: PyTorch's gates r, z, n are put in order by Slice and Concat."""
    rng = np.random.default_rng(3)
    arrays = weights(rng, 4, 2)
    W = arrays["W"][0]
    torch = np.concatenate([W[2:4], W[:2], W[4:]])
    whole = [numpy_helper.from_array(np.array(value), f"i{value}") for value in (([0]), ([2]), ([4]), ([6]))]
    names = [f"i[{value}]" for value in (0, 2, 4, 6)]
    slices = [(names[1], names[2], "Wz"), (names[0], names[1], "Wr"), (names[2], names[3], "Wn")]
    nodes = [helper.make_node("Slice", ["torch", start, stop, names[0]], [out]) for start, stop, out in slices]
    nodes += [
        helper.make_node("Concat", ["Wz", "Wr", "Wn"], ["flat"], axis=0),
        helper.make_node("Unsqueeze", ["flat", names[0]], ["X"]),  # the operator's own name for something else
        helper.make_node("GRU", ["x", "X", "R", "B"], ["y"], name="gru"),
    ]
    rest = {key: arrays[key] for key in "RB"}
    path = save(tmp_path / "m.onnx", nodes, [*whole, numpy_helper.from_array(torch, "torch"), *tensors(rest)])
    (record,) = fastgru.onnx_gru_nodes(path)
    assert (record.input_size, record.hidden_size) == (4, 2)
    hold(fastgru.load(path, node="gru"), {}, arrays)


def test_weights_that_a_call_gives_are_refused(tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(4), 4, 2)
    nodes = [
        helper.make_node("Secret", ["x"], ["W"], domain="own"),
        helper.make_node("GRU", ["x", "W", "R"], ["y"], name="gru"),
    ]
    path = save(tmp_path / "m.onnx", nodes, tensors({"R": arrays["R"]}))
    (record,) = fastgru.onnx_gru_nodes(path)
    assert (record.input_size, record.hidden_size) == (None, 2)
    with pytest.raises(fastgru.UnsupportedModel, match=r"'gru' .*W computed"):
        fastgru.load(path, node="gru")


def test_nodes_inside_loops_and_functions(tmp_path: Path) -> None:
    """A Loop's body reads weights from around it; a function gets them as its inputs."""
    arrays = weights(np.random.default_rng(5), 4, 4)
    body = helper.make_graph(
        [
            helper.make_node("GRU", ["v", "W", "R", "B"], ["", "h"], name="inside", hidden_size=4),
            helper.make_node("Identity", ["goes"], ["on"]),
            helper.make_node("Identity", ["v"], ["v_out"]),
        ],
        "body",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in (("i", 7), ("goes", 9), ("v", 1))],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in (("on", 9), ("v_out", 1), ("h", 1))],
    )
    function = helper.make_function(
        "own", "Layer", ["a", "w", "r"], ["out"],
        [helper.make_node("GRU", ["a", "w", "r"], ["out"], name="called", linear_before_reset=1)],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Loop", ["count", "", "x"], ["last", "all"], body=body),
        helper.make_node("Layer", ["last", "W", "R"], ["y"], domain="own"),
    ]
    count = numpy_helper.from_array(np.array(3), "count")
    path = save(tmp_path / "m.onnx", nodes, [count, *tensors(arrays)], functions=[function])
    records = fastgru.onnx_gru_nodes(path)
    assert records[0].name == "inside"
    assert records[1].name.startswith("called")  # what puts functions in place marks the call
    hold(fastgru.load(path, node=records[0].name), {}, arrays)
    plain = {key: arrays[key] for key in "WR"}
    hold(fastgru.load(path, node=records[1].name), {"linear_before_reset": 1}, plain)


def test_external_weights(tmp_path: Path) -> None:
    case = node_case(storage="external", without=("sequence_lens", "initial_h"))
    path = case.write(tmp_path / "m.onnx")
    model = fastgru.load(path, node="the_gru")
    for value, answer in zip(model(case.feeds["X"]), case.expected.values(), strict=True):
        check(value, answer, "oracle")


def test_no_nodes(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [])
    assert fastgru.onnx_gru_nodes(path) == ()
    with pytest.raises(fastgru.BadInput, match="there are: none"):
        fastgru.load(path, node="gru")


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x08\x12 cut short")
    with pytest.raises(fastgru.BadModelFile, match=r"m\.onnx"):
        fastgru.onnx_gru_nodes(path)
    with pytest.raises(FileNotFoundError):
        fastgru.onnx_gru_nodes(tmp_path / "none.onnx")


def test_too_many_inputs_are_not_dropped(tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(7), 4, 2)
    node = helper.make_node("GRU", ["x", "W", "R", "B", "", "", "x"], ["y"], name="gru")
    path = save(tmp_path / "m.onnx", [node], tensors(arrays))
    with pytest.raises(fastgru.UnsupportedModel, match="has 7 inputs"):
        fastgru.load(path, node="gru")


def test_functions_that_would_never_end(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def function(name: str, *calls: str) -> Any:
        values = [chr(ord("a") + place) for place in range(len(calls) + 1)]
        nodes = [
            helper.make_node(call, values[i : i + 1], values[i + 1 : i + 2], domain="own")
            for i, call in enumerate(calls)
        ]
        return helper.make_function("own", name, values[:1], values[-1:], nodes, opsets)

    call = helper.make_node("F30", ["x"], ["y"], domain="own")
    doubling = [function("F0", "G")] + [function(f"F{k}", f"F{k - 1}", f"F{k - 1}") for k in range(1, 31)]
    path = save(tmp_path / "m.onnx", [call], [], functions=doubling)
    with pytest.raises(fastgru.BadModelFile, match="1,073,741,824 nodes"):
        fastgru.onnx_gru_nodes(path)
    path = save(tmp_path / "m.onnx", [call], [], functions=[function("F30", "F31"), function("F31", "F30")])
    with pytest.raises(fastgru.BadModelFile, match="'F30' calls itself"):
        fastgru.load(path)


def test_names_that_are_no_text(tmp_path: Path, mixed: Any) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(mixed[0].read_bytes().replace(b"first", b"fi\xffst"))
    with pytest.raises(fastgru.BadModelFile, match="a name that is no text"):
        fastgru.onnx_gru_nodes(path)


def test_cut_anywhere_nothing_crashes(mixed: Any, tmp_path: Path) -> None:
    whole = mixed[0].read_bytes()
    path = tmp_path / "cut.onnx"
    rng = np.random.default_rng(6)
    for length in [*rng.integers(1, len(whole), 60)]:
        path.write_bytes(whole[:length])
        with pytest.raises(fastgru.FastGRUError):
            fastgru.load(path, node="first")
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            for record in fastgru.onnx_gru_nodes(path):
                fastgru.load(path, node=record.name)
        except fastgru.FastGRUError:
            continue

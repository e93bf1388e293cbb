"""Damaged and malicious ONNX files: each is read or refused with an error of ours, in little time and memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")

import onnx
from onnx import TensorProto, helper, numpy_helper

import fastgru
from fastgru import BadModelFile, FastGRUError
from fastgru.importers.onnx import from_onnx
from onnx_build import gru, model

FILES = sorted((Path(__file__).parent / "data" / "onnx" / "torch").glob("*.onnx"))
X = "float[B, T, 8] x"
COLUMN = np.ones((60000, 1), np.float32)


def network() -> onnx.ModelProto:
    weights = gru(np.random.default_rng(0), "g", 8, 4) | {"ax1": np.array([1])}
    body = "a = Transpose <perm = [1, 0, 2]> (x) b, h = GRU <hidden_size = 4> (a, gW, gR, gB) y = Squeeze (b, ax1)"
    return model(X, "y, h", body, weights)


def opened(content: bytes, path: Path) -> None:
    """Whatever a file holds, what comes is a network or an error of ours."""
    path.write_bytes(content)
    with contextlib.suppress(FastGRUError):
        fastgru.load(path)


def test_a_file_cut_anywhere(tmp_path: Path) -> None:
    content = network().SerializeToString()
    for end in [*range(0, 400, 7), *range(400, len(content), 97)]:
        opened(content[:end], tmp_path / "cut.onnx")


@pytest.mark.parametrize("name", ["stateful", "crnn", "masked_mean", "packed"])
def test_bytes_flipped(name: str, tmp_path: Path) -> None:
    content = next(path for path in FILES if path.stem == name).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(250):
        broken = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            broken[place] = rng.integers(0, 256)
        opened(bytes(broken), tmp_path / "flipped.onnx")


@pytest.mark.parametrize("name", ["stateful", "crnn", "masked_mean", "residual"])
def test_attributes_and_wires_changed(name: str) -> None:
    """Numbers of attributes and of small tensors replaced, inputs swapped."""
    source = onnx.load(next(path for path in FILES if path.stem == name))
    rng = np.random.default_rng(2)
    odd = [-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 100, 2**31, 2**62, 2**63 - 1]
    names = [output for node in source.graph.node for output in node.output] + ["nowhere", ""]
    for _ in range(250):
        proto = onnx.ModelProto()
        proto.CopyFrom(source)
        node = proto.graph.node[rng.integers(0, len(proto.graph.node))]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.INT:
                attribute.i = odd[rng.integers(0, len(odd))]
            elif attribute.type == onnx.AttributeProto.INTS and len(attribute.ints):
                attribute.ints[rng.integers(0, len(attribute.ints))] = odd[rng.integers(0, len(odd))]
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.INT64:
                array = np.array(numpy_helper.to_array(attribute.t))
                if array.size:
                    array.reshape(-1)[rng.integers(0, array.size)] = odd[rng.integers(0, len(odd))]
                attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
        if rng.integers(0, 2) and len(node.input):
            node.input[rng.integers(0, len(node.input))] = names[rng.integers(0, len(names))]
        with contextlib.suppress(FastGRUError):
            from_onnx(proto)


def test_sizes_that_lie() -> None:
    for change, why in (
        (lambda t: t.dims.__setitem__(0, 2**40), "should hold"),
        (lambda t: t.dims.__setitem__(0, -1), "cannot have shape"),
        (lambda t: setattr(t, "data_type", 77), "has the dtype 77"),
        (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "should hold"),
    ):
        proto = network()
        change(proto.graph.initializer[0])
        with pytest.raises(FastGRUError, match=why):
            from_onnx(proto)


@pytest.mark.parametrize(
    "place", ["../secret.bin", "/etc/passwd", "missing.bin", "", "sub/../../secret.bin", "link.bin"]
)
def test_tensors_outside_the_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    proto = network()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", place
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(FastGRUError, match=r"outside the model's folder|missing"):
        fastgru.load(folder / "m.onnx")


def test_cycles_and_what_nothing_defines() -> None:
    for nodes, why in (
        ("y = Relu (nowhere)", "nothing defines 'nowhere'"),
        ("y = Add (x, z) z = Relu (y)", "'z' is read by .* before it is defined"),
        ("y = Add (x, y)", "'y' is read by .* before it is defined"),
        ("y = Relu (a) a = Relu (x)", "'a' is read by .* before it is defined"),
    ):
        with pytest.raises(BadModelFile, match=why):
            from_onnx(model(X, "y", nodes))


@pytest.mark.parametrize("depth", [20, 25])
def test_graphs_deep_inside_each_other(depth: int) -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["r0"])], "g", [], [])
    graph.output.append(helper.make_tensor_value_info("r0", TensorProto.FLOAT, None))
    for level in range(1, depth):
        name = f"r{level}"
        node = helper.make_node("If", ["yes"], [name], then_branch=graph, else_branch=graph if level < 2 else None)
        graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])
    proto = model(X, "y", "y = Identity (x)", {"yes": np.array(True)})
    last = helper.make_node("If", ["yes"], ["y"], then_branch=graph, else_branch=graph if depth < 22 else None)
    proto.graph.node[0].CopyFrom(last)
    with pytest.raises(FastGRUError, match=r"graphs inside each other|lacks its else_branch"):
        from_onnx(proto)


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("z = ConstantOfShape (s) y = Add (x, z)", {"s": np.array([1, 1 << 20, 1 << 20])}),
        ("z = Expand (x, s) y = Relu (z)", {"s": np.array([1, 1, 1, 1 << 40])}),
        ("u = Unsqueeze (x, a) y = Expand (u, s)", {"s": np.array([1, 1, 1 << 20, 1 << 20]), "a": np.array([2])}),
        ("z = Tile (c, s) y = Add (x, z)", {"s": np.array([1 << 40]), "c": np.ones(8, np.float32)}),
        ("z = Tile (x, s) y = Relu (z)", {"s": np.array([1, 1, 1 << 40])}),
        ("z = Range (a, s, d) y = Add (x, z)", {"a": np.int64(0), "s": np.int64(1 << 60), "d": np.int64(1)}),
        ("z = MatMul (c, d) y = Add (x, z)", {"c": COLUMN, "d": COLUMN.T}),
        ("z = Add (c, d) y = Add (x, z)", {"c": COLUMN, "d": COLUMN.T}),
        ("y = Pad (x, s)", {"s": np.array([0, 0, 0, 0, 0, 1 << 60])}),
        ("y = Unsqueeze (x, s)", {"s": np.arange(3, 5000)}),
        ("y = Reshape (x, s)", {"s": np.array([0, 0, 8] + [1] * 5000)}),
        ("y = Split <axis = 2> (x, s)", {"s": np.array([-1])}),
        ("a = Transpose <perm = [0, 2, 1]> (x) y = MaxPool <kernel_shape = [9223372036854775807]> (a)", {}),
    ],
)  # fmt: skip
def test_constants_without_bounds(body: str, given: dict[str, np.ndarray]) -> None:
    with pytest.raises(FastGRUError):
        from_onnx(model(X, "y", body, given, 17))

"""GRU nodes of ONNX files that are refused: by name, with every reason at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import fastgru
from onnx_files import NodeCase, node_case
from tolerances import check

DATA = Path(__file__).parent / "data" / "onnx"


def refusal(case: NodeCase) -> str:
    with pytest.raises(fastgru.UnsupportedModel) as caught:
        fastgru.from_onnx(case.model)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attributes": {"direction": "sideways"}}, "direction should be forward, reverse, bidirectional"),
        ({"attributes": {"direction": "foward"}}, "'foward'"),
        ({"attributes": {"clip": 0.0}}, "clip should be positive, is 0.0"),
        ({"attributes": {"layout": 2}}, "layout should be 0 or 1, is 2"),
        ({"attributes": {"hidden_size": 4}}, "hidden_size is 4"),
        ({"attributes": {"activations": ["Sigmoid", "Swish"] * 2}}, "'Swish'"),
        ({"attributes": {"activations": ["Sigmoid", "Tanh"]}}, "activations should be 4"),
        ({"attributes": {"activations": ["Sigmoid", "Affine"] * 2}}, "'Affine' needs activation_alpha and"),
        ({"attributes": {"activation_alpha": [0.5]}}, "activation_alpha has 1 numbers, its activations take 0"),
        ({"attributes": {"peephole": 1}}, "attribute peephole is not known"),
        ({"attributes": {"output_sequence": 1}}, "attribute output_sequence is not known"),
        ({"attributes": {"layout": 0}, "opset": 7}, "attribute layout is not known"),
        ({"attributes": {"clip": 1}}, "clip should be of type FLOAT, is INT"),
        ({"W": np.zeros((2, 14, 3))}, r"W should have shape (2, 15, 3), has (2, 14, 3)"),
        ({"W": np.zeros((2, 15, 2))}, "X has 3 features, W takes 2"),
        ({"R": np.zeros((1, 15, 5))}, "R should have shape (2, 15, 5), has (1, 15, 5)"),
        ({"B": np.zeros((2, 15))}, "B should have shape (2, 30), has (2, 15)"),
        ({"sequence_lens": np.array([1, 2, 3, 4], np.int32), "constants": ("sequence_lens",)}, "constants 1, 2, 3, 4"),
        ({"constants": ("initial_h",)}, "initial_h is a constant that differs from row to row"),
    ],
    ids=str,
)  # fmt: skip
def test_each_fault_is_named(changes: dict[str, Any], said: str) -> None:
    text = refusal(node_case(**changes))
    assert "'the_gru' (GRU)" in text
    assert said in text


def test_all_faults_come_at_once() -> None:
    said = {"direction": "sideways", "clip": -1.0, "layout": 3, "activation_beta": [1.0]}
    text = refusal(node_case(attributes=said, constants=("sequence_lens", "initial_h")))
    for fault in ("direction", "clip", "layout", "activation_beta", "sequence_lens", "initial_h"):
        assert fault in text


def test_weights_must_be_constants() -> None:
    model = node_case().model
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del model.graph.initializer[:]
    with pytest.raises(fastgru.UnsupportedModel) as caught:
        fastgru.from_onnx(model)
    for name in "WRB":
        assert f"its {name} (input {'XWRB'.index(name)}) is not a constant" in str(caught.value)


def test_a_seventh_input_is_refused() -> None:
    model = node_case().model
    model.graph.node[0].input.append("X")
    with pytest.raises(fastgru.UnsupportedModel, match="has 7 inputs, the operator has 6"):
        fastgru.from_onnx(model)


def test_a_third_output_is_refused() -> None:
    model = node_case().model
    model.graph.node[0].output.append("gates")
    model.graph.output.append(helper.make_tensor_value_info("gates", TensorProto.FLOAT, None))
    with pytest.raises(fastgru.UnsupportedModel, match="gives 2 values, 3 are wanted"):
        fastgru.from_onnx(model)


def test_an_opset_that_nobody_knows_comes_with_the_other_reasons() -> None:
    model = node_case(attributes={"clip": -1.0}).model
    model.opset_import[0].version = 99
    model.graph.node.append(helper.make_node("Secret", ["X"], ["s"]))
    model.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, None))
    with pytest.raises(fastgru.UnsupportedModel) as caught:
        fastgru.from_onnx(model)
    text = str(caught.value)
    assert len(caught.value.reasons) == 3
    for reason in ("opset 99 of ONNX's operators is not known", "operator Secret", "clip should be positive"):
        assert reason in text


def test_the_standard_has_no_newer_gru() -> None:
    """Where this fails, the operator has changed: its new text is to be read."""
    assert onnx.defs.get_schema("GRU").since_version == 22


def test_lengths_that_no_row_can_have() -> None:
    case = node_case()
    model = fastgru.from_onnx(case.model)
    for wrong in ([6, 2, 7, 1], [6, -1, 2, 1]):
        with pytest.raises(fastgru.BadInput, match="sequence_lens"):
            model(case.feeds | {"sequence_lens": np.array(wrong, np.int32)})


# ---- the bug of PyTorch's dynamo exporter ----------------------------------------------------------------------------


def test_torchs_missing_attribute_is_refused_until_assumed() -> None:
    """tools/make_dynamo_onnx.py made the files."""
    path = DATA / "dynamo_0.6.2.onnx"
    with pytest.raises(fastgru.UnsupportedModel, match=r"onnxscript 0\.7\.0.*assume_torch_gru=True"):
        fastgru.load(path, node="node_gru__1")
    with np.load(DATA / "dynamo.npz") as golden:
        x, y, h = (golden[key] for key in "xyh")
    feeds = {"X": x.swapaxes(0, 1), "initial_h": np.zeros((1, 2, 4), np.float32)}
    right = fastgru.load(path, node="node_gru__1", assume_torch_gru=True)
    assert any("linear_before_reset=1" in note for note in right.notes)
    Y, Y_h = right(feeds)
    check(Y[:, 0].swapaxes(0, 1), y, "oracle")
    check(Y_h, h, "oracle")
    as_written = fastgru.load(path, node="node_gru__1", assume_torch_gru=False)
    assert np.abs(as_written(feeds)[0] - Y).max() > 1e-2
    mended = fastgru.load(DATA / "dynamo_0.7.2.onnx", node="node_gru__1")
    assert np.array_equal(mended(feeds)[0], Y)
    assert mended.notes == ("stream() carries output 'Y_h' back to input 'initial_h'",)


@pytest.mark.parametrize("name", ["dynamo_0.6.2", "dynamo_0.7.2"])
def test_torchs_whole_file(name: str) -> None:
    model = fastgru.load(DATA / f"{name}.onnx", assume_torch_gru=True if "0.6" in name else None)
    with np.load(DATA / "dynamo.npz") as golden:
        y, h = model(golden["x"])
        check(y, golden["y"], "oracle")
        check(h, golden["h"], "oracle")


def test_torchs_mark_outlives_its_name() -> None:
    """Optimizers put their own name on a file; the node still tells where it comes from."""
    marked = dataclasses.replace(
        node_case(attributes={"linear_before_reset": 0}),
        metadata={"pkg.torch.onnx.class_hierarchy": "['M', 'torch.nn.modules.rnn.GRU', 'aten.gru.input']"},
    )
    assert "assume_torch_gru=True" in refusal(marked)
    assert "assume_torch_gru=True" in refusal(dataclasses.replace(marked, metadata={}, producer="pytorch"))
    fastgru.from_onnx(dataclasses.replace(marked, metadata={}).model)
    after = dataclasses.replace(marked, attributes=marked.attributes | {"linear_before_reset": 1})
    fastgru.from_onnx(after.model)


def test_what_is_no_model() -> None:
    with pytest.raises(fastgru.BadInput, match=r"expected an onnx\.ModelProto, got str; load\(\) takes a path"):
        fastgru.from_onnx("model.onnx")
    with pytest.raises(fastgru.BadModelFile):
        fastgru.from_onnx(onnx.ModelProto())


def test_a_foreign_option_is_named() -> None:
    with pytest.raises(fastgru.BadInput, match="config"):
        fastgru.from_onnx(onnx.ModelProto(), config={})

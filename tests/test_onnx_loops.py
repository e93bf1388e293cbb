"""GRUs that ONNX files hold as Loops, Scans or written-out steps: raised, or refused by name."""

from __future__ import annotations

from pathlib import Path

import fastgru
import numpy as np
import onnx
import pytest
from fastgru import passes
from fastgru.errors import UnsupportedModel
from fastgru.graph import GRU
from fastgru.importers.onnx import from_onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_files import onnxruntime_answer
from tolerances import check

DATA = Path(__file__).parent / "data" / "onnx"
NETWORKS = sorted(DATA.glob("loop_*.onnx"))
#: what each golden file is made of, besides GRUs
OTHERS = {
    "backwards": ["Slice"],
    "bidirectional": ["Concatenate"],
    "bidirectional_last": ["Combine"],
    "branches": ["Concatenate", "Dense"],
    "distributed": ["Dense"],
    "embedding": ["Embedding"],
    "free_bidirectional": ["Concatenate"],
    "mask_zero": ["Embedding"],
    "mask_zero_bidirectional": ["Embedding", "Concatenate"],
    "masking": ["Masking"],
    "masking_bidirectional": ["Masking", "Concatenate"],
}


def golden(name):
    arrays = np.load(DATA / f"loop_{name}.npz")
    given, wanted = ([arrays[key] for key in sorted(arrays) if key[0] == letter] for letter in "xy")
    return onnx.load(DATA / f"loop_{name}.onnx"), given, wanted


def answers(proto, *given):
    """What fastgru says to a ModelProto."""
    y = fastgru.Model(passes.apply(from_onnx(proto)))(*given)
    return y if isinstance(y, tuple) else (y,)


def runtime(proto, *given):
    said = onnxruntime_answer(proto, dict(zip([entry.name for entry in proto.graph.input], given, strict=True)))
    assert not isinstance(said, str), said
    return tuple(said.values())


def agree(proto, *given):
    for ours, theirs in zip(answers(proto, *given), runtime(proto, *given), strict=True):
        check(ours, theirs, "onnxruntime")


def body_of(proto, index=0):
    node = [node for node in proto.graph.node if node.op_type in ("Loop", "Scan")][index]
    return node, next(attribute.g for attribute in node.attribute if attribute.name == "body")


def node_in(graph, op, index=0):
    return [node for node in graph.node if node.op_type == op][index]


def set_tensor(graph, name, array):
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(array), name))


def add_tensor(graph, name, array):
    graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def refusal(proto):
    with pytest.raises(UnsupportedModel) as caught:
        from_onnx(proto)
    return str(caught.value)


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_keras_exports(path):
    name = path.stem.removeprefix("loop_")
    proto, given, wanted = golden(name)
    graph = passes.apply(from_onnx(proto))
    kinds = [layer.kind for layer in graph.layers]
    assert [kind for kind in kinds if kind != "GRU"] == OTHERS.get(name, [])
    assert "GRU" in kinds
    model = fastgru.load(path)
    y = model(*given)
    for ours, keras in zip(y if isinstance(y, tuple) else (y,), wanted, strict=True):
        check(ours, keras, "keras")
    agree(proto, *given)


@pytest.mark.parametrize("name", ["free", "free_bidirectional"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_batch_and_time_are_free(name, shape):
    proto, (x,), _ = golden(name)
    agree(proto, np.random.default_rng(2).normal(size=(*shape, x.shape[2])).astype(np.float32))


@pytest.mark.parametrize("name", ["masking", "masking_bidirectional"])
def test_masks_may_have_holes_and_cover_all(name):
    proto, (x,), _ = golden(name)
    x = np.concatenate([x, x])
    x[0, ::2] = 0
    x[1] = 0
    agree(proto, x)


def test_weights_are_those_of_the_file():
    for name in ("after", "before"):
        proto, _, _ = golden(name)
        (gru,) = from_onnx(proto).layers
        held = [numpy_helper.to_array(tensor) for tensor in proto.graph.initializer]
        biases = gru.bias if name == "before" else np.stack([gru.bias, gru.recurrent_bias])
        for tensor in (gru.kernel, gru.recurrent_kernel, biases):
            assert any(np.array_equal(tensor, other) for other in held)
        assert gru.reset_after == (name == "after")


def test_a_raised_network_streams():
    model = fastgru.load(DATA / "loop_free.onnx")
    _, (x,), _ = golden("free")
    with model.stream(batch_size=len(x)) as stream:
        steps = [stream.step(x[:, t]) for t in range(x.shape[1])]
    assert np.array_equal(steps[-1], model(x))


# ---- loops that are none -------------------------------------------------------------------------------------------


def fewer_trips(proto):
    node, _ = body_of(proto)
    node.input[0] = add_tensor(proto.graph, "fewer", np.int64(4))
    return "runs 4 times over 5 steps"


def earlier_end(proto):
    _, graph = body_of(proto)
    node_in(graph, "Less").input[1] = add_tensor(graph, "earlier", np.float32(3))
    return "over 5 steps"


def no_beginning(proto):
    node, _ = body_of(proto)
    node.input[1] = add_tensor(proto.graph, "never", np.bool_(False))
    return "does not begin for certain"


def other_coefficient(proto):
    _, graph = body_of(proto)
    node_in(graph, "Sub").input[0] = add_tensor(graph, "coefficient", np.float32(0.5))
    return "is no GRU: the new state is not z · h"


def other_gate(proto):
    _, graph = body_of(proto)
    node_in(graph, "Sigmoid").op_type = "Tanh"
    return "the reset gate tanh"


def other_step(proto):
    """The body reads the step after the one whose turn it is."""
    _, graph = body_of(proto)
    gather = node_in(graph, "Gather")
    graph.node.remove(counted := node_in(graph, "Add"))
    graph.node.insert(0, counted)
    for node in graph.node:
        if node.op_type == "Gather":
            node.input[1] = counted.output[0]
    assert gather.input[1]
    return "whose turn it is"


def other_count(proto):
    """The counter goes by two."""
    _, graph = body_of(proto)
    count = next(tensor for tensor in graph.initializer if tensor.name.endswith("add/y:0"))
    set_tensor(graph, count.name, np.int32(2))
    return "otherwise than by counting"


def foreign_operator(proto):
    _, graph = body_of(proto)
    node_in(graph, "Tanh").op_type = "Erf"
    return "(Erf) is no operator of a cell"


def no_state(proto):
    """The state stays as it was."""
    node, graph = body_of(proto)
    state = next(index for index, entry in enumerate(graph.input) if len(entry.type.tensor_type.shape.dim) == 2)
    del node
    graph.output[state - 1].name = graph.input[state].name
    return "is no GRU"


@pytest.mark.parametrize(
    "change",
    [fewer_trips, earlier_end, no_beginning, other_coefficient, other_gate, other_step, other_count, foreign_operator,
     no_state],
)  # fmt: skip
def test_what_is_no_gru_is_refused(change):
    proto, _, _ = golden("after")
    words = change(proto)
    said = refusal(proto)
    assert words in said
    assert "(Loop)" in said


def test_masked_steps_that_give_something_else_are_refused():
    """z of masked steps mixed half and half with the state before."""
    proto, _, _ = golden("masking")
    _, graph = body_of(proto)
    half = add_tensor(graph, "half", np.float32(0.5))
    for cast in [node for node in graph.node if node.op_type == "Cast" and "SelectV2" in node.output[0]]:
        user = next(node for node in graph.node if cast.output[0] in node.input and node.op_type == "Mul")
        index = list(graph.node).index(user)
        name = f"{cast.output[0]}/half"
        user.input[list(user.input).index(cast.output[0])] = name
        graph.node.insert(index, helper.make_node("Mul", [cast.output[0], half], [name]))
    assert "is no GRU" in refusal(proto)


def test_all_reasons_come_at_once():
    proto, _, _ = golden("bidirectional")
    for index in (0, 1):
        _, graph = body_of(proto, index)
        node_in(graph, "Tanh").op_type = "Erf"
    with pytest.raises(UnsupportedModel) as caught:
        from_onnx(proto)
    assert len(caught.value.reasons) == 2


# ---- written-out steps ---------------------------------------------------------------------------------------------


def test_steps_with_weights_of_their_own_are_not_rolled_up():
    proto, given, _ = golden("distributed")
    kernel = node_in(proto.graph, "MatMul").input[1]
    array = numpy_helper.to_array(next(tensor for tensor in proto.graph.initializer if tensor.name == kernel))
    node_in(proto.graph, "MatMul").input[1] = add_tensor(proto.graph, "another", array * 2)
    agree(proto, *given)


def test_equal_weights_of_two_names_are_one():
    proto, given, _ = golden("distributed")
    kernel = node_in(proto.graph, "MatMul").input[1]
    array = numpy_helper.to_array(next(tensor for tensor in proto.graph.initializer if tensor.name == kernel))
    node_in(proto.graph, "MatMul").input[1] = add_tensor(proto.graph, "again", array)
    assert len(passes.apply(from_onnx(proto)).layers) == 2
    agree(proto, *given)


@pytest.mark.parametrize("swap", [(0, 1), (3, 4)])
def test_steps_in_another_order_are_not_rolled_up(swap):
    proto, given, _ = golden("distributed")
    joined = next(node for node in proto.graph.node if node.op_type == "Concat" and len(node.input) == 5)
    a, b = swap
    joined.input[a], joined.input[b] = joined.input[b], joined.input[a]
    agree(proto, *given)


def test_some_of_the_steps_are_not_rolled_up():
    proto, given, _ = golden("distributed")
    joined = next(node for node in proto.graph.node if node.op_type == "Concat" and len(node.input) == 5)
    del joined.input[4]
    for entry in proto.graph.output:
        entry.type.tensor_type.ClearField("shape")
    try:
        graph = from_onnx(proto)
    except UnsupportedModel as error:
        assert "steps" in str(error)
    else:
        check(fastgru.Model(passes.apply(graph))(*given), runtime(proto, *given)[0], "onnxruntime")


def test_an_unrolled_gru_with_one_other_step_is_no_gru():
    proto, given, _ = golden("unrolled")
    node_in(proto.graph, "Tanh", 2).op_type = "Softsign"
    graph = from_onnx(proto)
    assert not any(isinstance(layer, GRU) for layer in graph.layers)
    check(fastgru.Model(passes.apply(graph))(*given), runtime(proto, *given)[0], "onnxruntime")


# ---- Scan ----------------------------------------------------------------------------------------------------------


def scan(states=True, **attributes):
    """A Scan over x (time, batch, 3) whose body is a GRU cell of 2 units, or a Dense of each step."""
    rng = np.random.default_rng(4)
    arrays = {key: rng.normal(size=size).astype(np.float32) for key, size in
              {"W": (3, 6), "R": (2, 6), "b": (6,), "c": (6,), "D": (3, 2)}.items()}  # fmt: skip
    text = """
        p = MatMul(x_t, W)
        pb = Add(p, b)
        q = MatMul(h, R)
        qc = Add(q, c)
        pz, pr, pn = Split <axis = -1> (pb, thirds)
        qz, qr, qn = Split <axis = -1> (qc, thirds)
        az = Add(pz, qz)
        z = Sigmoid(az)
        ar = Add(qr, pr)
        r = Sigmoid(ar)
        rn = Mul(qn, r)
        an = Add(rn, pn)
        n = Tanh(an)
        d = Sub(h, n)
        zd = Mul(d, z)
        new = Add(zd, n)
        y = Identity(new)
    """ if states else """
        s = MatMul(x_t, D)
        y = Tanh(s)
    """  # fmt: skip
    signature = "(float[b, 2] h, float[b, 3] x_t) => (float[b, 2] new, float[b, 2] y)"
    body = onnx.parser.parse_graph(
        f"body {signature if states else '(float[b, 3] x_t) => (float[b, 2] y)'} {{ {text} }}"
    )
    given = {"thirds": np.array([2, 2, 2])} | arrays
    initializers = [numpy_helper.from_array(array, key) for key, array in given.items()]
    initializers.append(numpy_helper.from_array(np.array([[0.5, -0.25]], np.float32), "h0"))
    names = (["h0"], ["last"]) if states else ([], [])
    node = helper.make_node(
        "Scan", [*names[0], "x"], [*names[1], "ys"], name="the_scan", body=body, num_scan_inputs=1, **attributes
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", 1, 3])
    out = [helper.make_tensor_value_info("ys", TensorProto.FLOAT, ["time", 1, 2])]
    out += [helper.make_tensor_value_info("last", TensorProto.FLOAT, [1, 2])] if states else []
    graph = helper.make_graph([node], "scanned", [x], out, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize("written_backwards", [0, 1])
def test_scan(states, backwards, written_backwards):
    proto = scan(states, scan_input_directions=[backwards], scan_output_directions=[written_backwards])
    x = np.random.default_rng(1).normal(size=(6, 1, 3)).astype(np.float32)
    agree(proto, x)
    kinds = [layer.kind for layer in from_onnx(proto).layers]
    assert ("GRU" in kinds) == states


def test_a_scan_that_is_no_gru_is_refused():
    proto = scan()
    _, graph = body_of(proto)
    node_in(graph, "Sub").op_type = "Add"
    said = refusal(proto)
    assert "'the_scan' (Scan)" in said
    assert "is no GRU" in said


def test_foreign_operators_of_each_step_are_named():
    proto = scan(states=False)
    _, graph = body_of(proto)
    node_in(graph, "Tanh").op_type = "Det"
    assert "Det" in refusal(proto)

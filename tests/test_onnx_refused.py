"""What the importer of ONNX graphs refuses: by name, with the reason, and all at once."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")

import fastgru
from fastgru import BadInput, UnsupportedModel
from fastgru.importers.onnx import from_onnx
from onnx_build import gru, model

X = "float[B, T, 8] x"
AXES = {"x": "batch time features"}
W = {
    "v3": np.ones(3, np.float32), "ax0": np.array([0]), "ax1": np.array([1]), "m24": np.ones((2, 8, 4), np.float32),
    "m95": np.ones((9, 5), np.float32), "until": np.array([2, 1, 1]), "pads": np.array([0, 1, 0, 0, 0, 0]),
    "six": np.array([6]), "p": np.float32(5), "true": np.array(True), "rows": np.ones((2, 1, 8), np.float32),
    "v8": np.ones(8, np.float32), "k": np.ones((2, 8, 3, 3, 3), np.float32), "sizes": np.array([0, 3, -1]),
    "thirty": np.array([30]), "huge": np.array([1, 2**40, 1]), "i2": np.array([[0], [1]]), "zero": np.array([0]),
}  # fmt: skip

#: name: (body, what the reason says)
REFUSED = {
    "foreign": ("y = CumSum (x, ax0)", r"operator CumSum is not supported: 'CumSum→y'"),
    "foreign_domain": ('y = com.acme.Thing (x)', r"operator com\.acme\.Thing is not supported"),
    "instance_norm": ("y = InstanceNormalization (x, p, p)", "scale and B should be"),
    "conv_transpose": ("y = ConvTranspose (x, k)", "operator ConvTranspose is not supported"),
    "attribute": ("y = Relu <slope = 1.0> (x)", r"node 'Relu→y' \(Relu\): attribute slope is not known"),
    "attribute_type": ("y = LeakyRelu <alpha = 1> (x)", "attribute alpha should be of type FLOAT, is INT"),
    "batch_softmax": ("y = Softmax <axis = 0> (x)", "which is batch"),
    "batch_slice": ("y = Slice (x, ax0, ax1, ax0)", "axis 0, which is batch"),
    "batch_concat": ("y = Concat <axis = 0> (x, x)", "rows of the batch"),
    "batch_constant": ("a = Transpose <perm = [2, 0, 1]> (x) y = Slice (a, ax0, ax1, ax1)", "which is batch"),
    "batch_reduce": ("y = ReduceMean <axes = [0]> (x)", "axis 0 of .* is batch"),
    "matrices": ("y = MatMul (x, m24)", r"several matrices \(2, 8, 4\)"),
    "sizes": ("y = MatMul (x, m95)", r"multiplies 8 features by a matrix \(9, 5\)"),
    "add_sizes": ("y = Add (x, v3)", "do not go together"),
    "tile_batch": ("y = Tile (x, until)", "rows of the batch"),
    "pad_mode": ('y = Pad <mode = "reflect"> (x, pads)', "pads by mode='reflect'"),
    "power": ("y = Pow (x, p)", "takes the power of"),
    "training": ("y = Dropout (x, p, true)", "drops numbers at random"),
    "norm_training": (
        "a = Transpose <perm = [0, 2, 1]> (x) y = BatchNormalization <training_mode = 1> (a, v8, v8, v8, v8)",
        "normalizes by what it is given",
    ),
    "cut_time": ("y = Reshape (x, sizes)", "3·batch does not divide"),
    "volume": ("y = Conv (x, k)", r"its time is axis 1 of it"),
    "entries": ("y = Gather <axis = 2> (x, i2)", r"picks entries \(2, 1\)"),
    "outside": ("y = Gather <axis = 2> (x, thirty)", "takes nothing|picks entry 30"),
    "huge": ("y = Expand (x, huge)", "do not go together"),
    "branch": ("y = GreaterOrEqual (x, p)", "output .y. is a comparison"),
    "constant": ("y = Relu (v8)", "output 'y' is the same for all inputs"),
    "second_output": (
        "a = Transpose <perm = [0, 2, 1]> (x) b, y = MaxPool <kernel_shape = [2]> (a)", "gives 1 values, 2 are wanted",
    ),
    "random": ("y = RandomNormalLike (x)", "operator RandomNormalLike is not supported"),
}  # fmt: skip


def weights(body: str) -> dict[str, np.ndarray]:
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    return {name: array for name, array in W.items() if name in words}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_why(name: str) -> None:
    body, why = REFUSED[name]
    with pytest.raises(UnsupportedModel, match=why):
        from_onnx(model(X, "y", body, weights(body)), axes=AXES)


def test_all_reasons_come_at_once() -> None:
    body = (
        "a = CumSum (x, ax0) b = Softmax <axis = 0> (x) c = Pow (x, x) d = CumSum (b, ax0) e = Unique (c) "
        "f = STFT (a, d) y = Sum (f, e, b)"
    )
    with pytest.raises(UnsupportedModel) as caught:
        from_onnx(model(X, "y", body, weights(body)), axes=AXES)
    told = "\n".join(caught.value.reasons)
    assert len(caught.value.reasons) == 5
    for words in ("CumSum is not supported: 'CumSum→a', 'CumSum→d'", "Unique", "STFT", "Softmax→b", "Pow→c"):
        assert words in told


def test_what_no_output_needs_is_not_refused() -> None:
    graph = from_onnx(model(X, "y", "a = CumSum (x, ax0) y = Relu (x)", weights("ax0")))
    assert [layer.kind for layer in graph.layers] == ["Activate"]


def test_branches_of_a_constant() -> None:
    """A branch that is not taken may hold what it likes; one that is, is read or refused by name."""
    from onnx import parser

    def made(op: str, taken: str) -> onnx.ModelProto:
        proto = model(X, "y", "y = Identity (x)")
        bodies = {"then_branch": "Einsum (x)", "else_branch": "Einsum (x)"} | {f"{taken}_branch": op}
        branches = {
            key: parser.parse_graph(f"{key} () => (float r) {{ r = {body} }}") for key, body in bodies.items()
        }
        node = helper.make_node("If", ["condition"], ["y"], name="choice", **branches)
        proto.graph.node[0].CopyFrom(node)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(taken == "then"), "condition"))
        return proto

    x = np.ones((2, 3, 8), np.float32)
    for taken in ("then", "else"):
        y = fastgru.Model(from_onnx(made("Neg (x)", taken)))(x)
        np.testing.assert_array_equal(y, -x)
        with pytest.raises(UnsupportedModel, match="operator CumSum is not supported"):
            from_onnx(made("CumSum (x, x)", taken))


def test_a_branch_that_a_call_decides() -> None:
    body = "c = Cast <to = 9> (b) y = Identity (x)"
    proto = model(f"{X}, bool b", "y", body)
    with pytest.raises(UnsupportedModel, match="input 'b': is bool"):
        from_onnx(proto)


def test_functions_of_the_file() -> None:
    """Inlined, with their attributes; what they hold and we do not run is refused by name."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def made(op: str) -> onnx.ModelProto:
        proto = model(X, "y", "y = Relu (x)")
        inner = helper.make_node("LeakyRelu", ["a"], ["t"])
        attribute = inner.attribute.add()
        attribute.name, attribute.type, attribute.ref_attr_name = "alpha", onnx.AttributeProto.FLOAT, "slope"
        nodes = [inner, helper.make_node(op, ["t"], ["b"])]
        proto.functions.append(helper.make_function("own", "Leaky", ["a"], ["b"], nodes, opsets, ["slope"]))
        proto.graph.node[0].CopyFrom(helper.make_node("Leaky", ["x"], ["y"], domain="own", slope=0.25))
        proto.opset_import.append(opsets[1])
        return proto

    x = np.linspace(-2, 2, 16, dtype=np.float32).reshape(1, 2, 8)
    y = fastgru.Model(from_onnx(made("Neg")))(x)
    np.testing.assert_allclose(y, -np.where(x > 0, x, 0.25 * x), atol=1e-7)
    with pytest.raises(UnsupportedModel, match="operator CumSum is not supported"):
        from_onnx(made("CumSum"))


def test_axes_said_by_the_caller() -> None:
    proto = model("float[A, C, 8] x", "y", "y = Softmax <axis = 2> (x)")
    assert from_onnx(proto).inputs[0].axes == ("batch", "time", "features")
    turned = fastgru.Model(from_onnx(proto, axes={"x": "time batch features"}))
    assert turned.inputs[0].axes == ("time", "batch", "features")
    x = np.random.default_rng(0).standard_normal((5, 3, 8)).astype(np.float32)
    np.testing.assert_array_equal(turned(x), fastgru.Model(from_onnx(proto))(x))
    for said, why in (
        ({"z": "batch time"}, "axes= names z; the inputs are x"),
        ({"x": "batch time"}, "should have 3 words"),
        ({"x": "batch batch features"}, "batch and time at most once"),
    ):
        with pytest.raises(BadInput, match=why):
            from_onnx(proto, axes=said)


def test_an_axis_of_which_nothing_is_known() -> None:
    with pytest.raises(UnsupportedModel, match=r"axis 2 of 'x' has no known size.*say axes="):
        from_onnx(model("float[B, T, F] x", "y", "y = Relu (x)"))


@pytest.mark.parametrize("opset", [1, 5, 6])
def test_operators_of_old(opset: int) -> None:
    """Forms that onnxruntime has no more: broadcasting from an axis on, a shape as an attribute."""
    shape = "<shape = [0, 0, 2, 4]> (x)" if opset < 5 else "(x, target)"
    body = f"a = Add <broadcast = 1, axis = 2> (x, v) b = Mul <broadcast = 1> (a, v) c = Reshape {shape} y = Relu (b)"
    given = {"v": np.arange(8, dtype=np.float32), "target": np.array([0, 0, 2, 4])}
    if opset < 5:
        given.pop("target")
    proto = model(X, "y, c", body, given, opset)
    x = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    y, c = fastgru.Model(from_onnx(proto))(x)
    np.testing.assert_allclose(y, np.maximum((x + given["v"]) * given["v"], 0), rtol=1e-6)
    np.testing.assert_array_equal(c, x.reshape(2, 3, 2, 4))


def test_states_by_wiring_and_by_name() -> None:
    rng = np.random.default_rng(0)
    weights = gru(rng, "g", 8, 6)
    body = "a = Transpose <perm = [1, 0, 2]> (x) y, {out} = GRU <hidden_size = 6> (a, gW, gR, gB, , {into})"
    for into, out in (("h0", "hn"), ("state", "other"), ("cache_in", "cache_out")):
        proto = model(f"{X}, float[1, B, 6] {into}", f"y, {out}", body.format(into=into, out=out), weights)
        found = fastgru.Model(from_onnx(proto))
        assert found.graph.states == ((into, out),)
        assert f"stream() carries output '{out}' back to input '{into}'" in found.notes
    # nothing says that an input is the state of a sum, but their names and shapes
    rest = "b = Add (h_in, h_in) h_out = Tanh (b) c = Unsqueeze (h_out, ax1) y = Add (x, c)"
    proto = model(f"{X}, float[B, 8] h_in", "y, h_out", rest, {"ax1": np.array([1])})
    found = fastgru.Model(from_onnx(proto))
    assert found.graph.states == (("h_in", "h_out"),)
    assert "their names and shapes fit" in found.notes[-1]
    other = model(f"{X}, float[B, 8] p", "y, h_out", rest.replace("h_in", "p"), {"ax1": np.array([1])})
    assert from_onnx(other).states == ()


def test_states_of_swapped_layers_are_not_carried() -> None:
    """A state that comes out in another order than it goes in is no state to carry."""
    rng = np.random.default_rng(0)
    weights = gru(rng, "g", 8, 8) | gru(rng, "h", 8, 8)
    weights |= {name: np.array([number]) for name, number in (("n0", 0), ("n1", 1), ("n2", 2))}
    body = (
        "a = Transpose <perm = [1, 0, 2]> (x) p = Slice (s, n0, n1, n0) q = Slice (s, n1, n2, n0) "
        "b, h1 = GRU <hidden_size = 8> (a, gW, gR, gB, , p) c = Squeeze (b, n1) "
        "y, h2 = GRU <hidden_size = 8> (c, hW, hR, hB, , q) t = Concat <axis = 0> ({})"
    )
    for order, states in (("h1, h2", (("s", "t"),)), ("h2, h1", ())):
        proto = model(f"{X}, float[2, B, 8] s", "y, t", body.format(order), weights)
        assert from_onnx(proto).states == states

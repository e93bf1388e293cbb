"""Operators around GRUs, each against onnxruntime: dynamic and fixed axes, before and behind a GRU, in odd layouts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it judges what operators give")

from fastgru import UnsupportedModel
from fastgru.importers.onnx import from_onnx
from onnx_build import difference, gru, model

RNG = np.random.default_rng(7)
SIZES = [{"B": 1, "T": 5}, {"B": 3, "T": 7}, {"B": 2, "T": 12}]
X = "float[B, T, 8] x"


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


W = {
    "m": normal(8, 5), "m8": normal(8, 8), "v8": normal(8), "s": np.float32(0.7), "b5": normal(5), "one": np.float32(1),
    "zero": np.float32(0), "low": np.float32(-0.4), "high": np.float32(0.9), "two": np.float32(2),
    "three": np.float32(3), "half": np.float32(0.5), "c8": normal(8), "p8": np.abs(normal(8)) + 0.5,
    "k3": normal(6, 8, 3), "k1": normal(8, 1, 3), "g2": normal(4, 4, 2), "b6": normal(6),
    "k2d": normal(5, 1, 3, 2), "k2e": normal(4, 3, 3, 3), "b4": normal(4), "i2": np.int64(2),
    "im": np.int64(-1),
    "i0": np.int64(0), "idx": np.array([3, 1, 2, 7]), "ax0": np.array([0]), "ax1": np.array([1]), "ax2": np.array([2]),
    "axm": np.array([-1]), "ax12": np.array([1, 2]), "n0": np.array([0]), "n1": np.array([1]), "n2": np.array([2]),
    "n3": np.array([3]), "n4": np.array([4]), "n6": np.array([6]), "n8": np.array([8]), "nm1": np.array([-1]),
    "big": np.array([2**62]),
    "small": np.array([-(2**62)]), "s00m": np.array([0, 0, -1]), "s0042": np.array([0, 0, 4, 2]),
    "sm8": np.array([-1, 8]),
    "sp35": np.array([3, 5]), "pads": np.array([0, 2, 1, 0, 1, 3]),
    "until": np.array([1, 1, 3]),
}  # fmt: skip
W |= gru(RNG, "g", 8, 6) | gru(RNG, "h", 6, 4) | gru(RNG, "d", 8, 4, 2) | gru(RNG, "e", 5, 4)

#: name: (outputs, body[, opset]); the input is x (B, T, 8)
CASES: dict[str, tuple] = {}
for _op in (
    "Relu", "Sigmoid", "Tanh", "LeakyRelu <alpha = 0.2>", "Elu <alpha = 0.7>", "Celu <alpha = 1.5>", "Selu", "Softplus",
    "Softsign", "HardSigmoid <alpha = 0.3, beta = 0.4>", "HardSwish", "Mish", "Exp", "Reciprocal", "Abs", "Neg",
    "ThresholdedRelu <alpha = 0.3>", "Identity", "Erf", "Sign", "Floor", "Ceil", "Round",
    "Shrink <lambd = 0.6>", "Shrink <lambd = 0.6, bias = 0.6>", "Dropout",
):  # fmt: skip
    CASES[_op] = ("y", f"y = {_op.split()[0]} {_op.partition(' ')[2]} (x)", 18)
CASES |= {
    "gelu": ("y", "y = Gelu (x)", 20),
    "gelu_tanh": ("y", 'y = Gelu <approximate = "tanh"> (x)', 20),
    "log_sqrt": ("y, z", "a = Abs (x) y = Log (a) z = Sqrt (a)"),
    "silu": ("y", "a = Sigmoid (x) y = Mul (a, x)"),
    "clip": ("y", "y = Clip (x, low, high)"),
    "clip_low": ("y, z", "y = Clip (x, low) z = Clip (x, , high)"),
    "clip10": ("y", "y = Clip <min = -0.3, max = 0.8> (x)", 10),
    "clip_turned": ("y", "y = Clip (x, high, low)"),
    "relu6": ("y", "y = Clip (x, zero, two)"),
    "add": ("y, z, w", "y = Add (x, v8) z = Add (v8, x) w = Add (x, s)"),
    "sub": ("y, z", "y = Sub (x, v8) z = Sub (s, x)"),
    "mul_div": ("y, z, w", "y = Mul (x, v8) z = Div (x, p8) a = Exp (x) w = Div (v8, a)"),
    "values": ("y, z, w, v", "a = Tanh (x) y = Add (a, x) z = Sub (a, x) b = Exp (x) w = Div (a, b) v = Max (a, x, b)"),
    "sum_mean": ("y, z", "a = Tanh (x) b = Exp (x) y = Sum (a, x, b) z = Mean (a, x, b)"),
    "max_constant": ("y, z", "y = Max (x, s) z = Min (s, x)"),
    "pow": ("y, z, w", "y = Pow (x, two) z = Pow (x, three) a = Abs (x) w = Pow (a, half)"),
    "prelu": ("y", "y = PRelu (x, v8)"),
    "enlarged": ("y", "a = ReduceMean <axes = [2]> (x) y = Mul (a, v8)"),
    "matmul": ("y", "a = MatMul (x, m) y = Add (a, b5)"),
    "matmul_vector": ("y", "y = MatMul (x, v8)"),
    "gemm": ("y", "a = Reshape (x, sm8) y = Gemm <alpha = 0.5, beta = 2.0> (a, m, b5)"),
    "flat_tokens": ("y", "a = Reshape (x, sm8) b = MatMul (a, m) sh = Shape <start = 0, end = 2> (x) "
        "t = Concat <axis = 0> (sh, nm1) y = Reshape (b, t)"),
    "layer_norm": ("y", "y = LayerNormalization <axis = -1, epsilon = 0.001> (x, v8, c8)"),
    "layer_norm_parts": ("y", "m1 = ReduceMean <axes = [-1]> (x) d = Sub (x, m1) q = Pow (d, two) "
        "v = ReduceMean <axes = [-1]> (q) e = Add (v, s) r = Sqrt (e) n = Div (d, r) nv = Mul (n, v8) y = Add "
        "(nv, c8)"),
    "softmax": ("y, z", "y = Softmax <axis = -1> (x) z = LogSoftmax <axis = 2> (x)"),
    "softmax_time": ("y, z", "y = Softmax <axis = 1> (x) z = LogSoftmax <axis = 1> (x)"),
    "softmax11": ("y", "y = Softmax <axis = 2> (x)", 11),
    "softmax_reshaped": ("y", "a = Reshape (x, s0042) y = Softmax <axis = 2> (a)"),
    "reduce": ("y, z, w, v", "y = ReduceMean <axes = [1]> (x) z = ReduceMax <axes = [1], keepdims = 0> (x) "
        "w = ReduceSum <keepdims = 0> (x, axm) v = ReduceMin <axes = [1, 2]> (x)"),
    "reduce_more": ("y, z, w", "y = ReduceL2 <axes = [2]> (x) z = ReduceL1 <axes = [1], keepdims = 0> (x) "
        "w = ReduceSumSquare <axes = [1, 2], keepdims = 0> (x)"),
    "transposed": ("y", "a = Transpose <perm = [1, 0, 2]> (x) y = Relu (a)"),
    "channels": ("y", "a = Transpose <perm = [0, 2, 1]> (x) b = Relu (a) y = Add (b, q81)"),
    "channels_matmul": ("y", "a = Transpose <perm = [0, 2, 1]> (x) y = MatMul (m8, a)"),
    "unsqueezed": ("y", "a = Unsqueeze (x, ax1) b = Tanh (a) y = Squeeze (b, ax1)"),
    "squeeze11": ("y", "a = Unsqueeze <axes = [0, 3]> (x) y = Squeeze <axes = [3, 0]> (a)", 11),
    "split_features": ("y, z", "y, z = Split <axis = 2> (x, sp35)"),
    "split_equal": ("y, z", "a, b = Split <axis = -1> (x) y = Relu (a) z = Mul (a, b)"),
    "split11": ("y, z", "y, z = Split <axis = 2, split = [2, 6]> (x)", 11),
    "split18": ("y, z", "y, z = Split <axis = 2, num_outputs = 2> (x)", 18),
    "concat_features": ("y", "a = Tanh (x) b = MatMul (x, m) y = Concat <axis = 2> (a, b, x)"),
    "concat_time": ("y", "a = Tanh (x) y = Concat <axis = 1> (a, x)"),
    "concat_middle": ("y", "a = Reshape (x, s0042) b = Tanh (a) y = Concat <axis = 2> (a, b)"),
    "concat_unit": ("y", "a = Unsqueeze (x, ax0) b = Tanh (a) y = Concat <axis = 0> (a, b)"),
    "concat_constant": ("y", "a = Tanh (x) e = ConstantOfShape <value = float[1] {1.5}> (until) y = Identity (a)"),
    "slice": ("y, z, w", "y = Slice (x, n2, n6, axm) z = Slice (x, n1, big, ax1) w = Slice (x, n0, nm1, ax1)"),
    "slice_steps": ("y, z", "y = Slice (x, n0, big, ax1, n2) z = Slice (x, n6, n0, axm, nm1)"),
    "slice9": ("y", "y = Slice <starts = [1, 2], ends = [4, 9999], axes = [1, 2]> (x)", 9),
    "difference": ("y", "a = Slice (x, n1, big, ax1) b = Slice (x, n0, nm1, ax1) y = Sub (a, b)"),
    "reversed": ("y", "a = Slice (x, nm1, small, ax1, nm1) b = Relu (a) y = Add (b, x)"),
    "reversed_back": ("y", "a = Slice (x, nm1, small, ax1, nm1) b = Tanh (a) y = Slice (b, nm1, small, ax1, nm1)"),
    "last": ("y, z", "y = Gather <axis = 1> (x, im) z = Gather <axis = 2> (x, i2)"),
    "gather_nested": ("y", "y = Gather <axis = 2> (x, i22)"),
    "gather_several": ("y", "y = Gather <axis = 2> (x, idx)"),
    "gather_step": ("y", "y = Gather <axis = 1> (x, ax1)"),
    "shape_reshape": ("y", "sh = Shape (x) b = Gather (sh, i0) u = Unsqueeze (b, ax0) "
        "t = Concat <axis = 0> (u, nm1, n2, n4) y = Reshape (x, t)"),
    "flatten": ("y", "a = Gather <axis = 1> (x, im) b = Unsqueeze (a, ax1) y = Flatten (b)"),
    "expand": ("y", "a = Slice (x, n0, n1, axm) sh = Shape (x) y = Expand (a, sh)"),
    "expand_time": ("y", "a = ReduceMean <axes = [1]> (x) sh = Shape (x) b = Expand (a, sh) y = Concat <axis = "
        "2> (x, b)"),
    "tile": ("y", "y = Tile (x, until)"),
    "pad": ("y", "y = Pad (x, pads, s)"),
    "pad10": ("y", "y = Pad <pads = [0, 1, 0, 0, 0, 2], value = 0.5> (x)", 10),
    "reverse_all": ("y", "a = Transpose <perm = [1, 0, 2]> (x) y = Relu (a)"),
    "batch_norm": ("y", "a = Transpose <perm = [0, 2, 1]> (x) y = BatchNormalization <epsilon = 0.01> (a, v8, "
        "c8, v8, p8)"),
    "conv": ("y", "a = Transpose <perm = [0, 2, 1]> (x) y = Conv (a, k3, b6)"),
    "conv_same": ("y", "a = Transpose <perm = [0, 2, 1]> (x) b = Conv <pads = [2, 2], dilations = [2]> (a, k3, b6) "
        "y = Transpose <perm = [0, 2, 1]> (b)"),
    "conv_group": ("y", "a = Transpose <perm = [0, 2, 1]> (x) y = Conv <group = 8, auto_pad = \"SAME_LOWER\"> (a, k1)"),
    "conv_stride": ("y", "a = Transpose <perm = [0, 2, 1]> (x) y = Conv <group = 2, strides = [2], auto_pad = "
        "\"SAME_UPPER\"> (a, g2)"),
    "conv2d": ("y", "a = Unsqueeze (x, ax1) y = Conv <pads = [1, 0, 1, 1], strides = [1, 2]> (a, k2d)"),
    "conv2d_more": ("y", "a = Unsqueeze (x, ax1) p = Conv <pads = [1, 0, 1, 1]> (a, k2d) f = Flatten <axis = 2> "
        "(p) y = Identity (p)"),
    "max_pool": ("y", "a = Transpose <perm = [0, 2, 1]> (x) y = MaxPool <kernel_shape = [3], pads = [1, 1]> (a)"),
    "average_pool": ("y, z", "a = Transpose <perm = [0, 2, 1]> (x) y = AveragePool <kernel_shape = [2], strides "
        "= [2]> (a) "
        "z = AveragePool <kernel_shape = [3], pads = [1, 1], count_include_pad = 1> (a)"),
    "pool2d": ("y", "a = Unsqueeze (x, ax1) y = MaxPool <kernel_shape = [1, 3], strides = [1, 2], ceil_mode = 1> (a)"),
    "global_pool": ("y, z", "a = Transpose <perm = [0, 2, 1]> (x) y = GlobalAveragePool (a) z = GlobalMaxPool (a)"),
    "argmax": ("int64 y", "y = ArgMax <axis = -1, keepdims = 0> (x)"),
    "argmax_keep": ("int64 y, int64 z", "y = ArgMax <axis = 2> (x) z = ArgMin <axis = 2, keepdims = 0> (x)"),
    "attention_pool": ("y", "a = MatMul (x, m81) b = Softmax <axis = 1> (a) c = Mul (x, b) y = ReduceSum "
        "<keepdims = 0> (c, ax1)"),
    "gru": ("y, h", "a = Transpose <perm = [1, 0, 2]> (x) b, h = GRU <hidden_size = 6> (a, gW, gR, gB) "
        "c = Squeeze (b, ax1) y = Transpose <perm = [1, 0, 2]> (c)"),
    "gru_stack": ("y, h", "a = Transpose <perm = [1, 0, 2]> (x) b, h1 = GRU <hidden_size = 6, linear_before_reset = 1> "
        "(a, gW, gR, gB) c = Squeeze (b, ax1) d, h2 = GRU <hidden_size = 4, linear_before_reset = 1> (c, hW, hR, hB) "
        "e = Squeeze (d, ax1) y = Transpose <perm = [1, 0, 2]> (e) p = Squeeze (h1, ax0) q = Squeeze (h2, ax0) "
        "h = Concat <axis = 1> (p, q)"),
    "bidirectional": ("y, h", "a = Transpose <perm = [1, 0, 2]> (x) b, h = GRU <hidden_size = 4, direction = "
        "\"bidirectional\"> (a, dW, dR, dB) c = Transpose <perm = [2, 0, 1, 3]> (b) y = Reshape (c, s00m)"),
    "conv_gru": ("y", "t = Transpose <perm = [0, 2, 1]> (x) c = Conv <pads = [1, 1]> (t, k3, b6) r = Relu (c) "
        "u = Transpose <perm = [2, 0, 1]> (r) y, h = GRU <hidden_size = 4> (u, hW, hR, hB)"),
    "zeros_state": ("y", "a = Transpose <perm = [1, 0, 2]> (x) sh = Shape (a) b = Gather (sh, i1) u = Unsqueeze "
        "(b, ax0) "
        "s3 = Concat <axis = 0> (n1, u, n6) z = ConstantOfShape (s3) y, h = GRU <hidden_size = 6> (a, gW, gR, "
        "gB, , z)"),
    "expand_state": ("y", "a = Transpose <perm = [1, 0, 2]> (x) sh = Shape (a) b = Gather (sh, i1) u = "
        "Unsqueeze (b, ax0) "
        "s3 = Concat <axis = 0> (n1, u, n6) z = Expand (c116, s3) y, h = GRU <hidden_size = 6> (a, gW, gR, gB, , z)"),
    "attention": ("y", "k = MatMul (x, m) q = MatMul (x, m5) kt = Transpose <perm = [0, 2, 1]> (k) s1 = MatMul (q, kt) "
        "s2 = Mul (s1, half) w = Softmax <axis = -1> (s2) y = MatMul (w, x)"),
    "attention_heads": ("y", "p = MatMul (x, m8) p4 = Reshape (p, s0042) q = Transpose <perm = [0, 2, 1, 3]> (p4) "
        "x4 = Reshape (x, s0042) kt = Transpose <perm = [0, 2, 3, 1]> (x4) v = Transpose <perm = [0, 2, 1, 3]> (x4) "
        "s1 = MatMul (q, kt) s2 = Div (s1, two) w = Softmax <axis = -1> (s2) o3 = MatMul (w, v) "
        "o4 = Transpose <perm = [0, 2, 1, 3]> (o3) y = Reshape (o4, s00m)"),
}  # fmt: skip
W |= {
    "i22": np.array([[2]]), "m5": normal(8, 5), "q81": normal(8, 1), "m81": normal(8, 1), "i1": np.int64(1),
    "c116": normal(1, 1, 6),
}  # fmt: skip


def made(name: str, inputs: str = X):
    outputs, body, *opset = CASES[name]
    return model(inputs, outputs, body, used(body), *opset)


def used(body: str) -> dict[str, np.ndarray]:
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    return {name: array for name, array in W.items() if name in words}


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str) -> None:
    assert difference(made(name), SIZES) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_operators_of_fixed_sizes(name: str) -> None:
    proto = made(name, "float[1, 6, 8] x")
    assert difference(proto, [{}]) < 1e-5


@pytest.mark.parametrize("name", [name for name in CASES if "gru" not in name and name != "Reciprocal"])
def test_operators_behind_a_gru(name: str) -> None:
    """Before the operator stands a GRU whose output is (T, 1, B, 8)."""
    outputs, body, *opset = CASES[name]
    front = "o = Squeeze <axes = [1]> (oo) " if (opset or [17])[0] < 13 else "o = Squeeze (oo, ax1) "
    front = "xt = Transpose <perm = [1, 0, 2]> (xx) oo, hh = GRU <hidden_size = 8> (xt, fW, fR, fB) " + front
    front += "x = Transpose <perm = [1, 0, 2]> (o) "
    proto = model("float[B, T, 3] xx", outputs, front + body, used(front + body), *opset)
    assert difference(proto, SIZES) < 1e-5


W |= gru(RNG, "f", 3, 8)


# ---- one-hot vectors of ids ------------------------------------------------------------------------------------------

W |= gru(RNG, "hot", 5, 4) | {"five": np.array([5]), "off_on": np.array([0, 1], np.float32), "whole": np.array([0, 1])}
ONE_HOTS = {
    "floats": ("int64[T, B] ids", "x = OneHot (ids, five, off_on) y, h = GRU <hidden_size = 4> (x, hotW, hotR, hotB)"),
    "last axis": ("int64[T, B] ids", "x = OneHot <axis = 2> (ids, five, off_on) y = Relu (x)"),
    "cast": (
        "int64[B, T] ids",
        "o = OneHot (ids, five, whole) x = Cast <to = 1> (o) t = Transpose <perm = [1, 0, 2]> (x) "
        "y, h = GRU <hidden_size = 4> (t, hotW, hotR, hotB)",
    ),
    "without time": ("int64[B] ids", "x = OneHot (ids, five, off_on) y = Tanh (x)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_HOTS)
def test_one_hot(name: str) -> None:
    inputs, body = ONE_HOTS[name]
    proto = model(inputs, "y", body, used(body))
    graph = from_onnx(proto)
    assert [layer.kind for layer in graph.layers if layer.kind in ("OneHot", "Transpose")] == ["OneHot"]
    assert difference(proto, SIZES, graph) < 1e-5


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = OneHot (ids, five, whole)", "gives vectors of int64, which are not cast to floats"),
        ("o = OneHot (ids, five, whole) y = Cast <to = 1> (o) z = Add (o, o)", "which are not cast to floats"),
        ("y = OneHot <axis = 0> (ids, five, off_on)", "puts vectors of int32 along axis 0"),
        ("y = OneHot (ids, five, p8)", r"makes vectors of \[5\] numbers"),
        ("y = OneHot (ids, n0, off_on)", r"makes vectors of \[0\] numbers"),
        ("e = Gather (m5, ids) y = OneHot (e, five, off_on)", "puts vectors of float32"),
    ],
)
def test_one_hot_refused(body: str, reason: str) -> None:
    outputs = "y, int64 z" if "z =" in body else "int64 y" if "y = OneHot (ids, five, whole)" in body else "y"
    with pytest.raises(UnsupportedModel, match=reason):
        from_onnx(model("int64[B, T] ids", outputs, body, used(body)))

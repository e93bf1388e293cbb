"""What random files of PyTorch, Keras and of people (tools/judge_onnx_files.py) asked of the importer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it judges what operators give")

import fastgru
from fastgru.importers.onnx import from_onnx
from onnx_build import answers, difference, gru, model

RNG = np.random.default_rng(5)
W = gru(RNG, "g", 4, 3)
SIZES = [{"B": 2, "T": 5, "S": 5}, {"B": 1, "T": 8, "S": 8}]
G = "xt = Transpose <perm = [1, 0, 2]> (a) g, h = GRU <hidden_size = 3> (xt, gW, gR, gB)"


def test_free_steps_of_two_inputs_that_are_added_are_one() -> None:
    made = model("float[B, T, 4] x, float[B, S, 4] z", "g", f"a = Add (x, z) {G}", W)
    assert difference(made, SIZES) < 1e-5
    joined = model("float[B, T, 2] x, float[B, S, 2] z", "g", f"a = Concat <axis = 2> (x, z) {G}", W)
    assert difference(joined, SIZES) < 1e-5
    run = fastgru.Model(from_onnx(made))
    with pytest.raises(fastgru.BadInput, match="steps"):
        run({"x": np.zeros((1, 4, 4), np.float32), "z": np.zeros((1, 3, 4), np.float32)})


def test_the_last_step_by_a_place_that_follows_from_the_size() -> None:
    rest = "s = Shape (g) t = Gather <axis = 0> (s, i0) p = Sub (t, one) y = Gather <axis = 0> (g, p)"
    body = f"a = Identity (x) {G} {rest}"
    for first in (np.array([0]), np.array(0)):
        made = model("float[B, T, 4] x", "y", body, W | {"i0": first, "one": np.array(1)})
        assert difference(made, SIZES) < 1e-5


def test_values_whose_steps_are_merged_with_features() -> None:
    body = (
        "a = Reshape (x, merged) m = ReduceMean <axes = [1]> (a) s = Sigmoid (m) y = Mul (a, s) "
        "xt = Transpose <perm = [1, 0, 2]> (y) g, h = GRU <hidden_size = 3> (xt, gW, gR, gB)"
    )
    weights = W | {"merged": np.array([0, 6, 4])}
    assert difference(model("float[B, 6, 2, 2] x", "g", body, weights), SIZES) < 1e-5


@pytest.mark.parametrize(
    "body",
    [
        "c = Greater (x, s) y = Where (c, x, n)",
        "c = LessOrEqual (x, s) y = Where (c, n, x)",
        "c = Less (zero, x) e = Exp (x) y = Where (c, x, e)",
        "c = GreaterOrEqual (r, zero) y = Where (c, x, n)",
        "r1 = Sub (r, zero) c = Greater (r1, zero) d = Not (c) t = Tanh (x) y = Where (d, t, n)",
        "k = Mul (x, hundred) c = Greater (k, s) e = Exp (k) y = Where (c, x, e)",
        "t = Tanh (z) c = Greater (x, t) y = Where (c, t, x)",
        "c = Less (x, s) d = Cast <to = 1> (c) y = Mul (d, z)",
        "c = Less (x, n1) d = Greater (x, s) e = Or (c, d) y = Where (e, x, zero)",
        "c = Less (x, s) d = Greater (x, n1) e = And (c, d) f = Not (e) g = Cast <to = 1> (f) y = Mul (x, g)",
        "c = Less (x, s) n2 = Not (c) d = Cast <to = 1> (n2) y = Mul (z, d)",
    ],
)
def test_choices_number_by_number(body: str) -> None:
    """Exp (100 · x) overflows where it is not chosen."""
    weights = {"s": 0.3, "n": -7.0, "n1": -0.2, "zero": 0.0, "hundred": 100.0}
    arrays = {name: np.float32(number) for name, number in weights.items()}
    made = model("float[B, T, 4] x, float[B, T, 4] z", "y", f"r = Relu (x) {body}", arrays)
    assert difference(made, SIZES) < 1e-6


@pytest.mark.parametrize(
    ("equation", "weight"),
    [
        ("btf,fg->btg", (4, 3)), ("btf,gf->btg", (3, 4)), ("btf,fg->gbt", (4, 3)), ("...f,fg->...g", (4, 3)),
        ("btf,f->bt", (4,)), ("btf,f->btf", (4,)), ("fg,btf->btg", (4, 3)), ("btf,fg", (4, 3)),
    ],
)  # fmt: skip
def test_einsum_with_a_constant(equation: str, weight: tuple[int, ...]) -> None:
    weights = {"w": RNG.standard_normal(weight).astype(np.float32)}
    given = "w, x" if equation.startswith("fg") else "x, w"
    made = model("float[B, T, 4] x", "y", f'y = Einsum <equation = "{equation}"> ({given})', weights)
    assert difference(made, SIZES) < 1e-5


@pytest.mark.parametrize("equation", ["btf,btf->bt", "btf,btf->bf", "btf,btf->btf", "btf,btf->b", "btf,btf->tb"])
def test_einsum_of_two_values(equation: str) -> None:
    made = model("float[B, T, 4] x, float[B, T, 4] z", "y", f'y = Einsum <equation = "{equation}"> (x, z)')
    assert difference(made, SIZES) < 1e-5


def test_logarithms_of_sums() -> None:
    body = (
        "y = ReduceLogSumExp <axes = [1], keepdims = 0> (k) z = ReduceLogSumExp <axes = [2]> (k) "
        "a = Abs (x) w = ReduceLogSum <axes = [1, 2], keepdims = 0> (a)"
    )
    made = model("float[B, T, 4] x", "y, z, w", f"k = Mul (x, hundred) {body}", {"hundred": np.float32(100)})
    assert difference(made, SIZES) < 1e-5


def test_numbers_of_steps_as_numbers() -> None:
    body = (
        "n = Shape <start = 1, end = 2> (x) f = Cast <to = 1> (n) s = ReduceSum <keepdims = 0> (x, i1) "
        "y = Div (s, f) less = Sub (n, i1) g = Cast <to = 1> (less) z = Mul (x, g)"
    )
    made = model("float[B, T, 4] x", "y, z", body, {"i1": np.array([1])})
    assert difference(made, SIZES) < 1e-5


def test_powers_that_are_not_whole() -> None:
    weights = {"p": np.float32(0.3), "q": np.float32(-1.5), "zero": np.float32(0)}
    made = model(
        "float[B, T, 4] x", "y, z", "a = Abs (x) y = Pow (a, p) r = Relu (x) b = Exp (x) z = Pow (b, q)", weights
    )
    assert difference(made, SIZES) < 1e-5


@pytest.mark.parametrize("spelling", ["Sub (n, one)", "Add (n, minus)"])
def test_the_last_step_of_each_row_by_its_length(spelling: str) -> None:
    body = (
        f"a = Identity (x) {G} y0 = Squeeze (g, i1) yb = Transpose <perm = [1, 0, 2]> (y0) p = {spelling} "
        "u = Reshape (p, column) e = Expand (u, wide) z = GatherElements <axis = 1> (yb, e) y = Squeeze (z, i1)"
    )
    weights = W | {"one": np.array(1), "minus": np.array(-1), "i1": np.array([1]), "column": np.array([-1, 1, 1])}
    made = model("float[B, T, 4] x, int64[B] n", "y", body, weights | {"wide": np.array([1, 1, 3])})
    assert difference(made, SIZES) < 1e-5  # lengths of 0 among them


def test_convolutions_of_each_step() -> None:
    body = (
        "f = Reshape (x, frames) c = Conv <strides = [2, 2], pads = [1, 0, 1, 0]> (f, k, kb) r = Relu (c) "
        "p = MaxPool <kernel_shape = [2, 1], strides = [2, 1]> (r) v = Flatten (p) m = MatMul (v, w) "
        "s = Shape <start = 0, end = 2> (x) t = Concat <axis = 0> (s, minus) a = Reshape (m, t) " + G
    )
    normal = RNG.standard_normal
    weights = W | {"frames": np.array([-1, 2, 6, 6]), "minus": np.array([-1]), "kb": normal(3).astype(np.float32)}
    weights |= {"k": normal((3, 2, 3, 2)).astype(np.float32), "w": normal((9, 4)).astype(np.float32)}
    assert difference(model("float[B, T, 2, 6, 6] x", "g", body, weights), SIZES) < 1e-5


def test_instance_normalization() -> None:
    weights = {"g": np.array([2, 1, 0.5, -1], np.float32), "b": np.array([1, 0, -1, 0.5], np.float32)}
    body = "a = Transpose <perm = [0, 2, 1]> (x) y = InstanceNormalization <epsilon = 0.01> (a, g, b)"
    assert difference(model("float[B, T, 4] x", "y", body, weights), SIZES) < 1e-5
    assert difference(model("float[B, 6, 4] x", "y", body, weights), SIZES) < 1e-5


def test_means_by_lengths() -> None:
    body = (
        "s = Shape <start = 1, end = 2> (x) q = Squeeze (s) r = Range (zero, q, one) u = Unsqueeze (n, i1) "
        "c = Less (r, u) w = Unsqueeze (c, i2) f = Cast <to = 1> (w) p = Mul (x, f)"
        "t = ReduceSum <keepdims = 0> (p, i1) "
        "d = Cast <to = 1> (u) y = Div (t, d)"
    )
    weights = {"zero": np.array(0), "one": np.array(1), "i1": np.array([1]), "i2": np.array([2])}
    made = model("float[B, T, 4] x, int64[B] n", "y", body, weights)
    assert difference(made, [{"B": 2, "T": 5}, {"B": 1, "T": 8}]) < 1e-5


def test_a_learned_state_repeated_for_each_row() -> None:
    body = (
        "b = Shape <start = 0, end = 1> (x) t = Concat <axis = 0> (i1, b, i1) h0 = Tile (start, t) a = Identity (x) "
        "xt = Transpose <perm = [1, 0, 2]> (a) g, h = GRU <hidden_size = 3> (xt, gW, gR, gB, , h0)"
    )
    weights = W | {"i1": np.array([1]), "start": RNG.standard_normal((1, 1, 3)).astype(np.float32)}
    assert difference(model("float[B, T, 4] x", "g, h", body, weights), SIZES) < 1e-5


ROWS = "r = Shape <start = 0, end = 1> (x) rs = Squeeze (r) rows = Range (zero, rs, one) p = Sub (n, one) "


@pytest.mark.parametrize(
    "body",
    [
        "c = Unsqueeze (rows, i1) d = Unsqueeze (p, i1) e = Concat <axis = -1> (c, d) y = GatherND (x, e)",
        "t = Shape <start = 1, end = 2> (x) f = Flatten <axis = 2> (x) m = Mul (rows, t) a = Add (p, m) "
        "z = Gather (f, a) s = Shape (a) k = Concat <axis = 0> (s, i4) y = Reshape (z, k)",
    ],
)
def test_the_last_step_of_numbered_rows(body: str) -> None:
    weights = {"zero": np.array(0), "one": np.array(1), "i1": np.array([1]), "i4": np.array([4])}
    made = model("float[B, T, 4] x, int64[B] n", "y", ROWS + body, weights)
    graph = from_onnx(made)
    for batch in (1, 3):
        x, n = RNG.standard_normal((batch, 6, 4)).astype(np.float32), RNG.integers(1, 7, batch)
        np.testing.assert_array_equal(answers(graph, {"x": x, "n": n})[0], x[np.arange(batch), n - 1])


def test_layer_normalization_as_tf2onnx_writes_that_of_tf_keras() -> None:
    body = (
        "f = Reshape (x, flat) m = ReduceMean <axes = [0, 2, 3], keepdims = 1> (f) d = Sub (f, m) q = Mul (d, d) "
        "v = ReduceMean <axes = [0, 2, 3], keepdims = 0> (q) m1 = Squeeze (m, others) "
        "s = Shape (x) l = Slice (s, i0, i2, i0) p = ReduceProd <axes = [0]> (l) "
        "o = ConstantOfShape <value = float[1] {1.0}> (p) z = ConstantOfShape (p) "
        "n = BatchNormalization <epsilon = 0.001> (f, o, z, m1, v) y = Reshape (n, s)"
    )
    weights = {"flat": np.array([1, -1, 4, 1]), "others": np.array([0, 2, 3]), "i0": np.array([0]), "i2": np.array([2])}
    assert difference(model("float[B, T, 4] x", "y", body, weights), SIZES) < 1e-5
    assert difference(model("float[B, 6, 4] x", "y", body, weights), SIZES) < 1e-5

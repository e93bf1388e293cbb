"""Masks of ids and of lengths, values without time beside sequences, and other inputs than one sequence."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it judges what operators give")

from onnx_build import difference, gru, model

RNG = np.random.default_rng(3)
SIZES = [{"B": 1, "T": 5, "S": 5}, {"B": 3, "T": 6, "S": 6}]
IDS, LENGTHS = "int64[B, T] ids", "float[B, T, 6] x, int64[B] n"
W = {
    "table": RNG.standard_normal((11, 6)).astype(np.float32), "m1": RNG.standard_normal((6, 1)).astype(np.float32),
    "zero": np.int64(0), "one": np.int64(1), "three": np.int64(3), "i1": np.int64(1), "ax0": np.array([0]),
    "ax1": np.array([1]), "ax2": np.array([2]), "axm": np.array([-1]), "big": np.float32(-1e9), "s": np.float32(0.5),
    "tr": np.array(True),
} | gru(RNG, "g", 6, 5)  # fmt: skip

#: name: (inputs, outputs, body)
CASES = {
    "where_masks": (
        IDS, "y",
        "e = Gather (table, ids) mm = Equal (ids, zero) u = Unsqueeze (mm, axm) y = Where (u, big, e)",
    ),
    "where3": (
        IDS, "y",
        "e = Gather (table, ids) mm = Less (ids, three) u = Unsqueeze (mm, axm) t = Tanh (e) y = Where (u, t, "
        "e)",
    ),
    "where_not": (
        IDS, "y",
        "e = Gather (table, ids) mm = Greater (ids, three) n = Not (mm) u = Unsqueeze (n, axm) y = Where (u, "
        "e, s)",
    ),
    "and": (
        IDS, "y",
        "e = Gather (table, ids) mm = Greater (ids, three) z = Equal (ids, zero) n = Not (z) a = And (mm, n) "
        "u = Unsqueeze (a, axm) y = Where (u, e, s)",
    ),
    "or": (
        IDS, "y",
        "e = Gather (table, ids) mm = Greater (ids, three) z = Equal (ids, zero) a = Or (mm, z) u = Unsqueeze "
        "(a, axm) y = Where (u, e, s)",
    ),
    "castmul": (
        IDS, "y",
        "e = Gather (table, ids) z = Equal (ids, zero) n = Not (z) c = Cast <to = 1> (n) u = Unsqueeze (c, "
        "axm) y = Mul (u, e)",
    ),
    "meanpool": (
        IDS, "y",
        "e = Gather (table, ids) z = Equal (ids, zero) n = Not (z) c = Cast <to = 1> (n) u = Unsqueeze (c, "
        "axm) p = Mul (u, e) q = ReduceSum <keepdims = 0> (p, ax1) l = ReduceSum <keepdims = 0> (u, ax1) l1 = "
        "Add (l, s) y = Div (q, l1)",
    ),
    "timemajor": (
        "int64[T, B] ids", "y",
        "e = Gather (table, ids) y, h = GRU <hidden_size = 5> (e, gW, gR, gB)",
    ),
    "lengths": (
        LENGTHS, "y",
        "sh = Shape (x) t = Gather (sh, i1) r = Range (zero, t, one) ru = Unsqueeze (r, ax0) nu = Unsqueeze "
        "(n, ax1) mm = Less (ru, nu) mu = Unsqueeze (mm, axm) y = Where (mu, x, s)",
    ),
    "lengths_ge": (
        LENGTHS, "y",
        "sh = Shape (x) t = Gather (sh, i1) r = Range (zero, t, one) ru = Unsqueeze (r, ax0) nu = Unsqueeze "
        "(n, ax1) mm = GreaterOrEqual (ru, nu) mu = Unsqueeze (mm, axm) y = Where (mu, s, x)",
    ),
    "lengths_rev": (
        LENGTHS, "y",
        "sh = Shape (x) t = Gather (sh, i1) r = Range (zero, t, one) ru = Unsqueeze (r, ax0) nu = Unsqueeze "
        "(n, ax1) mm = GreaterOrEqual (ru, nu) mu = Unsqueeze (mm, axm) y = Where (mu, x, s)",
    ),
    "masked_attention": (
        LENGTHS, "y",
        "sh = Shape (x) t = Gather (sh, i1) r = Range (zero, t, one) ru = Unsqueeze (r, ax0) nu = Unsqueeze "
        "(n, ax1) mm = Less (ru, nu) mu = Unsqueeze (mm, axm) a = MatMul (x, m1) b = Where (mu, a, big) w = "
        "Softmax <axis = 1> (b) p = Mul (w, x) y = ReduceSum <keepdims = 0> (p, ax1)",
    ),
    "mask_out": (
        IDS, "bool y, z",
        "z = Gather (table, ids) mm = Equal (ids, zero) y = Not (mm)",
    ),
    "mask_out_neg": (
        IDS, "bool y, z",
        "z = Gather (table, ids) y = Equal (ids, zero)",
    ),
    "seq_lens": (
        "float[T, B, 6] x, int32[B] n", "y, h",
        "y, h = GRU <hidden_size = 5> (x, gW, gR, gB, n)",
    ),
    "cross_entropy_like": (
        "float[B, T, 6] x", "int64 y",
        "a = Softmax <axis = 2> (x) y = ArgMax <axis = 2, keepdims = 0> (a)",
    ),
    "vector_in": (
        "float[B, T, 6] x, float[B, 6] v", "y",
        "u = Unsqueeze (v, ax1) y = Add (x, u)",
    ),
    "vector_concat": (
        "float[B, T, 6] x, float[B, 6] v", "y",
        "u = Unsqueeze (v, ax1) sh = Shape (x) e = Expand (u, sh) y = Concat <axis = 2> (x, e)",
    ),
    "two": (
        "float[B, T, 6] x, float[B, T, 6] z", "y",
        "y = Mul (x, z)",
    ),
    "two_names": (
        "float[B, T, 6] x, float[B, S, 6] z", "y",
        "y = Mul (x, z)",
    ),
    "feed_forward": (
        "float[B, 6] x", "y",
        "a = MatMul (x, m1) b = Relu (a) y = Flatten (b)",
    ),
    "where_const_cond": (
        "float[B, 6] x", "y",
        "y = Where (tr, x, s)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_masks_and_inputs(name: str) -> None:
    inputs, outputs, body = CASES[name]
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    given = {key: array for key, array in W.items() if key in words}
    assert difference(model(inputs, outputs, body, given), SIZES) < 1e-6


def test_axes_of_inputs() -> None:
    """Which axes are batch and time is what the network takes them for."""
    from fastgru.importers.onnx import from_onnx

    for name, axes in (
        ("timemajor", ("time", "batch")), ("where3", ("batch", "time")), ("two_names", ("batch", "time", "features")),
        ("seq_lens", ("time", "batch", "features")), ("feed_forward", ("batch", "features")),
    ):  # fmt: skip
        inputs, outputs, body = CASES[name]
        words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
        graph = from_onnx(model(inputs, outputs, body, {key: array for key, array in W.items() if key in words}))
        port = graph.input_ports[0] if graph.input_ports else None
        spec = port.spec(graph.inputs[0]) if port else graph.inputs[0]
        assert spec.axes == axes, name

"""`lengths=` of networks that have no sequence_lens: what sequence_lens would do to each of their GRUs."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
from fastgru import BadInput
from onnx_build import model

RNG = np.random.default_rng(3)
STACK = """
    a, ah = GRU <direction = "bidirectional", hidden_size = 5, linear_before_reset = 1> (x, w, r)
    b = Transpose <perm = [0, 2, 1, 3]> (a)
    c = Reshape (b, shape)
    d = Tanh (c)
    e, eh = GRU <hidden_size = 4> (d, w2, r2)
    y = Squeeze (e, one)
    h = Squeeze (eh, zero)
"""
WEIGHTS = {
    "w": RNG.normal(size=(2, 15, 3)).astype(np.float32),
    "r": RNG.normal(size=(2, 15, 5)).astype(np.float32),
    "w2": RNG.normal(size=(1, 12, 10)).astype(np.float32),
    "r2": RNG.normal(size=(1, 12, 4)).astype(np.float32),
    "shape": np.array([0, 0, -1]),
    "one": np.array([1]),
    "zero": np.array([0]),
    "size": np.array([4]),
}


def test_padded_rows_answer_as_alone() -> None:
    network = fastgru.from_onnx(model("float[T, B, 3] x", "y, h", STACK, WEIGHTS))
    x = RNG.normal(size=(7, 4, 3)).astype(np.float32)
    lengths = [7, 0, 3, 5]
    y, h = network(x, lengths=lengths)
    for row, length in enumerate(lengths):
        alone_y, alone_h = network(x[:length, row : row + 1])
        assert (y[:length, row] == alone_y[:, 0]).all()
        assert not y[length:, row].any()
        assert (h[row] == alone_h[0]).all()
    assert (network(x, lengths=[7] * 4)[0] == network(x)[0]).all()


def test_nan_behind_a_row_does_not_leak() -> None:
    network = fastgru.from_onnx(model("float[T, B, 3] x", "y, h", STACK, WEIGHTS))
    x = RNG.normal(size=(6, 2, 3)).astype(np.float32)
    clean = network(x, lengths=[6, 2])
    x[2:, 1] = np.nan
    assert all((a == b).all() for a, b in zip(network(x, lengths=[6, 2]), clean, strict=True))


def test_layers_that_mix_steps_end_it() -> None:
    body = """
        p = Transpose <perm = [1, 2, 0]> (x)
        q = Conv <pads = [1, 1]> (p, k)
        s = Transpose <perm = [2, 0, 1]> (q)
        y, h = GRU <hidden_size = 4> (s, w2, r2)
    """
    weights = WEIGHTS | {"k": RNG.normal(size=(10, 3, 3)).astype(np.float32)}
    network = fastgru.from_onnx(model("float[T, B, 3] x", "y", body, weights))
    x = np.zeros((6, 2, 3), np.float32)
    assert network(x).shape == (6, 1, 2, 4)
    with pytest.raises(BadInput, match="lengths and mask of 'x' would be without effect"):
        network(x, lengths=[6, 2])


def test_beside_sequence_lens_it_is_refused() -> None:
    body = "y, h = GRU <hidden_size = 4> (d, w2, r2, , n)"
    network = fastgru.from_onnx(model("float[T, B, 10] d, int32[B] n", "y", body, WEIGHTS))
    with pytest.raises(BadInput, match="would be without effect"):
        network(np.zeros((3, 2, 10), np.float32), np.array([3, 1]), lengths=[3, 1])

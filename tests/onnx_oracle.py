"""The GRU operator of ONNX in float64, written from the standard's text (opsets 1, 3, 7, 14, 22), step by step.

It is `tests/oracle.py`'s other eye: that defines the canonical GRU of a Graph, this what a node of a file means.

Where the text is silent we do as ONNX Runtime does: Y is zero at the steps past a row's length, and both Y and Y_h are
zero for a row of length 0.

>>> import numpy as np
>>> Y, Y_h = gru({"hidden_size": 1}, np.ones((2, 1, 1)), np.zeros((1, 3, 1)), np.zeros((1, 3, 1)))
>>> Y.shape, Y_h.shape
((2, 1, 1, 1), (1, 1, 1))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Function = Callable[[Array, float, float], Array]


def _sigmoid(x: Array, *_: float) -> Array:
    e = np.exp(-np.abs(x))  # neither branch overflows
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


#: by name in small letters: f(x, alpha, beta), and the defaults of alpha and beta; None: the function takes none
ACTIVATIONS: dict[str, tuple[Function, float | None, float | None]] = {
    "relu": (lambda x, *_: np.maximum(x, 0), None, None),
    "tanh": (lambda x, *_: np.tanh(x), None, None),
    "sigmoid": (_sigmoid, None, None),
    "affine": (lambda x, a, b: a * x + b, np.nan, np.nan),
    "leakyrelu": (lambda x, a, _: np.where(x >= 0, x, a * x), 0.01, None),
    "thresholdedrelu": (lambda x, a, _: np.where(x >= a, x, 0), 1.0, None),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), np.nan, np.nan),
    "hardsigmoid": (lambda x, a, b: np.minimum(np.maximum(a * x + b, 0), 1), 0.2, 0.5),
    "elu": (lambda x, a, _: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))), 1.0, None),
    "softsign": (lambda x, *_: x / (1 + np.abs(x)), None, None),
    "softplus": (lambda x, *_: np.logaddexp(x, 0), None, None),
}


def activations(attributes: Mapping[str, Any], directions: int) -> list[Callable[[Array], Array]]:
    """f and g of each direction; alpha and beta are consumed in order, by the functions that take them."""
    names = attributes.get("activations") or ["Sigmoid", "Tanh"] * directions
    alphas = iter(np.float32(attributes.get("activation_alpha", ())).tolist())
    betas = iter(np.float32(attributes.get("activation_beta", ())).tolist())
    found = []
    for name in names:
        function, alpha, beta = ACTIVATIONS[name.lower()]
        a = 0.0 if alpha is None else next(alphas, alpha)
        b = 0.0 if beta is None else next(betas, beta)
        found.append(lambda x, function=function, a=a, b=b: function(x, a, b))
    return found


def gru(
    attributes: Mapping[str, Any],
    X: Array,
    W: Array,
    R: Array,
    B: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
) -> tuple[Array, Array]:
    """Y and Y_h of a node with these attributes, in the node's layout.

    X is (time, batch, input), with layout=1 (batch, time, input); W (directions, 3·hidden, input), R (directions,
    3·hidden, hidden), B (directions, 6·hidden), sequence_lens (batch,), initial_h (directions, batch, hidden), with
    layout=1 (batch, directions, hidden).
    """
    X, W, R = (np.asarray(value, np.float64) for value in (X, W, R))
    directions, hidden = R.shape[0], R.shape[2]
    batch_first = attributes.get("layout", 0) == 1
    if batch_first:
        X = X.transpose(1, 0, 2)
    steps, batch, _ = X.shape
    B = np.zeros((directions, 6 * hidden)) if B is None else np.asarray(B, np.float64)
    h0 = np.zeros((directions, batch, hidden))
    if initial_h is not None:
        h0 = np.asarray(initial_h, np.float64)
        h0 = h0.transpose(1, 0, 2) if batch_first else h0
    lengths = np.full(batch, steps) if sequence_lens is None else np.asarray(sequence_lens)
    functions = activations(attributes, directions)
    clip = np.float64(np.float32(attributes.get("clip", np.inf)))
    after = attributes.get("linear_before_reset", 0) != 0
    way = attributes.get("direction", "forward")

    Y, Y_h = np.zeros((steps, directions, batch, hidden)), np.zeros((directions, batch, hidden))
    for d in range(directions):
        f, g = functions[2 * d : 2 * d + 2]
        turned = way == "reverse" or d == 1
        for row in range(batch):
            h = h0[d, row]
            for step in range(lengths[row]):
                t = lengths[row] - 1 - step if turned else step
                h = _step(X[t, row], h, W[d], R[d], B[d], f, g, clip, after)
                Y[t, d, row] = h
            Y_h[d, row] = h if lengths[row] else 0.0
    return (Y.transpose(2, 0, 1, 3), Y_h.transpose(1, 0, 2)) if batch_first else (Y, Y_h)


def _step(x: Array, h: Array, W: Array, R: Array, B: Array, f: Any, g: Any, clip: float, after: bool) -> Array:
    """One row's next state, in the words of the standard."""
    Wz, Wr, Wh = np.split(W, 3)
    Rz, Rr, Rh = np.split(R, 3)
    Wbz, Wbr, Wbh, Rbz, Rbr, Rbh = np.split(B, 6)

    def clipped(value: Array) -> Array:
        return np.minimum(np.maximum(value, -clip), clip)

    zt = f(clipped(x @ Wz.T + h @ Rz.T + Wbz + Rbz))
    rt = f(clipped(x @ Wr.T + h @ Rr.T + Wbr + Rbr))
    if after:
        ht = g(clipped(x @ Wh.T + rt * (h @ Rh.T + Rbh) + Wbh))
    else:
        ht = g(clipped(x @ Wh.T + (rt * h) @ Rh.T + Rbh + Wbh))
    return (1 - zt) * ht + zt * h

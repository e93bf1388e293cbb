"""GRU cells out of arithmetic: every way to write one down, and what is none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastgru.errors import BadModelFile, UnsupportedModel
from fastgru.graph import GRU, Activation
from fastgru.importers.algebra import Expression, join
from fastgru.importers.recognition import Recognised, recognise
from oracle import activate, gru_step

I, H = 3, 4  # noqa: E741
SIGMOID, TANH = Activation.of("sigmoid"), Activation.of("tanh")
HARD = Activation.of("hard_sigmoid", slope=0.2)
Array = np.ndarray


class Numbers:
    """The operations of `Expression` on arrays: a cell is written once and run with both."""

    __array_ufunc__ = None

    def __init__(self, value):
        self.value = np.asarray(value, np.float64)

    def __add__(self, other):
        return Numbers(self.value + getattr(other, "value", other))

    def __sub__(self, other):
        return Numbers(self.value - getattr(other, "value", other))

    def __rsub__(self, other):
        return Numbers(other - self.value)

    def __mul__(self, other):
        return Numbers(self.value * getattr(other, "value", other))

    def __matmul__(self, matrix):
        return Numbers(self.value @ matrix)

    __radd__, __rmul__ = __add__, __mul__

    def columns(self, index):
        return Numbers(self.value[:, list(index)])

    def activate(self, activation):
        return Numbers(activate(activation, self.value))

    def clip(self, low, high):
        return Numbers(np.clip(self.value, low, high))


def joined(parts):
    return join(parts) if isinstance(parts[0], Expression) else Numbers(np.hstack([part.value for part in parts]))


def weights(seed=0, input_size=I, units=H):
    rng = np.random.default_rng(seed)
    shapes = {"W": (input_size, 3 * units), "R": (units, 3 * units), "b": (3 * units,), "c": (3 * units,)}
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}


def gate(index, units=H):
    return slice(index * units, (index + 1) * units)


def thirds(v, units=H):
    return [v.columns(range(index * units, (index + 1) * units)) for index in range(3)]


BLENDS = {
    "z·h + (1−z)·n": lambda z, h, n: z * h + (1 - z) * n,
    "(1−z)·n + z·h": lambda z, h, n: (1 - z) * n + z * h,
    "n + z·(h−n)": lambda z, h, n: n + z * (h - n),
    "h + (1−z)·(n−h)": lambda z, h, n: h + (1 - z) * (n - h),
    "n − z·n + z·h": lambda z, h, n: n - z * n + z * h,
    "−(z−1)·n + z·h": lambda z, h, n: (z - 1.0) * n * -1.0 + z * h,
}


def side_by_side(w, x, h, blend, reset_after=True, f=SIGMOID, g=TANH):
    """As Keras: all gates in one product."""
    p, q = x @ w["W"] + w["b"], h @ w["R"] + w["c"]
    (pz, pr, pn), (qz, qr, qn) = thirds(p), thirds(q)
    z, r = (pz + qz).activate(f), (pr + qr).activate(f)
    n = pn + r * qn if reset_after else pn + (r * h) @ w["R"][:, gate(2)] + w["c"][gate(2)]
    return blend(z, h, n.activate(g))


def one_by_one(w, x, h, blend, reset_after=True, f=SIGMOID, g=TANH):
    """Each gate by its own products, biases first."""
    W, R, b, c = ([w[key][..., gate(index)] for index in range(3)] for key in "WRbc")
    z, r = ((b[i] + x @ W[i] + (c[i] + h @ R[i])).activate(f) for i in (0, 1))
    n = (r * (c[2] + h @ R[2]) if reset_after else c[2] + (h * r) @ R[2]) + (x @ W[2] + b[2])
    return blend(z, h, n.activate(g))


def in_one(w, x, h, blend, reset_after=False, f=SIGMOID, g=TANH):
    """As TensorFlow 1: input and state in one vector, gates r before z."""
    W = np.vstack([w["W"], w["R"]])
    W, b = np.hstack([W[:, gate(1)], W[:, gate(0)]]), np.concatenate([w["b"][gate(1)], w["b"][gate(0)]])
    both = (joined([x, h]) @ W + b).activate(f)
    r, z = both.columns(range(H)), both.columns(range(H, 2 * H))
    if reset_after:
        n = x @ w["W"][:, gate(2)] + w["b"][gate(2)] + r * (h @ w["R"][:, gate(2)] + w["c"][gate(2)])
    else:
        n = joined([x, r * h]) @ np.vstack([w["W"], w["R"]])[:, gate(2)] + w["b"][gate(2)]
    return blend(z, h, n.activate(g))


def step(cell: Recognised, x: Array, h: Array) -> Array:
    """The oracle's step with a cell's weights."""
    tensors = {key: getattr(cell, key) for key in ("kernel", "recurrent_kernel", "bias", "recurrent_bias")}
    functions = {"activation": cell.activation, "recurrent_activation": cell.recurrent_activation}
    layer = GRU(name="g", inputs=("x",), units=h.shape[1], reset_after=cell.reset_after, **tensors, **functions)
    return gru_step(layer, x, h)


def agree(write, *args, inputs=(("x", I),), units=H, **options) -> Recognised:
    """The cell of a way to write one, after its steps were compared."""
    rng = np.random.default_rng(9)
    x, h = [rng.normal(size=(5, size)) for _, size in inputs], rng.normal(size=(5, units))
    cell = recognise(
        write(*args, *(Expression.input(*i) for i in inputs), Expression.input("h", units), **options), "h"
    )
    assert isinstance(cell, Recognised), cell
    wanted = write(*args, *(Numbers(v) for v in (*x, h)), **options).value
    order = [x[[key for key, _ in inputs].index(key)] for key in cell.inputs]
    np.testing.assert_allclose(step(cell, np.hstack(order), h), wanted, rtol=1e-6, atol=1e-6)
    for tensor in (cell.kernel, cell.recurrent_kernel, cell.bias, cell.recurrent_bias):
        assert tensor is None or tensor.dtype == np.float32
    return cell


def refusal(write, *args, **options) -> str:
    reason = recognise(write(*args, Expression.input("x", I), Expression.input("h", H), **options), "h")
    assert isinstance(reason, str)
    return reason


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("blend", BLENDS.values(), ids=BLENDS)
@pytest.mark.parametrize("way", [side_by_side, one_by_one, in_one])
def test_every_way_to_write_a_cell_gives_its_weights_back(way, blend, reset_after):
    w = weights()
    cell = agree(lambda x, h: way(w, x, h, blend, reset_after))
    assert (cell.reset_after, cell.activation, cell.recurrent_activation) == (reset_after, TANH, SIGMOID)
    assert cell.inputs == ("x",)
    assert np.array_equal(cell.kernel, w["W"])
    assert np.array_equal(cell.recurrent_kernel, w["R"])
    if reset_after and way is not in_one:
        assert np.array_equal(cell.bias, w["b"])
        assert np.array_equal(cell.recurrent_bias, w["c"])


def test_biases_may_be_missing():
    w = weights()

    def write(x, h):
        z, r = ((x @ w["W"][:, gate(i)] + h @ w["R"][:, gate(i)]).activate(SIGMOID) for i in (0, 1))
        n = (x @ w["W"][:, gate(2)] + (r * h) @ w["R"][:, gate(2)]).activate(TANH)
        return z * h + (1 - z) * n

    cell = agree(write)
    assert cell.bias is None
    assert cell.recurrent_bias is None


@pytest.mark.parametrize("f", [SIGMOID, HARD, Activation.of("hard_sigmoid")], ids=str)
def test_an_inverted_update_gate_is_negated(f):
    w = weights()
    cell = agree(lambda x, h: side_by_side(w, x, h, lambda z, h, n: (1 - z) * h + z * n, f=f))
    assert np.array_equal(cell.kernel[:, gate(0)], -w["W"][:, gate(0)])
    assert np.array_equal(cell.kernel[:, H:], w["W"][:, H:])
    assert np.array_equal(cell.recurrent_bias[gate(0)], -w["c"][gate(0)])


def test_an_inverted_gate_needs_a_function_that_allows_it():
    f = Activation.of("hard_sigmoid", slope=0.2, offset=0.4)
    assert "inverted" in refusal(lambda x, h: side_by_side(weights(), x, h, lambda z, h, n: h + z * (n - h), f=f))


@pytest.mark.parametrize(("f", "g"), [(HARD, Activation.of("relu")), (SIGMOID, Activation.of("softsign"))], ids=str)
def test_other_activations(f, g):
    cell = agree(lambda x, h: side_by_side(weights(), x, h, BLENDS["n + z·(h−n)"], f=f, g=g))
    assert (cell.recurrent_activation, cell.activation) == (f, g)


def test_silu_out_of_arithmetic():
    """x · sigmoid(x) is how exporters write it."""
    cell = agree(
        lambda x, h: side_by_side(weights(), x, h, lambda z, h, v: z * h + (1 - z) * (v * (v * 1.0).activate(SIGMOID)),
                                  g=Activation.of("linear"))
    )  # fmt: skip
    assert cell.activation == Activation.of("silu")


def test_a_linear_candidate():
    agree(lambda x, h: side_by_side(weights(), x, h, BLENDS["z·h + (1−z)·n"], f=SIGMOID, g=Activation.of("linear")))


#: ways in which exporters write a hard sigmoid
HARD_SIGMOIDS = {
    "clip(0.2·v + 0.5)": (lambda v: (v * np.float32(0.2) + np.float32(0.5)).clip(0, 1), HARD),
    "min(max(0.2·v + 0.5))": (
        lambda v: (v * np.float32(0.2) + np.float32(0.5)).clip(0, np.inf).clip(-np.inf, 1),
        HARD,
    ),
    "max(min(0.2·v + 0.5))": (
        lambda v: (v * np.float32(0.2) + np.float32(0.5)).clip(-np.inf, 1).clip(0, np.inf),
        HARD,
    ),
    "clip(v/6 + 0.5)": (lambda v: (v * np.float32(1 / 6) + 0.5).clip(0, 1), Activation.of("hard_sigmoid")),
    "relu6(v + 3)/6": (lambda v: (v + 3.0).clip(0, 6) * (1 / 6), Activation.of("hard_sigmoid")),
    "clip(v + 0.5)": (lambda v: (v + np.float32([0.5])).clip(0, 1), Activation.of("hard_sigmoid", slope=1.0)),
}


@pytest.mark.parametrize(("hard", "activation"), HARD_SIGMOIDS.values(), ids=HARD_SIGMOIDS)
@pytest.mark.parametrize("reset_after", [True, False])
def test_hard_sigmoids_out_of_arithmetic(hard, activation, reset_after, monkeypatch):
    w = weights()
    for owner in (Expression, Numbers):
        plain = owner.activate
        monkeypatch.setattr(owner, "activate", lambda v, f, plain=plain: hard(v) if f == SIGMOID else plain(v, f))
    cell = agree(lambda x, h: side_by_side(w, x, h, BLENDS["h + (1−z)·(n−h)"], reset_after))
    assert cell.recurrent_activation == activation
    assert np.array_equal(cell.kernel, w["W"])


def test_an_input_in_parts():
    w = weights(input_size=5)
    cell = agree(
        lambda a, b, h: in_one(w, joined([a, b]), h, BLENDS["n + z·(h−n)"]), inputs=(("a", 2), ("b", 3)), units=H
    )
    assert cell.inputs == ("a", "b")
    assert np.array_equal(cell.kernel, w["W"])


def test_the_order_of_inputs_is_the_callers():
    w = weights(input_size=5)
    a, b, h = (Expression.input(key, size) for key, size in (("a", 2), ("b", 3), ("h", H)))
    cell = recognise(in_one(w, join([a, b]), h, BLENDS["n + z·(h−n)"]), "h", ("b", "a"))
    assert cell.inputs == ("b", "a")
    assert np.array_equal(cell.kernel, w["W"][[2, 3, 4, 0, 1]])


@pytest.mark.parametrize("reset_after", [True, False])
def test_an_input_that_was_multiplied_outside(reset_after):
    """z = f(p_z + h Rz + c): the kernel selects, and takes in what is behind the projection."""
    w = weights()

    def write(p, h):
        (pz, pr, pn), q = thirds(p), h @ w["R"] + w["c"]
        qz, qr, qn = thirds(q)
        z, r = (pz + qz).activate(SIGMOID), (pr + qr).activate(SIGMOID)
        n = pn + (r * qn if reset_after else (r * h) @ w["R"][:, gate(2)])
        return n.activate(TANH) + z * (h - n.activate(TANH))

    cell = agree(write, inputs=(("p", 3 * H),))
    assert np.array_equal(cell.kernel, np.eye(3 * H))
    behind = cell.behind(w["W"], w["b"])
    assert np.array_equal(behind.kernel, w["W"])
    assert np.array_equal(behind.bias, w["b"])
    assert agree(lambda x, h: side_by_side(w, x, h, BLENDS["n + z·(h−n)"])).behind(w["W"], None) is None


@pytest.mark.parametrize("computes", [True, False])
def test_masks_keep_the_state(computes):
    w = weights()
    x, h, m = Expression.input("x", I), Expression.input("h", H), Expression.mask("m")
    new = side_by_side(w, x, h, BLENDS["z·h + (1−z)·n"])
    for masked in (m * new + (1 - m) * h, h + m * (new - h)) if computes else ((1 - m) * new + m * h,):
        cell = recognise(masked, "h")
        assert (cell.mask, cell.computes_where) == ("m", computes)
        assert np.array_equal(cell.kernel, w["W"])
    assert "not kept" in recognise(m * new, "h")
    assert "2 masks" in recognise(m * Expression.mask("k") * (new - h) + h, "h")
    assert m * m == m


@pytest.mark.parametrize(("units", "input_size"), [*itertools.product([1, 2], [1, 5])])
def test_smallest_sizes(units, input_size):
    w = weights(units=units, input_size=input_size)

    def write(x, h):
        p, q = thirds(x @ w["W"] + w["b"], units), thirds(h @ w["R"] + w["c"], units)
        z, r = (p[0] + q[0]).activate(SIGMOID), (p[1] + q[1]).activate(SIGMOID)
        return z * h + (np.ones(1, np.float32) - z) * (p[2] + r * q[2]).activate(TANH)

    cell = agree(write, inputs=(("x", input_size),), units=units)
    assert np.array_equal(cell.kernel, w["W"])
    assert np.array_equal(cell.recurrent_bias, w["c"])


def other_gate(w, x, h):
    z, hard = ((x @ w["W"][:, gate(0)] + h @ w["R"][:, gate(0)]).activate(f) for f in (SIGMOID, HARD))
    r = (x @ w["W"][:, gate(1)] + h @ w["R"][:, gate(1)]).activate(SIGMOID)
    n = (x @ w["W"][:, gate(2)] + (r * h) @ w["R"][:, gate(2)]).activate(TANH)
    return z * h + (1 - hard) * n


def lstm(w, x, h):
    i, f, g = (v.activate(a) for v, a in zip(thirds(x @ w["W"] + h @ w["R"]), (SIGMOID, SIGMOID, TANH), strict=True))
    return f * h + i * g


def no_reset(w, x, h):
    z = (x @ w["W"][:, gate(0)] + h @ w["R"][:, gate(0)]).activate(SIGMOID)
    return z * h + (1 - z) * (x @ w["W"][:, gate(2)] + h @ w["R"][:, gate(2)]).activate(TANH)


def parts(w, x, h, f=SIGMOID, extra=lambda r, h: 0.0, of_reset=lambda h: h, of_input=lambda x: x):
    x = of_input(x)
    z = (x @ w["W"][:, gate(0)] + h @ w["R"][:, gate(0)]).activate(SIGMOID)
    r = (x @ w["W"][:, gate(1)] + h @ w["R"][:, gate(1)]).activate(f)
    n = (x @ w["W"][:, gate(2)] + (r * of_reset(h)) @ w["R"][:, gate(2)] + extra(r, h)).activate(TANH)
    return z * h + (1 - z) * n


NO_CELLS = {
    "another activation in one place": (other_gate, "is not z · h"),
    "an LSTM": (lstm, "is not z · h"),
    "no reset gate": (no_reset, "one product with a reset gate"),
    "a plain RNN": (lambda w, x, h: (x @ w["W"][:, :H] + h @ w["R"][:, :H]).activate(TANH), "is not z · h"),
    "half of the candidate": (
        lambda w, x, h: side_by_side(w, x, h, lambda z, h, n: z * h + (1 - z) * n * 0.5), "is not z · h",
    ),
    "2 − z": (lambda w, x, h: side_by_side(w, x, h, lambda z, h, n: z * h + (2 - z) * n), "is not z · h"),
    "both halved": (lambda w, x, h: side_by_side(w, x, h, BLENDS["n + z·(h−n)"]) * 0.5, "is not z · h"),
    "a row of ones but one": (
        lambda w, x, h: side_by_side(w, x, h, lambda z, h, n: z * h + (np.float32([1, 1, 1, 1.5]) - z) * n),
        "is not z · h",
    ),
    "a residual": (lambda w, x, h: side_by_side(w, x, h, BLENDS["n + z·(h−n)"]) + h, "is not z · h"),
    "two gates of two functions": (lambda w, x, h: parts(w, x, h, HARD), "the reset gate hard_sigmoid"),
    "the state beside the reset gate": (
        lambda w, x, h: parts(w, x, h, extra=lambda r, h: h @ w["R"][:, :H]), "beside the reset gate",
    ),
    "two reset gates": (lambda w, x, h: parts(w, x, h, extra=lambda r, h: r * r), "one product with a reset gate"),
    "half of the state": (lambda w, x, h: parts(w, x, h, of_reset=lambda h: h * 0.5), "one product"),
    "the input through tanh": (lambda w, x, h: parts(w, x, h, of_input=lambda x: x.activate(TANH)), "function (tanh)"),
    "two matrices in a row": (
        lambda w, x, h: parts(w, x, h, of_input=lambda x: x @ np.ones((I, I), np.float32)), "function (linear)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("write", "words"), NO_CELLS.values(), ids=NO_CELLS)
def test_what_is_no_cell_is_not_guessed(write, words):
    assert words in refusal(lambda x, h: write(weights(), x, h))


def test_sizes_that_do_not_fit_are_errors():
    x, h = Expression.input("x", I), Expression.input("h", H)
    for wrong in (
        lambda: x + h,
        lambda: x @ np.ones((H, H), np.float32),
        lambda: x.columns([I]),
        lambda: x + np.ones((2, I)),
        lambda: x + np.ones(0),
    ):
        with pytest.raises(BadModelFile):
            wrong()


def test_hostile_sizes_and_products_stay_small():
    with pytest.raises(UnsupportedModel):
        Expression.input("x", 2**31)
    few = Expression.input("x", 2**20).columns(range(4)) @ np.ones((4, 4), np.float32)
    assert few.size == 4
    v = Expression.input("a", 2) + Expression.input("b", 2).activate(TANH)
    for _ in range(60):
        v = v * v
    assert len(v.terms) <= 64
    with pytest.raises(UnsupportedModel):
        join([Expression.input("x", 2**20)] * 2)

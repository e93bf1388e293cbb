"""The activation kernels: every function × every ISA × sizes around the lanes × special values, against the oracle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

import oracle
from fastgru import _core
from fastgru.graph import ELEMENTWISE, ROWWISE

Case = tuple[str, tuple[float, ...]]

INF = math.inf
SIZES = (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 100)
FLUSHED = 2.0**-126  # what is smaller may be 0
#: whose y shows that a denormal x counts as 0
SHARP_AT_0 = ("sqrt", "rsqrt", "reciprocal", "log", "sign", "floor", "ceil")
SPECIAL = np.array(
    [0.0, -0.0, INF, -INF, math.nan, 1e-45, -1e-45, 1e-39, -1e-39, FLUSHED, -FLUSHED, 1e-30, -1e-30, 1e-9, -1e-9]
    + [sign * v for v in (3.4028235e38, 1e20, 1e18, 88.7, 88.8, 87.3, 40.0, 9.1, 3.0, 1.0, 0.5) for sign in (1, -1)],
    np.float32,
)


@dataclass(frozen=True)
class Bound:
    """An error may be `ulp` units in the last place of the true y, or `absolute` · max(1, |y|), whichever is more."""

    ulp: float = 1.0
    absolute: float = FLUSHED


#: THE table of tolerances. `absolute` stands where a function subtracts numbers of its argument's size, where it loses
#: a factor that was flushed to zero, and in the tails of gelu (scalar: no FMA) and squareplus (the oracle cancels)
BOUNDS = {
    "linear": Bound(0),
    "relu": Bound(1),
    "sigmoid": Bound(2),
    "tanh": Bound(2),
    "hard_sigmoid": Bound(1, 6e-8),
    "hard_silu": Bound(2, 2e-7),
    "hard_tanh": Bound(0),
    "softplus": Bound(2),
    "softsign": Bound(2),
    "elu": Bound(2),
    "selu": Bound(2),
    "celu": Bound(3),
    "gelu": Bound(8, 4e-9),
    "gelu_tanh": Bound(6, 2e-8),
    "silu": Bound(3, 1e-35),
    "mish": Bound(5, 1e-35),
    "exponential": Bound(2),
    "log_sigmoid": Bound(2),
    "squareplus": Bound(3, 1e-12),
    "soft_shrink": Bound(1),
    "hard_shrink": Bound(0),
    "tanh_shrink": Bound(1, 1.5e-7),
    "sparse_plus": Bound(2),
    "sparse_sigmoid": Bound(1),
    "threshold": Bound(0),
    "abs": Bound(0),
    "negative": Bound(0),
    "square": Bound(1),
    "sqrt": Bound(1),
    "rsqrt": Bound(2),
    "reciprocal": Bound(1),
    "expm1": Bound(2),
    "log": Bound(2),
    "log1p": Bound(2),
    "clip": Bound(0),
    "affine": Bound(1, 1.2e-7),
    "scaled_tanh": Bound(4),
    "erf": Bound(2),
    "sign": Bound(0),
    "floor": Bound(0),
    "ceil": Bound(0),
    "round": Bound(0),
    "softmax": Bound(2, 2e-7),
    "log_softmax": Bound(2, 2e-7),
    "sparsemax": Bound(1, 2e-7),
    "glu": Bound(3, 1e-35),
}

#: every function with its defaults, and other parameters where it has some
CASES = [(name, tuple(defaults.values())) for name, defaults in {**ELEMENTWISE, **ROWWISE}.items()] + [
    ("relu", (6.0, 0.0, 0.0)),
    ("relu", (INF, 0.25, 0.0)),
    ("relu", (2.5, 0.125, 0.5)),
    ("hard_sigmoid", (0.2, 0.5)),
    ("elu", (0.25,)),
    ("celu", (0.5,)),
    ("squareplus", (0.0,)),
    ("squareplus", (0.25,)),
    ("soft_shrink", (0.0,)),
    ("hard_shrink", (1.5,)),
    ("threshold", (0.25, -2.0)),
    ("clip", (-1.5, 0.75)),
    ("clip", (2.0, -1.0)),
    ("affine", (-0.5, 2.5)),
    ("scaled_tanh", (1.7159, 0.6666667)),
]
ELEMENTWISE_CASES = [case for case in CASES if case[0] in ELEMENTWISE]
ROWWISE_CASES = [case for case in CASES if case[0] in ROWWISE]

#: every kernel set of this build; `run` skips, by name, those that this CPU lacks
each_isa = pytest.mark.parametrize("kernels", _core.isa_names())


def label(case: object) -> str | None:
    return "-".join([case[0], *map(str, case[1])]) if isinstance(case, tuple) else None


each_elementwise = pytest.mark.parametrize("case", ELEMENTWISE_CASES, ids=label)
each_rowwise = pytest.mark.parametrize("case", ROWWISE_CASES, ids=label)
each_case = pytest.mark.parametrize("case", CASES, ids=label)


def run(kernels: str, case: Case, x: np.ndarray) -> np.ndarray:
    if not _core.isa_available(kernels):
        pytest.skip(f"this CPU cannot run the {kernels} kernels")
    return _core.kernel_activate(kernels, *case, np.ascontiguousarray(x, np.float32))


def expected(case: Case, x: np.ndarray) -> np.ndarray:
    """The oracle's values for float32 x, with parameters rounded to float32 as the kernels get them."""
    name, params = case
    rounded = [float(np.float32(value)) for value in params]
    if name in SHARP_AT_0:
        x = np.where(np.abs(x) < FLUSHED, np.copysign(np.float32(0), x), x)
    with np.errstate(all="ignore"):
        y = np.asarray(oracle.ACTIVATIONS[name](x.astype(np.float64), *rounded), np.float64)
    if name == "squareplus":  # the kernels go on to the limit; the formula ends in inf − inf
        y = np.where(x == -INF, 0.0, y)
    return y


def check(name: str, y: np.ndarray, true: np.ndarray) -> None:
    """y is NaN, infinite and finite where it should be, and within the function's bound."""
    assert y.dtype == np.float32
    assert y.shape == true.shape
    with np.errstate(over="ignore"):
        rounded = true.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(y[~finite], rounded[~finite])
    assert np.isfinite(y[finite]).all()
    size, bound = np.abs(true[finite]), BOUNDS[name]
    unit = np.ldexp(1.0, np.frexp(np.maximum(size, FLUSHED))[1] - 24)
    allowed = np.maximum(bound.ulp * unit, bound.absolute * np.maximum(1.0, size)) + FLUSHED
    excess = np.abs(y[finite] - true[finite]) / allowed
    worst = int(excess.argmax()) if excess.size else 0
    assert (excess <= 1.0).all(), f"{name}: {excess[worst]:.3g} times the bound at y = {true[finite][worst]:.9g}"


def samples(count: int, seed: int = 0) -> np.ndarray:
    """Normal numbers of every scale between 1e-6 and 100, both signs."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(count) * 10 ** rng.uniform(-6, 1.5, count)).astype(np.float32)


def bit_patterns(count: int = 2_000_003) -> np.ndarray:
    """float32 numbers at equal distances in the order of their bits: all magnitudes, signs and NaNs."""
    return np.linspace(0, 2**32 - 1, count).astype(np.uint32).view(np.float32)


def test_every_function_has_a_bound() -> None:
    assert set(BOUNDS) == set(ELEMENTWISE) | set(ROWWISE)


@each_isa
@each_elementwise
def test_elementwise_is_accurate(kernels: str, case: Case) -> None:
    x = np.concatenate([samples(40_000), np.linspace(-20, 20, 20_001, dtype=np.float32)])
    check(case[0], run(kernels, case, x[None])[0], expected(case, x))


@each_isa
@each_elementwise
def test_special_values(kernels: str, case: Case) -> None:
    check(case[0], run(kernels, case, SPECIAL[None])[0], expected(case, SPECIAL))


@each_isa
@each_case
def test_nan_gives_nan(kernels: str, case: Case) -> None:
    payloads = np.array([0x7FC00000, 0xFFC00000, 0x7FC00001, 0x7FFFFFFF, 0xFFC001FF], np.uint32).view(np.float32)
    y = run(kernels, case, np.stack([np.full(34, value, np.float32) for value in payloads]))
    assert np.isnan(y).all()


@each_isa
@each_elementwise
def test_an_element_does_not_depend_on_its_place(kernels: str, case: Case) -> None:
    x = np.concatenate([samples(100), SPECIAL])
    alone = np.concatenate([run(kernels, case, value.reshape(1, 1))[0] for value in x])
    for n in SIZES:
        rows = x[: x.size // n * n].reshape(-1, n)
        np.testing.assert_array_equal(run(kernels, case, rows).ravel(), alone[: rows.size])


@each_isa
def test_rounding_at_halves_and_where_no_fractions_are_left(kernels: str) -> None:
    edges = np.array([0.5, 1.5, 2.5, 8388606.5, 8388607.5, 8388607.0, 8388608.0, 8388609.0, 16777217.0, 3e38], "f4")
    x = np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(INF))])
    x = np.concatenate([x, -x])
    for name, formula in (("round", np.round), ("floor", np.floor), ("ceil", np.ceil)):
        y = run(kernels, (name, ()), x[None])[0]
        np.testing.assert_array_equal(y.view(np.uint32), formula(x).view(np.uint32), name)


@each_isa
@each_rowwise
@pytest.mark.parametrize("n", SIZES)
def test_rowwise_is_accurate(kernels: str, case: Case, n: int) -> None:
    n += n % 2 if case[0] == "glu" else 0
    x = np.stack([samples(n, seed) for seed in range(8)] + [np.full(n, 0.25, np.float32), np.arange(n) / np.float32(n)])
    check(case[0], run(kernels, case, x), expected(case, x))


@each_isa
def test_softmax_of_large_and_masked_scores(kernels: str) -> None:
    x = np.array([[3e38, 3e38, -3e38], [0.0, -INF, 0.0], [88.0, 89.0, 1000.0], [-1000.0, -1000.0, -1001.0]], np.float32)
    check("softmax", run(kernels, ("softmax", ()), x), expected(("softmax", ()), x))
    assert np.isnan(run(kernels, ("softmax", ()), np.array([[1.0, math.nan, 2.0]]))).all()
    assert np.isnan(run(kernels, ("log_softmax", ()), np.array([[1.0, INF, 2.0]]))).all()


@each_isa
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_gates_stay_in_range(kernels: str, name: str) -> None:
    x = bit_patterns()
    x = x[~np.isnan(x)]
    y = run(kernels, (name, ()), x[None])[0]
    assert y.max() == 1.0
    assert y.min() == (0.0 if name == "sigmoid" else -1.0)
    if name == "tanh":
        mirrored = run(kernels, (name, ()), -x[None])[0]
        np.testing.assert_array_equal(y.view(np.uint32) ^ 0x80000000, mirrored.view(np.uint32))


@each_elementwise
def test_avx2_and_avx512_give_the_same_bits(case: Case) -> None:
    x = bit_patterns()[None]
    np.testing.assert_array_equal(run("avx2", case, x), run("avx512", case, x))


@each_rowwise
def test_avx2_and_avx512_reduce_to_the_same_bits(case: Case) -> None:
    for n in (*SIZES, 257, 1000):
        n += n % 2 if case[0] == "glu" else 0
        x = samples(n * 50, seed=n).reshape(50, n)
        np.testing.assert_array_equal(run("avx2", case, x), run("avx512", case, x))

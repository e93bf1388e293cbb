"""The one table of tolerances. Every bound is absolute, times max(1, the largest magnitude of what is expected)."""

from __future__ import annotations

import numpy as np

import fastgru

TOLERANCES = {
    "keras": 1e-5,  # against what Keras answered, in float32 or, where that is further off, in float64
    "onnxruntime": 1e-5,
    "tensorflow": 1e-5,  # against what TensorFlow 1 networks computed, in float32
    "float32": 1e-5,  # against any of these
    "oracle": 2e-6,  # float32 against the float64 oracle
    "rounding": 2e-7,  # float64 against a float64 answer that was stored in float32
    "definition": 1e-8,  # the oracle against Keras in float64, where a few of TensorFlow's constants are float32
}
#: what narrow weights add to these bounds: against the same rounded weights in float64 or float32, and against
#: the framework that the weights came from, in float32
ROUNDED = {
    "bfloat16": 2e-2,  # kernel sets that multiply pairs of bfloat16 round inputs and states to it
    "float16": 1e-3,  # tables of projections that a GRU looks up
    "int8": 2e-2,  # states and the inputs of r are rounded to 8 bits, other inputs to 16
}
NARROW = {"bfloat16": 5e-2, "float16": 5e-3, "int8": 2e-1}
#: what weights are held in while a test runs (`dtypes.py`)
weight_dtype = "float32"


def rounds(dtype: str) -> bool:
    """Whether the kernels in use round what they multiply narrow weights with."""
    return dtype == "int8" or (dtype == "bfloat16" and fastgru.cpu_info()["isa"].endswith("_bf16"))


def allowed(against: str) -> float:
    """The bound, in the dtype that weights are held in."""
    more = ROUNDED if against == "oracle" else NARROW
    return max(TOLERANCES[against], more.get(weight_dtype, 0.0))


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to max(1, max|expected|); infinite where shapes or NaNs differ."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if actual.shape != expected.shape or not np.array_equal(np.isnan(actual), np.isnan(expected)):
        return np.inf
    if not expected.size:
        return 0.0
    # equal infinities differ by NaN: they agree
    with np.errstate(invalid="ignore"):
        difference = np.where(actual == expected, 0.0, np.abs(actual - expected))
    finite = np.abs(expected[np.isfinite(expected)])
    return float(np.nanmax(difference, initial=0.0) / max(1.0, finite.max(initial=0.0)))


def check(actual: np.ndarray, expected: np.ndarray, against: str) -> None:
    """Fail, with figures, where `actual` is further from `expected` than the table allows."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape should be {expected.shape}, is {actual.shape}"
    found, most = error(actual, expected), allowed(against)
    assert found <= most, f"off from {against} by {found:.2e}, allowed {most:.0e}"

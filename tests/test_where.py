"""Where, and masks joined by "or": against the oracle, with masks given, made and absent."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
import oracle
from fastgru.errors import BadModelFile
from fastgru.graph import GRU, Combine, Graph, JoinMasks, Masking, Where, tensor_spec
from tolerances import check

pytestmark = pytest.mark.dtypes


def network(features: int, value: float | None, over: int) -> Graph:
    """Two masked sequences; the first where its mask is true, else the second or a number; a GRU by either mask.

    Weights shrink with the length of their sums: what rounding the inputs does to sums grows with these.
    """
    rng = np.random.default_rng(features)
    x, other = tensor_spec("x", None, (features,)), tensor_spec("other", None, (features,))
    kernels = {
        "kernel": rng.normal(size=(features, 3 * over), scale=features**-0.5).astype(np.float32),
        "recurrent_kernel": rng.normal(size=(over, 3 * over), scale=over**-0.5).astype(np.float32),
    }
    layers = (
        Masking(name="m", inputs=("x",), mask="x:mask"),
        Masking(name="n", inputs=("other",), mask="other:mask"),
        JoinMasks(name="any", inputs=("m:mask", "n:mask"), any_of=True),
        Where(name="where", inputs=("m", "n"), mask="m:mask")
        if value is None
        else Where(name="where", inputs=("m",), mask="m:mask", value=value),
        Combine(name="sum", inputs=("where", "n"), operation="add"),
        GRU(name="gru", inputs=("sum",), units=over, return_sequences=True, mask="any", **kernels),
    )
    return Graph((x, other), layers, ("where", "gru", "any"))


@pytest.mark.parametrize("value", [None, 0.0, -1.5])
@pytest.mark.parametrize(("batch", "steps", "features"), [(1, 1, 1), (3, 7, 5), (2, 300, 17), (4, 0, 3)])
def test_against_the_oracle(batch: int, steps: int, features: int, value: float | None, isa: str) -> None:
    rng = np.random.default_rng(steps)
    arrays = {name: rng.normal(size=(batch, steps, features)).astype(np.float32) for name in ("x", "other")}
    for array in arrays.values():
        array[rng.random((batch, steps)) < 0.4] = 0
    graph = network(features, value, 4)
    for threads in (1, 2):
        results = fastgru.Model(graph)(arrays, threads=threads)
        for mine, expected in zip(results, oracle.run(graph, arrays), strict=True):
            check(mine, expected, "oracle")


def test_a_mask_that_nobody_gave_is_true_everywhere() -> None:
    x = np.ones((2, 3, 2), np.float32)
    layers = (
        JoinMasks(name="any", inputs=("x:mask",), any_of=True),
        Where(name="where", inputs=("x",), mask="any", value=7.0),
    )
    model = fastgru.Model(Graph((tensor_spec("x", None, (2,)),), layers, ("where",)))
    np.testing.assert_array_equal(model(x), x)
    masked = model(x, lengths=[3, 1])
    np.testing.assert_array_equal(masked[1], [[1, 1], [7, 7], [7, 7]])


def test_steps_come_one_by_one() -> None:
    layers = (Masking(name="m", inputs=("x",)), Where(name="where", inputs=("m",), mask="m:mask", value=2.0))
    model = fastgru.Model(Graph((tensor_spec("x", None, (2,)),), layers, ("where",)))
    x = np.array([[[1, 2], [0, 0], [3, 4]]], np.float32)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(x[:, t]) for t in range(3)], axis=1), model(x))


def test_what_does_not_fit() -> None:
    x, y = tensor_spec("x", None, (2,)), tensor_spec("y", None, (3,))
    with pytest.raises(BadModelFile, match="should have one shape"):
        Graph((x, y), (Where(name="w", inputs=("x", "y"), mask="x:mask"),), ("w",))
    with pytest.raises(BadModelFile, match="finite"):
        Graph((x,), (Where(name="w", inputs=("x",), mask="x:mask", value=np.inf),), ("w",))
    with pytest.raises(BadModelFile, match="not both"):
        Graph((x,), (JoinMasks(name="j", inputs=("x:mask", "x:mask"), any_of=True, over_time=True),), ("x",))

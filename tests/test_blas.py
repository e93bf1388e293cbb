"""matmul="blas": the large products by OpenBLAS, within the same bounds of the same oracle."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
import oracle
from building import chain, dense, floats, gru
from tolerances import check

pytest.importorskip("scipy_openblas32", reason="scipy-openblas32 (extra 'blas') is not installed")


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (1, 40), (3, 7), (64, 5)])
def test_agrees_with_the_oracle(reset_after: bool, rows: int, steps: int) -> None:
    rng = np.random.default_rng(rows)
    graph = chain(
        floats(12),
        gru(rng, 12, 37, reset_after=reset_after, return_sequences=True),
        dense(rng, 37, 5, name="out", source="gru", function="softmax"),
    )
    x = rng.standard_normal((rows, steps, 12), dtype=np.float32)
    check(fastgru.Model(graph, matmul="blas", threads=2)(x), oracle.run(graph, {"x": x})[0], "oracle")
    assert fastgru.cpu_info()["blas"] is not None


def test_reversed_input_and_activation() -> None:
    """Rows that BLAS cannot walk go to the tiles; what follows a product is applied all the same."""
    rng = np.random.default_rng(5)
    graph = chain(
        floats(8),
        gru(rng, 8, 16, go_backwards=True, return_sequences=True),
        dense(rng, 16, 9, name="out", source="gru", function="tanh"),
    )
    x = rng.standard_normal((6, 11, 8), dtype=np.float32)
    check(fastgru.Model(graph, matmul="blas")(x), oracle.run(graph, {"x": x})[0], "oracle")


def test_a_library_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that has opened its library, another name changes nothing; so ask the opener itself."""
    from fastgru._openmp import core

    if core.blas_config() is None:
        with pytest.raises(fastgru.FastGRUError, match="BLAS"):
            core.blas_open("/nonexistent/libblas.so", "")
    fastgru.Model(chain(floats(2), gru(np.random.default_rng(1), 2, 2)), matmul="blas")
    assert core.blas_config()


def test_unknown_engine() -> None:
    graph = chain(floats(2), gru(np.random.default_rng(1), 2, 2))
    with pytest.raises(fastgru.BadInput, match="'auto', 'blas', got 'mkl'"):
        fastgru.Model(graph, matmul="mkl")

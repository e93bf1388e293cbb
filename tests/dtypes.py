"""Tests that hold whatever dtype weights are held in, run for each of them. `conftest.py` plugs this into pytest.

A module or test that is marked ``dtypes`` compares a network with itself, or with the oracle: its networks may be
rounded to any dtype, and nothing else changes. While such a test runs for a narrow dtype,

- every Model that is made of a Graph in float32, by whatever way, holds its weights in that dtype;
- the oracle evaluates the Graph with the rounded weights;
- bounds against the oracle are the dtype's own (`tolerances.py`).

``float32_only("why")`` marks what does not hold for narrow weights. A plain run of the suite takes the first case of
each test function for every narrow dtype; ``--dtype`` takes all cases for one dtype, and no other test.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

import oracle
import tolerances
from building import ISAS, SETS
from fastgru import Model
from fastgru.graph import Graph
from fastgru.narrowing import DTYPES, dtype_of, narrow

NARROW = DTYPES[1:]
#: how the names of kernel sets end that have kernels of their own for a narrow dtype
_INSTRUCTIONS = {"bfloat16": "_bf16", "int8": "_vnni"}


def sets_of(dtype: str) -> list[str]:
    """The kernel sets of this machine that have kernels of their own for weights of a dtype, worst first."""
    ending = _INSTRUCTIONS.get(dtype)
    return [name for name in SETS if name in ISAS or (ending is not None and name.endswith(ending))]


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a marked test for every dtype, and a test that takes `isa` for every kernel set."""
    chosen = metafunc.config.getoption("--dtype")
    takes_isa = "isa" in metafunc.fixturenames
    if metafunc.definition.get_closest_marker("dtypes") is None:
        if takes_isa:
            metafunc.parametrize("isa", ISAS, indirect=True)
        return
    dtypes = [chosen] if chosen else DTYPES
    if not takes_isa:
        metafunc.parametrize("weight_dtype", dtypes, indirect=True)
        return
    forced = [os.environ["FASTGRU_ISA"]] if chosen and os.environ.get("FASTGRU_ISA") else None
    # the best set comes first: it is what a plain run takes of narrow dtypes
    pairs = [(dtype, isa) for dtype in dtypes for isa in forced or (sets_of(dtype)[::-1] if dtype in NARROW else ISAS)]
    metafunc.parametrize(("weight_dtype", "isa"), pairs, indirect=True)


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of all cases those that a run takes."""
    chosen, taken, kept = config.getoption("--dtype"), set(), []
    for item in items:
        dtype = item.callspec.params.get("weight_dtype") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
        function = (item.nodeid.partition("[")[0], dtype)
        if chosen and dtype != chosen or dtype in NARROW and item.get_closest_marker("float32_only"):
            continue
        if chosen or dtype not in NARROW or function not in taken:
            taken.add(function)
            kept.append(item)
    items[:] = kept


def hold(dtype: str, patch: pytest.MonkeyPatch) -> None:
    """Narrow the Models of a test, and what they are compared with."""
    make, evaluate = Model.__init__, oracle.run

    def narrowed(graph: Graph) -> Graph:
        return narrow(graph, dtype) if dtype_of(graph) == "float32" else graph

    def make_narrow(self: Model, graph: Graph, *, dtype: str | None = None, **options: Any) -> None:
        make(self, narrowed(graph) if dtype in (None, "float32") else graph, dtype=dtype or "float32", **options)  # XXX

    patch.setattr(Model, "__init__", make_narrow)
    patch.setattr(oracle, "run", lambda graph, *args, **options: evaluate(narrowed(graph), *args, **options))
    patch.setattr(tolerances, "weight_dtype", dtype)

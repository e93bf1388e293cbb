"""Tests that hold whatever dtype weights are held in, run for each of them. `conftest.py` plugs this into pytest.

A module or test that is marked ``dtypes`` compares a network with itself, or with the oracle: its networks may be
rounded to any dtype, and nothing else changes. While such a test runs for a narrow dtype,

- every Model that is made of a Graph in float32, by whatever way, holds its weights in that dtype;
- the oracle evaluates the Graph with the rounded weights;
- bounds against the oracle are the dtype's own (`tolerances.py`).

``dtypes("float32", "bfloat16")`` on a test says that it holds for these alone. A plain run of the suite takes the first
case of each test function for narrow dtypes, or as many as ``sample=`` says, from first to last; ``--dtype`` takes all
cases for one dtype, and no other test.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

import oracle
import tolerances
from building import ISAS, sets_of
from fastgru import Model
from fastgru.graph import Graph
from fastgru.narrowing import DTYPES, dtype_of, narrow

NARROW = DTYPES[1:]


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a marked test for its dtypes, and a test that takes `isa` for every kernel set."""
    mark, chosen = metafunc.definition.get_closest_marker("dtypes"), metafunc.config.getoption("--dtype")
    takes_isa = "isa" in metafunc.fixturenames
    if mark is None:
        if takes_isa:
            metafunc.parametrize("isa", ISAS, indirect=True)
        return
    dtypes = [dtype for dtype in mark.args or DTYPES if chosen in (None, dtype)]
    if not takes_isa:
        metafunc.parametrize("weight_dtype", dtypes, indirect=True)
        return
    forced = os.environ.get("FASTGRU_ISA") if chosen else None
    pairs = [(dtype, isa) for dtype in dtypes for isa in ([forced] if forced else sets_of(dtype))]
    metafunc.parametrize(("weight_dtype", "isa"), pairs, indirect=True)


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep those of all cases that a run takes, in their order."""
    chosen, groups = config.getoption("--dtype"), {}
    for item in items:
        dtype = item.callspec.params.get("weight_dtype") if hasattr(item, "callspec") else None
        if chosen in (None, dtype):
            sampled = chosen is None and dtype in NARROW
            groups.setdefault((item.nodeid.partition("[")[0], dtype) if sampled else item, []).append(item)
    taken = set()
    for cases in groups.values():
        mark = cases[0].get_closest_marker("dtypes")
        count = min(len(cases), mark.kwargs.get("sample", 1)) if mark else 1
        taken.update(cases[i * len(cases) // count] for i in range(count))
    items[:] = [item for item in items if item in taken]


def hold(dtype: str, patch: pytest.MonkeyPatch) -> None:
    """Narrow the Models of a test, and what they are compared with."""
    make, evaluate = Model.__init__, oracle.run

    def narrowed(graph: Graph) -> Graph:
        return narrow(graph, dtype) if dtype_of(graph) == "float32" else graph

    def make_narrow(self: Model, graph: Graph, *, dtype: str | None = None, **options: Any) -> None:
        make(self, narrowed(graph) if dtype is None else graph, dtype=dtype, **options)

    patch.setattr(Model, "__init__", make_narrow)
    patch.setattr(oracle, "run", lambda graph, *args, **options: evaluate(narrowed(graph), *args, **options))
    patch.setattr(tolerances, "weight_dtype", dtype)

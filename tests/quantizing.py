"""Small networks in float32 and narrow, and data for them, for the tests of what narrowing costs."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastgru
from building import chain, dense, floats, gru
from fastgru.graph import Graph
from fastgru.narrowing import narrow

FEATURES, UNITS, CLASSES = 5, 12, 4
ROWS, STEPS = 7, 9


def pair(graph: Graph, dtype: str = "int8") -> tuple[fastgru.Model, fastgru.Model]:
    """A network in float32 and narrow."""
    return fastgru.Model(graph), fastgru.Model(narrow(graph, dtype))


def sequences(rng: np.random.Generator, *, function: str = "linear", classes: int = CLASSES, **options: Any) -> Graph:
    """x (batch, time, FEATURES) → (batch, time, classes)."""
    layer = gru(rng, FEATURES, UNITS, return_sequences=True, mask="x:mask", **options)
    return chain(floats(FEATURES), layer, dense(rng, UNITS, classes, name="head", source="gru", function=function))


def data(rng: np.random.Generator, rows: int = ROWS, steps: int = STEPS) -> np.ndarray:
    return rng.normal(size=(rows, steps, FEATURES)).astype(np.float32)


def sensitive(rng: np.random.Generator) -> Graph:
    """Three layers, the middle one with a weight in each channel that nothing ever uses but that int8 must express."""
    first = dense(rng, FEATURES, UNITS, name="first", source="x", function="relu")
    second = dense(rng, UNITS, UNITS, name="second", source="first", function="tanh")
    first.kernel[:, 0] = 0  # the first unit is always 0 …
    first.bias[0] = 0
    second.kernel[0] = 1000.0  # … so that what it is multiplied by does not matter
    return chain(floats(FEATURES), first, second, dense(rng, UNITS, 2, name="third", source="second", function="tanh"))

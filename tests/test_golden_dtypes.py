"""Every golden network with narrow weights: against itself in float32 with the same rounded weights, against the
framework's answers, and once more from a file and a pickle."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import fastgru
import tolerances
from fastgru import Model
from fastgru.graph import Graph, NarrowArray
from fastgru.narrowing import dtype_of, narrow, widen
from golden_networks import NETWORKS, Golden

pytestmark = pytest.mark.dtypes("bfloat16", "float16", "int8", sample=6, itself=True)

#: networks whose gates or states have no bound: what is rounded is multiplied by itself. How many times the bounds of
#: others they may be off
UNBOUNDED = {
    "keras_networks/keras2-18-rnn_of_cells-weights.h5": 5,
    "keras_networks/keras2-64-decoder-weights.h5": 2,
    "keras_networks/keras2-94-encoder_decoder-keras": 2,
    "keras_networks/keras2-156-upsampling1d-keras": 2,
}

each_network = pytest.mark.parametrize("name", NETWORKS)


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return [(y.dtype, y.shape, y.tobytes()) for y in one] == [(y.dtype, y.shape, y.tobytes()) for y in other]


def has_tables(graph: Graph) -> bool:
    """Whether GRUs may look projections up, in tables that are rounded once more."""
    inner = [layer.graph for layer in graph.layers if layer.kind == "TimeDistributed"]
    return any(layer.kind in ("Embedding", "OneHot") for layer in graph.layers) or any(map(has_tables, inner))


def agrees(name: str, found: np.ndarray, expected: np.ndarray, against: str) -> None:
    off, most = tolerances.error(found, expected), UNBOUNDED.get(name, 1) * tolerances.allowed(against)
    assert off <= most, f"off from {against} by {off:.2e}, allowed {most:.0e}"


def narrow_layers(graph: Graph) -> set[str]:
    return {name.rpartition("/")[0] for name, value in graph.tensors if isinstance(value, NarrowArray)}


@each_network
def test_it_computes_with_the_rounded_weights(name: str, weight_dtype: str, tmp_path: Path) -> None:
    golden: Golden = NETWORKS[name](tmp_path)
    model, plain = (golden.load(dtype=dtype) for dtype in (weight_dtype, "float32"))
    assert plain.dtype == "float32"
    narrowable = bool(narrow_layers(narrow(plain.graph, weight_dtype)))
    assert model.dtype == (weight_dtype if narrowable else "float32")
    found, wide = golden.run(model), golden.run(Model(widen(model.graph), dtype="float32"))
    if not narrowable or not (tolerances.rounds(weight_dtype) or has_tables(model.graph)):
        assert same(found, wide)
    for y, expected in zip(found, wide, strict=True):
        agrees(name, y, expected, "oracle")
    for place, answer in golden.answers.items():
        agrees(name, found[place], answer, "float32")


@each_network
def test_every_vector_set_gives_the_same_bits(
    name: str, weight_dtype: str, vector_isas: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden: Golden = NETWORKS[name](tmp_path)
    answers = []
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        answers.append(golden.run(golden.load(dtype=weight_dtype)))
    assert all(same(answer, answers[0]) for answer in answers)


@each_network
def test_files_and_pickles_keep_it(name: str, weight_dtype: str, tmp_path: Path) -> None:
    golden: Golden = NETWORKS[name](tmp_path)
    model = golden.load(dtype=weight_dtype)
    expected = golden.run(model)
    model.save(tmp_path / "narrow.safetensors")
    for again in (
        fastgru.load(tmp_path / "narrow.safetensors"),
        fastgru.load(tmp_path / "narrow.safetensors", dtype=dtype_of(model.graph)),
        pickle.loads(pickle.dumps(model)),
        Model(model.graph),
    ):
        assert (again.dtype, again.fingerprint) == (model.dtype, model.fingerprint)
        assert same(golden.run(again), expected)


@each_network
def test_layers_that_are_kept_in_float32(name: str, weight_dtype: str, tmp_path: Path) -> None:
    """All of them: what the network was. The first: it alone."""
    golden: Golden = NETWORKS[name](tmp_path)
    plain = golden.load(dtype="float32")
    assert golden.load(dtype=weight_dtype, keep_float32="*").fingerprint == plain.fingerprint
    narrowed = narrow_layers(narrow(plain.graph, weight_dtype))
    for kept in sorted(narrowed)[:1]:
        partly = golden.load(dtype=weight_dtype, keep_float32=[kept])
        assert narrow_layers(partly.graph) == narrowed - {kept}
        twin = Model(widen(partly.graph), dtype="float32")
        for y, expected in zip(golden.run(partly), golden.run(twin), strict=True):
            agrees(name, y, expected, "oracle")

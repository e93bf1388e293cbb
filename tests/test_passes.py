"""Graph → Graph rewrites: what they change, and that they change no answer."""

from __future__ import annotations

import numpy as np

import oracle
from fastgru import passes
from fastgru.graph import GRU, LINEAR, Activate, Dense, Graph, Identity, Reshape, tensor_spec

RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def gru(name: str, source: str, features: int, units: int, mask: str | None = None) -> GRU:
    return GRU(
        name=name, inputs=(source,), units=units, mask=mask, return_sequences=True,
        kernel=weights(features, 3 * units), recurrent_kernel=weights(units, 3 * units),
    )  # fmt: skip


def network(steps: int | None, *layers: object, outputs: tuple[str, ...]) -> Graph:
    return Graph((tensor_spec("x", steps, (4,)),), layers, outputs, name="net", notes=("a note",))


def test_identities_go_and_everything_is_rewired() -> None:
    before = network(
        None,
        Identity(name="a", inputs=("x",)),
        Identity(name="b", inputs=("a",)),
        gru("one", "b", 4, 3, mask="x:mask"),
        Identity(name="c", inputs=("one",)),
        gru("two", "c", 3, 2, mask="x:mask"),
        Identity(name="d", inputs=("two",)),
        outputs=("d", "c", "a", "two:state"),
    )
    after = passes.apply(before)
    assert [layer.name for layer in after.layers] == ["one", "two"]
    assert [layer.inputs for layer in after.layers] == [("x",), ("one",)]
    assert after.outputs == ("two", "one", "x", "two:state")
    assert (after.name, after.notes) == ("net", ("a note",))
    x = {"x": weights(2, 5, 4)}
    for old, new in zip(oracle.run(before, x), oracle.run(after, x), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_mask_that_ends_at_an_identity_still_ends_there() -> None:
    before = network(
        None,
        Identity(name="end", inputs=("x",), drops_mask=True),
        gru("one", "end", 4, 3),
        outputs=("one",),
    )
    kept = passes.apply(before).layers[0]
    assert isinstance(kept, Activate)
    assert (kept.name, kept.activation, kept.drops_mask) == ("end", LINEAR, True)


def test_nothing_to_do_returns_the_same_graph() -> None:
    graph = network(None, gru("one", "x", 4, 3), outputs=("one",))
    assert passes.apply(graph) is graph


def test_time_is_freed() -> None:
    graph = passes.apply(network(7, gru("one", "x", 4, 3), outputs=("one",)))
    assert graph.inputs[0].shape == (None, None, 4)
    assert graph.specs["one"].shape == (None, None, 3)


def test_time_stays_where_a_layer_depends_on_it() -> None:
    flatten = Reshape(name="flat", inputs=("one",), target=(-1,))
    dense = Dense(name="out", inputs=("flat",), kernel=weights(21, 2))
    graph = passes.apply(network(7, gru("one", "x", 4, 3), flatten, dense, outputs=("out",)))
    assert graph.inputs[0].shape == (None, 7, 4)


def test_each_input_is_freed_by_itself() -> None:
    graph = Graph(
        (tensor_spec("a", 5, (2,)), tensor_spec("b", 3, (2,)), tensor_spec("c", False, (2,))),
        (Reshape(name="flat", inputs=("a",), target=(10,)), gru("one", "b", 2, 3)),
        ("flat", "one", "c"),
    )
    assert [spec.shape for spec in passes.apply(graph).inputs] == [(None, 5, 2), (None, None, 2), (None, 2)]

"""Graph → Graph rewrites: what they change, and that they change no answer."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
import oracle
from fastgru import passes
from fastgru.graph import (
    ELEMENTWISE,
    GRU,
    LINEAR,
    ROWWISE,
    Activate,
    Activation,
    Combine,
    Conv,
    Dense,
    Graph,
    Identity,
    Layer,
    Pad,
    Pool,
    Reshape,
    Scale,
    tensor_spec,
)

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


def test_one_step_that_spreads_stays_one() -> None:
    add = Combine(name="sum", inputs=("a", "b"), operation="add")

    def freed(*steps: int) -> list[int | None]:
        inputs = tuple(tensor_spec(name, count, (2,)) for name, count in zip("ab", steps, strict=True))
        return [spec.shape[1] for spec in passes.apply(Graph(inputs, (add,), ("sum",))).inputs]

    assert freed(1, 5) == [1, None]
    assert freed(5, 1) == [None, 1]
    assert freed(1, 1) == [1, 1]  # of either the other would be one that spreads


# ---- scales --------------------------------------------------------------------------------------------------------


def scale(name: str, source: str, *shape: int, drops_mask: bool = False) -> Scale:
    return Scale(name=name, inputs=(source,), scale=weights(*shape), offset=weights(*shape), drops_mask=drops_mask)


def dense(name: str, source: str, **options: object) -> Dense:
    return Dense(**{"name": name, "inputs": (source,), "kernel": weights(4, 3), "bias": weights(3)} | options)


def conv(name: str, source: str, **options: object) -> Conv:
    return Conv(**{"name": name, "inputs": (source,), "kernel": weights(2, 4, 3), "bias": weights(3)} | options)


def names(graph: Graph) -> list[str]:
    return [layer.name for layer in graph.layers]


def test_a_scale_folds_into_a_dense() -> None:
    for options in ({}, {"bias": None}):
        for shape in ((3,), (1,), (), (1, 3), (1, 1)):
            layers = (dense("d", "x", **options), scale("s", "d", *shape), gru("g", "s", 3, 2))
            before = network(None, *layers, outputs=("s", "g"))
            after = passes.apply(before)
            assert names(after) == ["s", "g"]
            assert isinstance(after.layers[0], Dense)
            assert all(tensor.dtype == np.float32 for tensor in after.layers[0].tensors.values())
            x = {"x": weights(2, 5, 4)}
            for old, new in zip(oracle.run(before, x), oracle.run(after, x), strict=True):
                np.testing.assert_allclose(new, old, rtol=0, atol=1e-6)
            for old, new in zip(oracle.run(before, x), fastgru.Model(after)(x), strict=True):
                np.testing.assert_allclose(new, old, rtol=0, atol=1e-6)


def test_the_weights_of_a_folded_layer_are_rounded_once() -> None:
    layers = dense("d", "x"), Scale(name="s", inputs=("d",), scale=weights(3)), scale("t", "s", 3)
    (folded,) = passes.apply(network(None, *layers[:2], outputs=("s",))).layers
    wide = layers[0].kernel.astype(np.float64) * layers[1].scale
    np.testing.assert_array_equal(folded.kernel, wide.astype(np.float32))
    np.testing.assert_array_equal(folded.bias, (layers[0].bias.astype(np.float64) * layers[1].scale).astype("f4"))
    assert names(passes.apply(network(None, *layers, outputs=("t",)))) == ["t"]


@pytest.mark.parametrize("function", ["relu", "tanh"])
def test_conv_batch_normalization_activation(function: str) -> None:
    """What a Keras file of Conv1D → BatchNormalization → Activation is made of, with groups, twice."""
    layers: list[Layer] = []
    source = "x"
    for i, (channels, units, groups) in enumerate(((4, 6, 1), (6, 4, 2))):
        kernel = weights(3, channels // groups, units)
        layers += [
            Conv(name=f"conv{i}", inputs=(source,), kernel=kernel, groups=groups, pads=(2, 0), drops_mask=i == 0),
            scale(f"norm{i}", f"conv{i}", units),
            Activate(name=f"act{i}", inputs=(f"norm{i}",), activation=Activation.of(function)),
        ]
        source = f"act{i}"
    after = passes.apply(network(None, *layers, outputs=("act1",)))
    assert names(after) == ["act0", "act1"]
    assert [type(layer) for layer in after.layers] == [Conv, Conv]
    assert [layer.drops_mask for layer in after.layers] == [True, False]
    assert [layer.activation for layer in after.layers] == [Activation.of(function)] * 2
    for before, scaling, folded in zip(layers[::3], layers[1::3], after.layers, strict=True):
        assert (folded.inputs[0], folded.groups, folded.pads) == (before.inputs[0], before.groups, before.pads)
        np.testing.assert_array_equal(folded.kernel, (before.kernel.astype(np.float64) * scaling.scale).astype("f4"))
        np.testing.assert_array_equal(folded.bias, scaling.offset)


def test_scales_in_a_row_merge() -> None:
    layers = scale("a", "x", 1, 4), Identity(name="drop", inputs=("a",)), scale("b", "drop", 5, 1), scale("c", "b", 4)
    before = network(5, *layers, outputs=("c",))
    after = passes.apply(before)
    assert names(after) == ["c"]
    assert after.layers[0].scale.shape == (5, 4)
    x = {"x": weights(2, 5, 4)}
    np.testing.assert_allclose(oracle.run(after, x)[0], oracle.run(before, x)[0], rtol=0, atol=1e-6)


def test_a_mask_that_ends_in_either_ends_in_both() -> None:
    for one, other in ((True, False), (False, True)):
        layers = dense("d", "x", drops_mask=one), scale("s", "d", 3, drops_mask=other)
        (folded,) = passes.apply(network(None, *layers, outputs=("s",))).layers
        assert folded.drops_mask


def full(number: float, *shape: int) -> np.ndarray:
    return np.full(shape, number, np.float32)


@pytest.mark.parametrize(
    ("layers", "outputs"),
    [
        ((dense("d", "x"), scale("s", "d", 3)), ("s", "d")),
        ((dense("d", "x"), scale("s", "d", 3), Activate(name="a", inputs=("d",), activation=LINEAR)), ("s", "a")),
        ((dense("d", "x", activation=Activation.of("relu")), scale("s", "d", 3)), ("s",)),
        ((conv("d", "x", activation=Activation.of("tanh")), scale("s", "d", 3)), ("s",)),
        ((gru("d", "x", 4, 3), scale("s", "d", 3)), ("s",)),
        ((scale("s", "x", 4),), ("s",)),
        ((dense("d", "x"), scale("s", "d", 5, 1)), ("s",)),
        ((dense("d", "x", kernel=full(1e30, 4, 3)), Scale(name="s", inputs=("d",), scale=full(1e30, 3))), ("s",)),
        ((dense("d", "x", kernel=full(1e-30, 4, 3)), Scale(name="s", inputs=("d",), scale=full(1e-30, 3))), ("s",)),
        ((dense("d", "x"), Scale(name="s", inputs=("d",), offset=full(np.nan, 3))), ("s",)),
        ((dense("d", "x", kernel=full(0, 4, 3)), Scale(name="s", inputs=("d",), scale=full(np.inf, 3))), ("s",)),
    ],
    ids=["output", "two readers", "activation", "convolution's", "gru", "input", "steps", "infinite", "denormal", "nan",
         "infinity"],
)  # fmt: skip
def test_a_scale_stays(layers: tuple[Layer, ...], outputs: tuple[str, ...]) -> None:
    graph = network(5, *layers, outputs=outputs)
    assert passes.fold_scales(graph) is graph


def test_weights_that_count_as_zero_fold_as_zero() -> None:
    kernel = np.array([[1e-40, 1.0, 0.0]] * 4, np.float32)
    layers = dense("d", "x", kernel=kernel), Scale(name="s", inputs=("d",), scale=full(1e20, 3))
    (folded,) = passes.apply(network(None, *layers, outputs=("s",))).layers
    np.testing.assert_array_equal(folded.kernel, np.array([[0, 1e20, 0]] * 4, np.float32))


@pytest.mark.parametrize("kind", [Dense, Conv])
@pytest.mark.parametrize("function", [*ELEMENTWISE, *ROWWISE])
def test_an_activation_folds_with_the_same_bits(kind: type[Layer], function: str) -> None:
    rng = np.random.default_rng(5)
    x = (3 * rng.standard_normal((2, 9, 5))).astype(np.float32)
    for units in (2, 16, 34):
        kernel = weights(5, units) if kind is Dense else weights(3, 5, units)
        layer = kind(name="a", inputs=("x",), kernel=kernel, bias=weights(units))
        behind = Activate(name="b", inputs=("a",), activation=Activation.of(function))
        graph = Graph((tensor_spec("x", None, (5,)),), (layer, behind), ("b",))
        folded = passes.fold_activations(graph)
        assert [type(found) for found in folded.layers] == [kind]
        np.testing.assert_array_equal(fastgru.Model(folded)(x), fastgru.Model(graph)(x))


def test_an_activation_stays_where_others_read_what_it_reads() -> None:
    layer = Dense(name="a", inputs=("x",), kernel=weights(5, 4))
    behind = Activate(name="b", inputs=("a",), activation=Activation.of("relu"))
    again = Activate(name="c", inputs=("b",), activation=Activation.of("tanh"))
    for layers, outputs in (((layer, behind), ("a", "b")), ((layer, behind, again), ("b", "c"))):
        graph = Graph((tensor_spec("x", None, (5,)),), layers, outputs)
        assert [found.name for found in passes.fold_activations(graph).layers][-1] == outputs[-1]
        assert len(passes.fold_activations(graph).layers) == 2


def padded(axis: int, before: int = 0, after: int = 0, name: str = "pad", source: str = "x", **options: float) -> Pad:
    return Pad(name=name, inputs=(source,), axis=axis, before=before, after=after, **options)


def convolution(size: tuple[int, ...], channels: int, groups: int = 1, source: str = "pad", **options: object) -> Conv:
    tensors = {"kernel": weights(*size, channels // groups, 2 * groups), "bias": weights(2 * groups)}
    return Conv(**{"name": "conv", "inputs": (source,), "groups": groups} | tensors | options)


def pooling(function: str, size: tuple[int, ...], **options: object) -> Pool:
    return Pool(**{"name": "pool", "inputs": ("pad",), "function": function, "size": size} | options)


def image(*layers: Layer) -> Graph:
    return Graph((tensor_spec("x", None, (5, 4)),), layers, (layers[-1].name,))


FOLDED = [
    (network(None, padded(1, 2), convolution((3,), 4), outputs=("conv",)), (2, 0)),
    (network(None, padded(-2, 2, 1), convolution((3,), 4, pads=(1, 1)), outputs=("conv",)), (3, 2)),
    (network(None, padded(1, 4), convolution((3,), 4, groups=4, dilation=(2,)), outputs=("conv",)), (4, 0)),
    (image(padded(1, 2), padded(2, 1, 1, "sides", "pad"), convolution((3, 3), 4, source="sides")), (2, 0, 1, 1)),
    (image(padded(2, 1, 1), padded(1, 2, 0, "first", "pad"), convolution((3, 3), 4, source="first")), (2, 0, 1, 1)),
    (image(padded(1, 1), convolution((2, 5), 4)), (1, 0, 0, 0)),
    (image(padded(1, 1), convolution((2, 3), 4, groups=4)), (1, 0, 0, 0)),
    (network(None, padded(1, 2), pooling("average", (3,)), outputs=("pool",)), (2, 0)),
    (network(None, padded(1, 2, value=-np.inf), pooling("maximum", (3,)), outputs=("pool",)), (2, 0)),
    (image(padded(1, 1), pooling("average", (2, 3), pads=(0, 1, 1, 1), count_padding=True)), (1, 1, 1, 1)),
]


@pytest.mark.parametrize(("before", "pads"), FOLDED)
def test_padding_folds_into_windows_with_the_same_bits(before: Graph, pads: tuple[int, ...]) -> None:
    after = passes.fold_pads(before)
    (layer,) = after.layers
    assert isinstance(layer, (Conv, Pool))
    assert (layer.name, layer.inputs, layer.pads) == (before.outputs[0], ("x",), pads)
    for batch, steps in ((1, 3), (3, 20)):
        x = weights(batch, steps, *before.inputs[0].inner)
        old, new = fastgru.Model(before)(x), fastgru.Model(after)(x)
        np.testing.assert_array_equal(old.view(np.uint32), new.view(np.uint32))


def test_a_convolution_that_is_causal_by_a_pad_streams() -> None:
    (before, _), *_ = FOLDED
    model = fastgru.Model(passes.apply(before))
    x = weights(2, 6, 4)
    with model.stream(batch_size=2) as stream:
        steps = [stream.step(x[:, t]) for t in range(6)]
    np.testing.assert_array_equal(np.stack(steps, axis=1), model(x))


@pytest.mark.parametrize(
    "before",
    [
        network(None, padded(1, 2, value=1.0), convolution((3,), 4), outputs=("conv",)),
        network(None, padded(1, 2, value=-0.0), convolution((3,), 4), outputs=("conv",)),
        network(None, padded(2, 1), convolution((3,), 5), outputs=("conv",)),
        network(None, padded(1, 2), convolution((3,), 4, padding="same"), outputs=("conv",)),
        network(None, padded(1, 2), convolution((3,), 4), outputs=("conv", "pad")),
        network(None, padded(1, 2, 1), convolution((3,), 4, groups=4), outputs=("conv",)),
        network(None, padded(1, 2), convolution((3,), 4, groups=4, bias=-np.zeros(8, np.float32)), outputs=("conv",)),
        network(None, padded(1, 2**31 - 1), convolution((3,), 4, pads=(1, 0)), outputs=("conv",)),
        image(padded(2, 1, 1), convolution((3, 7), 4)),
        image(padded(2, 1, 1), convolution((3, 3), 4, groups=4)),
        network(None, padded(1, 2), pooling("maximum", (3,)), outputs=("pool",)),
        network(None, padded(1, 2, 1), pooling("average", (3,)), outputs=("pool",)),
        image(padded(1, 1), pooling("average", (2, 3), pads=(0, 0, 1, 1))),
    ],
)
def test_a_pad_stays(before: Graph) -> None:
    assert passes.fold_pads(before) is before

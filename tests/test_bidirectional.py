"""Concatenate, and bidirectional layers made of two GRUs and a Concatenate: the oracle, Keras, and the same bits."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgru
import oracle
from building import ISAS, bidirectional, chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import BadModelFile, Model, UnsupportedModel
from fastgru.graph import Activate, Activation, Concatenate, Graph, Layer, Masking, Reshape, tensor_spec
from tolerances import check

pytestmark = pytest.mark.dtypes

both_variants = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
Masks = np.ndarray | None


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def holes(rows: int, steps: int) -> np.ndarray:
    """Masks with holes; the second row is masked from the left, the third to the right, the fourth altogether."""
    mask = np.random.default_rng(2).random((rows, steps)) < 0.7
    for row, masked in enumerate((slice(0), slice(steps // 2), slice(steps // 2, None), slice(None))[:rows]):
        mask[row, masked] = False
    return mask


def compare(graph: Graph, inputs: dict[str, np.ndarray], mask: Masks = None) -> None:
    answers = Model(graph)(inputs, mask=mask)
    sequences = [spec.name for spec in graph.inputs if spec.is_sequence]
    expected = oracle.run(graph, inputs, None if mask is None else dict.fromkeys(sequences, mask))
    for answer, truth in zip(answers if isinstance(answers, tuple) else (answers,), expected, strict=True):
        check(answer, truth, "oracle")


def same(one: Any, other: Any) -> bool:
    pairs = zip(*((y,) if isinstance(y, np.ndarray) else y for y in (one, other)), strict=True)
    return all(a.shape == b.shape and np.array_equal(a.view(np.uint32), b.view(np.uint32)) for a, b in pairs)


def stack(*units: int, reset_after: bool = True, **options: Any) -> tuple[Layer, ...]:
    """Bidirectional layers one on the other; the last one is `top`."""
    rng, layers, size, source = np.random.default_rng(3), (), 5, "x"
    for number, count in enumerate(units):
        name = "top" if number == len(units) - 1 else f"both{number}"
        layers += bidirectional(
            rng, size, count, name=name, source=source, reset_after=reset_after, mask="x:mask", **options
        )
        size, source = 2 * count, name
    return layers


# ---- against the oracle ----------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("units", [1, 8, 19])
def test_bidirectional(units: int, zero_output: bool, reset_after: bool, isa: str) -> None:
    layers = stack(units, reset_after=reset_after, zero_output_for_mask=zero_output)
    for rows, steps in ((1, 1), (2, 7), (9, 150)):
        compare(chain(floats(5), *layers), {"x": normal(rows, steps, 5)})
        compare(chain(floats(5), *layers), {"x": normal(rows, steps, 5)}, holes(rows, steps))


@both_variants
def test_bidirectional_last_outputs_and_states(reset_after: bool, isa: str) -> None:
    layers = stack(19, reset_after=reset_after, return_sequences=False)
    states = Concatenate(name="states", inputs=("top/back:state", "top/ahead:state"))
    head = dense(np.random.default_rng(4), 38, 3, name="head", source="top", function="tanh")
    graph = Graph((floats(5),), (*layers, states, head), ("top", "states", "head"))
    compare(graph, {"x": normal(4, 7, 5)})
    compare(graph, {"x": normal(4, 7, 5)}, holes(4, 7))
    compare(graph, {"x": normal(4, 0, 5)})


@both_variants
@pytest.mark.parametrize("steps", [6, 300])
def test_bidirectional_layers_in_a_stack(steps: int, reset_after: bool, isa: str) -> None:
    rng = np.random.default_rng(5)
    layers = (
        *stack(8, 17, reset_after=reset_after),
        gru(rng, 34, 4, name="last", source="top", reset_after=reset_after, mask="x:mask"),
        dense(rng, 34, 3, name="each", source="top", function="softmax"),
    )
    graph = Graph((floats(5),), layers, ("last", "each", "top"))
    compare(graph, {"x": normal(5, steps, 5)})
    compare(graph, {"x": normal(5, steps, 5)}, holes(5, steps))


def test_bidirectional_over_tokens(isa: str) -> None:
    rng = np.random.default_rng(6)
    table = embedding(rng, 9, 6, mask_zero=True, mask="x:mask")
    both = bidirectional(rng, 6, 7, source="embedding", mask="embedding:mask")
    ids = rng.integers(0, 9, (5, 140)).astype(np.int32)
    compare(chain(tokens(), table, *both), {"x": ids})
    compare(chain(tokens(), table, *both), {"x": ids}, holes(5, 140))


@pytest.mark.parametrize("steps", [1, 200])
def test_whatever_stands_side_by_side(steps: int, isa: str) -> None:
    """Inputs, a value twice, a Concatenate in a Concatenate, parts from several stages, parts that others read too."""
    rng = np.random.default_rng(7)
    layers: tuple[Layer, ...] = (
        Masking(name="masking", inputs=("x",)),
        dense(rng, 5, 6, name="dense", source="masking", function="tanh"),
        gru(rng, 6, 4, name="ahead", source="dense", return_sequences=True),
        gru(rng, 6, 3, name="back", source="dense", return_sequences=True, go_backwards=True, time_order=True),
        Activate(name="soft", inputs=("back",), activation=Activation.of("softmax")),
        Concatenate(name="inner", inputs=("ahead", "soft")),
        Concatenate(name="outer", inputs=("inner", "x", "back", "x")),
        Concatenate(name="pair", inputs=("back", "back")),
        gru(rng, 7 + 5 + 3 + 5, 8, name="end", source="outer", return_sequences=True, go_backwards=True),
    )
    graph = Graph((floats(5),), layers, ("end", "pair", "outer"))
    compare(graph, {"x": normal(3, steps, 5)})
    compare(dataclasses.replace(graph, outputs=("end",)), {"x": normal(3, steps, 5)})


def test_values_of_several_axes_and_without_time(isa: str) -> None:
    """Joined along the last axis: each row of it stands beside its neighbour."""
    wide, narrow = tensor_spec("wide", None, (2, 3)), tensor_spec("narrow", None, (2, 1))
    soft = Activate(name="soft", inputs=("narrow",), activation=Activation.of("tanh"))
    joined = Concatenate(name="joined", inputs=("wide", "soft", "wide"))
    head = dense(np.random.default_rng(8), 7, 2, name="head", source="joined", function="linear")
    graph = Graph((wide, narrow), (soft, joined, head), ("joined", "head"))
    compare(graph, {"wide": normal(2, 140, 2, 3), "narrow": normal(2, 140, 2, 1)})
    one, two = tensor_spec("one", False, (3,)), tensor_spec("two", False, (2,))
    flat = Graph((one, two), (Concatenate(name="joined", inputs=("two", "one")),), ("joined",))
    compare(flat, {"one": normal(4, 3), "two": normal(4, 2)})


@st.composite
def networks(draw: st.DrawFn) -> tuple[Graph, np.ndarray, Masks]:
    """Layers that read values of those before them, Concatenates among them; several outputs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, steps = draw(st.integers(1, 12)), draw(st.sampled_from([1, 2, 5, 127, 130, 257]))
    sizes = {"x": 3}
    layers: list[Layer] = []
    for number in range(draw(st.integers(2, 7))):
        name, source = f"l{number}", draw(st.sampled_from(list(sizes)))
        match draw(st.sampled_from(["gru", "dense", "join", "join", "reshape"])):
            case "gru":
                back = draw(st.booleans())
                flags = {"go_backwards": back, "time_order": back and draw(st.booleans())}
                units, after = draw(st.integers(1, 20)), draw(st.booleans())
                options = {"name": name, "source": source, "mask": "x:mask", "return_sequences": True}
                layers.append(gru(rng, sizes[source], units, reset_after=after, **options, **flags))
                sizes[name] = units
            case "dense":
                sizes[name] = draw(st.integers(1, 20))
                layers.append(dense(rng, sizes[source], sizes[name], name=name, source=source, function="tanh"))
            case "reshape":
                layers.append(Reshape(name=name, inputs=(source,), target=(sizes[source],), per_step=True))
                sizes[name] = sizes[source]
            case _:
                parts = tuple(draw(st.lists(st.sampled_from(list(sizes)), min_size=2, max_size=4)))
                layers.append(Concatenate(name=name, inputs=parts))
                sizes[name] = sum(sizes[part] for part in parts)
    outputs = draw(st.lists(st.sampled_from([layer.name for layer in layers]), min_size=1, max_size=3))
    mask = rng.random((batch, steps)) < 0.7 if draw(st.booleans()) else None
    x = rng.standard_normal((batch, steps, 3), np.float32)
    return Graph((floats(3),), tuple(layers), tuple(outputs)), x, mask


@given(networks(), st.sampled_from(ISAS), st.integers(1, 2))
def test_networks_at_random(network: tuple[Graph, np.ndarray, Masks], name: str, threads: int) -> None:
    """Against the oracle; and to the bit what comes when every value is an output as well."""
    graph, x, mask = network
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTGRU_ISA", name)
        compare(graph, {"x": x}, mask)
        every = dataclasses.replace(graph, outputs=(*graph.outputs, *(layer.name for layer in graph.layers)))
        y = Model(graph, threads=threads)(x, mask=mask)
        kept = Model(every, threads=1)(x, mask=mask)[: len(graph.outputs)]
        assert same(y, kept if len(kept) > 1 else kept[0])


# ---- against Keras ---------------------------------------------------------------------------------------------------


@pytest.mark.dtypes("float32")  # Keras holds its weights in float32
@both_variants
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("zero_output", [False, True])
def test_keras_bidirectional(zero_output: bool, return_sequences: bool, reset_after: bool) -> None:
    from keras_live import keras

    def layer(**options: Any) -> Any:
        return keras.layers.GRU(6, return_sequences=return_sequences, reset_after=reset_after, **options)

    both = keras.layers.Bidirectional(layer(), backward_layer=layer(go_backwards=True))
    x, mask = normal(6, 9, 5), holes(6, 9)
    both.build(x.shape)
    halves = bidirectional(
        np.random.default_rng(9), 5, 6, without=("initial_state",), return_sequences=return_sequences,
        reset_after=reset_after, mask="x:mask", zero_output_for_mask=zero_output,
    )  # fmt: skip
    for keras_layer, ours in zip((both.forward_layer, both.backward_layer), halves[:2], strict=True):
        bias = ours.bias if not reset_after else np.stack([ours.bias, ours.recurrent_bias])
        keras_layer.set_weights([ours.kernel, ours.recurrent_kernel, bias])
        keras_layer.zero_output_for_mask = zero_output  # Bidirectional itself sets it to return_sequences
    layers = tuple(
        dataclasses.replace(half, recurrent_bias=half.recurrent_bias if reset_after else None) for half in halves[:2]
    )
    model = Model(chain(floats(5), *layers, halves[2]))
    check(model(x), np.asarray(both(x)), "keras")
    check(model(x, mask=mask), np.asarray(both(x, mask=mask)), "keras")


# ---- the same bits ---------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize(("units", "batch", "steps"), [(17, 9, 9), (64, 16, 150), (256, 3, 12), (300, 1, 12)])
def test_batch_and_threads(units: int, batch: int, steps: int, reset_after: bool, isa: str) -> None:
    model = Model(chain(floats(5), *stack(units, 19, reset_after=reset_after)))
    x, mask = normal(batch, steps, 5), holes(batch, steps)
    for masks in (None, mask):
        whole = model(x, mask=masks, threads=1)
        assert same(model(x, mask=masks, threads=2), whole)
        for row in range(min(batch, 4)):
            part = slice(row, row + 1)
            assert same(model(x[part], mask=None if masks is None else masks[part]), whole[part])


@both_variants
def test_vector_kernels_agree(reset_after: bool, monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]) -> None:
    if len(vector_isas) < 2:
        pytest.skip("this machine has one set of vector kernels")
    answers = []
    for name in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", name)
        answers.append(Model(chain(floats(5), *stack(33, 19, reset_after=reset_after)))(normal(9, 140, 5)))
    assert all(same(answer, answers[0]) for answer in answers[1:])


@both_variants
@pytest.mark.parametrize("steps", [7, 300])
def test_halves_are_the_layers_alone(steps: int, reset_after: bool, isa: str) -> None:
    """Side by side they are what either is by itself: the second on the input turned round, and turned back."""
    ahead, back, _ = layers = stack(19, reset_after=reset_after)
    forwards = dataclasses.replace(back, go_backwards=False, time_order=False)
    x, mask = normal(5, steps, 5), holes(5, steps)
    whole = Model(chain(floats(5), *layers))(x, mask=mask)
    assert same(whole[..., :19].copy(), Model(chain(floats(5), ahead))(x, mask=mask))
    turned = Model(chain(floats(5), forwards))(x[:, ::-1], mask=mask[:, ::-1])
    assert same(whole[..., 19:].copy(), turned[:, ::-1].copy())


@pytest.mark.dtypes("float32")  # states rounded for a product have room of their own
@pytest.mark.parametrize("batch", [1, 3])
def test_halves_take_no_room_of_their_own(batch: int) -> None:
    """They are computed inside the joined value, which is the caller's array or, between layers, in the arena once."""
    steps, units = 200, 16
    scratch = 4 * batch * 128 * 3 * units
    state = batch * (2 * 4 * units + 1 + 16)
    for layers, joined in ((stack(units), 0), (stack(units, units), 4 * batch * steps * 2 * units)):
        model = Model(chain(floats(5), *layers))
        model(normal(batch, steps, 5))
        room = model._pool[0].nbytes
        halves = len(layers) // 3 * 2
        assert 0 <= room - (scratch + joined + halves * state) < 256, "200 bytes, a byte a row, and rounding"


# ---- streams ---------------------------------------------------------------------------------------------------------


def test_a_bidirectional_layer_cannot_stream() -> None:
    with pytest.raises(UnsupportedModel) as error:
        Model(chain(floats(5), *stack(4, 3))).stream()
    assert [reason.split(":")[0] for reason in error.value.reasons] == [
        f"GRU layer '{name}/back' goes backwards" for name in ("both0", "top")
    ]


@both_variants
def test_what_goes_ahead_only_streams(reset_after: bool, isa: str) -> None:
    rng = np.random.default_rng(10)
    layers: tuple[Layer, ...] = (
        gru(rng, 5, 7, name="one", return_sequences=True, reset_after=reset_after),
        gru(rng, 5, 9, name="two", return_sequences=True, reset_after=reset_after),
        Concatenate(name="joined", inputs=("one", "two", "x")),
        gru(rng, 21, 6, name="last", source="joined", reset_after=reset_after),
        Concatenate(name="ends", inputs=("last", "two:state")),
    )
    model = Model(Graph((floats(5),), layers, ("joined", "ends")))
    x = normal(3, 11, 5)
    sequence, ends = model(x)
    with model.stream(batch_size=3) as stream:
        steps = [stream.step(x[:, t]) for t in range(5)]
        chunk, last = stream.run(x[:, 5:])
    assert same(np.concatenate([np.stack([step[0] for step in steps], axis=1), chunk], axis=1), sequence)
    assert same(steps[-1][1], model(x[:, :5])[1])
    assert same(last, ends)


# ---- wrong uses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (("x",), "should have 2 or more inputs, has 1"),
        (("x", "flat"), "'flat' (None, 6) does not fit beside 'x' (None, None, 5)"),
        (("flat", "x"), "'x' (None, None, 5) does not fit beside 'flat' (None, 6)"),
        (("x", "square"), "'square' (None, None, 2, 3) does not fit beside 'x'"),
        (("three", "four"), "'four' (None, 4, 5) does not fit beside 'three' (None, 3, 5)"),
        (("x", "x:mask"), "needs float32 values, but 'x:mask' is bool"),
        (("x", "ids"), "needs float32 values, but 'ids' is int32"),
        (("x", "nowhere"), "reads 'nowhere', which nothing before it defines"),
    ],
)
def test_parts_that_do_not_fit(inputs: tuple[str, ...], says: str) -> None:
    specs = (
        floats(5), tensor_spec("flat", False, (6,)), tensor_spec("square", None, (2, 3)), tensor_spec("three", 3, (5,)),
        tensor_spec("four", 4, (5,)), tensor_spec("ids", None, (), "int32"),
    )  # fmt: skip
    with pytest.raises(BadModelFile) as error:
        Graph(specs, (Concatenate(name="joined", inputs=inputs),), ("joined",))
    assert "Concatenate layer 'joined'" in str(error.value)
    assert says in str(error.value)


def test_parts_whose_steps_are_counted_apart() -> None:
    """Whether they go side by side is known when the network runs."""
    layers = (Reshape(name="turned", inputs=("x",), target=(-1, 1)), Concatenate(name="joined", inputs=("x", "turned")))
    model = Model(chain(floats(5), *layers))
    with pytest.raises(fastgru.BadInput) as error:
        model(normal(2, 4, 5))
    assert str(error.value) == "Concatenate layer 'joined' cannot run on 4 steps of 'x' and 20 steps of 'turned'"
    assert model(np.zeros((2, 0, 5), np.float32)).shape == (2, 0, 6)


def test_lengths_and_a_dropped_mask() -> None:
    """A mask that ends in one of the parts has ended."""
    layers = (
        dataclasses.replace(
            dense(np.random.default_rng(11), 5, 4, name="drop", source="x", function="tanh"), drops_mask=True
        ),
        Concatenate(name="joined", inputs=("x", "drop")),
    )
    with pytest.raises(fastgru.BadInput, match="'drop' drops the mask"):
        Model(chain(floats(5), *layers, gru(np.random.default_rng(12), 9, 3, source="joined")))(
            normal(2, 3, 5), lengths=[1, 2]
        )


def test_it_survives_the_file(tmp_path: Any) -> None:
    model = Model(chain(floats(5), *stack(4, 3)))
    model.save(tmp_path / "model.safetensors")
    again, x = fastgru.load(tmp_path / "model.safetensors"), uniform(np.random.default_rng(13), 2, 9, 5)
    assert again.fingerprint == model.fingerprint
    assert same(again(x), model(x))

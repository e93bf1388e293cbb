"""Every option of the GRU layer, and of the layers around it, against the oracle: Graphs built here, no model file."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgru
import oracle
import tolerances
from building import ISAS, chain, dense, embedding, floats, gru, tokens
from fastgru.errors import BadInput, BadModelFile
from fastgru.graph import (
    ELEMENTWISE,
    GRU,
    ROWWISE,
    Activate,
    Activation,
    Graph,
    Identity,
    Layer,
    Masking,
    Reshape,
    tensor_spec,
)
from tolerances import check

pytestmark = pytest.mark.dtypes

both_variants = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
both_answers = pytest.mark.parametrize("return_sequences", [True, False], ids=["sequences", "last"])
#: near a pole the rounding of an argument grows without bound, so `test_activations.py` alone has those functions
TAME = [name for name in ELEMENTWISE if name not in ("rsqrt", "reciprocal", "log", "log1p")]
#: where these jump, or end in NaN, the least rounding of an argument makes a large error
JUMPING = ("floor", "ceil", "round", "sign", "hard_shrink", "sqrt")


def leave_jumps_to_exact_sums(name: str) -> None:
    """Skip a test of a function that jumps where kernels round what they multiply."""
    if name in JUMPING and tolerances.rounds(tolerances.weight_dtype):
        pytest.skip(f"{name} jumps, and {tolerances.weight_dtype} rounds the sums that it is given")


def compare(graph: Graph, inputs: dict[str, np.ndarray], mask: np.ndarray | None = None) -> None:
    """Run a Graph and hold every output against the oracle."""
    answers = fastgru.Model(graph)(inputs, mask=mask)
    sequences = [spec.name for spec in graph.inputs if spec.is_sequence]
    expected = oracle.run(graph, inputs, None if mask is None else dict.fromkeys(sequences, mask))
    for answer, truth in zip(answers if isinstance(answers, tuple) else (answers,), expected, strict=True):
        check(answer, truth, "oracle")


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def padded(rows: int, steps: int) -> np.ndarray:
    """Masks in turn: whole, right padding, left padding, holes, one step only, nothing."""
    rng = np.random.default_rng(2)
    mask = np.ones((rows, steps), bool)
    for row in range(rows):
        cut = int(rng.integers(1, steps))
        match row % 6:
            case 1:
                mask[row, cut:] = False
            case 2:
                mask[row, :cut] = False
            case 3:
                mask[row] = rng.random(steps) < 0.5
            case 4:
                mask[row] = np.arange(steps) == cut
            case 5:
                mask[row] = False
    return mask


def test_the_forced_kernels_are_the_ones_that_run(isa: str) -> None:
    layer = gru(np.random.default_rng(0), 3, 4)
    assert fastgru.Model(chain(floats(3), layer)).isa == isa


# ---- weights and functions -----------------------------------------------------------------------------------------


@both_variants
@both_answers
@pytest.mark.parametrize("units", [1, 7, 8, 16, 17, 33, 100])
def test_sizes(units: int, return_sequences: bool, reset_after: bool, isa: str) -> None:
    layer = gru(np.random.default_rng(units), 5, units, reset_after=reset_after, return_sequences=return_sequences)
    for batch, steps in itertools.product((1, 2, 8, 11), (1, 2, 7)):
        compare(Graph((floats(5),), (layer,), ("gru", "gru:state")), {"x": normal(batch, steps, 5)})


@both_variants
@pytest.mark.parametrize("place", ["activation", "recurrent_activation"])
@pytest.mark.parametrize("name", TAME)
def test_every_activation(name: str, place: str, reset_after: bool, isa: str) -> None:
    """Weights are small, since a gate that is no gate lets the state grow."""
    leave_jumps_to_exact_sums(name)
    options: dict[str, Any] = {place: Activation.of(name), "reset_after": reset_after, "return_sequences": True}
    layer = gru(np.random.default_rng(3), 5, 19, scale=0.4, **options)
    compare(chain(floats(5), layer), {"x": normal(3, 6, 5)})


@both_variants
@pytest.mark.parametrize(
    "activation",
    [
        Activation.of("relu", max_value=0.5, negative_slope=0.25, threshold=0.125),
        Activation.of("hard_sigmoid", slope=0.2),
        Activation.of("elu", alpha=0.5),
        Activation.of("celu", alpha=0.75),
        Activation.of("squareplus", b=2.0),
    ],
    ids=lambda activation: activation.name,
)
def test_parameters_of_activations(activation: Activation, reset_after: bool, isa: str) -> None:
    for place in ("activation", "recurrent_activation"):
        layer = gru(np.random.default_rng(4), 5, 19, scale=0.4, reset_after=reset_after, **{place: activation})
        compare(chain(floats(5), layer), {"x": normal(3, 6, 5)})


@both_variants
@pytest.mark.parametrize("clip", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("functions", [("sigmoid", "tanh"), ("hard_sigmoid", "relu")], ids="-".join)
def test_clip(functions: tuple[str, str], clip: float, reset_after: bool, isa: str) -> None:
    """Sums reach about 4, so that every bound bites; 1 row and 40 steps take the ways of one row."""
    f, g = map(Activation.of, functions)
    options = {"clip": clip, "reset_after": reset_after, "recurrent_activation": f, "activation": g}
    for units, batch, steps in ((1, 1, 3), (19, 11, 5), (40, 1, 40), (200, 1, 20)):
        layer = gru(np.random.default_rng(units), 150, units, scale=3, return_sequences=True, **options)
        bounded, x = chain(floats(150), layer), normal(batch, steps, 150)
        compare(bounded, {"x": x})
        model, free = fastgru.Model(bounded), chain(floats(150), dataclasses.replace(layer, clip=None))
        assert units == 1 or not np.array_equal(model(x), fastgru.Model(free)(x))
        with model.stream(batch) as stream:
            assert np.array_equal(np.stack([stream.step(x[:, t]) for t in range(steps)], axis=1), model(x))


@both_variants
def test_a_clip_that_never_bites(reset_after: bool, isa: str) -> None:
    layer = gru(np.random.default_rng(5), 5, 33, reset_after=reset_after, return_sequences=True, mask="x:mask")
    x, mask = normal(12, 9, 5), padded(12, 9)
    far, free = (fastgru.Model(chain(floats(5), dataclasses.replace(layer, clip=clip))) for clip in (1e6, None))
    if tolerances.rounds(tolerances.weight_dtype):  # without a clip its gates are quick ones
        tolerances.check(far(x, mask=mask), free(x, mask=mask), "oracle")
    else:
        assert np.array_equal(far(x, mask=mask), free(x, mask=mask))


def test_nan_goes_through_a_clip(isa: str) -> None:
    layer = gru(np.random.default_rng(6), 5, 9, clip=0.5)
    x = normal(2, 3, 5)
    x[1, 0, 0] = np.nan
    y = fastgru.Model(chain(floats(5), layer))(x)
    assert not np.isnan(y[0]).any()
    assert np.isnan(y[1]).all()


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_that_is_no_bound_is_refused(clip: float) -> None:
    with pytest.raises(BadModelFile, match="GRU layer 'gru': clip should be positive and finite"):
        chain(floats(5), gru(np.random.default_rng(7), 5, 4, clip=clip))


@both_variants
@pytest.mark.parametrize(("bias", "recurrent_bias"), list(itertools.product([True, False], repeat=2)))
def test_absent_biases(bias: bool, recurrent_bias: bool, reset_after: bool, isa: str) -> None:
    present = {"bias": bias, "recurrent_bias": recurrent_bias}
    without = ("initial_state", *(key for key, here in present.items() if not here))
    compare(
        chain(floats(5), gru(np.random.default_rng(5), 5, 19, without=without, reset_after=reset_after)),
        {"x": normal(3, 6, 5)},
    )


@both_variants
def test_saturated_gates_stay_gates(reset_after: bool, isa: str) -> None:
    layer = gru(np.random.default_rng(6), 5, 19, reset_after=reset_after, return_sequences=True)
    x = normal(4, 12, 5) * np.float32([[[1e2]], [[1e4]], [[1e8]], [[1e30]]])
    y = fastgru.Model(chain(floats(5), layer))(x)
    beyond = 3e-7 if tolerances.rounds(tolerances.weight_dtype) else 0  # of quick gates
    assert np.abs(y).max() <= 1 + beyond  # NaN is not
    check(y[:2], oracle.run(chain(floats(5), layer), {"x": x[:2]})[0], "keras")


@both_variants
def test_long_sequences_do_not_drift(reset_after: bool) -> None:
    layer = gru(np.random.default_rng(7), 3, 9, reset_after=reset_after, return_sequences=True)
    compare(chain(floats(3), layer), {"x": normal(2, 5000, 3)})


# ---- states --------------------------------------------------------------------------------------------------------


@both_variants
@both_answers
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("start", ["zero", "constant", "h0", "h0 over constant"])
def test_initial_states(start: str, go_backwards: bool, return_sequences: bool, reset_after: bool, isa: str) -> None:
    layer = gru(
        np.random.default_rng(8), 5, 19, inputs=("x", "h0") if "h0" in start else ("x",), reset_after=reset_after,
        without=() if "constant" in start else ("initial_state",), go_backwards=go_backwards,
        return_sequences=return_sequences, mask="x:mask",
    )  # fmt: skip
    spec = (floats(5), tensor_spec("h0", False, (19,)))
    graph = Graph(spec, (layer,), ("gru", "gru:state"))
    inputs = {"x": normal(7, 6, 5), "h0": normal(7, 19, seed=2)}
    compare(graph, inputs)
    compare(graph, inputs, padded(7, 6))


@both_variants
def test_a_state_starts_another_gru(reset_after: bool, isa: str) -> None:
    """Encoder and decoder: the last state of one layer is the first of the next."""
    rng = np.random.default_rng(9)
    encoder = gru(rng, 5, 19, name="encoder", reset_after=reset_after)
    decoder = gru(
        rng, 5, 19, name="decoder", inputs=("x", "encoder:state"), reset_after=reset_after, return_sequences=True
    )
    compare(Graph((floats(5),), (encoder, decoder), ("decoder", "encoder:state")), {"x": normal(3, 6, 5)})


# ---- masks ---------------------------------------------------------------------------------------------------------


@both_variants
@both_answers
@pytest.mark.parametrize(("go_backwards", "zero_output"), list(itertools.product([False, True], repeat=2)))
def test_masks(go_backwards: bool, zero_output: bool, return_sequences: bool, reset_after: bool, isa: str) -> None:
    layer = gru(
        np.random.default_rng(10), 5, 19, reset_after=reset_after, return_sequences=return_sequences,
        go_backwards=go_backwards, zero_output_for_mask=zero_output, mask="x:mask", without=(),
    )  # fmt: skip
    graph = Graph((floats(5),), (layer,), ("gru", "gru:state"))
    for rows, steps in ((1, 4), (6, 7), (20, 9)):
        compare(graph, {"x": normal(rows, steps, 5)}, padded(rows, steps))


@both_variants
@pytest.mark.parametrize("zero_output", [False, True])
def test_masks_through_a_stack(zero_output: bool, reset_after: bool, isa: str) -> None:
    """The mask goes round the layers, Dense and Dropout among them, to a GRU that keeps only its last output."""
    rng = np.random.default_rng(11)
    options = {"reset_after": reset_after, "zero_output_for_mask": zero_output, "mask": "x:mask"}
    layers = (
        gru(rng, 5, 19, name="first", return_sequences=True, **options),
        Identity(name="drop", inputs=("first",)),
        dense(rng, 19, 8, name="between", source="drop", function="relu"),
        gru(rng, 8, 33, name="second", source="between", **options),
    )
    compare(chain(floats(5), *layers), {"x": normal(12, 9, 5)}, padded(12, 9))


@both_variants
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e38])
def test_nothing_leaks_out_of_a_masked_step(poison: float, reset_after: bool, isa: str) -> None:
    layers = [
        gru(
            np.random.default_rng(12),
            5,
            19,
            name="first",
            reset_after=reset_after,
            return_sequences=True,
            mask="x:mask",
        ),
        gru(np.random.default_rng(13), 19, 8, name="second", source="first", reset_after=reset_after, mask="x:mask"),
    ]
    model = fastgru.Model(Graph((floats(5),), tuple(layers), ("first", "second")))
    x, mask = normal(12, 9, 5), padded(12, 9)
    expected = model(x, mask=mask)
    poisoned = model(np.where(mask[:, :, None], x, np.float32(poison)), mask=mask)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(poisoned, expected, strict=True))


def test_nan_in_a_step_that_counts_shows(isa: str) -> None:
    """And spoils its own row from its own step on, nothing else."""
    layer = gru(np.random.default_rng(14), 5, 19, return_sequences=True)
    x = normal(12, 9, 5)
    expected = fastgru.Model(chain(floats(5), layer))(x)
    x[3, 4, 0] = np.nan
    y = fastgru.Model(chain(floats(5), layer))(x)
    assert np.isnan(y[3, 4:]).all()
    expected[3, 4:] = y[3, 4:]
    assert np.array_equal(y, expected, equal_nan=True)


# ---- backwards in time order ---------------------------------------------------------------------------------------


def in_time_order(rng: np.random.Generator, inputs: int, units: int, **options: Any) -> GRU:
    return gru(rng, inputs, units, go_backwards=True, time_order=True, return_sequences=True, without=(), **options)


@both_variants
@pytest.mark.parametrize("zero_output", [False, True])
def test_time_order(zero_output: bool, reset_after: bool, isa: str) -> None:
    rng = np.random.default_rng(26)
    layer = in_time_order(rng, 5, 19, reset_after=reset_after, zero_output_for_mask=zero_output, mask="x:mask")
    graph = Graph((floats(5),), (layer,), ("gru", "gru:state"))
    for rows, steps in ((1, 1), (6, 7), (20, 150)):
        compare(graph, {"x": normal(rows, steps, 5)})
        compare(graph, {"x": normal(rows, steps, 5)}, padded(rows, steps) if steps > 1 else None)


@pytest.mark.parametrize("steps", [1, 2, 128, 129, 300])
def test_time_order_is_processing_order_turned_round(steps: int, isa: str) -> None:
    """To the bit, also where a sequence takes several blocks, and where nobody reads it but the state."""
    layer = in_time_order(np.random.default_rng(27), 5, 19)
    processed = dataclasses.replace(layer, time_order=False)
    x = normal(3, steps, 5)
    turned, state = fastgru.Model(Graph((floats(5),), (layer,), ("gru", "gru:state")))(x)
    y, last = fastgru.Model(Graph((floats(5),), (processed,), ("gru", "gru:state")))(x)
    assert np.array_equal(turned, y[:, ::-1])
    assert np.array_equal(state, last)
    assert np.array_equal(fastgru.Model(Graph((floats(5),), (layer,), ("gru:state",)))(x), last)


@both_variants
@pytest.mark.parametrize("steps", [3, 300])
def test_layers_behind_time_order(steps: int, reset_after: bool, isa: str) -> None:
    """Whoever reads it waits for its first step: forwards, backwards, over time, and a head."""
    rng = np.random.default_rng(28)
    options = {"reset_after": reset_after, "mask": "x:mask"}
    layers: tuple[Layer, ...] = (
        dense(rng, 5, 6, name="front", source="x", function="tanh"),
        in_time_order(rng, 6, 19, name="back", source="front", **options),
        gru(rng, 19, 8, name="on", source="back", return_sequences=True, **options),
        in_time_order(rng, 8, 7, name="again", source="on", **options),
        dense(rng, 7, 3, name="head", source="again", function="softmax"),
        gru(rng, 7, 4, name="last", source="again", **options),
        Reshape(name="flat", inputs=("back",), target=(-1, 1)),
    )
    graph = Graph((floats(5),), layers, ("head", "last", "flat"))
    compare(graph, {"x": normal(5, steps, 5)})
    compare(graph, {"x": normal(5, steps, 5)}, padded(5, steps))


@pytest.mark.parametrize("flags", [{"go_backwards": True}, {"return_sequences": True}, {}], ids=str)
def test_time_order_without_a_sequence_to_turn_is_refused(flags: dict[str, bool]) -> None:
    layer = gru(np.random.default_rng(29), 5, 4, time_order=True, **flags)
    with pytest.raises(BadModelFile, match="'gru': time_order needs go_backwards and return_sequences"):
        chain(floats(5), layer)


# ---- the layers around it ------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("vocabulary", [2, 40, 5000])
def test_embedding(vocabulary: int, mask_zero: bool, reset_after: bool, isa: str) -> None:
    rng = np.random.default_rng(15)
    table = embedding(rng, vocabulary, 6, mask_zero=mask_zero, mask="x:mask")
    layer = gru(rng, 6, 19, source="embedding", reset_after=reset_after, return_sequences=True, mask="embedding:mask")
    graph = Graph((tokens(),), (table, layer), ("gru", "embedding"))
    ids = rng.integers(0, vocabulary, (12, 9)).astype(np.int32)
    ids[~padded(12, 9)] = 0
    compare(graph, {"x": ids})
    compare(graph, {"x": ids}, np.flip(padded(12, 9), axis=0))


@pytest.mark.parametrize("mask_value", [0.0, -1.0, 0.1])
def test_masking(mask_value: float, isa: str) -> None:
    masking = Masking(name="masking", inputs=("x",), mask_value=mask_value, mask="x:mask")
    layer = gru(np.random.default_rng(16), 5, 19, source="masking", return_sequences=True, mask="masking:mask")
    graph = Graph((floats(5),), (masking, layer), ("gru", "masking"))
    x = normal(12, 9, 5)
    x[~padded(12, 9)] = mask_value
    x[0, 0, :4] = mask_value  # all features but one: not masked
    compare(graph, {"x": x})
    compare(graph, {"x": x}, np.flip(padded(12, 9), axis=0))


@pytest.mark.parametrize(("target", "per_step"), [((48,), False), ((8, 6), False), ((-1, 4, 3), False), ((3, 4), True)])
def test_reshape_of_known_steps(target: tuple[int, ...], per_step: bool, isa: str) -> None:
    first = gru(np.random.default_rng(17), 5, 12, return_sequences=True)
    reshape = Reshape(name="reshape", inputs=("gru",), target=target, per_step=per_step)
    spec = floats(5, time=4)
    last = Graph((spec,), (first, reshape), ("reshape",)).specs["reshape"].shape[-1]
    layers = (first, reshape, dense(np.random.default_rng(18), last, 7, name="out", source="reshape", function="tanh"))
    compare(Graph((spec,), layers, ("out", "reshape")), {"x": normal(3, 4, 5)})


def test_reshape_of_free_steps(isa: str) -> None:
    """(time, 12) → (3·time, 4), and on into a GRU."""
    rng = np.random.default_rng(19)
    layers = (
        gru(rng, 5, 12, name="first", return_sequences=True),
        Reshape(name="reshape", inputs=("first",), target=(-1, 4)),
        gru(rng, 4, 9, source="reshape", return_sequences=True),
    )
    compare(chain(floats(5), *layers), {"x": normal(3, 7, 5)})


@pytest.mark.parametrize("name", [*TAME, *ROWWISE])
def test_activations_of_dense_and_alone(name: str, isa: str) -> None:
    leave_jumps_to_exact_sums(name)
    rng = np.random.default_rng(20)
    layers = (
        dense(rng, 6, 34, name="dense", source="x", function=name),
        Activate(name="alone", inputs=("x",), activation=Activation.of(name)),
    )
    compare(Graph((floats(6),), layers, ("dense", "alone")), {"x": 3 * normal(5, 4, 6)})


@pytest.mark.parametrize(("inputs", "units"), list(itertools.product((1, 3, 16, 33), (1, 2, 16, 47, 48, 49, 100))))
def test_dense(inputs: int, units: int, isa: str) -> None:
    layer = dense(np.random.default_rng(21), inputs, units, name="dense", source="x", function="linear")
    bare = dataclasses.replace(layer, name="bare", bias=None)
    for batch in (1, 7, 8, 9):
        compare(Graph((floats(inputs),), (layer, bare), ("dense", "bare")), {"x": normal(batch, 3, inputs)})
        flat = Graph((tensor_spec("x", False, (inputs,)),), (layer, bare), ("dense", "bare"))
        compare(flat, {"x": normal(batch, inputs)})


def test_one_value_read_by_many(isa: str) -> None:
    """Outputs in any order, a value read twice, an input that is an output, and the same output twice."""
    rng = np.random.default_rng(22)
    layers = (
        gru(rng, 5, 19, name="a", return_sequences=True),
        gru(rng, 19, 8, name="b", source="a"),
        gru(rng, 19, 7, name="c", source="a", return_sequences=True, go_backwards=True),
    )
    compare(Graph((floats(5),), layers, ("c", "a", "x", "b:state", "b", "a")), {"x": normal(3, 6, 5)})


@both_variants
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("units", [3, 19, 96])
def test_no_steps(units: int, rows: int, reset_after: bool, isa: str) -> None:
    """A state stays what it was at the start; the last output is zero, as there was none."""
    layer = gru(np.random.default_rng(24), 5, units, reset_after=reset_after, without=())
    compare(Graph((floats(5),), (layer,), ("gru", "gru:state")), {"x": normal(rows, 0, 5)})


@pytest.mark.parametrize(("time", "target"), [(10, (20, 1)), (None, (-1, 1))])
def test_a_mask_of_another_number_of_steps_is_refused(time: int | None, target: tuple[int, ...]) -> None:
    """It would be read past its end; where the numbers are free, only a call can tell."""
    layers = (
        Reshape(name="reshape", inputs=("x",), target=target),
        gru(np.random.default_rng(25), 1, 4, source="reshape", mask="x:mask"),
    )
    with pytest.raises((BadModelFile, BadInput), match="'gru'"):
        fastgru.Model(chain(floats(2, time), *layers))(normal(1, 10, 2), lengths=[4])


def test_an_activation_needs_something_to_look_at() -> None:
    layer = Activate(name="alone", inputs=("x",), activation=Activation.of("softmax"))
    with pytest.raises(BadModelFile, match="'alone'"):
        fastgru.Model(chain(tensor_spec("x", None, ()), layer))


def test_rows_of_an_empty_batch(isa: str) -> None:
    model = fastgru.Model(chain(floats(5), gru(np.random.default_rng(23), 5, 19, return_sequences=True)))
    assert model(np.zeros((0, 4, 5), np.float32)).shape == (0, 4, 19)


# ---- networks at random --------------------------------------------------------------------------------------------

# functions that keep a state bounded and whose jumps do not turn rounding into error
GATES = ("sigmoid", "hard_sigmoid", "sparse_sigmoid")
CANDIDATES = ("tanh", "softsign", "hard_tanh", "sigmoid", "tanh_shrink", "silu", "gelu")
HEADS = ("linear", "relu", "softmax", "log_softmax", "elu", "mish", "softplus")


@st.composite
def networks(draw: st.DrawFn) -> tuple[Graph, dict[str, np.ndarray], np.ndarray | None]:
    """A chain of GRUs and other layers, its inputs, and a mask or none."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, steps = draw(st.integers(1, 20)), draw(st.integers(1, 12))
    layers: list[Layer] = []
    size, source, mask = draw(st.integers(1, 40)), "x", draw(st.sampled_from([None, "x:mask"]))
    given_mask = rng.random((batch, steps)) < 0.7 if mask and draw(st.booleans()) else None
    if draw(st.booleans()):
        layers.append(embedding(rng, 9, size, mask_zero=draw(st.booleans()), mask=mask))
        spec, x, source = tokens(), rng.integers(0, 9, (batch, steps)).astype(np.int32), "embedding"
        mask = mask and "embedding:mask"
    else:
        spec, x = floats(size), rng.normal(size=(batch, steps, size)).astype(np.float32)
        if draw(st.booleans()):
            x[rng.random((batch, steps)) < 0.3] = 0
            layers.append(Masking(name="masking", inputs=("x",), mask=mask))
            source, mask = "masking", "masking:mask"
    count = draw(st.integers(1, 3))
    for number in range(count):
        units = draw(st.integers(1, 50))
        without = draw(st.sets(st.sampled_from(["bias", "recurrent_bias", "initial_state"])))
        flags = {key: draw(st.booleans()) for key in ("reset_after", "go_backwards", "zero_output_for_mask")}
        functions = {
            "activation": draw(st.sampled_from(CANDIDATES)),
            "recurrent_activation": draw(st.sampled_from(GATES)),
        }
        flags["return_sequences"] = number < count - 1 or draw(st.booleans())
        flags["time_order"] = flags["go_backwards"] and flags["return_sequences"] and draw(st.booleans())
        layers.append(
            gru(
                rng, size, units, name=f"gru{number}", source=source, without=tuple(without), mask=mask, **flags,
                **{key: Activation.of(name) for key, name in functions.items()},
            )
        )  # fmt: skip
        size, source = units, f"gru{number}"
    if draw(st.booleans()):
        function = draw(st.sampled_from(HEADS))
        layers.append(dense(rng, size, draw(st.integers(1, 60)), name="head", source=source, function=function))
    graph = Graph((spec,), tuple(layers), (layers[-1].name, f"gru{count - 1}:state"))
    return graph, {"x": x}, given_mask


@given(networks(), st.sampled_from(ISAS))
def test_networks_at_random(network: tuple[Graph, dict[str, np.ndarray], np.ndarray | None], name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTGRU_ISA", name)
        compare(*network)


def test_names_that_cannot_be_printed_are_refused() -> None:
    with pytest.raises(BadModelFile, match="cannot be printed"):
        chain(floats(5), gru(np.random.default_rng(1), 5, 2, name="a\x1b[2J"))

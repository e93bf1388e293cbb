"""The oracle against Keras 3 on TensorFlow in float64 (golden numbers), and against sums that one can do by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import oracle
from fastgru.graph import (
    ELEMENTWISE,
    GRU,
    LAYERS,
    ROWWISE,
    Activate,
    Activation,
    Dense,
    Embedding,
    Graph,
    Masking,
    Reshape,
    tensor_spec,
)
from tolerances import check

GOLDEN = Path(__file__).parent / "data" / "golden"
ACTIVATIONS = np.load(GOLDEN / "activations.npz")
MASKS = np.load(GOLDEN / "masks.npz")
OPTIONS = ("reset_after", "return_sequences", "go_backwards", "zero_output_for_mask", "initial_state")


def parse(label: str) -> Activation:
    """An Activation from its name in the golden file: ``relu max_value=6``."""
    name, *params = label.split()
    return Activation.of(name, **{key: float(value) for key, value in (param.split("=") for param in params)})


# ---- activations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [label for label in ACTIVATIONS.files if label != "x"])
def test_activation_is_keras(label: str) -> None:
    with np.errstate(all="ignore"):
        y = oracle.activate(parse(label), ACTIVATIONS["x"])
    check(y, ACTIVATIONS[label], "definition")


def test_every_activation_is_defined_and_has_golden_numbers() -> None:
    known = {*ELEMENTWISE, *ROWWISE}
    assert oracle.ACTIVATIONS.keys() == known
    assert {label.split()[0] for label in ACTIVATIONS.files} - {"x"} == known


def test_every_kind_of_layer_is_defined() -> None:
    assert set(oracle.LAYERS) == set(LAYERS.values())


@pytest.mark.parametrize("name", sorted({*ELEMENTWISE, *ROWWISE}))
def test_nan_stays_nan(name: str) -> None:
    with np.errstate(all="ignore"):
        row = oracle.activate(Activation.of(name), np.array([[np.nan, 1.0]]))
    assert np.isnan(row[0, 0])


# ---- masks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", list(itertools.product([False, True], repeat=len(OPTIONS))), ids=str)
def test_masked_gru_is_keras(values: tuple[bool, ...]) -> None:
    """Rows: nothing masked, right padding, left padding, holes (two kinds), everything masked."""
    case = "".join("01"[value] for value in values)
    options = dict(zip(OPTIONS, values, strict=True))
    inputs = ("x", "h0") if options.pop("initial_state") else ("x",)
    bias = MASKS[f"{case}/bias"]
    input_bias, recurrent_bias = bias if options["reset_after"] else (bias, None)
    layer = GRU(
        name="gru", inputs=inputs, units=4, mask="x:mask", bias=input_bias, recurrent_bias=recurrent_bias,
        kernel=MASKS[f"{case}/kernel"], recurrent_kernel=MASKS[f"{case}/recurrent_kernel"], **options,
    )  # fmt: skip
    graph = Graph((tensor_spec("x", None, (3,)), tensor_spec("h0", False, (4,))), (layer,), ("gru", "gru:state"))
    output, state = oracle.run(graph, {"x": MASKS["x"], "h0": MASKS["h0"]}, masks={"x": MASKS["mask"]})
    check(output, MASKS[f"{case}/output"], "definition")
    check(state, MASKS[f"{case}/state"], "definition")


# ---- by hand -------------------------------------------------------------------------------------------------------


def scalar_gru(**options: object) -> GRU:
    """One unit, one feature, every weight different, every function linear."""
    row = np.array([[0.25, 0.5, 2.0]], np.float32)
    linear = Activation("linear")
    return GRU(
        name="gru", inputs=("x",), units=1, kernel=row, recurrent_kernel=row + 1, bias=row[0] + 2,
        recurrent_bias=row[0] + 3, activation=linear, recurrent_activation=linear, **options,
    )  # fmt: skip


@pytest.mark.parametrize("reset_after", [True, False])
def test_one_step_by_hand(reset_after: bool) -> None:
    graph = Graph((tensor_spec("x", None, (1,)),), (scalar_gru(reset_after=reset_after),), ("gru",))
    x, h = 3.0, 5.0
    z = x * 0.25 + 2.25 + h * 1.25 + 3.25
    r = x * 0.5 + 2.5 + h * 1.5 + 3.5
    recurrent = r * (h * 3.0 + 5.0) if reset_after else r * h * 3.0 + 5.0
    n = x * 2.0 + 4.0 + recurrent
    (output,) = oracle.run(graph, {"x": [[[x]]]}, initial_states={"gru/h": [[h]]})
    assert output == pytest.approx(z * h + (1 - z) * n, rel=1e-15)


def test_initial_state_is_a_constant_and_h0_stands_above_it() -> None:
    start = np.array([7.0], np.float32)
    mask = {"x": [[False]]}
    x, h0 = tensor_spec("x", None, (1,)), tensor_spec("h0", False, (1,))
    layer = scalar_gru(initial_state=start, mask="x:mask")
    output, state = oracle.run(Graph((x,), (layer,), ("gru", "gru:state")), {"x": [[[1.0]]]}, mask)
    assert (output, state) == (0.0, 7.0)
    layer = GRU(**{**vars(layer), "inputs": ("x", "h0")})
    output, state = oracle.run(Graph((x, h0), (layer,), ("gru", "gru:state")), {"x": [[[1.0]]], "h0": [[2.0]]}, mask)
    assert (output, state) == (0.0, 2.0)


def test_states_carry_a_sequence_over_a_cut() -> None:
    rng = np.random.default_rng(5)
    kernel, recurrent = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 12), (4, 12)))
    layer = GRU(
        name="gru",
        inputs=("x",),
        units=4,
        kernel=kernel,
        recurrent_kernel=recurrent,
        return_sequences=True,
        mask="x:mask",
    )
    graph = Graph((tensor_spec("x", None, (3,)),), (layer,), ("gru", "gru:state"))
    x, mask = rng.normal(size=(5, 8, 3)).astype(np.float32), rng.random((5, 8)) < 0.5
    whole, end = oracle.run(graph, {"x": x}, {"x": mask})
    head, state = oracle.run(graph, {"x": x[:, :3]}, {"x": mask[:, :3]})
    carried = {"gru/h": state, "gru/last_output": head[:, -1]}
    tail, last = oracle.run(graph, {"x": x[:, 3:]}, {"x": mask[:, 3:]}, carried)
    assert np.array_equal(np.concatenate([head, tail], axis=1), whole)
    assert np.array_equal(last, end)


def test_embedding_and_its_mask() -> None:
    table = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    layer = Embedding(name="e", inputs=("ids",), table=table, mask_zero=True, mask="ids:mask")
    graph = Graph((tensor_spec("ids", None, (), "int32"),), (layer,), ("e", "e:mask"))
    values, mask = oracle.run(graph, {"ids": [[2, 0, 1]]}, {"ids": [[True, True, False]]})
    assert values.tolist() == [[[5, 6], [1, 2], [3, 4]]]
    assert mask.tolist() == [[True, False, False]]


def test_masking_compares_in_float32() -> None:
    layer = Masking(name="m", inputs=("x",), mask_value=0.1, mask="x:mask")
    graph = Graph((tensor_spec("x", None, (2,)),), (layer,), ("m", "m:mask"))
    values, mask = oracle.run(graph, {"x": [[[0.1, 0.1], [0.1, 0.5], [1, 1]]]}, {"x": [[True, True, False]]})
    check(values, np.array([[[0, 0], [np.float32(0.1), 0.5], [1, 1]]]), "definition")
    assert mask.tolist() == [[False, True, False]]


def test_dense_works_on_the_last_axis() -> None:
    dense = Dense(name="d", inputs=("x",), kernel=np.eye(2, 3, dtype=np.float32), bias=np.ones(3, np.float32))
    (values,) = oracle.run(Graph((tensor_spec("x", None, (2,)),), (dense,), ("d",)), {"x": [[[2, 3], [4, 5]]]})
    assert values.tolist() == [[[3, 4, 1], [5, 6, 1]]]


@pytest.mark.parametrize(
    ("target", "per_step", "shape"),
    [
        ((-1, 3), False, (2, 8, 3)),
        ((24,), False, (2, 24)),
        ((2, 3), True, (2, 4, 2, 3)),
        ((4, 2, 3), False, (2, 4, 2, 3)),
    ],
)
def test_reshape_keeps_row_major_order(target: tuple[int, ...], per_step: bool, shape: tuple[int, ...]) -> None:
    reshape = Reshape(name="r", inputs=("x",), target=target, per_step=per_step)
    x = np.arange(48.0).reshape(2, 4, 6)
    (values,) = oracle.run(Graph((tensor_spec("x", 4, (6,)),), (reshape,), ("r",)), {"x": x})
    assert np.array_equal(values, x.reshape(shape))
    (empty,) = oracle.run(Graph((tensor_spec("x", 4, (6,)),), (reshape,), ("r",)), {"x": x[:0]})
    assert empty.shape == (0, *shape[1:])


def test_activate_is_the_function() -> None:
    layer = Activate(name="a", inputs=("x",), activation=Activation.of("softmax"))
    (values,) = oracle.run(Graph((tensor_spec("x", False, (2,)),), (layer,), ("a",)), {"x": [[0.0, np.log(3.0)]]})
    assert values == pytest.approx(np.array([[0.25, 0.75]]), abs=1e-7)

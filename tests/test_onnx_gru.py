"""GRU nodes of ONNX files: against the standard's text (`onnx_oracle`), ONNX's own node tests and ONNX Runtime."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx
import pytest

import fastgru
from onnx_cases import random_case
from onnx_files import NodeCase, node_case, onnxruntime_answer
from tolerances import check

Array = np.ndarray


def answers(case: NodeCase, model: fastgru.Model | None = None) -> dict[str, Array]:
    model = model or fastgru.from_onnx(case.model)
    given = model(case.feeds)
    return dict(zip(case.outputs, given if isinstance(given, tuple) else (given,), strict=True))


def hold(case: NodeCase, model: fastgru.Model | None = None) -> dict[str, Array]:
    """The answers, which must be the oracle's."""
    found = answers(case, model)
    for key, expected in case.expected.items():
        check(found[key], expected, "oracle")
    return found


# ---- ONNX's own node tests -------------------------------------------------------------------------------------------


def _own_tests() -> dict[str, Any]:
    with np.errstate(all="ignore"):  # collecting them computes those of all operators
        from onnx.backend.test.case.node import collect_testcases

        return {test.name: test for test in collect_testcases("GRU")}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_standards_own_node_tests_pass() -> None:
    tests = _own_tests()
    assert len(tests) == 6
    for name, test in tests.items():
        for inputs, expected in test.data_sets:
            model = onnx.ModelProto()
            model.CopyFrom(test.model)  # its weights are inputs; here they are what files have, constants
            names = [entry.name for entry in model.graph.input]
            given = dict(zip(names, inputs, strict=True))
            constants = [key for key in names if key != "X"]
            model.graph.initializer.extend(onnx.numpy_helper.from_array(given[key], key) for key in constants)
            found = fastgru.from_onnx(model)(given["X"])
            found = found if isinstance(found, tuple) else (found,)
            for mine, answer in zip(found, expected, strict=True):
                assert mine.shape == answer.shape, name
                np.testing.assert_allclose(mine, answer, rtol=test.rtol, atol=1e-6, err_msg=name)


# ---- generated nodes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_generated_nodes_agree(first: int, tmp_path: Any) -> None:
    """tools/check_onnx_nodes.py holds 300 of them."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it judges generated nodes")
    held = 0
    for seed in range(first, first + 20):
        case = random_case(seed)
        path = case.write(tmp_path / f"{seed}.onnx")
        found = hold(case, fastgru.load(path))
        peer = onnxruntime_answer(path, case.feeds) if case.dtype == "float32" else "rounds to fewer bits"
        if isinstance(peer, dict):
            held += 1
        else:  # in the form that it takes
            peer = onnxruntime_answer(case.plain.model, case.plain.feeds)
            assert isinstance(peer, dict), peer
            peer = case.turned(peer)
        for key, expected in peer.items():
            check(found[key], expected, "onnxruntime")
    assert held > 5


def test_the_generator_reaches_everything() -> None:
    cases = [random_case(seed) for seed in range(300)]
    seen = {key for case in cases for key in case.attributes}
    known = {key for opset in (1, 3, 7, 14, 22) for key in onnx.defs.get_schema("GRU", opset, "").attributes}
    assert seen == known
    assert {case.storage for case in cases} == {"initializer", "default", "node", "external", "cast"}
    assert {case.dtype for case in cases} == {"float32", "float16", "double", "bfloat16"}
    assert {case.opset for case in cases} == {1, 3, 7, 14, 22}
    named = {name.lower() for case in cases for name in case.attributes.get("activations", ())}
    assert len(named) == 11


# ---- where runtimes disagree: what the standard says -----------------------------------------------------------------


def test_rows_without_steps_give_zeros() -> None:
    case = node_case(sequence_lens=np.array([3, 0, 6, 0], np.int32))
    found = hold(case)
    for row in (1, 3):
        assert not found["Y"][:, :, row].any()
        assert not found["Y_h"][:, row].any()  # not initial_h
    assert not found["Y"][3:, :, 0].any()
    assert found["Y_h"][:, 0].any()


def test_all_rows_without_steps() -> None:
    found = hold(node_case(sequence_lens=np.zeros(4, np.int32)))
    assert not found["Y"].any()
    assert not found["Y_h"].any()


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_a_padded_row_is_computed_as_if_alone(direction: str) -> None:
    count = 2 if direction == "bidirectional" else 1
    full = node_case()
    tensors = {key: full.arrays[key][:count] for key in ("W", "R", "B", "initial_h")}
    case = node_case(attributes={"direction": direction}, **tensors)
    found = hold(case)
    for row, length in enumerate(case.arrays["sequence_lens"]):
        alone = dict(case.arrays)
        alone["X"] = case.arrays["X"][:length, row : row + 1]
        alone["initial_h"] = case.arrays["initial_h"][:, row : row + 1]
        del alone["sequence_lens"]
        short = answers(dataclasses.replace(case, arrays=alone))
        assert np.array_equal(found["Y"][:length, :, row], short["Y"][:, :, 0])
        assert np.array_equal(found["Y_h"][:, row], short["Y_h"][:, 0])
        assert not found["Y"][length:, :, row].any()


def test_batch_and_time_change_between_calls() -> None:
    case = node_case()
    model = fastgru.from_onnx(case.model)
    rng = np.random.default_rng(5)
    for steps, batch in ((6, 4), (1, 1), (9, 2), (40, 7), (3, 11), (6, 4)):
        arrays = case.arrays | {
            "X": np.float32(rng.uniform(-2, 2, (steps, batch, 3))),
            "sequence_lens": rng.integers(0, steps + 1, batch).astype(np.int32),
            "initial_h": np.float32(rng.uniform(-1, 1, (2, batch, 5))),
        }
        hold(dataclasses.replace(case, arrays=arrays), model)


def test_alphas_and_betas_go_to_those_that_take_them() -> None:
    names = ["HardSigmoid", "LeakyRelu", "Sigmoid", "ScaledTanh"]
    said = {"activations": names, "activation_alpha": [0.3, 0.1, 0.7], "activation_beta": [0.45, 0.6]}
    found = hold(node_case(attributes=said))
    moved = said | {"activation_alpha": [0.1, 0.3, 0.7]}
    other = hold(node_case(attributes=moved))
    assert not np.array_equal(found["Y"], other["Y"])


@pytest.mark.parametrize(
    ("name", "alpha", "beta"),
    [("LeakyRelu", 0.01, None), ("ThresholdedRelu", 1.0, None), ("HardSigmoid", 0.2, 0.5), ("Elu", 1.0, None)],
)
def test_defaults_are_those_of_the_operators(name: str, alpha: float, beta: float | None) -> None:
    """ONNX Runtime takes 0 for ThresholdedRelu."""
    names = {"activations": ["Sigmoid", name] * 2}
    given = names | {"activation_alpha": [alpha] * 2} | ({} if beta is None else {"activation_beta": [beta] * 2})
    X = node_case().arrays["X"] * 2
    by_default, said = (hold(node_case(attributes=one, X=X)) for one in (names, given))
    assert np.array_equal(by_default["Y"], said["Y"])


@pytest.mark.parametrize("alpha", [0.5, 0.1, -0.5, 0.0])
def test_thresholded_relu_keeps_its_threshold(alpha: float) -> None:
    """x where x ≥ alpha: the candidate is its bias alone, and all of the next state."""
    alpha = float(np.float32(alpha))
    zeros = {key: np.zeros_like(value) for key, value in node_case().arrays.items() if key in "XWR"}
    for bias in (
        alpha,
        np.nextafter(np.float32(alpha), np.float32(-1)),
        np.nextafter(np.float32(alpha), np.float32(1)),
    ):
        B = np.zeros((2, 30), np.float32)
        B[:, :5], B[:, 10:15] = -100, bias  # the update gate is shut
        said = {"activations": ["Sigmoid", "ThresholdedRelu"] * 2, "activation_alpha": [alpha] * 2}
        found = answers(node_case(attributes=said, B=B, without=("sequence_lens", "initial_h"), **zeros))
        expected = bias if bias >= alpha and abs(bias) > 1e-30 else 0  # denormals are zero
        assert (found["Y"] == expected).all()


def test_names_of_activations_in_any_case() -> None:
    plain = answers(node_case(attributes={"activations": ["Sigmoid", "Tanh", "HardSigmoid", "ThresholdedRelu"]}))
    odd = answers(node_case(attributes={"activations": ["sigMOID", "TANH", "hardsigmoid", "tHRESHOLDEDrELU"]}))
    assert np.array_equal(plain["Y"], odd["Y"])


def test_clip_bounds_what_activations_take() -> None:
    tight, loose, none = (hold(node_case(attributes={"clip": clip})) for clip in (0.25, 1e6, None))
    assert np.array_equal(loose["Y"], none["Y"])
    assert not np.allclose(tight["Y"], none["Y"], atol=1e-2)
    infinite = answers(node_case(attributes={"clip": math.inf}))
    assert np.array_equal(infinite["Y"], none["Y"])


@pytest.mark.parametrize("opset", [14, 22])
def test_batchwise_is_the_same_with_other_axes(opset: int) -> None:
    case = node_case()
    turned = {key: case.arrays[key].swapaxes(0, 1) for key in ("X", "initial_h")}
    batchwise = hold(node_case(attributes={"layout": 1}, opset=opset, **turned))
    found = answers(case)
    assert np.array_equal(batchwise["Y"], found["Y"].transpose(2, 0, 1, 3))
    assert np.array_equal(batchwise["Y_h"], found["Y_h"].swapaxes(0, 1))


def test_opset_1_misspells_its_default() -> None:
    tensors = {key: node_case().arrays[key][:1] for key in ("W", "R", "B", "initial_h")}
    spelt = {way: {"direction": way, "linear_before_reset": None} for way in ("foward", "forward", None)}
    found = [answers(node_case(attributes=said, opset=1, **tensors)) for said in spelt.values()]
    assert all(np.array_equal(found[0]["Y"], other["Y"]) for other in found[1:])


@pytest.mark.parametrize("dtype", ["float16", "double", "bfloat16"])
def test_other_floats_are_noted(dtype: str) -> None:
    model = fastgru.from_onnx(dataclasses.replace(random_case(1), dtype=dtype, opset=22, storage="initializer").model)
    assert any(({"double": "float64"}.get(dtype, dtype)) in note for note in model.notes)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_constant_initial_state(value: float) -> None:
    case = node_case(initial_h=np.full((2, 4, 5), value), constants=("initial_h",), is_free=False)
    model = fastgru.from_onnx(case.model)
    assert [spec.name for spec in model.inputs] == ["X", "sequence_lens"]
    hold(case, model)


def test_constant_lengths_of_all_steps_are_none() -> None:
    case = node_case(sequence_lens=np.full(4, 6, np.int32), constants=("sequence_lens",), is_free=False)
    model = fastgru.from_onnx(case.model)
    assert [layer.kind for layer in model.graph.layers].count("StepMask") == 0
    hold(case, model)


def test_outputs_that_nobody_reads_cost_nothing() -> None:
    graph = fastgru.from_onnx(node_case(outputs=("Y_h",)).model).graph
    assert not any(layer.return_sequences for layer in graph.layers if layer.kind == "GRU")


# ---- nothing is ignored ----------------------------------------------------------------------------------------------

#: by attribute: a value that it has, and others that mean something else
FLIPS: dict[str, tuple[Any, list[Any]]] = {
    "activation_alpha": ([0.3, 0.2], [[0.2, 0.3], [0.3], [0.3, 0.2, 0.1], None]),
    "activation_beta": ([0.4], [[0.6], [0.4, 0.6]]),
    "activations": (
        ["HardSigmoid", "LeakyRelu", "Sigmoid", "Tanh"],
        [["HardSigmoid", "LeakyRelu", "Tanh", "Sigmoid"], ["HardSigmoid", "LeakyRelu"], ["Sigmoidal"] * 4, None],
    ),
    "clip": (0.7, [0.3, None, 0.0, -1.0, math.nan]),
    "direction": ("bidirectional", ["forward", "reverse", "backward", "Bidirectional", ""]),
    "hidden_size": (2, [3, 0, -2]),
    "layout": (0, [1, 2]),
    "linear_before_reset": (1, [0, None]),
    "output_sequence": (0, [1, 2]),
}


@pytest.mark.parametrize("opset", [1, 3, 7, 14, 22])
def test_every_attribute_counts(opset: int) -> None:
    """Whichever is changed, the numbers change, or the node is refused."""
    rng = np.random.default_rng(opset)
    sizes = {"X": (2, 2, 2), "W": (2, 6, 2), "R": (2, 6, 2), "B": (2, 12), "initial_h": (2, 2, 2)}
    arrays = {key: np.float32(rng.uniform(-1.5, 1.5, shape)) for key, shape in sizes.items()}
    known = sorted(onnx.defs.get_schema("GRU", opset, "").attributes)
    plain = {name: FLIPS[name][0] for name in known}
    base = hold(NodeCase(plain, arrays, opset, ("Y_h",)))
    for name in known:
        for value in FLIPS[name][1]:
            attributes = plain | {name: value}
            case = NodeCase({k: v for k, v in attributes.items() if v is not None}, arrays, opset, ("Y_h",))
            try:
                found = answers(case)
            except fastgru.FastGRUError:
                continue
            assert not np.array_equal(found["Y_h"], base["Y_h"]), f"{name} = {value} is ignored"
    for name in sorted(set(FLIPS) - set(known)):  # of another opset
        with pytest.raises(fastgru.UnsupportedModel, match=name):
            answers(NodeCase(plain | {name: FLIPS[name][0]}, arrays, opset, ("Y_h",)))

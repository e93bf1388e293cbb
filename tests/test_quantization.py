"""What narrow networks cost: errors of outputs, along the sequence, and speed, against plain NumPy."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import fastgru
from building import bidirectional, chain, dense, embedding, floats, gru, tokens
from fastgru.graph import ArgMax, Combine, Graph, Masking, tensor_spec
from fastgru.narrowing import narrow
from fastgru.ports import Port
from fastgru.quantization import (
    Data,
    SideBySide,
    StepErrors,
    check_plot,
    compare_speed,
    layer_costs,
    measure,
    plot_error,
    running,
)
from fastgru.quantization.running import step_mask
from quantizing import CLASSES, FEATURES, ROWS, STEPS, UNITS, data, pair, sensitive, sequences


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


# ---- errors of outputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float16"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_errors_are_those_of_the_outputs(rng, dtype, batch_size):
    model, small = pair(sequences(rng), dtype)
    x = data(rng)
    report = measure(model, small, x, batch_size=batch_size)
    expected, got = model(x).astype(np.float64), small(x).astype(np.float64)
    (output,) = report.outputs
    apart = np.abs(got - expected)
    assert (output.name, output.count, report.rows) == ("head", expected.size, ROWS)
    assert output.largest == apart.max() > 0
    assert output.mean == pytest.approx(apart.mean(), rel=1e-12)
    assert output.snr == report.snr == pytest.approx(10 * np.log10((expected**2).sum() / (apart**2).sum()), rel=1e-12)
    assert output.same_answers == (got.argmax(-1) == expected.argmax(-1)).mean()
    np.testing.assert_array_equal(output.steps.largest, apart.max(axis=(0, 2)))
    np.testing.assert_allclose(output.steps.rms, np.sqrt((apart**2).mean(axis=(0, 2))), rtol=1e-12)


def test_the_same_network_has_no_error(rng):
    model, _ = pair(sequences(rng))
    (output,) = measure(model, model, data(rng)).outputs
    assert (output.largest, output.mean, output.snr, output.same_answers) == (0.0, 0.0, math.inf, 1.0)


def test_blocks_change_nothing(rng, monkeypatch):
    model, small = pair(sequences(rng))
    x = data(rng)
    whole = measure(model, small, x)
    monkeypatch.setattr("fastgru.quantization.differences._BLOCK", 2 * ROWS * CLASSES)
    cut = measure(model, small, x)
    assert cut.outputs[0].largest == whole.outputs[0].largest
    assert cut.outputs[0].snr == pytest.approx(whole.outputs[0].snr, rel=1e-12)
    np.testing.assert_array_equal(cut.outputs[0].steps.rms, whole.outputs[0].steps.rms)


def test_results_that_are_not_kept_are_computed_again(rng, monkeypatch):
    model, small = pair(sequences(rng))
    x = data(rng)
    kept = layer_costs(SideBySide(model, x), small)
    monkeypatch.setattr(running, "KEPT_BYTES", 100)
    sides = SideBySide(model, x, batch_size=2)
    again = layer_costs(sides, small)
    assert sides.reference._kept is None
    assert [(one.name, one.report.outputs[0].largest) for one in again] == [
        (one.name, one.report.outputs[0].largest) for one in kept
    ]


def test_padding_by_lengths_does_not_count(rng):
    model, small = pair(sequences(rng, function="softmax"))
    x, lengths = data(rng), np.array([9, 3, 1, 5, 9, 2, 4])
    report = measure(model, small, x, lengths=lengths, batch_size=3)
    there = np.arange(STEPS) < lengths[:, None]
    expected, got = model(x, lengths=lengths), small(x, lengths=lengths)
    (output,) = report.outputs
    assert output.count == there.sum() * CLASSES
    assert output.answers == there.sum()
    assert output.largest == np.abs(got - expected)[there].max()
    assert output.steps.largest[5] == np.abs(got - expected)[there[:, 5], 5].max()


def test_steps_that_nobody_has_have_no_error(rng):
    model, small = pair(sequences(rng))
    steps = measure(model, small, data(rng), lengths=np.full(ROWS, 4)).outputs[0].steps
    assert np.isfinite(steps.rms[:4]).all()
    assert np.isnan(steps.rms[4:]).all()
    assert np.isnan(steps.largest[4:]).all()


def test_padding_that_the_network_masks_does_not_count(rng):
    table = embedding(rng, 6, FEATURES, mask_zero=True)
    layer = gru(rng, FEATURES, UNITS, source="embedding", return_sequences=True, mask="embedding:mask")
    model, small = pair(chain(tokens(), table, layer))
    ids = rng.integers(1, 6, (ROWS, STEPS))
    ids[::2, 4:] = 0
    (output,) = measure(model, small, ids).outputs
    assert output.count == (ids != 0).sum() * UNITS
    assert output.largest == np.abs(small(ids) - model(ids))[ids != 0].max()


def test_masking_and_both_directions(rng):
    masking = Masking(name="masking", inputs=("x",), mask="x:mask")
    both = bidirectional(rng, FEATURES, UNITS, source="masking", mask="masking:mask")
    model, small = pair(chain(floats(FEATURES), masking, *both))
    assert step_mask(model.graph, "both") == ("masking:mask", False)
    x = data(rng)
    x[0, 6:] = 0
    assert measure(model, small, x).outputs[0].count == (ROWS * STEPS - 3) * 2 * UNITS


def test_outputs_in_order_of_processing_turn_their_mask(rng):
    layer = gru(rng, FEATURES, UNITS, return_sequences=True, mask="x:mask", go_backwards=True)
    model, small = pair(chain(floats(FEATURES), layer))
    x, lengths = data(rng), np.array([2] * ROWS)
    (output,) = measure(model, small, x, lengths=lengths).outputs
    assert output.count == 2 * ROWS * UNITS
    assert np.isnan(output.steps.rms[:-2]).all(), "the unmasked steps come last"


def test_several_outputs_ids_and_masks(rng):
    graph = sequences(rng)
    best = ArgMax(name="best", inputs=("head",))
    graph = dataclasses.replace(graph, layers=(*graph.layers, best), outputs=("head", "gru:state", "best", "x:mask"))
    model, small = pair(graph)
    x = data(rng)
    report = measure(model, small, x)
    head, state, ids, mask = report.outputs
    assert [output.name for output in report.outputs] == list(graph.output_names)
    assert (state.steps, state.same_answers) == (None, None)
    assert ids.same_answers == (model(x)[2] == small(x)[2]).mean()
    assert not ids.is_number
    assert math.isnan(ids.snr)
    assert (mask.same_answers, mask.count) == (1.0, ROWS * STEPS)
    assert report.snr == min(head.snr, state.snr)


def test_one_probability_answers_by_its_half(rng):
    model, small = pair(sequences(rng, function="sigmoid", classes=1))
    x = data(rng, rows=40)
    (output,) = measure(model, small, x).outputs
    assert output.same_answers == ((model(x) >= 0.5) == (small(x) >= 0.5)).mean()
    (state,) = measure(*pair(chain(floats(FEATURES), gru(rng, FEATURES, UNITS))), x).outputs
    assert state.same_answers is None, "units of a GRU answer nothing"


def test_ports_are_measured_batch_first(rng):
    """As an ONNX file lays its output out: (time, 1, batch, units)."""
    plain = sequences(rng)
    port = Port("Y", (CLASSES,), ((1,), (), (0,), (2,)))
    ported = dataclasses.replace(plain, output_ports=(port,))
    x, lengths = data(rng), np.array([9, 3, 1, 5, 9, 2, 4])
    one, other = (measure(*pair(graph), x, lengths=lengths, batch_size=2) for graph in (plain, ported))
    assert other.outputs[0].name == "Y"
    assert dataclasses.replace(other.outputs[0], name="head", steps=None) == dataclasses.replace(
        one.outputs[0], steps=None
    )
    target = rng.normal(size=(ROWS, STEPS, CLASSES))
    ids = rng.integers(0, CLASSES, (ROWS, STEPS))
    for labels, laid_out in (
        (target, target.transpose(1, 0, 2)[:, None]), (ids, ids.T[:, None])
    ):  # fmt: skip
        expected = measure(*pair(plain), x, labels=labels, lengths=lengths, batch_size=2).metric
        got = measure(*pair(ported), x, labels=laid_out, lengths=lengths, batch_size=2).metric
        assert (got.before, got.after, got.count) == (expected.before, expected.after, expected.count)


def test_numbers_that_break_are_said_and_never_good_enough(rng):
    graph = sequences(rng)
    head = graph.layers[1]
    bias = head.bias.copy()
    bias[1] = np.nan
    broken = dataclasses.replace(graph, layers=(graph.layers[0], dataclasses.replace(head, bias=bias)))
    x = data(rng)
    report = measure(fastgru.Model(graph), fastgru.Model(broken), x, labels=np.zeros((ROWS, STEPS, CLASSES)) + 0.5)
    (output,) = report.outputs
    assert (output.broken, output.undefined, output.count) == (ROWS * STEPS, 0, ROWS * STEPS * CLASSES)
    assert (output.largest, output.mean, output.snr, output.same_answers) == (math.inf, math.inf, -math.inf, 0.0)
    assert math.isnan(report.metric.after)
    assert not report.meets(min_snr=-1000.0)
    assert not report.meets(max_drop=1e9)
    (output,) = measure(fastgru.Model(broken), fastgru.Model(broken), x).outputs
    assert (output.broken, output.undefined, output.snr) == (0, ROWS * STEPS, math.inf)


def test_texts_are_data():
    model = fastgru.load(fastgru.demo_path())
    small = fastgru.Model(narrow(model.graph, "int8"))
    texts = ["A warm and funny film.", "A dull mess.", "Fine, and more than that."]
    assert measure(model, small, texts, batch_size=2).outputs[0].count == 3


def test_several_inputs(rng):
    a, b = tensor_spec("a", None, (FEATURES,)), tensor_spec("b", None, (FEATURES,))
    total = Combine(name="total", inputs=("a", "b"), operation="add")
    graph = Graph((a, b), (total, gru(rng, FEATURES, UNITS, source="total")), ("gru",))
    model, small = pair(graph)
    x, y = data(rng), data(rng)
    by_name, in_order = measure(model, small, {"a": x, "b": y}), measure(model, small, (x, y), batch_size=2)
    assert by_name.outputs[0].largest == in_order.outputs[0].largest == np.abs(small(x, y) - model(x, y)).max()


# ---- along the sequence ----------------------------------------------------------------------------------------------


def test_growth_is_told_from_noise(rng):
    noise = 1 + 0.2 * rng.normal(size=2000)
    for trend, grows in (
        (np.ones(2000), False), (1 + np.arange(2000) / 1000, True), (np.exp(-np.arange(2000) / 500), False)
    ):  # fmt: skip
        found = StepErrors(np.abs(trend * noise), np.abs(trend * noise))
        assert found.grows is grows
    assert StepErrors(np.ones(30), np.ones(30)).growth is None
    tail = np.where(np.arange(100) < 40, 1.0, np.nan)  # steps that no row has
    assert StepErrors(tail, tail).growth == 1.0
    assert StepErrors(np.zeros(90), np.zeros(90)).grows is None


def test_the_error_of_a_gru_does_not_grow(rng):
    model, small = pair(sequences(rng))
    steps = measure(model, small, data(rng, rows=4, steps=3000)).outputs[0].steps
    assert steps.grows is False
    assert 0.8 < steps.growth < 1.25


def test_the_plot_is_a_picture_of_steps(rng, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: NO PLOT IS DRAWN")
    model, small = pair(sequences(rng))
    report = measure(model, small, data(rng), lengths=np.full(ROWS, 4))
    plot_error(report, tmp_path / "error.png", "a title")
    assert (tmp_path / "error.png").read_bytes().startswith(b"\x89PNG")
    plot_error(measure(model, model, data(rng)), tmp_path / "none.png")
    with pytest.raises(fastgru.BadInput, match=r"should end in \.png"):
        plot_error(report, tmp_path / "error.jpg")
    with pytest.raises(fastgru.BadInput, match="there is no folder"):
        plot_error(report, tmp_path / "nowhere" / "error.png")
    last = chain(floats(FEATURES), gru(rng, FEATURES, UNITS))
    with pytest.raises(fastgru.BadInput, match="no output has a time axis"):
        plot_error(measure(*pair(last), data(rng)), tmp_path / "error.png")


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(fastgru.MissingExtra, match=r"fastgru\[plot\]"):
        check_plot(Path("error.png"))


# ---- speed -----------------------------------------------------------------------------------------------------------


def test_speed_is_of_the_first_rows(rng):
    model, small = pair(sequences(rng))
    speed = compare_speed(model, small, Data(model, data(rng), np.full(ROWS, 3)), rows=2, seconds=0.02)
    assert (speed.rows, speed.threads) == (2, 1)
    assert 0 < speed.float32 < 0.1
    assert 0 < speed.narrow < 0.1
    assert speed.gain == speed.float32 / speed.narrow
    assert speed.turns >= 5


def test_long_sequences_are_cut_for_a_timing(rng):
    model, _ = pair(sequences(rng))
    x, lengths = data(rng), np.array([9, 3, 1, 5, 9, 2, 4])
    given, cut = Data(model, x, lengths).first(model, 3, 4)
    np.testing.assert_array_equal(given["x"], x[:3, :4])
    assert cut.tolist() == [4, 3, 1]
    assert Data(model, x, {"x": lengths}).first(model, 2, 4)[1]["x"].tolist() == [4, 3]
    fixed = fastgru.Model(chain(floats(FEATURES, time=STEPS), gru(rng, FEATURES, UNITS)))
    assert Data(fixed, x).first(fixed, 2, 4)[0]["x"].shape == (2, STEPS, FEATURES)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_networks_and_data_are_checked(rng):
    model, small = pair(sequences(rng))
    with pytest.raises(fastgru.BadInput, match="should be float32, but gru, head is not"):
        measure(small, small, data(rng))
    with pytest.raises(fastgru.BadInput, match="its layers differ"):
        measure(model, pair(sensitive(rng))[1], data(rng))
    with pytest.raises(fastgru.BadInput, match="got generator"):
        measure(model, small, (x for x in data(rng)))
    with pytest.raises(fastgru.BadInput, match="holds none"):
        measure(model, small, data(rng)[:0])
    with pytest.raises(fastgru.BadInput, match="features should be 5, not 6"):
        measure(model, small, np.zeros((2, 3, FEATURES + 1)))
    last = dense(rng, FEATURES, 2, name="d", source="x", function="tanh")
    flat, narrow_flat = pair(Graph((tensor_spec("x", False, (FEATURES,)),), (last,), ("d",)))
    assert measure(flat, narrow_flat, data(rng)[:, 0]).outputs[0].steps is None

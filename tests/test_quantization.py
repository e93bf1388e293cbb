"""What narrow networks cost: errors, metrics, each layer's part, the search for layers to keep, against plain NumPy."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from building import bidirectional, chain, dense, embedding, floats, gru, tokens
from fastgru.graph import Activation, ArgMax, Combine, Graph, Masking, TimeDistributed, tensor_spec
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
    search,
    suggest,
)
from fastgru.quantization.metrics import MetricChange
from fastgru.quantization.running import step_mask

FEATURES, UNITS, CLASSES = 5, 12, 4
ROWS, STEPS = 7, 9


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


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


# ---- metrics ---------------------------------------------------------------------------------------------------------


def test_accuracy_of_classes_leaves_padding_out(rng):
    model, small = pair(sequences(rng, function="softmax"))
    x, lengths = data(rng), np.array([9, 3, 1, 5, 9, 2, 4])
    there = np.arange(STEPS) < lengths[:, None]
    labels = np.where(there, rng.integers(0, CLASSES, (ROWS, STEPS)), -1)
    metric = measure(model, small, x, labels=labels, lengths=lengths, batch_size=2).metric
    assert (metric.name, metric.output, metric.count) == ("accuracy", "head", there.sum())
    for network, value in ((model, metric.before), (small, metric.after)):
        assert value == (network(x, lengths=lengths).argmax(-1) == labels)[there].mean()
    assert metric.drop == pytest.approx(metric.before - metric.after, abs=1e-12)


@pytest.mark.parametrize("function", ["softmax", "linear", "log_softmax"])
def test_surprise_of_probabilities_and_logits(rng, function):
    model, small = pair(sequences(rng, function=function))
    x, labels = data(rng), rng.integers(0, CLASSES, (ROWS, STEPS))
    found = {
        name: measure(model, small, x, labels=labels, metric=name, batch_size=3).metric
        for name in ("cross-entropy", "perplexity")
    }
    for network, key in ((model, "before"), (small, "after")):
        scores = network(x).astype(np.float64)
        shares = scores if function == "softmax" else np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        surprise = -np.log(np.take_along_axis(shares, labels[..., None], -1)).mean()
        assert getattr(found["cross-entropy"], key) == pytest.approx(surprise, rel=1e-6)
        assert getattr(found["perplexity"], key) == pytest.approx(np.exp(surprise), rel=1e-6)
    assert found["perplexity"].drop == pytest.approx(found["perplexity"].after / found["perplexity"].before - 1)


def test_tokens_that_a_network_reads_and_predicts_have_a_perplexity(rng):
    vocabulary = 6
    layers = (
        embedding(rng, vocabulary, FEATURES),
        gru(rng, FEATURES, UNITS, source="embedding", return_sequences=True),
        dense(rng, UNITS, vocabulary, name="head", source="gru", function="linear"),
    )
    model, small = pair(chain(tokens(), *layers))
    ids = rng.integers(0, vocabulary, (ROWS, STEPS + 1))
    assert measure(model, small, ids[:, :-1], labels=ids[:, 1:]).metric.name == "perplexity"
    assert measure(model, small, ids[:, :-1], labels=ids[:, 1:], metric="accuracy").metric.name == "accuracy"


@pytest.mark.parametrize(("function", "threshold"), [("sigmoid", 0.5), ("linear", 0.0), ("hard_sigmoid", 0.5)])
def test_decisions_of_one_number(rng, function, threshold):
    model, small = pair(sequences(rng, function=function, classes=1))
    x, labels = data(rng), rng.integers(0, 2, (ROWS, STEPS))
    expected = ((model(x)[..., 0] >= threshold) == labels).mean()
    for given in (labels, labels[..., None], labels.astype(bool), labels.astype(float)):
        metric = measure(model, small, x, labels=given).metric
        assert (metric.name, metric.before) == ("accuracy", expected)


def test_one_hot_labels_are_classes_and_several_sigmoids_decisions(rng):
    x, ids = data(rng), rng.integers(0, CLASSES, (ROWS, STEPS))
    one_hot = np.eye(CLASSES, dtype=int)[ids]
    model, small = pair(sequences(rng, function="softmax"))
    for vectors in (one_hot, one_hot.astype(bool), one_hot.astype(np.float32)):
        by_ids, by_vectors = (measure(model, small, x, labels=labels).metric for labels in (ids, vectors))
        assert by_ids == by_vectors
    model, small = pair(sequences(rng, function="sigmoid"))
    metric = measure(model, small, x, labels=one_hot).metric
    assert (metric.count, metric.before) == (one_hot.size, ((model(x) >= 0.5) == one_hot).mean())


@pytest.mark.parametrize("metric", ["mse", "mae"])
@pytest.mark.parametrize(("function", "classes"), [("sigmoid", 1), ("sigmoid", CLASSES), ("softmax", CLASSES)])
def test_labels_of_0_and_1_are_numbers_where_asked(rng, function, classes, metric):
    model, small = pair(sequences(rng, function=function, classes=classes))
    x, ids = data(rng), rng.integers(0, max(classes, 2), (ROWS, STEPS))
    labels = ids[..., None] if classes == 1 else np.eye(classes, dtype=int)[ids]
    given = [labels, labels.astype(bool), labels.astype(np.float32), *([ids] if classes == 1 else [])]
    for array in given:
        found = measure(model, small, x, labels=array, metric=metric, batch_size=3).metric
        apart = np.abs(model(x).astype(np.float64) - labels)
        assert (found.name, found.count) == (metric, labels.size)
        assert found.before == pytest.approx((apart**2 if metric == "mse" else apart).mean(), rel=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("odd", [0.5, np.nan, np.inf, 1e30])
def test_ids_of_classes_are_whole_numbers(rng, odd):
    model, small = pair(sequences(rng, function="softmax"))
    labels = np.zeros((ROWS, STEPS))
    labels[2, 3] = odd
    with pytest.raises(fastgru.BadInput, match="ids of classes should be whole numbers"):
        measure(model, small, data(rng), labels=labels)


@pytest.mark.parametrize("kind", ["no steps", "padding", "NaN"])
def test_no_bound_is_met_by_data_without_anything_to_compare(rng, kind):
    model, small = pair(sequences(rng))
    x, lengths = data(rng, steps=0 if kind == "no steps" else STEPS), None
    if kind == "padding":
        lengths = np.zeros(ROWS, int)
    if kind == "NaN":
        x[:] = np.nan
    with pytest.raises(fastgru.BadInput, match="the data leave nothing to compare"):
        measure(model, small, x, lengths=lengths)
    with pytest.raises(fastgru.BadInput, match="the data leave nothing to compare"):
        suggest(model, small, x, lengths=lengths, min_snr=20.0)


def test_numbers_have_errors(rng):
    model, small = pair(sequences(rng))
    x, labels = data(rng), rng.normal(size=(ROWS, STEPS, CLASSES))
    squared = measure(model, small, x, labels=labels, batch_size=3).metric
    absolute = measure(model, small, x, labels={"head": labels}, metric="mae").metric
    assert squared.name == "mse"
    assert squared.before == pytest.approx(((model(x) - labels) ** 2).mean(), rel=1e-12)
    assert absolute.after == pytest.approx(np.abs(small(x) - labels).mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("before", "after", "drop"),
    [(0.0, 0.0, 0.0), (0.0, 1.0, math.inf), (2.0, 1.0, -0.5), (2.0, 2.02, 0.01)],
)
def test_drop_of_what_should_be_small(before, after, drop):
    assert MetricChange("mse", "y", 1, before, after).drop == drop
    assert math.isnan(MetricChange("mse", "y", 1, 0.0, math.nan).drop)
    assert MetricChange("accuracy", "y", 1, 0.9, 0.89).drop == 0.01


# ---- each layer's part, and the search -------------------------------------------------------------------------------


def test_the_layer_that_costs_most_comes_first(rng):
    model, small = pair(sensitive(rng))
    sides = SideBySide(model, data(rng))
    costs = layer_costs(sides, small)
    assert costs[0].name == "second"
    assert {cost.name for cost in costs} == {"first", "second", "third"}
    assert costs[0].report.snr < costs[1].report.snr - 20
    alone = fastgru.Model(narrow(model.graph, "int8", keep_float32=["first", "third"]))
    assert costs[0].report.outputs[0].largest == sides.measure(alone).outputs[0].largest
    assert (costs[0].nbytes, costs[0].nbytes_float32) == (UNITS * UNITS + 8 * UNITS, 4 * UNITS * (UNITS + 1))


def test_the_sensitive_layer_is_suggested(rng):
    model, small = pair(sensitive(rng))
    x = data(rng)
    assert measure(model, small, x).snr < 20
    found = suggest(model, small, x, min_snr=30)
    assert (found.keep_float32, found.is_met) == (("second",), True)
    assert found.report.snr >= 30
    assert found.report.outputs[0].largest == np.abs(found.model(x) - model(x)).max()
    kept = {layer.name: isinstance(layer.kernel, np.ndarray) for layer in found.model.graph.layers}
    assert kept == {"first": False, "second": True, "third": False}


def test_a_layer_is_suggested_by_the_metric(rng):
    graph = sensitive(rng)
    head = dataclasses.replace(graph.layers[2], activation=Activation.of("softmax"))
    model, small = pair(dataclasses.replace(graph, layers=(*graph.layers[:2], head)))
    x = data(rng, rows=30)
    labels = model(x).argmax(-1)
    before = measure(model, small, x, labels=labels).metric
    assert (before.before, before.drop > 0.02) == (1.0, True)
    found = suggest(model, small, x, labels=labels, max_drop=0.02)
    assert found.keep_float32 == ("second",)
    assert found.report.metric.drop <= 0.02


def test_nothing_is_kept_where_nothing_need_be(rng):
    model, small = pair(sequences(rng))
    found = suggest(model, small, data(rng), min_snr=10)
    assert (found.keep_float32, found.is_met, found.runs) == ((), True, 0)
    assert found.model is small


def test_a_bound_that_only_float32_meets(rng):
    model, small = pair(sensitive(rng))
    found = suggest(model, small, data(rng), min_snr=200)
    assert not found.is_met
    assert found.runs <= 2


def test_the_search_ends_with_its_runs(rng):
    layers = [dense(rng, FEATURES, FEATURES, name=f"d{i}", source=f"d{i - 1}" if i else "x", function="tanh")
              for i in range(10)]  # fmt: skip
    model, small = pair(chain(floats(FEATURES), *layers))
    sides = SideBySide(model, data(rng))
    costs = layer_costs(sides, small)
    bound = sides.measure(small).snr + 3
    few, many = (search(sides, small, min_snr=bound, max_runs=runs, costs=costs) for runs in (1, 100))
    assert few.runs == 1
    assert many.is_met
    assert many.runs < 4 + 10
    assert 0 < len(many.keep_float32) < 10
    for name in many.keep_float32:  # none of them is there for nothing
        fewer = [other for other in many.keep_float32 if other != name]
        again = fastgru.Model(narrow(model.graph, "int8", keep_float32=fewer))
        assert sides.measure(again).snr < bound


def test_layers_inside_layers_have_paths(rng):
    inner = chain(floats(FEATURES), gru(rng, FEATURES, UNITS), dense(rng, UNITS, 3, name="head", source="gru",
                  function="tanh"))  # fmt: skip
    spec = tensor_spec("x", None, (4, FEATURES))
    outer = TimeDistributed(name="each", inputs=("x",), graph=inner)
    model, small = pair(Graph((spec,), (outer,), ("each",)))
    x = rng.normal(size=(2, 3, 4, FEATURES)).astype(np.float32)
    sides = SideBySide(model, x)
    costs = layer_costs(sides, small)
    assert {cost.name for cost in costs} == {"each/gru", "each/head"}
    bound = max(cost.report.snr for cost in costs) - 0.01
    found = search(sides, small, min_snr=bound, costs=costs)
    assert found.keep_float32 in (("each/gru",), ("each/head",))
    again = fastgru.Model(narrow(model.graph, "int8", keep_float32=found.keep_float32))
    assert (again(x) == found.model(x)).all()


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


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros((ROWS - 1, STEPS), int), {}, f"labels should have as many rows as data, {ROWS}, have {ROWS - 1}"),
        (np.zeros((ROWS, STEPS + 1), int), {}, rf"should have shape \('rows', {STEPS}\)"),
        (np.zeros((ROWS, STEPS, CLASSES + 1)), {}, r"should have shape \(None, None, 4\)"),
        (np.zeros(ROWS), {}, r"ids of classes; have shape \(7,\)"),
        (np.full((ROWS, STEPS), CLASSES), {}, "ids from 0 to 3, hold 4 to 4"),
        (np.full((ROWS, STEPS), -1), {}, "ids from 0 to 3, hold -1 to -1"),
        (np.full((ROWS, STEPS), 0.5), {}, "should be whole numbers"),
        (np.full((ROWS, STEPS), "a"), {}, "labels should be numbers"),
        ([[1, 2], [3]], {}, "ragged"),
        (np.zeros((ROWS, STEPS), int), {"metric": "mse"}, "'mse' does not fit output 'head'.*accuracy, perplexity"),
        (np.zeros((ROWS, STEPS), int), {"metric": "f1"}, "metric should be one of accuracy, .*, got 'f1'"),
        ({"tail": np.zeros((ROWS, STEPS), int)}, {}, "one output of head; got tail"),
        (None, {"metric": "mse"}, "metric 'mse' needs labels"),
        (None, {"batch_size": 0}, "batch_size should be a positive whole number"),
        (None, {"lengths": [1, 2]}, f"lengths should have {ROWS} rows"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(rng, labels, options, message):
    model, small = pair(sequences(rng))
    with pytest.raises(fastgru.BadInput, match=message):
        measure(model, small, data(rng), labels=labels, **options)


def test_a_decision_has_no_perplexity(rng):
    model, small = pair(sequences(rng, function="sigmoid", classes=1))
    with pytest.raises(fastgru.BadInput, match="labels, which are decisions or numbers: accuracy, mse, mae do"):
        measure(model, small, data(rng), labels=np.zeros((ROWS, STEPS), int), metric="perplexity")


def test_labels_of_ids_are_refused(rng):
    graph = dataclasses.replace(sequences(rng), outputs=("x:mask",))
    model, small = pair(graph)
    with pytest.raises(fastgru.BadInput, match="labels go with an output of numbers"):
        measure(model, small, data(rng), labels=np.zeros((ROWS, STEPS)))
    with pytest.raises(fastgru.BadInput, match="'x:mask' is bool"):
        measure(model, small, data(rng), labels={"x:mask": np.zeros((ROWS, STEPS))})
    with pytest.raises(fastgru.BadInput, match="min_snr is about outputs of numbers"):
        suggest(model, small, data(rng), min_snr=3)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "needs a bound: max_drop or min_snr"),
        ({"max_drop": 0.1}, "needs labels; without them give min_snr"),
        ({"min_snr": math.nan}, "min_snr should be a number of dB"),
        ({"min_snr": 900.0, "max_runs": 0}, "max_runs should be a positive whole number"),
    ],
)
def test_bounds_that_cannot_be_measured(rng, bounds, message):
    model, small = pair(sequences(rng))
    with pytest.raises(fastgru.BadInput, match=message):
        suggest(model, small, data(rng), **bounds)


def test_a_negative_drop_is_refused(rng):
    model, small = pair(sequences(rng))
    with pytest.raises(fastgru.BadInput, match="max_drop should be 0 or more, got -1"):
        suggest(model, small, data(rng), labels=np.zeros((ROWS, STEPS), int), max_drop=-1)


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

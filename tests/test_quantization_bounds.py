"""What narrow networks cost a task: metrics, each layer's part, and the search for layers to keep within a bound."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

import fastgru
from building import chain, dense, embedding, floats, gru, tokens
from fastgru.graph import Activation, Graph, TimeDistributed, tensor_spec
from fastgru.narrowing import narrow
from fastgru.quantization import SideBySide, layer_costs, measure, search, suggest
from fastgru.quantization.metrics import MetricChange
from quantizing import CLASSES, FEATURES, ROWS, STEPS, UNITS, data, pair, sensitive, sequences


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


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

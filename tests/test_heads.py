"""What a network's output holds: probabilities or scores, and what becomes of a softmax at its end."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
from building import chain, dense, floats, gru
from fastgru.generation.heads import Head, with_scores
from fastgru.graph import (
    Activate,
    Activation,
    Combine,
    Dense,
    Graph,
    Identity,
    Layer,
    MatMul,
    Normalize,
    OneHot,
    Reduce,
    Reshape,
    Slice,
    TimeDistributed,
    tensor_spec,
)
from tolerances import check

pytestmark = pytest.mark.dtypes


def numbers(*layers: Layer, outputs: tuple[str, ...] = ("y",)) -> Graph:
    return Graph((tensor_spec("x", None, (4,)),), layers, outputs)


RNG = np.random.default_rng(5)
SOFTMAX = Activation.of("softmax")


@pytest.mark.parametrize(
    ("graph", "is_cut"),
    [
        (numbers(dense(RNG, 4, 6, name="y", source="x", function="softmax")), True),
        (numbers(dense(RNG, 4, 6, name="d", source="x", function="softmax"), Identity(name="y", inputs=("d",))), True),
        (numbers(dense(RNG, 4, 6, name="d", source="x", function="softmax"),
                 Reshape(name="r", inputs=("d",), target=(1, 6), per_step=True),
                 Slice(name="y", inputs=("r",), axis=2, start=0, stop=1, drop=True)), True),
        (numbers(dense(RNG, 4, 6, name="d", source="x", function="linear"),
                 Activate(name="y", inputs=("d",), activation=SOFTMAX)), True),
        (numbers(dense(RNG, 4, 6, name="d", source="x", function="softmax"),
                 Slice(name="y", inputs=("d",), axis=-1, start=1)), False),
        (numbers(dense(RNG, 4, 6, name="y", source="x", function="softmax"), outputs=("y", "y")), False),
    ],
)  # fmt: skip
def test_the_end_of_probabilities(graph: Graph, is_cut: bool) -> None:
    x = RNG.normal(size=(2, 3, 4)).astype("f4")
    made = with_scores(graph, 0, True)
    assert ("log" not in [one.activation.name for one in made.layers if isinstance(one, (Dense, Activate))]) == is_cut
    results = [np.atleast_1d(fastgru.Model(one)(x)) if len(one.outputs) == 1 else fastgru.Model(one)(x)[0]
               for one in (graph, made)]  # fmt: skip
    check(np.exp(results[1]), results[0], "oracle")


def test_logits_become_log_probabilities() -> None:
    graph = numbers(dense(RNG, 4, 6, name="y", source="x", function="linear"))
    made = with_scores(graph, 0, True)
    assert [type(layer) for layer in made.layers] == [Dense]
    x = RNG.normal(size=(2, 3, 4)).astype("f4")
    logits = fastgru.Model(graph)(x).astype(np.float64)
    check(fastgru.Model(made)(x), logits - np.log(np.exp(logits).sum(-1, keepdims=True)), "oracle")
    assert with_scores(made, 0, True) is made


def test_tiny_probabilities_are_not_lost() -> None:
    graph = numbers(Dense(name="y", inputs=("x",), kernel=200 * np.eye(4, dtype="f4"), activation=SOFTMAX))
    x = np.array([[[1, 0, 0, 0]]], "f4")
    assert fastgru.Model(graph)(x)[0, 0, 1] == 0
    assert fastgru.Model(with_scores(graph, 0, True))(x)[0, 0].tolist() == [0, -200, -200, -200]


def test_outputs_that_score_no_tokens() -> None:
    with pytest.raises(fastgru.UnsupportedModel, match="'y' ends in sigmoid, which gives no distribution"):
        with_scores(numbers(dense(RNG, 4, 6, name="y", source="x", function="sigmoid")), 0, True)
    with pytest.raises(fastgru.UnsupportedModel, match="output 'x:mask' holds no scores of tokens"):
        with_scores(numbers(Identity(name="y", inputs=("x",)), outputs=("x:mask",)), 0, True)


def layer(function: str, name: str = "d", source: str = "x") -> Dense:
    return dense(RNG, 4, 6, name=name, source=source, function=function)


def activate(function: str, source: str = "d") -> Activate:
    return Activate(name="y", inputs=(source,), activation=Activation.of(function))


def mixed(*functions: str, operation: str = "average") -> tuple[Layer, ...]:
    parts = tuple(layer(function, f"d{i}") for i, function in enumerate(functions))
    return (*parts, Combine(name="y", inputs=tuple(part.name for part in parts), operation=operation))


@pytest.mark.parametrize(
    ("layers", "functions", "has_softmax"),
    [
        ((layer("linear"),), {"linear"}, False),
        ((layer("log_softmax"),), {"log_softmax"}, False),
        ((layer("softmax"),), {"softmax"}, True),
        ((layer("softmax"), Identity(name="y", inputs=("d",))), {"softmax"}, True),
        ((layer("softmax"), activate("linear")), {"softmax"}, False),
        ((layer("softmax"), activate("abs")), {"softmax"}, False),
        ((layer("softmax"), activate("log")), {"log_softmax"}, False),
        ((layer("softmax"), activate("log_softmax")), {"log_softmax"}, False),
        ((layer("linear"), activate("tanh")), {"tanh"}, False),
        ((TimeDistributed(name="y", inputs=("x",), graph=Graph((tensor_spec("x", False, (4,)),), (layer("softmax"),),
                                                             ("d",))),), {"softmax"}, False),
        (mixed("softmax", "softmax"), {"softmax"}, False),
        (mixed("softmax", "linear", operation="multiply"), {"softmax", "linear"}, False),
        (mixed("sigmoid", "linear", operation="multiply"), {"sigmoid", "linear"}, False),
        ((layer("softmax"), Reshape(name="r", inputs=("d",), target=(2, 3), per_step=True),
          Reduce(name="y", inputs=("r",), function="mean", axis=2)), {"softmax"}, False),
        ((layer("softmax"), Normalize(name="y", inputs=("d",), function="layer", epsilon=1e-3)), {"linear"}, False),
        ((layer("softmax"), gru(RNG, 6, 5, name="y", source="d", return_sequences=True)), {"linear"}, False),
        ((layer("softmax"), layer("linear", "e"), MatMul(name="y", inputs=("d", "e"), transpose_b=True)), {"linear"},
         False),
    ],
    ids=str,
)  # fmt: skip
def test_what_numbers_come_out_of(layers: tuple[Layer, ...], functions: set[str], has_softmax: bool) -> None:
    head = Head.of(chain(floats(4, 3), *layers), 0)
    assert (head.functions, head.has_softmax) == (functions, has_softmax)
    assert head.holds_probabilities == ("softmax" in functions)


def test_one_hot_vectors_chosen_by_softmax_are_probabilities() -> None:
    """As pointer networks make them: weights of the steps that were read."""
    read = OneHot(name="read", inputs=("ids",), vocabulary=9)
    choice = MatMul(name="y", inputs=("d", "read"))
    graph = Graph((floats(4), tensor_spec("ids", 6, (), "int32")), (read, layer("softmax"), choice), ("y",))
    assert Head.of(graph, 0).functions == {"softmax"}
    choice = MatMul(name="y", inputs=("d", "given"))
    given = Graph((floats(4), tensor_spec("given", 6, (9,))), (layer("softmax"), choice), ("y",))
    assert Head.of(given, 0).functions == {"softmax"}


@pytest.mark.parametrize("layers", [mixed("sigmoid", "hard_sigmoid"), (layer("linear"), activate("sigmoid"))], ids=str)
def test_sigmoids_are_refused_wherever_they_stand(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(fastgru.UnsupportedModel, match=r"'y' ends in .*sigmoid, which gives no distribution"):
        Head.of(chain(floats(4), *layers), 0)


def test_values_that_many_read_are_looked_at_once() -> None:
    layers: list[Layer] = [layer("softmax", "d0")]
    for i in range(200):
        layers.append(Combine(name=f"d{i + 1}", inputs=(f"d{i}", f"d{i}"), operation="average"))
    assert Head.of(chain(floats(4), *layers), 0).functions == {"softmax"}

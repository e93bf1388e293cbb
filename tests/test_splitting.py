"""Encoder–decoders that stand in one network, as they were trained, cut into both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from building import dense, gru, uniform
from fastgru.generation import split
from fastgru.graph import Attention, Combine, Embedding, Graph, Layer, tensor_spec
from test_beams import END, START, folder

pytestmark = pytest.mark.dtypes

__all__ = ["folder"]  # a fixture
SOURCE, TARGET = (tensor_spec(name, None, (), "int32") for name in ("source", "target"))


def trained(*, attention: bool = False, begins: tuple[bool, ...] = (True,), **options: Any) -> Graph:
    """`options` of the decoder's GRUs."""
    rng = np.random.default_rng(1)
    layers: list[Layer] = [
        Embedding(name="read", inputs=("source",), table=uniform(rng, 9, 8, scale=3)),
        gru(rng, 8, 8, name="encoder", source="read", scale=3, return_sequences=True),
        Embedding(name="written", inputs=("target",), table=uniform(rng, 6, 8, scale=3)),
    ]
    for i, begun in enumerate(begins):
        read = (layers[-1].name, "encoder:state") if begun else (layers[-1].name,)
        layers.append(gru(rng, 8, 8, name=f"decoder{i}", inputs=read, scale=3, return_sequences=True, **options))
    if attention:
        seen = Attention(name="seen", inputs=(layers[-1].name, "encoder", "encoder"))
        layers += [seen, Combine(name="both", inputs=(layers[-1].name, "seen"), operation="add")]
    layers.append(dense(rng, 8, 6, name="scores", source=layers[-1].name, function="softmax"))
    return Graph((SOURCE, TARGET), tuple(layers), ("scores",))


@pytest.mark.parametrize("name", ["additive_keras3", "multiplicative_keras2"])
def test_networks_that_were_trained(name: str, folder: Path) -> None:
    """What is cut finds what the encoder and the decoder do that were saved beside; the second masks no padding."""
    encoder, decoder, whole = (
        fastgru.load(folder / name / f"{part}.keras") for part in ("encoder", "decoder", "training")
    )
    with np.load(folder / name / "answers.npz") as answers:
        sources = [row[: np.count_nonzero(row)] for row in answers["source"]]
    options: dict[str, Any] = {"start": START, "stop": END, "beams": 3}
    expected = fastgru.generate((encoder, decoder), sources, **options)
    assert fastgru.generate(split(whole), sources, **options) == expected


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("begins", [(True,), (True, True), (True, False)])
def test_scores_are_those_of_the_whole(attention: bool, begins: tuple[bool, ...]) -> None:
    """Each token's probability, behind a source and the tokens before it, as the network gives it for all at once."""
    whole = fastgru.Model(trained(attention=attention, begins=begins))
    if attention and not all(begins):
        with pytest.raises(fastgru.UnsupportedModel, match="'decoder1' begins with a state that the encoder does not"):
            split(whole)
        return
    source = np.array([[3, 1, 4, 1, 5]])
    found = fastgru.generate(split(whole), source[0], start=START, beams=4, max_tokens=6)
    assert len({one.tokens for one in found}) == 4
    for one in found:
        scores = whole(source, np.array([[START, *one.tokens[:-1]]]))[0]
        np.testing.assert_allclose(one.score, np.log(scores[range(6), one.tokens]).sum(), atol=1e-5)


def test_a_learned_initial_state() -> None:
    """Stands in the decoder, which carries its states itself."""
    whole = fastgru.Model(trained(begins=(True, False), without=()))
    source = np.array([[3, 1, 4]])
    [best] = fastgru.generate(split(whole), source[0], start=START, beams=1, max_tokens=5)
    scores = whole(source, np.array([[START, *best.tokens[:-1]]]))[0]
    np.testing.assert_allclose(best.score, np.log(scores[range(5), best.tokens]).sum(), atol=1e-5)


def test_the_cut_is_where_the_target_comes_in() -> None:
    encoder, decoder = split(fastgru.Model(trained(attention=True)))
    assert [layer.name for layer in encoder.graph.layers] == ["read", "encoder"]
    assert [spec.name for spec in encoder.outputs] == ["decoder0_begin", "encoder"]
    assert [spec.name for spec in decoder.inputs] == ["target", "decoder0_begin", "encoder"]
    assert [spec.name for spec in decoder.outputs] == ["scores", "decoder0:state"]
    swapped = trained()
    swapped = Graph(swapped.inputs[::-1], swapped.layers, swapped.outputs)
    assert [spec.name for spec in split(fastgru.Model(swapped))[0].inputs] == ["source"]


def test_networks_that_cannot_be_split() -> None:
    one = Graph((SOURCE,), trained().layers[:2], ("encoder",))
    back = trained(go_backwards=True)
    last = Graph((SOURCE, TARGET), trained().layers, ("decoder0:state",))
    apart = Graph((SOURCE, TARGET), trained(begins=(False,)).layers, ("scores",))
    aside = trained().layers
    beside = Combine(name="sum", inputs=("decoder0", "encoder"), operation="add")
    for graph, message in (
        (one, "reads the sequences of source and target, and gives one output; this one reads 'source' (None, None)"),
        (back, "GRU layer 'decoder0' may see steps of 'target' that are yet to come"),
        (last, "output 'decoder0:state' has not the steps of 'target'"),
        (apart, "nothing of what reads 'source' goes into what reads 'target'"),
        (Graph((SOURCE, TARGET), (*aside, beside), ("sum",)), "reads steps of 'encoder' side by side with those of"),
    ):
        with pytest.raises(fastgru.UnsupportedModel, match=re.escape(message)):
            split(fastgru.Model(graph))

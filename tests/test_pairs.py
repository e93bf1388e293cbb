"""Encoders and decoders as pairs: what of the one goes where in the other, and what they are given."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fastgru
from building import dense, embedding, gru, tokens, uniform
from fastgru.generation.pairs import Pair, Sources
from fastgru.generation.wiring import Wiring, find_wiring
from fastgru.graph import (
    Attention,
    Combine,
    Embedding,
    Graph,
    Layer,
    TensorSpec,
    tensor_spec,
)  # fmt: skip
from fastgru.ports import Port
from test_beams import search

pytestmark = pytest.mark.dtypes

CLASSES, UNITS = 5, 8


def an_encoder(*outputs: str, units: tuple[int, ...] = (UNITS, UNITS)) -> Graph:
    """GRUs `gru0`, `gru1`, … one on the other."""
    rng = np.random.default_rng(7)
    layers: list[Layer] = [embedding(rng, 9, UNITS)]
    for i, size in enumerate(units):
        before = layers[-1].name
        features = UNITS if i == 0 else units[i - 1]
        layers.append(gru(rng, features, size, name=f"gru{i}", source=before, return_sequences=True, scale=3))
    return Graph((tokens(),), tuple(layers), outputs)


def a_decoder(
    *outputs: str,
    states: tuple[str, ...] = ("state",),
    fixed: tuple[TensorSpec, ...] = (),
    ports: dict[str, Any] | None = None,
    classes: int = CLASSES,
) -> Graph:
    """GRUs `decoder0`, … that begin with `states`; `fixed` are further inputs, which an Attention or a Concatenate
    puts before the scores."""
    rng = np.random.default_rng(8)
    layers: list[Layer] = [Embedding(name="words", inputs=("word",), table=uniform(rng, classes, UNITS, scale=3))]
    for i, state in enumerate(states):
        begin = (layers[-1].name, state) if state else (layers[-1].name,)
        layers.append(gru(rng, UNITS, UNITS, name=f"decoder{i}", inputs=begin, return_sequences=True, scale=3))
    last = layers[-1].name
    for spec in fixed:
        layers.append(Attention(name=f"seen_{spec.name}", inputs=(last, spec.name, spec.name)))
        layers.append(Combine(name=f"both_{spec.name}", inputs=(last, layers[-1].name), operation="add"))
        last = layers[-1].name
    layers.append(dense(rng, UNITS, classes, name="scores", source=last, function="softmax"))
    begins = tuple(tensor_spec(name, False, (UNITS,)) for name in states if name)
    inputs = (tensor_spec("word", None, (), "int32"), *begins, *fixed)
    return Graph(inputs, tuple(layers), outputs, **(ports or {}))


KEYS = tensor_spec("keys", None, (UNITS,))


# ---- wiring ----------------------------------------------------------------------------------------------------------


def test_states_by_what_grus_begin_and_end_with_and_the_rest_by_shape() -> None:
    encoder, decoder = an_encoder("gru1", "gru1:state"), a_decoder("decoder0:state", "scores", fixed=(KEYS,))
    expected = Wiring("word", "scores", {"state": ("gru1:state", "decoder0:state")}, {"keys": "gru1"})
    assert find_wiring(encoder, decoder) == expected


def test_several_states_in_order_or_by_name() -> None:
    decoder = a_decoder("scores", "decoder1:state", "decoder0:state", states=("h0", "h1"))
    found = find_wiring(an_encoder("gru0:state", "gru1:state"), decoder)
    assert found.states == {"h0": ("gru0:state", "decoder0:state"), "h1": ("gru1:state", "decoder1:state")}
    named = a_decoder("scores", "decoder0:state", "decoder1:state", states=("gru1_state", "gru0_state"))
    found = find_wiring(an_encoder("gru0:state", "gru1:state"), named)
    ends = {"gru1_state": ("gru1:state", "decoder0:state"), "gru0_state": ("gru0:state", "decoder1:state")}
    assert found.states == ends


def test_a_decoder_that_carries_its_state_itself() -> None:
    found = find_wiring(an_encoder("gru0:state"), a_decoder("scores", states=("h0",)))
    assert found == Wiring("word", "scores", {}, {"h0": "gru0:state"})


def test_wiring_that_is_given() -> None:
    encoder = an_encoder("gru0:state", "gru1:state", "gru1")
    decoder = a_decoder("scores", "decoder0:state", fixed=(KEYS,))
    with pytest.raises(fastgru.BadInput) as error:
        find_wiring(encoder, decoder)
    assert str(error.value) == (
        "what of the encoder goes into the decoder's input 'state' (None, 8)? 2 of its outputs fit: 'gru0:state', "
        "'gru1:state'; say which with wiring={'state': …} with one of 'gru0:state', 'gru1:state', 'gru1'"
    )
    for given in ({"state": "gru0:state"}, {"state": ("gru0:state", "decoder0:state"), "word": "scores"}):
        found = find_wiring(encoder, decoder, given)
        assert found == Wiring("word", "scores", {"state": ("gru0:state", "decoder0:state")}, {"keys": "gru1"})
    found = find_wiring(encoder, decoder, {"state": (None, "decoder0:state")})
    assert found.states == {"state": (None, "decoder0:state")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["state"], "wiring should be a dict of the decoder's inputs, got list"),
        ({"h": "gru0:state"}, "the decoder has no input 'h', only 'word', 'state', 'keys'"),
        ({"state": "h"}, "should be one of 'gru0:state', 'gru1', 'x', 'scores', 'decoder0:state', got 'h'"),
        ({"state": ("h", "decoder0:state")}, "wiring['state'] should be (encoder's, decoder's output) of"),
        ({"state": ("gru0:state", "h")}, "wiring['state'] should be (encoder's, decoder's output) of"),
        ({"state": "gru1"}, "input 'state' takes (None, 8), the encoder's output 'gru1' is (None, None, 8)"),
        ({"state": (None, "scores")}, "takes (None, 8), the decoder's output 'scores' is (None, None, 5)"),
        ({"state": "x"}, "the decoder's input 'state' (None, 8) is no mask of 'x'"),
    ],
)  # fmt: skip
def test_wiring_that_cannot_be(given: Any, message: str) -> None:
    encoder, decoder = an_encoder("gru0:state", "gru1"), a_decoder("scores", "decoder0:state", fixed=(KEYS,))
    with pytest.raises(fastgru.BadInput, match=re.escape(message)):
        find_wiring(encoder, decoder, given)


def test_pairs_that_do_not_belong_together() -> None:
    with pytest.raises(fastgru.BadInput, match="none of its outputs fits"):
        find_wiring(an_encoder("gru1"), a_decoder("scores", "decoder0:state"))
    with pytest.raises(fastgru.BadInput, match="outputs 'scores', 'decoder0', one should score the next token"):
        find_wiring(an_encoder("gru1:state"), a_decoder("scores", "decoder0", "decoder0:state"))
    hidden = a_decoder("scores", "decoder0:state", states=("state", ""))
    with pytest.raises(fastgru.UnsupportedModel, match="state of GRU layer 'decoder1' is carried from step to step"):
        find_wiring(an_encoder("gru1:state"), hidden)
    floats = Graph((tensor_spec("x", None, (3,)),), (dense(np.random.default_rng(0), 3, 4, name="y", source="x",
                   function="softmax"),), ("y",))  # fmt: skip
    with pytest.raises(fastgru.BadInput, match="the decoder's input of the last token is none of 'x'"):
        find_wiring(an_encoder("gru1:state"), floats)


def test_given_wiring_is_what_runs() -> None:
    """Two GRUs the other way round, against plain calls."""
    encoder = fastgru.Model(an_encoder("gru0:state", "gru1:state"))
    decoder = fastgru.Model(a_decoder("scores", "decoder0:state", "decoder1:state", states=("a", "b")))
    source = np.array([[3, 1, 4, 1]])
    second, first = encoder(source)
    wiring = {"a": ("gru1:state", "decoder0:state"), "b": ("gru0:state", "decoder1:state")}
    [[best]] = search(Pair(encoder, decoder, wiring), source, beams=1, stop=())
    word, found, total = 1, [], 0.0
    while len(found) < 8:
        scores, first, second = decoder(np.array([[word]]), first, second)
        word = int(scores[0, 0].argmax())
        total += np.log(scores[0, 0, word])
        found.append(word)
    assert best.tokens == tuple(found)
    assert abs(best.score - total) < 1e-5


def test_ports() -> None:
    """ONNX' layout: time first, states (layers, batch, units)."""
    decoder = a_decoder("scores", "decoder0:state", fixed=(KEYS,))
    plain = Pair(fastgru.Model(an_encoder("gru1", "gru1:state")), fastgru.Model(decoder))
    state = Port("h", (1, UNITS), ((1,), (0,), (2,)))
    outputs = (Port("y", (UNITS,), ((1,), (0,), (2,))), Port("h_n", state.sizes, state.axes))
    encoder = an_encoder("gru1", "gru1:state")
    encoder = Graph(encoder.inputs, encoder.layers, encoder.outputs,
                    input_ports=(Port("src", (), ((1,), (0,)), "int64"),), output_ports=outputs)  # fmt: skip
    word = Port("token", (), ((1,), (0,)), "int64")
    keys = Port("memory", (UNITS,), ((1,), (0,), (2,)))
    ports = {"input_ports": (word, state, keys), "states": (("h", "h_out"),),
             "output_ports": (Port("logits", (CLASSES,), ((1,), (0,), (2,))),
                              Port("h_out", state.sizes, state.axes))}  # fmt: skip
    decoder = a_decoder("scores", "decoder0:state", fixed=(KEYS,), ports=ports)
    ported = Pair(fastgru.Model(encoder), fastgru.Model(decoder))
    assert ported.wiring == Wiring("token", "logits", {"h": ("h_n", "h_out")}, {"memory": "y"})
    sources = [[1, 2, 3], [4, 5], [6, 7, 8]]
    assert search(ported, sources) == search(plain, sources)


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_sources_of_every_form() -> None:
    pair = Pair(*map(fastgru.Model, (an_encoder("gru1:state"), a_decoder("scores", "decoder0:state"))))
    [one] = search(pair, [1, 2, 3])
    for given in (np.array([1, 2, 3]), (1, 2, 3), np.array([[1, 2, 3]]), [[1, 2, 3]], {"x": np.array([[1, 2, 3]])}):
        assert search(pair, given) == [one]
    assert not Sources(pair.encoder, [1, 2]).is_batch
    assert Sources(pair.encoder, [[1, 2]]).is_batch


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "should have shape (None,) or, several, (None, None); got ()"),
        ([[1], [[2]]], "sources for input 'x' should have shape (None,); one has (1, 1)"),
        ([[[1, [2]]]], "should have shape (None,); got a ragged list"),
        ([1, 99], "token id 99"),
        ([[1, 2], []], "a source should have at least one step"),
        ([], "a source should have at least one step"),
        (np.zeros((0, 3), int), "there should be at least one source"),
        ("a text", "the encoder has no text front end"),
        ({"y": [[1]]}, "a dict of arrays, batch first, for its inputs 'x'; got ['y']"),
        ([[0.5]], "not whole numbers"),
    ],
)
def test_bad_sources(source: Any, message: str) -> None:
    pair = Pair(*map(fastgru.Model, (an_encoder("gru1:state"), a_decoder("scores", "decoder0:state"))))
    with pytest.raises(fastgru.BadInput, match=re.escape(message)):
        search(pair, source)

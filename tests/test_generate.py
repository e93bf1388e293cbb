"""Generating: what networks give for a prompt, against NumPy's own way through the same networks and against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgru
from building import bidirectional, chain, dense, embedding, floats, gru, tokens
from fastgru import BadInput, Model, UnsupportedModel, generate
from fastgru.generation.network import Network
from fastgru.graph import Activate, Activation, Combine, Dense, Graph, Reshape, Slice, tensor_spec
from generating import CHARACTERS, COUNT, PROMPT, ids_of, logits_of, network, reference, text_of
from sampling import ReferenceSampler

pytestmark = pytest.mark.dtypes

# ---- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"top_k": 5, "repetition_penalty": 1.4}], ids=str)
@pytest.mark.parametrize(
    "graph",
    [
        network(),
        network(sequences=False),
        network(one_hot=True),
        network(one_hot=True, sequences=False, reset_after=False),
        network(function="log_softmax"),
    ],
    ids=["sequences", "last", "one-hot", "one-hot last", "log_softmax"],
)
def test_against_numpy(graph: Graph, options: dict[str, Any], isa: str) -> None:
    generation = generate(Model(graph), ids_of(PROMPT), max_tokens=60, seed=3, **options).run()
    assert generation.tokens == reference(logits_of(graph), ids_of(PROMPT), 60, seed=3, **options)
    assert len(set(generation.tokens)) > 1


def test_softmax_is_cut_off() -> None:
    """Wherever it stands, the tokens are those of the logits."""
    graph = network()
    softmax = Activate(name="p", inputs=("y",), activation=Activation("softmax"))
    last = Slice(name="last", inputs=("p",), axis=1, start=-1, drop=True)
    shaped = Reshape(name="shaped", inputs=("p",), target=(COUNT,), per_step=True)
    expected = generate(Model(graph), ids_of(PROMPT), max_tokens=100, seed=1).run().tokens
    networks = [chain(tokens(), *graph.layers, *tail) for tail in ((softmax,), (softmax, last), (softmax, shaped))]
    for made in (network(function="softmax"), *networks):
        assert not Network.of(Model(made)).probabilities
        assert generate(Model(made), ids_of(PROMPT), max_tokens=100, seed=1).run().tokens == expected


def test_softmax_that_cannot_be_cut_off() -> None:
    """The mean of two networks' probabilities, whose logarithms stand for logits."""
    graph, rng = network(), np.random.default_rng(0)
    other = dense(rng, 24, COUNT, name="other", source="gru", function="softmax")
    softmax = Activate(name="p", inputs=("y",), activation=Activation("softmax"))
    mean = Combine(name="mean", inputs=("p", "other"), operation="average")
    made = chain(tokens(), *graph.layers, softmax, other, mean)
    assert Network.of(Model(made)).probabilities
    got = generate(Model(made), ids_of(PROMPT), max_tokens=100, seed=1, top_p=0.9, logprobs=True)
    answer, ids = logits_of(made), ids_of(PROMPT)
    for token in got:
        assert token.logprob == pytest.approx(np.log(answer(ids)[token.id]), abs=2e-5)
        ids.append(token.id)
    assert got.tokens == reference(lambda ids: np.log(answer(ids)), ids_of(PROMPT), 100, seed=1, top_p=0.9)


def test_bits_do_not_depend_on_the_isa(monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]) -> None:
    answers = set()
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        generation = generate(Model(network(97)), ids_of(PROMPT), max_tokens=400, seed=6, logprobs=True)
        answers.add(tuple(generation))
    assert len(answers) == 1


def test_networks_that_must_see_everything(isa: str) -> None:
    """A bidirectional network reads all tokens so far for each."""
    rng = np.random.default_rng(1)
    both = bidirectional(rng, 8, 12, source="embedding", return_sequences=False, scale=2.0)
    for tail in (both, bidirectional(rng, 8, 12, source="embedding", scale=2.0)):
        head = dense(rng, 24, COUNT, name="y", source="both", function="softmax")
        graph = chain(tokens(), embedding(rng, COUNT, 8), *tail, head)
        model = Model(graph)
        assert not Network.of(model).streams
        got = generate(model, ids_of(PROMPT), max_tokens=30, seed=2).run().tokens
        linear = Dense(**{**vars(head), "activation": Activation("linear")})
        plain = Graph(graph.inputs, (*graph.layers[:-1], linear), ("y",))
        assert got == reference(logits_of(plain), ids_of(PROMPT), 30, seed=2)
        several = generate(model, [ids_of(PROMPT), ids_of("a cat")], max_tokens=30, seed=2).run()
        assert several.tokens[0] == got
        assert several.tokens[1] == generate(model, ids_of("a cat"), max_tokens=30, seed=(2, 1)).run().tokens


@pytest.mark.parametrize("sequences", [True, False])
def test_windows(sequences: bool, isa: str) -> None:
    graph = network(sequences=sequences)
    model = Model(graph)
    for window in (1, 5, 40):
        got = generate(model, ids_of(PROMPT), max_tokens=130, window=window, seed=4).run().tokens
        assert got == reference(logits_of(graph), ids_of(PROMPT), 130, window, seed=4)


def fixed(steps: int, mask_zero: bool = False) -> Graph:
    """A network that reads so many steps, no more and no fewer."""
    rng = np.random.default_rng(9)
    flat = Reshape(name="flat", inputs=("gru",), target=(steps * 10,))
    table = embedding(rng, COUNT, 8, mask_zero=mask_zero)
    cell = gru(rng, 8, 10, source="embedding", return_sequences=True, mask="embedding:mask" if mask_zero else None)
    head = dense(rng, steps * 10, COUNT, name="y", source="flat", function="linear")
    return chain(tensor_spec("x", steps, (), "int32"), table, cell, flat, head)


def test_networks_of_a_fixed_number_of_steps() -> None:
    graph = fixed(7)
    model = Model(graph)
    expected = reference(logits_of(graph), ids_of(PROMPT), 40, 7, seed=5)
    assert generate(model, ids_of(PROMPT), max_tokens=40, seed=5).run().tokens == expected
    assert generate(model, ids_of(PROMPT), max_tokens=40, seed=5, window=7).run().tokens == expected
    with pytest.raises(BadInput, match="window should be 7, the number of steps that the network reads, got 8"):
        generate(model, ids_of(PROMPT), window=8)
    with pytest.raises(BadInput, match="the network reads 7 tokens at once, but the prompt has 2; pad= fills it up"):
        generate(model, [0, 1])


def test_padding_stands_before_short_prompts() -> None:
    graph = fixed(7, mask_zero=True)
    got = generate(Model(graph), [3, 4, 5], max_tokens=30, seed=5, pad=0, repetition_penalty=1.2).run().tokens
    sampler, ids = ReferenceSampler(seed=5, repetition_penalty=1.2, banned=[0]), [0, 0, 0, 0, 3, 4, 5]
    sampler.see([3, 4, 5])
    for _ in range(30):
        ids.append(sampler.choose(logits_of(graph)(ids[-7:]).astype(np.float32)))
    assert got == ids[7:]
    with pytest.raises(BadInput, match="pad goes with window"):
        generate(Model(network()), [3], pad=0)


def test_masked_zeros_are_never_chosen() -> None:
    rng = np.random.default_rng(3)
    table = embedding(rng, COUNT, 8, mask_zero=True)
    cell = gru(rng, 8, 10, source="embedding", return_sequences=True, mask="embedding:mask")
    kernel, bias = np.zeros((10, COUNT), np.float32), np.zeros(COUNT, np.float32)
    bias[[0, 4]] = 5, 4
    graph = chain(tokens(), table, cell, Dense(name="y", inputs=("gru",), kernel=kernel, bias=bias))
    assert generate(Model(graph), [1], temperature=0, max_tokens=5).run().tokens == [4] * 5
    assert generate(Model(graph), [1, 0, 2], temperature=0, max_tokens=2).run().tokens == [4] * 2
    assert 4 not in generate(Model(graph), [1], ban=[4], max_tokens=50, seed=0).run().tokens


def test_states_as_inputs_are_carried() -> None:
    """As exporters write stateful networks: the state is an input and an output."""
    rng = np.random.default_rng(8)
    table, cell, head = network().layers
    cell = type(cell)(**{**vars(cell), "inputs": ("embedding", "h_in")})
    specs = (tokens(), tensor_spec("h_in", False, (24,)))
    graph = Graph(specs, (table, cell, head), ("y", "gru:state"), states=(("h_in", "gru:state"),))
    got = generate(Model(graph), ids_of(PROMPT), max_tokens=50, seed=3).run().tokens
    assert got == generate(Model(network()), ids_of(PROMPT), max_tokens=50, seed=3).run().tokens
    mixed = dense(rng, 24, 24, name="mixed", source="gru:state", function="tanh")
    moved = Graph(specs, (table, cell, head, mixed), ("y", "mixed"), states=(("h_in", "mixed"),))
    with pytest.raises(UnsupportedModel, match="input 'h_in' is no initial state of its GRUs"):
        generate(Model(moved), ids_of(PROMPT))


def test_states_are_found_where_the_source_does_not_name_them() -> None:
    """As Keras' functional networks take and give them, and modules of PyTorch give them beside the logits."""
    table, cell, head = network().layers
    begun = type(cell)(**{**vars(cell), "inputs": ("embedding", "h_in")})
    expected = generate(Model(network()), ids_of(PROMPT), max_tokens=50, seed=3).run().tokens
    for graph in (
        Graph((tokens(), tensor_spec("h_in", False, (24,))), (table, begun, head), ("gru:state", "y")),
        Graph((tokens(),), (table, cell, head), ("y", "gru:state")),
    ):
        assert generate(Model(graph), ids_of(PROMPT), max_tokens=50, seed=3).run().tokens == expected


def _two_outputs() -> Graph:
    graph = network()
    return Graph(graph.inputs, graph.layers, ("y", "gru"))


def _ending_in(function: str) -> Graph:
    return network(function=function)


def _smaller_table() -> Graph:
    rng = np.random.default_rng(0)
    return chain(tokens(), embedding(rng, COUNT - 1, 8), *network().layers[1:])


def _floats() -> Graph:
    rng = np.random.default_rng(0)
    return chain(floats(3), gru(rng, 3, 5), dense(rng, 5, 4, name="y", source="gru", function="softmax"))


def _no_time() -> Graph:
    rng = np.random.default_rng(0)
    return chain(tensor_spec("x", False, (4,)), dense(rng, 4, 4, name="y", source="x", function="softmax"))


def _beside() -> Graph:
    graph = network()
    return Graph((*graph.inputs, tensor_spec("z", False, (2,))), graph.layers, ("y",))


@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        (_two_outputs(), "the network gives 'y' .*, 'gru' .*; generation needs one output"),
        (_ending_in("sigmoid"), "output 'y' ends in sigmoid, .*; generation needs logits or softmax"),
        (_smaller_table(), f"chooses among {COUNT} tokens, but reads ids below {COUNT - 1} alone"),
        (_floats(), "vectors of 3 numbers, which are not one-hot vectors of the 4 tokens"),
        (_no_time(), "the network reads 'x' .*; generation takes one sequence"),
        (_beside(), "the network reads 'x' .*, 'z' .*; generation takes one sequence"),
    ],
)
def test_networks_that_cannot_read_what_they_give(graph: Graph, fault: str) -> None:
    with pytest.raises(UnsupportedModel, match=fault):
        generate(Model(graph), [0, 1])


def test_numbers_that_are_none() -> None:
    graph = network()
    head = graph.layers[2]
    bias = np.zeros(COUNT, np.float32)
    bias[3] = np.nan
    model = Model(chain(tokens(), *graph.layers[:2], Dense(**{**vars(head), "bias": bias})))
    with pytest.raises(BadInput, match="cannot choose a token: id 3 has nan"):
        next(generate(model, [0]))


# ---- Keras ---------------------------------------------------------------------------------------------------------


@pytest.mark.dtypes("float32")  # Keras holds its weights in float32
@pytest.mark.parametrize("kind", ["embedding", "one-hot"])
def test_text_equals_a_reference_sampler_on_keras_logits(kind: str) -> None:
    """300 characters for a seed, Keras stepping through a stateful network."""
    from keras_live import keras

    keras.utils.set_random_seed(1)
    wide = keras.initializers.RandomNormal(stddev=0.5)
    shape = (1, 1) if kind == "embedding" else (1, 1, COUNT)
    start = [keras.layers.Embedding(COUNT, 16)] if kind == "embedding" else []
    theirs = keras.Sequential([
        keras.Input(batch_shape=shape, dtype="int32" if kind == "embedding" else "float32"),
        *start,
        keras.layers.GRU(48, return_sequences=True, stateful=True, kernel_initializer=wide),
        keras.layers.Dense(COUNT, kernel_initializer=wide),
    ])  # fmt: skip
    eye = np.eye(COUNT, dtype=np.float32)

    def step(token: int) -> np.ndarray:
        x = np.array([[token]]) if kind == "embedding" else eye[[[token]]]
        return np.array(theirs(x))[0, -1]

    sampler, made = ReferenceSampler(seed=17, temperature=0.8), []
    for token in ids_of(PROMPT):
        logits = step(token)
    for _ in range(300):
        made.append(sampler.choose(logits))
        logits = step(made[-1])
    ours = fastgru.from_keras(theirs)
    text = text_of(ours, PROMPT, seed=17, temperature=0.8, max_tokens=300)
    assert text == "".join(CHARACTERS[token] for token in made)

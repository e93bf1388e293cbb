"""Generating: what networks give for a prompt, against NumPy's own way through the same networks and against Keras."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import VECTOR_ISAS, bidirectional, chain, dense, embedding, floats, gru, tokens
from fastgru import BadInput, Model, UnsupportedModel, generate
from fastgru import _core as core
from fastgru.generation import BatchGeneration, Generation, Token, Vocabulary
from fastgru.generation.network import Network
from fastgru.graph import (
    Activate,
    Activation,
    Combine,
    Dense,
    Embedding,
    Graph,
    Reshape,
    Slice,
    tensor_spec,
)
from sampling import ReferenceSampler

CHARACTERS = list("abcdefghijklmnopqrst .,\n'")
COUNT = len(CHARACTERS)
PROMPT = "on a page, a lot"


def network(
    units: int = 24, *, function: str = "linear", sequences: bool = True, one_hot: bool = False, **options: Any
) -> Graph:
    """A network of characters whose answers differ widely."""
    rng = np.random.default_rng(units)
    cell = gru(rng, COUNT if one_hot else 8, units, source="x" if one_hot else "embedding", scale=2.0,
               return_sequences=sequences, **options)  # fmt: skip
    head = dense(rng, units, COUNT, name="y", source="gru", function="linear")
    head = Dense(**{**vars(head), "kernel": head.kernel * 3, "activation": Activation.of(function)})
    if one_hot:
        return chain(floats(COUNT), cell, head)
    return chain(tokens(), embedding(rng, COUNT, 8), cell, head)


def ids_of(text: str) -> list[int]:
    return [CHARACTERS.index(character) for character in text]


def logits_of(graph: Graph) -> Callable[[list[int]], np.ndarray]:
    """A network's own answer behind a sequence, in float64."""

    def answer(ids: list[int]) -> np.ndarray:
        spec = graph.inputs[0]
        x = np.array([ids]) if spec.dtype == "int32" else np.eye(COUNT, dtype=np.float32)[[ids]]
        y = oracle.run(graph, {"x": x})[0]
        return y[0, -1] if y.ndim == 3 else y[0]

    return answer


def reference(
    logits: Callable[[list[int]], np.ndarray], prompt: list[int], count: int, window: int | None = None, **options: Any
) -> list[int]:
    """The tokens that a loop in NumPy generates."""
    sampler, ids = ReferenceSampler(**options), list(prompt)
    sampler.see(prompt)
    for _ in range(count):
        ids.append(sampler.choose(logits(ids if window is None else ids[-window:]).astype(np.float32)))
    return ids[len(prompt) :]


def text_of(*args: Any, **options: Any) -> str:
    return str(generate(*args, vocabulary=CHARACTERS, **options))


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


def test_bits_do_not_depend_on_the_isa(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = set()
    for isa in VECTOR_ISAS:
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
        (_ending_in("sigmoid"), "output 'y' ends in sigmoid; generation needs logits or softmax"),
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


# ---- the iterator ----------------------------------------------------------------------------------------------------


def test_tokens_come_as_they_are_made() -> None:
    seen: list[Token] = []
    generation = generate(Model(network()), PROMPT, vocabulary=CHARACTERS, max_tokens=20, seed=1, callback=seen.append)
    assert isinstance(generation, Generation)
    assert (generation.text, generation.tokens, generation.finish, generation.seed) == ("", [], None, (1, 0))
    first = next(generation)
    assert first == Token(generation.tokens[0], CHARACTERS[generation.tokens[0]], None)
    assert (seen, generation.text) == ([first], first.text)
    assert "1 tokens, unfinished" in repr(generation)
    rest = list(generation)
    assert [first, *rest] == seen
    assert generation.text == "".join(str(token.text) for token in seen)
    assert (len(seen), generation.finish) == (20, "length")
    assert list(generation) == []
    assert str(generation) == generation.text


def test_without_a_vocabulary_there_are_ids() -> None:
    generation = generate(Model(network()), ids_of(PROMPT), max_tokens=5, seed=1)
    assert [token.text for token in generation] == [None] * 5
    assert generation.text is None
    assert str(generation) == " ".join(map(str, generation.tokens))
    assert text_of(Model(network()), ids_of(PROMPT), max_tokens=5, seed=1) == text_of(
        Model(network()), PROMPT, max_tokens=5, seed=1
    )


def test_seeds() -> None:
    model = Model(network())
    texts = {text_of(model, PROMPT, max_tokens=40, seed=seed) for seed in range(5)}
    assert len(texts) == 5
    assert text_of(model, PROMPT, max_tokens=40, seed=3) == text_of(model, PROMPT, max_tokens=40, seed=(3, 0))
    one = generate(model, PROMPT, vocabulary=CHARACTERS, max_tokens=40).run()
    other = generate(model, PROMPT, vocabulary=CHARACTERS, max_tokens=40).run()
    assert one.text != other.text
    assert text_of(model, PROMPT, max_tokens=40, seed=one.seed) == one.text


def test_without_max_tokens_it_goes_on() -> None:
    generation = generate(Model(network()), PROMPT, vocabulary=CHARACTERS, max_tokens=None, seed=0)
    assert sum(1 for _ in zip(generation, range(2000), strict=False)) == 2000
    assert generation.finish is None


def test_logprobs(isa: str) -> None:
    graph = network()
    generation = generate(
        Model(graph), ids_of(PROMPT), max_tokens=20, seed=2, logprobs=True, temperature=2.0, top_k=9
    ).run()
    again = generate(Model(graph), ids_of(PROMPT), max_tokens=20, seed=2, logprobs=True, temperature=2.0, top_k=9)
    ids = ids_of(PROMPT)
    for token in again:
        logits = logits_of(graph)(ids)
        assert token.logprob == pytest.approx(logits[token.id] - np.log(np.exp(logits).sum()), abs=2e-5)
        ids.append(token.id)
    assert ids[len(PROMPT) :] == generation.tokens


def test_a_second_thread_is_an_error() -> None:
    rng = np.random.default_rng(0)
    big = chain(tokens(), embedding(rng, COUNT, 64), gru(rng, 64, 1500, source="embedding", return_sequences=True),
                dense(rng, 1500, COUNT, name="y", source="gru", function="linear"))  # fmt: skip
    generation = generate(Model(big), [0], max_tokens=None, seed=0)
    faults: list[Exception] = []

    def draw() -> None:
        try:
            for _ in range(200):
                next(generation)
        except (fastgru.StreamBusy, ValueError, StopIteration) as fault:  # generator already executing
            faults.append(fault)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults


def test_rows_of_a_loop_are_checked() -> None:
    model = Model(network())
    loop = core.TokenLoop(Network.of(model).plan, core.Sampler(COUNT, 2))
    with pytest.raises(BadInput, match="a row has no token that the network could read"):
        loop.next()
    loop.read([1], 0)
    loop.read([2, 3], 1)
    for rows, fault in (([2], "from 0 to 1, got 2"), ([-1], "from 0 to 1, got -1"), ([0, 0], "rows should differ")):
        with pytest.raises(BadInput, match=fault):
            loop.next_of(rows)
    with pytest.raises(BadInput, match=f"from 0 to {COUNT - 1}, got {COUNT}"):
        loop.read([COUNT])
    with pytest.raises(BadInput, match="row should be a whole number from 0 to 1, got 5"):
        loop.read([1], 5)
    assert len(loop.next_of([1, 0])) == 2


# ---- stops -----------------------------------------------------------------------------------------------------------


def speaker(text: str) -> Model:
    """A network that says the same over and over: each character, or word, follows from the one before it."""
    pieces = list(dict.fromkeys(text))
    assert len(pieces) == len(text)
    count = len(pieces)
    table = np.eye(count, dtype=np.float32)
    kernel = 20 * np.roll(table, 1, axis=1)
    cell = gru(np.random.default_rng(0), count, count, source="embedding", return_sequences=True)
    zeros = {"kernel": np.zeros((count, 3 * count)), "recurrent_kernel": np.zeros((count, 3 * count))}
    zeros["kernel"][:, :count] = -100  # z = 0: h is n, which is tanh(x)
    zeros["kernel"][:, 2 * count :] = 10 * table
    arrays = {key: value.astype(np.float32) for key, value in zeros.items()}
    cell = type(cell)(**{**vars(cell), **arrays, "bias": None, "recurrent_bias": None})
    head = Dense(name="y", inputs=("gru",), kernel=kernel)
    return Model(chain(tokens(), Embedding(name="embedding", inputs=("x",), table=table), cell, head))


ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def say(stop: Any, **options: Any) -> Generation:
    """What follows "a" in the alphabet."""
    given = {"vocabulary": list(ALPHABET), "temperature": 0, "max_tokens": 30, "stop": stop} | options
    generation = generate(speaker(ALPHABET), "a", **given)
    assert isinstance(generation, Generation)
    return generation


@pytest.mark.parametrize(
    ("stop", "text", "finish"),
    [
        (None, "bcdefghijklmnopqrstuvwxyzabcde", "length"),
        ("g", "bcdef", "stop"),
        (6, "bcdef", "stop"),
        ("gh", "bcdef", "stop"),
        (["xyz", "mno"], "bcdefghijkl", "stop"),
        (["yzab", "zz"], "bcdefghijklmnopqrstuvwx", "stop"),
        (["efx", "fgh", "gh"], "bcde", "stop"),
        (["defghijx"], "bcdefghijklmnopqrstuvwxyzabcde", "length"),
        (["cdeb", np.int64(9)], "bcdefghi", "stop"),
        (["bc"], "", "stop"),
        (["cdefg"], "b", "stop"),
    ],
)
def test_stops(stop: Any, text: str, finish: str) -> None:
    generation = say(stop)
    shown = [token.text for token in generation]
    assert "".join(map(str, shown)) == text == generation.text
    assert (generation.finish, len(generation.tokens)) == (finish, len(text))


def test_what_may_be_a_stop_is_held_back() -> None:
    generation = say("efgh", max_tokens=5)
    given = [next(generation).text for _ in range(3)]
    assert given == ["b", "c", "d"]
    assert generation.finish is None
    assert [token.text for token in generation] == ["e", "f"]  # the end came first
    assert (generation.text, generation.finish) == ("bcdef", "length")


def test_a_stop_may_cut_a_token_short() -> None:
    words = ["to", "be,", "or", "not"]
    generation = generate(speaker("abcd"), "to", vocabulary=words, temperature=0, stop=", o", max_tokens=10).run()
    assert (generation.text, generation.tokens, generation.finish) == (" be", [1], "stop")


# ---- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"stop": ["a", "e "]}, {"stop": ["st", "q.", "k,p"]}, {"window": 6}], ids=str)
def test_rows_are_those_of_prompts_alone(options: dict[str, Any], isa: str) -> None:
    model = Model(network())
    prompts = [PROMPT, "a", "no map on it", "so", PROMPT]
    given = {"vocabulary": CHARACTERS, "max_tokens": 60, "seed": 4, "repetition_penalty": 1.1, "logprobs": True}
    together = generate(model, prompts, **given, **options)
    assert isinstance(together, BatchGeneration)
    steps = list(together)
    alone = [generate(model, one, **{**given, "seed": (4, row)}, **options).run() for row, one in enumerate(prompts)]
    assert together.texts == [one.text for one in alone]
    assert together.tokens == [one.tokens for one in alone]
    assert together.finish == tuple(one.finish for one in alone)
    for row, one in enumerate(alone):
        column = [step[row] for step in steps if step[row] is not None]
        assert [token.id for token in column] == one.tokens
    assert all(len(step) == 5 and any(token is not None for token in step) for step in steps)
    assert together.texts[0] != together.texts[4]


def test_a_list_of_one_prompt_is_a_batch() -> None:
    steps: list[Any] = []
    generation = generate(
        Model(network()), np.array([[1, 2, 3]]), vocabulary=CHARACTERS, seed=0, max_tokens=3, callback=steps.append
    )
    assert list(generation) == steps
    assert [len(step) for step in steps] == [1, 1, 1]
    assert generation.texts == [text_of(Model(network()), [1, 2, 3], seed=0, max_tokens=3)]
    assert "1 rows" in repr(generation)


# ---- vocabularies ----------------------------------------------------------------------------------------------------

WORDS = ["", "[UNK]", "the", "cat", "sat", ",", ".", "(", ")"]


@pytest.mark.parametrize("suffix", ["list.json", "dict.json", "turned.json", "lines.txt"])
def test_vocabularies_in_files(suffix: str, tmp_path: Path) -> None:
    kinds = {
        "list.json": json.dumps(list(ALPHABET)),
        "dict.json": json.dumps({letter: place for place, letter in enumerate(ALPHABET)}),
        "turned.json": json.dumps(dict(enumerate(ALPHABET))),
        "lines.txt": "\n".join(ALPHABET) + "\n",
    }
    path = tmp_path / suffix
    path.write_text(kinds[suffix])
    for given in (path, str(path)):
        assert say(None, vocabulary=given, max_tokens=3).run().text == "bcd"


def test_vocabularies_in_files_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    for end in "", "\r\n":
        path.write_bytes(("\ufeff" + "\r\n".join(ALPHABET) + end).encode())
        assert say(None, vocabulary=path, max_tokens=3).run().text == "bcd"
    path.write_bytes("\n".join(["\r", *ALPHABET[1:]]).encode())  # a token, not the end of a line
    assert generate(speaker(ALPHABET), "\r", vocabulary=path, temperature=0, max_tokens=3).run().text == "bcd"
    path = tmp_path / "tokens.json"
    path.write_bytes(("\ufeff" + json.dumps(list(ALPHABET))).encode())
    assert say(None, vocabulary=path, max_tokens=3).run().text == "bcd"


def test_a_token_without_text_can_be_banned() -> None:
    words = ["", "[UNK]", "the", "cat"]
    assert generate(speaker("abcd"), "cat", vocabulary=words, temperature=0, max_tokens=1).run().tokens == [0]
    banned = generate(speaker("abcd"), "cat", vocabulary=words, ban=["", "[UNK]"], seed=0, max_tokens=50).run().tokens
    assert set(banned) == {2, 3}
    with pytest.raises(BadInput, match="ban='': the vocabulary has no such token"):
        generate(speaker("abcd"), "a", vocabulary=list("abcd"), ban="")


def test_a_text_may_be_an_array_without_axes() -> None:
    generation = generate(speaker(ALPHABET), np.array("ab"), vocabulary=list(ALPHABET), temperature=0, max_tokens=2)
    assert generation.run().text == "cd"


def test_vocabularies_in_memory() -> None:
    turned = {letter: place for place, letter in enumerate(ALPHABET)}
    for given in (
        tuple(ALPHABET),
        np.array(list(ALPHABET)),
        turned,
        dict(enumerate(ALPHABET)),
        Vocabulary(tuple(ALPHABET)),
    ):
        assert say(None, vocabulary=given, max_tokens=3).run().text == "bcd"
    some = {letter: place for letter, place in turned.items() if letter not in "cx"}
    assert say(None, vocabulary=some, max_tokens=3).run().text == "bd"


def test_words() -> None:
    words = Vocabulary(tuple(WORDS), splitter="words")
    assert words.encode("the cat, the dog.") == [2, 3, 5, 2, 1, 6]
    assert words.decode([2, 3, 5, 4, 7, 2, 3, 8, 6, 0]) == "the cat, sat (the cat)."
    assert Vocabulary(tuple(WORDS), join="_").decode([2, 3, 6]) == "the_cat_."
    assert Vocabulary(tuple(WORDS)).encode("the cat , sat") == [2, 3, 5, 4]
    lines = Vocabulary(("a", "\n", "bc"))
    assert lines.decode([0, 2, 1, 0, 2]) == "a bc\na bc"
    assert Vocabulary(("<s>", "a", "b")).encode("ab") == [1, 2]
    assert Vocabulary(("a", "b"), splitter=lambda text: text.split("-")).encode("a-b-a") == [0, 1, 0]
    generation = generate(speaker("abcd"), "to", vocabulary=["to", "be", ",", "or"], temperature=0, max_tokens=3)
    assert [token.text for token in generation] == [" be", ",", " or"]
    assert generation.text == " be, or"


def test_the_networks_own_front_end() -> None:
    text = {"inputs": {"x": {"tokens": ["", "[UNK]", "one", "two"], "standardize": ["lower"], "split": "whitespace",
                             "unknown": 1, "max_length": 2}}}  # fmt: skip
    model = speaker("abcd")
    model = Model(Graph(model.graph.inputs, model.graph.layers, model.graph.outputs, text=text))
    generation = generate(model, "One five TWO two ONE", temperature=0, max_tokens=2)
    assert generation.run().text == " two"
    assert generation.tokens == [3, 0]


@pytest.mark.parametrize(
    ("vocabulary", "fault"),
    [
        (list(ALPHABET[:-1]), "the vocabulary has 25 tokens, but the network chooses among 26 .lookups put"),
        ([*ALPHABET, "!"], "the vocabulary has 27 tokens, but the network chooses among 26"),
        (["a"] * 26, "the token 'a' stands twice in the vocabulary, as 0 and 1"),
        ([1.5] * 26, "a vocabulary should hold strings, holds 1.5"),
        ([""] * 26, "the vocabulary holds no tokens"),
        ({"a": 26}, "chooses among 26 tokens, but the vocabulary has the id 26"),
        ({"a": 1, "b": 1}, "the id 1 stands for two tokens, 'a' and 'b'"),
        ({"a": "b"}, "a vocabulary should hold a token and its id"),
        ({"a": -1}, "a vocabulary should hold a token and its id"),
        ({}, "the vocabulary holds no tokens"),
        (7, "a vocabulary should be a list of tokens, a dict of ids by token or a path, got 7"),
        ("tokens.csv", "tokens.csv: a vocabulary should be a .json file"),
    ],
    ids=str,
)
def test_bad_vocabularies(vocabulary: Any, fault: str) -> None:
    with pytest.raises(BadInput, match=fault):
        say(None, vocabulary=vocabulary)


def test_bad_files(tmp_path: Path) -> None:
    for content in (b"[1, 2", b"\xff\xfe", b"[" * 100_000, b"3", b'"abc"'):
        path = tmp_path / "tokens.json"
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"tokens\.json: "):
            say(None, vocabulary=path)
    with pytest.raises(FileNotFoundError):
        say(None, vocabulary=tmp_path / "none.txt")


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"temperature": -0.1}, "temperature should be a number from 0"),
        ({"temperature": "hot"}, "temperature should be a number from 0 .*, got 'hot'"),
        ({"temperature": float("nan")}, "temperature should be"),
        ({"temperature": float("inf")}, "temperature should be"),
        ({"top_k": 0}, "top_k should be a positive whole number"),
        ({"top_k": 2.5}, "top_k should be a positive whole number"),
        ({"top_p": 0}, "top_p should be a number above 0, up to 1, got 0"),
        ({"top_p": 1.1}, "top_p should be a number above 0, up to 1"),
        ({"repetition_penalty": 0}, "repetition_penalty should be a number above 0"),
        ({"max_tokens": 0}, "max_tokens should be a positive whole number"),
        ({"seed": -1}, "seed should be a whole number from 0 to"),
        ({"seed": 2**64}, "seed should be a whole number from 0 to"),
        ({"seed": (1, 2, 3)}, "seed should be a whole number from 0 to"),
        ({"seed": True}, "seed should be a whole number from 0 to"),
        ({"stop": ""}, "stop should hold no empty text"),
        ({"stop": 26}, "stop should hold token ids from 0 to 25, got 26"),
        ({"stop": 1.5}, "stop should be tokens, token ids or several of them, got 1.5"),
        ({"stop": [None]}, "stop should hold token ids"),
        ({"ban": "?"}, "ban='\\?': the vocabulary has no such token"),
        ({"ban": range(26)}, "every one is banned"),
        ({"callback": 3}, "callback should be a function of a token, got int"),
        ({"window": 0}, "window should be a positive whole number"),
        ({"threads": 0}, "threads should be a positive whole number"),
        ({"logprobs": 1}, "logprobs should be True or False, got 1"),
        ({"splitter": "halves"}, "splitter should be a function or one of words"),
        ({"join": 3}, "join should be a string, got 3"),
        ({"vocabulary": None}, "prompt is a text, but the network has no vocabulary"),
        ({"vocabulary": None, "join": ""}, "splitter= and join= go with a vocabulary"),
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadInput, match=fault):
        say(**{"stop": None} | options).run()


@pytest.mark.parametrize(
    ("prompt", "fault"),
    [
        ("", "prompt should hold at least one token"),
        ([], "prompt should hold at least one token"),
        (["a", ""], "prompt should hold at least one token"),
        ("a?c", "the prompt's character 1, '\\?', is not in the vocabulary"),
        ([26], "token ids should be whole numbers from 0 to 25, got 26"),
        ([-1], "token ids should be whole numbers from 0 to 25, got -1"),
        ([0.5], "prompt should hold texts or whole numbers"),
        ([["a"], [1]], "prompt should hold texts or whole numbers"),
        (b"a", "prompt should be a text or token ids, or a list of these, got bytes"),
        (3, "prompt should be a text or token ids, or a list of these, got int"),
        (None, "prompt should be a text or token ids, or a list of these, got NoneType"),
    ],
    ids=str,
)
def test_bad_prompts(prompt: Any, fault: str) -> None:
    with pytest.raises(BadInput, match=fault):
        generate(speaker(ALPHABET), prompt, vocabulary=list(ALPHABET))


def test_stop_texts_take_a_vocabulary() -> None:
    with pytest.raises(BadInput, match="stop='x': the network has no vocabulary"):
        generate(speaker(ALPHABET), [0], stop="x")
    with pytest.raises(BadInput, match=r"generate takes a Model, or two as \(encoder, decoder\), got Graph"):
        generate(network(), [0])  # type: ignore[arg-type]

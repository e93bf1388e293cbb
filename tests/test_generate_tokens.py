"""Generated tokens as they come: the iterator, its text, stops, and batches of prompts."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import fastgru
from building import chain, dense, embedding, gru, tokens
from fastgru import BadInput, Model, generate
from fastgru import _core as core
from fastgru.generation import BatchGeneration, Generation, Token
from fastgru.generation.network import Network
from generating import CHARACTERS, COUNT, PROMPT, ids_of, logits_of, network, say, speaker, text_of

pytestmark = pytest.mark.dtypes

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

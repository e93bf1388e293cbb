"""`generate` with an encoder and a decoder, and with `beams=`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from building import chain, dense, embedding, floats, gru, tokens
from fastgru import BadInput
from fastgru.generation import BatchGeneration, Generation, Hypothesis
from fastgru.graph import Embedding, Graph, tensor_spec
from test_beams import END, START, a_pair, check_same, folder, log_of, plain_beam_search, with_end

pytestmark = pytest.mark.dtypes

__all__ = ["folder"]  # a fixture
NETWORKS = ["additive_keras3", "multiplicative_keras2"]
LETTERS = [*"abcdefg"]


def translation(folder: Path, name: str) -> tuple[tuple[fastgru.Model, fastgru.Model], Any, dict[str, Any]]:
    """The pair, its vocabularies, and what it was asked: words of the source and those that Keras found."""
    pair = tuple(fastgru.load(folder / name / f"{part}.keras") for part in ("encoder", "decoder"))
    words = json.loads((folder / "vocabulary.json").read_text("utf-8"))
    with np.load(folder / name / "answers.npz") as answers:
        asked = [" ".join(words["source"][word] for word in row if word) for row in answers["source"]]
        found = [answers[f"words_{row}"].tolist() for row in range(len(asked))]
    return pair, (words["source"], words["target"]), dict(zip(asked, found, strict=True))  # type: ignore[return-value]


# ---- token by token --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_translations_of_the_likeliest_words(name: str, folder: Path) -> None:
    pair, vocabulary, asked = translation(folder, name)
    options: dict[str, Any] = {"vocabulary": vocabulary, "start": "<start>", "stop": "<end>", "temperature": 0}
    for text, words in asked.items():
        generation = fastgru.generate(pair, text, **options)
        assert isinstance(generation, Generation)
        assert [token.id for token in generation] == words[:-1]
        assert generation.text == " ".join(vocabulary[1][word] for word in words[:-1])
        assert generation.finish == "stop"
    together = fastgru.generate(pair, list(asked), **options)
    assert isinstance(together, BatchGeneration)
    assert together.run().tokens == [words[:-1] for words in asked.values()]
    [best] = fastgru.generate(pair, next(iter(asked)), **{**options, "temperature": 1.0}, beams=1)
    assert list(best.tokens) == next(iter(asked.values()))[:-1]


def test_drawn_tokens_are_those_of_numpy() -> None:
    """Its own draws on the logits of plain calls; rows draw as they do alone."""
    pair = a_pair(3, function="linear")
    models = pair.encoder, pair.decoder
    sources = [[1, 2, 3], [4, 5], [6, 7, 8]]
    together = fastgru.generate(models, sources, start=START, stop=END, max_tokens=20, seed=7, temperature=0.8).run()
    for row, source in enumerate(sources):
        rng = np.random.Generator(np.random.Philox(key=[7, row]))
        word, state, expected = START, pair.encoder(np.array([source])), []
        while len(expected) < 20:
            logits, state = pair.decoder(np.array([[word]]), state)
            weights = np.exp((logits[0, 0] - logits.max()).astype(np.float64) / 0.8)
            word = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))
            if word == END:
                break
            expected.append(word)
        assert together.tokens[row] == expected
        alone = fastgru.generate(models, source, start=START, stop=END, max_tokens=20, seed=(7, row), temperature=0.8)
        assert alone.run().tokens == expected
    assert len(set(map(tuple, together.tokens))) == 3


def test_texts_for_an_encoder_of_one_hot_vectors() -> None:
    """As in Keras' character-level example."""
    rng = np.random.default_rng(2)
    encoder = fastgru.Model(chain(floats(len(LETTERS)), gru(rng, len(LETTERS), 8)))
    options: dict[str, Any] = {"start": START, "stop": END, "max_tokens": 9, "beams": 3}
    texts = ["bad", "cab", "a"]
    arrays = [np.eye(len(LETTERS), dtype="f4")[[LETTERS.index(letter) for letter in text]] for text in texts]
    pair = encoder, a_pair(3).decoder
    words = list("()xyz")
    found = fastgru.generate(pair, texts, vocabulary=(LETTERS, words), **options)
    assert found == [fastgru.generate(pair, array, vocabulary=words, **options) for array in arrays]
    assert found[0] != found[1]
    with pytest.raises(BadInput, match="has 6 tokens, but the network chooses among 7"):
        fastgru.generate(pair, "bad", vocabulary=(LETTERS[:-1], words), **options)


def test_probabilities_of_drawn_tokens() -> None:
    pair = a_pair(4)
    options: dict[str, Any] = {"start": START, "max_tokens": 6, "seed": 1, "logprobs": True}
    generation = fastgru.generate((pair.encoder, pair.decoder), [3, 1], **options)
    word, state = START, pair.encoder(np.array([[3, 1]]))
    for token in generation:
        probabilities, state = pair.decoder(np.array([[word]]), state)
        word = token.id
        np.testing.assert_allclose(token.logprob, np.log(probabilities[0, 0, word]), atol=1e-5)


# ---- with beams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_hypotheses_as_texts(name: str, folder: Path) -> None:
    pair, vocabulary, asked = translation(folder, name)
    options: dict[str, Any] = {"vocabulary": vocabulary, "start": "<start>", "stop": "<end>", "beams": 3}
    found = fastgru.generate(pair, list(asked), **options)
    for text, hypotheses in zip(asked, found, strict=True):
        assert fastgru.generate(pair, text, **options) == hypotheses
        scores = [one.score for one in hypotheses]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        for one in hypotheses:
            assert one.text == " ".join(vocabulary[1][word] for word in one.tokens)
    options |= {"vocabulary": (vocabulary[0], None), "start": START, "stop": END}
    ids = fastgru.generate(pair, next(iter(asked)), **options)
    assert ids == [one._replace(text=None) for one in found[0]]


def carrying(seed: int = 0, classes: int = 6) -> tuple[fastgru.Model, fastgru.Model]:
    """A decoder that takes its first state and gives none back: a network of g2p-en's kind."""
    rng = np.random.default_rng(seed)
    encoder = chain(tokens(), embedding(rng, 9, 6), gru(rng, 6, 8, source="embedding", scale=3))
    layers = (
        Embedding(name="words", inputs=("word",), table=rng.normal(size=(classes, 6)).astype("f4")),
        gru(rng, 6, 8, name="decoder", scale=3, inputs=("words", "h0"), return_sequences=True),
        gru(rng, 8, 8, name="second", scale=3, source="decoder", return_sequences=True),
        dense(rng, 8, classes, name="scores", source="second", function="linear"),
    )
    inputs = tensor_spec("word", None, (), "int32"), tensor_spec("h0", False, (8,))
    return fastgru.Model(encoder), fastgru.Model(Graph(inputs, layers, ("scores",)))


def test_a_decoder_that_carries_its_states_itself() -> None:
    encoder, decoder = carrying()
    sources = [[1, 2, 3], [4, 5], [6, 7, 8], [1]]
    found = fastgru.generate((encoder, decoder), sources, start=START, stop=END, beams=4, max_tokens=7)
    drawn = fastgru.generate((encoder, decoder), sources, start=START, stop=END, max_tokens=7, temperature=0).run()
    for row, source in enumerate(sources):
        state = encoder(np.array([source]))

        def step(token: int, before: tuple[int, ...], state: np.ndarray = state) -> tuple[np.ndarray, Any]:
            read = (*before, token)
            return log_of(decoder(np.array([read]), state)[0, -1], "linear"), read

        check_same(found[row], plain_beam_search(step, (), beams=4, max_tokens=7))
        [greedy] = plain_beam_search(step, (), beams=1, max_tokens=7)
        assert drawn.tokens[row] == [token for token in greedy[0] if token != END]


def letters(seed: int = 0, **options: Any) -> fastgru.Model:
    rng = np.random.default_rng(seed)
    layers = [
        embedding(rng, 7, 6, **options),
        gru(rng, 6, 8, source="embedding", scale=4, return_sequences=True),
        gru(rng, 8, 8, name="second", source="gru", scale=4),
        dense(rng, 8, 7, name="scores", source="second", function="softmax"),
    ]
    return fastgru.Model(chain(tokens(), *layers))


def test_a_prompt_continued() -> None:
    """Against plain calls on all that was read; prompts of different lengths run together."""
    model = letters()
    prompts = ["abc", "de", "fgfg", "ba"]
    options: dict[str, Any] = {"vocabulary": LETTERS, "stop": "c", "beams": 3, "max_tokens": 6, "length_penalty": 0.5}
    found = fastgru.generate(model, prompts, **options)
    for prompt, hypotheses in zip(prompts, found, strict=True):
        ids = [LETTERS.index(letter) for letter in prompt]

        def step(token: int, before: tuple[int, ...]) -> tuple[np.ndarray, Any]:
            read = (*before, token)
            return log_of(model(np.array([read])), "softmax"), read

        expected = plain_beam_search(
            step, tuple(ids[:-1]), start=ids[-1], beams=3, max_tokens=6, length_penalty=0.5, end=END
        )
        check_same(hypotheses, expected)
        assert [one.text for one in hypotheses] == ["".join(LETTERS[i] for i in one.tokens) for one in hypotheses]
        assert fastgru.generate(model, prompt, **options) == hypotheses
    assert fastgru.generate(model, [0, 1, 2], stop=2, beams=3, max_tokens=6, length_penalty=0.5) == [
        one._replace(text=None) for one in found[0]
    ]


def test_a_masked_token_continues_no_prompt() -> None:
    found = fastgru.generate(letters(1, mask_zero=True), [1, 2], beams=50, max_tokens=2)
    assert len(found) == 36
    assert not any(0 in one.tokens for one in found)
    banned = fastgru.generate(letters(1, mask_zero=True), [1, 2], beams=50, max_tokens=2, ban=[3, 4])
    assert [one.tokens for one in banned] == [one.tokens for one in found if not {3, 4} & set(one.tokens)]


@pytest.mark.dtypes("float32")  # Keras holds its weights in float32
def test_a_keras_language_model_as_keras_searches_it() -> None:
    from keras_live import keras

    keras.utils.set_random_seed(5)
    L, large = keras.layers, keras.initializers.RandomNormal(stddev=1.0)
    x = keras.Input((None,), dtype="int32")
    h = L.GRU(12, return_sequences=True, kernel_initializer=large)(L.Embedding(9, 8, embeddings_initializer=large)(x))
    network = keras.Model(x, L.Dense(9, kernel_initializer=large)(h))

    def step(token: int, before: tuple[int, ...]) -> tuple[np.ndarray, Any]:
        read = (*before, token)
        return log_of(np.asarray(network(np.array([read])))[0, -1], "linear"), read

    for options in ({"beams": 4}, {"beams": 3, "length_penalty": 1.0}):
        found = fastgru.generate(fastgru.from_keras(network), [3, 1, 4], stop=END, max_tokens=8, **options)
        check_same(found, plain_beam_search(step, (3, 1), start=4, max_tokens=8, **options))


def test_every_vector_isa_finds_and_draws_the_same(monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]) -> None:
    made: list[Any] = []
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        pair, model = carrying(5), letters(2)
        assert model.isa == isa
        made.append([
            fastgru.generate(pair, [[1, 2, 3], [4]], start=START, beams=4, max_tokens=9),
            fastgru.generate(pair, [[1, 2, 3], [4]], start=START, seed=3, max_tokens=9).run().tokens,
            fastgru.generate(model, [1, 2, 3], beams=4, max_tokens=9),
        ])  # fmt: skip
    assert all(one == made[0] for one in made)


# ---- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a pair needs start=, the token that the decoder begins with"),
        ({"start": "<s>"}, "start='<s>': the network has no vocabulary"),
        ({"start": 9}, "start should hold token ids from 0 to 5, got 9"),
        ({"start": 1, "window": 3}, "a pair of encoder and decoder takes no window"),
        ({"start": 1, "length_penalty": 1}, "generation without beams= takes no length_penalty"),
        ({"start": 1, "beams": 2, "top_k": 3, "seed": 0}, "a search with beams= takes no top_k, seed"),
        ({"start": 1, "beams": 0}, "beams should be a positive whole number"),
        ({"start": 1, "beams": 2, "max_tokens": None}, "with beams= max_tokens should be a number, got None"),
        ({"start": 1, "beams": 2, "vocabulary": LETTERS[:6], "stop": "xy"}, "with beams= stop should hold tokens; "
         "the vocabulary has no 'xy'"),
        ({"start": 1, "vocabulary": LETTERS[:5]}, "the vocabulary has 5 tokens, but the network chooses among 6"),
        ({"start": 1, "wiring": {"h": "x"}}, "the decoder has no input 'h', only 'word', 'h0'"),
    ],
)  # fmt: skip
def test_bad_options_of_a_pair(options: dict[str, Any], message: str) -> None:
    with pytest.raises(fastgru.BadInput, match=re.escape(message)):
        fastgru.generate(carrying(), [1, 2], **options)


def test_what_is_no_pair_and_takes_no_options_of_one() -> None:
    encoder, _ = carrying()
    with pytest.raises(fastgru.BadInput, match=re.escape("should be two Models, (encoder, decoder); got (Model)")):
        fastgru.generate((encoder,), [1, 2], start=1)  # type: ignore[arg-type]
    with pytest.raises(fastgru.BadInput, match=re.escape("two Models, (encoder, decoder); got (Model, str)")):
        fastgru.generate((encoder, "decoder"), [1, 2], start=1)  # type: ignore[arg-type]
    with pytest.raises(fastgru.BadInput, match="a single network takes no start, wiring"):
        fastgru.generate(letters(), [1, 2], start=1, wiring={})
    with pytest.raises(fastgru.BadInput, match="generate takes a Model, or two as"):
        fastgru.generate("model", [1, 2])  # type: ignore[arg-type]


def test_a_search_takes_a_network_that_streams() -> None:
    rng = np.random.default_rng(0)
    back = gru(rng, 6, 8, source="embedding", go_backwards=True)
    head = dense(rng, 8, 7, name="y", source="gru", function="softmax")
    model = fastgru.Model(chain(tokens(), embedding(rng, 7, 6), back, head))
    assert len(fastgru.generate(model, [1, 2], max_tokens=3).run().tokens) == 3
    with pytest.raises(fastgru.UnsupportedModel, match="GRU layer 'gru' goes backwards"):
        fastgru.generate(model, [1, 2], beams=2)


def test_hypotheses_are_tuples_to_read() -> None:
    [best, *_] = fastgru.generate(letters(), [1, 2], beams=2, max_tokens=3)
    assert isinstance(best, Hypothesis)
    assert with_end([best]) == [(best.tokens, best.score)]
    assert best.finish == "length"

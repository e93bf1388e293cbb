"""What `generate` is given: vocabularies, options and prompts, right and wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgru import BadInput, Model, generate
from fastgru.generation import Vocabulary
from fastgru.graph import Graph
from generating import ALPHABET, network, say, speaker

pytestmark = pytest.mark.dtypes

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

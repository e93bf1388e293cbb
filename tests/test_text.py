"""The text front end: splitting, ids, and what a hostile file may not hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastgru.errors import BadInput, BadModelFile
from fastgru.text import SPLITTERS, TextEncoder

TOKENS = ("", "?", "the", "don't", "été", "!", "b")
STORED = {
    "tokens": list(TOKENS), "split": "words", "lowercase": True, "unknown": 1, "max_length": 4,
    "labels": ["no", "yes"], "about": "made up",
}  # fmt: skip


def encoder(**changes) -> TextEncoder:
    return TextEncoder.from_json({**STORED, "max_length": None, **changes})


@pytest.mark.parametrize(
    ("split", "text", "expected"),
    [
        ("words", "The Été!!", ["The", "Été", "!", "!"]),
        ("words", "don't 'quoted' rock'n'roll", ["don't", "'", "quoted", "'", "rock'n'roll"]),
        ("words", "don\N{RIGHT SINGLE QUOTATION MARK}t", ["don't"]),
        ("words", "a-b, c.\n\td", ["a", "-", "b", ",", "c", ".", "d"]),
        ("words", " \n", []),
        ("whitespace", " a-b,  c.\n", ["a-b,", "c."]),
        ("characters", "a b\n", ["a", " ", "b", "\n"]),
    ],
)
def test_splitters(split, text, expected):
    assert SPLITTERS[split](text) == expected


def test_encode_gives_ids_and_unknown():
    ids = encoder().encode("The ÉTÉ, don't!")
    assert ids.dtype == np.int32
    assert ids.tolist() == [2, 4, 1, 3, 5]


def test_case_is_kept_without_lowercase():
    assert encoder(lowercase=False).encode("The the").tolist() == [1, 2]


def test_max_length_drops_the_end():
    assert encoder(max_length=2).encode("the don't !").tolist() == [2, 3]


def test_batch_is_padded_with_zero():
    ids, lengths = encoder().encode_batch(["the !", "", "b b b"])
    assert ids.tolist() == [[2, 5, 0], [0, 0, 0], [6, 6, 6]]
    assert lengths.tolist() == [2, 0, 3]
    assert ids.dtype == lengths.dtype == np.int32


@pytest.mark.parametrize(("texts", "shape"), [([""], (1, 1)), ([], (0, 1))])
def test_batch_of_nothing_has_one_step(texts, shape):
    assert encoder().encode_batch(texts)[0].shape == shape


def test_wrong_arguments():
    with pytest.raises(BadInput, match="list of texts"):
        encoder().encode_batch("the")
    with pytest.raises(BadInput, match="got int"):
        encoder().encode(3)


def test_json_round_trip():
    made = TextEncoder.from_json(json.loads(json.dumps(STORED)))
    assert made.to_json() == STORED
    assert TextEncoder.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tokens": []}, "'tokens'"),
        ({"tokens": "abc"}, "'tokens'"),
        ({"tokens": ["a", 1]}, "'tokens'"),
        ({"tokens": ["", "b", "b"]}, "'b' stands twice"),
        ({"split": r"\w+"}, "'split' should be one of"),
        ({"split": ["words"]}, "'split'"),
        ({"lowercase": 1}, "'lowercase'"),
        ({"unknown": 7}, "7 tokens"),
        ({"unknown": -1}, "7 tokens"),
        ({"unknown": True}, "'unknown'"),
        ({"unknown": 1.0}, "'unknown'"),
        ({"max_length": 0}, "'max_length'"),
        ({"max_length": "9"}, "'max_length'"),
        ({"labels": None}, "'labels'"),
        ({"labels": [["a"]]}, "'labels'"),
        ({"about": {}}, "'about'"),
        ({"pattern": "(a+)+$"}, "no key 'pattern'"),
    ],
)
def test_bad_values_are_named(changes, fault):
    with pytest.raises(BadModelFile, match=fault):
        TextEncoder.from_json({**STORED, **changes})


@pytest.mark.parametrize("key", STORED)
def test_missing_keys_are_named(key):
    with pytest.raises(BadModelFile, match=f"lacks the key '{key}'"):
        TextEncoder.from_json({k: v for k, v in STORED.items() if k != key})


@pytest.mark.parametrize("value", [None, [], "words", 3])
def test_not_an_object(value):
    with pytest.raises(BadModelFile, match="expected an object"):
        TextEncoder.from_json(value)


def test_long_values_are_cut_in_messages():
    with pytest.raises(BadModelFile) as caught:
        TextEncoder.from_json({**STORED, "split": "x" * 10_000})
    assert len(str(caught.value)) < 300

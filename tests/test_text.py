"""The front end: splitting, ids and vectors, networks that take texts, and what a hostile file may not hold."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgru
from building import dense, embedding, gru
from fastgru import file
from fastgru.errors import BadInput, BadModelFile
from fastgru.graph import Concatenate, Dense, Graph, tensor_spec
from fastgru.text import SPLITTERS, STANDARDIZERS, Encoder, FrontEnd
from fastgru.text.checks import RULES

TOKENS = ("", "?", "the", "don't", "été", "!", "b")
#: the first stored form, which is read for ever
FIRST = {
    "tokens": list(TOKENS), "split": "words", "lowercase": True, "unknown": 1, "max_length": 4,
    "labels": ["no", "yes"], "about": "made up",
}  # fmt: skip
WORDS = Encoder(TOKENS, standardize=("lower",), split="words", unknown=1, max_length=4, masks_padding=True)
STORED = {"inputs": {"x": WORDS.to_json()}, "labels": ["no", "yes"], "about": "made up"}


def encoder(**changes) -> Encoder:
    return dataclasses.replace(WORDS, **{"max_length": None, **changes})


def ids(text, **changes):
    return encoder(**changes).encode([text])[0].tolist()[0]


@pytest.mark.parametrize(
    ("split", "text", "expected"),
    [
        ("words", "The Été!!", ["The", "Été", "!", "!"]),
        ("words", "don't 'quoted' rock'n'roll", ["don't", "'", "quoted", "'", "rock'n'roll"]),
        ("words", "don\N{RIGHT SINGLE QUOTATION MARK}t", ["don't"]),
        ("words", "a-b, c.\n\td", ["a", "-", "b", ",", "c", ".", "d"]),
        ("words", " \n", []),
        ("whitespace", " a-b,  c.\n", ["a-b,", "c."]),
        ("ascii_whitespace", " a\x0bb\xa0c\x1cd\r\n", ["a", "b\xa0c\x1cd"]),
        ("characters", "a b\n", ["a", " ", "b", "\n"]),
    ],
)
def test_splitters(split, text, expected):
    assert SPLITTERS[split](text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("lower", "it's été_"), ("ascii_lower", "it's ÉtÉ_"), ("strip_punctuation", "Its ÉTÉ")],
)
def test_standardizers(name, expected):
    assert STANDARDIZERS[name]("It's ÉTÉ_") == expected


# ---- ids -------------------------------------------------------------------------------------------------------------


def test_encode_gives_ids_and_unknown():
    made, lengths = encoder().encode(["The ÉTÉ, don't!"])
    assert made.dtype == np.int32
    assert made.tolist() == [[2, 4, 1, 3, 5]]
    assert lengths is None, "no row is padded"


def test_case_is_kept_without_lowering():
    assert ids("The the", standardize=()) == [1, 2]


def test_max_length_drops_the_end():
    assert ids("the don't !", max_length=2) == [2, 3]


def test_ngrams_are_tokens():
    tokens = ("?", "a", "a b", "b a")
    assert ids("a b a", tokens=tokens, unknown=0, ngrams=(2, 1)) == [2, 3, 1, 0, 1]
    assert ids("a", tokens=tokens, unknown=0, ngrams=(2,)) == [0], "a row without tokens, padded"


def test_batch_is_padded_with_zero():
    made, lengths = encoder().encode(["the !", "", "b b b"])
    assert made.tolist() == [[2, 5, 0], [0, 0, 0], [6, 6, 6]]
    assert lengths.tolist() == [2, 0, 3]
    assert made.dtype == lengths.dtype == np.int32
    made, lengths = encoder(masks_padding=False, padding="max_length", max_length=4).encode(["the !"])
    assert (made.tolist(), lengths) == ([[2, 5, 0, 0]], None)


@pytest.mark.parametrize(("texts", "shape"), [([""], (1, 1)), ([], (0, 1))])
def test_masked_batch_of_nothing_has_one_step(texts, shape):
    assert encoder().encode(texts)[0].shape == shape
    assert encoder(masks_padding=False).encode(texts)[0].shape == (shape[0], 0)


@pytest.mark.parametrize(
    ("changes", "values", "expected"),
    [
        ({"shape": (None,)}, [["The", "b"], ["x", ""]], [[2, 6], [1, 0]]),
        ({"shape": (1,)}, ["the", "b"], [[2], [6]]),
        ({"shape": (2,), "max_length": 1}, [["the", "b"]], [[2]]),
        ({"shape": (), "padding": "longest"}, ["the", "b"], [2, 6]),
        ({"shape": ()}, [["the"], ["b"]], [2, 6]),
        ({"shape": (None,), "tokens": (5, -1, 7), "standardize": ()}, [[7, 5, 8]], [[2, 0, 1]]),
        ({"shape": (None,), "tokens": (5, -1, -1, 7), "buckets": 2, "standardize": ()}, [[7, 8, -1]], [[3, 1, 2]]),
    ],
)
def test_tokens_and_numbers(changes, values, expected):
    made, lengths = encoder(split=None, masks_padding=False, **changes).encode(values)
    assert (made.tolist(), made.dtype, lengths) == (expected, np.int32, None)


@pytest.mark.parametrize(
    "values",
    [
        ["the b", "don't"],
        ("the b", "don't"),
        np.array(["the b", "don't"]),
        np.array(["the b", "don't"], object),
        np.array([b"the b", b"don't"]),
        np.array([b"the b", "don't"], object),
        np.array([["the b"], ["don't"]]),
        np.array(["the b", "", "don't"])[::2],
    ],
)
def test_what_texts_may_come_in(values):
    assert encoder().encode(values)[0].tolist() == [[2, 6], [3, 0]]


@pytest.mark.parametrize(
    ("changes", "values", "fault"),
    [
        ({}, "the", "batch of texts, got one str: put it into a list"),
        ({}, b"the", "got one bytes"),
        ({}, [3], "expected texts, got an array of int64"),
        ({}, np.array(["a", 3], object), r"expected a text \(str\), got int"),
        ({}, [["a", "b"]], r"shape \(batch\), got shape \(1, 2\)"),
        ({}, np.array("a"), r"got shape \(\)"),
        ({}, ["\ud800"], "in Unicode"),
        ({}, [b"\xff"], "in UTF-8"),
        ({}, [["a"], ["a", "b"]], "rows of texts of one length"),
        ({"split": None, "shape": (2,)}, [["a"]], r"expected strings .* shape \(batch, 2\), got shape \(1, 1\)"),
        ({"split": None, "shape": (None,)}, ["a"], r"shape \(batch, any\), got shape \(1,\)"),
        ({"split": None, "shape": (1,), "unknown": None}, ["a"], "'a' is not in the vocabulary"),
    ],
)
def test_wrong_texts(changes, values, fault):
    with pytest.raises(BadInput, match=fault):
        encoder(masks_padding=False, **changes).encode(values)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([[1.5]], "whole numbers, got 1.5"),
        ([[np.nan]], "whole numbers, got nan"),
        (np.array([[2**63]], np.uint64), "whole numbers, got 9223372036854775808"),
        ([["1"]], "whole numbers, got an array of <U1"),
        ([[9]], "9 is not in the vocabulary"),
    ],
)
def test_wrong_numbers(values, fault):
    with pytest.raises(BadInput, match=fault):
        Encoder((1, 2), shape=(None,)).encode(values)


# ---- vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "values", "expected"),
    [
        ({"output": "multi_hot"}, ["b b ?", ""], [[1, 0, 1, 0], [0, 0, 0, 0]]),
        ({"output": "count"}, ["b b ?", "a"], [[1, 0, 2, 0], [0, 1, 0, 0]]),
        ({"output": "count", "weights": (0.5, 1, 2.5, 0)}, ["b b ?"], [[0.5, 0, 5, 0]]),
        ({"output": "count", "dropped": "x"}, ["x b x"], [[0, 0, 1, 0]]),
        ({"output": "count", "padding": "longest"}, ["b b", "a"], [[0, 0, 2, 0], [1, 1, 0, 0]]),
        ({"output": "one_hot", "padding": "longest"}, ["b", "a"], [[[0, 0, 1, 0]], [[0, 1, 0, 0]]]),
        ({"output": "one_hot", "padding": "longest", "split": None, "shape": (2,), "dropped": "x"}, [["b", "x"]],
         [[[0, 0, 1, 0], [0, 0, 0, 0]]]),
        ({"output": "multi_hot", "split": None, "shape": (), "padding": "longest"}, ["b"], [[0, 0, 1, 0]]),
    ],
)  # fmt: skip
def test_vectors(changes, values, expected):
    given = {"tokens": ("?", "a", "b"), "split": "whitespace", "unknown": 0, "size": 4, "padding": None, **changes}
    made, lengths = Encoder(**given).encode(values)
    assert (made.tolist(), made.dtype, lengths) == (expected, np.float32, None)


def test_vectors_of_numbers_without_a_vocabulary():
    hot = Encoder(shape=(None,), output="multi_hot", size=3)
    assert hot.encode([[0, 2.0]])[0].tolist() == [[1, 0, 1]]
    for wrong in (3, -1):
        with pytest.raises(BadInput, match="numbers from 0 to 2"):
            hot.encode([[wrong]])


# ---- networks --------------------------------------------------------------------------------------------------------


def network(text=STORED, mask=True):
    rng = np.random.default_rng(1)
    mask = "x:mask" if mask else None
    layers = (
        embedding(rng, len(TOKENS), 3),
        gru(rng, 3, 5, source="embedding", mask=mask),
        dense(rng, 5, 2, name="head", source="gru", function="linear"),
    )
    return Graph((tensor_spec("x", None, (), "int32"),), layers, ("head",), text=text)


ROWS = ["the b", "", "don't b ! the the the", "été"]


@pytest.mark.parametrize("text", [STORED, FIRST])
def test_model_takes_texts(text, tmp_path):
    fastgru.Model(network(text)).save(tmp_path / "model.safetensors")
    model = fastgru.load(tmp_path / "model.safetensors")
    assert model.front_end == FrontEnd({"x": WORDS}, ("no", "yes"), "made up")
    made, lengths = WORDS.encode(ROWS)
    assert made.shape == (4, 4)
    expected = model(made, lengths=lengths)
    np.testing.assert_array_equal(model(ROWS), expected)
    np.testing.assert_array_equal(model({"x": ROWS}), expected)
    np.testing.assert_array_equal(model(np.array(ROWS)), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(ROWS), expected)
    np.testing.assert_array_equal(np.concatenate([model([row]) for row in ROWS]), expected, err_msg="one by one")
    for batches in (ROWS, np.array(ROWS), (ROWS,), {"x": ROWS}, (ROWS[i : i + 2] for i in (0, 2))):
        np.testing.assert_array_equal(model.predict(batches, batch_size=3), expected)
    assert "input 'x' takes texts: lower, words, 7 tokens" in model.summary().splitlines()


def test_streams_and_calls_take_ids():
    model = fastgru.Model(network())
    made, _ = WORDS.encode(ROWS[2:3])
    with model.stream() as stream:
        np.testing.assert_array_equal(stream.run(made), model(ROWS[2:3]))
        with pytest.raises(BadInput):
            stream.run(["the"])


def test_several_texts_and_sequences():
    """Each input has lengths of its own; the caller may give those of the others."""
    rng = np.random.default_rng(3)
    inputs = (*(tensor_spec(name, None, (), "int32") for name in "ab"), tensor_spec("c", None, (2,)))
    layers = []
    for name in "ab":
        layers.append(embedding(rng, len(TOKENS), 2))
        layers[-1] = dataclasses.replace(layers[-1], name=f"e{name}", inputs=(name,))
    sources = {"ea": "a:mask", "eb": "b:mask", "c": "c:mask"}
    layers += [gru(rng, 2, 3, name=f"g{source}", source=source, mask=mask) for source, mask in sources.items()]
    layers.append(Concatenate(name="all", inputs=tuple(f"g{source}" for source in sources)))
    plain = fastgru.Model(Graph(inputs, tuple(layers), ("all",)))
    front = FrontEnd({"a": WORDS, "b": dataclasses.replace(WORDS, masks_padding=False)})
    model = fastgru.Model(Graph(inputs, tuple(layers), ("all",), text=front.to_json()))
    x, texts = rng.normal(size=(4, 3, 2)).astype(np.float32), ROWS
    made, steps = WORDS.encode(ROWS)
    expected = plain(made, made, x, lengths={"a": steps, "c": [1, 2, 3, 1]})
    np.testing.assert_array_equal(model(texts, texts, x, lengths={"c": [1, 2, 3, 1]}), expected)
    with pytest.raises(BadInput, match="input 'b' is given texts"):
        model(made, texts, x, lengths={"b": steps})
    with pytest.raises(BadInput, match="input 'a' is given texts"):
        model(texts, made, x, lengths=steps)


@pytest.mark.parametrize("steps", [{"lengths": [1]}, {"mask": [[True]]}, {"lengths": {"x": [1]}}])
def test_lengths_and_mask_go_with_ids(steps):
    with pytest.raises(BadInput, match="lengths and mask go with token ids; input 'x' is given texts"):
        fastgru.Model(network())(["the"], **steps)


def test_faults_of_a_call_name_the_input():
    with pytest.raises(BadInput, match="input 'x': expected a batch of texts, got one str"):
        fastgru.Model(network())("the")
    with pytest.raises(BadInput):
        fastgru.Model(network(None))(["the"])
    with pytest.raises(BadInput):
        fastgru.Model(network(None)).predict(["the"])


def test_several_inputs():
    """Texts for one, tokens for another, raw numbers for the third."""
    rng = np.random.default_rng(2)
    inputs = (tensor_spec("t", False, (3,)), tensor_spec("s", False, (2,)), tensor_spec("n", False, (4,)))
    heads = tuple(
        Dense(name=f"d{spec.name}", inputs=(spec.name,), kernel=rng.normal(size=(spec.features, 2)).astype(np.float32))
        for spec in inputs
    )
    total = Concatenate(name="all", inputs=("dt", "ds", "dn"))
    encoders = {
        "t": Encoder(("?", "a", "b"), split="whitespace", unknown=0, output="count", size=3, padding=None),
        "s": Encoder(("x", "y"), output="multi_hot", size=2),
        "n": Encoder(shape=(None,), output="multi_hot", size=4),
    }
    model = fastgru.Model(Graph(inputs, (*heads, total), ("all",), text=FrontEnd(encoders).to_json()))
    plain = fastgru.Model(Graph(inputs, (*heads, total), ("all",)))
    vectors = np.array([[0, 2, 1]], np.float32), np.array([[0, 1]], np.float32), np.array([[1, 0, 0, 1]], np.float32)
    expected = plain(*vectors)
    np.testing.assert_array_equal(model(["a b a"], ["y"], [[0, 3]]), expected)
    np.testing.assert_array_equal(model({"n": [[0, 3]], "t": ["a b a"], "s": vectors[1]}), expected)
    np.testing.assert_array_equal(model.predict((["a b a"], ["y"], [[0, 3]])), expected)


# ---- the stored form -------------------------------------------------------------------------------------------------


def test_json_round_trip():
    made = FrontEnd.from_json(json.loads(json.dumps(STORED)), ["x"])
    assert made.to_json() == STORED
    assert FrontEnd.from_json(FIRST, ["x"]) == made
    assert "padding" not in WORDS.to_json(), "what is as by default is left out"


def stored(**changes):
    return {**STORED, "inputs": {"x": {**STORED["inputs"]["x"], **changes}}}


HOT = {"output": "count", "size": 7, "masks_padding": False}
PLAIN = {"split": None, "standardize": [], "masks_padding": False}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tokens": []}, "'tokens'"),
        ({"tokens": "abc"}, "'tokens'"),
        ({"tokens": {"a": 1}}, "'tokens'"),
        ({"tokens": ["a", 1]}, "'tokens'"),
        ({"tokens": [1, True]}, "'tokens'"),
        ({"tokens": [1, 2**63]}, "'tokens'"),
        ({"tokens": [["a"]]}, "'tokens'"),
        ({"tokens": ["", "?", "b", "b"]}, "'b' stands twice"),
        ({"tokens": [1, 2]}, "needs a vocabulary of strings"),
        ({"tokens": None, "unknown": None}, "needs a vocabulary of strings"),
        ({"standardize": "lower"}, "'standardize'"),
        ({"standardize": ["upper"]}, "'standardize' should be a list of lower"),
        ({"standardize": [["lower"]]}, "'standardize'"),
        ({"split": r"\w+"}, "'split' should be one of"),
        ({"split": ["words"]}, "'split'"),
        ({"ngrams": 2}, "'ngrams'"),
        ({"ngrams": [0]}, "'ngrams'"),
        ({"ngrams": [1] * 101}, "'ngrams'"),
        ({"ngrams": [10**9]}, "'ngrams'"),
        ({"unknown": 7}, "7 tokens"),
        ({"unknown": 2**70}, "7 tokens"),
        ({"unknown": -1}, "'unknown'"),
        ({"unknown": True}, "'unknown'"),
        ({"unknown": 1.0}, "'unknown'"),
        ({"buckets": 0}, "'buckets'"),
        ({"buckets": 2}, "'buckets' are for unknown numbers"),
        ({"dropped": "x"}, "'dropped' is for vectors"),
        ({"dropped": 1.5}, "'dropped'"),
        ({**HOT, "dropped": 3}, "'dropped' should be like the vocabulary"),
        ({**HOT, "dropped": "b"}, "'dropped', 'b', stands in the vocabulary"),
        ({"max_length": 0}, "'max_length'"),
        ({"max_length": "9"}, "'max_length'"),
        ({"max_length": 2**40}, "'max_length'"),
        ({"padding": "left"}, "'padding'"),
        ({"padding": None}, "'padding' may only be null"),
        ({"padding": "max_length", "max_length": None}, "'max_length' is missing"),
        ({"masks_padding": 1}, "'masks_padding'"),
        ({**HOT, "masks_padding": True}, "'masks_padding' is for sequences"),
        ({"shape": [2]}, "'shape' of texts"),
        ({"shape": None}, "'shape'"),
        ({"shape": [0]}, "'shape'"),
        ({"shape": [2, 2]}, "'shape'"),
        ({"output": "hash"}, "'output'"),
        ({"output": ["ids"]}, "'output'"),
        ({"output": "count"}, "'size' is for vectors"),
        ({"size": 7}, "'size' is for vectors"),
        ({**HOT, "size": 6}, "'size' is 6, but there are 7 tokens"),
        ({**HOT, "size": 2**40}, "'size'"),
        ({**HOT, "weights": [1.0]}, "'weights' should be 7 numbers"),
        ({**HOT, "weights": [float("nan")] * 7}, "'weights'"),
        ({**HOT, "weights": ["1"] * 7}, "'weights'"),
        ({"weights": [1.0] * 7}, "'weights'"),
        ({**PLAIN, "output": "one_hot", "size": 7}, "'multi_hot'"),
        ({**PLAIN, "tokens": None, "unknown": None}, "need no front end"),
        ({**PLAIN, "tokens": None, **HOT}, "without a vocabulary all is known"),
        (HOT, r"gives count of 7, but input 'x' takes int32"),
        ({"split": None, "masks_padding": False}, "gives ids, but input 'x' takes int32"),
        ({"pattern": "(a+)+$"}, "no key 'pattern'"),
        ({"_ids": {}}, "no key '_ids'"),
    ],
)
def test_bad_values_are_named(changes, fault, tmp_path):
    text = stored(**changes)
    with pytest.raises(BadModelFile, match=fault):
        fastgru.Model(network(text))
    file.write(network(text), tmp_path / "bad.safetensors")
    with pytest.raises(BadModelFile, match=f"bad.safetensors: text front end.*{fault}"):
        fastgru.load(tmp_path / "bad.safetensors")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "ids", "count", "words", "lower"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(RULES)), ANYTHING, min_size=1, max_size=3), keep=st.booleans())
def test_any_json_is_an_encoder_or_a_bad_file(changes, keep):
    try:
        made = Encoder.from_json({**WORDS.to_json(), **changes} if keep else changes)
    except BadModelFile:
        return
    assert Encoder.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ({**STORED, "labels": None}, "'labels'"),
        ({**STORED, "labels": [["a"]]}, "'labels'"),
        ({**STORED, "about": {}}, "'about'"),
        ({**STORED, "code": "1"}, "no key 'code'"),
        ({"inputs": []}, "'inputs' should be an object"),
        ({"inputs": {"x": []}}, "expected an object"),
        ({"inputs": {"y": WORDS.to_json()}}, "no input 'y'"),
        ({}, "lacks the key 'about', 'labels'"),
        ({**FIRST, "lowercase": 1}, "'lowercase'"),
        ({**FIRST, "split": None}, "'split' is null"),
        ({**FIRST, "tokens": None}, "'tokens' is null"),
        ({**FIRST, "unknown": None}, "'unknown' is null"),
        ({**FIRST, "unknown": 7}, "7 tokens"),
        ({**FIRST, "labels": "ab"}, "'labels'"),
        ({**FIRST, "pattern": "a"}, "no key 'pattern'"),
        *(({k: v for k, v in FIRST.items() if k != key}, f"lacks the key '{key}'") for key in FIRST),
    ],
)
def test_bad_front_ends_are_named(text, fault):
    with pytest.raises(BadModelFile, match=fault):
        fastgru.Model(network(text))


def test_the_form_that_the_docs_show():
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    (block,) = (block for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL) if "standardize" in block)
    made = FrontEnd.from_json(json.loads(block), ["review", "genre"])
    assert made.inputs["review"].encode(["Fine, fine?"])[0].tolist() == [[2, 2] + 38 * [0]]
    assert made.inputs["genre"].encode([[8, 3]])[0].tolist() == [[1, 0, 1]]
    told = {key for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    assert {field.name for field in dataclasses.fields(Encoder) if field.init} <= told


def test_first_form_is_for_one_input():
    with pytest.raises(BadModelFile, match="one vocabulary for 2 inputs"):
        FrontEnd.from_json(FIRST, ["x", "y"])


@pytest.mark.parametrize("value", [None, [], "words", 3])
def test_not_an_object(value):
    with pytest.raises(BadModelFile, match="expected an object"):
        FrontEnd.from_json(value, ["x"])


def test_long_values_are_cut_in_messages():
    with pytest.raises(BadModelFile) as caught:
        encoder(split="x" * 10_000)
    assert len(str(caught.value)) < 300

"""The network that ships: its file, its front end and its answers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import fastgru

DATA = Path(fastgru.__file__).parent / "data"
GOOD = (
    "A wonderful film with a great cast.",
    "I loved every minute of it.",
    "Funny, touching and beautifully acted.",
    "One of the best movies of the year.",
)
BAD = (
    "A dull, pointless mess.",
    "The worst movie of the year.",
    "Boring, predictable and badly acted.",
    "A waste of time and talent.",
)


@pytest.fixture(scope="module")
def model():
    return fastgru.load(DATA / "demo.safetensors", threads=1)


@pytest.fixture(scope="module")
def front_end(model):
    return model.front_end


@pytest.fixture(scope="module")
def encoder(front_end):
    return front_end.inputs["tokens"]


def test_file_is_small_and_complete(model, encoder, front_end):
    assert (DATA / "demo.safetensors").stat().st_size < 600_000
    kinds = [layer.kind for layer in model.graph.layers if layer.kind != "Identity"]
    assert kinds == ["Embedding", "GRU", "Dense"]
    assert front_end.labels == ("negative", "positive")
    table = next(layer for layer in model.graph.layers if layer.kind == "Embedding").table
    assert len(encoder.tokens) == len(table)


def test_file_says_where_it_comes_from_and_how_good_it_is(model, front_end):
    for text in (front_end.about, *model.notes):
        assert re.search(r"vaderSentiment==0\.5 .*right on \d\d\.\d% of \d+ held-out", text)
    assert "MIT" in (DATA / "NOTICE").read_text(encoding="utf-8")


def test_readme_gives_the_measured_accuracy(front_end):
    measured = re.search(r"right on ([\d.]+)% of (\d+)", front_end.about)
    assert measured is not None
    readme = Path(__file__).parents[1] / "README.md"
    assert f"right on {measured[1]} % of {int(measured[2]):,}" in " ".join(readme.read_text(encoding="utf-8").split())


def test_vocabulary_holds_single_words_only(encoder):
    assert [token for token in encoder.tokens if re.search(r"\s", token)] == []


@pytest.mark.parametrize(("texts", "positive"), [(GOOD, True), (BAD, False)])
def test_plain_sentences_are_judged_rightly(model, texts, positive):
    for text in texts:
        assert (model([text]).item() > 0.5) is positive, text


def test_padded_batch_gives_the_same_bits(model, encoder):
    ids, lengths = encoder.encode(GOOD + BAD)
    single = np.array([model([text]).item() for text in GOOD + BAD], np.float32)
    np.testing.assert_array_equal(model(GOOD + BAD)[:, 0], single)
    np.testing.assert_array_equal(model(ids, lengths=lengths)[:, 0], single)
    np.testing.assert_array_equal(model(ids)[:, 0], single, err_msg="mask_zero alone")

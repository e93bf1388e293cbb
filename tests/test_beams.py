"""Beam search: against plain searches in Python, on Keras' own networks and on every sequence there is."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies

import fastgru
from building import dense, embedding, gru, tokens
from fastgru._openmp import core
from fastgru.generation.beams import Hypothesis, beam_search
from fastgru.generation.pairs import Pair, Sources
from fastgru.graph import Embedding, Graph, tensor_spec

pytestmark = pytest.mark.dtypes

PACKED = Path(__file__).parent / "data" / "translation.tar.xz"
START, END = 1, 2

Found = list[tuple[tuple[int, ...], float]]


def plain_beam_search(
    step: Callable[[int, Any], tuple[np.ndarray, Any]],
    state: Any,
    *,
    beams: int,
    max_tokens: int,
    start: int = START,
    end: int = END,
    length_penalty: float = 0.0,
) -> Found:
    """As Keras users write it: lists and `sorted`. `step` takes the last token and a state, and gives the
    log-probabilities (classes,) of the next token and the state behind it. Tokens are given with the end."""
    found: list[tuple[tuple[int, ...], float, Any]] = [((), 0.0, state)]
    for _ in range(max_tokens):
        candidates = []
        for sequence, score, before in found:
            if sequence[-1:] == (end,):
                candidates.append((sequence, score, before))
                continue
            log_probs, after = step(sequence[-1] if sequence else start, before)
            candidates += [((*sequence, token), score + float(p), after) for token, p in enumerate(log_probs)]
        ranked = sorted(candidates, key=lambda one: -one[1] / len(one[0]) ** length_penalty)
        found = ranked[:beams]
        if all(sequence[-1:] == (end,) for sequence, _, _ in found):
            break
    return [(sequence, score / len(sequence) ** length_penalty) for sequence, score, _ in found]


def with_end(found: Sequence[Hypothesis], end: int = END) -> Found:
    return [((*one.tokens, end) if one.finish == "stop" else one.tokens, one.score) for one in found]


def check_same(found: Sequence[Hypothesis], expected: Found) -> None:
    got = with_end(found)
    assert [sequence for sequence, _ in got] == [sequence for sequence, _ in expected]
    np.testing.assert_allclose([score for _, score in got], [score for _, score in expected], rtol=0, atol=1e-5)


def search(pair: Pair, source: Any, **options: Any) -> list[list[Hypothesis]]:
    sources = Sources(pair.encoder, source)
    found: list[list[Hypothesis]] = [[]] * sources.count
    options = {"beams": 3, "max_tokens": 8, "stop": {END}} | options
    for places, decoder in pair.open(sources, START, 1):
        for place, hypotheses in zip(places, beam_search(decoder, len(places), **options), strict=True):
            found[place] = hypotheses
        decoder.close()
    return found


# ---- which continuations go on ---------------------------------------------------------------------------------------


def plain_best(scores: np.ndarray, log_probs: np.ndarray, count: int) -> list[tuple[float, int, int]]:
    sums = scores[:, None] + log_probs.astype(np.float64)
    every = [(float(sums[place]), *place) for place in np.ndindex(*sums.shape) if sums[place] > -np.inf]
    return sorted(every, key=lambda one: -one[0])[:count]


@given(
    seed=strategies.integers(0, 2**32),
    rows=strategies.integers(1, 5),
    classes=strategies.integers(1, 70),
    count=strategies.integers(1, 40),
    levels=strategies.sampled_from([2, 5, 10_000]),
)
def test_the_best_of_all_continuations(seed: int, rows: int, classes: int, count: int, levels: int) -> None:
    """Few levels make many equal scores."""
    rng = np.random.default_rng(seed)
    scores = -rng.integers(levels, size=rows) / 8
    log_probs = (-rng.integers(levels, size=(rows, classes)) / 8).astype(np.float32)
    log_probs[rng.random(log_probs.shape) < 0.2] = -np.inf
    assert core.best_continuations(scores, log_probs, [0, rows], count) == [plain_best(scores, log_probs, count)]


def test_searches_side_by_side() -> None:
    rng = np.random.default_rng(0)
    scores, log_probs = -rng.random(7), -rng.random((7, 30_000)).astype(np.float32)
    bounds = [0, 3, 3, 7]
    found = core.best_continuations(scores, log_probs, bounds, 5)
    for first, last, best in zip(bounds, bounds[1:], found, strict=False):
        expected = plain_best(scores[first:last], log_probs[first:last], 5)
        assert best == [(score, first + row, token) for score, row, token in expected]


def test_no_number_is_no_continuation() -> None:
    log_probs = np.array([[-1, -2], [np.nan, -3]], np.float32)
    assert core.best_continuations([0, 0], log_probs, [0, 1, 2], 2) == [[(-1, 0, 0), (-2, 0, 1)], None]


# ---- the search ------------------------------------------------------------------------------------------------------


class Table:
    """A decoder whose log-probabilities are drawn for each sequence of tokens, quantised so that scores are equal."""

    def __init__(self, classes: int, seed: int, sources: int = 1, levels: float = 4) -> None:
        self.classes, self.seed, self.levels = classes, seed, levels
        self.rows: list[tuple[int, ...]] = [(source,) for source in range(sources)]

    def log_probs(self, sequence: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng([self.seed, *sequence])
        return (-np.round(rng.random(self.classes) * self.levels) / 4).astype(np.float32)

    def start(self) -> np.ndarray:
        return np.stack([self.log_probs(row) for row in self.rows])

    def step(self, tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        self.rows = [(*self.rows[parent], token) for token, parent in zip(tokens.tolist(), parents, strict=True)]
        return self.start()

    def close(self) -> None: ...


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("levels", [4, 1e6])
def test_as_with_lists_and_sorted(length_penalty: float, levels: float) -> None:
    """Finished hypotheses compete; of equal scores the one that stood before comes first, then the lower token."""
    for seed in range(60):
        for beams in (1, 2, 5):
            table = Table(5, seed, sources=2, levels=levels)
            options: dict[str, Any] = {"beams": beams, "max_tokens": 6, "length_penalty": length_penalty}
            found = beam_search(table, 2, stop={END}, **options)
            for source, hypotheses in enumerate(found):

                def step(token: int, state: tuple[int, ...], table: Table = table) -> tuple[np.ndarray, Any]:
                    sequence = state if token < 0 else (*state, token)
                    return table.log_probs(sequence), sequence

                expected = plain_beam_search(step, (source,), start=-1, **options)
                assert with_end(hypotheses) == expected


def test_it_ends_with_the_best_finished() -> None:
    class Steps(Table):
        calls = 0

        def log_probs(self, sequence: tuple[int, ...]) -> np.ndarray:
            return np.log(np.array([0.1, 0.1, 0.8] if len(sequence) > 2 else [0.6, 0.3, 0.1])).astype(np.float32)

        def step(self, tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
            Steps.calls += 1
            return super().step(tokens, parents)

    [[best, second]] = beam_search(Steps(3, 0), 1, beams=2, max_tokens=100, stop={END})
    assert (best.tokens, best.finish, second.tokens, second.finish) == ((0, 0), "stop", (0, 1), "stop")
    assert Steps.calls == 2
    [[best]] = beam_search(Steps(3, 0), 1, beams=1, max_tokens=2, stop={END})
    assert (best.tokens, best.finish) == ((0, 0), "length")
    np.testing.assert_allclose(best.score, 2 * np.log(0.6), rtol=1e-6)
    [[best]] = beam_search(Steps(3, 0), 1, beams=1, max_tokens=3, stop={0, END})
    assert (best.tokens, best.finish) == ((), "stop")
    [[best]] = beam_search(Steps(3, 0), 1, beams=1, max_tokens=3, stop={END}, banned=[0])
    assert (best.tokens, best.finish) == ((1, 1), "stop")


def test_what_is_impossible_is_no_hypothesis() -> None:
    class One(Table):
        def log_probs(self, sequence: tuple[int, ...]) -> np.ndarray:
            return np.array([0, -np.inf, -np.inf], np.float32)

    assert beam_search(One(3, 0), 1, beams=4, max_tokens=3) == [[Hypothesis((0, 0, 0), None, 0.0, "length")]]


def test_bad_options_and_scores() -> None:
    table = Table(3, 0)
    for options, message in (
        ({"beams": 0}, "beams should be a positive whole number"),
        ({"max_tokens": 1.5}, "max_tokens should be a positive"),
        ({"length_penalty": -1}, "length_penalty should be a finite number, 0 or more, got -1"),
        ({"length_penalty": float("nan")}, "length_penalty"),
    ):
        with pytest.raises(fastgru.BadInput, match=message):
            beam_search(table, 1, **({"beams": 2, "max_tokens": 3} | options))

    class Broken(Table):
        def log_probs(self, sequence: tuple[int, ...]) -> np.ndarray:
            return np.full(3, np.nan if len(sequence) > 1 else -1, np.float32)

    with pytest.raises(fastgru.FastGRUError, match="NaN for token 2 of what it writes"):
        beam_search(Broken(3, 0), 1, beams=2, max_tokens=3)


# ---- encoders and decoders -------------------------------------------------------------------------------------------


def a_pair(seed: int = 0, classes: int = 5, function: str = "softmax", scale: float = 3.0) -> Pair:
    """An encoder whose last state starts the decoder."""
    rng = np.random.default_rng(seed)
    reads = (embedding(rng, 9, 6), gru(rng, 6, 8, source="embedding", scale=scale))
    encoder = Graph((tokens(),), reads, ("gru:state",))
    word, state = tensor_spec("word", None, (), "int32"), tensor_spec("state", False, (8,))
    layers = (
        Embedding(name="words", inputs=("word",), table=rng.normal(size=(classes, 6)).astype("f4")),
        gru(rng, 6, 8, name="decoder", scale=scale, inputs=("words", "state"), return_sequences=True),
        dense(rng, 8, classes, name="scores", source="decoder", function=function),
    )
    decoder = Graph((word, state), layers, ("scores", "decoder:state"))
    return Pair(fastgru.Model(encoder), fastgru.Model(decoder))


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_as_many_beams_as_sequences_find_the_best(length_penalty: float) -> None:
    """All sequences of up to 3 tokens out of 4, each scored by the decoder as a whole."""
    for seed in range(5):
        pair = a_pair(seed, classes=4)
        source = np.array([[3, 1, 4]])
        state = pair.encoder(source)
        expected = []
        for length in (1, 2, 3):
            for sequence in itertools.product(range(4), repeat=length):
                if END in sequence[:-1] or (length < 3 and sequence[-1] != END):
                    continue
                probabilities, _ = pair.decoder(np.array([[START, *sequence[:-1]]]), state)
                total = np.log(probabilities[0, range(length), sequence].astype(np.float64)).sum()
                expected.append((sequence, total / length**length_penalty))
        expected.sort(key=lambda one: -one[1])
        [found] = search(pair, source, beams=4**3, max_tokens=3, length_penalty=length_penalty)
        check_same(found, expected)


def test_one_beam_is_greedy() -> None:
    for seed in range(10):
        pair = a_pair(seed)
        word, state, found = START, pair.encoder(np.array([[1, 2]])), []
        while len(found) < 8 and word != END:
            probabilities, state = pair.decoder(np.array([[word]]), state)
            word = int(probabilities[0, 0].argmax())
            found.append(word)
        [[best]] = search(pair, [1, 2], beams=1)
        assert with_end([best])[0][0] == tuple(found)


def test_a_batch_of_sources_is_its_sources_one_by_one() -> None:
    """Of different lengths, and more than run together: the same bits."""
    rng = np.random.default_rng(3)
    pair = a_pair(1)
    sources = [rng.integers(9, size=length) for length in rng.integers(1, 12, 70)]
    together = search(pair, sources)
    assert together == [search(pair, source)[0] for source in sources]
    assert any(one != together[0] for one in together)


def test_every_vector_isa_finds_the_same(monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]) -> None:
    found = []
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        pair = a_pair(2)
        assert pair.decoder.isa == isa
        found.append(search(pair, [[1, 2, 3], [4, 5]], beams=4))
    assert all(one == found[0] for one in found)


# ---- as Keras --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("translation")
    with tarfile.open(PACKED) as archive:
        archive.extractall(path, filter="data")
    return path


def log_of(scores: np.ndarray, function: str) -> np.ndarray:
    row = scores.reshape(-1).astype(np.float64)
    if function == "softmax":
        return np.log(row)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def keras_search(encoder: Any, decoder: Any, source: np.ndarray, function: str = "softmax", **options: Any) -> Found:
    """Keras' own networks in a plain search; the decoder takes [word, *states, *attention's] and gives
    [scores, *states]."""
    encoded = encoder(source)
    encoded = list(encoded) if isinstance(encoded, (list, tuple)) else [encoded]
    count = len(decoder.outputs) - 1
    states, fixed = encoded[len(encoded) - count :], encoded[: len(encoded) - count]
    if len(decoder.inputs) > 1 + count + len(fixed):
        fixed = [*fixed, source != 0]
    classes = decoder.outputs[0].shape[-1]
    one_hot = len(decoder.inputs[0].shape) == 3

    def step(token: int, states: Any) -> tuple[np.ndarray, Any]:
        word = np.eye(classes, dtype="f4")[None, None, token] if one_hot else np.array([[token]])
        scores, *states = decoder([word, *states, *fixed])
        return log_of(np.asarray(scores), function), states

    return plain_beam_search(step, states, **options)


@pytest.mark.dtypes("float32")  # Keras holds its weights in float32
@pytest.mark.parametrize("name", ["additive_keras3", "multiplicative_keras2"])
def test_translations_as_keras_finds_them(name: str, folder: Path) -> None:
    files = [folder / name / f"{part}.keras" for part in ("encoder", "decoder")]
    if name.endswith("keras2"):
        keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed: only Keras 2 reads these files")
    else:
        from keras_live import keras
    originals = [keras.models.load_model(file, compile=False) for file in files]
    pair = Pair(*map(fastgru.load, files))
    with np.load(folder / name / "answers.npz") as answers:
        rows = [row[: np.count_nonzero(row)] for row in answers["source"][:4]]
    for options in ({"beams": 4}, {"beams": 3, "length_penalty": 0.8}, {"beams": 1}):
        for row, found in zip(rows, search(pair, rows, **options), strict=True):
            check_same(found, keras_search(*originals, row[None], max_tokens=8, **options))


class PlainCalls:
    """A Model that takes its inputs as Keras' networks do."""

    def __init__(self, model: fastgru.Model) -> None:
        self.model, self.inputs, self.outputs = model, model.inputs, model.outputs

    def __call__(self, inputs: Any) -> Any:
        return self.model(*inputs) if isinstance(inputs, list) else self.model(inputs)


@pytest.mark.parametrize("name", ["additive_keras3", "multiplicative_keras2"])
def test_translations_as_plain_calls_find_them(name: str, folder: Path) -> None:
    """Whose words and probabilities are held against Keras' own in test_encoder_decoder.py."""
    pair = Pair(*(fastgru.load(folder / name / f"{part}.h5") for part in ("encoder", "decoder")))
    with np.load(folder / name / "answers.npz") as answers:
        rows = [row[: np.count_nonzero(row)] for row in answers["source"]]
    originals = PlainCalls(pair.encoder), PlainCalls(pair.decoder)
    for options in ({"beams": 4}, {"beams": 3, "length_penalty": 0.8}):
        for row, found in zip(rows, search(pair, rows, **options), strict=True):
            check_same(found, keras_search(*originals, row[None], max_tokens=8, **options))


SHAPES = [
    (layers, attention, one_hot, function)
    for layers in (1, 2)
    for attention in (None, "Attention", "AdditiveAttention")
    for one_hot, function in ((False, "softmax"), (True, "linear"))
]


@pytest.mark.dtypes("float32")  # Keras holds its weights in float32
@pytest.mark.parametrize(("layers", "attention", "one_hot", "function"), SHAPES)
def test_fresh_networks_as_keras_searches_them(
    layers: int, attention: str | None, one_hot: bool, function: str
) -> None:
    from keras_live import keras

    encoder, decoder = keras_pair(keras, layers, attention, one_hot, function)
    pair = Pair(fastgru.from_keras(encoder), fastgru.from_keras(decoder))
    assert len(pair.wiring.states) == layers
    rng = np.random.default_rng(layers)
    sources = [rng.integers(1, 9, size=5), rng.integers(1, 9, size=3), rng.integers(1, 9, size=5)]
    for options in ({"beams": 3}, {"beams": 2, "length_penalty": 1.0}):
        for row, found in zip(sources, search(pair, sources, **options), strict=True):
            check_same(found, keras_search(encoder, decoder, row[None], function, max_tokens=8, **options))


def keras_pair(keras: Any, layers: int, attention: str | None, one_hot: bool, function: str) -> tuple[Any, Any]:
    """Random weights, large enough that tokens differ in their probabilities."""
    L, classes, units = keras.layers, 7, 10
    keras.utils.set_random_seed(100 * layers + 10 * bool(attention) + one_hot)
    large = {"kernel_initializer": keras.initializers.RandomNormal(stddev=1.0)}

    def stack(x: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        after = []
        for state in states:
            x, last = L.GRU(units, return_sequences=True, return_state=True, **large)(x, initial_state=state)
            after.append(last)
        return x, after

    source = keras.Input((None,), dtype="int32")
    encoded, states = stack(L.Embedding(9, 6, embeddings_initializer="normal")(source), [None] * layers)
    encoder = keras.Model(source, [encoded, *states] if attention else states)

    word = keras.Input((1, classes)) if one_hot else keras.Input((1,), dtype="int32")
    before = [keras.Input((units,)) for _ in range(layers)]
    embedded = word if one_hot else L.Embedding(classes, 6, embeddings_initializer=large["kernel_initializer"])(word)
    decoded, after = stack(embedded, before)
    inputs = [word, *before]
    if attention:
        keys = keras.Input((None, units))
        context = getattr(L, attention)()([decoded, keys])
        decoded = L.Concatenate()([decoded, context])
        inputs.append(keys)
    spread = keras.initializers.RandomNormal(stddev=2.0)
    scores = L.Dense(classes, activation=function, kernel_initializer=spread)(decoded)
    return encoder, keras.Model(inputs, [scores, *after])

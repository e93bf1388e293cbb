"""Character networks, and NumPy's own way through them, for the tests of `generate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import oracle
import tolerances
from building import chain, dense, embedding, floats, gru, tokens
from fastgru import Model, generate
from fastgru.generation import Generation
from fastgru.graph import Activation, Dense, Embedding, Graph
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
    """A network's own answer behind a sequence, in float64. With narrow weights, products may be rounded by more than
    what decides between two tokens: there it is what a plain call gives."""
    is_exact = tolerances.weight_dtype == "float32"
    model = Model(graph)

    def answer(ids: list[int]) -> np.ndarray:
        spec = graph.inputs[0]
        x = np.array([ids]) if spec.dtype == "int32" else np.eye(COUNT, dtype=np.float32)[[ids]]
        y = oracle.run(graph, {"x": x})[0] if is_exact else model(x)
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

"""The sampler against one in plain NumPy, on every ISA; ties, extremes, and logits that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from building import VECTOR_ISAS
from fastgru import BadInput
from fastgru._core import Sampler
from sampling import ReferenceSampler

INF, NAN = math.inf, math.nan
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.0},
    {"temperature": 0.3},
    {"temperature": 7.0},
    {"top_k": 1},
    {"top_k": 7},
    {"top_p": 0.1},
    {"top_p": 0.9},
    {"top_p": 1.0},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.5},
    {"top_k": 20, "top_p": 0.5, "temperature": 1.7, "repetition_penalty": 1.2},
)


def normal(rng: np.random.Generator, count: int, spread: float) -> np.ndarray:
    return (rng.normal(size=count) * spread).astype(np.float32)


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


# ---- against the reference -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("tokens", [1, 2, 15, 16, 17, 63, 64, 65, 130, 1000])
def test_against_the_reference(tokens: int, options: dict[str, Any], isa: str) -> None:
    rng = np.random.default_rng(tokens)
    ours = Sampler(tokens, isa=isa, seed=11, row=tokens, **options)
    reference = ReferenceSampler(seed=11, row=tokens, **options)
    for spread in (0.0, 0.1, 1.0, 4.0, 50.0):
        for _ in range(20):
            logits = normal(rng, tokens, spread)
            token = ours.choose(logits)
            assert token == reference.choose(logits), f"spread {spread}"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_many_tokens(options: dict[str, Any]) -> None:
    rng, ours, reference = np.random.default_rng(5), Sampler(50_000, seed=2, **options), ReferenceSampler(
        seed=2, **options
    )  # fmt: skip
    for spread in (1.0, 5.0, 20.0):
        for logits in (normal(rng, 50_000, spread), np.sort(normal(rng, 50_000, spread))):
            assert ours.choose(logits) == reference.choose(logits)


@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, 3.5, -INF, 1e-3]), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.one_of(st.none(), st.integers(1, 45)),
    st.one_of(st.none(), st.sampled_from([0.01, 0.25, 0.5, 0.75, 0.99, 1.0])),
    st.sampled_from([1.0, 2.0, 0.5]),
    st.lists(st.integers(0, 39), max_size=5),
    st.integers(0, 2**64 - 1),
)
def test_ties(
    numbers: list[float],
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    penalty: float,
    banned: list[int],
    seed: int,
) -> None:
    """Equal logits, sums that reach top_p exactly, tokens that cannot be drawn."""
    banned = [token for token in banned if token < len(numbers)]
    options: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "repetition_penalty": penalty,
        "banned": banned,
        "seed": seed,
    }
    logits = vector(*numbers)
    ours, reference = Sampler(len(logits), **options), ReferenceSampler(**options)
    left = np.delete(logits, banned)
    if not len(left) or left.max() == -INF:
        with pytest.raises(BadInput, match="every one is banned"):
            ours.choose(logits)
        return
    for _ in range(8):
        assert ours.choose(logits) == reference.choose(logits)


def test_which_tokens_are_kept() -> None:
    def chosen(**options: Any) -> set[int]:
        sampler = Sampler(6, **options)
        return {sampler.choose(vector(1, 3, 2, 3, 2, 2)) for _ in range(400)}

    assert chosen() == {0, 1, 2, 3, 4, 5}
    assert chosen(top_k=1) == {1}
    assert chosen(top_k=2) == {1, 3}
    assert chosen(top_k=4) == {1, 2, 3, 4}
    assert chosen(top_p=1e-9) == {1}
    assert chosen(top_p=0.5) == {1, 3}  # 0.31 each
    assert chosen(top_k=3, top_p=0.9) == {1, 2, 3}
    assert chosen(banned=[1, 3, 0]) == {2, 4, 5}
    assert chosen(temperature=0.0) == {1}
    assert chosen(temperature=1e-30) == {1, 3}


def test_frequencies() -> None:
    logits, sampler = vector(0.0, 1.0, 2.0, -INF, 0.5), Sampler(5, temperature=2.0, seed=9)
    counts = np.bincount([sampler.choose(logits) for _ in range(20_000)], minlength=5)
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert counts[3] == 0
    assert np.abs(counts / 20_000 - expected).max() < 0.015


# ---- the draw --------------------------------------------------------------------------------------------------------


def test_uniform_numbers_are_numpys() -> None:
    """Of 2**20 equally likely tokens the one drawn tells 20 bits of the number."""
    logits = np.zeros(1 << 20, np.float32)
    for seed, row in ((0, 0), (7, 3), (2**64 - 1, 2**63)):
        uniform = np.random.Generator(np.random.Philox(key=[seed, row])).random(9)
        sampler = Sampler(1 << 20, seed=seed, row=row)
        assert [sampler.choose(logits) for _ in range(9)] == np.floor(uniform * (1 << 20)).astype(int).tolist()


def test_rows_have_keys_of_their_own() -> None:
    rng = np.random.default_rng(1)
    logits = normal(rng, 40, 2.0)
    together = Sampler(40, 3, seed=5, row=7)
    drawn = [[together.choose(logits, row) for row in range(3)] for _ in range(20)]
    for row in range(3):
        alone = Sampler(40, seed=5, row=7 + row)
        assert [alone.choose(logits) for _ in range(20)] == [step[row] for step in drawn]
    assert len({tuple(step[row] for step in drawn) for row in range(3)}) == 3


def test_greedy_draws_nothing() -> None:
    assert {Sampler(5, temperature=0.0, seed=seed).choose(vector(1, 2, 5, 5, 4)) for seed in range(20)} == {2}


def test_same_tokens_on_every_vector_isa() -> None:
    rng = np.random.default_rng(4)
    cases = [(normal(rng, tokens, 3.0), options) for tokens in (65, 1000) for options in OPTIONS for _ in range(20)]
    answers = []
    for isa in VECTOR_ISAS:
        samplers = [Sampler(len(x), isa=isa, seed=i, log_probability=True, **o) for i, (x, o) in enumerate(cases)]
        chosen = [[s.choose(x) for _ in range(5)] for s, (x, _) in zip(samplers, cases, strict=True)]
        answers.append((chosen, [s.log_probability for s in samplers]))
    assert all(answer == answers[0] for answer in answers)


def test_the_same_under_any_rounding_of_the_callers() -> None:
    """Denormal logits count as 0, whatever the thread's mode: of equals the first wins."""
    assert Sampler(3, temperature=0.0).choose(vector(0.0, 1e-45, 1e-40)) == 0
    assert {Sampler(3, top_k=1, seed=s).choose(vector(-0.0, 1e-45, 0.0)) for s in range(9)} == {0}


# ---- penalty, log-probability, probabilities -------------------------------------------------------------------------


def test_penalty_counts_prompt_and_choices() -> None:
    sampler = Sampler(4, 2, temperature=0.0, repetition_penalty=2.0)
    logits = vector(3.0, 2.0, 1.6, -1.0)
    assert [sampler.choose(logits) for _ in range(4)] == [0, 1, 2, 0]  # 3 → 1.5, 2 → 1, 1.6 → 0.8
    sampler.see([0, 1], row=1)
    assert sampler.choose(logits, row=1) == 2
    negative = Sampler(2, temperature=0.0, repetition_penalty=2.0)
    negative.see([1])
    assert negative.choose(vector(-1.5, -1.0)) == 0


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_log_probability_is_the_networks_own(options: dict[str, Any], isa: str) -> None:
    rng = np.random.default_rng(3)
    sampler = Sampler(70, isa=isa, log_probability=True, banned=[1], **options)
    for _ in range(30):
        logits = normal(rng, 70, 3.0)
        logits[2] = -INF
        token = sampler.choose(logits)
        exact = logits.astype(np.float64)
        assert sampler.log_probability == pytest.approx(exact[token] - np.log(np.exp(exact).sum()), abs=3e-6)


def test_probabilities_are_the_same_as_their_logarithms(isa: str) -> None:
    rng = np.random.default_rng(6)
    options: dict[str, Any] = {"top_p": 0.8, "seed": 4, "log_probability": True, "isa": isa}
    ours, reference = Sampler(33, probabilities=True, **options), ReferenceSampler(top_p=0.8, seed=4)
    for _ in range(50):
        p = rng.dirichlet(np.full(33, 0.3)).astype(np.float32)
        p[5] = 0
        p /= p.sum()
        with np.errstate(divide="ignore"):
            token = reference.choose(np.log(p))
        assert ours.choose(p) == token
        assert ours.log_probability == pytest.approx(math.log(p[token]), abs=3e-6)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("tokens", [3, 100])
def test_logits_that_are_none(tokens: int, temperature: float) -> None:
    sampler = Sampler(tokens, temperature=temperature, seed=1)
    for bad, fault in ((NAN, "id 2 has nan"), (INF, "id 2 has inf")):
        logits = np.zeros(tokens, np.float32)
        logits[2] = bad
        with pytest.raises(BadInput, match=fault):
            sampler.choose(logits)
    with pytest.raises(BadInput, match="every one is banned, has the logit -inf"):
        sampler.choose(np.full(tokens, -INF, np.float32))
    rng = np.random.default_rng(0)
    logits = normal(rng, tokens, 1.0)  # nothing was drawn for those
    assert sampler.choose(logits) == ReferenceSampler(temperature=temperature, seed=1).choose(logits)


def test_negative_probabilities_are_refused() -> None:
    with pytest.raises(BadInput, match=r"id 1 is -0\.5"):
        Sampler(2, probabilities=True).choose(vector(1.5, -0.5))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": NAN},
        {"temperature": INF},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": NAN},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": -1.0},
        {"banned": [5]},
        {"banned": [-1]},
        {"rows": 0},
    ],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Sampler(5, **options)


def test_wrong_shapes_rows_and_ids() -> None:
    sampler = Sampler(5, 2)
    with pytest.raises(BadInput, match=r"expected logits of shape \(5,\), got \(4,\)"):
        sampler.choose(np.zeros(4, np.float32))
    with pytest.raises(BadInput, match="row should be a whole number from 0 to 1, got 2"):
        sampler.choose(np.zeros(5, np.float32), 2)
    with pytest.raises(BadInput, match="from 0 to 4, got 5"):
        sampler.see([5])

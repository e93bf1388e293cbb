"""A sampler in plain NumPy, written from the definition: what `core.Sampler` and `generate` are held against."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class ReferenceSampler:
    """One row; `draw` tells how near to another token the last draw was."""

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float = 1.0,
        banned: Iterable[int] = (),
        seed: int = 0,
        row: int = 0,
    ) -> None:
        self.temperature, self.top_k, self.top_p, self.penalty = temperature, top_k, top_p, repetition_penalty
        self.banned = list(banned)
        self.seen: set[int] = set()
        self.uniform = np.random.Generator(np.random.Philox(key=[seed, row]))

    def see(self, ids: Iterable[int]) -> None:
        self.seen.update(ids)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Of each token, 0 of those that are not kept; float64."""
        scores = self._scores(logits)
        weights = np.exp((scores.astype(np.float64) - scores.max()) / np.float32(self.temperature))
        order = np.lexsort((np.arange(len(scores)), -scores))  # the likeliest first, of equals the lower id
        if self.top_k is not None:
            weights[order[self.top_k :]] = 0
        if self.top_p is not None:
            sums = np.cumsum(weights[order])
            weights[order[1:][sums[:-1] >= self.top_p * sums[-1]]] = 0
        return weights / weights.sum()

    def choose(self, logits: np.ndarray) -> int:
        if self.temperature == 0:
            token = int(self._scores(logits).argmax())
        else:
            sums = np.cumsum(self.probabilities(logits))
            token = int(np.searchsorted(sums, self.uniform.random() * sums[-1], side="right"))
        self.seen.add(token)
        return token

    def _scores(self, logits: np.ndarray) -> np.ndarray:
        scores = np.array(logits, np.float32)
        seen = sorted(self.seen)
        penalty = np.float32(self.penalty)
        scores[seen] = np.where(scores[seen] > 0, scores[seen] / penalty, scores[seen] * penalty)
        scores[self.banned] = -np.inf
        return scores

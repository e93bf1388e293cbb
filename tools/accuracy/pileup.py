"""Pile-ups of nanopore reads over a draft, as medaka sees them, made up: counts of bases by strand.

A truth and a draft of it with the errors that assemblers leave are drawn; then reads of the truth, with errors that
depend on the five bases around a place and on the strand, so that some places are hard for every read of a strand, and
with homopolymers read too short or too long. Gaps lie at the left end of a homopolymer, where aligners put them.

The features are those of medaka's `CountsFeatureEncoder(normalise="total")`: a column for each place of the draft
(major) and one more for each base that any read has inserted behind it (minor); ten counts, `acgtACGTdD`, small
letters for reads of the backward strand, d and D for gaps, which only major columns have; all over the depth of the
major column.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
DEPTHS = (10, 15, 20, 25, 30, 40, 50, 60)
INSERTED = 3  # more bases in a row are not kept
NONE = 4  # no base


def features(places: int, depth: int, seed: int) -> Array:
    """A stretch of `places` places of a draft: (columns, 10) float32."""
    rng = np.random.default_rng(seed)
    draft, truth, missing = assembly(rng, places)
    majors, minors = np.zeros((places, 10)), np.zeros((places, INSERTED, 10))
    rates = [Errors(rng, truth) for _ in range(2)]
    covered = 0
    while covered < depth * places:
        length = int(np.clip(rng.lognormal(8.6, 0.6), 500, places))
        start = int(rng.integers(-length // 2, places - length // 2))
        begin, end = max(0, start), min(places, start + length)
        if end > begin:
            strand = int(rng.integers(2))
            add_read(rng, rates[strand], draft, truth, missing, slice(begin, end), strand, majors, minors)
            covered += end - begin
    depths = np.maximum(1, majors.sum(axis=1))
    columns = [majors[:, None], minors]
    table = np.concatenate(columns, axis=1) / depths[:, None, None]
    is_column = np.concatenate([np.ones((places, 1), bool), minors.sum(axis=2) > 0], axis=1)
    return table[is_column].astype(np.float32)


def assembly(rng: np.random.Generator, places: int) -> tuple[Array, Array, Array]:
    """Bases 0–3 at each place of the draft and of the truth (NONE where the draft has one too many), and the base that
    the draft lacks behind the place (NONE where it lacks none)."""
    draft = rng.choice(4, places, p=(0.29, 0.21, 0.21, 0.29))
    repeats = rng.random(places) < 0.12  # makes homopolymers as long as those of genomes
    for place in range(1, places):
        if repeats[place]:
            draft[place] = draft[place - 1]
    chance, truth = rng.random(places), draft.copy()
    wrong = chance < 0.001
    truth[wrong] = (draft[wrong] + rng.integers(1, 4, wrong.sum())) % 4
    truth[(chance >= 0.001) & (chance < 0.003)] = NONE
    missing = np.full(places, NONE)
    lacks = rng.random(places) < np.where(run_lengths(draft) >= 4, 0.03, 0.002)
    missing[lacks] = np.where(rng.random(lacks.sum()) < 0.8, draft[lacks], rng.integers(0, 4, lacks.sum()))
    return draft, truth, missing


def run_starts(bases: Array) -> Array:
    """The first place of the run of equal bases in which each place lies."""
    begins = np.r_[True, bases[1:] != bases[:-1]]
    return np.maximum.accumulate(np.where(begins, np.arange(len(bases)), 0))


def run_lengths(bases: Array) -> Array:
    starts = run_starts(bases)
    return np.bincount(starts, minlength=len(bases))[starts]


class Errors:
    """How likely each error is at each place, on one strand: some 1.5 % wrong, 2.5 % missing and 1.5 % more."""

    def __init__(self, rng: np.random.Generator, truth: Array) -> None:
        around = np.stack([np.roll(truth, shift) for shift in (2, 1, 0, -1, -2)])
        code = np.ravel_multi_index(tuple(around), (5,) * 5)
        # the same five bases always go wrong in the same way
        table = [mean * rng.gamma(0.5, 2.0, 5**5) for mean in (0.015, 0.02, 0.012)]
        longer = np.clip(run_lengths(truth) - 2, 0, 8)
        self.wrong = np.minimum(0.6, table[0][code])
        self.lost = np.minimum(0.6, table[1][code] + 0.02 * longer)
        self.more = np.minimum(0.3, table[2][code] + 0.01 * longer)
        self.instead = rng.integers(1, 4, 5**5)[code]


def add_read(
    rng: np.random.Generator, rates: Errors, draft: Array, truth: Array, missing: Array, part: slice, strand: int,
    majors: Array, minors: Array,
) -> None:  # fmt: skip
    """Count one read of the places `part` in; strand 0 is the backward one."""
    count = part.stop - part.start
    base, chance = truth[part], rng.random((3, count))
    wrong = (chance[0] < rates.wrong[part]) & (base != NONE)
    usual = rng.random(count) < 0.7
    seen = np.where(wrong, (base + np.where(usual, rates.instead[part], rng.integers(1, 4, count))) % 4, base)
    gap = (chance[1] < rates.lost[part]) | (base == NONE)
    starts = run_starts(draft[part])
    gap = np.arange(count) - starts < np.bincount(starts, gap, minlength=count)[starts]  # to the left end of the run
    seen = np.where(seen == NONE, draft[part], seen)  # its gap is now further left
    places, kept = np.arange(part.start, part.stop), ~gap
    np.add.at(majors, (places[kept], seen[kept] + 4 * strand), 1)
    np.add.at(majors, (places[~kept], 8 + strand), 1)

    # inserted: what the draft lacks, and what this read has too much, mostly one more of a run
    some = np.where(rng.random(count) < 0.5, base, rng.integers(0, 4, count))
    own = np.where(chance[2] < rates.more[part], some, NONE)
    real = np.where(rng.random(count) < rates.lost[part], NONE, missing[part])
    level = np.zeros(count, int)
    for inserted in (real, own):
        there = inserted != NONE
        # one more of a run stands before its left end
        at = np.where(inserted == draft[part], starts - 1, np.arange(count))
        for place in np.flatnonzero(there & (at >= 0)):
            spot = at[place]
            if level[spot] < INSERTED:
                minors[part.start + spot, level[spot], inserted[place] + 4 * strand] += 1
                level[spot] += 1

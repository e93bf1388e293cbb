"""What every check of accuracy is made of: a network, how it is run, and what its answers are held to."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastgru

Array = np.ndarray
DTYPES = ("bfloat16", "float16", "int8")


class Bound(NamedTuple):
    """What a number must not fall below, or rise above."""

    limit: float
    is_least: bool = False

    def holds(self, value: float) -> bool:
        return bool(value >= self.limit if self.is_least else value <= self.limit)  # NaN holds nowhere

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {self.limit:.4g}"


def at_least(limit: float) -> Bound:
    return Bound(limit, is_least=True)


def at_most(limit: float) -> Bound:
    return Bound(limit)


@dataclass(frozen=True, eq=False)
class Network:
    """A network with data.

    Attributes
    ----------
    name : str
    source : path or Graph
    answer : callable
        A Model → what it answers; its float32 answers are what others are compared with, unless there is a `reference`.
    judge : callable
        (reference answers, answers) → numbers by what they measure.
    bounds : mapping
        (measure, dtype) → Bound. What has none is information.
    dtypes, keep_float32 : tuples of str
        The dtypes that are of interest, and the layers that stay float32.
    reference : callable, optional
        → answers to compare with that do not come from fastgru.
    facts : callable, optional
        Reference answers → numbers to show beside, by (measure, whose they are).
    """

    name: str
    source: Any
    answer: Callable[[fastgru.Model], Any]
    judge: Callable[[Any, Any], Mapping[str, float]]
    bounds: Mapping[tuple[str, str], Bound] = field(default_factory=dict)
    dtypes: tuple[str, ...] = DTYPES
    keep_float32: tuple[str, ...] = ()
    reference: Callable[[], Any] | None = None
    facts: Callable[[Any], Mapping[tuple[str, str], float]] = lambda expected: {}

    def model(self, dtype: str) -> fastgru.Model:
        make = fastgru.load if isinstance(self.source, (str, Path)) else fastgru.Model
        keep = self.keep_float32 if dtype != "float32" else ()
        return make(self.source, dtype=dtype, keep_float32=keep)

    @functools.cached_property
    def expected(self) -> Any:
        return self.reference() if self.reference else self.answer(self.model("float32"))


def snr(reference: Array, found: Array) -> float:
    """Power of the reference over that of the error, in dB."""
    reference = np.asarray(reference, np.float64)
    noise = float(np.square(found - reference).sum())
    return float(10 * np.log10(np.square(reference).sum() / noise)) if noise else np.inf


def package_file(work: Path, requirement: str, *options: str) -> Path:
    """The archive of a package, fetched with pip into `work`/packages unless it is there."""
    folder, pattern = work / "packages", requirement.replace("==", "-").replace("-", "?") + "*"
    if not list(folder.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*pip, *options, requirement], check=True)
    return next(folder.glob(pattern))

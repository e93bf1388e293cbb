"""What is measured of an output: how far its numbers are from those of float32, in all and step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..graph import Array, Graph
from .running import Output

#: numbers that are compared at once, in float64
_BLOCK = 1 << 20
#: into so many stretches the second half of a sequence is cut to see whether the error grows
_STRETCHES = 16
#: growth over the second half that is called so, if it is also more than chance
_GROWS = 1.1


@dataclass(frozen=True, eq=False)
class StepErrors:
    """The error of each step of the sequences, over all rows and units; padding left out.

    Attributes
    ----------
    largest, rms : array of float (steps,)
        NaN at a step that no row has.
    """

    largest: Array
    rms: Array

    @property
    def growth(self) -> float | None:
        """The factor by which the rms error changes over the second half of the steps, by a straight line through the
        logarithms of 16 stretches' rms; None for fewer than 31 steps, or where a stretch has no error.

        >>> StepErrors(np.ones(100), np.full(100, 0.1)).growth
        1.0
        >>> round(StepErrors(np.ones(100), 2.0 ** (np.arange(100) / 50)).growth, 1)  # doubles over 50 steps
        2.0
        """
        fit = self._fit()
        return None if fit is None else math.exp(fit[0])

    @property
    def grows(self) -> bool | None:
        """Whether it grows by more than a tenth over the second half, and by more than chance (three standard errors
        of the line's slope); None as `growth`."""
        fit = self._fit()
        return None if fit is None else bool(fit[0] > math.log(_GROWS) and fit[0] > 3 * fit[1])

    def _fit(self) -> tuple[float, float] | None:
        """The slope of ln(rms) over the second half, and its standard error."""
        rms = self.rms[np.isfinite(self.rms)]
        rms = rms[len(rms) // 2 :]
        if len(rms) < _STRETCHES:
            return None
        stretches = np.array([np.sqrt(np.mean(part**2)) for part in np.array_split(rms, _STRETCHES)])
        if not (stretches > 0).all():
            return None
        x, y = np.arange(_STRETCHES) / _STRETCHES, np.log(stretches)
        x -= x.mean()
        squares = (x * x).sum()
        slope = (x * y).sum() / squares
        left = y - y.mean() - slope * x
        return float(slope), float(np.sqrt((left * left).sum() / (_STRETCHES - 2) / squares))


@dataclass(frozen=True)
class OutputError:
    """How far one output is from float32's; padding left out.

    Attributes
    ----------
    name : str
    count : int
        Numbers that were compared.
    largest, mean : float
        Of the absolute differences; NaN for ids and masks.
    snr : float
        Signal-to-noise ratio in dB, 10 · log10(Σ reference² / Σ difference²); infinite without any difference, NaN for
        ids and masks.
    same_answers : float or None
        Share of equal answers: of equal classes (the largest number) or, where one number decides, of equal decisions;
        for ids and masks, of equal numbers. None: the output gives no answers.
    answers : int
        How many there were.
    broken : int
        Numbers that are NaN or infinite though they are not in float32. With any of them the errors are infinite.
    undefined : int
        Numbers that float32 itself leaves NaN or infinite; they are not compared.
    steps : StepErrors or None
        For numbers along a time axis.
    """

    name: str
    count: int
    largest: float
    mean: float
    snr: float
    same_answers: float | None
    answers: int
    broken: int
    undefined: int
    steps: StepErrors | None

    @property
    def is_number(self) -> bool:
        """Whether the output is numbers: no ids, no mask."""
        return not math.isnan(self.snr) or not math.isnan(self.mean)


class Differences:
    """Gathers the error of one output batch by batch."""

    def __init__(self, output: Output, graph: Graph) -> None:
        self._output, self._answers = output, output.answers(graph)
        self._signal = self._noise = self._sum = self._largest = 0.0
        self._count = self._broken = self._undefined = self._same = self._asked = 0
        self._most, self._squares, self._counts = np.zeros(0), np.zeros(0), np.zeros(0, np.int64)

    def add(self, reference: Array, narrow: Array, counted: Array | None) -> None:
        """Compare arrays (batch, …) or (batch, time, …).

        Parameters
        ----------
        reference, narrow : array
        counted : bool array (batch, time), optional
            The steps that are no padding. Default: all.
        """
        is_sequence = self._output.value.is_sequence
        if not is_sequence:  # rows take the place of steps, so that blocks are cut out of them
            reference, narrow = reference[None], narrow[None]
        steps = reference.shape[1]
        if is_sequence and steps > len(self._counts):
            self._most, self._squares, self._counts = (
                np.concatenate([old, np.zeros(steps - len(old), old.dtype)])
                for old in (self._most, self._squares, self._counts)
            )
        at_once = max(1, _BLOCK * steps // max(reference.size, 1))
        for first in range(0, steps, at_once):
            part = np.s_[:, first : first + at_once]
            mask = np.ones(reference[part].shape[:2], bool) if counted is None else counted[part]
            self._add(reference[part], narrow[part], mask, first if is_sequence else None)

    def _add(self, reference: Array, narrow: Array, mask: Array, first: int | None) -> None:
        if not self._output.is_number:
            mask = np.broadcast_to(mask.reshape(*mask.shape, *(1,) * (reference.ndim - 2)), reference.shape)
            self._count += int(mask.sum())
            self._asked += int(mask.sum())
            self._same += int(((reference == narrow) & mask).sum())
            return
        if self._answers is not None:
            self._ask(reference, narrow, mask)
        shape = *mask.shape, -1
        reference, narrow = reference.reshape(shape), narrow.reshape(shape)
        compared = np.isfinite(reference) & mask[..., None]
        fine = compared & np.isfinite(narrow)
        signal = np.where(compared, reference, 0).astype(np.float64)
        apart = np.abs(np.where(fine, narrow, 0) - np.where(fine, signal, 0))
        squares, most = apart**2, apart.max(axis=(0, 2), initial=0.0)
        self._count += int(compared.sum())
        self._undefined += int(mask.sum()) * reference.shape[-1] - int(compared.sum())
        self._broken += int(compared.sum()) - int(fine.sum())
        self._signal += float((signal**2).sum())
        self._noise += float(squares.sum())
        self._sum += float(apart.sum())
        self._largest = max(self._largest, float(most.max(initial=0.0)))
        if first is not None:
            here = slice(first, first + mask.shape[1])
            self._most[here] = np.maximum(self._most[here], most)
            self._squares[here] += squares.sum(axis=(0, 2))
            self._counts[here] += fine.sum(axis=(0, 2))

    def _ask(self, reference: Array, narrow: Array, mask: Array) -> None:
        """Compare answers; those that float32 leaves open do not count, and NaN answers nothing."""
        if self._answers == "classes":
            same = reference.argmax(-1) == narrow.argmax(-1)
        else:
            threshold = self._output.threshold
            same = ((reference >= threshold) == (narrow >= threshold)).all(-1)
        same &= ~np.isnan(narrow).any(-1)
        asked = ~np.isnan(reference).any(-1) & mask.reshape(*mask.shape, *(1,) * (same.ndim - 2))
        self._asked += int(asked.sum())
        self._same += int((same & asked).sum())

    def result(self) -> OutputError:
        share = self._same / self._asked if self._asked else None
        steps = None
        if not self._output.is_number:
            largest = mean = snr = math.nan
        elif self._broken:
            largest, mean, snr = math.inf, math.inf, -math.inf
        else:
            largest, mean = self._largest, self._sum / self._count if self._count else 0.0
            snr = decibels(self._signal, self._noise)
        if self._output.is_number and self._output.value.is_sequence:
            none = self._counts == 0
            rms = np.sqrt(self._squares / np.maximum(self._counts, 1))
            steps = StepErrors(np.where(none, np.nan, self._most), np.where(none, np.nan, rms))
        return OutputError(
            self._output.name, self._count, largest, mean, snr, share, self._asked, self._broken, self._undefined, steps
        )


def decibels(signal: float, noise: float) -> float:
    """A ratio of two sums of squares in dB.

    >>> decibels(100.0, 1.0), decibels(1.0, 0.0)
    (20.0, inf)
    """
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal / noise else -math.inf

"""The two questions as functions: what does a narrow network cost, and which layers should stay in float32."""

from __future__ import annotations

from typing import Any

from ..model import Model
from .sensitivity import Suggestion, search
from .side_by_side import Report, SideBySide


def measure(
    model: Model,
    narrow_model: Model,
    data: Any,
    *,
    labels: Any = None,
    metric: str | None = None,
    lengths: Any = None,
    batch_size: int = 64,
) -> Report:
    """Hold a narrow network against the float32 one on the same data.

    Parameters
    ----------
    model : Model
        In float32.
    narrow_model : Model
        The same network with narrow weights.
    data : array, tuple or dict of arrays, list of texts
        As `Model.predict` takes them.
    labels : array, or dict of one array by output, optional
        What the first output of numbers (a dict: the named one) should be, laid out as callers see the output: of the
        output's shape, or without its axis of features, then ids of classes (…,). Labels at padded steps do not count.
    metric : {"accuracy", "perplexity", "cross-entropy", "mse", "mae"}, optional
        Of the labels. Default: accuracy for classes, and for 0 and 1 where one probability (0.5) or logit (0) decides;
        perplexity where the classes are the tokens that the network reads; mse for other numbers.
    lengths : as in a call, optional
        Steps beyond them, and those that the network masks by itself, do not count.
    batch_size : int
        Rows that are run at once.

    Returns
    -------
    Report

    Raises
    ------
    BadInput
        Networks that are not the same, data that do not fit them, labels that do not fit the output, a metric that
        does not fit the labels.

    Examples
    --------
    >>> import fastgru
    >>> from fastgru.quantization import measure
    >>> texts = ["A warm and funny film.", "A dull mess."]
    >>> model = fastgru.load(fastgru.demo_path())
    >>> narrow = fastgru.load(fastgru.demo_path(), dtype="int8")
    >>> report = measure(model, narrow, texts, labels=[1, 0])
    >>> report.metric.name, report.metric.before, report.metric.after
    ('accuracy', 1.0, 1.0)
    >>> report.outputs[0].snr > 25  # dB
    True
    """
    return SideBySide(model, data, labels, metric, lengths, batch_size).measure(narrow_model)


def suggest(
    model: Model,
    narrow_model: Model,
    data: Any,
    *,
    max_drop: float | None = None,
    min_snr: float | None = None,
    labels: Any = None,
    metric: str | None = None,
    lengths: Any = None,
    batch_size: int = 64,
    max_runs: int = 32,
) -> Suggestion:
    """Find layers that should stay in float32 for a narrow network to be good enough.

    Parameters
    ----------
    model, narrow_model, data, labels, metric, lengths, batch_size
        See `measure`.
    max_drop : float, optional
        How much worse the metric may become: 0.005 is half a point of accuracy, or half a percent of any other.
    min_snr : float, optional
        The signal-to-noise ratio that every output of numbers should have at least, in dB.
    max_runs : int
        Networks that are run over the data at most in the search, beside one for each narrow layer.

    Returns
    -------
    Suggestion

    Raises
    ------
    BadInput
        As `measure`; neither bound, or one that is not about what the network gives.

    Examples
    --------
    >>> import fastgru
    >>> from fastgru.quantization import suggest
    >>> texts = ["A warm and funny film.", "A dull mess."]
    >>> model = fastgru.load(fastgru.demo_path())
    >>> narrow = fastgru.load(fastgru.demo_path(), dtype="int8")
    >>> suggest(model, narrow, texts, min_snr=20).keep_float32
    ()
    """
    sides = SideBySide(model, data, labels, metric, lengths, batch_size)
    return search(sides, narrow_model, max_drop=max_drop, min_snr=min_snr, max_runs=max_runs)

"""The metric of a task: which one fits an output and its labels, and how it is gathered batch by batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._openmp import core
from ..errors import BadInput
from ..graph import Array, Graph
from ..ports import Port
from ..verify.inputs import vocabulary
from .running import Output, outputs_of

#: by what labels are: the metrics that fit, the default first. "classes" are ids among several, "decisions" 0 or 1 for
#: a number that decides by itself, "numbers" what the output should be
FITTING = {
    "classes": ("accuracy", "perplexity", "cross-entropy"),
    "decisions": ("accuracy",),
    "numbers": ("mse", "mae"),
}
METRICS = tuple(dict.fromkeys(name for names in FITTING.values() for name in names))


@dataclass(frozen=True)
class MetricChange:
    """A metric before and after.

    Attributes
    ----------
    name : str
        One of `METRICS`.
    output : str
    count : int
        Labels that counted.
    before, after : float
        Of the float32 and of the narrow network.
    """

    name: str
    output: str
    count: int
    before: float
    after: float

    @property
    def drop(self) -> float:
        """How much worse it became: by how much an accuracy fell (0.01: one point), by what share of itself any other
        metric rose (0.01: one percent). Negative where it became better; NaN where one of the two is none.

        >>> MetricChange("perplexity", "y", 9, 4.0, 4.2).drop
        0.05
        """
        if self.name == "accuracy":
            return round(self.before - self.after, 12)
        if self.before == 0:
            return math.nan if math.isnan(self.after) else math.inf if self.after > 0 else 0.0
        return round(self.after / self.before - 1, 12)


class Task:
    """Labels, the output that they are for, and the metric to judge it by.

    Attributes
    ----------
    place : int
        Of the output.
    metric : str
    """

    def __init__(self, output: Output, place: int, labels: Array, kind: str, metric: str) -> None:
        self.place, self.metric = place, metric
        self._output, self._labels, self._kind = output, labels, kind

    @classmethod
    def of(cls, graph: Graph, labels: Any, metric: str | None, rows: int) -> Task:
        """Find out what labels mean.

        Parameters
        ----------
        graph : Graph
        labels : array, or dict of one array by output
            An array is for the first output of numbers. It has the output's shape, or lacks its axis of features:
            then it is ids of classes. Where the output is no padding all of them count.
        metric : str, optional
            One of `METRICS`. Default: accuracy for classes, but perplexity where they are the tokens that the network
            reads; accuracy for 0 and 1 where one probability or logit decides; else mse. mse and mae also take labels
            of 0 and 1 for numbers.
        rows : int
            Of the data.

        Raises
        ------
        BadInput
            Labels of another shape or number of rows, of no output, or a metric that does not fit them.
        """
        place, array = _place(graph, labels)
        output = outputs_of(graph)[place]
        readings = _readings(output, graph.ported_outputs[place][1], array)
        kind = next(iter(readings))
        if len(readings[kind]) != rows:
            raise BadInput(f"labels should have as many rows as data, {rows}, have {len(readings[kind])}")
        if metric is None:
            metric = "perplexity" if kind == "classes" and _predicts_tokens(graph, output) else FITTING[kind][0]
        elif metric not in METRICS:
            raise BadInput(f"metric should be one of {', '.join(METRICS)}, got {metric!r}")
        else:
            fitting = {name: kind for kind in readings for name in FITTING[kind]}
            if metric not in fitting:
                raise BadInput(
                    f"metric {metric!r} does not fit output {output.name!r} and its labels, which are "
                    f"{' or '.join(readings)}: {', '.join(fitting)} do"
                )
            kind = fitting[metric]
        return cls(output, place, readings[kind], kind, metric)

    @property
    def output(self) -> str:
        return self._output.name

    def describe(self) -> str:
        """What is measured, in words."""
        meaning = {
            "classes": f"labels are ids of {self._output.classes} classes",
            "decisions": f"labels are 0 or 1, yes from {self._output.threshold} on",
            "numbers": "labels are numbers",
        }
        return f"{self.metric} of output {self._output.name!r}: {meaning[self._kind]}"

    def score(self) -> Score:
        """A score with nothing in it."""
        return Score(self)

    def labels_of(self, rows: slice, shape: tuple[int, ...]) -> Array:
        """The labels of some rows, for an output of a shape."""
        labels = self._labels[rows]
        wanted = shape[: labels.ndim] if self._kind == "classes" else shape
        if labels.shape != wanted:
            raise BadInput(
                f"labels of output {self._output.name!r} should have shape {('rows', *wanted[1:])}, "
                f"have {('rows', *labels.shape[1:])}"
            )
        return labels

    def check_ids(self, ids: Array) -> None:
        classes = self._output.classes
        if ids.size and not 0 <= ids.min() <= ids.max() < classes:
            raise BadInput(f"labels should be ids from 0 to {classes - 1}, hold {ids.min()} to {ids.max()}")

    @property
    def threshold(self) -> float | None:
        return self._output.threshold

    @property
    def holds_probabilities(self) -> bool:
        return "softmax" in self._output.functions


class Score:
    """Gathers a metric of one network."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._sum, self.count = 0.0, 0

    def add(self, rows: slice, values: Array, counted: Array | None) -> None:
        """Judge an output's values for some rows; those at steps that do not count are left out."""
        labels = self._task.labels_of(rows, values.shape)
        if counted is not None:
            labels, values = labels[counted], values[counted]
        each = _JUDGED[self._task.metric](values, labels, self._task)
        self._sum += float(each.sum(dtype=np.float64))
        self.count += each.size

    @property
    def value(self) -> float:
        if not self.count:
            return math.nan
        mean = self._sum / self.count
        if self._task.metric != "perplexity":
            return mean
        return math.exp(mean) if mean < 700 else math.inf


def _right(values: Array, labels: Array, task: Task) -> Array:
    if labels.ndim == values.ndim:
        return ((values >= task.threshold) == (labels != 0)) & ~np.isnan(values)
    task.check_ids(labels)
    return (values.argmax(-1) == labels) & ~np.isnan(values).any(-1)


def _surprise(values: Array, labels: Array, task: Task) -> Array:
    """−ln of the probability of each label."""
    task.check_ids(labels)
    values = values.astype(np.float64)
    own = np.take_along_axis(values, labels[..., None], -1)[..., 0]
    if task.holds_probabilities:
        return -np.log(np.maximum(own, np.finfo(np.float32).tiny))
    top = values.max(-1)
    return np.log(np.exp(values - top[..., None]).sum(-1)) + top - own


def _squares(values: Array, labels: Array, task: Task) -> Array:
    return (values - labels.astype(np.float64)) ** 2


def _apart(values: Array, labels: Array, task: Task) -> Array:
    return np.abs(values - labels.astype(np.float64))


_JUDGED: dict[str, Callable[[Array, Array, Task], Array]] = {
    "accuracy": _right,
    "perplexity": _surprise,
    "cross-entropy": _surprise,
    "mse": _squares,
    "mae": _apart,
}


def _place(graph: Graph, labels: Any) -> tuple[int, Array]:
    """The output that labels are for, and the labels as an array of numbers."""
    outputs, names = outputs_of(graph), list(graph.output_names)
    if isinstance(labels, Mapping):
        if len(labels) != 1 or not set(labels) <= set(names):
            raise BadInput(f"labels should be for one output of {', '.join(names)}; got {', '.join(map(str, labels))}")
        ((name, labels),) = labels.items()
        place = names.index(name)
        if not outputs[place].is_number:
            raise BadInput(f"output {name!r} is {outputs[place].value.dtype}: labels go with numbers")
    else:
        place = next((place for place, output in enumerate(outputs) if output.is_number), -1)
        if place < 0:
            raise BadInput(f"labels go with an output of numbers; the network has {', '.join(names)}")
    array = core.plain_array(labels, f"labels of output {names[place]!r} should be an array of numbers")
    if array.dtype.kind not in "biuf":
        raise BadInput(f"labels should be numbers, are {array.dtype}")
    return place, array


def _readings(output: Output, port: Port | None, labels: Array) -> dict[str, Array]:
    """What labels may be, as in `FITTING`, the likeliest first: the labels batch first, ids as int64, others with the
    output's axes."""
    port = port or Port.plain(output.value)
    spec = port.spec(output.value)
    if any(len(group) > 1 and min(group) <= output.value.is_sequence for group in port.axes):
        raise BadInput(f"output {output.name!r} has batch or time in one axis with others: labels cannot go with it")
    lacks_features = labels.ndim == len(spec.shape) - 1 and "features" in spec.axes
    if lacks_features:
        labels = np.expand_dims(labels, spec.axes.index("features"))
        port = dataclasses.replace(port, sizes=(*port.sizes[:-1], 1), dtype=None)
        value = dataclasses.replace(output.value, shape=(*output.value.shape[:-1], port.sizes[-1]))
    elif labels.ndim == len(spec.shape):
        value = output.value
    else:
        raise BadInput(
            f"labels of output {output.name!r} {spec.shape} should have its shape, or lack its axis of features for "
            f"ids of classes; have shape {labels.shape}"
        )
    wanted = port.spec(value).shape
    if any(want not in (None, have) for have, want in zip(labels.shape, wanted, strict=True)):
        raise BadInput(f"labels of output {output.name!r} should have shape {wanted}, have {labels.shape}")
    labels = port.to_value(labels, value)
    zeros_and_ones = bool(np.isin(labels, (0, 1)).all())
    decides = output.classes <= 1 or output.functions <= {"sigmoid", "hard_sigmoid"}
    if lacks_features and output.classes > 1:
        return {"classes": _ids(labels[..., 0], output)}
    if zeros_and_ones and decides and output.threshold is not None:
        return {"decisions": labels, "numbers": labels}
    if zeros_and_ones and output.classes > 1 and (labels.sum(-1) == 1).all():
        return {"classes": labels.argmax(-1), "numbers": labels}
    return {"numbers": labels}


def _ids(labels: Array, output: Output) -> Array:
    with np.errstate(invalid="ignore"):  # what is no number, or too large a one, is refused below
        whole = labels.astype(np.int64)
    if not (whole == labels).all():
        raise BadInput(
            f"labels of output {output.name!r} lack its axis of features: ids of classes should be whole numbers"
        )
    return whole


def _predicts_tokens(graph: Graph, output: Output) -> bool:
    """Whether the classes of an output are the tokens that an input takes."""
    tokens = [spec for spec in graph.inputs if spec.dtype == "int32" and spec.is_sequence]
    return any(vocabulary(graph, spec.name) == output.classes for spec in tokens)

"""A float32 network and narrow ones on the same data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput
from ..graph import Graph, Layer, NarrowArray, TimeDistributed
from ..model import Model
from .differences import Differences, OutputError
from .metrics import MetricChange, Task
from .running import Data, Reference, batch_first


@dataclass(frozen=True)
class Report:
    """What a narrow network gives beside the float32 one.

    Attributes
    ----------
    outputs : tuple of OutputError
        In the order of the network's.
    metric : MetricChange or None
        Of the labels, where there are any.
    rows : int
        Of the data.
    """

    outputs: tuple[OutputError, ...]
    metric: MetricChange | None
    rows: int

    @property
    def snr(self) -> float:
        """The lowest signal-to-noise ratio of an output of numbers, in dB; NaN where there is none."""
        return min((output.snr for output in self.outputs if output.is_number), default=math.nan)

    def meets(self, max_drop: float | None = None, min_snr: float | None = None) -> bool:
        """Whether the metric dropped by no more, and every output has at least this signal-to-noise ratio."""
        if max_drop is not None and not (self.metric is not None and self.metric.drop <= max_drop):
            return False
        return min_snr is None or self.snr >= min_snr


class SideBySide:
    """A float32 network, data, and what it gives for them; narrow networks are held against it.

    Parameters
    ----------
    model : Model
        In float32.
    data : array, tuple or dict of arrays, list of texts
        As `Model.predict` takes them. It is run batch by batch.
    labels : array, or dict of one array by output, optional
        See `measure`.
    metric : str, optional
    lengths : as in a call, optional
    batch_size : int

    Attributes
    ----------
    task : Task or None
        What labels were taken for.

    Raises
    ------
    BadInput
    """

    def __init__(
        self,
        model: Model,
        data: Any,
        labels: Any = None,
        metric: str | None = None,
        lengths: Any = None,
        batch_size: int = 64,
    ) -> None:
        if metric is not None and labels is None:
            raise BadInput(f"metric {metric!r} needs labels")
        narrow = [name for name, layer in layers_of(model.graph) if is_narrow(layer)]
        if narrow:
            raise BadInput(f"the network to compare with should be float32, but {', '.join(narrow)} is not")
        self.model = model
        self.data = Data(model, data, lengths, batch_size)
        self.reference = Reference(model, self.data)
        self.task = None if labels is None else Task.of(model.graph, labels, metric, self.data.rows)

    def measure(self, narrow_model: Model) -> Report:
        """Run both networks over the data.

        Raises
        ------
        BadInput
            It is not the same network, the data do not fit it, or give float32 nothing to compare with.
        """
        self.check_same(narrow_model.graph)
        errors = [Differences(output, self.model.graph) for output in self.reference.outputs]
        task = self.task
        scores = None if task is None else (task.score(), task.score())
        runs = self.data.run(batch_first(narrow_model))
        for batch, (_, results) in zip(self.reference.batches(), runs, strict=True):
            for error, expected, got, counted in zip(errors, batch.values, results, batch.counted, strict=True):
                error.add(expected, got, counted)
            if task is not None and scores is not None:
                for score, values in zip(scores, (batch.values, results), strict=True):
                    score.add(batch.rows, values[task.place], batch.counted[task.place])
        outputs = tuple(error.result() for error in errors)
        if not any(output.count for output in outputs):
            raise BadInput(
                "the data leave nothing to compare: they have no steps but padding, or all float32 results are NaN or "
                "infinite"
            )
        change = None
        if task is not None and scores is not None:
            before, after = scores
            change = MetricChange(task.metric, task.output, before.count, before.value, after.value)
        return Report(outputs, change, self.data.rows)

    def check_same(self, graph: Graph) -> None:
        if graph.structure() != self.model.graph.structure():
            raise BadInput("the narrow network should be the float32 one with other weights; its layers differ")

    def check_bounds(self, max_drop: float | None, min_snr: float | None) -> None:
        if max_drop is None and min_snr is None:
            raise BadInput("a suggestion needs a bound: max_drop or min_snr")
        if max_drop is not None and self.task is None:
            raise BadInput("max_drop is about a metric, and so needs labels; without them give min_snr")
        if max_drop is not None and not max_drop >= 0:
            raise BadInput(f"max_drop should be 0 or more, got {max_drop}")
        if min_snr is not None and not math.isfinite(min_snr):
            raise BadInput(f"min_snr should be a number of dB, got {min_snr}")
        if min_snr is not None and not any(output.is_number for output in self.reference.outputs):
            raise BadInput("min_snr is about outputs of numbers, and the network has none")


def layers_of(graph: Graph, place: str = "") -> list[tuple[str, Layer]]:
    """Every layer with its path, those of networks inside layers behind them."""
    found = []
    for layer in graph.layers:
        found.append((f"{place}{layer.name}", layer))
        if isinstance(layer, TimeDistributed):
            found += layers_of(layer.graph, f"{place}{layer.name}/")
    return found


def is_narrow(layer: Layer) -> bool:
    return any(isinstance(getattr(layer, key), NarrowArray) for key in layer.narrowable)

"""What each layer costs, and which layers to keep in float32."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .. import engine
from ..graph import Graph, Layer, TimeDistributed
from ..model import Model
from .side_by_side import Report, SideBySide, is_narrow, layers_of


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs: the error with this layer narrow and all others in float32.

    Attributes
    ----------
    name : str
        As `keep_float32` takes it; of a network inside a layer ``outer/inner``.
    kind : str
    nbytes, nbytes_float32 : int
        Of the layer's weights.
    report : Report
    """

    name: str
    kind: str
    nbytes: int
    nbytes_float32: int
    report: Report

    @property
    def noise(self) -> float:
        """Noise per signal of the worst output, as a ratio of powers; 0 where there are no outputs of numbers."""
        return 0.0 if math.isnan(self.report.snr) else 10.0 ** (-self.report.snr / 10)

    @property
    def saved(self) -> int:
        """Bytes that narrow weights save here."""
        return self.nbytes_float32 - self.nbytes


@dataclass(frozen=True)
class Suggestion:
    """Layers to keep in float32 so that a bound is met.

    Attributes
    ----------
    keep_float32 : tuple of str
        In the network's order; empty where nothing need be kept.
    is_met : bool
        False: within `runs`, only float32 in every layer was found to meet the bound; `report` and `keep_float32` are
        then those of the last narrow network that was tried.
    report : Report
        Of the network with these layers in float32, which was run.
    model : Model
        That network.
    runs : int
        How many networks were run over the data.
    """

    keep_float32: tuple[str, ...]
    is_met: bool
    report: Report
    model: Model
    runs: int


def layer_costs(sides: SideBySide, narrow_model: Model) -> tuple[LayerCost, ...]:
    """Run the network once for each of its narrow layers, with only that one narrow; the costliest comes first."""
    sides.check_same(narrow_model.graph)
    wide, narrow = dict(layers_of(sides.model.graph)), dict(layers_of(narrow_model.graph))
    names = [name for name, layer in narrow.items() if is_narrow(layer)]
    costs = []
    for name in names:
        one = _mixed(sides, narrow_model, [other for other in names if other != name])
        costs.append(LayerCost(name, narrow[name].kind, _nbytes(narrow[name]), _nbytes(wide[name]), sides.measure(one)))
    return tuple(sorted(costs, key=lambda cost: (_drop(cost), cost.noise), reverse=True))


def search(
    sides: SideBySide,
    narrow_model: Model,
    *,
    max_drop: float | None = None,
    min_snr: float | None = None,
    max_runs: int = 32,
    costs: Sequence[LayerCost] | None = None,
    report: Report | None = None,
) -> Suggestion:
    """Find few bytes of layers that, kept in float32, make a network meet a bound.

    Layers are taken in the order of what they cost for each byte that they save. The shortest beginning of that
    order that meets the bound is found by halving; then each layer of it, largest first, is made narrow again if
    the bound is met without it. Every network on the way is run over the data.

    Parameters
    ----------
    narrow_model : Model
    max_drop : float, optional
        Of the metric, as `MetricChange.drop`.
    min_snr : float, optional
        Of every output of numbers, in dB.
    max_runs : int
        Networks that are run at most, those of `layer_costs` not counted.
    costs, report : optional
        Of `narrow_model`, where `layer_costs` and `measure` have been asked already.

    Raises
    ------
    BadInput
        Neither bound, or one that cannot be measured.
    """
    sides.check_bounds(max_drop, min_snr)
    engine.whole_number(max_runs, "max_runs")
    if report is None:
        report = sides.measure(narrow_model)
    if report.meets(max_drop, min_snr):
        return Suggestion((), True, report, narrow_model, 0)
    costs = layer_costs(sides, narrow_model) if costs is None else costs
    order = [cost.name for cost in sorted(costs, key=lambda cost: _per_byte(cost, max_drop), reverse=True)]
    tries = _Tries(sides, narrow_model, max_drop, min_snr, max_runs)
    low, high = 0, len(order)  # so many kept fail, so many are float32 everywhere
    while high - low > 1 and not tries.is_over:
        middle = (low + high) // 2
        if tries.meets(order[:middle]):
            high = middle
        else:
            low = middle
    if tries.best is None:
        kept, tried, tried_report = tries.last or ((), narrow_model, report)
        return Suggestion(_in_order(sides, kept), False, tried_report, tried, tries.runs)
    saved = {cost.name: cost.saved for cost in costs}
    for name in sorted(tries.best[0], key=lambda name: -saved[name]):
        fewer = tuple(other for other in tries.best[0] if other != name)
        if tries.is_over or not fewer:
            break
        tries.meets(fewer)
    kept, found, found_report = tries.best
    return Suggestion(_in_order(sides, kept), True, found_report, found, tries.runs)


class _Tries:
    """Networks that were tried: the best one that met the bounds, and the last one."""

    def __init__(
        self, sides: SideBySide, narrow_model: Model, max_drop: float | None, min_snr: float | None, max_runs: int
    ) -> None:
        self._sides, self._narrow = sides, narrow_model
        self._bounds, self._max_runs = (max_drop, min_snr), max_runs
        self.runs = 0
        self.best: tuple[tuple[str, ...], Model, Report] | None = None
        self.last: tuple[tuple[str, ...], Model, Report] | None = None

    @property
    def is_over(self) -> bool:
        return self.runs >= self._max_runs

    def meets(self, kept: Sequence[str]) -> bool:
        """Run the network with some layers in float32; one that meets the bounds is the best so far."""
        model = _mixed(self._sides, self._narrow, kept)
        report = self._sides.measure(model)
        self.runs += 1
        self.last = tuple(kept), model, report
        met = report.meets(*self._bounds)
        if met:
            self.best = self.last
        return met


def _mixed(sides: SideBySide, narrow_model: Model, kept: Collection[str]) -> Model:
    """The narrow network with some layers in float32."""
    graph = _mixed_graph(sides.model.graph, narrow_model.graph, set(kept))
    return Model(graph, threads=narrow_model.threads, matmul=narrow_model.matmul)


def _mixed_graph(wide: Graph, narrow: Graph, kept: set[str], place: str = "") -> Graph:
    layers: list[Layer] = []
    for before, after in zip(wide.layers, narrow.layers, strict=True):
        path = f"{place}{before.name}"
        if isinstance(before, TimeDistributed) and isinstance(after, TimeDistributed):
            inner = _mixed_graph(before.graph, after.graph, kept, f"{path}/")
            layers.append(dataclasses.replace(before, graph=inner))
        else:
            layers.append(before if path in kept else after)
    return dataclasses.replace(wide, layers=tuple(layers))


def _in_order(sides: SideBySide, names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name, _ in layers_of(sides.model.graph) if name in names)


def _drop(cost: LayerCost) -> float:
    """How much worse the metric is; 0 without one, infinite where it is none any more."""
    metric = cost.report.metric
    if metric is None:
        return 0.0
    return math.inf if math.isnan(metric.drop) else max(metric.drop, 0.0)


def _per_byte(cost: LayerCost, max_drop: float | None) -> tuple[float, float]:
    """What a layer costs for each byte that it saves: of the metric, where that is bounded, then of the noise."""
    saved = max(cost.saved, 1)
    return (0.0 if max_drop is None else _drop(cost) / saved), cost.noise / saved


def _nbytes(layer: Layer) -> int:
    return sum(array.nbytes for array in layer.tensors.values())

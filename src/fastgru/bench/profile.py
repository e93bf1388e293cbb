"""Where the time of a call goes: layer by layer, beside what one thread of this machine can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._openmp import core
from ..graph import GRU, Activation, Conv, Dense, Graph, Layer, TimeDistributed, dtype_name
from ..narrowing import dtype_of

if TYPE_CHECKING:
    import numpy as np

    from ..model import Model

#: calls are measured in groups of so many seconds, at least one call each; the group of median duration counts, so that
#: interruptions do not
GROUP = 100e-6
#: the only gates that are measured: a GRU layer with others has none in its bound
_STANDARD = (Activation.of("sigmoid"), Activation.of("tanh"))
#: limits that dtypes have of their own, and what those of gates are called in a report
_DOTS = ("inputs", "gru_inputs", "states")
_GATES = {"gates": "gates_ns", "gates_chain": "gates_latency_ns"}


class Limits:
    """What one thread can do at most with a kernel set, in nanoseconds; each is measured when it is first asked for."""

    def __init__(self, isa: str) -> None:
        self._isa = isa
        self._found: dict[tuple[str, int, str], float] = {}

    def ns(self, limit: str, nbytes: int = 0, dtype: str = "float32") -> float:
        """Of one operation, as `core.limit_ns` names it."""
        key = limit, nbytes, dtype
        if key not in self._found:
            self._found[key] = core.limit_ns(self._isa, *key)
        return self._found[key]

    def read_ns(self, count: float, held: int) -> float:
        """To read `count` bytes out of `held` bytes that are read again and again."""
        held = max(held, 4096)
        return count / held * self.ns("sweep", held)

    def measure_again(self) -> None:
        """Of both measurements the better one counts."""
        self._found = {key: min(ns, core.limit_ns(self._isa, *key)) for key, ns in self._found.items()}

    def to_dict(self) -> dict[str, Any]:
        sweeps = {size: size / ns for (limit, size, _), ns in sorted(self._found.items()) if limit == "sweep"}
        narrow = [(limit, dtype, ns) for (limit, _, dtype), ns in sorted(self._found.items()) if dtype != "float32"]
        return {
            "gflops": 2 / self.ns("fma"),
            "fma_latency_ns": self.ns("fma_chain"),
            **{name: self.ns(limit) for limit, name in _GATES.items()},
            "gigabytes_per_second": sweeps,
            **{f"{dtype}_{limit}_gflops": 2 / ns for limit, dtype, ns in narrow if limit in _DOTS},
            **{f"{dtype}_{_GATES[limit]}": ns for limit, dtype, ns in narrow if limit in _GATES},
        }


def bound_ns(
    counts: Mapping[str, Any], standard: bool, held: int, limits: Limits, dtype: str = "float32", nested: bool = False
) -> float:
    """What a layer's work takes at least: max(products, bytes, chain) + gates, as docs/benchmarks.md defines them.

    Parameters
    ----------
    counts : dict
        Of `Runner._stop_profile`.
    standard : bool
        It is a GRU layer with a sigmoid and a tanh.
    held : int
        Bytes that are read between two sweeps over the layer's weights, if more than these.
    limits : Limits
    dtype : str
        What its weights are held in.
    nested : bool
        It runs a network, whose states count among its inputs.
    """
    works = counts["input"], counts["recurrent"]
    inputs = "states" if nested else "gru_inputs" if counts["units"] else "inputs"
    products = sum(
        work["multiply_adds"] * limits.ns(kind, dtype=dtype)
        for work, kind in zip(works, (inputs, "states"), strict=True)
        if work["multiply_adds"]
    )
    moved = sum(limits.read_ns(work["bytes"], max(held, work["weights"])) for work in works if work["bytes"])
    chain = counts["chain"] * limits.ns("states_chain", dtype=dtype) if counts["chain"] else 0.0
    if not standard:
        return max(products, moved, chain)
    many, one = (limits.ns(limit, dtype=dtype) for limit in ("gates", "gates_chain"))
    return max(products, moved, chain) + max(counts["units"] * many, counts["steps"] * one)


def profile(
    model: Model,
    inputs: Sequence[np.ndarray],
    threads: int,
    seconds: float,
    repeat: Callable[[Callable[[], Any], float], Sequence[float]],
) -> dict[str, Any]:
    """Profile ``model(*inputs)``, but for what Python does to lay out the arrays of ports.

    Parameters
    ----------
    model : Model
    inputs : sequence of arrays
    threads : int
        Upper bound. Times are those of the calling thread; with more than one there is no bound.
    seconds : float
        How long to measure.
    repeat : function
        Makes a call again and again for so many seconds, at least once, and gives the durations.

    Returns
    -------
    dict
        ``calls``, ``limits`` (None with several threads); and of a call ``seconds``, ``rest`` (what no layer takes),
        ``bound`` (the layers', in seconds, or None) and ``layers``: of each ``name``, ``kind``, ``folded`` (an
        Embedding whose vectors nobody reads), ``seconds`` by part, ``share`` of the call, ``gflops``,
        ``gigabytes_per_second`` and ``bound``.
    """
    runner = core.Runner(model._plan)
    arrays = tuple(inputs)

    def call() -> Any:
        return runner._run_fresh(arrays, None, None, threads, None, model._layout)

    runner._start_profile()
    call()
    counts = runner._stop_profile()
    limits = Limits(model.isa) if threads == 1 else None
    _bounds(model.graph, counts, limits)
    groups: list[tuple[float, int, list[dict[str, Any]]]] = []
    end = time.perf_counter() + seconds
    while not groups or time.perf_counter() < end:
        runner._start_profile()
        times = repeat(call, GROUP)
        groups.append((sum(times) / len(times), len(times), runner._stop_profile()))
    call_seconds, calls, timed = sorted(groups, key=lambda group: group[0])[len(groups) // 2]
    if limits is not None:
        limits.measure_again()
    bounds = _bounds(model.graph, counts, limits)
    kinds = {layer.name: layer.kind for layer in model.graph.layers}
    layers = []
    for one, all_calls, bound in zip(counts, timed, bounds, strict=True):
        parts = {part: ns / 1e9 / calls for part, ns in all_calls["ns"].items()}
        spent = sum(parts.values())
        rate = 1 / calls / spent / 1e9 if spent else 0.0
        layers.append({
            "name": one["name"], "kind": kinds[one["name"]], "folded": one["folded"], "seconds": parts,
            "share": spent / call_seconds,
            "gflops": 2 * rate * _total(all_calls, "multiply_adds"),
            "gigabytes_per_second": rate * _total(all_calls, "bytes"),
            "bound": bound,
        })  # fmt: skip
    return {
        "calls": sum(group[1] for group in groups),
        "seconds": call_seconds,
        "rest": call_seconds - sum(sum(layer["seconds"].values()) for layer in layers),
        "bound": None if limits is None else sum(bounds),
        "layers": layers,
        "limits": None if limits is None else limits.to_dict(),
    }


def _total(counts: Mapping[str, Any], key: str) -> int:
    return counts["input"][key] + counts["recurrent"][key]


def _bounds(graph: Graph, counts: Sequence[Mapping[str, Any]], limits: Limits | None) -> list[Any]:
    """Each layer's bound of a call in seconds; Nones without limits."""
    if limits is None:
        return [None] * len(counts)
    single = all(one["steps"] <= 1 for one in counts)  # then each call reads all weights, layer after layer
    held = sum(_total(one, "bytes") for one in counts) if single else 0
    layers = {layer.name: layer for layer in graph.layers}
    return [_bound(one, layers[one["name"]], held, limits) for one in counts]


def _bound(counts: Mapping[str, Any], layer: Layer, held: int, limits: Limits) -> float:
    if isinstance(layer, TimeDistributed):
        return bound_ns(counts, False, held, limits, dtype_of(layer.graph), nested=True) / 1e9
    dtype = dtype_name(layer.kernel) if isinstance(layer, (GRU, Dense, Conv)) else "float32"
    return bound_ns(counts, _is_standard(layer), held, limits, dtype) / 1e9


def _is_standard(layer: Layer) -> bool:
    return (
        isinstance(layer, GRU) and layer.clip is None and (layer.recurrent_activation, layer.activation) == _STANDARD
    )

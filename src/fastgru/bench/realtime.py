"""Steps of a Stream at a fixed rate: how long they take, how late they end, and what disturbs them."""

from __future__ import annotations

import gc
import itertools
import resource
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..feedback import FeedbackStream
from ..graph import StepMask
from ..verify.inputs import vocabulary
from .counters import Counters

if TYPE_CHECKING:
    from ..graph import TensorSpec
    from ..model import Model
    from ..stream import Stream

PERCENTILES = (50.0, 99.0, 99.9)
#: inputs that ticks take in turn
INPUTS = 64
MOST_TICKS = 10_000_000
LONGEST_INPUT = 2**31 - 1
SEED = 0
#: of getrusage, in the order of `Usage`
USAGE = ("minor_faults", "major_faults", "voluntary_switches", "involuntary_switches")


@dataclass(frozen=True)
class Schedule:
    """When steps are due.

    Attributes
    ----------
    period : float
        Seconds from one tick to the next.
    seconds : float
        How long.
    steps : int
        Steps that each tick makes: one by `Stream.step`, several by `Stream.run`.
    spin : float
        Seconds before each tick for which the thread polls the clock instead of sleeping.
    """

    period: float
    seconds: float
    steps: int = 1
    spin: float = 0.0

    def __post_init__(self) -> None:
        if not self.period > 0 or not self.seconds > 0:
            raise BadInput(f"period and seconds should be above 0, got {self.period!r} and {self.seconds!r}")
        if not 0 <= self.spin <= self.period:
            raise BadInput(f"spin should be from 0 to the period of {self.period} s, got {self.spin!r}")
        if self.ticks > MOST_TICKS:
            raise BadInput(f"{self.seconds} s are {self.ticks:,} ticks of {self.period} s, more than {MOST_TICKS:,}")

    @property
    def ticks(self) -> int:
        return max(1, round(self.seconds / self.period))


def realtime(model: Model, schedule: Schedule, rows: int = 1, threads: int = 1) -> dict[str, Any]:
    """Run steps of a Stream at a fixed rate, on random input.

    Tick k is due k periods after the first one, by a clock that knows no leaps, however late the ticks before it were:
    nothing that delays a step is left out. Python's garbage collector is off meanwhile.

    Parameters
    ----------
    model : Model
    schedule : Schedule
    rows : int
        Rows of the Stream.
    threads : int
        Upper bound of the threads of a step.

    Returns
    -------
    dict
        ``ticks``; ``step`` (from the call to its result) and ``from_tick`` (from when it was due to its result): each
        with ``p50``, ``p99``, ``p99.9`` and ``max`` in seconds; ``missed``: steps that ended after the next tick was
        due; ``in_steps``: page faults and context switches of the thread inside steps; ``counted``: what
        `Counters.read` gives for the steps, None where nothing counts; ``out``: whether results are written to an
        array of the caller's; ``states``: inputs that the Stream carries, and how.

    Raises
    ------
    UnsupportedModel, BadInput
        The network cannot stream, or not so many rows or steps at a time.
    """
    with _open(model, rows, threads) as stream:
        inputs = list(_inputs(model, stream, schedule.steps))
        step = _prepared(stream, inputs, schedule.steps)
        counters = Counters.find()
        with _undisturbed():
            begun, ended, used = _walk(step.call, inputs, schedule, counters)
        states = [one._asdict() for one in stream.states]
    due = np.arange(schedule.ticks) * schedule.period
    return {
        "period": schedule.period,
        "ticks": schedule.ticks,
        "steps_per_tick": schedule.steps,
        "rows": rows,
        "threads": threads,
        "spin": schedule.spin,
        "out": step.writes,
        "states": states,
        "step": _percentiles(ended - begun),
        "from_tick": _percentiles(ended - due),
        "missed": int(np.count_nonzero(ended > due + schedule.period)),
        "in_steps": dict(zip(USAGE, used, strict=True)),
        "counted": None if counters is None else counters.read(),
    }


@dataclass(frozen=True)
class _Step:
    """One tick's work; `writes`: to an array of its own."""

    call: Callable[[Any], Any]
    writes: bool


def _open(model: Model, rows: int, threads: int) -> Stream:
    """A Stream with random inputs where it takes some from the start on."""
    layout = model._layout
    random = np.random.default_rng(SEED)
    fixed = {
        spec.name: _random(model, value, random, rows)
        for value, spec in zip(model.graph.inputs, model._plan.inputs, strict=True)
        if spec.name in _static_names(model)
    }
    given = fixed if layout is None else {name: layout.given(name, x) for name, x in fixed.items()}
    return model.stream(batch_size=rows, threads=threads, inputs=given or None)


def _static_names(model: Model) -> set[str]:
    """Inputs without time that are no states; none where no input has time: then the others are what is streamed."""
    specs = model._plan.inputs
    if not any(spec.is_sequence for spec in specs):
        return set()
    return {spec.name for spec in specs if not spec.is_sequence} - {source for source, _ in model.graph.states}


def _inputs(model: Model, stream: Stream, steps: int) -> Iterator[Any]:
    """What ticks take in turn: an array, or a tuple of them, (rows, …) or, of several steps, (rows, steps, …)."""
    random = np.random.default_rng(SEED + 1)
    specs = zip(model.graph.inputs, model._plan.inputs, strict=True)
    streamed = [value for value, spec in specs if spec.name not in stream.static]
    lead = (stream.batch_size,) if steps == 1 else (stream.batch_size, steps)
    for _ in range(INPUTS):
        arrays = tuple(_random(model, value, random, *lead) for value in streamed)
        yield arrays[0] if len(arrays) == 1 else arrays


def _random(model: Model, value: TensorSpec, random: np.random.Generator, *lead: int) -> np.ndarray:
    """Normal numbers, token ids of the whole vocabulary, or a length that no stream reaches."""
    shape = (*lead, *value.inner)
    if value.dtype != "int32":
        return random.standard_normal(shape, np.float32)
    if any(isinstance(layer, StepMask) and value.name == layer.inputs[1] for layer in model.graph.layers):
        return np.full(shape, LONGEST_INPUT, np.int32)
    return random.integers(0, vocabulary(model.graph, value.name), shape, np.int32)


def _prepared(stream: Stream, inputs: Sequence[Any], steps: int) -> _Step:
    """A tick's work, once every input has been through it; with `out=` where that is the fast way."""
    call = stream.step if steps == 1 else stream.run
    results = [call(x) for x in inputs]
    plan = stream.plan
    simple = len(plan.inputs) == len(plan.outputs) == 1 and not isinstance(stream, FeedbackStream)
    if not simple or len({result.shape for result in results}) > 1:
        return _Step(call, False)
    out = np.empty_like(results[0])
    work = lambda x: call(x, out=out)  # noqa: E731
    work(inputs[0])
    return _Step(work, True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection in the meantime."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _walk(
    call: Callable[[Any], Any], inputs: Sequence[Any], schedule: Schedule, counters: Counters | None
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Make every tick's call: when each began and ended, in seconds from the first tick on, and what the thread used
    inside them, in the order of `USAGE`."""
    clock, sleep, usage = time.perf_counter_ns, time.sleep, resource.getrusage
    thread, flag = resource.RUSAGE_THREAD, None if counters is None else counters.flag
    period, spin = schedule.period * 1e9, int(schedule.spin * 1e9)
    begun, ended = (array("q", bytes(8 * schedule.ticks)) for _ in range(2))
    used = [0, 0, 0, 0]
    if counters is not None:
        counters.clear()
    start = clock() + int(period)
    for tick, x in zip(range(schedule.ticks), itertools.cycle(inputs), strict=False):
        due = start + round(tick * period)
        left = due - spin - clock()
        if left > 0:
            sleep(left * 1e-9)
        while clock() < due:
            pass
        before = usage(thread)
        if flag is not None:
            flag.value = 1
        begun[tick] = clock()
        call(x)
        ended[tick] = clock()
        if flag is not None:
            flag.value = 0
        after = usage(thread)
        used[0] += after.ru_minflt - before.ru_minflt
        used[1] += after.ru_majflt - before.ru_majflt
        used[2] += after.ru_nvcsw - before.ru_nvcsw
        used[3] += after.ru_nivcsw - before.ru_nivcsw
    return (np.array(begun) - start) / 1e9, (np.array(ended) - start) / 1e9, used


def _percentiles(seconds: np.ndarray) -> dict[str, float]:
    values = np.percentile(seconds, PERCENTILES)
    found = {f"p{q:g}": float(value) for q, value in zip(PERCENTILES, values, strict=True)}
    return {**found, "max": float(seconds.max())}

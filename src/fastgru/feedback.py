"""FeedbackStream: a Stream of any network whose inputs are fed with outputs of the call before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ._openmp import core
from .errors import BadInput
from .graph import Array, TensorSpec
from .layout import Feed
from .stream import Carried, Rows, Stream

#: what `out=` holds for one output: an array, None, or a function of shape and dtype that gives one
_Out = Any | Callable[[tuple[int, ...], Any], Array]


class FeedbackStream(Stream):
    """A Stream whose every call is a plain call of the network, which is given what the one before it gave.

    A network without a time axis makes one step a call. `step` runs it once, `run` once for each step.
    """

    def carry(self, feeds: Mapping[str, Feed]) -> FeedbackStream:
        """Say what is carried: by input, how an output becomes it."""
        plan = self.plan
        self._feeds = feeds
        self.states = tuple(Carried(name, plan.outputs[feed.output].name, "feedback") for name, feed in feeds.items())
        carried = {feed.output for feed in feeds.values()}
        places = range(len(plan.outputs))
        self._kept = [place for place in places if place not in carried] or list(places)
        self._returns_carried = bool(carried.intersection(self._kept))
        self._streamed = [spec for spec in plan.inputs if spec.name not in self.static]
        self._has_time = any(spec.is_sequence for spec in plan.inputs)
        self._now: dict[str, Array] = {name: self.static[name].copy() for name in feeds}
        return self

    def step(self, x: Any, rows: Rows = None, out: Any = None) -> Any:
        """One call with one step of rows; as `Stream.step`, without the carried outputs.

        Raises
        ------
        BadInput
            As `Stream.step`, or a network that gives no step, or several, for one. The state is unchanged.
        Closed, StreamBusy
        """
        self._enter()
        try:
            places = self._choose_places(rows)
            given = core.named_inputs(x if isinstance(x, tuple) else (x,), self._streamed)
            outs, now = self._given(out), self._stands(places)
            if out is None:
                made = self._run_step(self._arrays(given, now, places), self._has_time, self._count(places))
                if made is not None:
                    results, now = self._parted(made)
                    self._keep(places, now)
                    return _one_or_all(results)
            if not self._has_time:
                results, now = self._call(given, now, places, None, outs)
                self._keep(places, now)
                return _one_or_all(results)
            one_step = {spec.name: core.checked_array(given[spec.name], _of_one_step(spec)) for spec in self._streamed}
            steps = {name: array[:, None] for name, array in one_step.items()}
            timed = [self.plan.outputs[place].is_sequence for place in self._kept]
            results, now = self._call(steps, now, places, None, list(map(_as_one_step, outs, timed)))
            for place, result, is_timed in zip(self._kept, results, timed, strict=True):
                if is_timed and result.shape[1] != 1:
                    name = self.plan.outputs[place].name
                    raise BadInput(f"output {name!r} has {result.shape[1]} steps for one of the input: use run()")
            self._keep(places, now)
            newest = [result[:, 0] if is_timed else result for result, is_timed in zip(results, timed, strict=True)]
            pairs = zip(newest, outs, strict=True)
            return _one_or_all([result if given is None else given for result, given in pairs])
        finally:
            self._leave()

    def run(self, x: Any, rows: Rows = None, lengths: Any = None, out: Any = None) -> Any:
        """One call with a chunk of steps of rows, or of a network without a time axis as many calls as there are
        steps; as `Stream.run`, without the carried outputs. `lengths` mask, and are refused where a layer drops the
        mask, as by any plain call."""
        with self._alone():
            places = self._choose_places(rows)
            core.check_masks(lengths, None, self.plan.inputs, self.mask_drops)
            given = core.named_inputs(x if isinstance(x, tuple) else (x,), self._streamed)
            if not self._has_time:
                return _one_or_all(self._loop(given, places, self._given(out)))
            results, now = self._call(given, self._stands(places), places, lengths, self._given(out))
            self._keep(places, now)
            return _one_or_all(results)

    def _call(
        self,
        given: Mapping[str, Any],
        now: Mapping[str, Array],
        places: Array | None,
        lengths: Any,
        outs: Sequence[_Out],
    ) -> tuple[list[Array], dict[str, Array]]:
        """A plain call from a state: the outputs that are returned, and the state behind it."""
        spread: list[_Out] = [None] * len(self.plan.outputs)
        for place, array in zip(self._kept, outs, strict=True):
            spread[place] = array
        arrays, count = self._arrays(given, now, places), self._count(places)
        self._reset(0, count)
        results = self._run(arrays, lengths, None, self.threads, tuple(spread), False, count, whole=True)
        return self._parted(results)

    def _arrays(self, given: Mapping[str, Any], now: Mapping[str, Array], places: Array | None) -> tuple[Any, ...]:
        """Every input, in the network's order."""
        inputs = {**self._static_of(places), **now, **given}
        return tuple([inputs[spec.name] for spec in self.plan.inputs])

    def _parted(self, results: Sequence[Array]) -> tuple[list[Array], dict[str, Array]]:
        """The outputs that are returned, and the state behind the call."""
        after = {name: feed(results[feed.output]) for name, feed in self._feeds.items()}
        if self._returns_carried:  # the caller owns what is returned
            after = {name: array.copy() for name, array in after.items()}
        return [results[place] for place in self._kept], after

    def _loop(self, given: Mapping[str, Any], places: Array | None, outs: Sequence[Any]) -> list[Array]:
        """The steps of a network without a time axis, one call after the other."""
        arrays = {spec.name: core.checked_array(given[spec.name], _of_all_steps(spec)) for spec in self._streamed}
        counts = {name: array.shape[1] for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise BadInput(f"inputs of one network should have one number of steps, got {counts}")
        steps, made = next(iter(counts.values())), []
        for place, array in zip(self._kept, outs, strict=True):
            spec = self.plan.outputs[place]
            shape, dtype = (self._count(places), steps, *spec.inner), np.dtype(spec.dtype)
            made.append(np.empty(shape, dtype) if array is None else core.check_output(array, spec, shape, dtype))
            if array is not None and any(np.may_share_memory(array, other) for other in (*arrays.values(), *made[:-1])):
                raise BadInput(f"out= for {spec.name!r} overlaps another array of this call")
        now = self._stands(places)
        for t in range(steps):
            step = {name: array[:, t] for name, array in arrays.items()}
            _, now = self._call(step, now, places, None, [_writer(array[:, t]) for array in made])
        self._keep(places, now)
        return made

    def _given(self, out: Any) -> tuple[Any, ...]:
        """`out=` for each output that is returned."""
        if out is None:
            return (None,) * len(self._kept)
        given = (out,) if isinstance(out, np.ndarray) else tuple(out)
        if len(given) != len(self._kept):
            raise BadInput(f"out= should hold {len(self._kept)} arrays, holds {len(given)}")
        return given

    # ---- the state: arrays by place ----

    def _count(self, places: Array | None) -> int:
        return self.batch_size if places is None else len(places)

    def _stands(self, places: Array | None) -> dict[str, Array]:
        """The state of rows at places; None: of all, which are the first ones."""
        if places is None:
            return {name: array[: self.batch_size] for name, array in self._now.items()}
        return {name: array[places] for name, array in self._now.items()}

    def _keep(self, places: Array | None, now: dict[str, Array]) -> None:
        """The other way. What is given is the stream's from here on."""
        if places is None:
            self._now = now
            return
        for name, array in now.items():
            self._now[name][places] = array

    def _reserve(self, count: int) -> None:
        """No row stands in the core, which every call begins afresh."""
        self._now = {name: core.roomy(array, count) for name, array in self._now.items()}

    def _reset_places(self, places: Array) -> None:
        """Back to the state that the rows began with."""
        for name, array in self._now.items():
            array[places] = self.static[name][places]

    def _copy_rows(self, from_: Array, to: Array) -> None:
        for array in self._now.values():
            array[to] = array[from_]

    def _begin(self, places: Array) -> None:
        """The state stands in arrays: nothing has to be run for it."""

    def _get(self, places: Array) -> dict[str, Array]:
        return {name: array[places] for name, array in self._now.items()}

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {name: (rows, *array.shape[1:]) for name, array in self._now.items()}

    def _carried(self, state: Mapping[str, Array]) -> dict[str, Any]:
        return dict(state)

    def _put(self, carried: Mapping[str, Any], places: Array) -> None:
        self._keep(places, dict(carried))


def _of_one_step(spec: TensorSpec) -> TensorSpec:
    return dataclasses.replace(spec, shape=(spec.shape[0], *spec.shape[2:]), axes=(spec.axes[0], *spec.axes[2:]))


def _of_all_steps(spec: TensorSpec) -> TensorSpec:
    shape, axes = (spec.shape[0], None, *spec.shape[1:]), ("batch", "time", *spec.axes[1:])
    return dataclasses.replace(spec, shape=shape, axes=axes)


def _as_one_step(out: Any, is_timed: bool) -> Any:
    return out[:, None] if is_timed and isinstance(out, np.ndarray) and out.ndim else out


def _writer(target: Array) -> Callable[[tuple[int, ...], Any], Array]:
    return lambda shape, dtype: target


def _one_or_all(results: Sequence[Array]) -> Any:
    return results[0] if len(results) == 1 else tuple(results)

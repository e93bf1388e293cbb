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

    def step(self, x: Any, out: Any = None) -> Any:
        """One call with one step of every row; as `Stream.step`, without the carried outputs.

        Raises
        ------
        BadInput
            Wrong shape, dtype or token id, or a network that gives no step, or several, for one. The state is
            unchanged.
        Closed, StreamBusy
        """
        self._enter()
        try:
            given = core.named_inputs(x if isinstance(x, tuple) else (x,), self._streamed)
            outs = self._given(out)
            if out is None and (made := self._run_step(self._arrays(given, self._now), self._has_time)) is not None:
                results, self._now = self._parted(made)
                return _one_or_all(results)
            if not self._has_time:
                results, self._now = self._call(given, self._now, None, outs)
                return _one_or_all(results)
            one_step = {spec.name: core.checked_array(given[spec.name], _of_one_step(spec)) for spec in self._streamed}
            steps = {name: array[:, None] for name, array in one_step.items()}
            timed = [self.plan.outputs[place].is_sequence for place in self._kept]
            results, now = self._call(steps, self._now, None, list(map(_as_one_step, outs, timed)))
            for place, result, is_timed in zip(self._kept, results, timed, strict=True):
                if is_timed and result.shape[1] != 1:
                    name = self.plan.outputs[place].name
                    raise BadInput(f"output {name!r} has {result.shape[1]} steps for one of the input: use run()")
            self._now = now
            newest = [result[:, 0] if is_timed else result for result, is_timed in zip(results, timed, strict=True)]
            pairs = zip(newest, outs, strict=True)
            return _one_or_all([result if given is None else given for result, given in pairs])
        finally:
            self._leave()

    def run(self, x: Any, lengths: Any = None, out: Any = None) -> Any:
        """One call with a chunk of steps of every row, or of a network without a time axis as many calls as there are
        steps; as `Stream.run`, without the carried outputs."""
        with self._alone():
            core.check_masks(lengths, None, self.plan.inputs, self.mask_drops)
            given = core.named_inputs(x if isinstance(x, tuple) else (x,), self._streamed)
            if not self._has_time:
                return _one_or_all(self._loop(given, self._given(out)))
            results, self._now = self._call(given, self._now, lengths, self._given(out))
            return _one_or_all(results)

    def _call(
        self, given: Mapping[str, Any], now: Mapping[str, Array], lengths: Any, outs: Sequence[_Out]
    ) -> tuple[list[Array], dict[str, Array]]:
        """A plain call from a state: the outputs that are returned, and the state behind it."""
        spread: list[_Out] = [None] * len(self.plan.outputs)
        for place, array in zip(self._kept, outs, strict=True):
            spread[place] = array
        arrays = self._arrays(given, now)
        self._reset(0, self.batch_size)
        results = self._run(arrays, lengths, None, self.threads, tuple(spread), False, self.batch_size, whole=True)
        return self._parted(results)

    def _arrays(self, given: Mapping[str, Any], now: Mapping[str, Array]) -> tuple[Any, ...]:
        """Every input, in the network's order."""
        inputs = {**self.static, **now, **given}
        return tuple([inputs[spec.name] for spec in self.plan.inputs])

    def _parted(self, results: Sequence[Array]) -> tuple[list[Array], dict[str, Array]]:
        """The outputs that are returned, and the state behind the call."""
        after = {name: feed(results[feed.output]) for name, feed in self._feeds.items()}
        if self._returns_carried:  # the caller owns what is returned
            after = {name: array.copy() for name, array in after.items()}
        return [results[place] for place in self._kept], after

    def _loop(self, given: Mapping[str, Any], outs: Sequence[Any]) -> list[Array]:
        """The steps of a network without a time axis, one call after the other."""
        arrays = {spec.name: core.checked_array(given[spec.name], _of_all_steps(spec)) for spec in self._streamed}
        counts = {name: array.shape[1] for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise BadInput(f"inputs of one network should have one number of steps, got {counts}")
        steps, made = next(iter(counts.values())), []
        for place, array in zip(self._kept, outs, strict=True):
            spec = self.plan.outputs[place]
            shape, dtype = (self.batch_size, steps, *spec.inner), np.dtype(spec.dtype)
            made.append(np.empty(shape, dtype) if array is None else core.check_output(array, spec, shape, dtype))
        now = self._now
        for t in range(steps):
            step = {name: array[:, t] for name, array in arrays.items()}
            _, now = self._call(step, now, None, [_writer(array[:, t]) for array in made])
        self._now = now
        return made

    def _given(self, out: Any) -> tuple[Any, ...]:
        """`out=` for each output that is returned."""
        if out is None:
            return (None,) * len(self._kept)
        given = (out,) if isinstance(out, np.ndarray) else tuple(out)
        if len(given) != len(self._kept):
            raise BadInput(f"out= should hold {len(self._kept)} arrays, holds {len(given)}")
        return given

    # ---- the state ----

    def reset(self, rows: Rows = None) -> None:
        """Set rows (all, if None) back to the state that the stream began with."""
        with self._alone():
            chosen = self._rows(rows)
            for name, array in self._now.items():
                array[chosen] = self.static[name][chosen]

    def _begin(self) -> None:
        """The state stands in arrays: nothing has to be run for it."""

    def _state(self, chosen: list[int]) -> dict[str, Array]:
        return {name: array[chosen] for name, array in self._now.items()}

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {name: (rows, *array.shape[1:]) for name, array in self._now.items()}

    def _put(self, state: Mapping[str, Array], chosen: list[int]) -> None:
        for name, array in self._now.items():
            array[chosen] = state[name]


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

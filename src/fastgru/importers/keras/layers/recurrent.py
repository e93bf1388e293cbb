"""Recurrent layers: GRU, CuDNNGRU, RNN of GRU cells, and Bidirectional of any of them.

All become a stack of `graph.GRU`: a lone GRU is a stack of one, ``RNN([GRUCell(8), GRUCell(4)])`` one of two. In a
masked step the whole stack stands still, which is what each layer of it does by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .... import graph
from ....graph import Array
from ...cell import Cell
from .. import activations
from ..build import Builder, Value, flat
from ..config import LayerConfig
from ..weights import Weights
from . import merge
from .table import Part, Result, read, reads

#: stateful only says that steps were meant to be fed one after the other: what a Stream does
IGNORED = frozenset({
    "dropout", "recurrent_dropout", "implementation", "stateful", "seed", "use_cudnn", "rng_type",
})  # fmt: skip
#: `uses_mask`: whether Keras lets the layer have the mask of x
CALL_OPTIONS = ("initial_state", "uses_mask")


@dataclass(frozen=True)
class CellReader:
    """How one GRU cell stands in the file.

    Attributes
    ----------
    take : function of (Weights, int) → Cell
        Reads it, given the number of features of its input.
    arrays : int
        How many it has.
    """

    take: Callable[[Weights, int], Cell]
    arrays: int


@dataclass(frozen=True)
class Recurrence:
    """A recurrent layer: cells one upon the other, and how they walk.

    `weights` gives each cell its Weights, out of those of the layer.
    """

    cells: tuple[CellReader, ...]
    weights: Callable[[Weights], list[Weights]]
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    zero_output_for_mask: bool
    unroll: bool = False
    time_major: bool = False

    def check(self, config: LayerConfig, x: Value) -> None:
        """Refuse a sequence that the layer does not walk as `run` would."""
        if x.time_first != (self.time_major and not config.report.is_turned):
            place = "first" if x.time_first else "second"
            config.refuse(f"time_major={self.time_major} where steps are the {place} axis")
        sets_zeros = self.go_backwards and self.zero_output_for_mask and self.return_sequences
        if self.unroll and sets_zeros and x.is_masked:
            config.refuse("unroll=True backwards with a mask: Keras gives zeros at other steps than those masked")

    def run(
        self, build: Builder, weights: Weights, x: Value, states: list[Value], part: str = "", in_time: bool = False
    ) -> tuple[Value, list[Value]]:
        """Append the layers: the last one's output, and the last state of each cell.

        `in_time` puts the outputs of a backward walk in the order of time, where Keras leaves them as they came.
        """
        finals = []
        time_first = x.time_first and self.return_sequences
        for number, (cell, own) in enumerate(zip(self.cells, self.weights(weights), strict=True)):
            is_last = number == len(self.cells) - 1
            name = part if is_last else ".".join(filter(None, (part, f"cell{number}")))
            sequences = self.return_sequences or not is_last
            # below the last cell a backward walk keeps the order of time, so that the next one walks alike
            ordered = self.go_backwards and sequences and (in_time or not is_last)
            x = build.add(
                graph.GRU, x, *states[number : number + 1], part=name,
                **cell.take(own, x.features).attributes, return_sequences=sequences, go_backwards=self.go_backwards,
                time_order=ordered, zero_output_for_mask=self.zero_output_for_mask, mask=x.mask,
            )  # fmt: skip
            finals.append(build.state_of(x))
        return replace(x, time_first=time_first), finals


def _part(config: LayerConfig, recurrence: Recurrence) -> Part:
    def call(build: Builder, weights: Weights, x: Any, initial_state: Any = None, uses_mask: bool = True) -> Result:
        x, states = _inputs(x, initial_state)
        if states and len(states) != len(recurrence.cells):
            config.refuse(f"is called with {len(states)} initial states for {len(recurrence.cells)} cells")
        recurrence.check(config, x)
        y, finals = recurrence.run(build, weights, x if uses_mask else x.unmasked(), states)
        y = merge.with_mask(y, x)  # Keras passes it on, used or not
        return (y, *finals) if recurrence.return_state else y

    return Part(
        call, trainable=sum(cell.arrays for cell in recurrence.cells), options=CALL_OPTIONS, own=recurrence
    )


def _inputs(x: Any, initial_state: Any) -> tuple[Value, list[Value]]:
    """The sequence and the states, which Keras takes as ``[x, *states]`` too, and nested for stacked cells."""
    states: list[Value] = []
    if isinstance(x, (list, tuple)):
        x, *states = x
    if initial_state is not None:
        states = list(flat(initial_state))
    return x, [state for item in states for state in flat(item)]


def _walk(config: LayerConfig) -> dict[str, bool]:
    if config.flag("time_major"):
        config.report.time_major.append(config.name)
    keys = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask", "unroll", "time_major")
    return {key: config.flag(key) for key in keys}


# ---- cells -----------------------------------------------------------------------------------------------------------


def _cell(config: LayerConfig) -> CellReader:
    units, use_bias = config.size("units"), config.flag("use_bias", True)
    # the key is as old as the option: a file without it is of a time when there was only the other variant
    reset_after = config.flag("reset_after", config.report.generation == 3)
    bias_shape = None if not use_bias else (2, 3 * units) if reset_after else (3 * units,)
    functions: dict[str, Any] = {
        "activation": activations.read(config, "activation", "tanh", gate=True),
        "recurrent_activation": activations.read(config, "recurrent_activation", _recurrent_default(config), gate=True),
    }

    def take(weights: Weights, features: int) -> Cell:
        arrays = weights.take(kernel=(features, 3 * units), recurrent_kernel=(units, 3 * units), bias=bias_shape)
        return replace(Cell.of_keras(*_given(arrays), reset_after=reset_after), **functions)

    def take_apart(weights: Weights, features: int) -> Cell:
        """Keras 1: W (features, units), U (units, units) and b (units,) for each gate, in the order z, r, h."""
        shapes = {"W": (features, units), "U": (units, units), "b": (units,)}
        arrays = _given(weights.take(**{f"{key}_{gate}": shape for gate in "zrh" for key, shape in shapes.items()}))
        joined = [np.hstack(arrays[first::3]) for first in range(3)]
        return replace(Cell.of_keras(*joined, reset_after=reset_after), **functions)

    if config.flag("gates_apart"):  # keras1 writes it
        return CellReader(take_apart, 9)
    return CellReader(take, 2 + use_bias)


def _given(arrays: Sequence[Array | None]) -> list[Array]:
    return [array for array in arrays if array is not None]


def _recurrent_default(config: LayerConfig) -> str:
    if "recurrent_activation" not in config and config.report.generation not in (1, 3):
        config.refuse("says nothing of recurrent_activation, whose default differs between versions of Keras 2")
    return "hard_sigmoid" if config.report.generation == 1 else "sigmoid"


@reads("GRU", ignored=IGNORED, note="both variants, masks, states in and out, `go_backwards`, `time_major`")
def gru(config: LayerConfig) -> Part:
    return _part(config, Recurrence((_cell(config),), lambda weights: [weights.child("cell")], **_walk(config)))


@reads("CuDNNGRU", ignored=IGNORED, note="of Keras 2, which Keras 3 does not load")
def cudnn_gru(config: LayerConfig) -> Part:
    units = config.size("units")
    size = 3 * units

    def take(weights: Weights, features: int) -> Cell:
        arrays = weights.take(kernel=(features, size), recurrent_kernel=(units, size), bias=(2 * size,))
        return Cell.of_keras_cudnn(*_given(arrays))

    cells = (CellReader(take, 3),)
    return _part(config, Recurrence(cells, lambda weights: [weights.child("cell")], **_walk(config)))


@reads("RNN", ignored=IGNORED, note="of GRUCell, a list of them or StackedRNNCells")
def rnn(config: LayerConfig) -> Part | None:
    written = config.take("cell")
    cells = config.parts("cell") if isinstance(written, list) else [config.part("cell")]
    stacked = isinstance(written, list) or cells[0].class_name == "StackedRNNCells"
    if cells[0].class_name == "StackedRNNCells":
        outer = cells[0]
        cells = outer.parts("cells")
        outer.only("reverse_state_order", False, None, why="states are listed from the first cell on")
        outer.finish()
    read = []
    for cell in cells:
        if cell.class_name != "GRUCell" or cell.is_custom:
            cell.refuse(f"a {cell.class_name} in an RNN is not supported, only GRUCell")
            continue
        read.append(_cell(cell))
        cell.finish(IGNORED)
    walk = _walk(config)
    if len(read) < len(cells):
        return None

    def shares(weights: Weights) -> list[Weights]:
        inner = weights.child("cell")
        return inner.shares([_CellOwner(config.owner, cell.arrays) for cell in read]) if stacked else [inner]

    return _part(config, Recurrence(tuple(read), shares, **walk))


@dataclass(frozen=True)
class _CellOwner:
    """A cell, as `weights` wants to know it."""

    owner: str
    trainable: int
    fixed: int = 0
    class_name: str = "GRUCell"


# ---- Bidirectional ---------------------------------------------------------------------------------------------------

MERGES = {"sum": "add", "mul": "multiply", "ave": "average", "concat": "", None: ""}


@reads(
    "Bidirectional", ignored=IGNORED | {"return_sequences", "return_state"},
    note="of GRU, CuDNNGRU, RNN; every `merge_mode`, `backward_layer`, masks, states",
)
def bidirectional(config: LayerConfig) -> Part | None:
    mode = config.take("merge_mode", "concat")
    if mode not in MERGES:
        raise config.wrong("merge_mode", "concat, sum, mul, ave or null", mode)
    forward_config = config.part("layer")
    forward = read(forward_config)
    own_backward = config.take("backward_layer", None)
    backward = read(config.part("backward_layer")) if own_backward is not None else forward
    if forward is None or backward is None:
        return None
    if not isinstance(forward.own, Recurrence) or not isinstance(backward.own, Recurrence):
        config.refuse(f"a Bidirectional {forward_config.class_name} is not supported")
        return None
    halves = _halves(config, forward.own, backward.own, own_backward is not None)

    def call(build: Builder, weights: Weights, x: Any, initial_state: Any = None, uses_mask: bool = True) -> Result:
        x, states = _inputs(x, initial_state)
        source = x if uses_mask else x.unmasked()
        results, finals = [], []
        count = len(states) // 2
        for number, (name, half) in enumerate(zip(("forward", "backward"), halves, strict=True)):
            own = states[number * count : (number + 1) * count]
            in_time = number == 1 and half.go_backwards
            half.check(config, source)
            y, final = half.run(build, weights.child(f"{name}_layer"), source, own, name, in_time)
            if number == 1 and half.return_sequences and not half.go_backwards:
                y = build.add(graph.Slice, y, part="turned", axis=1, step=-1)  # Keras turns the second half's outputs
            results.append(merge.with_mask(y, x))
            finals += final
        merged = _merged(build, mode, results)
        return (*merged, *finals) if halves[0].return_state else merged if mode is None else merged[0]

    return Part(call, forward.trainable + backward.trainable, forward.fixed + backward.fixed, CALL_OPTIONS)


def _halves(
    config: LayerConfig, forward: Recurrence, backward: Recurrence, is_own: bool
) -> tuple[Recurrence, Recurrence]:
    """Keras turns the walk of the second half around; since it is TensorFlow's, it zeroes masked outputs in both."""
    zero = forward.return_sequences and not config.report.multi_backend
    go_backwards = backward.go_backwards if is_own else not forward.go_backwards
    return (
        replace(forward, zero_output_for_mask=zero),
        replace(backward, zero_output_for_mask=zero, go_backwards=go_backwards),
    )


def _merged(build: Builder, mode: str | None, results: list[Value]) -> tuple[Value, ...]:
    if mode is None:
        return tuple(results)
    if mode == "concat":
        return (merge.concatenated(build, results, -1),)
    return (merge.combined(build, MERGES[mode], results),)

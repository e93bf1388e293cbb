"""What is run: a network's data batch by batch, with the steps that count, and its float32 results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import engine
from ..errors import BadInput
from ..generation.heads import activations_behind
from ..graph import (
    GRU,
    Array,
    Attention,
    Dense,
    Embedding,
    Graph,
    JoinMasks,
    Masking,
    MatMul,
    StepMask,
    TensorSpec,
    TimeDistributed,
)  # fmt: skip
from ..layers.windows import Window
from ..model import Model
from ..obstacles import use_of_time

#: float32 results are kept between runs up to so many bytes, else computed again
KEPT_BYTES = 256_000_000

_SOFTMAX, _LINEAR = frozenset(("softmax", "log_softmax")), frozenset(("linear",))
_SIGMOIDS = frozenset(("sigmoid", "hard_sigmoid"))


@dataclass(frozen=True)
class Output:
    """An output as it is measured: batch first, whatever its port.

    Attributes
    ----------
    name : str
        As callers know it.
    value : TensorSpec
    mask : str or None
        The value of the Graph that says which of its steps are no padding.
    is_backwards : bool
        It runs from the last step to the first, unlike its mask.
    functions : frozenset of str
        The activations that its numbers come out of.
    """

    name: str
    value: TensorSpec
    mask: str | None
    is_backwards: bool
    functions: frozenset[str]

    @property
    def is_number(self) -> bool:
        return self.value.dtype == "float32"

    @property
    def classes(self) -> int:
        """The size of the last axis; 0 where there is none behind batch and time."""
        return self.value.inner[-1] if self.value.inner else 0

    @property
    def threshold(self) -> float | None:
        """Where a single probability or logit says yes; None where the output is none."""
        if not self.is_number or self.functions - _SIGMOIDS - _LINEAR:
            return None
        return 0.5 if self.functions & _SIGMOIDS else 0.0

    def answers(self, graph: Graph) -> str | None:
        """How the output gives answers: ``"classes"`` (the largest number), ``"threshold"``, or None: not at all."""
        if not self.is_number:
            return None
        if self.classes == 1 and self.functions <= _SIGMOIDS:
            return "threshold"
        layer = next((one for one in graph.layers if one.name == self.value.name), None)
        is_head = bool(self.functions & _SOFTMAX) or isinstance(layer, Dense)
        return "classes" if self.classes > 1 and is_head and self.functions <= _SOFTMAX | _LINEAR else None


def outputs_of(graph: Graph) -> tuple[Output, ...]:
    """A Graph's outputs in order."""
    found = []
    for name, (value, _) in zip(graph.output_names, graph.ported_outputs, strict=True):
        mask, is_backwards = step_mask(graph, value.name)
        found.append(Output(name, value, mask, is_backwards, activations_behind(graph, value.name)))
    return tuple(found)


def step_mask(graph: Graph, value: str) -> tuple[str | None, bool]:
    """The mask of the steps that a value is made of, and whether the value has them in the other direction; no mask
    where a layer lets it end.

    >>> from fastgru.graph import Dense, tensor_spec
    >>> dense = Dense(name="d", inputs=("x",), kernel=np.ones((2, 3), np.float32))
    >>> step_mask(Graph((tensor_spec("x", None, (2,)),), (dense,), ("d",)), "d")
    ('x:mask', False)
    """
    spec = graph.specs[value]
    if not spec.is_sequence or spec.dtype == "bool":
        return None, False
    layer = next((one for one in graph.layers if one.name == value), None)
    if layer is None:
        return (f"{value}:mask", False) if value in {one.name for one in graph.inputs} else (None, False)
    moves = use_of_time(graph, layer) if graph.specs[layer.inputs[0]].is_sequence else None
    if layer.drops_mask or moves or isinstance(layer, (JoinMasks, StepMask)):
        return None, False
    if isinstance(layer, Window) and not layer.keeps_steps:
        return None, False
    if isinstance(layer, (Embedding, Masking, TimeDistributed)) and f"{value}:mask" in graph.specs:
        return f"{value}:mask", False
    own = layer.masks.get("query_mask" if isinstance(layer, Attention) else "mask")
    turns = isinstance(layer, GRU) and layer.go_backwards and not layer.time_order
    sources = layer.inputs[:1] if isinstance(layer, (GRU, Attention, MatMul)) else layer.inputs
    found = ((own, False) if own is not None else step_mask(graph, source) for source in sources)
    mask, is_backwards = next((pair for pair in found if pair[0] is not None), (None, False))
    return mask, is_backwards != turns and mask is not None


class Batch(NamedTuple):
    """What a network gives for some rows.

    Attributes
    ----------
    rows : slice
        Of all data.
    values : tuple of arrays
        The outputs, batch first.
    counted : tuple of (bool array (batch, time) or None)
        For each output the steps that are no padding; None: all.
    """

    rows: slice
    values: tuple[Array, ...]
    counted: tuple[Array | None, ...]


class Data:
    """The rows that networks are run on.

    Parameters
    ----------
    model : Model
    data : array, tuple or dict of arrays, list of texts
    lengths : as in a call, optional
    batch_size : int

    Raises
    ------
    BadInput
        No arrays or texts, no rows, or inputs of different numbers of rows.
    """

    def __init__(self, model: Model, data: Any, lengths: Any = None, batch_size: int = 64) -> None:
        named = model._named(data)
        if named is None:
            raise BadInput(f"data should be an array, a dict or tuple of arrays, or texts; got {type(data).__name__}")
        self.named, self.lengths = named, lengths
        self.batch_size = engine.whole_number(batch_size, "batch_size")
        self.rows = model._rows.count(named)
        if not self.rows:
            raise BadInput("data should hold at least one row, holds none")

    def run(self, model: Model) -> Iterator[tuple[slice, tuple[Array, ...]]]:
        """The outputs of a network batch by batch, with the rows that they belong to."""
        first = 0
        for results in model.predict_iter(self.named, self.batch_size, self.lengths):
            last = min(first + self.batch_size, self.rows)
            yield slice(first, last), results if isinstance(results, tuple) else (results,)
            first = last

    def first(self, model: Model, rows: int, steps: int) -> tuple[dict[str, Any], Any]:
        """The first rows and, where the network leaves their number free, steps, with their lengths; for one call."""
        part, lengths = slice(0, rows), self.lengths
        given = model._rows.part(self.named, part)
        if isinstance(lengths, Mapping):
            lengths = {name: np.asarray(array)[part] for name, array in lengths.items()}
        elif lengths is not None:
            lengths = np.asarray(lengths)[part]
        if not all(_can_be_cut(spec, given[spec.name]) for spec in model.inputs):
            return given, lengths
        for spec in model.inputs:
            if spec.is_sequence:
                axis = spec.axes.index("time")
                given[spec.name] = np.asarray(given[spec.name])[(*(slice(None),) * axis, slice(0, steps))]
        if isinstance(lengths, Mapping):
            return given, {name: np.minimum(array, steps) for name, array in lengths.items()}
        return given, None if lengths is None else np.minimum(lengths, steps)


def _can_be_cut(spec: TensorSpec, array: Any) -> bool:
    """Whether a call takes fewer steps of an input: its number of steps is free, or it has none and counts none."""
    if not spec.is_sequence:
        return spec.dtype == "float32"
    return spec.shape[spec.axes.index("time")] is None and np.ndim(array) == len(spec.shape)


class Reference:
    """The float32 network's results; computed again for each pass unless they are small."""

    def __init__(self, model: Model, data: Data) -> None:
        self.outputs = outputs_of(model.graph)
        self._data = data
        self._masks = tuple(dict.fromkeys(output.mask for output in self.outputs if output.mask is not None))
        self._model = batch_first(model, self._masks)
        self._kept: list[Batch] | None = None

    def batches(self) -> Iterator[Batch]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Batch] | None = []
        size = 0
        for rows, results in self._data.run(self._model):
            batch = self._batch(rows, results)
            size += sum(array.nbytes for array in results)
            if size > KEPT_BYTES:
                kept = None
            elif kept is not None:
                kept.append(batch)
            yield batch
        self._kept = kept

    def _batch(self, rows: slice, results: tuple[Array, ...]) -> Batch:
        values = results[: len(self.outputs)]
        masks = dict(zip(self._masks, results[len(self.outputs) :], strict=True))
        counted = (_steps(output, value, masks) for output, value in zip(self.outputs, values, strict=True))
        return Batch(rows, values, tuple(counted))


def batch_first(model: Model, further: tuple[str, ...] = ()) -> Model:
    """A model that gives its outputs batch first, without their ports, and further values behind them; the same one
    where that is so."""
    graph = model.graph
    if not (further or any(graph.output_ports)):
        return model
    plain = dataclasses.replace(graph, outputs=(*graph.outputs, *further), output_ports=(), states=())
    return Model(plain, threads=model.threads, matmul=model.matmul)


def _steps(output: Output, value: Array, masks: dict[str, Array]) -> Array | None:
    """The steps of an output that are no padding; None: all of them."""
    if output.mask is None:
        return None
    mask = masks[output.mask]
    if mask.shape != value.shape[:2] or mask.all():
        return None
    return mask[:, ::-1] if output.is_backwards else mask

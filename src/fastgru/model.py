"""Model: a network ready to run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import engine, narrowing
from ._openmp import core
from .errors import BadInput
from .graph import (
    GRU,
    NARROW,
    Attention,
    Conv,
    Embedding,
    Graph,
    JoinMasks,
    Layer,
    Masking,
    MatMul,
    TensorSpec,
    TimeDistributed,
    dtype_name,
)  # fmt: skip
from .layout import Layout, Rows, seen
from .stream import Stream
from .streaming import open_stream

if TYPE_CHECKING:
    from .text import FrontEnd

#: states kept for later calls; as many as calls have run at once, at most this many
_POOL = 64


class Model:
    """A network compiled for this machine. May be called from any number of threads at once.

    Parameters
    ----------
    graph : Graph
    dtype : {"float32", "bfloat16", "float16", "int8"}, optional
        What the weights of GRU, Dense, Conv and Embedding are held in (`fastgru.narrowing`); all other numbers are
        float32. Default: what the graph holds them in. ``"float32"`` widens a narrow one.
    keep_float32 : str or iterable of str
        Layers, by name or pattern (``"encoder*"``, ``"outer/inner"``), that stay float32; goes with a narrow `dtype`.
    threads : int, optional
        Upper bound of the threads of one call. Default: FASTGRU_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that
        affinity and the cgroup quota allow.
    matmul : {"auto", "blas"}
        Products by our own tiles, or the large ones by a BLAS library (then a row's bits may depend on its batch);
        those with narrow weights are always by our own tiles.

    Raises
    ------
    BadInput
        An unknown option, a layer in `keep_float32` that the network lacks, a narrow network that should become narrow
        otherwise, or a FASTGRU_ISA that this machine lacks.
    UnsupportedModel
        Weights that `dtype` cannot express: names the layers.
    MissingExtra
        ``matmul="blas"`` without scipy-openblas32.

    Examples
    --------
    >>> import fastgru, numpy as np
    >>> model = fastgru.load(fastgru.demo_path())
    >>> model(np.array([[3, 14, 15, 92]])).shape
    (1, 1)
    """

    def __init__(
        self,
        graph: Graph,
        *,
        dtype: str | None = None,
        keep_float32: str | Iterable[str] = (),
        threads: int | None = None,
        matmul: str = "auto",
    ) -> None:
        graph = narrowing.held_in(graph, dtype, keep_float32)
        if matmul not in engine.MATMULS:
            raise BadInput(f"matmul should be one of {', '.join(map(repr, engine.MATMULS))}, got {matmul!r}")
        if matmul == "blas":
            engine.open_blas()
        self.graph = graph
        self.threads = engine.thread_limit(threads)
        self.matmul = matmul
        self._options = {"threads": threads, "matmul": matmul}
        self._plan = core.Plan(graph, engine.wanted_isa(), matmul == "blas")
        self._pool: list[Any] = []
        self._inputs, self._outputs = seen(graph.ported_inputs), seen(graph.ported_outputs)
        self._layout = Layout.of(graph)
        self._mask_drops = mask_drops(graph)
        self._front_end = _front_end(graph)

    # ---- running
    # ------------------------------------------------------------------------------------------------------

    def __call__(
        self, *inputs: Any, lengths: Any = None, mask: Any = None, threads: int | None = None, out: Any = None
    ) -> Any:
        """Run whole sequences from a fresh state.

        Parameters
        ----------
        *inputs : array, or one dict of arrays by name
            In the order of `inputs`: (batch, time, features) float, (batch, time) token ids, or (batch, …) without
            time, lengths (batch,) among them. Inputs that the network does not read side by side may differ in their
            numbers of steps.
            C-contiguous float32 and int32 are the fast path; other dtypes, strides and whole-numbered float ids are
            converted. A network with ports takes the shapes that `inputs` says, in place where strides can express
            that. Where `front_end` has an encoder for an input: also the strings or numbers that it takes.
        lengths : array of int (batch,), or a dict of them by input, optional
            Steps of each row, always batch first; those at or past a row's length are masked. An array holds for every
            input with a time axis, a dict for those that it names.
        mask : array of bool (batch, time), or a dict of them by input, optional
            False: masked. Holes and left padding are fine. ANDed with `lengths` and with the network's own masks.
        threads : int, optional
            Upper bound for this call.
        out : array or tuple of arrays, optional
            C-contiguous arrays to write the outputs to, of the shapes and dtypes that `outputs` says.

        Returns
        -------
        array or tuple of arrays
            C-contiguous float32, but bool where an output is a mask and int32 where it holds ids, unless `outputs` says
            otherwise; in the order of `outputs`.

        Raises
        ------
        BadInput
            Wrong number of inputs, shape, dtype, length, number of steps, or a token id outside the vocabulary; a mask
            of an unknown input, or one that a layer drops.
        """
        plan = self._plan
        if len(inputs) != len(plan.inputs) or (type(inputs[0]) is not np.ndarray and isinstance(inputs[0], Mapping)):
            inputs = plan.in_order(inputs)
        if self._front_end is not None:
            inputs, lengths = self._front_end.encode(inputs, plan.inputs, lengths, mask)
        if lengths is not None or mask is not None:
            core.check_masks(lengths, mask, plan.inputs, self._mask_drops)
        limit = self.threads if threads is None else engine.thread_limit(threads)
        try:
            runner = self._pool.pop()
        except IndexError:
            runner = core.Runner(plan)
        results = runner._run_fresh(inputs, lengths, mask, limit, out, self._layout)
        if len(self._pool) < _POOL:
            self._pool.append(runner)
        return results[0] if len(results) == 1 else results

    def predict_iter(self, x: Any, batch_size: int = 256, lengths: Any = None, mask: Any = None) -> Iterator[Any]:
        """Yield the outputs batch by batch; parameters as `predict`. Rows are those of the batch axis of `inputs`,
        wherever it stands; an input without one goes whole into each call."""
        batch_size = engine.whole_number(batch_size, "batch_size")
        given = self._named(x)
        if given is None:
            if lengths is not None or mask is not None:
                raise BadInput("lengths and mask go with whole arrays, not with an iterable of batches")
            if not isinstance(x, Iterable) or isinstance(x, (str, bytes)):
                raise BadInput(f"expected an array, a dict or tuple of arrays, or batches; got {type(x).__name__}")
            for batch in x:
                yield self(*batch) if isinstance(batch, tuple) else self(batch)
            return
        rows = self._rows
        count = rows.count(given)
        lengths, mask = _rows_of(lengths, "lengths", count), _rows_of(mask, "mask", count)
        for first in range(0, max(count, 1), batch_size):
            part = slice(first, first + batch_size)
            yield self(rows.part(given, part), lengths=_part_of(lengths, part), mask=_part_of(mask, part))

    def predict(
        self, x: Any, batch_size: int = 256, progress: bool = False, lengths: Any = None, mask: Any = None
    ) -> Any:
        """Run many rows in batches and concatenate the outputs.

        Parameters
        ----------
        x : array, tuple or dict of arrays, list of texts; or an iterable of batches
        batch_size : int
            Rows of a batch; an iterable's batches stay as they are.
        progress : bool
            Show a progress bar (takes rich, extra ``cli``).
        lengths, mask : as in a call, for whole arrays

        Returns
        -------
        array or tuple of arrays

        Raises
        ------
        BadInput, MissingExtra
        """
        batches: Iterable[Any] = self.predict_iter(x, batch_size, lengths, mask)
        if progress:
            given = self._named(x)
            batches = _with_progress(batches, None if given is None else -(-self._rows.count(given) // batch_size))
        results = list(batches)
        if not results:
            raise BadInput("an iterable of batches should give at least one batch")
        rows = self._rows
        if len(self.outputs) == 1:
            return rows.joined(0, results)
        return tuple(rows.joined(place, parts) for place, parts in enumerate(zip(*results, strict=True)))

    def _named(self, x: Any) -> dict[str, Any] | None:
        """Whole inputs that `predict` is given, by name; None where x is no array, dict or tuple of arrays."""
        if isinstance(x, list) and x and isinstance(x[0], (str, bytes)):  # rows, not batches
            x = np.array(x, object)
        if isinstance(x, Mapping):
            return dict(x)
        if not isinstance(x, tuple) and not hasattr(x, "__array__"):
            return None
        arrays, names = x if isinstance(x, tuple) else (x,), [spec.name for spec in self.inputs]
        if len(arrays) != len(names):
            raise BadInput(f"expected {len(names)} inputs of one number of rows, got {len(arrays)}")
        return dict(zip(names, arrays, strict=True))

    @property
    def _rows(self) -> Rows:
        return Rows(self.inputs, self.outputs, [port for _, port in self.graph.ported_outputs])

    def stream(
        self,
        batch_size: int = 1,
        threads: int = 1,
        inputs: Mapping[str, Any] | None = None,
        state: Mapping[str, str] | None = None,
    ) -> Stream:
        """A running batch of sequences with its own state; it takes numbers (token ids), never texts.

        A Stream is batch first, whatever the layout of the network's ports, and knows inputs and outputs by the names
        of `inputs` and `outputs`.

        Parameters
        ----------
        batch_size : int
        threads : int
            Upper bound of the threads of one of its calls.
        inputs : dict, optional
            The network's inputs without a time axis (initial states among them), by name, as `inputs` says.
        state : dict, optional
            Inputs that are fed with outputs of the call before, ``{"h_in": "h_out"}``. They begin at zero unless
            `inputs` gives them, and the outputs are not returned, unless there are no others. Default: what the
            network's file says (`Graph.states`); ``{}``: none. `Stream.states` tells what is carried and how.

        Raises
        ------
        UnsupportedModel
            The network looks ahead or must see the whole sequence; names the layers.
        BadInput
            A wrong batch_size, inputs that are missing or not the network's, or a state whose names are not, or whose
            shapes differ.
        """
        return open_stream(self._plan, batch_size, threads, inputs, self._mask_drops, self._layout, state)

    # ---- facts
    # --------------------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape, dtype and axes of each input, as callers see them."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape, dtype and axes of each output, as callers see them."""
        return self._outputs

    @property
    def notes(self) -> tuple[str, ...]:
        """What the importer wants the user to know."""
        return self.graph.notes

    @property
    def front_end(self) -> FrontEnd | None:
        """How strings or numbers become what the inputs take, and what the answers mean; None where there is none."""
        return self._front_end

    @property
    def fingerprint(self) -> str:
        """SHA-256 of structure and weights."""
        return self.graph.fingerprint

    @property
    def dtype(self) -> str:
        """What weights are held in: ``"float32"``, or the narrow dtype of those that are narrow."""
        return narrowing.dtype_of(self.graph)

    @property
    def isa(self) -> str:
        """The kernel set in use."""
        return self._plan.isa  # type: ignore[no-any-return]

    def summary(self) -> str:
        """The layers as text: kind, output shape, parameters, multiply-adds per row and step; of a narrow network also
        what each layer's weights are held in, and bytes."""
        is_narrow = self.dtype != "float32"
        rows = [("layer", "kind", "output shape", "parameters", "multiply-adds", *(("bytes", "dtype") * is_narrow))]
        blank = ("",) * (len(rows[0]) - 3)
        rows += [(spec.name, "Input", _shape(spec), *blank) for spec in self.inputs]
        for layer in self.graph.layers:
            count = sum(value.size for value in layer.tensors.values())
            spec = self.graph.specs[layer.name]
            row = (layer.name, layer.kind, _shape(spec), f"{count:,}", f"{layer_cost(layer, self.graph):,}")
            rows.append((*row, *(_held(layer) * is_narrow)))
        ported = zip(self.outputs, self.graph.ported_outputs, strict=True)
        rows += [(spec.name, "Output", _shape(spec), *blank) for spec, (_, port) in ported if port is not None]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_table_line(row, widths) for row in rows]
        lines.insert(1, "  ".join("─" * width for width in widths))
        encoders = self._front_end.inputs if self._front_end is not None else {}
        lines += [f"input {name!r} {encoder.describe()}" for name, encoder in encoders.items()]
        for source, target in self.graph.states:
            lines.append(f"input {source!r} takes what output {target!r} gave before; a Stream carries it")
        cost = sum(layer_cost(layer, self.graph) for layer in self.graph.layers)
        total = f"{self.graph.parameters:,} parameters, {cost:,} multiply-adds per row and step"
        if is_narrow:
            total += f", {sum(value.nbytes for _, value in self.graph.tensors):,} bytes of weights"
        return "\n".join([self.graph.name, *lines, f"{total}, {self.isa} kernels"]).lstrip("\n")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as a portable fastgru file (safetensors); `load` reads it without any extra."""
        from . import file

        file.write(self.graph, Path(path))

    def __repr__(self) -> str:
        layers, parameters = len(self.graph.layers), self.graph.parameters
        return f"<fastgru.Model {self.graph.name!r}: {layers} layers, {parameters:,} parameters>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.graph, self._options)


def layer_cost(layer: Layer, graph: Graph) -> int:
    """Multiply-adds of a layer of a graph per row and step of its own."""
    if isinstance(layer, TimeDistributed):
        inner = layer.fitted(graph.specs[layer.inputs[0]])
        return sum(layer_cost(one, inner) * _steps(one, inner) for one in inner.layers)
    if isinstance(layer, Conv):
        return layer.kernel.size * math.prod(graph.specs[layer.name].inner[:-1])
    return sum(value.size for key, value in layer.tensors.items() if key in ("kernel", "recurrent_kernel"))


def _steps(layer: Layer, graph: Graph) -> int:
    """Steps of a layer's own in a network whose number of steps is known."""
    made, read = graph.specs[layer.name], graph.specs[layer.inputs[0]]
    spec = made if made.is_sequence else read
    return spec.shape[1] or 1 if spec.is_sequence else 1


def mask_drops(graph: Graph) -> dict[str, str]:
    """What to say to a caller who gives lengths or a mask of an input, by callers' names of those whose mask does not
    reach every layer that runs along its steps, or without such a layer the output."""
    named = zip(graph.input_names, graph.inputs, strict=True)
    drops = {name: _mask_drop(graph, spec.name) for name, spec in named if spec.is_sequence}
    return {
        name: f"lengths and mask of {name!r} would be without effect: {layer.kind} layer {layer.name!r} drops the mask"
        for name, layer in drops.items()
        if layer is not None
    }


def _mask_drop(graph: Graph, name: str) -> Layer | None:
    """The layer at which the mask of an input ends too early."""
    carriers = {name}  # sequences made of the input's steps
    masks = {f"{name}:mask"}  # masks made of the input's
    behind: dict[str, Layer] = {}  # values behind a layer that drops the mask, with that layer
    used = False
    for layer in graph.layers:
        reads = [value in carriers for value in layer.inputs]
        source = next((behind[value] for value in layer.inputs if value in behind), None)
        if source is None and layer.drops_mask and any(reads):
            source = layer
        if source is not None:
            behind[layer.name] = source
        if isinstance(layer, JoinMasks) and masks.intersection(layer.inputs):
            masks.add(layer.name)
        if masks.intersection((getattr(layer, "mask", None), getattr(layer, "query_mask", None))):
            masks.add(f"{layer.name}:mask")
            used = used or not isinstance(layer, (Embedding, Masking))
        elif (isinstance(layer, GRU) and reads[0]) or (isinstance(layer, Attention) and any(reads[1:])):
            return source or layer
        # the result of these has the steps of the first value that they read
        led = reads[:1] if isinstance(layer, (Attention, MatMul)) else reads
        if any(led) and graph.specs[layer.name].is_sequence:
            carriers.add(layer.name)
    return None if used else next((behind[value] for value in graph.outputs if value in behind), None)


def _front_end(graph: Graph) -> FrontEnd | None:
    if graph.text is None:
        return None
    from .text import FrontEnd  # only networks that have one need it

    return FrontEnd.of(graph)


def _table_line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Three columns of words to the left, the numbers to the right."""
    padded = (cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True)))
    return "  ".join(padded).rstrip()


def _held(layer: Layer) -> tuple[str, str]:
    """Bytes of a layer's tensors, and what those that may be narrow are held in; empty where it has none."""
    tensors = layer.tensors.values()
    dtypes = sorted({dtype_name(value) for value in tensors}, key=lambda dtype: dtype not in NARROW)
    return (f"{sum(value.nbytes for value in tensors):,}", dtypes[0]) if dtypes else ("", "")


def _shape(spec: TensorSpec) -> str:
    return "(" + ", ".join("None" if size is None else str(size) for size in spec.shape) + ")"


def _rows_of(value: Any, name: str, count: int) -> Any:
    """Lengths or a mask as arrays of `count` rows; what is inside is checked batch by batch."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _rows_of(item, f"{name}[{key!r}]", count) for key, item in value.items()}
    array = core.plain_array(value, f"{name} should have {count} rows")
    if array.shape[:1] != (count,):
        raise BadInput(f"{name} should have {count} rows, has shape {array.shape}")
    return array


def _part_of(value: Any, rows: slice) -> Any:
    """Some rows of what `_rows_of` gave."""
    if isinstance(value, Mapping):
        return {key: _part_of(item, rows) for key, item in value.items()}
    return None if value is None else value[rows]


def _with_progress(batches: Iterable[Any], total: int | None) -> Iterable[Any]:
    try:
        from rich.progress import track
    except ImportError:
        from .errors import MissingExtra

        raise MissingExtra.of("rich", "cli", "predict(progress=True)") from None
    return track(batches, description="predict", total=total)


def _rebuild(graph: Graph, options: dict[str, Any]) -> Model:
    return Model(graph, **options)

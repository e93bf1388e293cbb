"""An encoder and a decoder as one thing: the one reads a source, the other writes tokens from what the first made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._openmp import core
from ..errors import BadInput
from ..graph import (
    GRU,
    Activate,
    Array,
    Combine,
    Concatenate,
    Dense,
    Embedding,
    Graph,
    Identity,
    Layer,
    Masking,
    Normalize,
    OneHot,
    PReLU,
    Scale,
    TensorSpec,
)
from ..model import Model
from .decoders import (
    CallDecoder,
    Decoder,
    StreamDecoder,
    batch_first_model,
    groups_of,
    scoring_model,
    token_input,
)
from .wiring import Given, find_wiring

#: layers that work on each step by itself
_PER_STEP = (Activate, Combine, Dense, Embedding, Identity, Masking, Normalize, OneHot, PReLU)
#: sources that run together, at most
_TOGETHER = 64


class Sources:
    """What an encoder is to read: rows that may differ in their steps, or whole arrays for several inputs.

    Attributes
    ----------
    count : int
    is_batch : bool
        Whether the caller gave several; else one, whose result stands for itself.
    """

    def __init__(self, encoder: Model, given: Any, vocabulary: Any = None) -> None:
        specs = encoder.graph.inputs
        self._names = encoder.graph.input_names
        self.arrays: dict[str, Array] = {}
        self.rows: list[Array] = []
        if isinstance(given, Mapping) or len(specs) > 1:
            self._take_arrays(given, specs)
        else:
            self._take_rows(encoder, given, vocabulary)
        if not self.count:
            raise BadInput("there should be at least one source")

    def _take_arrays(self, given: Any, specs: Sequence[TensorSpec]) -> None:
        if not isinstance(given, Mapping) or set(given) != set(self._names):
            got = sorted(given) if isinstance(given, Mapping) else type(given).__name__
            names = ", ".join(map(repr, self._names))
            raise BadInput(f"the encoder takes a dict of arrays, batch first, for its inputs {names}; got {got}")
        self.arrays = {name: np.asarray(given[name]) for name in self._names}
        counts = {name: len(array) if array.ndim else 0 for name, array in self.arrays.items()}
        if len(set(counts.values())) > 1:
            raise BadInput(f"inputs of an encoder should have one number of rows, got {counts}")
        self.count, self.is_batch = next(iter(counts.values())), True

    def _take_rows(self, encoder: Model, given: Any, vocabulary: Any) -> None:
        spec = encoder.graph.inputs[0]
        dims = len(spec.shape)
        if isinstance(given, str):
            given, self.is_batch = [given], False
        elif isinstance(given, (list, tuple)):
            self.is_batch = bool(given) and (isinstance(given[0], str) or _depth(given[0]) == dims - 1)
            given = given if self.is_batch else [given]
        else:
            array = core.plain_array(given, f"a source for input {spec.name!r} should be an array")
            if array.ndim not in (dims - 1, dims):
                shapes = f"{spec.shape[1:]} or, several, {spec.shape}"
                raise BadInput(f"a source for input {spec.name!r} should have shape {shapes}; got {array.shape}")
            self.is_batch = array.ndim == dims
            given = array if self.is_batch else [array]
        self.rows = [self._row(encoder, spec, row, vocabulary) for row in given]
        if spec.is_sequence and not all(map(len, self.rows)):
            raise BadInput("a source should have at least one step")
        self.count = len(self.rows)

    def _row(self, encoder: Model, spec: TensorSpec, row: Any, vocabulary: Any) -> Array:
        if not isinstance(row, str):
            array: Array = core.plain_array(row, f"a source for input {spec.name!r} should have shape {spec.shape[1:]}")
            sizes = zip(array.shape, spec.shape[1:], strict=False)
            if array.ndim != len(spec.shape) - 1 or any(want not in (None, size) for size, want in sizes):
                got = f"should have shape {spec.shape[1:]}; one has {array.shape}"
                raise BadInput(f"sources for input {spec.name!r} {got}")
            return array
        if vocabulary is not None:
            ids = np.array(vocabulary.encode(row), np.int64)
            return token_input(spec)(ids[None])[0] if spec.dtype == "float32" else ids
        if encoder.front_end is None or spec.name not in encoder.front_end.inputs:
            raise BadInput(
                "a source is a text, but the encoder has no text front end: give vocabulary=(source's, target's)"
            )
        (ids,), lengths = encoder.front_end.encode((np.array([row], object),), encoder.graph.inputs)
        found: Array = ids[0]
        return found if lengths is None else found[: lengths[spec.name][0]]

    def groups(self, paddable: bool) -> Iterator[tuple[list[int], dict[str, Array], Array | None]]:
        """Sources that run together: their places, the arrays for the encoder, and lengths where they differ."""
        if self.arrays:
            for first in range(0, self.count, _TOGETHER):
                part = slice(first, first + _TOGETHER)
                arrays = {name: array[part] for name, array in self.arrays.items()}
                yield list(range(self.count))[part], arrays, None
            return
        name = self._names[0]
        alike = [0] * self.count if paddable else [row.shape for row in self.rows]
        for group in groups_of(alike):
            for first in range(0, len(group), _TOGETHER):
                places = group[first : first + _TOGETHER]
                rows = [self.rows[place] for place in places]
                lengths = np.array([len(row) for row in rows])
                padded = np.zeros((len(rows), lengths.max(), *rows[0].shape[1:]), np.result_type(*rows))
                for into, row in zip(padded, rows, strict=True):
                    into[: len(row)] = row
                yield places, {name: padded}, lengths if len(set(lengths.tolist())) > 1 else None


class Pair:
    """An encoder and a decoder, and how they belong together.

    Parameters
    ----------
    encoder, decoder : Model
    wiring : dict, optional
        As `find_wiring` takes it.

    Attributes
    ----------
    wiring : Wiring

    Raises
    ------
    BadInput, UnsupportedModel
        As `find_wiring`.
    """

    def __init__(self, encoder: Model, decoder: Model, wiring: Given | None = None) -> None:
        self.wiring = find_wiring(encoder.graph, decoder.graph, wiring)
        self.encoder, self.decoder = encoder, decoder
        self._scores = decoder.graph.output_names.index(self.wiring.scores)
        self._reads = batch_first_model(encoder)
        self._specs = dict(zip(decoder.graph.input_names, decoder.graph.inputs, strict=True))
        self._paddable = self._is_paddable()

    @property
    def classes(self) -> int:
        """How many tokens the decoder knows."""
        value = self.decoder.graph.outputs[self._scores]
        return int(self.decoder.graph.specs[value].shape[-1] or 0)

    def open(
        self, sources: Sources, first: int, threads: int, log_probabilities: bool = True
    ) -> Iterator[tuple[list[int], Decoder]]:
        """Encode sources, and begin to decode each behind the token `first`.

        Parameters
        ----------
        sources : Sources
        first : int
        threads : int
        log_probabilities : bool
            What the decoder is to give; else logits.

        Yields
        ------
        places : list of int
            Of the sources that run together.
        decoder : Decoder
            With a row for each.
        """
        writes = scoring_model(self.decoder, self._scores, log_probabilities)
        for places, arrays, lengths in sources.groups(self._paddable):
            inputs = [arrays[name] for name in self.encoder.graph.input_names]
            made = self._reads(*inputs, lengths=lengths, threads=threads)
            results = made if isinstance(made, tuple) else (made,)
            outputs = dict(zip(self.encoder.graph.output_names, results, strict=True))
            begin = self._begin(outputs, arrays, lengths, len(places))
            yield places, self._decoder(writes, begin, np.full(len(places), first), threads)

    def _decoder(self, writes: Model, begin: dict[str, Array], tokens: Array, threads: int) -> Decoder:
        if self.wiring.states:
            return CallDecoder(writes, self.decoder.graph, self.wiring, begin, tokens, threads)
        inputs = {self._specs[name].name: array for name, array in begin.items()}
        stream = writes.stream(batch_size=len(tokens), threads=threads, inputs=inputs)
        token = writes.inputs[list(self._specs).index(self.wiring.token)]
        return StreamDecoder(stream, token, self._scores, list(tokens[:, None]))

    def _begin(
        self, outputs: Mapping[str, Array], sources: Mapping[str, Array], lengths: Array | None, rows: int
    ) -> dict[str, Array]:
        """What the decoder is given beside tokens, by its inputs."""
        begin: dict[str, Array] = {}
        starts: dict[str, str | None] = {name: start for name, (start, _) in self.wiring.states.items()}
        starts.update(self.wiring.constants)
        for name, start in starts.items():
            inner = self._specs[name].inner
            array = np.zeros((rows, *inner), np.float32) if start is None else outputs[start]
            lead = array.shape[: 1 + self._specs[name].is_sequence]
            begin[name] = array.reshape(*lead, *inner)
        for name, source in self.wiring.masks.items():
            begin[name] = self._mask(source, sources[source], lengths).astype(np.int32)
        return begin

    def _mask(self, source: str, array: Array, lengths: Array | None) -> Array:
        """Which steps of a source count: those of its own that the encoder does not mask by their id."""
        mask = np.ones(array.shape[:2], bool) if lengths is None else np.arange(array.shape[1]) < lengths[:, None]
        value = self.encoder.graph.inputs[self.encoder.graph.input_names.index(source)].name
        readers = [layer for layer in self.encoder.graph.layers if value in layer.inputs]
        masks_zero = any(isinstance(layer, Embedding) and layer.mask_zero for layer in readers)
        return mask & (array != 0) if masks_zero else mask

    def _is_paddable(self) -> bool:
        """Whether sources of different lengths may run together, padded, without a change to any."""
        graph = self.encoder.graph
        if len(graph.inputs) > 1 or not graph.inputs[0].is_sequence or self.encoder._mask_drops:
            return False
        read = [name for name in self.wiring.constants if self._specs[name].is_sequence]
        masked = self.wiring.masks or not read
        return bool(masked) and all(_minds_its_step(graph, layer) for layer in graph.layers)


def _depth(given: Any) -> int:
    """The number of axes that nested lists have, judged by the first of each."""
    if isinstance(given, (list, tuple)):
        return 1 + (_depth(given[0]) if given else 0)
    return int(np.ndim(given))


def _minds_its_step(graph: Graph, layer: Layer) -> bool:
    """Whether what a layer gives does not depend on masked steps behind a sequence."""
    if not any(graph.specs[value].is_sequence for value in layer.inputs):
        return True
    return layer.mask is not None if isinstance(layer, GRU) else is_per_step(graph, layer)


def is_per_step(graph: Graph, layer: Layer) -> bool:
    """Whether a layer that reads sequences works on each step by itself, whatever its place."""
    match layer:
        case Concatenate():
            return layer.axis % len(graph.specs[layer.name].shape) != 1
        case Scale():
            return not layer.has_own_steps(graph.specs)
    return isinstance(layer, _PER_STEP)

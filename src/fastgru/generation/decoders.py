"""What scores the next token: networks that go on from where each row stands, be it a hypothesis or a sequence."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..errors import UnsupportedModel
from ..graph import Array, Graph, TensorSpec
from ..layout import Feed
from ..model import Model
from ..passes import tokens_for_one_hot
from ..stream import Stream
from .heads import with_scores
from .wiring import Wiring

#: networks that were made of a Model's for generation, by what was made
_MADE: weakref.WeakKeyDictionary[Model, dict[Any, Model]] = weakref.WeakKeyDictionary()


class Decoder(Protocol):
    """Rows that are continued side by side, each by its own tokens."""

    def start(self) -> Array:
        """The scores of the first token of each row, log-probabilities or logits: (rows, classes) float32."""

    def step(self, tokens: Array, parents: Array) -> Array:
        """Continue.

        Parameters
        ----------
        tokens : array of int64 (rows,)
        parents : array of int64 (rows,)
            The row of the call before behind which each token stands; a row may stand behind several, or none.

        Returns
        -------
        array of float32 (rows, classes)
            The scores of each row's next token.
        """

    def close(self) -> None:
        """Free what the rows hold."""


class DecoderLoop:
    """What a `Generation` asks for tokens: rows of decoders, each continued by the token that a sampler chooses.

    Parameters
    ----------
    decoders : sequence of (list of int, Decoder)
        Each with the sampler's rows that are its own, in order.
    sampler : Sampler
    """

    def __init__(self, decoders: Sequence[tuple[Sequence[int], Decoder]], sampler: Any) -> None:
        self._sampler = sampler
        self._decoders = [decoder for _, decoder in decoders]
        self._owner = {row: index for index, (rows, _) in enumerate(decoders) for row in rows}
        self._places = {row: place for rows, _ in decoders for place, row in enumerate(rows)}
        self._last: dict[int, int] = {}  # token of each row

    @property
    def log_probability(self) -> float | None:
        return self._sampler.log_probability  # type: ignore[no-any-return]

    def next(self) -> int:
        return self.next_of([0])[0][0]

    def next_of(self, rows: Sequence[int]) -> list[tuple[int, float | None]]:
        found: dict[int, tuple[int, float | None]] = {}
        for group in groups_of([self._owner[row] for row in rows]):
            ours = [rows[place] for place in group]
            scores = self._scores(self._decoders[self._owner[ours[0]]], ours)
            for row, logits in zip(ours, scores, strict=True):
                self._last[row] = self._sampler.choose(logits, row)
                found[row] = self._last[row], self._sampler.log_probability
        return [found[row] for row in rows]

    def _scores(self, decoder: Decoder, rows: Sequence[int]) -> Array:
        if rows[0] not in self._last:  # all rows take their first step together
            return decoder.start()
        parents = np.array([self._places[row] for row in rows])
        self._places.update((row, place) for place, row in enumerate(rows))
        return decoder.step(np.array([self._last[row] for row in rows]), parents)


class CallDecoder:
    """A decoder whose states are inputs and outputs: each step is a plain call, as in the loop of its framework.

    Parameters
    ----------
    model : Model
        As `scoring_model` gives it.
    graph : Graph
        The decoder's own, with its ports.
    wiring : Wiring
    begin : dict of arrays (rows, …)
        What states begin with and constants are, by the decoder's inputs, batch first.
    tokens : array of int64 (rows,)
        The tokens that all begins with.
    threads : int
    """

    def __init__(
        self, model: Model, graph: Graph, wiring: Wiring, begin: Mapping[str, Array], tokens: Array, threads: int
    ) -> None:
        self._model, self._threads, self._tokens = model, threads, tokens
        names = graph.input_names
        self._feeds = {name: Feed(graph, name, feed) for name, (_, feed) in wiring.states.items()}
        self._scores = graph.output_names.index(wiring.scores)
        self._token = token_input(model.inputs[names.index(wiring.token)])
        self._order = names
        self._word = wiring.token
        self._states = {name: begin[name] for name in wiring.states}
        self._constants = {name: begin[name] for name in begin if name not in wiring.states}
        self._spread = self._constants  # for the rows of the last call
        self._owners = np.arange(len(tokens))

    def start(self) -> Array:
        return self._call(self._tokens)

    def step(self, tokens: Array, parents: Array) -> Array:
        owners = self._owners[parents]
        if not np.array_equal(owners, self._owners):  # they change where rows come and go, in few steps
            self._owners = owners
            self._spread = {name: array[owners] for name, array in self._constants.items()}
        self._states = {name: array[parents] for name, array in self._states.items()}
        return self._call(tokens)

    def _call(self, tokens: Array) -> Array:
        given = {**self._states, **self._spread, self._word: self._token(tokens)}
        results = self._model(*[given[name] for name in self._order], threads=self._threads)
        self._states = {name: feed(results[feed.output]) for name, feed in self._feeds.items()}
        return _rows_of_classes(results[self._scores], len(tokens))

    def close(self) -> None:
        self._states = self._spread = self._constants = {}


class StreamDecoder:
    """A network that carries its states itself: the rows of a Stream, of which one is forked where two tokens stand
    behind it.

    Parameters
    ----------
    stream : Stream
    spec : TensorSpec
        The input of the tokens.
    scores : int
        The place of the scores among the stream's outputs.
    prompts : sequence of arrays of int64 (tokens,)
        What each row begins with, a token or more.
    """

    def __init__(self, stream: Stream, spec: TensorSpec, scores: int, prompts: Sequence[Array]) -> None:
        self._stream, self._scores, self._prompts = stream, scores, prompts
        self._token, self._tokens = token_input(_of_one_step(spec)), token_input(spec)
        self._handles = stream.rows

    def start(self) -> Array:
        """Prompts of one length run together."""
        found: list[Array | None] = [None] * len(self._prompts)
        for rows in groups_of(list(map(len, self._prompts))):
            chunk = np.stack([self._prompts[row] for row in rows])
            given = self._one(self._stream.run(self._tokens(chunk), rows=self._handles[rows]))
            last = given.reshape(len(rows), -1)[:, -given.shape[-1] :]
            for row, scores in zip(rows, last, strict=True):
                found[row] = scores
        return np.stack(found)  # type: ignore[arg-type]

    def step(self, tokens: Array, parents: Array) -> Array:
        if not np.array_equal(parents, np.arange(len(self._handles))):
            self._handles = self._moved(parents)
        scores = self._one(self._stream.step(self._token(tokens), rows=self._handles))
        return _rows_of_classes(scores, len(tokens))

    def _moved(self, parents: Array) -> Array:
        """Rows that stand where their parents do: each parent itself for the first, forks of it for others."""
        stream, before = self._stream, self._handles.tolist()
        handles = self._handles[parents]
        taken: set[int] = set()
        for row, parent in enumerate(parents.tolist()):
            if parent in taken:
                handles[row] = stream.fork(before[parent])
            taken.add(parent)
        for parent, handle in enumerate(before):
            if parent not in taken:
                stream.close(handle)
        return handles

    def _one(self, results: Any) -> Array:
        return results[self._scores] if isinstance(results, tuple) else results

    def close(self) -> None:
        self._stream.close()


def scoring_model(model: Model, place: int, log_probabilities: bool) -> Model:
    """A Model of the same network, batch first whatever its ports, that gives log-probabilities or logits at one
    output's place, and reads token ids for one-hot vectors where these are its only sequence.

    It is made once for a Model, and forgotten with it.
    """

    def made() -> Graph:
        graph = with_scores(_batch_first(model.graph), place, log_probabilities)
        classes = graph.specs[graph.outputs[place]].shape[-1:]
        reads_one_hot = any(spec.is_sequence and spec.inner == classes for spec in graph.inputs)
        return (tokens_for_one_hot(graph) if reads_one_hot else None) or graph

    return _made_of(model, (place, log_probabilities), made)


def prompt_decoder(model: Model, graph: Graph, prompts: Sequence[Sequence[int]], threads: int) -> StreamDecoder:
    """A decoder that goes on with prompts.

    Parameters
    ----------
    model : Model
    graph : Graph
        Its network as `Network` prepares it: token ids in, scores of the next token out, other inputs begin at zero.
    prompts : sequence of sequences of int
        Of a token or more.
    threads : int

    Raises
    ------
    UnsupportedModel
        The network cannot run step by step.
    """
    scoring = _made_of(model, graph, lambda: with_scores(graph, 0, log_probabilities=True))
    (spec,) = (spec for spec in scoring.inputs if spec.is_sequence)
    rows = len(prompts)
    zeros = {one.name: np.zeros((rows, *one.inner), np.float32) for one in scoring.inputs if one is not spec}
    stream = scoring.stream(batch_size=rows, threads=threads, inputs=zeros)
    return StreamDecoder(stream, spec, 0, [np.array(prompt, np.int64) for prompt in prompts])


def batch_first_model(model: Model) -> Model:
    """A Model of the same network without ports and states; the same where it has none."""
    return _made_of(model, None, lambda: _batch_first(model.graph)) if model.graph.has_ports else model


def _made_of(model: Model, key: Any, graph: Callable[[], Graph]) -> Model:
    made = _MADE.setdefault(model, {})
    if key not in made:
        made[key] = Model(graph(), threads=model.threads, matmul=model.matmul)
    return made[key]


def _batch_first(graph: Graph) -> Graph:
    return dataclasses.replace(graph, input_ports=(), output_ports=(), states=()) if graph.has_ports else graph


def token_input(spec: TensorSpec) -> Callable[[Array], Array]:
    """What an input takes for tokens: ids or one-hot vectors.

    Parameters
    ----------
    spec : TensorSpec
        ``(batch,)``, ``(batch, time)`` or with a further axis of classes, float32.

    Returns
    -------
    function of array of int64 (rows,) or (rows, tokens) → array
        Of one token a row an array (rows, 1, …) where the input has a time axis.
    """
    classes = 0 if spec.dtype == "int32" else spec.features
    if spec.inner[:-1] or (classes == 0) != (spec.inner == ()):
        raise UnsupportedModel(f"input {spec.name!r} {spec.shape} takes neither token ids nor one-hot vectors")

    def taken(tokens: Array) -> Array:
        ids = tokens[:, None] if spec.is_sequence and tokens.ndim == 1 else tokens
        if not classes:
            return ids.astype(np.int32)
        one_hot = np.zeros((*ids.shape, classes), np.float32)
        np.put_along_axis(one_hot, ids[..., None], 1, -1)
        return one_hot

    return taken


def groups_of(keys: Sequence[Any]) -> list[list[int]]:
    """The places of equal keys.

    >>> groups_of([3, 5, 3])
    [[0, 2], [1]]
    """
    found: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return list(found.values())


def _of_one_step(spec: TensorSpec) -> TensorSpec:
    if not spec.is_sequence:
        return spec
    return dataclasses.replace(spec, shape=(spec.shape[0], *spec.shape[2:]), axes=(spec.axes[0], *spec.axes[2:]))


def _rows_of_classes(scores: Array, rows: int) -> Array:
    """(rows, classes) out of an output (rows, 1, …, classes)."""
    if scores.size != rows * scores.shape[-1]:
        raise UnsupportedModel(f"a step should give the scores of one token, gives {scores.shape[1:]}")
    return scores.reshape(rows, -1)

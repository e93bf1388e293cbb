"""How an encoder and a decoder belong together: what of the one, and of the step before, goes into which input."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadInput, UnsupportedModel
from ..graph import GRU, Conv, Embedding, Graph, Pool, StepMask, TensorSpec
from ..ports import Port
from ..states import find_states, stem

#: what `wiring=` may hold: an encoder's output or input, a decoder's output, or (an encoder's output or None, a
#: decoder's output)
Given = Mapping[str, "str | tuple[str | None, str]"]


@dataclass(frozen=True)
class Wiring:
    """What each input of a decoder is given; everything by the names that callers see.

    Attributes
    ----------
    token : str
        The input that takes the last token.
    scores : str
        The decoder's output that the next one is chosen from.
    states : dict of str to (str or None, str)
        Inputs that a step hands on to the next: the encoder's output that they begin with (None: zeros), and the
        decoder's output that feeds them.
    constants : dict of str to str
        Inputs that are an output of the encoder in each step.
    masks : dict of str to str
        Inputs (batch, time) that say which steps of an input of the encoder count.
    """

    token: str
    scores: str
    states: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    masks: Mapping[str, str] = field(default_factory=dict)


#: what was found, by decoder and encoder
_FOUND: weakref.WeakKeyDictionary[Graph, weakref.WeakKeyDictionary[Graph, Wiring]] = weakref.WeakKeyDictionary()


def find_wiring(encoder: Graph, decoder: Graph, given: Given | None = None) -> Wiring:
    """What each input of the decoder is given, as `given` says, else by what GRUs begin and end with, by names, by
    shapes and, among equal shapes, by order.

    Parameters
    ----------
    encoder, decoder : Graph
    given : dict, optional
        Of any of the decoder's inputs: ``{"state": ("encoder_state", "new_state")}``, ``{"keys": "encoder_outputs"}``,
        ``{"mask": "source"}`` (the steps of that input of the encoder that count), ``{"word": "probabilities"}`` (the
        last token, chosen from that output of the decoder).

    Raises
    ------
    BadInput
        A name that the networks do not have, shapes that do not fit, or an input for which nothing or more than one
        thing would do; names the inputs.
    UnsupportedModel
        A layer keeps a state of its own while others are inputs and outputs.
    """
    if given is not None:
        return _Search(encoder, decoder, given).found()
    known = _FOUND.setdefault(decoder, weakref.WeakKeyDictionary())
    if encoder not in known:
        known[encoder] = _Search(encoder, decoder, None).found()
    return known[encoder]


def is_mask(graph: Graph, spec: TensorSpec) -> bool:
    """Whether an input of ids is a mask: what reads it are tables of two rows."""
    readers = [layer for layer in graph.layers if spec.name in layer.inputs]
    tables = all(isinstance(layer, Embedding) and layer.table.shape[0] == 2 for layer in readers)
    return spec.dtype == "int32" and spec.is_sequence and bool(readers) and tables


def maker(value: str) -> str:
    """The input or layer that defines a value.

    >>> maker("gru:state"), maker("gru:0")
    ('gru', 'gru:0')
    """
    name, _, kind = value.rpartition(":")
    return name if name and kind in ("state", "mask", "scores") else value


class _Search:
    def __init__(self, encoder: Graph, decoder: Graph, given: Given | None) -> None:
        self.encoder, self.decoder = encoder, decoder
        self.sources = dict(zip(encoder.input_names, encoder.inputs, strict=True))
        self.offers = _named(encoder.output_names, encoder.ported_outputs)
        self.inputs = dict(zip(decoder.input_names, decoder.inputs, strict=True))
        self.outputs = _named(decoder.output_names, decoder.ported_outputs)
        self.token = self.scores = ""
        self.masks: dict[str, str] = {}
        self.starts: dict[str, str | None] = {}  # of states and constants: what of the encoder
        self.feeds: dict[str, str] = {}  # of states: what of the decoder
        self._take(given)

    def found(self) -> Wiring:
        self._find_states()
        self._find_scores()
        self._find_masks()
        self._find_token()
        self._find_starts()
        states = {name: (start, self.feeds[name]) for name, start in self.starts.items() if name in self.feeds}
        constants = {name: start for name, start in self.starts.items() if start is not None and name not in states}
        self._check_hidden_states(states)
        return Wiring(self.token, self.scores, states, constants, self.masks)

    def _take(self, given: Any) -> None:
        """What the caller says."""
        if given is None:
            return
        if not isinstance(given, Mapping):
            raise BadInput(f"wiring should be a dict of the decoder's inputs, got {type(given).__name__}")
        for name, what in given.items():
            if name not in self.inputs:
                raise BadInput(f"wiring: the decoder has no input {name!r}, only {_listed(self.inputs)}")
            if isinstance(what, tuple) and len(what) == 2:
                start, feed = what
                if (start is not None and start not in self.offers) or feed not in self.outputs:
                    shown = f"({_listed(self.offers)} or None, {_listed(self.outputs)})"
                    raise BadInput(f"wiring[{name!r}] should be (encoder's, decoder's output) of {shown}: {what}")
                self._check_fit(name, self.outputs[feed], f"the decoder's output {feed!r}")
                self.starts[name], self.feeds[name] = start, feed
            elif isinstance(what, str) and what in self.offers:
                self.starts[name] = what
            elif isinstance(what, str) and what in self.sources:
                spec = self.inputs[name]
                if not (spec.is_sequence and not spec.inner and self.sources[what].is_sequence):
                    raise BadInput(f"wiring: the decoder's input {name!r} {spec.shape} is no mask of {what!r}")
                self.masks[name] = what
            elif isinstance(what, str) and what in self.outputs and not self.token:
                self.token, self.scores = name, what
            else:
                known = [*self.offers, *self.sources, *self.outputs]
                raise BadInput(f"wiring[{name!r}] should be one of {_listed(known)}, got {what!r}")
            start = self.starts.get(name)
            if start is not None:
                self._check_fit(name, self.offers[start], f"the encoder's output {start!r}")

    def _check_fit(self, name: str, spec: TensorSpec, what: str) -> None:
        wanted = self.inputs[name]
        if _kind(wanted) != _kind(spec) or spec.dtype != "float32":
            raise BadInput(f"wiring: the decoder's input {name!r} takes {wanted.shape}, {what} is {spec.shape}")

    def _find_states(self) -> None:
        """Inputs that outputs of the step before feed."""
        for name, feed in self.decoder.states or find_states(self.decoder)[0]:
            if self._is_unfed(name) and self._is_free(feed):
                self.feeds[name] = feed
        # what is left by shapes, where only one way is left to do it
        left = [name for name in self.inputs if self._is_unfed(name) and _is_state(self.inputs[name])]
        free = [name for name, spec in self.outputs.items() if _is_state(spec) and self._is_free(name)]
        if len(free) > 1 or any(spec.is_sequence and self._is_free(name) for name, spec in self.outputs.items()):
            for name in left:
                fits = [feed for feed in free if _kind(self.outputs[feed]) == _kind(self.inputs[name])]
                rivals = [one for one in left if _kind(self.inputs[one]) == _kind(self.inputs[name])]
                if len(fits) == len(rivals):
                    self.feeds[name] = fits[rivals.index(name)]

    def _is_free(self, output: str) -> bool:
        return output not in self.feeds.values() and output != self.scores

    def _is_unfed(self, name: str) -> bool:
        return name not in self.feeds and name not in self.masks and name != self.token

    def _is_open(self, name: str) -> bool:
        return self._is_unfed(name) and name not in self.starts

    def _find_scores(self) -> None:
        if self.scores:
            return
        left = [name for name in self.outputs if name not in self.feeds.values()]
        if len(left) != 1:
            which = f"outputs {_listed(left)}" if left else f"no output beside the states {_listed(self.outputs)}"
            hint = "wiring={'word': 'scores'}: the input of the last token, and the output that the next is chosen from"
            raise BadInput(f"the decoder has {which}, one should score the next token; say which with {hint}")
        self.scores = left[0]

    def _find_masks(self) -> None:
        for name, spec in self.inputs.items():
            if not self._is_open(name) or not is_mask(self.decoder, spec):
                continue
            fits = [source for source, one in self.sources.items() if one.is_sequence]
            if len(fits) != 1:
                raise self._ambiguous([name], fits, "inputs")
            self.masks[name] = fits[0]

    def _find_token(self) -> None:
        if self.token:
            return
        left = {name: spec for name, spec in self.inputs.items() if self._is_open(name)}
        classes = self.outputs[self.scores].shape[-1]
        ids = [name for name, spec in left.items() if spec.dtype == "int32" and not spec.inner]
        one_hot = [name for name, spec in left.items() if spec.dtype == "float32" and spec.inner[-1:] == (classes,)]
        fits = ids or [name for name in one_hot if left[name].is_sequence] or one_hot
        if len(fits) != 1:
            which = f"could be {_listed(fits)}" if fits else f"is none of {_listed(left)}"
            example = f"wiring={{'word': {self.scores!r}}}"
            raise BadInput(f"the decoder's input of the last token {which}; say which with {example}")
        self.token = fits[0]

    def _find_starts(self) -> None:
        """What of the encoder each input is that nothing else feeds, and each state begins with."""
        wanted = {
            name: spec
            for name, spec in self.inputs.items()
            if name not in self.starts and name != self.token and name not in self.masks
        }
        offered = {name: spec for name, spec in self.offers.items() if name not in self.starts.values()}
        for same in (str, stem):
            for name, spec in list(wanted.items()):
                fits = [one for one in offered if same(one) == same(name) and _kind(offered[one]) == _kind(spec)]
                if len(fits) == 1:
                    self.starts[name] = fits[0]
                    del wanted[name], offered[fits[0]]
        for kind in dict.fromkeys(map(_kind, wanted.values())):
            names = [name for name, spec in wanted.items() if _kind(spec) == kind]
            fits = [name for name, spec in offered.items() if _kind(spec) == kind and spec.dtype == "float32"]
            if len(names) != len(fits):
                raise self._ambiguous(names, fits, "outputs")
            self.starts.update(zip(names, fits, strict=True))

    def _ambiguous(self, names: Sequence[str], fits: Sequence[str], what: str) -> BadInput:
        shown = ", ".join(f"{name!r} {self.inputs[name].shape}" for name in names)
        offer = f"{len(fits)} of its {what} fit: {_listed(fits)}" if fits else f"none of its {what} fits"
        known = [*self.offers] if what == "outputs" else [*self.sources]
        example = f"wiring={{{names[0]!r}: …}} with one of {_listed(known)}"
        return BadInput(f"what of the encoder goes into the decoder's input {shown}? {offer}; say which with {example}")

    def _check_hidden_states(self, states: Iterable[str]) -> None:
        """Steps are plain calls where states are inputs: then nothing may be carried on inside."""
        if not states:
            return
        token = self.inputs[self.token].name
        moved = {token}  # values made from the last token
        begun = {self.inputs[name].name for name in states}  # … from states
        reasons = []
        for layer in self.decoder.layers:
            is_begun = any(value in begun for value in layer.inputs[1:])
            from_token = any(maker(value) in moved for value in (*layer.inputs, *layer.masks.values()))
            if from_token and not is_begun and isinstance(layer, (GRU, StepMask, Conv, Pool)):
                why = "is carried from step to step, but is neither input nor output of the decoder, as others are"
                reasons.append(f"the state of {layer.kind} layer {layer.name!r} {why}")
            if from_token:
                moved.add(layer.name)
            if any(maker(value) in begun for value in layer.inputs):
                begun |= {layer.name, f"{layer.name}:state"}
        if reasons:
            raise UnsupportedModel(reasons)


def _named(names: Iterable[str], ported: Iterable[tuple[TensorSpec, Port | None]]) -> dict[str, TensorSpec]:
    return {name: spec for name, (spec, _) in zip(names, ported, strict=True)}


def _kind(spec: TensorSpec) -> tuple[bool, int]:
    return spec.is_sequence, spec.features


def _is_state(spec: TensorSpec) -> bool:
    return spec.dtype == "float32" and not spec.is_sequence and bool(spec.inner)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"

"""The text and category layers of a network, which run before the core: found and read where they stand at its inputs.

A network gives them up: an input's chain of such layers becomes an Encoder, the input takes what that gives, and the
layers themselves pass it on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ... import graph
from ...errors import BadModelFile
from ...graph import Array, TensorSpec, tensor_spec
from ...text import Encoder
from . import text
from .build import Builder, Value
from .config import LayerConfig
from .layers import reader_of
from .outline import Entry, Node, Outline, refs_of
from .weights import Source

#: (path, name) of a layer → the vocabulary that it learned, None where none is kept; see `text.stored_paths`
Vocabularies = Callable[[str, str], "Sequence[text.Token] | None"]
#: a call of a layer: its key and the call's number
Call = tuple[str, int]


@dataclass(frozen=True)
class Front:
    """What stands between one input and the rest of the network.

    Attributes
    ----------
    name : str
        Of the last of the layers.
    call : Call
        Its call, which the rest of the network reads.
    encoder : Encoder or None
        None: numbers are the ids already.
    steps : int or None
        Numbers a row, where there is no encoder.
    vectors : int or (ids, size) array, optional
        The one_hot vectors of ids, which the core makes: their size, or a table of them.
    """

    name: str
    call: Call
    encoder: Encoder | None
    steps: int | None = None
    vectors: int | Array | None = None

    @property
    def gives_ids(self) -> bool:
        return self.encoder is not None and self.encoder.output == "ids" and self.vectors is None

    def spec(self, name: str) -> TensorSpec:
        """The input, by its name."""
        if self.encoder is None:
            return tensor_spec(name, self.steps, (), "int32")
        return text.spec_of(name, self.encoder)

    def start(self, build: Builder, x: Value) -> Value:
        """What the rest of the network reads."""
        if self.vectors is None:
            return x
        with build.called(self.name):
            if isinstance(self.vectors, int):
                return build.add(graph.OneHot, x, vocabulary=self.vectors)
            return build.add_masking(graph.Embedding, x, False, table=self.vectors, mask_zero=False, mask=x.mask)


def is_one(config: LayerConfig) -> bool:
    """Whether a layer is of `text.CLASSES`, and the caller has no reader of it."""
    return config.class_name in text.CLASSES and not config.is_custom and reader_of(config) is None


def read(network: Outline, weights: Source | None, vocabularies: Vocabularies | None) -> dict[str, Front]:
    """The fronts of a network's inputs, by the inputs' keys; what is not supported goes to the report.

    Parameters
    ----------
    network : Outline
    weights : Source or None
        Gives up the idf weights. None, as are `vocabularies`: the network stands in another one.
    vocabularies : Vocabularies or None

    Raises
    ------
    BadModelFile
        A value of the wrong type, or values that contradict each other.
    """
    entries = {entry.config.key: entry for entry in network.entries if is_one(entry.config)}
    if weights is None or vocabularies is None:
        for entry in entries.values():
            entry.config.refuse("stands in a network inside the network, not behind an input of the network itself")
        return {}
    inputs = {ref.layer for _, ref in network.inputs}
    following = _following(network, entries, inputs)
    if following is None:
        return {}
    names = [entry.config.class_name for entry in network.entries]
    paths = dict(zip((e.config.key for e in network.entries), text.stored_paths(names), strict=True))
    # taken out once, though a layer may stand at several inputs
    idf = {
        key: weights.take_idf(paths[key], entry.config.name)
        for key, entry in entries.items()
        if text.has_idf(entry.config)
    }
    fronts = {}
    for source in network.entries:
        encoder, call = None, (source.config.key, 0)
        while source.is_input and call in following:
            call = following[call]
            config = entries[call[0]].config
            has_own = config.class_name == "CategoryEncoding" or config.take("vocabulary", None) is not None
            stored = None if has_own else vocabularies(paths[call[0]], config.name)
            encoder = text.read(config, _shape(source, config), stored, idf.get(call[0]), encoder)
            if encoder is None:
                break
        if encoder is not None:
            fronts[source.config.key] = _front(config.name, call, encoder)
    return fronts


def _following(network: Outline, entries: dict[str, Entry], inputs: set[str]) -> dict[Call, Call] | None:
    """By input, and by call of one of the layers, the call of one of the layers that alone reads it; None where they
    are wired otherwise."""
    readers: dict[Call, list[Call | None]] = defaultdict(list)
    for entry in network.entries:
        for number, node in enumerate(entry.nodes):
            for ref in node.refs:
                readers[ref.layer, ref.node].append((entry.config.key, number))
    for _, ref in network.outputs:
        readers[ref.layer, ref.node].append(None)
    following, fits = {}, True
    for key, entry in entries.items():
        for number, node in enumerate(entry.nodes):
            why = _misplaced(node, {*inputs, *entries}, readers)
            if not why and None in readers[key, number]:
                why = "is an output of the network; outputs are computed values"
            if why:
                entry.config.refuse(why)
                fits = False
            else:
                following[node.refs[0].layer, node.refs[0].node] = (key, number)
    return following if fits else None


def _misplaced(node: Node, known: set[str], readers: dict[Call, list[Call | None]]) -> str:
    """What is wrong with what a call reads; "" if nothing is. Arguments beside that are refused as any layer's are."""
    refs = list(refs_of(node.args))
    if len(refs) != 1 or refs[0].layer not in known:
        return "is supported directly behind one input of the network, or behind another such layer there"
    calls = {reader for reader in readers[refs[0].layer, refs[0].node] if reader is not None}
    if len(calls) > 1:
        names = ", ".join(sorted({repr(key) for key, _ in calls}))
        return f"should be alone in reading {refs[0].layer!r}, which is read by {names}"
    return ""


def _shape(source: Entry, config: LayerConfig) -> text.Shape:
    if source.shape is not None:
        return source.shape[1:]
    if config.class_name == "TextVectorization":
        return ()
    raise BadModelFile(f"{config.owner}: its input's shape is nowhere to be found; build the network before saving it")


def _front(name: str, call: Call, encoder: Encoder) -> Front:
    made = text.as_ids(encoder)
    if made is None:
        return Front(name, call, encoder)
    ids, vectors = made
    return Front(name, call, ids, encoder.shape[0], vectors)

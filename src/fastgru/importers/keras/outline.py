"""A network's configuration → its layers, and how they are wired: the same form for Sequential and functional networks.

Takes what `model.to_json()`, `model.get_config()` and the files hold. Sequential configs are a list of layers up to
Keras 2.2 and an object with ``layers`` since. In functional ones each layer lists its calls under ``inbound_nodes``, in
Keras 3 as ``{"args": […], "kwargs": {…}}`` with tensors as objects, before as lists ``[name, node, tensor, kwargs]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import BadModelFile, UnsupportedModel
from .config import KERAS_MODULES, LayerConfig, Report, mapping, printable, sequence, shape

#: classes of networks; also layers of networks that hold them
NETWORKS = frozenset({"Sequential", "Functional", "Model"})
#: what beside its layers may stand in the configuration of a network
_NETWORK_KEYS = frozenset(
    {"name", "trainable", "dtype", "layers", "build_input_shape", "input_layers", "output_layers"}
)


@dataclass(frozen=True)
class Ref:
    """A tensor of a network: an output of one call of a layer."""

    layer: str
    node: int = 0
    tensor: int = 0


@dataclass(frozen=True)
class Node:
    """One call of a layer: its arguments, Refs among them, as nested lists and dicts."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def refs(self) -> list[Ref]:
        """Every tensor that it reads, in order."""
        return list(refs_of([*self.args, *self.kwargs.values()]))


@dataclass(frozen=True)
class Entry:
    """A layer and its calls; `shape` is that of its input or output, as far as it is written, batch axis included."""

    config: LayerConfig
    nodes: tuple[Node, ...]
    shape: tuple[int | None, ...] | None = None

    @property
    def is_input(self) -> bool:
        return self.config.class_name == "InputLayer"


@dataclass(frozen=True)
class Outline:
    """A network.

    Attributes
    ----------
    name : str
    entries : tuple of Entry
        In the order of the configuration, input layers among them.
    inputs, outputs : tuple of (str or None, Ref)
        Each with its key where the network takes or gives a dict.
    """

    name: str
    entries: tuple[Entry, ...]
    inputs: tuple[tuple[str | None, Ref], ...]
    outputs: tuple[tuple[str | None, Ref], ...]


def parse(document: Any, report: Report) -> Outline:
    """The outline of a serialized network.

    Raises
    ------
    BadModelFile
        Not a network's configuration, or names and numbers in it that lead nowhere.
    UnsupportedModel
        A class of the user's own.
    """
    class_name, config = _network(document)
    entries: Sequence[Any] | None
    if isinstance(config, Mapping):
        name, entries = printable(config.get("name", "")), sequence(config.get("layers"))
        unknown = sorted(str(key) for key in config if key not in _NETWORK_KEYS)
        report.reasons += [f"the network's option {key} is not known to fastgru" for key in unknown]
        built = shape(config.get("build_input_shape"))
    else:
        name, entries, built = "", config, None
    if not entries:
        raise BadModelFile("the architecture has no list of layers")
    if class_name == "Sequential":
        return _sequential(name, entries, built, report)
    return _functional(name, mapping(config, "the architecture"), entries, report)


def refs_of(value: Any) -> Iterator[Ref]:
    """Every Ref in nested lists and dicts, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from refs_of(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from refs_of(item)


def _network(document: Any) -> tuple[str, Any]:
    """Class name and configuration; a bare `get_config()` says by its keys which class it is of."""
    if sequence(document) is not None:
        return "Sequential", document
    outer = mapping(document, "the architecture")
    if "class_name" not in outer:
        return ("Functional" if "input_layers" in outer else "Sequential"), outer
    class_name, module = str(outer["class_name"]), str(outer.get("module") or "keras")
    if class_name not in NETWORKS or not module.startswith(KERAS_MODULES):
        raise UnsupportedModel(
            f"the network is a {class_name}, a class of its own whose code is not in the file; "
            "Sequential and functional networks are supported"
        )
    config = outer.get("config")
    return class_name, config if sequence(config) is not None else mapping(config, "the architecture's config")


def _entry(written: Any, nodes: tuple[Node, ...], report: Report) -> Entry:
    config = LayerConfig(written, report)
    known = None
    for key in ("batch_shape", "batch_input_shape"):
        if key in config:
            known = known or shape(config.take(key))
    if known is None and isinstance(written, Mapping) and isinstance(written.get("build_config"), Mapping):
        known = shape(written["build_config"].get("input_shape"))
    return Entry(config, nodes, known)


# ---- Sequential ------------------------------------------------------------------------------------------------------


def _sequential(name: str, written: Sequence[Any], built: tuple[int | None, ...] | None, report: Report) -> Outline:
    entries = [_entry(entry, (), report) for entry in written]
    if not entries[0].is_input:
        source = LayerConfig({"class_name": "InputLayer", "config": {"name": "input"}}, report)
        entries.insert(0, Entry(source, (), entries[0].shape or built))
    if any(entry.is_input for entry in entries[1:]):
        raise BadModelFile("a Sequential network has an input layer behind other layers")
    if len(entries) == 1:
        raise BadModelFile("the network has no layers")
    keys = _distinct(entry.config.name for entry in entries)
    for entry, key in zip(entries, keys, strict=True):
        entry.config.key = key
    chained = [entries[0]]
    for before, entry in zip(keys, entries[1:], strict=False):
        chained.append(Entry(entry.config, (Node((Ref(before, 0, -1),), {}),), entry.shape))
    return Outline(name, tuple(chained), ((None, Ref(keys[0])),), ((None, Ref(keys[-1], 0, -1)),))


def _distinct(names: Iterator[str]) -> list[str]:
    """Names by which layers can be told apart: a Sequential network of Keras 1 may use one twice."""
    found: list[str] = []
    for name in names:
        count, key = 0, name
        while key in found:
            count += 1
            key = f"{name}_{count}"
        found.append(key)
    return found


# ---- functional ------------------------------------------------------------------------------------------------------


def _functional(name: str, config: Mapping[str, Any], written: Sequence[Any], report: Report) -> Outline:
    entries = []
    for layer in written:
        nodes = sequence(mapping(layer, "a layer").get("inbound_nodes")) or ()
        entries.append(_entry(layer, tuple(_node(node) for node in nodes), report))
    by_key = {entry.config.key: entry for entry in entries}
    if len(by_key) != len(entries):
        raise BadModelFile("the architecture has two layers of one name")
    ends = [_ends(config.get(key), key) for key in ("input_layers", "output_layers")]
    if any(isinstance(node, Mapping) for layer in written for node in sequence(layer.get("inbound_nodes")) or ()):
        first = _first_ends(entries, ends[1])
    else:
        first = _first_nodes(entries, ends[1])
        entries = [Entry(e.config, tuple(_shifted(node, first) for node in e.nodes), e.shape) for e in entries]
    outputs = tuple((key, _shift(ref, first)) for key, ref in ends[1])
    _check_refs(entries, [ref for _, ref in (*ends[0], *outputs)])
    return Outline(name, tuple(entries), ends[0], outputs)


def _node(node: Any) -> Node:
    if isinstance(node, Mapping):
        args = sequence(node.get("args")) or ()
        kwargs = mapping(node.get("kwargs") or {}, "a node's kwargs")
        options = {str(key): _keras3(value) for key, value in kwargs.items()}
        return Node(tuple(_keras3(value) for value in args), options)
    items = sequence(node)
    if items is None:
        raise BadModelFile(f"a node should be a list or an object, is {type(node).__name__}")
    if _is_tensor(items):  # Keras 2: one tensor, not in a list
        items = [items]
    kwargs = {}
    tensors = []
    for item in items:
        written = sequence(item) if not isinstance(item, Mapping) else None
        if written is None or not _is_tensor(written):
            tensors.append(_keras2(item))
            continue
        tensors.append(_keras2(written[:3]))
        if len(written) > 3:
            given = mapping(written[3], "a node's kwargs")
            kwargs.update({str(key): _keras2(value) for key, value in given.items()})
    return Node((tensors[0],) if len(tensors) == 1 else (tensors,), kwargs)


def _keras3(value: Any) -> Any:
    """An argument of a call in Keras 3: tensors as Refs, slices as slices, everything else as it is."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            history = sequence(mapping(value.get("config"), "a node's tensor").get("keras_history"))
            return _ref(history)
        if value.get("class_name") == "__slice__":
            parts = mapping(value.get("config"), "a slice")
            return slice(*(parts.get(key) for key in ("start", "stop", "step")))
        if value.get("class_name") == "__ellipsis__":
            return Ellipsis
        if value.get("class_name") == "__tuple__":
            return [_keras3(item) for item in sequence(value) or ()]
        return {str(key): _keras3(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_keras3(item) for item in value]
    return value


def _keras2(value: Any) -> Any:
    """An argument of a call in Keras 2, where a tensor is a list of a name and two numbers."""
    if isinstance(value, (list, tuple)):
        if _is_tensor(value):
            return value[2] if value[0] == "_CONSTANT_VALUE" else _ref(value)
        return [_keras2(item) for item in value]
    if isinstance(value, Mapping):
        if value.get("class_name") == "__ellipsis__":
            return Ellipsis
        if set(value) == {"start", "stop", "step"}:
            return slice(*(_keras2(value[key]) for key in ("start", "stop", "step")))
        return {str(key): _keras2(item) for key, item in value.items()}
    return value


def _is_tensor(value: Sequence[Any]) -> bool:
    return len(value) in (3, 4) and isinstance(value[0], str) and all(type(number) is int for number in value[1:2])


def _ref(history: Any) -> Ref:
    if not isinstance(history, (list, tuple)) or len(history) < 3:
        raise BadModelFile(f"a tensor should be a layer's name and two numbers, is {history!r}")
    name, node, tensor = history[:3]
    if not isinstance(name, str) or type(node) is not int or type(tensor) is not int or node < 0 or tensor < 0:
        raise BadModelFile(f"a tensor should be a layer's name and two numbers, is {history!r}")
    return Ref(printable(name), node, tensor)


def _ends(value: Any, what: str) -> tuple[tuple[str | None, Ref], ...]:
    """Inputs or outputs: one tensor, a list of them or a dict by key, also nested."""
    if isinstance(value, Mapping) and sequence(value) is None:
        return tuple((str(key), ref) for key, item in value.items() for _, ref in _ends(item, what))
    items = sequence(value)
    if not items:
        raise BadModelFile(f"the architecture has no {what}")
    if _is_tensor(items):
        return ((None, _ref(items)),)
    return tuple(end for item in items for end in _ends(item, what))


def _first_nodes(entries: Sequence[Entry], outputs: Sequence[tuple[str | None, Ref]]) -> dict[str, int]:
    """By layer, what Keras 2 counts its nodes from: networks inside a network have had a node 0 of their own."""
    most: dict[str, int] = {}
    read = [ref for entry in entries for node in entry.nodes for ref in node.refs]
    for ref in (*read, *(ref for _, ref in outputs)):
        most[ref.layer] = max(most.get(ref.layer, 0), ref.node)
    return {
        entry.config.key: max(0, most.get(entry.config.key, 0) - max(len(entry.nodes) - 1, 0))
        for entry in entries
        if entry.config.class_name in NETWORKS
    }


def _first_ends(entries: Sequence[Entry], outputs: Sequence[tuple[str | None, Ref]]) -> dict[str, int]:
    """The same of Keras 3, which counts from 0 where a layer reads a functional network and from 1 where an output is
    one."""
    at_zero = {ref.layer for _, ref in outputs if ref.node == 0}
    functional = {entry.config.key for entry in entries if entry.config.class_name in NETWORKS - {"Sequential"}}
    return dict.fromkeys(functional - at_zero, 1)


def _shift(ref: Ref, first: Mapping[str, int]) -> Ref:
    return Ref(ref.layer, ref.node - first.get(ref.layer, 0), ref.tensor)


def _shifted(node: Node, first: Mapping[str, int]) -> Node:
    def walk(value: Any) -> Any:
        if isinstance(value, Ref):
            return _shift(value, first)
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    return Node(tuple(walk(value) for value in node.args), {key: walk(value) for key, value in node.kwargs.items()})


def _check_refs(entries: Sequence[Entry], ends: Sequence[Ref]) -> None:
    by_key = {entry.config.key: entry for entry in entries}
    for ref in (*(ref for entry in entries for node in entry.nodes for ref in node.refs), *ends):
        entry = by_key.get(ref.layer)
        if entry is None:
            raise BadModelFile(f"the architecture reads a layer {ref.layer!r} that it does not have")
        if not 0 <= ref.node < max(len(entry.nodes), int(entry.is_input)):
            raise BadModelFile(f"the architecture reads call {ref.node} of layer {ref.layer!r}, which has no such call")

"""A network's configuration → its name, its input and its layers in order.

Takes what `model.to_json()`, `model.get_config()` and the files hold: a Sequential, or a functional model that is a
plain chain of layers. Sequential configs are a list of layers up to Keras 2.2 and an object with ``layers`` since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import BadModelFile, UnsupportedModel
from ...graph import TensorSpec, tensor_spec
from .config import KERAS_MODULES, LayerConfig, Report, mapping, printable, sequence, shape
from .weights import Source

#: layers that hand on the shape of their input
SHAPE_KEEPERS = frozenset({
    "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
    "Identity", "Masking", "Activation", "ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Softmax",
})  # fmt: skip
#: what beside its layers may stand in the configuration of a network
_NETWORK_KEYS = frozenset(
    {"name", "trainable", "dtype", "layers", "build_input_shape", "input_layers", "output_layers"}
)


@dataclass(frozen=True)
class Architecture:
    """A chain of layers.

    Attributes
    ----------
    name : str
    layers : tuple of LayerConfig
        Without the input layer.
    input_name : str
    input_shape : tuple of (int or None), or None
        With the batch axis; None where nothing says.
    """

    name: str
    layers: tuple[LayerConfig, ...]
    input_name: str
    input_shape: tuple[int | None, ...] | None

    def source(self, weights: Source) -> TensorSpec:
        """The network's input, its batch size free.

        Raises
        ------
        BadModelFile
            Its shape is neither written anywhere nor follows from the first layer's weights.
        """
        first = next((layer for layer in self.layers if layer.class_name not in SHAPE_KEEPERS), None)
        class_name = first.class_name if first is not None else ""
        known = self.input_shape
        if class_name == "Embedding":
            steps = known[1:] if known is not None else (None,)
            if len(steps) > 1:
                raise UnsupportedModel(f"input {self.input_name!r}: token ids should be (batch, time), are {known}")
            return tensor_spec(self.input_name, steps[0] if steps else False, (), "int32")
        if class_name == "GRU" and (known is None or (len(known) == 3 and known[2] is None)):
            known = (None, known[1] if known else None, *weights.peek("GRU")[:1])
        if known is None or len(known) < 2 or None in known[2 if len(known) > 2 else 1 :]:
            found = known or "nowhere to be found"
            raise BadModelFile(f"the shape of input {self.input_name!r} is {found}; build the network before saving it")
        if len(known) == 2:
            return tensor_spec(self.input_name, False, (known[1],))  # type: ignore[arg-type]
        return tensor_spec(self.input_name, known[1], known[2:])  # type: ignore[arg-type]


def parse(document: Any, report: Report) -> Architecture:
    """Read a network's configuration; what is unsupported in its outline goes to the report.

    Raises
    ------
    BadModelFile
        Not the configuration of a Keras network.
    UnsupportedModel
        Not a chain of layers.
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
    if entries is None:
        raise BadModelFile("the architecture has no list of layers")
    if class_name != "Sequential":
        entries = _chained(mapping(config, "the architecture"), entries)
    layers = [LayerConfig(entry, report) for entry in entries]
    input_name, input_shape = "input", None
    if layers and layers[0].class_name == "InputLayer":
        first = layers.pop(0)
        input_name, input_shape = first.name, _input_shape(first)
        _check_input(first)
    elif layers:
        input_shape = _input_shape(layers[0])
    if not layers:
        raise BadModelFile("the network has no layers")
    return Architecture(name, tuple(layers), input_name, input_shape or built)


def _network(document: Any) -> tuple[str, Any]:
    """Class name and configuration; a bare `get_config()` says by its keys which class it is of."""
    if sequence(document) is not None:
        return "Sequential", document
    outer = mapping(document, "the architecture")
    if "class_name" not in outer:
        return ("Functional" if "input_layers" in outer else "Sequential"), outer
    class_name, module = str(outer["class_name"]), str(outer.get("module") or "keras")
    if class_name not in ("Sequential", "Functional", "Model") or not module.startswith(KERAS_MODULES):
        raise UnsupportedModel(
            f"the network is a {class_name}, a class of its own whose code is not in the file; "
            "Sequential networks are supported"
        )
    config = outer.get("config")
    return class_name, config if sequence(config) is not None else mapping(config, "the architecture's config")


def _input_shape(layer: LayerConfig) -> tuple[int | None, ...] | None:
    for key in ("batch_shape", "batch_input_shape"):
        if key in layer:
            return shape(layer.take(key))
    return None


def _check_input(layer: LayerConfig) -> None:
    for key in ("sparse", "ragged", "optional"):
        layer.only(key, False, None, why="a dense array is expected")
    layer.finish({"dtype"}, any_dtype=True)  # the layer that reads the input says what it takes


# ---- functional models -----------------------------------------------------------------------------------------------

_FUNCTIONAL = "functional models other than a plain chain of layers are not supported yet"


def _chained(config: Mapping[str, Any], entries: Sequence[Any]) -> list[Any]:
    """The layers of a functional model in order from its input to its output."""
    by_name = {str(mapping(entry, "a layer").get("name")): entry for entry in entries}
    after = {_only_source(entry): name for name, entry in by_name.items()}
    name: str | None = None
    ordered: list[Any] = []
    while name in after and len(ordered) < len(entries):
        name = after[name]
        ordered.append(by_name[name])
    ends = [_end(config.get(key)) for key in ("input_layers", "output_layers")]
    if len(ordered) != len(entries) or not ordered or ends != [str(ordered[0].get("name")), name]:
        raise UnsupportedModel(_FUNCTIONAL)
    return ordered


def _only_source(entry: Mapping[str, Any]) -> str | None:
    """Name of the one layer that a layer reads; None for an input."""
    nodes = sequence(entry.get("inbound_nodes")) or ()
    if not nodes:
        return None
    tensors = _tensors_of(nodes[0])
    if len(nodes) != 1 or len(tensors) != 1:
        raise UnsupportedModel(_FUNCTIONAL)
    tensor = tensors[0]
    if isinstance(tensor, Mapping):
        tensor = mapping(tensor.get("config"), "a node's tensor").get("keras_history")
    tensor = sequence(tensor) or ()
    if list(tensor[1:]) not in ([0, 0], [0, 0, {}]):
        raise UnsupportedModel(_FUNCTIONAL)
    return str(tensor[0])


def _tensors_of(node: Any) -> list[Any]:
    """What a call of a layer was given: ``{"args": […], "kwargs": {…}}`` in Keras 3, a list before."""
    if not isinstance(node, Mapping):
        return list(sequence(node) or ())
    given = [*(sequence(node.get("args")) or ()), *mapping(node.get("kwargs") or {}, "a node's kwargs").values()]
    return [value for value in given if isinstance(value, (Mapping, list, tuple))]


def _end(value: Any) -> str | None:
    """The one layer that ``[["name", 0, 0]]`` or ``["name", 0, 0]`` names."""
    ends = sequence(value) or ()
    if len(ends) == 1:
        ends = sequence(ends[0]) or ()
    return str(ends[0]) if list(ends[1:]) == [0, 0] else None

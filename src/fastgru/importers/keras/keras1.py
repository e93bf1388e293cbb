"""Architectures written by Keras 1, in the spelling of Keras 2 that the readers know.

Keras 1 called most things by other names (``output_dim``, ``inner_activation``, ``border_mode``), joined branches with
one layer `Merge`, and let a Sequential network begin with a Merge of others. What is named here is translated; what is
not stays as it was written, and the readers refuse it by name. Where an option cannot be said in Keras 2's words, that
goes to the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .config import LayerConfig, Report, mapping, sequence

Config = dict[str, Any]
#: reads and changes a layer's configuration in place; what it returns, if anything, replaces the entry
Change = Callable[[LayerConfig, Config], "Config | None"]

#: class names that Keras 2 changed
CLASSES = {
    "Convolution1D": "Conv1D", "AtrousConvolution1D": "Conv1D",
    "Convolution2D": "Conv2D", "AtrousConvolution2D": "Conv2D",
}  # fmt: skip
#: keys of any class that Keras 2 changed
KEYS = {
    "bias": "use_bias",
    "border_mode": "padding",
    "dim_ordering": "data_format",
    "dropout_U": "recurrent_dropout",
    "dropout_W": "dropout",
    "inner_activation": "recurrent_activation",
    "p": "rate",
    "sigma": "stddev",
    "subsample": "strides",
}
#: and of one class
KEYS_OF = {
    "Convolution1D": {"nb_filter": "filters", "filter_length": "kernel_size", "subsample_length": "strides"},
    "AtrousConvolution1D": {
        "nb_filter": "filters", "filter_length": "kernel_size", "subsample_length": "strides",
        "atrous_rate": "dilation_rate",
    },
    "Convolution2D": {"nb_filter": "filters"},
    "AtrousConvolution2D": {"nb_filter": "filters", "atrous_rate": "dilation_rate"},
    "Dense": {"output_dim": "units"},
    "GRU": {"output_dim": "units"},
    "InputLayer": {"input_dtype": "dtype"},
    "MaxPooling1D": {"pool_length": "pool_size", "stride": "strides"},
    "AveragePooling1D": {"pool_length": "pool_size", "stride": "strides"},
    "UpSampling1D": {"length": "size"},
}  # fmt: skip
#: keys that say nothing about what a layer computes, or nothing beyond batch_input_shape
DROPPED = frozenset({
    "init", "inner_init", "W_regularizer", "U_regularizer", "b_regularizer", "W_constraint", "b_constraint",
    "gamma_init", "beta_init", "input_dtype", "input_length", "consume_less",
})  # fmt: skip
#: an Embedding's is the size of its table, elsewhere it is the last size of batch_input_shape
INPUT_DIM = "input_dim"
DATA_FORMATS = {"tf": "channels_last", "th": "channels_first"}
MERGES = {
    "sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot",
}  # fmt: skip
#: two-dimensional layers whose configuration does not hold the order of axes that they were made with
UNORDERED = ("ZeroPadding2D", "Cropping2D", "UpSampling2D")


#: keys of layers with weights that no other Keras writes
_TELLTALES = frozenset({"init", "inner_init"})


def is_spelled(document: Any) -> bool:
    """Whether an architecture is in the words of Keras 1."""
    rest = [document]
    while rest:
        node = rest.pop()
        if isinstance(node, Mapping):
            if _TELLTALES & node.keys():
                return True
            rest += node.values()
        elif isinstance(node, (list, tuple)):
            rest += node
    return False


def translated(document: Any, report: Report) -> Any:
    """The architecture of a Keras 1 network in the spelling of Keras 2.

    Parameters
    ----------
    document : JSON value
        As `model.to_json()`, `model.get_config()` or the attribute ``model_config`` hold it; it is not changed.
    report : Report
        Takes what cannot be translated.

    Raises
    ------
    BadModelFile
        Not an architecture.
    """
    if sequence(document) is not None:
        return _network("Sequential", document, report)
    outer = mapping(document, "the architecture")
    if "class_name" not in outer:
        return _network("Model", outer, report)
    return {**outer, **_network(str(outer["class_name"]), outer.get("config"), report)}


def _network(class_name: str, config: Any, report: Report) -> Config:
    """A network, or a layer that is one."""
    layers = sequence(config)
    if layers is None:
        config = mapping(config, "the architecture's config")
        layers = [_entry(layer, report) for layer in sequence(config.get("layers")) or ()]
        return {"class_name": class_name, "config": {**config, "layers": layers}}
    if layers and (_named(layers[0]).get("class_name") == "Merge" or _has_shared(layers)):
        return {"class_name": "Model", "config": _joined(layers, report)}
    return {"class_name": class_name, "config": [_entry(layer, report) for layer in layers]}


def _named(entry: Any) -> Mapping[str, Any]:
    """An entry with its class name, which the first Kerases wrote beside the options, as ``name``."""
    entry = mapping(entry, "a layer")
    if "class_name" in entry:
        return entry
    return {"class_name": entry.get("name"), "config": {**entry, "name": entry.get("custom_name")}}


def _entry(entry: Any, report: Report) -> Config:
    """A layer."""
    entry = _named(entry)
    class_name = str(entry["class_name"])
    if class_name in ("Sequential", "Model"):
        return {**entry, **_network(class_name, entry.get("config"), report)}
    layer = LayerConfig(entry, report)
    written, names = layer.document()["config"], {**KEYS, **KEYS_OF.get(class_name, {})}
    dropped = DROPPED - names.keys()
    config = {names.get(key, key): value for key, value in written.items() if key not in dropped}
    if class_name != "Embedding":
        config.pop(INPUT_DIM, None)
    if "data_format" in config:
        config["data_format"] = DATA_FORMATS.get(config["data_format"], config["data_format"])
    change = CHANGES.get(class_name)
    changed = change(layer, config) if change is not None else None
    return {**entry, "class_name": CLASSES.get(class_name, class_name), "config": config, **(changed or {})}


# ---- single classes --------------------------------------------------------------------------------------------------


def _gru(layer: LayerConfig, config: Config) -> None:
    # consume_less only says how to compute, and that "gpu" keeps the arrays of the three gates joined
    config.update(reset_after=False, use_bias=True, gates_apart=layer.take("consume_less", "cpu") != "gpu")


def _convolution(layer: LayerConfig, config: Config) -> None:
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col", None)]
    if config.get("padding") == "full":
        config["padding"] = "valid"
        layer.refuse("border_mode='full' is not supported: Keras 2 has no such padding")


def _batch_normalization(layer: LayerConfig, config: Config) -> None:
    mode = config.pop("mode", 0)
    if mode != 0:
        layer.refuse(f"mode={mode!r} is not supported: only feature-wise normalization by stored statistics is")


def _embedding(layer: LayerConfig, config: Config) -> None:
    config.pop("dropout", None)


def _zero_padding(layer: LayerConfig, config: Config) -> None:
    padding = config.get("padding")
    if isinstance(padding, Mapping):
        config["padding"] = [padding.get("left_pad", 0), padding.get("right_pad", 0)]


def _unordered(layer: LayerConfig, config: Config) -> None:
    layer.refuse("does not say in the file whether its channels come first or last, and Keras 1 knew both")


def _wrapper(layer: LayerConfig, config: Config) -> None:
    config["layer"] = _entry(config.get("layer"), layer.report)


def _time_distributed_dense(layer: LayerConfig, config: Config) -> Config:
    outer = {key: config.pop(key) for key in ("name", "trainable", "batch_input_shape") if key in config}
    config["units"] = config.pop("output_dim", None)
    inner = {**config, "name": f"{layer.name}_dense", "trainable": outer.get("trainable", True)}
    return {
        "class_name": "TimeDistributed",
        "config": {**outer, "layer": {"class_name": "Dense", "config": inner}},
    }


def _merge(layer: LayerConfig, config: Config) -> Config | None:
    mode = config.pop("mode", "sum")
    options = {"concat": {"axis": config.get("concat_axis", -1)}, "dot": {"axes": config.get("dot_axes", -1)}}
    if config.get("mode_type", "raw") != "raw":
        layer.refuse("joins its inputs by Python code, which is never run")
    elif mode not in MERGES:
        layer.refuse(f"mode={mode!r} is not supported, only {', '.join(MERGES)}")
    name = {"name": config["name"]} if "name" in config else {}
    return {"class_name": MERGES.get(str(mode), "Add"), "config": {**name, **options.get(str(mode), {})}}


#: what renaming keys does not do, by Keras 1's class name
CHANGES: dict[str, Change] = {
    "AtrousConvolution1D": _convolution,
    "AtrousConvolution2D": _convolution,
    "BatchNormalization": _batch_normalization,
    "Bidirectional": _wrapper,
    "Convolution1D": _convolution,
    "Convolution2D": _convolution,
    "Embedding": _embedding,
    "GRU": _gru,
    "Merge": _merge,
    "TimeDistributed": _wrapper,
    "TimeDistributedDense": _time_distributed_dense,
    "ZeroPadding1D": _zero_padding,
    **dict.fromkeys(UNORDERED, _unordered),
}


# ---- Sequential networks that are no plain chain ---------------------------------------------------------------------


class _Joined:
    """The layers of a Sequential network with several inputs, as those of a functional one."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.layers: dict[str, Config] = {}
        self.inputs: list[list[Any]] = []

    def sequential(self, layers: Sequence[Any]) -> list[Any]:
        """Append a chain of layers; its output's ``[name, node, tensor]``."""
        first = _named(layers[0])
        if first.get("class_name") == "Merge":
            branches = mapping(first.get("config"), "the config of a Merge").get("layers")
            end = self._append(first, [self.branch(branch) for branch in sequence(branches) or ()])
            rest = layers[1:]
        elif first.get("class_name") in ("Sequential", "InputLayer"):
            end, rest = self.branch(first), layers[1:]
        else:
            end, rest = self._input(first), layers
        for layer in rest:
            end = self._append(_named(layer), [end])
        return end

    def branch(self, entry: Any) -> list[Any]:
        """Append what a Merge joins: a chain of layers, or one layer that has a shape."""
        entry = _named(entry)
        config = entry.get("config")
        layers = sequence(config)
        if layers:
            return self.sequential(layers)
        if entry.get("class_name") == "Model":
            self.report.reasons.append(
                "a functional network in the Merge that a Sequential begins with is not supported"
            )
        if entry.get("class_name") == "InputLayer":
            end = self._append(entry, [])
            self.inputs.append(end)
            return end
        return self._append(entry, [self._input(entry)])

    def _input(self, first: Mapping[str, Any]) -> list[Any]:
        """The input that Keras puts before a first layer."""
        config = mapping(first.get("config"), "the config of a layer")
        options = {"batch_input_shape": config.get("batch_input_shape"), "name": f"{config.get('name')}_input"}
        end = self._append({"class_name": "InputLayer", "config": options}, [])
        if end not in self.inputs:
            self.inputs.append(end)
        return end

    def _append(self, entry: Mapping[str, Any], sources: list[list[Any]]) -> list[Any]:
        """A call of a layer; a layer that is already there gets one call more."""
        config = entry.get("config")
        name = str(mapping(config, "the config of a layer").get("name")) if sequence(config) is None else ""
        name = name or str(entry.get("name") or f"{str(entry.get('class_name')).lower()}_{len(self.layers) + 1}")
        if name not in self.layers:
            self.layers[name] = {**_entry(entry, self.report), "name": name, "inbound_nodes": []}
        nodes = self.layers[name]["inbound_nodes"]
        if sources:
            call = [[*source, {}] for source in sources]
            if call not in nodes:
                nodes.append(call)
            return [name, nodes.index(call), 0]
        return [name, 0, 0]


def _has_shared(layers: Sequence[Any]) -> bool:
    """Whether a layer stands there twice: Keras 1 tells it by its name."""
    configs = [_named(layer).get("config") for layer in layers]
    names = [config.get("name") for config in configs if isinstance(config, Mapping) and "name" in config]
    return len(set(names)) < len(names)


def _joined(layers: Sequence[Any], report: Report) -> Config:
    joined = _Joined(report)
    end = joined.sequential(layers)
    return {
        "name": "sequential", "layers": list(joined.layers.values()), "input_layers": joined.inputs,
        "output_layers": [end],
    }  # fmt: skip

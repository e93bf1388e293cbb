"""PyTorch's weights, loaded into PyTorch's own modules as their description says, and run by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from .. import importers
from ..errors import BadInput
from ..graph import Array, Graph
from .reference import Inner, Reference, package, reason

_GRU = re.compile(
    r"(?P<prefix>|.*?)(?:(?<=.)[./_])?(?P<what>weight|w|bias|b)_(?P<side>ih|hh)(?:_l(?P<layer>\d+))?(?P<back>_reverse)?"
)
#: keys of an entry that say what it is
_KINDS = ("gru", "linear", "embedding", "batch_norm", "layer_norm", "activation", "dropout")


@dataclass(frozen=True)
class Stage:
    """An entry of a description as PyTorch runs it.

    Attributes
    ----------
    name : str
        The entry's; empty where it has none.
    run : callable
        A tensor and the initial states that are inputs → a tensor, and final states that are outputs.
    """

    name: str
    run: Callable[[Any, Iterator[Any]], tuple[Any, list[Any]]]


def open_network(path: Path, options: Mapping[str, Any]) -> tuple[Graph, Reference]:
    """The Graph of a file of weights, and PyTorch's modules with the same weights."""
    graph = importers.read(path, **options)
    torch = package("torch", "PyTorch")
    from ..importers.arrays.network import describe

    description = describe(options["config"])  # without which the importer has refused the file
    stages = _stages(torch, path, description)
    time_major = any(entry.get("batch_first") is False for entry in description["layers"])

    def run(inputs: Mapping[str, Array]) -> tuple[Sequence[Any], list[Inner]]:
        x, *starts = (torch.from_numpy(array.copy()) for array in (inputs[name] for name in graph.input_names))
        x = x.long() if graph.inputs[0].dtype == "int32" else x.float()
        rest, states, inside = iter(starts), [], []
        with torch.inference_mode():
            for stage in stages:
                x, made = stage.run(x, rest)
                states += made
                value = _value(graph, stage.name, x.dim())
                if value is not None:
                    turned = time_major and graph.specs[value].is_sequence
                    inside.append(Inner(value, (x.transpose(0, 1) if turned else x).numpy()))
        return [tensor.numpy() for tensor in (x, *states)], inside

    return graph, Reference(f"torch {torch.__version__}", run)


def _value(graph: Graph, name: str, rank: int) -> str | None:
    """The Graph's value of an entry."""
    value = re.sub("[:/]", "_", name)
    return value if value in graph.specs and len(graph.specs[value].shape) == rank else None


def _stages(torch: Any, path: Path, description: Mapping[str, Any]) -> list[Stage]:
    """Every entry as a module, from the first of the file's state dicts whose names fit."""
    ignore = description.get("ignore", ())
    patterns = [ignore] if isinstance(ignore, str) else list(ignore)
    faults = []
    for found in _state_dicts(torch, path):
        kept = {name: x for name, x in found.items() if not any(fnmatchcase(name, pattern) for pattern in patterns)}
        try:
            return [_stage(torch, kept, entry) for entry in description["layers"]]
        except BadInput as error:
            faults.append(error)
    raise faults[0]


def _state_dicts(torch: Any, path: Path) -> list[dict[str, Any]]:
    """Those that a file holds: itself one, or a checkpoint with some."""
    if importers.recognise(path) is importers.TORCH:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = [one for one in (content, *content.values()) if isinstance(one, Mapping) and one]
        return [dict(one) for one in found if all(isinstance(value, torch.Tensor) for value in one.values())]
    from ..importers.arrays import files

    return [{name: _tensor(torch, array) for name, array in files.read(path).items()}]


def _tensor(torch: Any, array: Array) -> Any:
    if array.dtype.kind == "V":  # bfloat16, which NumPy does not know
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.astype(np.float32))


def _stage(torch: Any, tensors: Mapping[str, Any], entry: Mapping[str, Any]) -> Stage:
    kind = next(key for key in _KINDS if key in entry)
    return _BUILDERS[kind](torch, tensors, entry, entry[kind])


def _loaded(owner: str, module: Any, values: Mapping[str, Any]) -> Any:
    """A module with these weights, all of them and no others."""
    try:
        module.load_state_dict({key: value.float() for key, value in values.items()}, strict=True)
    except RuntimeError as error:
        raise BadInput(f"{owner}: PyTorch cannot load its weights: {reason(error)}") from error
    return module.eval()


def _under(tensors: Mapping[str, Any], prefix: str, *names: str) -> dict[str, Any]:
    """The tensors that stand under a prefix, by PyTorch's names."""
    found = {}
    for name in names:
        key = next((key for key in (f"{prefix}{mark}{name}" for mark in "./_") if key in tensors), None)
        key = name if not prefix and name in tensors else key
        if key is not None:
            found[name] = tensors[key]
    if "weight" in names and "weight" not in found:
        raise BadInput(f"PyTorch's name {f'{prefix}.weight'!r} is not in the file, so its modules cannot take it")
    return found


def _refuse(owner: str, entry: Mapping[str, Any], **wanted: Any) -> None:
    """Options that PyTorch's own module does not have."""
    for key, only in wanted.items():
        if entry.get(key, only) != only:
            raise BadInput(f"{owner}: PyTorch has no {key} {entry[key]!r}")


# ---- modules ---------------------------------------------------------------------------------------------------------


def _gru(torch: Any, tensors: Mapping[str, Any], entry: Mapping[str, Any], prefix: str | None) -> Stage:
    owner = f"gru {prefix!r}"
    _refuse(owner, entry, activation="tanh", recurrent_activation="sigmoid", weight_layout=None, reset_after=True)
    weights, has_layers = _gru_weights(tensors, prefix)
    if entry.get("backward") is not None:
        weights |= _gru_weights(tensors, entry["backward"], "_reverse")[0]
    if "weight_ih_l0" not in weights or "weight_hh_l0" not in weights:
        raise BadInput(
            f"{owner}: no arrays with PyTorch's names, such as 'weight_ih_l0', so its modules cannot take it"
        )
    layers = len({key.partition("_l")[2].removesuffix("_reverse") for key in weights})
    directions = 1 + any(key.endswith("_reverse") for key in weights)
    units = weights["weight_hh_l0"].shape[1]
    module = torch.nn.GRU(
        weights["weight_ih_l0"].shape[1],
        units,
        layers,
        bias=any(key.startswith("bias") for key in weights),
        batch_first=entry.get("batch_first") is not False,
        bidirectional=directions == 2,
    )
    _loaded(owner, module, weights)
    backwards = entry.get("direction") == "reverse"
    time = 1 if module.batch_first else 0
    initial = entry.get("initial_state") or False
    count = layers * directions

    def run(x: Any, starts: Iterator[Any]) -> tuple[Any, list[Any]]:
        start = None
        if initial is True:
            start = next(starts).float().reshape(count, -1, units)
        elif initial:
            start = tensors[initial].float().reshape(count, 1, units).repeat(1, x.shape[1 - time], 1)
        y, state = module(x.flip(time) if backwards else x, start)
        y = y.flip(time) if backwards else y
        if entry.get("return_sequences") is False:
            y = torch.cat(list(state[-directions:]), -1)
        state = state if has_layers or count > 1 else state[0]  # as nn.GRUCell gives it
        return y, [state] if entry.get("return_state") else []

    return Stage(prefix or "gru", run)


def _gru_weights(tensors: Mapping[str, Any], prefix: str | None, back: str = "") -> tuple[dict[str, Any], bool]:
    """The weights of nn.GRU or nn.GRUCell under a prefix (None: any), by nn.GRU's names, and whether they are its."""
    found, has_layers = {}, False
    for name, tensor in tensors.items():
        match = _GRU.fullmatch(name)
        if match and (prefix is None or match["prefix"] == prefix.rstrip("./_")):
            what = {"w": "weight", "b": "bias"}.get(match["what"], match["what"])
            found[f"{what}_{match['side']}_l{match['layer'] or 0}{match['back'] or back}"] = tensor
            has_layers = has_layers or match["layer"] is not None
    return found, has_layers


def _linear(torch: Any, tensors: Mapping[str, Any], entry: Mapping[str, Any], prefix: str) -> Stage:
    values = _under(tensors, prefix, "weight", "bias")
    owner = f"linear {prefix!r}"
    _refuse(owner, entry, weight_layout="out_in")
    rows, columns = values["weight"].shape
    module = _loaded(owner, torch.nn.Linear(columns, rows, bias="bias" in values), values)
    then = _function(torch, owner, entry.get("activation"))
    return Stage(prefix, lambda x, starts: (then(module(x)), []))


def _embedding(torch: Any, tensors: Mapping[str, Any], entry: Mapping[str, Any], prefix: str) -> Stage:
    values = _under(tensors, prefix, "weight")
    _refuse(f"embedding {prefix!r}", entry, mask_zero=False)
    module = _loaded(f"embedding {prefix!r}", torch.nn.Embedding(*values["weight"].shape), values)
    return Stage(prefix, lambda x, starts: (module(x), []))


def _batch_norm(torch: Any, tensors: Mapping[str, Any], entry: Mapping[str, Any], prefix: str) -> Stage:
    values = _under(tensors, prefix, "weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    values.setdefault("num_batches_tracked", torch.tensor(0))
    module = torch.nn.BatchNorm1d(len(values["weight"]), eps=entry.get("eps", 1e-5))
    module = _loaded(f"batch_norm {prefix!r}", module, values)
    return Stage(prefix, lambda x, starts: (module(x.reshape(-1, x.shape[-1])).reshape(x.shape), []))


def _layer_norm(torch: Any, tensors: Mapping[str, Any], entry: Mapping[str, Any], prefix: str) -> Stage:
    values = _under(tensors, prefix, "weight", "bias")
    size = len(values["weight"])
    module = torch.nn.LayerNorm(size, eps=entry.get("eps", 1e-5), bias="bias" in values)
    module = _loaded(f"layer_norm {prefix!r}", module, values)
    return Stage(prefix, lambda x, starts: (module(x), []))


def _activation(torch: Any, tensors: Mapping[str, Any], entry: Mapping[str, Any], name: Any) -> Stage:
    function = _function(torch, "activation", name)
    return Stage("", lambda x, starts: (function(x), []))


def _dropout(torch: Any, tensors: Mapping[str, Any], entry: Mapping[str, Any], name: Any) -> Stage:
    return Stage("", lambda x, starts: (x, []))


def _function(torch: Any, owner: str, name: Any) -> Callable[[Any], Any]:
    """PyTorch's own function of an activation's name."""
    functional = torch.nn.functional
    known: dict[str, Callable[[Any], Any]] = {
        "linear": lambda x: x,
        "softmax": lambda x: functional.softmax(x, -1),
        "log_softmax": lambda x: functional.log_softmax(x, -1),
        **{key: getattr(functional, key) for key in _FUNCTIONS},
        **{alias: getattr(functional, key) for alias, key in _ALIASES.items()},
    }
    if name is None:
        return known["linear"]
    if not isinstance(name, str) or name.lower() not in known:
        raise BadInput(f"{owner}: which of PyTorch's functions {name!r} is, is not known; it has {', '.join(known)}")
    return known[name.lower()]


_FUNCTIONS = ("tanh", "sigmoid", "relu", "relu6", "elu", "selu", "silu", "gelu", "mish", "softplus", "softsign",
              "logsigmoid", "tanhshrink")  # fmt: skip
_ALIASES = {"swish": "silu", "log_sigmoid": "logsigmoid"}

_BUILDERS: dict[str, Callable[[Any, Mapping[str, Any], Mapping[str, Any], Any], Stage]] = {
    "gru": _gru,
    "linear": _linear,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "activation": _activation,
    "dropout": _dropout,
}

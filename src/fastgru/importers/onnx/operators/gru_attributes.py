"""What a GRU node says: its attributes, its activations, its weights. Faults are gathered, so that all are told."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ....layers.base import SIGMOID, TANH, Activation
from ...cell import Cell
from ..node import Node, Refusal

#: by direction: for each pass over the sequence, whether it goes from the last step to the first
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
#: what PyTorch's dynamo exporter notes beside the node of an nn.GRU
_TORCH_GRU = "aten.gru"


@dataclass(frozen=True)
class Attributes:
    """A node's attributes.

    Attributes
    ----------
    backwards : tuple of bool
        For each direction: whether it walks from the last step to the first.
    activations : list of (Activation, Activation)
        For each direction: f of the gates, g of the candidate.
    hidden_size : int or None
        Where the node says it.
    reset_after : bool
    batch_first : bool
    clip : float or None
    """

    backwards: tuple[bool, ...]
    activations: list[tuple[Activation, Activation]]
    hidden_size: int | None
    reset_after: bool
    batch_first: bool
    clip: float | None


def read_attributes(node: Node, faults: list[str]) -> Attributes:
    """Take every attribute that the operator has in this opset; any other stays, and is refused by name."""
    direction = node.text("direction", "forward")
    if node.opset < 3 and direction == "foward":  # so opset 1 spells its default
        direction = "forward"
    if direction not in _DIRECTIONS:
        faults.append(f"direction should be {', '.join(_DIRECTIONS)}, is {direction!r}")
    backwards = _DIRECTIONS.get(direction, ())  # of none, what hangs on their number is not looked at
    clip = node.number("clip")
    if clip is not None and not clip > 0:
        faults.append(f"clip should be positive, is {clip}")
    layout = node.whole("layout", 0) if node.opset >= 14 else 0
    if layout not in (0, 1):
        faults.append(f"layout should be 0 or 1, is {layout}")
    if node.opset < 7:
        _check_output_sequence(node, faults)
    return Attributes(
        backwards=backwards,
        activations=_activations(node, len(backwards), faults),
        hidden_size=node.whole("hidden_size"),
        reset_after=(node.opset >= 3 and node.whole("linear_before_reset", 0) != 0) or _is_by_torch(node, faults),
        batch_first=layout == 1,
        clip=None if clip is None or math.isinf(clip) else clip,
    )


def _check_output_sequence(node: Node, faults: list[str]) -> None:
    """1 says that Y is there; with 0 it may be."""
    said = node.whole("output_sequence", 0)
    if said not in (0, 1):
        faults.append(f"output_sequence should be 0 or 1, is {said}")
    elif said and not any(node.outputs[:1]):
        faults.append("output_sequence is 1, but there is no Y")


def _is_by_torch(node: Node, faults: list[str]) -> bool:
    """Whether a node that lacks linear_before_reset=1 is computed with it all the same.

    Every GRU of PyTorch is. Up to onnxscript 0.7.0 its dynamo exporter forgets to say so, and what it then writes, 0,
    is what no nn.GRU computes; its TorchScript exporter always wrote 1.
    """
    network = node.network
    assumed = network.options.get("assume_torch_gru")
    if assumed:
        network.notes.append(f"node {node.name!r}: computed with linear_before_reset=1, as PyTorch computes every GRU")
        return True
    marked = any(_TORCH_GRU in entry.value for entry in node.proto.metadata_props)
    if assumed is None and (marked or network.container.model.producer_name == "pytorch"):
        faults.append(
            "lacks linear_before_reset=1, with which PyTorch, whose file this is, computes every GRU: its dynamo "
            "exporter forgot it up to onnxscript 0.7.0. assume_torch_gru=True computes as PyTorch does, "
            "assume_torch_gru=False as the file says"
        )
    return False


# ---- activations -----------------------------------------------------------------------------------------------------

#: alpha or beta of a function that takes it, where the standard gives it no default
_DEMANDED = math.nan


def _thresholded(alpha: float) -> Activation:
    """x where x ≥ alpha; ours keeps what is greater than its threshold."""
    return Activation.of("threshold", threshold=float(np.nextafter(np.float32(alpha), np.float32(-np.inf))))


#: by name in small letters: the maker of ours from alpha and beta, and the defaults of those that it takes, which the
#: standard has from the operators of these names
_FUNCTIONS: dict[str, tuple[Callable[..., Activation], dict[str, float]]] = {
    "relu": (lambda: Activation.of("relu"), {}),
    "tanh": (lambda: TANH, {}),
    "sigmoid": (lambda: SIGMOID, {}),
    "affine": (
        lambda alpha, beta: Activation.of("affine", alpha=alpha, beta=beta),
        {"alpha": _DEMANDED, "beta": _DEMANDED},
    ),
    "leakyrelu": (lambda alpha: Activation.of("relu", negative_slope=alpha), {"alpha": 0.01}),
    "thresholdedrelu": (_thresholded, {"alpha": 1.0}),
    "scaledtanh": (
        lambda alpha, beta: Activation.of("scaled_tanh", alpha=alpha, beta=beta),
        {"alpha": _DEMANDED, "beta": _DEMANDED},
    ),
    "hardsigmoid": (
        lambda alpha, beta: Activation.of("hard_sigmoid", slope=alpha, offset=beta),
        {"alpha": 0.2, "beta": 0.5},
    ),
    "elu": (lambda alpha: Activation.of("elu", alpha=alpha), {"alpha": 1.0}),
    "softsign": (lambda: Activation.of("softsign"), {}),
    "softplus": (lambda: Activation.of("softplus"), {}),
}


def _activations(node: Node, count: int, faults: list[str]) -> list[tuple[Activation, Activation]]:
    """f and g of each direction. Alphas and betas are used up in order, by those functions alone that take one."""
    names = node.texts("activations", ("Sigmoid", "Tanh") * count)
    given = {"alpha": list(node.numbers("activation_alpha", ())), "beta": list(node.numbers("activation_beta", ()))}
    left = {key: list(values) for key, values in given.items()}
    found = []
    for name in names:
        make, defaults = _FUNCTIONS.get(name.lower(), (None, {}))
        if make is None:
            faults.append(f"activation {name!r} is none of the standard's")
            return []
        values = {key: left[key].pop(0) if left[key] else default for key, default in defaults.items()}
        missing = [f"activation_{key}" for key, value in values.items() if math.isnan(value)]
        if missing:
            faults.append(f"activation {name!r} needs {' and '.join(missing)}")
            return []
        found.append(make(**values))
    if count and len(found) != 2 * count:
        faults.append(f"activations should be {2 * count}, f and g of each direction; there are {len(found)}")
    for key, rest in left.items():
        if rest:
            used = len(given[key]) - len(rest)
            faults.append(f"activation_{key} has {len(given[key])} numbers, its activations take {used}")
    return list(zip(found[::2], found[1::2], strict=False))


# ---- weights ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """W (directions, 3·units, input), R (directions, 3·units, units), B (directions, 6·units) or None."""

    W: np.ndarray
    R: np.ndarray
    B: np.ndarray | None

    @property
    def directions(self) -> int:
        return int(self.W.shape[0])

    @property
    def units(self) -> int:
        return int(self.R.shape[2])

    @property
    def input_size(self) -> int:
        return int(self.W.shape[2])

    def cell(self, direction: int, reset_after: bool) -> Cell:
        bias = None if self.B is None else self.B[direction]
        return Cell.of_onnx(self.W[direction], self.R[direction], bias, reset_after)


def read_weights(node: Node, said: Attributes, faults: list[str]) -> Weights | None:
    """The weights; None where something is wrong with them."""
    arrays = {}
    before = len(faults)
    for index, name in enumerate("WRB", 1):
        if name == "B" and node.input(index) is None:
            continue
        try:
            arrays[name] = node.constant(index, name)
        except Refusal as refusal:
            faults.append(str(refusal))
            continue
        if arrays[name].dtype != np.float32:
            faults.append(f"{name} should hold floats, holds {arrays[name].dtype}")
    if len(faults) > before:
        return None
    W, R, B = arrays["W"], arrays["R"], arrays.get("B")
    count, hidden, size = len(said.backwards), *((a.shape[-1] if a.ndim else 0) for a in (R, W))
    count = count or (W.shape[0] if W.ndim else 0)
    if said.hidden_size not in (None, hidden):
        faults.append(f"hidden_size is {said.hidden_size}, but R has shape {R.shape}")
    wanted = {"W": (count, 3 * hidden, size), "R": (count, 3 * hidden, hidden), "B": (count, 6 * hidden)}
    for name, array in arrays.items():
        if array.shape != wanted[name] or not array.size:
            faults.append(f"{name} should have shape {wanted[name]}, has {array.shape}")
    return Weights(W, R, B) if len(faults) == before else None

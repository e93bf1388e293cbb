"""A seeded generator of GRU nodes over all attributes of the operator, all opsets, and all forms of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_files import DTYPES, NodeCase

#: and how often each is drawn; ONNX Runtime has no GRU of the first two
OPSETS = {1: 0.08, 3: 0.08, 7: 0.26, 14: 0.32, 22: 0.26}
#: activations of the standard that may follow each other step by step without growing, and what is drawn for them
GATES: dict[str, tuple[Any, Any]] = {
    "Sigmoid": (None, None),
    "Tanh": (None, None),
    "Softsign": (None, None),
    "Affine": ((0.1, 0.3), (0.2, 0.6)),
    "ScaledTanh": ((0.3, 0.9), (0.3, 0.9)),
    "HardSigmoid": ((0.1, 0.4), (0.3, 0.6)),
    "Relu": (None, None),
    "LeakyRelu": ((0.01, 0.5), None),
    "ThresholdedRelu": ((0.05, 0.3), None),
    "Elu": ((0.2, 1.5), None),
    "Softplus": (None, None),
}
#: those that keep a state finite when they are an update gate
BOUNDED = ("Sigmoid", "HardSigmoid", "Softsign", "Tanh", "Affine", "ScaledTanh")
#: the standard's own defaults are used in part of the cases; two have none, and for the third's 1 ONNX Runtime takes 0
WITHOUT_DEFAULTS = ("Affine", "ScaledTanh", "ThresholdedRelu")


def random_case(seed: int) -> NodeCase:
    """The case of a seed: always the same."""
    rng = np.random.default_rng([seed, 0x6E5])
    opset = int(rng.choice(list(OPSETS), p=list(OPSETS.values())))
    dtype = str(rng.choice(list(DTYPES), p=[0.85, 0.05, 0.05, 0.05]))
    if dtype == "bfloat16":
        opset = 22
    steps, batch = int(rng.integers(1, 12)), int(rng.integers(1, 6))
    size, hidden = int(rng.integers(1, 9)), int(rng.choice([1, 2, 3, 5, 8, 16, 17]))
    attributes = _attributes(rng, opset, hidden)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    batch_first = attributes.get("layout", 0) == 1

    def draw(scale: float, *shape: int) -> np.ndarray:
        return rng.uniform(-scale, scale, shape).astype(DTYPES[dtype]).astype(np.float64)

    arrays = {
        "X": draw(2.0, *((batch, steps, size) if batch_first else (steps, batch, size))),
        "W": draw(1.5 / np.sqrt(size), directions, 3 * hidden, size),
        "R": draw(1.0 / np.sqrt(hidden), directions, 3 * hidden, hidden),
    }
    constants: tuple[str, ...] = ()
    is_free = bool(rng.random() < 0.6)
    if rng.random() < 0.8:
        arrays["B"] = draw(0.5, directions, 6 * hidden)
    if rng.random() < 0.5:
        arrays["sequence_lens"] = rng.integers(0, steps + 1, batch).astype(np.int32)
        if rng.random() < 0.2 and not is_free:
            arrays["sequence_lens"], constants = np.full(batch, steps, np.int32), ("sequence_lens",)
    if rng.random() < 0.5:
        h0 = draw(1.0, directions, batch, hidden)
        if rng.random() < 0.3 and not is_free:  # a constant fixes the batch; all rows begin alike
            h0 = np.repeat(h0[:, :1] * rng.integers(0, 2), batch, axis=1)
            constants = (*constants, "initial_h")
        arrays["initial_h"] = h0.transpose(1, 0, 2) if batch_first else h0
    outputs = [("Y", "Y_h"), ("Y", "Y_h"), ("Y",), ("Y_h",)][rng.integers(4)]
    if opset == 1:  # it always has Y_h
        outputs = [("Y", "Y_h"), ("Y_h",)][rng.integers(2)]
    storage = str(rng.choice(["initializer", "default", "node", "external", "cast"]))
    if storage == "cast":
        if dtype != "float32" or opset < 6:  # before, Cast had another attribute
            storage = "initializer"
        else:  # what float16 holds
            cast = {key for key in arrays if key in ("W", "R", "B") or key in constants}
            arrays |= {k: arrays[k].astype(np.float16).astype(np.float64) for k in cast if arrays[k].dtype.kind == "f"}
    if opset < 7 and "Y" in outputs:
        attributes |= {"output_sequence": 1}
    return NodeCase(attributes, arrays, opset, outputs, constants, storage, dtype, is_free)


def _attributes(rng: np.random.Generator, opset: int, hidden: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    direction = str(rng.choice(["", "forward", "reverse", "bidirectional"]))
    if direction:
        attributes["direction"] = direction
    if rng.random() < 0.93:  # ONNX Runtime demands it
        attributes["hidden_size"] = hidden
    if opset >= 3 and rng.random() < 0.7:
        attributes["linear_before_reset"] = int(rng.integers(2))
    if opset >= 14 and rng.random() < 0.3:
        attributes["layout"] = int(rng.integers(2))
    if rng.random() < 0.3:
        attributes["clip"] = float(np.float32(rng.uniform(0.2, 2.0)))
    if rng.random() < 0.5:
        attributes |= _activations(rng, 2 if direction == "bidirectional" else 1)
    return attributes


def _activations(rng: np.random.Generator, directions: int) -> dict[str, Any]:
    """Names in any case of letters; alphas and betas for all functions that take them, or for the first few."""
    names, alphas, betas = [], [], []
    by_default = rng.random() < 0.4
    for index in range(2 * directions):
        known = list(GATES) if index % 2 else list(BOUNDED)
        if by_default:
            known = [name for name in known if name not in WITHOUT_DEFAULTS]
        name = str(rng.choice(known))
        for drawn, values in zip(GATES[name], (alphas, betas), strict=True):
            if drawn is not None:
                values.append(float(np.float32(rng.uniform(*drawn))))
        names.append([name, name.lower(), name.upper()][rng.integers(3)])
    attributes: dict[str, Any] = {"activations": names}
    if by_default:  # those at the end are left to the standard
        alphas, betas = alphas[: rng.integers(len(alphas) + 1)], betas[: rng.integers(len(betas) + 1)]
    if alphas:
        attributes["activation_alpha"] = alphas
    if betas:
        attributes["activation_beta"] = betas
    return attributes

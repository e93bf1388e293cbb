"""Keras activations → `graph.Activation`.

Keras names an activation by a string, by ``{"class_name": "function", "config": "relu"}`` or by a whole layer
(``LeakyReLU``). One name has had two meanings: ``hard_sigmoid`` is clip(0.2·x + 0.5, 0, 1) in Keras 1 and 2 and
relu6(x + 3) / 6 in Keras 3; which of them holds is decided by the Keras that wrote the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ...graph import ELEMENTWISE, LINEAR, ROWWISE, Activation
from .config import LayerConfig

HARD_SIGMOID = {1: 0.2, 2: 0.2, 3: 1.0 / 6.0}

#: names of `graph` that Keras does not use, or with a meaning of its own
NOT_SO_NAMED = frozenset(
    {"hard_sigmoid", "gelu_tanh", "threshold"}
    | {"abs", "negative", "square", "sqrt", "rsqrt", "reciprocal", "expm1", "log", "log1p"}
    | {"clip", "affine", "scaled_tanh", "erf", "sign", "floor", "ceil", "round"}
)
#: functions by the name that Keras writes
FUNCTIONS: dict[str, Activation] = {
    **{name: Activation.of(name) for name in (*ELEMENTWISE, *ROWWISE) if name not in NOT_SO_NAMED},
    "swish": Activation.of("silu"),
    "hard_swish": Activation.of("hard_silu"),
    "leaky_relu": Activation.of("relu", negative_slope=0.2),
    "relu6": Activation.of("relu", max_value=6.0),
    "softmax_v2": Activation.of("softmax"),
    "log_softmax_v2": Activation.of("log_softmax"),
}


def relu(config: LayerConfig) -> Activation:
    return Activation.of(
        "relu",
        max_value=config.number("max_value", math.inf),
        negative_slope=config.number("negative_slope", 0.0),
        threshold=config.number("threshold", 0.0),
    )


def leaky_relu(config: LayerConfig) -> Activation:
    """Keras 2 calls the slope alpha, Keras 3 negative_slope."""
    slope = config.number("alpha", 0.3)
    return Activation.of("relu", negative_slope=config.number("negative_slope", slope))


def elu(config: LayerConfig) -> Activation:
    return Activation.of("elu", alpha=config.number("alpha", 1.0))


def thresholded_relu(config: LayerConfig) -> Activation:
    return Activation.of("threshold", threshold=config.number("theta", 1.0))


def softmax(config: LayerConfig) -> Activation:
    config.only("axis", -1, [-1], why="softmax runs along the last axis")
    return Activation.of("softmax")


#: layers that are nothing but an activation, by class name
LAYERS: dict[str, Callable[[LayerConfig], Activation]] = {
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "ELU": elu,
    "ThresholdedReLU": thresholded_relu,
    "Softmax": softmax,
}
#: their keys that don't matter at inference without a mask
IGNORED = frozenset({"robust_masking"})


def read(config: LayerConfig, key: str, default: str = "linear", *, gate: bool = False) -> Activation:
    """The activation under a key of a layer's configuration.

    Parameters
    ----------
    config : LayerConfig
    key : str
    default : str
        What an absent key means; None (JSON null) always means linear.
    gate : bool
        For a gate of a GRU, where functions of a whole row are refused.

    Returns
    -------
    Activation
        Linear where the activation had to be refused.
    """
    value = config.take(key, default)
    activation = _layer(config, key, value) if _is_layer(value) else _function(config, key, value)
    if activation is None:
        return LINEAR
    if gate and activation.is_rowwise:
        config.refuse(f"{key}={activation.name!r} looks at a whole row and cannot stand in a gate")
    return activation


def _is_layer(value: Any) -> bool:
    is_object = isinstance(value, Mapping) and isinstance(value.get("config"), Mapping)
    return is_object and value.get("class_name") not in ("__lambda__", "function")


def _layer(config: LayerConfig, key: str, value: Mapping[str, Any]) -> Activation | None:
    part = LayerConfig(value, config.report, config)
    reader = LAYERS.get(part.class_name)
    if reader is None or part.is_custom:
        config.refuse(f"a {part.class_name} as {key} is not supported")
        return None
    activation = reader(part)
    part.finish(IGNORED)
    return activation


def _function(config: LayerConfig, key: str, value: Any) -> Activation | None:
    if isinstance(value, Mapping) and value.get("class_name") == "function":
        value = value.get("config")
    if value is None:
        return LINEAR
    if not isinstance(value, str):
        config.refuse(f"{key} is Python code (a lambda), which is never run")
        return None
    if value == "hard_sigmoid":
        return _hard_sigmoid(config, key)
    if value in LAYERS:
        return LAYERS[value](LayerConfig({"class_name": value, "config": {}}, config.report, config))
    if value not in FUNCTIONS:
        config.refuse(f"{key}={value!r} is not an activation of Keras")
        return None
    return FUNCTIONS[value]


def _hard_sigmoid(config: LayerConfig, key: str) -> Activation | None:
    generation = config.report.generation
    if generation is None:
        config.refuse(
            f"{key}='hard_sigmoid' means one function in Keras 2 and another in Keras 3, and nothing here says "
            "which of them wrote the network; say keras_version='2' or keras_version='3'"
        )
        return None
    return Activation.of("hard_sigmoid", slope=HARD_SIGMOID[generation])

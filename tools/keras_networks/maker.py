"""One stream of random choices, and what a network under construction knows of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

BATCH = 4


class Maker:
    """Draws one network for one generation of Keras.

    Parameters
    ----------
    keras : module
        Keras 3 or tf_keras.
    seed : sequence of int
        The same seed draws the same network, whatever the dtype policy: so a network of a narrow policy can be built
        once more in float32.
    policy : str
        Keras' global dtype policy, set for the layers that follow.
    """

    def __init__(self, keras: Any, seed: list[int], policy: str = "float32") -> None:
        self.keras, self.L = keras, keras.layers
        self.generation = int(keras.__version__[0])
        self.rng = np.random.default_rng(seed)
        self.policy = policy
        self.arrays: dict[str, np.ndarray] = {}  # an input's name → what the network is asked
        self.tensors: dict[str, Any] = {}  # an input's name → its tensor
        self.said: list[str] = []  # what is in the network
        self.batch_size = BATCH if self.chance(0.12) else None
        self.time = int(self.rng.integers(4, 9))
        self.steps = self.time if self.chance(0.5) else None
        keras.backend.clear_session()
        if self.generation == 3:
            keras.config.set_dtype_policy(policy)
        else:
            keras.mixed_precision.set_global_policy(policy)

    # ---- choices

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def size(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def number(self, low: float, high: float) -> float:
        return round(float(self.rng.uniform(low, high)), 3)

    def some(self, share: float, **options: Any) -> dict[str, Any]:
        """Each of the options with a chance."""
        return {key: value for key, value in options.items() if self.chance(share)}

    def say(self, what: str) -> None:
        if what not in self.said:
            self.said.append(what)

    # ---- inputs

    def input(self, shape: tuple[int | None, ...], array: np.ndarray, **options: Any) -> Any:
        name = options.pop("name", None) or f"input_{'abcdefgh'[len(self.arrays)]}"
        self.arrays[name] = array
        lead = {"batch_shape": (self.batch_size, *shape)} if self.batch_size else {"shape": shape}
        self.tensors[name] = self.L.Input(**lead, name=name, **options)
        return self.tensors[name]

    def vector(self, features: int | None = None, **options: Any) -> Any:
        features = features or self.size(2, 6)
        return self.input((features,), self.normal(features), **options)

    def sequence(self, **options: Any) -> Any:
        """A sequence of floats, masked by a Masking layer more often than not."""
        features = self.size(2, 6)
        x = self.normal(self.time, features)
        value = self.pick(0.0, -1.0)
        x[~self.mask(self.time)] = value
        tensor = self.input((self.steps, features), x, **options)
        if self.chance(0.55):
            self.say("Masking")
            tensor = self.L.Masking(value)(tensor)
        return tensor

    def tokens(self, vocabulary: int, *, steps: int | None = None, zeros: bool = True, **options: Any) -> Any:
        """Token ids, 0 where a step is masked; as integers or as whole floats, both of which Keras accepts."""
        time = steps or self.time
        ids = self.rng.integers(1, vocabulary, (BATCH, time)).astype(np.int32)
        if zeros:
            ids[~self.mask(time)] = 0
        kind = {"dtype": "int32"} if self.chance(0.7) else {}
        return self.input((self.steps if steps is None else steps,), ids, **kind, **options)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=(BATCH, *shape)).astype(np.float32)

    def mask(self, time: int) -> np.ndarray:
        """(batch, time), each row of another pattern."""
        mask = np.ones((BATCH, time), bool)
        for row in mask:
            pattern = self.pick("full", "right", "left", "holes", "holes", "all")
            cut = self.size(1, time - 1)
            if pattern == "right":
                row[cut:] = False
            elif pattern == "left":
                row[:cut] = False
            elif pattern == "holes":
                row[self.rng.random(time) < 0.5] = False
            elif pattern == "all":
                row[:] = False
        return mask


def randomize(maker: Maker, model: Any) -> None:
    """Give every weight a random value, the moving statistics and scales among them, and forget running states."""
    for weight in model.weights:
        path = getattr(weight, "path", weight.name).split(":")[0]
        name, shape = path.split("/")[-1], tuple(weight.shape)
        if name in ("mean", "variance", "count", "rnn_state") or not _is_float(weight):
            continue  # statistics that a Normalization has adapted to data; states
        if name == "moving_variance":
            value = maker.rng.uniform(0.5, 1.5, shape)
        elif name in ("gamma", "scale", "alpha"):
            value = 1 + 0.3 * maker.rng.normal(size=shape) if name != "alpha" else maker.rng.uniform(-0.3, 0.5, shape)
        elif "bias" in name or name in ("beta", "moving_mean"):
            value = 0.3 * maker.rng.normal(size=shape)
        elif "embedding" in name:
            value = 0.7 * maker.rng.normal(size=shape)
        else:
            value = maker.rng.normal(size=shape) * 0.9 / np.sqrt(max(1, np.prod(shape[:-1])))
        weight.assign(value.astype(np.float32))
    reset(model)


def reset(model: Any) -> None:
    """Set running states back to zero, in nested networks and wrapped layers too."""
    for layer in model._flatten_layers() if hasattr(model, "_flatten_layers") else model.layers:
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_states") and not hasattr(layer, "layers"):
            layer.reset_states()
        elif getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
            layer.reset_state()


def _is_float(weight: Any) -> bool:
    return "float" in str(weight.dtype)


def tensor_name(tensor: Any) -> str:
    """The name of an input layer by its tensor, which in Keras 3 may have another one."""
    if hasattr(tensor, "_keras_history") and hasattr(tensor._keras_history, "operation"):
        return str(tensor._keras_history.operation.name)
    return str(tensor.name).split(":")[0]

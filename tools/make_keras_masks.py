"""Write tests/data/keras_masks.zip: what both generations of Keras do with masks and states, where frameworks differ.

Needs tensorflow-cpu, keras and tf_keras, which the project itself never does::

    python tools/make_keras_masks.py
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
sys.path.insert(0, str(Path(__file__).parent / "keras_networks"))

import keras
import numpy as np
import tf_keras
from maker import Maker, randomize, reset

warnings.filterwarnings("ignore")

PACK = Path(__file__).parent.parent / "tests" / "data" / "keras_masks.zip"
#: rows of steps: all there, padded to the right, to the left, with holes, with holes at both ends, nothing there at all
MASK = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 1, 0, 1], [0, 1, 0, 1, 1, 0], [0] * 6], bool
)
ROWS, STEPS = MASK.shape
UNITS = 3


def networks(K: Any) -> dict[str, Callable[[], Any]]:
    """Each case by name, as a function that builds it."""
    L, generation = K.layers, int(K.__version__[0])

    def masked() -> tuple[Any, Any]:
        x = L.Input((STEPS, 2), name="x")
        return x, L.Masking(0.0)(x)

    def chain(*layers: Any) -> Any:
        x, y = masked()
        for layer in layers:
            y = layer(y)
        return K.Model(x, y)

    def gru(units: int = UNITS, **options: Any) -> Any:
        return L.GRU(units, **options)

    def with_state(layer: Any, explicit: bool = False, states: int = 1) -> Any:
        x, y = masked()
        initial = [L.Input((UNITS,), name=f"state{i}") for i in range(states)]
        options = {"mask": L.Masking(0.0).compute_mask(x)} if explicit else {}
        results = layer(y, initial_state=initial if states > 1 else initial[0], **options)
        return K.Model([x, *initial], results)

    def merged(layer: Any, one_is_masked: bool = False) -> Any:
        """Two sequences with masks of their own, joined, and a GRU behind."""
        x, other = L.Input((STEPS, 2), name="x"), L.Input((STEPS, 2), name="other")
        first = gru(return_sequences=True)(L.Masking(0.0)(x))
        second = gru(return_sequences=True)(other if one_is_masked else L.Masking(0.0)(other))
        joined = layer([first, second])
        return K.Model([x, other], [joined, gru(return_sequences=True)(joined)])

    cases: dict[str, Callable[[], Any]] = {}
    for variant, reset_after in (("", True), ("_v1", False)):
        for name, options in {
            "sequences": {"return_sequences": True}, "last": {},
            "zero": {"return_sequences": True, "zero_output_for_mask": True},
            "zero_last": {"zero_output_for_mask": True}, "backwards": {"return_sequences": True, "go_backwards": True},
            "backwards_last": {"go_backwards": True},
            "backwards_zero": {"return_sequences": True, "go_backwards": True, "zero_output_for_mask": True},
            "unrolled": {"return_sequences": True, "unroll": True},
            "states": {"return_sequences": True, "return_state": True},
        }.items():  # fmt: skip
            cases[f"{name}{variant}"] = lambda o=options, r=reset_after: chain(gru(reset_after=r, **o))
    cases["stack"] = lambda: chain(gru(4, return_sequences=True), L.Dense(3), gru(return_sequences=True), gru(2))
    cases["cells"] = lambda: chain(L.RNN([L.GRUCell(4), L.GRUCell(UNITS)], return_sequences=True, return_state=True))
    cases["mean"] = lambda: chain(gru(return_sequences=True), L.GlobalAveragePooling1D())
    for mode in ("concat", "sum", "mul", "ave", None):
        for sequences in (True, False):
            name = f"bidirectional_{mode}{'_sequences' if sequences else ''}".lower()
            cases[name] = lambda m=mode, s=sequences: chain(L.Bidirectional(gru(return_sequences=s), merge_mode=m))
    cases["bidirectional_states"] = lambda: chain(L.Bidirectional(gru(return_sequences=True, return_state=True)))
    cases["bidirectional_own_backward"] = lambda: chain(
        L.Bidirectional(
            gru(return_sequences=True), backward_layer=gru(return_sequences=True, go_backwards=True, activation="relu")
        )
    )
    for explicit in (False, True):
        end = "_explicit_mask" if explicit else ""
        for name, options in {
            "initial": {"return_sequences": True}, "initial_last": {},
            "initial_backwards": {"return_sequences": True, "go_backwards": True},
            "initial_backwards_last": {"go_backwards": True, "return_state": True},
            "initial_zero": {"return_sequences": True, "zero_output_for_mask": True},
        }.items():  # fmt: skip
            cases[name + end] = lambda o=options, e=explicit: with_state(gru(**o), e)
        cases["initial_bidirectional" + end] = lambda e=explicit: with_state(
            L.Bidirectional(gru(return_sequences=True)), e, 2
        )
    cases["initial_bidirectional_states"] = lambda: with_state(
        L.Bidirectional(gru(return_sequences=True, return_state=True)), False, 2
    )
    for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        cases[f"merge_{name.lower()}"] = lambda n=name: merged(getattr(L, n)())
        cases[f"merge_{name.lower()}_with_unmasked"] = lambda n=name: merged(getattr(L, n)(), True)
    cases["merge_over_time"] = lambda: merged(L.Concatenate(axis=1))
    if generation == 2:
        for name in list(cases):  # Keras 2 takes a mask made by a layer of its own for that of another tensor
            if name.endswith("_explicit_mask"):
                del cases[name]
    return cases


def stateful(K: Any, **options: Any) -> Any:
    L = K.layers
    x = L.Input(batch_shape=(ROWS, STEPS, 2), name="x")
    y = L.GRU(4, return_sequences=True, stateful=True, **options)(L.Masking(0.0)(x))
    return K.Model(x, L.GRU(UNITS, return_sequences=True, stateful=True)(y))


def inputs(rng: np.random.Generator, model: Any) -> dict[str, np.ndarray]:
    arrays = {}
    for tensor in model.inputs:
        name = tensor.name.split(":")[0]
        arrays[name] = rng.normal(size=(ROWS, *tensor.shape[1:])).astype(np.float32)
        if len(tensor.shape) == 3:
            arrays[name][~(MASK if name == "x" else np.roll(MASK, 2, axis=0))] = 0
    return arrays


def answers(model: Any, x: dict[str, np.ndarray]) -> list[np.ndarray]:
    given = [x[tensor.name.split(":")[0]] for tensor in model.inputs]
    y = model(given if len(given) > 1 else given[0], training=False)
    return [np.asarray(value) for value in (y if isinstance(y, (list, tuple)) else [y])]


def main() -> None:
    with zipfile.ZipFile(PACK, "w", zipfile.ZIP_DEFLATED) as pack, tempfile.TemporaryDirectory() as folder:
        for K in (keras, tf_keras):
            generation = int(K.__version__[0])
            maker = Maker(K, [4, generation])
            builders = networks(K)
            builders["stateful"] = lambda K=K: stateful(K)
            builders["stateful_zero"] = lambda K=K: stateful(K, zero_output_for_mask=True)
            for name, builder in builders.items():
                K.backend.clear_session()
                model = builder()
                model(
                    inputs(maker.rng, model) if len(model.inputs) > 1 else next(iter(inputs(maker.rng, model).values()))
                )
                randomize(maker, model)
                x = inputs(maker.rng, model)
                arrays = {f"x:{key}": value for key, value in x.items()}
                rounds = ("y", "again", "reset") if name.startswith("stateful") else ("y",)
                for turn in rounds:
                    if turn == "reset":
                        reset(model)
                    arrays |= {f"{turn}:{i}": value for i, value in enumerate(answers(model, x))}
                reset(model)
                path = Path(folder) / f"{name}.{'keras' if generation == 3 else 'h5'}"
                model.save(path)
                buffer = io.BytesIO()
                np.savez_compressed(buffer, **arrays)
                for file, data in ((path.name, path.read_bytes()), (f"{name}.npz", buffer.getvalue())):
                    place = zipfile.ZipInfo(f"keras{generation}/{file}")
                    pack.writestr(place, data, zipfile.ZIP_DEFLATED, 9)
    print(f"{PACK.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

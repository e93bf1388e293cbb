"""Every network under tests/data whose answers a framework gave, in one list: how to load it, and what it was asked."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import fastgru
import test_arrays
import test_keras_masks
import test_keras_networks
import test_keras_old
import test_networks
import test_onnx_judged_files
import test_onnx_loops
import test_text_keras
import test_torch_exports
import tf1_records
from fastgru import Model, passes
from fastgru.importers.tf1.network import understand
from keras_files import KERAS2, PAIRS

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Golden:
    """A network and one call of it.

    Attributes
    ----------
    load : function of options of `fastgru.load`, such as dtype
    inputs : tuple of arrays, or a dict of them by name
    answers : dict of arrays by the place of the output
        What the framework said; places may be missing.
    lengths : array, optional
    """

    load: Callable[..., Model]
    inputs: Any
    answers: Mapping[int, np.ndarray] = field(default_factory=dict)
    lengths: np.ndarray | None = None

    def run(self, model: Model) -> tuple[np.ndarray, ...]:
        inputs = self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)
        found = model(*inputs, lengths=self.lengths)
        return found if isinstance(found, tuple) else (found,)


def _file(path: Path, inputs: Any, answers: Any, lengths: Any = None, **options: Any) -> Golden:
    return Golden(lambda **more: fastgru.load(path, **options, **more), inputs, dict(enumerate(answers)), lengths)


def _keras_networks(network: dict[str, Any]) -> Callable[[Path], Golden]:
    def make(folder: Path) -> Golden:
        with zipfile.ZipFile(test_keras_networks.PACK) as pack:
            beginning = f"{network['folder']}/{Path(network['file']).name.partition('.')[0]}"
            pack.extractall(folder, [name for name in pack.namelist() if name.startswith(beginning)])
        _, inputs, answers = test_keras_networks.load(folder, network)
        return Golden(lambda **options: test_keras_networks.load(folder, network, **options)[0], inputs, answers)

    return make


def _keras_masks(case: str) -> Callable[[Path], Golden]:
    def make(folder: Path) -> Golden:
        _, inputs, answers = test_keras_masks.load(case, folder)
        load = test_keras_masks.load
        return Golden(lambda **options: load(case, folder, **options)[0], inputs, answers["y"])

    return make


def _tutorial(name: str) -> Golden:
    with np.load(test_networks.GOLDEN / f"{name}.npz") as arrays:
        return Golden(
            lambda **options: test_networks.load(name, **options), arrays["x"][:20], {0: arrays["float64"][:20]}
        )


def _old_keras(name: str) -> Golden:
    x, y = (test_keras_old.arrays(name, what) for what in "xy")
    return _file(test_keras_old.FOLDER / f"{name}.h5", tuple(x), y)


def _judged(path: Path) -> Golden:
    with np.load(path.with_suffix(".npz")) as archive:
        inputs = {key[2:]: archive[key] for key in archive if key.startswith("x:")}
        answers = [archive[key] for key in archive if key.startswith("y")]
    return _file(path, inputs, answers, assume_torch_gru=False)


def _loop(path: Path) -> Golden:
    _, given, answers = test_onnx_loops.golden(path.stem.removeprefix("loop_"))
    return _file(path, tuple(given), answers)


def _torch_export(name: str) -> Golden:
    given, answers = (test_torch_exports.recorded(name, kind) for kind in ("in", "out"))
    options = test_torch_exports.options_of(name)
    return _file(test_torch_exports.FOLDER / f"{name}.onnx", given, answers.values(), **options)


def _state_dict(name: str) -> Golden:
    given = test_arrays.answers(name)
    inputs = tuple(given[key] for key in ("x", "h0") if key in given)
    answers = [given[key] for key in sorted(given) if key.startswith("y")]
    path, config = test_arrays.GOLDEN / f"{name}.safetensors", test_arrays.NETWORKS[name]
    return _file(path, inputs, answers, given.get("lengths"), config=config)


def _tensorflow1(name: str) -> Golden:
    recorded = tf1_records.load(name)
    outputs = list(recorded.outputs)

    def load(**options: Any) -> Model:
        return Model(passes.apply(understand(recorded.sources["frozen"], outputs=outputs)), **options)

    return Golden(load, recorded.inputs, dict(enumerate(recorded.outputs.values())))


def _texts(name: str) -> Golden:
    network = test_text_keras.NETWORKS[name]
    return _file(test_text_keras.DATA / name, tuple(network["inputs"]), [np.array(network["outputs"], np.float32)])


def _translation(name: str) -> Callable[[Path], Golden]:
    """An encoder alone, and a decoder behind the encoder in float32."""
    network, _, part = name.partition("/")

    def make(folder: Path) -> Golden:
        with tarfile.open(DATA / "translation.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        source = np.load(folder / network / "answers.npz")["source"]
        if part == "encoder":
            return _file(folder / network / "encoder.h5", source, [])
        encoded, state = fastgru.load(folder / network / "encoder.h5", dtype="float32")(source)
        path = folder / network / "decoder.h5"
        mask = (source != 0,) if len(fastgru.load(path).inputs) == 4 else ()
        return _file(path, (np.ones((len(source), 1), np.int32), state, encoded, *mask), [])

    return make


def _all() -> Iterator[tuple[str, Callable[[Path], Golden]]]:
    def apart(make: Callable[[Any], Golden], what: Any) -> Callable[[Path], Golden]:
        return lambda folder: make(what)

    for network in test_keras_networks.NETWORKS:
        name = f"{network['folder']}-{network['number']}-{network['theme']}"
        yield f"keras_networks/{name}-{network['kind']}", _keras_networks(network)
    for case in test_keras_masks.CASES:
        yield f"keras_masks/{case}", _keras_masks(case)
    for name in test_networks.FILES:
        yield f"golden/{name}", apart(_tutorial, name)
    for name in ("tagging", "activations", "backwards"):
        golden = _file(KERAS2 / f"{name}.h5", PAIRS[f"{name}_x"], [PAIRS[f"{name}_y"]])
        yield f"keras2/{name}", lambda folder, golden=golden: golden
    for name in test_keras_old.NETWORKS:
        yield f"old_keras/{name}", apart(_old_keras, name)
    for path in sorted(test_onnx_judged_files.FOLDER.glob("*.onnx")):
        yield f"onnx/{path.stem}", apart(_judged, path)
    for path in test_onnx_loops.NETWORKS:
        yield f"onnx/{path.stem}", apart(_loop, path)
    for name in test_torch_exports.NAMES:
        if name != test_torch_exports.BAKED:
            yield f"torch_exports/{name}", apart(_torch_export, name)
    for name in test_arrays.NETWORKS:
        yield f"torch/{name}", apart(_state_dict, name)
    for name in tf1_records.names():
        yield f"tf1/{name}", apart(_tensorflow1, name)
    for name in test_text_keras.NETWORKS:
        yield f"text/{name}", apart(_texts, name)
    for network in ("additive_keras3", "multiplicative_keras2"):
        for part in ("encoder", "decoder"):
            yield f"translation/{network}/{part}", _translation(f"{network}/{part}")


#: by name, a function of an empty folder
NETWORKS = dict(_all())

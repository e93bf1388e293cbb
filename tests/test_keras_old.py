"""Files of Keras 1 and of the first Kerases 2, with Theano: against what those Kerases answered."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import oracle
from fastgru import graph as g
from fastgru import importers, passes
from fastgru.errors import UnsupportedModel
from fastgru.graph import Graph
from keras_files import write_legacy
from tolerances import check

FOLDER = Path(__file__).parent / "data" / "old_keras"
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.h5") if ".weights" not in path.name)


def name_and_version(network: str) -> tuple[str, str]:
    name, _, version = network.partition("-")
    return name, version


def arrays(network: str, what: str) -> list[np.ndarray]:
    """The inputs ``x`` or outputs ``y`` of a network."""
    name, version = name_and_version(network)
    with np.load(FOLDER / f"pairs-{version}.npz") as pairs:
        return [pairs[key] for key in sorted(pairs.files) if key.startswith(f"{name}_{what}")]


def run(graph: Graph, network: str) -> list[np.ndarray]:
    """The outputs for a network's inputs, by the oracle."""
    given = {
        spec.name: x.astype(np.int32 if spec.dtype == "int32" else np.float32)
        for spec, x in zip(graph.inputs, arrays(network, "x"), strict=True)
    }
    return oracle.run(passes.apply(graph), given)


def check_outputs(graph: Graph, network: str) -> None:
    for got, expected in zip(run(graph, network), arrays(network, "y"), strict=True):
        check(got, expected, "keras")


@pytest.mark.parametrize("network", NETWORKS)
def test_old_files_answer_as_their_keras_did(network: str) -> None:
    check_outputs(importers.read(FOLDER / f"{network}.h5"), network)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name.startswith("tagging")])
@pytest.mark.parametrize("form", ["path", "bare"])
def test_weights_and_architecture_apart(network: str, form: str) -> None:
    path = FOLDER / f"{network}.json"
    config = path if form == "path" else json.loads(path.read_text())["config"]
    check_outputs(importers.read(FOLDER / f"{network}.weights.h5", config=config), network)


# ---- hand-made architectures of Keras 1 ------------------------------------------------------------------------------


def architecture(*layers: tuple[str, dict]) -> list[dict]:
    """A Sequential network of Keras 1; every layer is called by its class."""
    return [{"class_name": name, "config": {"name": name.lower(), **config}} for name, config in layers]


def written(tmp_path: Path, document: list[dict], weights: dict[str, list[np.ndarray]]) -> Path:
    """A file of Keras 1, which does not say that it is of Theano."""
    path = tmp_path / "network.h5"
    write_legacy(path, {"class_name": "Sequential", "config": document}, weights, "1.2.2")
    return path


def of_theano(path: Path) -> Path:
    """The same file, as Theano would have written it."""
    with h5py.File(path, "r+") as file:
        file.attrs["backend"] = "theano"
    return path


GRU = ("GRU", {"output_dim": 2, "inner_init": "orthogonal", "batch_input_shape": [None, None, 3]})


def of_gru(rng: np.random.Generator, features: int, units: int) -> list[np.ndarray]:
    shapes = [(features, units), (units, units), (units,)] * 3
    return [rng.normal(size=shape) for shape in shapes]


def test_everything_that_keras2_cannot_say_is_named(tmp_path: Path) -> None:
    document = architecture(
        GRU, ("BatchNormalization", {"mode": 2}), ("Convolution1D", {"nb_filter": 2, "filter_length": 2,
        "border_mode": "full"}), ("ZeroPadding2D", {"padding": [1, 1]}), ("Highway", {}), ("MaxoutDense", {}),
        ("SReLU", {}), ("ParametricSoftplus", {}), ("Lambda", {"function": ["…"]}), ("LSTM", {"output_dim": 3}),
        ("Merge", {"mode": "cos"}), ("Merge", {"mode": "…", "mode_type": "lambda", "name": "code"}),
    )  # fmt: skip
    with pytest.raises(UnsupportedModel) as caught:
        importers.read(written(tmp_path, document, {}))
    reasons = str(caught.value)
    for name in ("mode=2", "border_mode='full'", "ZeroPadding2D", "Highway", "MaxoutDense", "SReLU",
                 "ParametricSoftplus", "Lambda", "LSTM", "mode='cos'", "'code'"):  # fmt: skip
        assert name in reasons, name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Convolution1D", {"filter_length": 2}),
        ("Convolution1D", {"subsample_length": 2}),
        ("MaxPooling1D", {"pool_length": 2, "stride": 2}),
    ],
)
def test_padding_that_only_theano_means_so_is_refused(tmp_path: Path, name: str, options: dict) -> None:
    common = {"nb_filter": 2, "filter_length": 3} if name == "Convolution1D" else {}
    document = architecture(GRU, (name, {**common, "border_mode": "same", **options}))
    document[0]["config"]["return_sequences"] = True
    path = written(tmp_path, document, {"gru": of_gru(np.random.default_rng(1), 3, 2)})
    with pytest.raises(UnsupportedModel, match="Theano"):
        importers.read(of_theano(path))


def test_kernel_of_the_first_keras1_and_of_tensorflow(tmp_path: Path) -> None:
    """(units, channels, size, 1) instead of (size, 1, channels, units); TensorFlow turns no kernel around."""
    rng = np.random.default_rng(2)
    options = {"nb_filter": 2, "filter_length": 3, "init": "uniform", "batch_input_shape": [None, None, 4]}
    document = architecture(("Convolution1D", options), ("GRU", {"output_dim": 2}))
    kernel, bias, gru = rng.normal(size=(3, 4, 2)), rng.normal(size=2), of_gru(rng, 2, 2)
    path = written(tmp_path, document, {"convolution1d": [kernel.transpose(2, 1, 0)[..., None], bias], "gru": gru})
    conv = importers.read(path).layers[0]
    assert np.array_equal(conv.kernel, kernel.astype(np.float32))
    turned = {"convolution1d": [kernel[:, None], bias], "gru": gru}
    path = of_theano(written(tmp_path, document, turned))
    assert np.array_equal(importers.read(path).layers[0].kernel, kernel[::-1].astype(np.float32))


def test_a_layer_that_stands_twice_in_a_sequential_network_is_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    again = ("Dense", {"output_dim": 2, "init": "uniform"})
    arrays = {"gru": of_gru(rng, 3, 2), "dense": [rng.normal(size=(2, 2)), rng.normal(size=2)]}
    graph = importers.read(written(tmp_path, architecture(GRU, again, again), arrays))
    kernels = [layer.kernel for layer in graph.layers if isinstance(layer, g.Dense)]
    assert len(kernels) == 2
    assert np.array_equal(*kernels)


def test_architecture_that_is_not_of_keras1_must_say_what_it_is(tmp_path: Path) -> None:
    document = architecture(("GRU", {"units": 2, "batch_input_shape": [None, None, 3]}))
    path = tmp_path / "network.h5"
    write_legacy(path, {"class_name": "Sequential", "config": document}, {}, None)
    with pytest.raises(UnsupportedModel, match="keras_version='2'"):
        importers.read(path)

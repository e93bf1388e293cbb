"""Commands on networks whose inputs and outputs have ports, and which carry states."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import fastgru
from building import floats, gru
from fastgru import file
from fastgru.graph import Concatenate, Dense, Graph, tensor_spec
from fastgru.ports import Port

pytest.importorskip("typer")
pytest.importorskip("rich")

from test_cli import FEATURES, UNITS, fail, sequence, succeed


@pytest.fixture
def ported(tmp_path):
    """A network as an ONNX file has it: x:0 (time, batch, features) and a state (1, batch, units)."""
    layer = gru(np.random.default_rng(0), FEATURES, UNITS, inputs=("x", "h"), return_sequences=True)
    graph = Graph(
        (floats(FEATURES), tensor_spec("h", False, (UNITS,))), (layer,), ("gru", "gru:state"),
        input_ports=(Port("x:0", (FEATURES,), ((1,), (0,), (2,))), Port("h_in", (1, UNITS), ((1,), (0,), (2,)))),
        output_ports=(Port("y", (UNITS,), ((1,), (), (0,), (2,))), Port("h_out", (1, UNITS), ((1,), (0,), (2,)))),
        states=(("h_in", "h_out"),),
    )  # fmt: skip
    path = tmp_path / "ported.safetensors"
    file.write(graph, path)
    return path


def test_inspect_and_convert_show_ports(ported, tmp_path):
    for text in (succeed("inspect", ported), succeed("inspect", _converted(ported, tmp_path / "copy.safetensors"))):
        assert "x:0 (time, batch, 3) float32" in text
        assert "h_in (1, batch, 5) float32" in text
        assert "y (time, 1, batch, 5) float32" in text
        assert "input 'h_in' takes what output 'h_out' gave before" in text


def _converted(source, target):
    succeed("convert", source, target)
    return target


def test_run_lays_arrays_out_as_ports_say(ported, tmp_path):
    model, x = fastgru.load(ported), sequence(7, 4, FEATURES)  # time, batch, features
    y, h = model(x, np.zeros((1, 4, UNITS), np.float32))
    np.save(tmp_path / "x.npy", x)
    succeed("run", ported, tmp_path / "x.npy", "-o", tmp_path / "y.npz", "--batch-size", "3")
    with np.load(tmp_path / "y.npz") as arrays:
        assert set(arrays) == {"y", "h_out"}
        np.testing.assert_array_equal(arrays["y"], y)
        np.testing.assert_array_equal(arrays["h_out"], h)
    np.savetxt(tmp_path / "x.csv", x[:, 2], delimiter=",", fmt="%.9g")
    succeed("run", ported, tmp_path / "x.csv", "-o", tmp_path / "z.npz")
    with np.load(tmp_path / "z.npz") as arrays:
        np.testing.assert_array_equal(arrays["y"][:, 0, 0], y[:, 0, 2])


def test_outputs_may_be_called_as_arguments_of_numpy_are(ported, tmp_path):
    graph = file.read(ported)
    ports = tuple(
        replace(port, name=name) for port, name in zip(graph.output_ports, ("file", "allow_pickle"), strict=True)
    )
    file.write(replace(graph, output_ports=ports, states=(("h_in", "allow_pickle"),)), ported)
    np.save(tmp_path / "x.npy", sequence(7, 4, FEATURES))
    succeed("run", ported, tmp_path / "x.npy", "-o", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            "file": (7, 1, 4, UNITS), "allow_pickle": (1, 4, UNITS)
        }  # fmt: skip


def test_run_writes_one_step_a_line_whatever_the_layout(ported, tmp_path):
    graph = file.read(ported)
    only_y = replace(graph, outputs=("gru",), output_ports=graph.output_ports[:1], states=())
    layer = replace(only_y.layers[0], inputs=("x",))
    only_y = replace(only_y, layers=(layer,), inputs=only_y.inputs[:1], input_ports=only_y.input_ports[:1])
    file.write(only_y, ported)
    x = sequence(7, 1, FEATURES)
    np.savetxt(tmp_path / "x.csv", x[:, 0], delimiter=",", fmt="%.9g")
    succeed("run", ported, tmp_path / "x.csv", "-o", tmp_path / "y.csv")
    y = np.loadtxt(tmp_path / "y.csv", delimiter=",", dtype=np.float32)
    np.testing.assert_array_equal(y, fastgru.load(ported)(x)[:, 0, 0])


def test_run_names_the_port_of_a_wrong_input(ported, tmp_path):
    np.save(tmp_path / "x.npy", sequence(7, 4, FEATURES + 1))
    text = fail("run", ported, tmp_path / "x.npy", "-o", tmp_path / "y.npz")
    assert "input 'x:0' takes float32 of shape (time, batch, features)" in text


@pytest.mark.parametrize("options", [(), ("--profile",)])
def test_bench_runs_a_network_with_ports_and_a_state(ported, options):
    text = succeed("bench", ported, "--seconds", "0.002", "--batch", "2", "--steps", "5", "--json", *options)
    result = json.loads(text)
    assert result["steps"] == 5
    assert result["step"]["calls"] > 0, "the state is carried, so it can be run step by step"
    assert result["throughput"][0]["batch"] == 2


def test_bench_of_a_single_step_as_a_whole_network(tmp_path):
    layers = (
        Concatenate(name="both", inputs=("x", "h")),
        Dense(name="next", inputs=("both",), kernel=np.ones((FEATURES + UNITS, UNITS), np.float32)),
    )
    inputs = (tensor_spec("x", False, (FEATURES,)), tensor_spec("h", False, (UNITS,)))
    file.write(Graph(inputs, layers, ("next",), states=(("h", "next"),)), tmp_path / "cell.safetensors")
    result = json.loads(succeed("bench", tmp_path / "cell.safetensors", "--seconds", "0.002", "--json"))
    assert result["steps"] == 1
    assert result["step"]["calls"] > 0

"""Networks of TensorFlow 1: recorded graphs against what TensorFlow computed, files where it is installed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
import tf1_records
from fastgru import BadInput, Model, UnsupportedModel
from fastgru.graph import GRU, Activation, Graph
from fastgru.importers import tf1
from fastgru.importers.tf1 import config as described
from fastgru.importers.tf1.network import understand
from fastgru.importers.tf1.nodes import Node, Ref, Source
from fastgru.importers.tf1.reading import Variables
from tf1_records import KINDS
from tolerances import check

NAMES = tf1_records.names()

#: what each network is made of: nothing of TensorFlow's plumbing is left
LAYERS = {
    "block": "GRU GRU Reduce Dense",
    "both_ways": "GRU Slice GRU Slice Concatenate",
    "cudnn": "GRU GRU Dense",
    "digits": "GRU GRU Dense",
    "functional": "GRU",
    "functional_lengths": "StepMask GRU GRU Dense",
    "last_gathered": "Reshape GRU GRU Dense ArgMax Dense",
    "lengths": "StepMask GRU GRU Dense",
    "plain": "GRU",
    "projected": "StepMask GRU Scale Activate Concatenate Where",
    "relu": "GRU Dense",
    "split": "GRU Dense",
    "state": "GRU",
    "static": "GRU GRU Dense",
    "tagging": "Embedding StepMask GRU Dense Activate",
    "time_major": "GRU GRU Dense",
}


def outputs_of(model: Model, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    found = model(inputs)
    return found if isinstance(found, tuple) else (found,)


def compare(graph: Graph, recorded: tf1_records.Recorded) -> None:
    model = Model(graph)
    assert [spec.name for spec in model.outputs] == list(recorded.outputs)
    for found, expected in zip(outputs_of(model, recorded.inputs), recorded.outputs.values(), strict=True):
        check(found, expected, "tensorflow")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_recorded_graphs_give_the_numbers_of_tensorflow(name: str, kind: str) -> None:
    recorded = tf1_records.load(name)
    graph = understand(recorded.sources[kind], outputs=list(recorded.outputs))
    assert sorted(layer.kind for layer in graph.layers) == sorted(LAYERS[name].split())
    compare(graph, recorded)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("lengths", "functional_lengths", "state")])
def test_a_frozen_graph_says_itself_what_its_outputs_are(name: str) -> None:
    recorded = tf1_records.load(name)
    graph = understand(recorded.sources["frozen"])
    found = {port.name if port else value for port, value in zip(
        graph.output_ports or (None,) * len(graph.outputs), graph.outputs, strict=True)}  # fmt: skip
    assert found == set(recorded.outputs)


def test_class_numbers_have_the_dtype_that_tensorflow_gives_them() -> None:
    recorded = tf1_records.load("last_gathered")
    model = Model(understand(recorded.sources["frozen"], outputs=list(recorded.outputs)))
    answers = model({spec.name: recorded.inputs[spec.name] for spec in model.inputs})
    for spec, answer, expected in zip(model.outputs, answers, recorded.outputs.values(), strict=True):
        assert spec.dtype == answer.dtype.name == expected.dtype.name


@pytest.mark.parametrize("name", [name for name in NAMES if tf1_records.load(name).config])
def test_a_checkpoint_and_its_layers_are_a_network(name: str) -> None:
    recorded = tf1_records.load(name)
    model = Model(described.build(recorded.variables, recorded.config))
    (expected,) = recorded.outputs.values()
    check(model(recorded.inputs["x"]), expected, "tensorflow")


def test_layers_may_come_from_a_json_file(tmp_path: Path) -> None:
    import json

    recorded = tf1_records.load("relu")
    (tmp_path / "layers.json").write_text(json.dumps(recorded.config))
    listed = described.build(recorded.variables, recorded.config)
    assert described.build(recorded.variables, tmp_path / "layers.json").fingerprint == listed.fingerprint
    assert described.build(recorded.variables, {"layers": recorded.config}).fingerprint == listed.fingerprint


def test_lengths_of_a_call_do_what_sequence_length_did() -> None:
    recorded = tf1_records.load("lengths")
    cell = "rnn/multi_rnn_cell/cell_{}/gru_cell"
    layers = [
        {"kind": "GRUCell", "scope": cell.format(i), "activation": "tanh", "return_sequences": True} for i in (0, 1)
    ]
    dense = {"kind": "Dense", "kernel": "last/kernel", "bias": "last/bias", "activation": "softmax"}
    x, lengths = recorded.inputs["x"], recorded.inputs["lengths"]
    sequences = Model(described.build(recorded.variables, layers))(x, lengths=lengths)
    check(sequences, recorded.outputs["all"], "tensorflow")
    last = [layers[0], {**layers[1], "return_sequences": False}, dense]
    check(
        Model(described.build(recorded.variables, last))(x, lengths=lengths),
        recorded.outputs["last/Softmax"],
        "tensorflow",
    )


def test_an_embedding_may_come_first() -> None:
    recorded = tf1_records.load("tagging")
    layers = [
        {"kind": "Embedding", "table": "embedding"},
        {"kind": "GRUCell", "scope": "rnn/gru_cell", "activation": "tanh", "return_sequences": True},
        {"kind": "Dense", "kernel": "weights", "bias": "bias", "activation": "softmax"},
    ]
    model = Model(described.build(recorded.variables, layers))
    found = model(recorded.inputs["ids"], lengths=recorded.inputs["lengths"])
    check(found, recorded.outputs["tags"], "tensorflow")


def test_a_variable_that_config_leaves_out_is_noted() -> None:
    recorded = tf1_records.load("relu")
    graph = described.build(recorded.variables, recorded.config[:1])
    assert graph.notes == ("variables that config= does not name: y/bias, y/kernel",)


def test_inputs_come_in_the_order_of_the_file_or_as_said() -> None:
    recorded = tf1_records.load("state")
    source = recorded.sources["frozen"]
    assert [spec.name for spec in understand(source, outputs=["after"]).inputs] == ["x", "h"]
    turned = understand(source, inputs=["h", "x"], outputs=["y", "after"])
    assert [spec.name for spec in turned.inputs] == ["h", "x"]
    compare(turned, recorded)


def test_a_node_inside_may_be_an_input() -> None:
    recorded = tf1_records.load("relu")
    source = recorded.sources["frozen"]
    nodes = dict(source.nodes)
    exit = next(ref.name for ref in nodes["y/MatMul"].inputs)
    nodes[exit] = Node(exit, "IteratorGetNext", (), {"output_shapes": [[None, 5]], "output_types": ["float32"]})
    h = np.random.default_rng(0).random((2, 5), np.float32)
    model = Model(understand(Source(nodes), inputs=[exit], outputs=["y/BiasAdd"]))
    expected = h @ recorded.variables["y/kernel"] + recorded.variables["y/bias"]
    check(model(h), expected, "tensorflow")


def test_states_go_in_and_out() -> None:
    recorded = tf1_records.load("state")
    model = Model(understand(recorded.sources["frozen"], outputs=["y", "after"]))
    x, h = recorded.inputs["x"], recorded.inputs["h"]
    _, half = model({"x": x[:, :3], "h": h})
    y, after = model({"x": x[:, 3:], "h": half})
    check(y, recorded.outputs["y"][:, 3:], "tensorflow")
    check(after, recorded.outputs["after"], "tensorflow")


def test_a_loop_streams() -> None:
    recorded = tf1_records.load("plain")
    model = Model(understand(recorded.sources["frozen"], outputs=list(recorded.outputs)))
    x = recorded.inputs["x"]
    whole = model(x)
    with model.stream(batch_size=len(x)) as stream:
        steps = [stream.step(np.ascontiguousarray(x[:, t])) for t in range(x.shape[1])]
    assert (np.stack(steps, 1) == whole).all()


def test_a_graph_that_holds_its_training_must_say_its_outputs() -> None:
    with pytest.raises(BadInput, match=r"outputs= should name .* its loss reads 'logits/BiasAdd'"):
        understand(tf1_records.load("digits").sources["meta"])


def test_activations_come_from_the_graph() -> None:
    source = tf1_records.load("relu").sources["frozen"]
    (gru, _) = understand(source).layers
    assert isinstance(gru, GRU)
    assert (gru.activation, gru.reset_after) == (Activation.of("relu"), False)
    nodes = {
        name: replace(node, op="Softplus") if node.op == "Relu" else node for name, node in source.nodes.items()
    }
    (gru, _) = understand(Source(nodes)).layers
    assert isinstance(gru, GRU)
    assert gru.activation == Activation.of("softplus")


def test_a_frozen_batch_normalization_is_a_scale() -> None:
    """Freezing leaves what tf.layers.batch_normalization computes of its variables as operations on constants."""
    rng = np.random.default_rng(3)
    mean, variance, gamma, beta = (rng.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4))

    def const(name: str, value: Any) -> Node:
        return Node(name, "Const", value=np.asarray(value, np.float32))

    def made(name: str, op: str, *inputs: str) -> Node:
        return Node(name, op, tuple(map(Ref.of, inputs)))

    nodes = [
        Node("x", "Placeholder", (), {"dtype": "float32", "shape": [None, None, 3]}), const("mean", mean),
        const("variance", variance), const("gamma", gamma), const("beta", beta), const("eps", 1e-3),
        made("moved", "AddV2", "variance", "eps"), made("rsqrt", "Rsqrt", "moved"),
        made("scale", "Mul", "rsqrt", "gamma"),
        made("scaled", "Mul", "x", "scale"), made("by", "Mul", "mean", "scale"), made("offset", "Sub", "beta", "by"),
        made("y", "AddV2", "scaled", "offset"),
    ]  # fmt: skip
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    found = Model(understand(Source({node.name: node for node in nodes}), outputs=["y"]))(x)
    check(found, (x.astype(np.float64) - mean) / np.sqrt(variance + 1e-3) * gamma + beta, "oracle")


def test_cudnn_compatible_cells_reset_after() -> None:
    layers = understand(tf1_records.load("cudnn").sources["frozen"]).layers
    assert [layer.reset_after for layer in layers if isinstance(layer, GRU)] == [True, True]
    assert all(layer.recurrent_bias is not None for layer in layers if isinstance(layer, GRU))


def test_the_saver_says_which_array_a_variable_is() -> None:
    """A Saver may save variables under names of its own."""
    nodes = [
        Node("kernel", "VariableV2"),
        Node("names", "Const", value=np.array(["other/name", "rest"])),
        Node("slices", "Const", value=np.array(["", "2 3 0,1:0,3"])),
        Node("prefix", "Const", value=np.array("model")),
        Node("restore", "RestoreV2", (Ref("prefix"), Ref("names"), Ref("slices"))),
        Node("assign", "Assign", (Ref("kernel"), Ref("restore", 0))),
        Node("sliced", "VariableV2"),
        Node("assign_1", "Assign", (Ref("sliced"), Ref("restore", 1))),
    ]
    stored = {"other/name": np.ones(3), "kernel": np.zeros(3), "rest": np.zeros((2, 3))}
    variables = Variables({node.name: node for node in nodes}, stored)
    assert (variables["kernel"] == 1).all()
    assert "sliced" not in variables


# ---- files, where TensorFlow is installed ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks():  # type: ignore[no-untyped-def]
    pytest.importorskip("tensorflow", reason="tensorflow is not installed: its answers are not asked for")
    pytest.importorskip("tf_keras", reason="tf_keras is not installed: it has TensorFlow 1's cells")
    sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
    return pytest.importorskip("tf1_networks")


@pytest.mark.parametrize("name", NAMES)
def test_files_give_the_numbers_of_tensorflow(networks, name: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    network = next(network for network in networks.NETWORKS if network.name == name)
    saved = networks.save(network, tmp_path, seed=1)
    outputs = list(saved.outputs)
    index = saved.prefix.with_name("model.index")
    for path in (saved.frozen, saved.prefix, index, tmp_path):
        model = fastgru.load(path, outputs=outputs)
        for found, expected in zip(outputs_of(model, saved.inputs), saved.outputs.values(), strict=True):
            check(found, expected, "tensorflow")


def test_a_checkpoint_without_its_graph_needs_config(networks, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    network = next(network for network in networks.NETWORKS if network.name == "relu")
    saved = networks.save(network, tmp_path)
    with pytest.raises(BadInput, match="holds its own graph: config= is for checkpoints"):
        tf1.read(saved.frozen, config=network.config)
    with pytest.raises(BadInput, match="config= says what goes in and out"):
        tf1.read(saved.prefix, config=network.config, outputs="y/BiasAdd")
    saved.prefix.with_name("model.meta").unlink()
    with pytest.raises(BadInput, match=r"no \.meta .* rnn/gru_cell/gates/kernel \(8, 10\), y/bias \(2,\)"):
        fastgru.load(saved.prefix)
    model = fastgru.load(saved.prefix, config=network.config)
    check(model(saved.inputs["x"]), saved.outputs["y/BiasAdd"], "tensorflow")


def one_hot(*changes: Node, ids: str = "int32") -> Source:
    """tf.one_hot(ids, 5) · w, where `changes` stand for nodes of these names."""
    w = np.arange(15, dtype=np.float32).reshape(5, 3)
    constants = {"depth": np.int32(5), "on": np.float32(1), "off": np.float32(0), "w": w}
    nodes = [
        Node("ids", "Placeholder", (), {"dtype": ids, "shape": [None, None]}),
        *(Node(name, "Const", value=np.asarray(value)) for name, value in constants.items()),
        Node("vectors", "OneHot", tuple(map(Ref, ("ids", "depth", "on", "off"))), {"axis": -1}),
        Node("flat", "Const", value=np.array([-1, 5], np.int32)),
        Node("rows", "Reshape", (Ref("vectors"), Ref("flat"))),
        Node("y", "MatMul", (Ref("rows"), Ref("w"))),
    ]
    return Source({node.name: node for node in (*nodes, *changes)})


@pytest.mark.parametrize("ids", ["int32", "int64"])
def test_one_hot_vectors_of_ids(ids: str) -> None:
    graph = understand(one_hot(ids=ids), outputs=["vectors", "y"])
    assert graph.layers[0].kind == "OneHot"
    given = np.array([[0, 4, 2], [1, 1, 3]])
    vectors, y = Model(graph)(given)
    np.testing.assert_array_equal(vectors, np.eye(5)[given])
    np.testing.assert_array_equal(y, np.arange(15).reshape(5, 3)[given.ravel()])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Node("on", "Const", value=np.float32(2)), "of other numbers than one 1 and zeros"),
        (Node("off", "Const", value=np.float32(-1)), "of other numbers than one 1 and zeros"),
        (Node("depth", "Const", value=np.int32(0)), "of other numbers than one 1 and zeros"),
        (Node("on", "Const", value=np.int32(1)), "makes one-hot vectors of int32"),
        (Node("ids", "Placeholder", (), {"dtype": "float32", "shape": [None, 4]}), "of numbers that are no ids"),
        (
            Node("vectors", "OneHot", tuple(map(Ref, ("ids", "depth", "on", "off"))), {"axis": 0}),
            "along another axis than the last",
        ),
    ],
)
def test_other_vectors_are_refused(change: Node, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        understand(one_hot(change), outputs=["vectors"])

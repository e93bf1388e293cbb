"""What the importer of TensorFlow 1 does not understand it refuses: by the node's name, and all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tf1_records
from fastgru import BadInput, BadModelFile, UnsupportedModel
from fastgru.importers.sizes import Size, Symbol
from fastgru.importers.tf1 import config as described
from fastgru.importers.tf1.network import Network, understand
from fastgru.importers.tf1.nodes import Node, Ref, Source
from fastgru.importers.tf1.operations import OPERATIONS
from fastgru.importers.tf1.values import Refused, sizes_array

STEP = "rnn/while/rnn/multi_rnn_cell/cell_0/gru_cell/"


def changed(name: str, changes: Mapping[str, Callable[[Node], Node]], kind: str = "frozen") -> Source:
    """A recorded graph with some of its nodes replaced."""
    source = tf1_records.load(name).sources[kind]
    nodes = dict(source.nodes)
    nodes.update({key: change(nodes[key]) for key, change in changes.items()})
    return replace(source, nodes=nodes)


def refused(source: Source, outputs: list[str], *reasons: str) -> None:
    with pytest.raises(UnsupportedModel) as error:
        understand(source, outputs=outputs)
    assert error.value.reasons == reasons


def op(name: str) -> Callable[[Node], Node]:
    return lambda node: replace(node, op=name)


def constant(value: Any) -> Callable[[Node], Node]:
    return lambda node: replace(node, value=np.asarray(value, None if node.value is None else node.value.dtype))


def reads(*names: str) -> Callable[[Node], Node]:
    return lambda node: replace(node, inputs=tuple(map(Ref.of, names)))


def test_unknown_operations_are_named_all_at_once() -> None:
    source = changed("lengths", {"rnn/transpose": op("Foo"), "last/Softmax": op("Bar"), "last/BiasAdd": op("Quux")})
    with pytest.raises(UnsupportedModel) as error:
        understand(source, outputs=["all", "last/Softmax"])
    named = {"rnn/transpose": "Foo", "last/BiasAdd": "Quux", "last/Softmax": "Bar"}
    assert set(error.value.reasons) == {f"'{key}' ({name}): is not supported" for key, name in named.items()}
    source = changed("last_gathered", {"scores/BiasAdd": op("Foo"), "y/BiasAdd": op("Bar")})
    refused(source, ["scores/BiasAdd"], "'scores/BiasAdd' (Foo): is not supported")


@pytest.mark.parametrize("name", ["cudnn", "functional_lengths", "lengths", "projected", "static", "tagging"])
def test_no_node_that_counts_is_passed_over(name: str) -> None:
    """Nodes on which outputs depend, each made unknown, are named in the refusal."""
    recorded = tf1_records.load(name)
    source = recorded.sources["frozen"]
    outputs = list(recorded.outputs)
    needed = {node.name for output in outputs for node in source.before(Ref.of(output))}
    checked = 0
    for key in sorted(needed)[::4]:  # a sample: each is a graph anew
        node = source.nodes[key]
        if node.op in ("Merge", "Enter", "NextIteration", "LoopCond", "Switch", "Exit", "While"):
            continue  # without them there is no loop
        # a state without its Select goes on past the end of its row, whatever stands there instead
        reason = f"'{key}' \\(Foo\\)" + ("|past the end of a row" if node.op == "Select" else "")
        with pytest.raises(UnsupportedModel, match=reason):
            understand(replace(source, nodes={**source.nodes, key: replace(node, op="Foo")}), outputs=outputs)
        checked += 1
    assert checked > 10


LOOPS = {
    "a shorter loop": ({"rnn/while/Less/Enter": reads("rnn/while/add/y")}, "may end before"),
    "another first step": ({"rnn/time": constant(1)}, "."),
    "steps of two": ({"rnn/while/add_1/y": constant(2)}, "."),
    "the step before": ({"rnn/while/TensorArrayReadV3": reads(
        "rnn/while/TensorArrayReadV3/Enter", "rnn/while/add_1", "rnn/while/TensorArrayReadV3/Enter_1")},
        "reads another step than that which its loop has come to"),
    "zeros that are ones": ({"rnn/zeros/Const": constant(1.0)}, "fills the steps past the end .* other than zero"),
    "a state that goes on": ({"rnn/while/NextIteration_3": reads(STEP + "add")}, "some states past the end of a row"),
    "an output that goes on": ({"rnn/while/TensorArrayWrite/TensorArrayWriteV3": reads(
        "rnn/while/TensorArrayWrite/TensorArrayWriteV3/Enter", "rnn/while/Identity_1",
        "rnn/while/rnn/multi_rnn_cell/cell_1/gru_cell/add", "rnn/while/Identity_2")},
        "writes steps past the end of a row as they are"),
    "the wrong state kept": ({"rnn/while/Select_1": reads(
        "rnn/while/GreaterEqual", "rnn/while/Identity_4", STEP + "add")}, "keeps another state"),
    "a gate too many": ({STEP + "mul_1": reads(STEP + "split", "rnn/while/Identity_3")}, "."),
    "twice the state": ({STEP + "sub/x": constant(2.0)}, "."),
    "a product of states": ({STEP + "sub": op("Mul")}, "."),
    "steps backwards": ({"rnn/TensorArrayUnstack/range/delta": constant(2)}, "."),
    "the steps as they come": ({"rnn/TensorArrayUnstack/range/start": constant(1)}, "."),
}  # fmt: skip


@pytest.mark.parametrize("case", LOOPS)
def test_loops_that_do_something_else(case: str) -> None:
    changes, reason = LOOPS[case]
    with pytest.raises(UnsupportedModel, match=reason):
        understand(changed("lengths", changes), outputs=["all"])


def test_a_loop_in_a_loop() -> None:
    """A function that calls itself ends."""
    recorded = tf1_records.load("functional")
    source = recorded.sources["frozen"]
    (loop,) = [node for node in source.nodes.values() if node.op in ("While", "StatelessWhile")]
    body = source.functions[loop.attributes["body"]]
    first = next(iter(body.nodes))
    inner = replace(loop, name=first, inputs=tuple(Ref(name) for name in body.arguments))
    functions = {
        **source.functions,
        loop.attributes["body"]: replace(body, nodes={**body.nodes, first: inner}),
    }
    with pytest.raises(UnsupportedModel):
        understand(replace(source, functions=functions), outputs=list(recorded.outputs))


def graph(*nodes: Node) -> Source:
    return Source({node.name: node for node in nodes})


X = Node("x", "Placeholder", (), {"dtype": "float32", "shape": [None, None, 3]})


def test_circles_and_missing_nodes_are_bad_files() -> None:
    a, b = Node("a", "Relu", (Ref("b"),)), Node("b", "Tanh", (Ref("a"),))
    with pytest.raises(BadModelFile, match="goes round in a circle"):
        understand(graph(X, a, b), outputs=["a"])
    with pytest.raises(BadModelFile, match="reads 'none', which is not in the graph"):
        understand(graph(X, Node("a", "Relu", (Ref("none"),))), outputs=["a"])
    with pytest.raises(BadModelFile, match="has one output, and one reads its number 3"):
        understand(graph(X, Node("a", "Relu", (Ref("x", 3),))), outputs=["a"])


def test_a_deep_graph_does_not_end_python() -> None:
    nodes = [X] + [Node(f"n{i}", "Relu", (Ref(f"n{i - 1}" if i else "x"),)) for i in range(20_000)]
    with pytest.raises(UnsupportedModel, match="n19999"):
        understand(graph(*nodes), outputs=["n19999"])


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"shape": "unknown"}, "input whose axes the file does not tell"),
        ({"shape": [None, None, None]}, r"shape \(\?, \?, \?\): only batch and time may be free"),
        ({"shape": [None, 3], "dtype": "string"}, "an input of string"),
        ({"shape": [None, 3], "dtype": "bool"}, "an input of bool"),
    ],
)
def test_inputs(attributes: dict[str, Any], reason: str) -> None:
    x = replace(X, attributes={**X.attributes, **attributes})
    with pytest.raises(UnsupportedModel, match=f"'x' .Placeholder.: is {reason}|'x' .Placeholder.: .*{reason}"):
        understand(graph(x, Node("y", "Relu", (Ref("x"),))))


def number(name: str, value: Any, dtype: str = "float32") -> Node:
    return Node(name, "Const", value=np.array(value, dtype))


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        # whether a number is not 0 is no cast that keeps it
        ([Node("y", "Cast", (Ref("x"),), {"DstT": "bool"})], "casts what the network computes to bool"),
        ([number("a", 1, "int32"), number("b", 1, "int32"), number("c", 100, "int32"),
          Node("r", "Range", (Ref("a"), Ref("c"), Ref("b"))), Node("y", "Gather", (Ref("x"), Ref("r")))],
         "counts 99 numbers"),
        ([number("a", 0, "int32"), number("b", -1, "int32"), number("c", -(2**31), "int32"),
          Node("r", "Range", (Ref("a"), Ref("c"), Ref("b"))), Node("y", "Gather", (Ref("x"), Ref("r")))],
         "counts 2147483648 numbers"),
        ([number("a", [[[[1]]]]), Node("y", "Add", (Ref("x"), Ref("a")))], "adds values whose shapes differ"),
        ([number("a", 7, "int32"), number("b", 2, "int32"), Node("c", "Div", (Ref("a"), Ref("b"))),
          Node("y", "Mul", (Ref("x"), Ref("c")))], "divides whole numbers"),
        ([number("a", np.zeros((1 << 20, 1))), number("b", np.zeros((1, 1 << 20))),
          Node("c", "Mul", (Ref("a"), Ref("b"))), Node("y", "Mul", (Ref("x"), Ref("c")))],
         "makes a constant of 1099511627776 numbers"),
        ([number("a", np.zeros(1 << 20)), number("axis", 0, "int32"),
          Node("c", "ConcatV2", (*[Ref("a")] * 99, Ref("axis"))), Node("y", "Mul", (Ref("x"), Ref("c")))],
         "makes a constant of 103809024 numbers"),
    ],
)  # fmt: skip
def test_constants_and_casts_that_are_not_computed(nodes: list[Node], reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        understand(graph(X, *nodes), outputs=["y"])


def test_reduced_constants_keep_their_axes() -> None:
    nodes = [number("c", [[1, 2, 3], [3, 2, 1]]), number("over", 0, "int32"),
             Node("mean", "Mean", (Ref("c"), Ref("over")), {"keep_dims": True}),
             Node("shape", "Shape", (Ref("mean"),)), Node("y", "Reshape", (Ref("z"), Ref("shape")))]  # fmt: skip
    z = Node("z", "Placeholder", (), {"dtype": "float32", "shape": [None, 3]})
    with pytest.raises(UnsupportedModel, match="another number of numbers"):  # to (1, 3), not to (3,)
        understand(graph(z, *nodes), outputs=["y"])
    mean = Network(graph(z, *nodes), None, frozenset())
    assert mean.evaluate(mean.root, Ref("shape")).tolist() == [1, 3]


def test_names_that_the_graph_does_not_have() -> None:
    y = Node("net/y", "Relu", (Ref("x"),))
    with pytest.raises(BadInput, match="the graph has no node 'y'; it has 'net/y'"):
        understand(graph(X, y), outputs=["y"])
    with pytest.raises(BadInput, match="the file does not say which shape 'net/y' has"):
        understand(graph(X, y, Node("z", "Tanh", (Ref("net/y"),))), inputs=["net/y"], outputs=["z"])
    with pytest.raises(BadInput, match="outputs= should name"):
        understand(graph(Node("c", "Const", value=np.zeros(3, np.float32))))


def test_dropout_is_refused_by_name() -> None:
    """Whoever freezes a network with its dropout gets random numbers from TensorFlow."""
    nodes = [
        X,
        Node("drop/shape", "Shape", (Ref("x"),)),
        Node("drop/random", "RandomUniform", (Ref("drop/shape"),)),
        Node("drop/mul", "Mul", (Ref("x"), Ref("drop/random"))),
    ]
    refused(graph(*nodes), ["drop/mul"], "'drop/random' (RandomUniform): is not supported")


# ---- config= ---------------------------------------------------------------------------------------------------------

ARRAYS = {
    "c/gates/kernel": np.zeros((5, 4), np.float32),
    "c/gates/bias": np.zeros(4, np.float32),
    "c/candidate/kernel": np.zeros((5, 2), np.float32),
    "c/candidate/bias": np.zeros(2, np.float32),
    "step": np.zeros((), np.int64),
}
CELL = {"kind": "GRUCell", "scope": "c", "activation": "tanh", "return_sequences": True}


@pytest.mark.parametrize(
    ("layers", "fault"),
    [
        ([{"kind": "LSTM"}], r"layer 0 \(LSTM\): should be of a kind among Embedding, GRUCell"),
        (["GRUCell"], r"layer 0 \(None\): should be of a kind"),
        ([{**CELL, "scope": "d"}], "there is no variable 'd/gates/kernel'"),
        ([{**CELL, "activation": "magic"}], "activation should be one of .*, is 'magic'"),
        ([{**CELL, "activation": "softmax"}], "'softmax' looks at a whole row"),
        ([{**CELL, "return_sequences": 1}], "return_sequences should be true or false, is 1"),
        ([{**CELL, "units": 3}], "has units, which it does not take"),
        ([{"kind": "GRUCell", "scope": "c"}], "lacks activation, return_sequences"),
        (
            [{"kind": "Dense", "kernel": "step", "bias": None, "activation": "linear"}],
            "step should hold numbers in 2 axes",
        ),
        ([CELL, {"kind": "Embedding", "table": "c/gates/kernel"}], "layer 1 .Embedding.: should come first"),
    ],
)
def test_layers_that_do_not_fit_the_checkpoint(layers: list[Any], fault: str) -> None:
    with pytest.raises(BadInput, match=fault) as error:
        described.build(ARRAYS, layers)
    assert "c/gates/kernel (5, 4)" in str(error.value)


def test_all_faults_of_a_list_come_at_once() -> None:
    with pytest.raises(BadInput) as error:
        described.build(ARRAYS, [{"kind": "LSTM"}, {**CELL, "scope": "d"}, {"kind": "Dense"}])
    assert all(f"layer {index}" in str(error.value) for index in range(3))


@pytest.mark.parametrize("config", [{}, [], 3, {"layers": []}, {"layers": [CELL], "more": 1}])
def test_what_is_no_list_of_layers(config: Any) -> None:
    with pytest.raises(BadInput, match="config= should be a list of layers"):
        described.build(ARRAYS, config)


def test_a_file_that_is_no_json(tmp_path: Any) -> None:
    (tmp_path / "layers.json").write_text("{")
    with pytest.raises(BadInput, match="is not JSON"):
        described.build(ARRAYS, tmp_path / "layers.json")


def test_only_sizes_that_are_certainly_one_or_more_are_not_bounded() -> None:
    larger: Any = OPERATIONS["Maximum"]
    steps, one = Size.of(Symbol("steps")), np.asarray([1])
    for size in (steps, steps * 2 + 1):
        for pair in ((one, sizes_array([size])), (sizes_array([size]), one)):
            assert larger(None, *pair) == size
    with pytest.raises(Refused, match="bounds a free size"):
        larger(None, one, sizes_array([steps - 1]))

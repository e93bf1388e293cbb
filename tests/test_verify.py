"""`fastgru.verify` and its command: networks beside the frameworks that they came from."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import fastgru
from commands import command, fail, program, succeed
from fastgru import importers
from fastgru.verify import FRAMEWORKS, compare, random_inputs

DEMO = fastgru.demo_path()
GOLDEN = Path(__file__).parent / "data" / "golden"
TAGGING = GOLDEN / "tagging.keras"
FEATURES, UNITS, VOCABULARY = 3, 4, 11


# ---- which framework -------------------------------------------------------------------------------------------------


def test_files_of_no_framework_are_refused():
    assert "demo.safetensors is a fastgru file, which no framework runs" in fail("verify", DEMO)


@pytest.mark.parametrize("against", [name for name in FRAMEWORKS if name != "keras"])
def test_a_framework_that_does_not_run_a_file_is_refused(against):
    wanted = f"tagging.keras is a Keras file, which {against} does not run; keras does"
    assert wanted in fail("verify", TAGGING, "--against", against)


@pytest.mark.parametrize(
    ("content", "able"),
    [(b"\x08\x08\x12\x07pytorch", "onnxruntime"), (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch"),
     (b"\n\x13\n\x01x\x12\x0bPlaceholder\xff", "tensorflow")],
)  # fmt: skip
def test_keras_runs_its_own_files_alone(content, able, tmp_path):
    (tmp_path / "network").write_bytes(content)
    assert f"which keras does not run; {able} does" in fail("verify", tmp_path / "network", "--against", "keras")


def test_an_unknown_framework_is_refused():
    with pytest.raises(fastgru.BadInput, match="against should be one of keras, onnxruntime, torch, tensorflow"):
        compare(TAGGING, against="caffe")


# ---- Keras -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def live_keras():
    """Keras 3 with a backend; skips where there is none."""
    from keras_live import keras

    return keras


def test_verify_agrees(live_keras):
    shown = succeed("verify", TAGGING, "--against", "keras")
    assert f"beside keras {live_keras.__version__}" in shown
    assert "(3, 100, 10)" in shown
    assert "agrees" in shown
    assert "(2, 100, 10)" in succeed("verify", TAGGING, "--rows", "2", "--seed", "1")


def test_verify_names_the_first_layer_beyond_the_tolerance(live_keras):
    result = command("verify", TAGGING, "--tolerance", "0")
    assert result.exit_code == 1
    assert "differs" in result.stdout
    assert "they part at layer 'gru" in result.stdout


def test_verify_finds_a_layer_that_computes_otherwise(live_keras, monkeypatch):
    """As if the importer had misread one bias of the second of two GRUs."""

    def misread(path, **options):
        graph = original(path, **options)
        at = [index for index, layer in enumerate(graph.layers) if layer.kind == "GRU"][1]
        changed = dataclasses.replace(graph.layers[at], bias=graph.layers[at].bias + np.float32(0.01))
        return dataclasses.replace(graph, layers=(*graph.layers[:at], changed, *graph.layers[at + 1 :]))

    original = importers.read
    second = [layer.name for layer in original(TAGGING).layers if layer.kind == "GRU"][1]
    monkeypatch.setattr(importers, "read", misread)
    result = command("verify", TAGGING)
    assert result.exit_code == 1
    assert f"they part at layer {second!r}" in result.stdout


def test_verify_weights_with_config_on_given_inputs(live_keras, tmp_path):
    weights = (GOLDEN / "characters.weights.h5", "--config", GOLDEN / "characters.json")
    spec = fastgru.load(weights[0], config=weights[2]).inputs[0]
    x = np.load(GOLDEN / "characters.npz")["x"]
    np.savez(tmp_path / "x.npz", **{spec.name: x})
    np.save(tmp_path / "x.npy", x)
    by_name = succeed("verify", *weights, "--input", tmp_path / "x.npz")
    assert f"({len(x)}, " in by_name
    assert succeed("verify", *weights, "--input", tmp_path / "x.npy") == by_name


def test_verify_refuses_bad_inputs(live_keras, tmp_path):
    np.savez(tmp_path / "other.npz", other=np.zeros((1, 100)))
    assert "got other" in fail("verify", TAGGING, "--input", tmp_path / "other.npz")
    np.save(tmp_path / "short.npy", np.zeros((1, 7, 2)))
    assert "got shape (1, 7, 2)" in fail("verify", TAGGING, "--input", tmp_path / "short.npy")
    for name in ("bad.npz", "bad.npy"):
        (tmp_path / name).write_bytes(b"no arrays")
        assert name in fail("verify", TAGGING, "--input", tmp_path / name)
    assert "nowhere.npz" in fail("verify", TAGGING, "--input", tmp_path / "nowhere.npz")


@pytest.mark.parametrize("name", ["reviews_keras2", "reviews_keras3", "tags_keras3"])
def test_verify_makes_texts_and_tokens(name):
    path = GOLDEN.parent / "text" / f"{name}.keras"
    graph = importers.read(path)
    given = random_inputs(graph, 2, 5, seed=0)
    assert [array.dtype.kind for array in given.values()] == ["O"] * len(given), "strings, all of known words"
    assert len(fastgru.load(path)(given)) == 2


def test_verify_without_keras():
    hidden = "from importlib import util as u; f = u.find_spec; u.find_spec = lambda n: None if 'keras' in n else f(n)"
    result = program("verify", TAGGING, prelude=hidden)
    assert result.returncode == 2
    assert result.stderr.strip().endswith("comparing with Keras needs the package 'keras': pip install keras")


# ---- ONNX Runtime ----------------------------------------------------------------------------------------------------


@pytest.fixture
def onnx():
    """The package onnx, where ONNX Runtime is installed too."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: its answers are not asked for")
    return pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")


def network(
    onnx, path: Path, *, ids=False, lengths=False, state=False, direction="forward", steps="time", batch="batch",
    **attributes,
) -> Path:  # fmt: skip
    """A file with a GRU between maybe a Gather of token ids, and Transpose, MatMul and Relu."""
    rng, helper = np.random.default_rng(3), onnx.helper
    directions = 2 if direction == "bidirectional" else 1
    shapes = {"W": (directions, 3 * UNITS, FEATURES), "R": (directions, 3 * UNITS, UNITS), "B": (directions, 6 * UNITS),
              "dense": (UNITS, 2)} | ({"table": (VOCABULARY, FEATURES)} if ids else {})  # fmt: skip
    arrays = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    source = helper.make_tensor_value_info("x", 1, [steps, batch, FEATURES])
    if ids:
        source = helper.make_tensor_value_info("x", 7, [steps, batch])
    inputs = [source, *([helper.make_tensor_value_info("n", 6, [batch])] if lengths else [])]
    inputs += [helper.make_tensor_value_info("h", 1, [directions, batch, UNITS])] if state else []
    nodes = [helper.make_node("Gather", ["table", "x"], ["vectors"], name="lookup")] if ids else []
    nodes += [
        helper.make_node(
            "GRU", ["vectors" if ids else "x", "W", "R", "B", "n" if lengths else "", "h" if state else ""],
            ["y", "last"], name="cells", hidden_size=UNITS, direction=direction, **attributes,
        ),
        helper.make_node("Transpose", ["y"], ["turned"], name="turn", perm=[2, 0, 1, 3]),
        helper.make_node("MatMul", ["turned", "dense"], ["product"], name="dense"),
        helper.make_node("Relu", ["product"], ["z"], name="relu"),
    ]  # fmt: skip
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in ("z", "last")]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "network", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("reset_after", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("options", [{}, {"lengths": True}, {"lengths": True, "state": True}, {"ids": True}])
def test_onnx_runtime_agrees(options, direction, reset_after, onnx, tmp_path):
    path = network(onnx, tmp_path / "n.onnx", direction=direction, linear_before_reset=reset_after, **options)
    directions = 2 if direction == "bidirectional" else 1
    for seed in range(3):
        found = compare(path, rows=5, seed=seed)
        assert found.framework.startswith("onnxruntime ")
        assert [(output.name, output.shape) for output in found.outputs] == [
            ("z", (5, 12, directions, 2)),
            ("last", (directions, 5, UNITS)),
        ]
        assert found.agrees(), found
        assert {"cells", "dense", "relu"} <= {layer.name for layer in found.layers}
        assert found.first_to_part() is None


def test_lengths_of_random_inputs_lie_within_the_steps(onnx, tmp_path):
    graph = importers.read(network(onnx, tmp_path / "n.onnx", lengths=True))
    given = [random_inputs(graph, 50, 6, seed)["n"] for seed in range(4)]
    assert set(np.concatenate(given)) == set(range(7))


def test_random_inputs_have_the_sizes_that_a_file_fixes(onnx, tmp_path):
    found = compare(network(onnx, tmp_path / "n.onnx", steps=4, batch=2, lengths=True, state=True), rows=7, steps=9)
    assert [output.shape for output in found.outputs] == [(2, 4, 1, 2), (1, 2, UNITS)]
    assert found.agrees()


def test_random_token_ids_lie_in_the_vocabulary_and_are_padded(onnx, tmp_path):
    graph = importers.read(network(onnx, tmp_path / "n.onnx", ids=True))
    x = random_inputs(graph, 60, 8, seed=0)["x"]
    assert x.shape == (8, 60)
    assert x.dtype == np.int64
    assert set(x.reshape(-1)) == set(range(VOCABULARY))
    assert not x[4:, ::3].any()


def test_onnx_runtime_names_the_first_layer_that_parts(onnx, tmp_path, monkeypatch):
    """As if the importer had misread a bias of the GRU; what is before it agrees."""

    def misread(path, **options):
        graph = original(path, **options)
        layers = [
            dataclasses.replace(layer, bias=layer.bias + np.float32(0.01)) if layer.kind == "GRU" else layer
            for layer in graph.layers
        ]
        return dataclasses.replace(graph, layers=tuple(layers))

    original = importers.read
    monkeypatch.setattr(importers, "read", misread)
    result = command("verify", network(onnx, tmp_path / "n.onnx", ids=True))
    assert result.exit_code == 1
    assert "they part at layer 'cells'" in result.stdout


def test_a_node_of_a_file_is_compared_alone(onnx, tmp_path):
    path = network(onnx, tmp_path / "n.onnx", lengths=True, direction="bidirectional")
    shown = succeed("verify", path, "--option", "node=cells")
    assert "(12, 2, 3, 4)" in shown
    assert "(2, 3, 4)" in shown


def test_given_inputs_are_in_the_layout_of_the_file(onnx, tmp_path):
    path = network(onnx, tmp_path / "n.onnx")
    np.save(tmp_path / "x.npy", np.ones((6, 2, FEATURES)))
    assert "(2, 6, 1, 2)" in succeed("verify", path, "--input", tmp_path / "x.npy", "--against", "onnxruntime")
    np.save(tmp_path / "x.npy", np.ones((6, 2, FEATURES + 1)))
    assert "got shape (6, 2, 4)" in fail("verify", path, "--input", tmp_path / "x.npy")


@pytest.mark.parametrize("path", sorted((GOLDEN.parent / "onnx").glob("loop_*.onnx")), ids=lambda path: path.stem)
def test_loops_and_unrolled_steps_are_compared(path, onnx):
    found = compare(path)
    assert found.outputs
    assert found.agrees(), found


def test_values_inside_may_have_names_that_cannot_be_printed(onnx, tmp_path):
    path = network(onnx, tmp_path / "n.onnx", ids=True)
    before, model = compare(path), onnx.load(path)
    outside = {entry.name for entry in (*model.graph.input, *model.graph.output, *model.graph.initializer)}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name and (name if name in outside else f"\x1b[2J{name}") for name in names]
    onnx.save(model, path)
    after = compare(path)
    assert len(after.layers) == len(before.layers) > 0
    assert after.agrees(), after


def test_what_onnx_runtime_refuses_is_said(onnx, tmp_path):
    """It has no GRU of double precision."""
    path = network(onnx, tmp_path / "n.onnx")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, path)
    said = fail("verify", path)
    assert "onnxruntime" in said
    assert "n.onnx" in said
    assert len(said.splitlines()) == 1


def test_verify_without_onnx_runtime(onnx, tmp_path):
    path = network(onnx, tmp_path / "n.onnx")
    hidden = (
        "from importlib import util as u; f = u.find_spec; u.find_spec = lambda n: None if 'runtime' in n else f(n)"
    )
    result = program("verify", path, prelude=hidden)
    assert result.returncode == 2
    said = result.stderr.strip()
    assert said.endswith("comparing with ONNX Runtime needs the package 'onnxruntime': pip install onnxruntime")


@pytest.mark.parametrize("name", ["dynamo_0.6.2", "dynamo_0.7.2"])
def test_torchs_forgotten_attribute_is_put_right_in_both(name, onnx):
    path = GOLDEN.parent / "onnx" / f"{name}.onnx"
    (node,) = fastgru.onnx_gru_nodes(path)
    assert "differs" not in succeed(
        "verify", path, "--option", f"node={node.name}", "--option", "assume_torch_gru=true"
    )


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed: its answers are not asked for")


def state_dict(torch) -> dict:
    torch.manual_seed(1)
    nn = torch.nn
    modules = {"emb": nn.Embedding(VOCABULARY, FEATURES), "norm": nn.LayerNorm(FEATURES),
               "rnn": nn.GRU(FEATURES, UNITS, num_layers=2, bidirectional=True), "bn": nn.BatchNorm1d(2 * UNITS),
               "fc": nn.Linear(2 * UNITS, 2)}  # fmt: skip
    modules["bn"].running_mean.normal_()
    modules["bn"].running_var.uniform_(0.5, 2.0)
    return {f"{name}.{key}": x for name, module in modules.items() for key, x in module.state_dict().items()}


LAYERS = [{"embedding": "emb"}, {"layer_norm": "norm"}, {"gru": "rnn", "batch_first": True}, {"batch_norm": "bn"},
          {"activation": "silu"}, {"linear": "fc", "activation": "softmax"}]  # fmt: skip


def test_torch_agrees(torch, tmp_path):
    torch.save(state_dict(torch), tmp_path / "n.pt")
    torch.save({"epoch": 3, "model": state_dict(torch), "optimizer": {"lr": 0.1}}, tmp_path / "checkpoint.pt")
    arrays = {name: x.numpy() for name, x in state_dict(torch).items()}
    np.savez(tmp_path / "n.npz", **arrays)
    (tmp_path / "config.json").write_text(json.dumps(LAYERS))
    for name in ("n.pt", "checkpoint.pt", "n.npz"):
        shown = succeed("verify", tmp_path / name, "--config", tmp_path / "config.json")
        assert f"beside torch {torch.__version__}" in shown
        assert "(3, 12, 2)" in shown
    found = compare(tmp_path / "n.pt", config=LAYERS)
    assert [layer.name for layer in found.layers] == ["emb", "norm", "rnn", "bn", "fc"]
    assert found.first_to_part() is None


@pytest.mark.parametrize(
    "options",
    [{"batch_first": False}, {"batch_first": False, "initial_state": True, "return_state": True},
     {"batch_first": True, "return_sequences": False}, {"batch_first": True, "initial_state": "start"},
     {"batch_first": False, "direction": "reverse", "return_state": True}],
)  # fmt: skip
@pytest.mark.parametrize("layers", [0, 1, 2])  # 0: a GRUCell
def test_torch_runs_what_a_gru_is_said_to_do(options, layers, torch, tmp_path):
    module = torch.nn.GRU(FEATURES, UNITS, layers) if layers else torch.nn.GRUCell(FEATURES, UNITS)
    arrays = {f"rnn.{key}": x for key, x in module.state_dict().items()}
    if options.get("initial_state") == "start":
        arrays["start"] = torch.randn(max(layers, 1), UNITS)
    torch.save(arrays, tmp_path / "n.pt")
    found = compare(tmp_path / "n.pt", config=[{"gru": "rnn", **options}])
    assert found.agrees(), found
    assert len(found.outputs) == 1 + options.get("return_state", False)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_torch_takes_weights_of_any_width_as_float32(dtype, torch, tmp_path):
    weights = torch.nn.GRU(FEATURES, UNITS).to(getattr(torch, dtype)).state_dict()
    torch.save(weights, tmp_path / "n.pt")
    pytest.importorskip("safetensors.torch").save_file(weights, tmp_path / "n.safetensors")
    for name in ("n.pt", "n.safetensors"):
        assert compare(tmp_path / name, config=[{"gru": "", "batch_first": True}]).agrees()


def test_torch_finds_what_is_misread(torch, tmp_path, monkeypatch):
    """PyTorch's path has none of the importer's permutation of gates."""
    from fastgru.importers.cell import Cell

    original = Cell.of_torch.__func__
    monkeypatch.setattr(
        Cell, "of_torch", classmethod(lambda cls, *arrays: original(cls, *(np.roll(a, 1, 0) for a in arrays)))
    )
    torch.save(state_dict(torch), tmp_path / "n.pt")
    found = compare(tmp_path / "n.pt", config=LAYERS)
    assert not found.agrees()
    assert found.first_to_part().name == "rnn"


@pytest.mark.parametrize(
    ("entry", "said"),
    [({"gru": "rnn", "activation": "relu"}, "PyTorch has no activation 'relu'"),
     ({"gru": "rnn", "recurrent_activation": {"name": "hard_sigmoid", "slope": 0.2}}, "recurrent_activation")],
)  # fmt: skip
def test_what_torch_does_not_have_is_said(entry, said, torch, tmp_path):
    arrays = {f"rnn.{key}": x for key, x in torch.nn.GRU(FEATURES, UNITS).state_dict().items()}
    torch.save(arrays, tmp_path / "n.pt")
    with pytest.raises(fastgru.BadInput, match=said):
        compare(tmp_path / "n.pt", config=[{"batch_first": True, **entry}])


def test_torch_takes_its_own_names_alone(torch, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "kernel": rng.normal(size=(3, 12)),
        "recurrent_kernel": rng.normal(size=(4, 12)),
        "bias": np.zeros((2, 12)),
    }
    np.savez(tmp_path / "n.npz", **arrays)
    with pytest.raises(fastgru.BadInput, match="no arrays with PyTorch's names"):
        compare(tmp_path / "n.npz", config=[{"gru": None}])


# ---- TensorFlow 1 ----------------------------------------------------------------------------------------------------


@pytest.fixture
def networks():
    """TensorFlow 1's networks of tools/, where TensorFlow and tf_keras are installed."""
    pytest.importorskip("tensorflow", reason="tensorflow is not installed: its answers are not asked for")
    pytest.importorskip("tf_keras", reason="tf_keras is not installed: it has TensorFlow 1's cells")
    sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
    return pytest.importorskip("tf1_networks")


@pytest.mark.parametrize("name", ["digits", "time_major", "lengths", "tagging"])
def test_tensorflow_agrees(name, networks, tmp_path):
    saved = networks.save(next(one for one in networks.NETWORKS if one.name == name), tmp_path)
    for path in (saved.frozen, saved.prefix, saved.prefix.with_name(f"{saved.prefix.name}.index")):
        shown = succeed("verify", path, "--option", f"outputs={','.join(saved.outputs)}")
        assert "beside tensorflow 2." in shown
        assert "differs" not in shown


def test_tensorflow_needs_the_graph(networks, tmp_path):
    network = next(one for one in networks.NETWORKS if one.config)
    saved = networks.save(network, tmp_path)
    saved.prefix.with_name(f"{saved.prefix.name}.meta").unlink()
    with pytest.raises(fastgru.BadInput, match=r"has no .*\.meta, without which TensorFlow has no network to run"):
        compare(saved.prefix, config=network.config)

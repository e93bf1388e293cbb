"""Networks from arrays and a description: what PyTorch answered for its state dicts, every framework's names, and what
does not fit.

`tools/make_torch_golden.py` made the files and the answers.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import uniform
from fastgru import BadInput, BadModelFile
from fastgru.graph import GRU
from tolerances import check

GOLDEN = Path(__file__).parent / "data" / "torch"
NETWORKS: dict[str, Any] = json.loads((GOLDEN / "networks.json").read_text())
INPUT, UNITS = 3, 4


def answers(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "answers.npz") as archive:
        return {key.partition("/")[2]: archive[key] for key in archive if key.startswith(f"{name}/")}


def run(model: fastgru.Model, given: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    inputs = [given[key] for key in ("x", "h0") if key in given]
    outputs = model(*inputs, lengths=given.get("lengths"))
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_dict_answers_as_pytorch_does(name: str, isa: str) -> None:
    given = answers(name)
    found = run(fastgru.load(GOLDEN / f"{name}.safetensors", config=NETWORKS[name]), given)
    assert len(found) == sum(key.startswith("y") for key in given)
    for number, y in enumerate(found):
        check(y, given[f"y{number}"], "oracle")


@pytest.mark.parametrize("name", NETWORKS)
def test_npz_dict_and_json_file_are_the_same_network(name: str, tmp_path: Path) -> None:
    model = fastgru.load(GOLDEN / f"{name}.safetensors", config=NETWORKS[name])
    arrays = {key: np.array(array) for key, array in read(name).items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    np.savez_compressed(tmp_path / "packed.npz", **{key: np.asfortranarray(array) for key, array in arrays.items()})
    (tmp_path / "network.json").write_text(json.dumps(NETWORKS[name]))
    others = [
        fastgru.load(tmp_path / "weights.npz", config=tmp_path / "network.json"),
        fastgru.load(tmp_path / "packed.npz", config=NETWORKS[name]["layers"]),
        fastgru.gru_network(arrays, NETWORKS[name]),
        fastgru.gru_network({f"module.{key}": array for key, array in arrays.items()}, NETWORKS[name]["layers"]),
    ]
    assert {other.fingerprint for other in others} == {model.fingerprint}
    model.save(tmp_path / "own.safetensors")
    assert fastgru.load(tmp_path / "own.safetensors").fingerprint == model.fingerprint


def read(name: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(GOLDEN / f"{name}.safetensors")


def test_bfloat16_is_computed_in_float32() -> None:
    model = fastgru.load(GOLDEN / "lone-bfloat16.safetensors", config=NETWORKS["lone"])
    assert "bfloat16" in model.notes[0]
    given = answers("lone")
    for number, y in enumerate(run(model, given)):
        assert np.abs(y - given[f"y{number}"]).max() < 0.02


# ---- names ---------------------------------------------------------------------------------------------------------


def cell(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A canonical GRU: gates z, r, n in columns."""
    return {
        "kernel": uniform(rng, INPUT, 3 * UNITS),
        "recurrent_kernel": uniform(rng, UNITS, 3 * UNITS),
        "bias": uniform(rng, 3 * UNITS),
        "recurrent_bias": uniform(rng, 3 * UNITS),
    }


def rows(array: np.ndarray, order: tuple[int, int, int]) -> np.ndarray:
    """Gates as rows, in an order of z, r, n."""
    gates = np.split(array, 3, axis=-1)
    return np.concatenate([gates[gate].T for gate in order])


def torch_names(cell: dict[str, np.ndarray], form: str = "{}_{}_l0") -> dict[str, np.ndarray]:
    keys = (("kernel", "weight", "ih"), ("recurrent_kernel", "weight", "hh"),
            ("bias", "bias", "ih"), ("recurrent_bias", "bias", "hh"))  # fmt: skip
    return {form.format(what, side): rows(cell[key], (1, 0, 2)) for key, what, side in keys}


def short_names(cell: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    long = torch_names(cell, "{}_{}")
    return {key.replace("weight", "w").replace("bias", "b"): array for key, array in long.items()}


def keras_names(cell: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    bias = np.stack([cell["bias"], cell["recurrent_bias"]])
    return {"kernel:0": cell["kernel"], "recurrent_kernel:0": cell["recurrent_kernel"], "bias:0": bias}


def onnx_names(*cells: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = (0, 1, 2)
    return {
        "W": np.stack([rows(cell["kernel"], order) for cell in cells]),
        "R": np.stack([rows(cell["recurrent_kernel"], order) for cell in cells]),
        "B": np.stack([np.concatenate([cell["bias"], cell["recurrent_bias"]]) for cell in cells]),
    }


def prefixed(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}{key}": array for key, array in arrays.items()}


@pytest.mark.parametrize("prefix", ["", "rnn.", "net.rnn.", "enc_", "model/gru/"])
@pytest.mark.parametrize(
    ("name_all", "options"),
    [
        (torch_names, {"batch_first": True}),
        (short_names, {}),
        (keras_names, {}),
        (onnx_names, {"batch_first": True, "linear_before_reset": True}),
    ],
)
def test_every_frameworks_names_are_one_network(prefix: str, name_all: Any, options: dict[str, Any]) -> None:
    weights = cell(np.random.default_rng(0))
    arrays = prefixed(prefix, name_all(weights))
    model = fastgru.gru_network(arrays, **options)
    (layer,) = model.graph.layers
    assert isinstance(layer, GRU)
    assert layer.reset_after
    for key, array in weights.items():
        assert np.array_equal(getattr(layer, key), array), key
    named = fastgru.gru_network(arrays, [{"gru": prefix.rstrip("._/"), **options}])
    assert named.fingerprint == model.fingerprint


def test_keras_bias_says_the_variant() -> None:
    weights = cell(np.random.default_rng(0))
    arrays = {"kernel": weights["kernel"], "recurrent_kernel": weights["recurrent_kernel"], "bias": weights["bias"]}
    assert not fastgru.gru_network(arrays).graph.layers[0].reset_after
    with pytest.raises(BadInput, match="reset_after is True, but the bias has shape"):
        fastgru.gru_network(arrays, reset_after=True)
    del arrays["bias"]
    with pytest.raises(BadInput, match="say reset_after"):
        fastgru.gru_network(arrays)
    assert fastgru.gru_network(arrays, reset_after=True).graph.layers[0].reset_after


def test_masked_steps_are_as_their_framework_has_them() -> None:
    weights = cell(np.random.default_rng(1))
    x, lengths = uniform(np.random.default_rng(2), 2, 5, INPUT), [2, 5]
    torch_like = fastgru.gru_network(short_names(weights))(x, lengths=lengths)
    keras_like = fastgru.gru_network(keras_names(weights))(x, lengths=lengths)
    assert not torch_like[0, 2:].any()
    assert np.array_equal(keras_like[0, 2:], np.repeat(keras_like[0, 1:2], 3, axis=0))
    assert np.array_equal(torch_like[:, :2], keras_like[:, :2])
    said = fastgru.gru_network(keras_names(weights), zero_output_for_mask=True)(x, lengths=lengths)
    assert np.array_equal(said, torch_like)


def test_two_directions_of_keras_and_onnx() -> None:
    rng = np.random.default_rng(3)
    ahead, back = cell(rng), cell(rng)
    keras = prefixed("forward/", keras_names(ahead)) | prefixed("backward/", keras_names(back))
    onnx = onnx_names(ahead, back)
    x, lengths = uniform(rng, 2, 5, INPUT), [3, 5]
    one = fastgru.gru_network(keras, [{"gru": "forward", "backward": "backward", "zero_output_for_mask": True}])
    two = fastgru.gru_network(onnx, linear_before_reset=True, batch_first=True, bidirectional=True)
    assert np.array_equal(one(x, lengths=lengths), two(x, lengths=lengths))
    (expected,) = oracle.run(one.graph, {"x": x})
    check(one(x), expected, "oracle")
    with pytest.raises(BadInput, match="bidirectional is False, but the arrays say True"):
        fastgru.gru_network(onnx, linear_before_reset=True, batch_first=True, bidirectional=False)


def test_options_of_a_gru_go_for_the_one_that_walks_back() -> None:
    rng = np.random.default_rng(5)
    ahead, back = cell(rng), cell(rng)
    x = uniform(rng, 2, 5, INPUT)
    apart = prefixed("f.", onnx_names(ahead)) | prefixed("b.", onnx_names(back))
    entry = {"gru": "f", "backward": "b", "linear_before_reset": True, "batch_first": True}
    options = {"linear_before_reset": True, "batch_first": True}
    assert np.array_equal(
        fastgru.gru_network(apart, [entry])(x), fastgru.gru_network(onnx_names(ahead, back), **options)(x)
    )


def test_onnx_weights_without_recurrent_ones() -> None:
    arrays = onnx_names(cell(np.random.default_rng(6)))
    del arrays["R"]
    with pytest.raises(BadInput, match="W and R go together, there is W, B"):
        fastgru.gru_network(arrays, [{"gru": "", "linear_before_reset": True, "batch_first": True}])


def test_a_reverse_gru_walks_back_and_answers_in_order() -> None:
    rng = np.random.default_rng(4)
    weights, x = cell(rng), uniform(rng, 2, 5, INPUT)
    turned = fastgru.gru_network(short_names(weights), direction="reverse")(x)
    assert np.array_equal(turned[:, ::-1], fastgru.gru_network(short_names(weights))(x[:, ::-1]))
    last = fastgru.gru_network(short_names(weights), direction="reverse", return_sequences=False)(x)
    assert np.array_equal(last, turned[:, 0])


def test_initial_states_and_activations() -> None:
    rng = np.random.default_rng(5)
    arrays, x = short_names(cell(rng)), uniform(rng, 2, 5, INPUT)
    h = uniform(rng, 2, UNITS)
    options = {"activation": "relu", "recurrent_activation": {"name": "hard_sigmoid", "slope": 0.2}}
    fed = fastgru.gru_network(arrays, initial_state=True, return_state=True, **options)
    y, state = fed(x, h)
    assert np.array_equal(state, y[:, -1])
    (expected, _) = oracle.run(fed.graph, {"x": x, "h0": h})
    check(y, expected, "oracle")
    held = fastgru.gru_network({**arrays, "start": h[:1]}, initial_state="start", **options)
    assert np.array_equal(held(x[:1]), y[:1])


def test_a_network_around_the_gru() -> None:
    rng = np.random.default_rng(6)
    arrays = {
        "emb.weight": uniform(rng, 7, INPUT),
        **prefixed("rnn.", torch_names(cell(rng))),
        "bn.weight": uniform(rng, UNITS), "bn.bias": uniform(rng, UNITS), "bn.running_mean": uniform(rng, UNITS),
        "bn.running_var": rng.uniform(0.5, 2, UNITS).astype(np.float32), "bn.num_batches_tracked": np.array(3),
        "ln.weight": uniform(rng, UNITS), "ln.bias": uniform(rng, UNITS),
        "fc_w": uniform(rng, 2, UNITS), "fc_b": uniform(rng, 2),
        "out/kernel:0": uniform(rng, 2, 5), "out/bias:0": uniform(rng, 5),
    }  # fmt: skip
    layers = [
        {"embedding": "emb", "padding_idx": 0},
        {"gru": "rnn", "batch_first": True, "return_sequences": False, "dropout": 0.5},
        {"batch_norm": "bn"},
        {"layer_norm": "ln"},
        {"activation": {"name": "leaky_relu", "negative_slope": 0.01}},
        {"linear": "fc"},
        {"linear": "out", "activation": "log_softmax"},
    ]
    model = fastgru.gru_network(arrays, {"layers": layers, "name": "around"})
    ids = np.array([[3, 0, 6, 1]])
    y = model(ids)
    check(y, oracle.run(model.graph, {"x": ids})[0], "oracle")
    h = fastgru.gru_network(arrays, layers[:2], ignore=["bn.*", "ln.*", "fc_?", "out/*"])(ids).astype(np.float64)
    scale = arrays["bn.weight"] / np.sqrt(arrays["bn.running_var"] + 1e-5)
    h = (h - arrays["bn.running_mean"]) * scale + arrays["bn.bias"]
    h = (h - h.mean()) / np.sqrt(h.var() + 1e-5) * arrays["ln.weight"] + arrays["ln.bias"]
    h = np.where(h > 0, h, 0.01 * h) @ arrays["fc_w"].T + arrays["fc_b"]
    h = h @ arrays["out/kernel:0"] + arrays["out/bias:0"]
    check(y, h - np.log(np.exp(h).sum()), "oracle")


def test_a_square_weight_has_to_say_how_it_stands() -> None:
    rng = np.random.default_rng(7)
    square = uniform(rng, UNITS, UNITS)
    arrays = {**short_names(cell(rng)), "fc_w": square}
    layers: list[dict[str, Any]] = [{"gru": ""}, {"linear": "fc"}]
    with pytest.raises(BadInput, match="weight_layout"):
        fastgru.gru_network(arrays, layers)
    for layout, kernel in (("out_in", square.T), ("in_out", square)):
        layers[1]["weight_layout"] = layout
        assert np.array_equal(fastgru.gru_network(arrays, layers).graph.layers[1].kernel, kernel)


# ---- what does not fit ---------------------------------------------------------------------------------------------


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    rng = np.random.default_rng(8)
    arrays = {**prefixed("rnn.", torch_names(cell(rng))), "other.weight": uniform(rng, 2, 2)}
    layers = [{"gru": "rnn", "hidden_size": 9, "batchfirst": True}, {"linear": "fc"}, {"lstm": "x"}, {"gru": "dec"}]
    with pytest.raises(BadInput) as caught:
        fastgru.gru_network(arrays, layers, ignore="bn.*")
    for part in (
        "ignore: no array has a name like 'bn.*'",
        "layers[0] (gru 'rnn'): say batch_first=True or False",
        "layers[0] (gru 'rnn'): hidden_size should be 4, as the arrays have it, is 9",
        "layers[0] (gru 'rnn'): has no option 'batchfirst'",
        "layers[1] (linear 'fc'): no array is its weight: expected 'fc.weight'",
        "layers[2] should be an object with one of gru, linear",
        "layers[3] (gru 'dec'): there is no GRU under that name; GRUs stand under 'rnn'",
        "no layer takes other.weight (2, 2)",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rnn.weight_hh_l0": None}, "layer 0 lacks weight_hh"),
        ({"rnn.bias_hh_l0": None}, "layer 0 lacks bias_hh"),
        (
            {"rnn.weight_ih_l1": np.ones((12, 4)), "rnn.weight_hh_l1": np.ones((12, 4))},
            "layer 1 lacks bias_ih, bias_hh",
        ),
        ({"rnn.weight_ih_l2": np.ones((12, 4))}, "layer 1 lacks weight_ih"),
        ({"rnn.weight_hh_l0": np.ones((12, 5))}, r"weight_hh should be \(3 · hidden_size, hidden_size\)"),
        ({"rnn.bias_ih_l0": np.ones(11)}, r"bias_ih has shape \(11,\), which does not fit the others: \(12,\)"),
        ({"rnn.weight_ih_l0": np.ones((12, 3), np.int64)}, "should hold floats, holds int64"),
        ({"rnn.weight_ih_l0": np.full((12, 3), 1e300)}, "beyond float32"),
        ({"rnn.weight_ih_l99999999": np.ones((12, 3))}, "odd"),
        ({"rnn.w_ih_l0": np.ones((12, 3))}, "says again"),
    ],
)
def test_arrays_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    arrays = prefixed("rnn.", torch_names(cell(np.random.default_rng(9)))) | change
    arrays = {key: array for key, array in arrays.items() if array is not None}
    with pytest.raises(BadInput, match=message):
        fastgru.gru_network(arrays, batch_first=True)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"gru": "", "batch_first": 1}], "batch_first should be true or false, is 1"),
        ([{"gru": "", "activation": "softmax"}], "cannot stand in a gate"),
        ([{"gru": "", "activation": "hard_sigmoid"}], "needs its slope"),
        ([{"gru": ""}, {"activation": "leaky_relu"}], "needs its negative_slope"),
        ([{"gru": ""}, {"activation": "magic"}], "should be the name of an activation, is 'magic'"),
        ([{"gru": "", "activation": {"name": "elu", "beta": 1}}], "takes the numbers alpha"),
        ([{"gru": "", "direction": "bidirectional"}], "direction should be one of 'forward', 'reverse'"),
        ([{"gru": "", "initial_state": "h"}], "names 'h', which is no array"),
        ([{"gru": ""}, {"layer_norm": "b", "eps": float("nan")}], "eps should be a number from 0 on, is nan"),
        ([{"gru": ""}, {"layer_norm": "b", "eps": -1}], "eps should be a number from 0 on, is -1"),
        ([{"gru": ""}, {"layer_norm": "b", "eps": 10**400}], "eps should be a number from 0 on, is 1000"),
        ([{"gru": ""}, {"activation": {"name": "elu", "alpha": 10**400}}], "takes the numbers alpha"),
        ([{"gru": 3}], "should name arrays by the beginning of their names"),
        ([], r'no \{"gru": …\}'),
        ({"layers": [{"gru": ""}], "inputs": 3}, "but not inputs"),
        ({"gru": ""}, "a dict with a list"),
        (3, "a dict with a list"),
    ],
)
def test_descriptions_that_do_not_fit(layers: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        fastgru.gru_network(short_names(cell(np.random.default_rng(10))), layers)


def test_layers_that_do_not_go_together() -> None:
    rng = np.random.default_rng(11)
    arrays = {**short_names(cell(rng)), "fc.weight": uniform(rng, 2, UNITS + 1)}
    with pytest.raises(BadInput, match="do not go together: Dense layer 'fc'"):
        fastgru.gru_network(arrays, [{"gru": ""}, {"linear": "fc"}])


def test_a_file_of_arrays_needs_a_description() -> None:
    with pytest.raises(BadInput, match=r"config=.*rnn.weight_ih_l0 \(15, 3\)"):
        fastgru.load(GOLDEN / "lone.safetensors")
    with pytest.raises(BadInput, match=r"lone\.safetensors and its description: .*say batch_first"):
        fastgru.load(GOLDEN / "lone.safetensors", config=[{"gru": "rnn"}])


def test_several_grus_have_to_be_named() -> None:
    rng = np.random.default_rng(12)
    arrays = prefixed("a.", short_names(cell(rng))) | prefixed("b.", short_names(cell(rng)))
    with pytest.raises(BadInput, match="there are 2 GRUs: 'a', 'b'"):
        fastgru.gru_network(arrays)


# ---- hostile files -------------------------------------------------------------------------------------------------


def test_files_that_are_cut_or_flipped_are_refused_or_read(tmp_path: Path) -> None:
    """Any error but FastGRUError, or a crash, fails."""
    np.savez(tmp_path / "whole.npz", **read("lone"))
    path = tmp_path / "bad"
    rng = np.random.default_rng(0)
    for whole in ((tmp_path / "whole.npz").read_bytes(), (GOLDEN / "lone.safetensors").read_bytes()):
        for cut in range(0, len(whole), max(1, len(whole) // 60)):
            path.write_bytes(whole[:cut])
            with pytest.raises(fastgru.FastGRUError):
                fastgru.load(path, config=NETWORKS["lone"])
        for _ in range(200):
            flipped = bytearray(whole)
            flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            with contextlib.suppress(fastgru.FastGRUError):
                fastgru.load(path, config=NETWORKS["lone"])


def npz(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w_ih.npy", content)
    return path


def npy(header: str) -> bytes:
    body = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000), }"), "does not take 0 bytes"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }"), "does not take"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "holds object, not numbers"),
        (npy("{'descr': '<U9', 'fortran_order': False, 'shape': (0,), }"), "not numbers"),
        (npy("__import__('os')"), "is no array"),
        (npy("(" * 100), "is no array"),
        (b"\x93NUMPY\x07\x00", "is no array"),
        (b"", "is no array"),
    ],
)
def test_npz_members_that_lie(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadModelFile, match=message):
        fastgru.load(npz(tmp_path, content), config=[{"gru": ""}])


def test_names_in_errors_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\x1b[31m\ud800.txt".encode("utf-8", "surrogatepass").decode("utf-8", "replace"), b"")
    with pytest.raises(BadModelFile) as error:
        fastgru.load(path)
    assert str(error.value).isprintable()
    for kind in BadModelFile, BadInput, fastgru.UnsupportedModel, fastgru.MissingExtra:
        assert str(kind("\x1b[31m\ud800\na")) == "\\x1b[31m\\ud800\na"
    assert pickle.loads(pickle.dumps(fastgru.UnsupportedModel(["\x07", "b"]))).reasons == ("\\x07", "b")


def test_pickled_objects_are_not_unpickled(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], object), allow_pickle=True)
    with pytest.raises(BadModelFile, match="holds object"):
        fastgru.load(npz(tmp_path, stream.getvalue()), config=[{"gru": ""}])


def test_a_description_that_is_no_json(tmp_path: Path) -> None:
    for content in (b"{", b"\xff\xfe", b"[" * 100_000, b"3"):
        (tmp_path / "network.json").write_bytes(content)
        with pytest.raises(BadInput):
            fastgru.load(GOLDEN / "lone.safetensors", config=tmp_path / "network.json")


def test_without_torch_its_files_name_what_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for file in ("lone.pt", "lone-old.pt"):
        with pytest.raises(fastgru.MissingExtra, match=r"safetensors file needs no torch.*fastgru\[torch\]"):
            fastgru.load(GOLDEN / file, config=NETWORKS["lone"])
    with pytest.raises(fastgru.MissingExtra, match=r"fastgru\[torch\]"):
        fastgru.from_torch(object())


def test_scalars_and_whole_numbers_may_stand_in_a_file(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    arrays = short_names(cell(np.random.default_rng(13)))
    extra = {
        "bn.running_mean": np.zeros(UNITS),
        "bn.running_var": np.ones(UNITS),
        "bn.num_batches_tracked": np.array(7),
    }
    arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}  # safetensors writes no others
    save_file({**arrays, **extra}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = fastgru.load(tmp_path / "model.safetensors", config=[{"gru": ""}, {"batch_norm": "bn", "eps": 0}])
    x = uniform(np.random.default_rng(14), 2, 5, INPUT)
    check(model(x), fastgru.gru_network(arrays)(x), "oracle")
    assert "float64" in model.notes[0]

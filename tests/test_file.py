"""The fastgru file: what goes in comes out, and whatever is wrong with a file is BadModelFile with its name."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgru import file
from fastgru.errors import BadModelFile
from fastgru.graph import (
    GRU,
    LAYERS,
    Activate,
    Activation,
    ArgMax,
    Attention,
    Combine,
    Concatenate,
    Conv,
    Dense,
    Embedding,
    Graph,
    Identity,
    JoinMasks,
    Masking,
    MatMul,
    Normalize,
    OneHot,
    Pad,
    Pool,
    PReLU,
    Reduce,
    Repeat,
    Reshape,
    Scale,
    Slice,
    StepMask,
    TimeDistributed,
    Transpose,
    Where,
    tensor_spec,
)


def every_kind() -> Graph:
    """A Graph in which every kind of layer, every type of attribute and an absent tensor occur."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    kernels = {"kernel": weights(2, 9), "recurrent_kernel": weights(3, 9)}
    inner = Graph(
        (tensor_spec("f", 4, (2,)),),
        (Masking(name="m", inputs=("f",)), GRU(name="a/g", inputs=("m",), units=3, mask="m:mask", **kernels)),
        ("a/g", "m:mask"), name="inside",
    )  # fmt: skip
    layers = (
        Embedding(name="e", inputs=("ids",), table=weights(7, 4), mask_zero=True, mask="ids:mask"),
        Identity(name="a/drop", inputs=("e",)),
        Masking(name="m", inputs=("a/drop",), mask_value=-1.5, mask="e:mask"),
        GRU(
            name="g", inputs=("m", "h0"), units=3,
            kernel=weights(4, 9), recurrent_kernel=weights(3, 9), bias=weights(9),
            activation=Activation.of("relu", max_value=6.0), recurrent_activation=Activation.of("hard_sigmoid"),
            reset_after=False, return_sequences=True, go_backwards=True, time_order=True, zero_output_for_mask=True,
            zero_state_without_steps=True, clip=3.5, mask="m:mask",
        ),
        Activate(name="s", inputs=("g",), activation=Activation.of("relu")),
        Reshape(name="r", inputs=("s",), target=(-1, 3), drops_mask=True),
        Dense(name="Ausgang ü", inputs=("r",), kernel=weights(3, 2), activation=Activation.of("softmax")),
        Concatenate(name="c", inputs=("r", "Ausgang ü", "r")),
        Scale(name="scaled", inputs=("c",), scale=weights(8)),
        PReLU(name="kinked", inputs=("scaled",), alpha=weights(8)),
        Normalize(
            name="normal", inputs=("kinked",), function="layer", epsilon=1e-3, scale=weights(8), offset=weights(8)
        ),
        Where(name="where", inputs=("m",), mask="m:mask", value=1.5),
        Combine(name="combined", inputs=("kinked", "normal", "c"), operation="multiply"),
        Conv(
            name="convolved", inputs=("combined",), kernel=weights(3, 4, 6), bias=weights(6), strides=(2,),
            dilation=(3,), padding="same", groups=2, activation=Activation.of("elu", alpha=0.5),
        ),
        Pool(
            name="pooled", inputs=("convolved",), function="average", size=(2,), strides=(2,), pads=(1, 0),
            count_padding=True,
        ),
        Reshape(name="square", inputs=("pooled",), target=(2, 3), per_step=True),
        Transpose(name="turned", inputs=("square",), order=(1, 3, 2)),
        Slice(name="cut", inputs=("turned",), axis=-1, start=-1, stop=-3, step=-1),
        Pad(name="padded", inputs=("cut",), axis=1, before=1, after=2, value=-0.5),
        Repeat(name="repeated", inputs=("padded",), axis=2, times=2),
        JoinMasks(name="joined", inputs=("ids:mask", "m:mask"), over_time=True),
        StepMask(name="until", inputs=("m", "lengths")),
        ArgMax(name="likeliest", inputs=("Ausgang ü",), last=True),
        Attention(
            name="attended", inputs=("g", "g", "g"), function="additive", scale=0.5, inner_scale=2.0, causal=True,
            window=3, mask="m:mask", query_mask="ids:mask", weight=weights(3),
        ),
        MatMul(name="product", inputs=("attended", "g")),
        Reduce(name="reduced", inputs=("product",), function="mean", axis=1, mask="joined"),
        Reshape(name="frames", inputs=("c",), target=(4, 2), per_step=True),
        TimeDistributed(name="td/i", inputs=("frames",), graph=inner),
        OneHot(name="one hot", inputs=("ids",), vocabulary=7),
    )  # fmt: skip
    return Graph(
        (
            tensor_spec("ids", None, (), "int32"), tensor_spec("h0", False, (3,)),
            tensor_spec("lengths", False, (), "int32"),
        ),
        layers, ("Ausgang ü", "g:state", "c", "until", "likeliest"),
        name="every kind", notes=("first", "zweite ü"), text={"inputs": {}, "labels": ["a", "ü"], "about": ""},
    )  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good file."""
    path = tmp_path_factory.mktemp("sound") / "model.safetensors"
    file.write(every_kind(), path)
    return path.read_bytes()


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: Any, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def refused(tmp_path: Path, data: bytes) -> str:
    """What `read` says about such a file; fails where it accepts it or raises anything else."""
    path = tmp_path / "broken.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadModelFile) as caught:
        file.read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# ---- round trip ----------------------------------------------------------------------------------------------------


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    graph = every_kind()
    assert {type(layer) for layer in graph.layers} == set(LAYERS.values())
    file.write(graph, tmp_path / "model.safetensors")
    loaded = file.read(tmp_path / "model.safetensors")
    assert loaded.fingerprint == graph.fingerprint
    assert (loaded.notes, loaded.text, loaded.name) == (graph.notes, graph.text, graph.name)
    assert loaded.inputs == graph.inputs
    assert loaded.structure() == graph.structure()


def test_layers_come_back_with_their_python_types(tmp_path: Path) -> None:
    file.write(every_kind(), tmp_path / "model.safetensors")
    for before, after in zip(every_kind().layers, file.read(tmp_path / "model.safetensors").layers, strict=True):
        for field in dataclasses.fields(before):
            ours, theirs = getattr(before, field.name), getattr(after, field.name)
            assert type(ours) is type(theirs), field.name
            if isinstance(ours, Graph):
                ours, theirs = ours.fingerprint, theirs.fingerprint
            assert np.array_equal(ours, theirs), field.name


def test_a_graph_without_notes_and_text(tmp_path: Path) -> None:
    graph = dataclasses.replace(every_kind(), notes=(), text=None)
    file.write(graph, tmp_path / "model.safetensors")
    loaded = file.read(tmp_path / "model.safetensors")
    assert (loaded.notes, loaded.text) == ((), None)


def test_strided_tensors_are_written_as_they_look(tmp_path: Path) -> None:
    kernel = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
    graph = Graph((tensor_spec("x", None, (2,)),), (Dense(name="d", inputs=("x",), kernel=kernel),), ("d",))
    file.write(graph, tmp_path / "model.safetensors")
    assert file.read(tmp_path / "model.safetensors").fingerprint == graph.fingerprint


def test_safetensors_itself_can_read_the_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    graph = every_kind()
    file.write(graph, tmp_path / "model.safetensors")
    theirs = load_file(tmp_path / "model.safetensors")
    assert theirs.keys() == dict(graph.tensors).keys()
    assert all(np.array_equal(theirs[name], tensor) for name, tensor in graph.tensors)


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    """Reading touches the header only: pages of weights are loaded when somebody looks at them."""
    file.write(every_kind(), tmp_path / "model.safetensors")
    for _, tensor in file.read(tmp_path / "model.safetensors").tensors:
        assert not tensor.flags.owndata
        assert not tensor.flags.writeable
        assert tensor.flags.aligned


def test_reading_imports_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    file.write(every_kind(), path)
    code = (
        "import sys; from fastgru import file; file.read(sys.argv[1])\n"
        "print(*sorted({'safetensors', 'tempfile', 'h5py'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-S", "-c", "import sys; sys.path[:] = " + repr(sys.path) + "\n" + code,
                             str(path)], capture_output=True, text=True, check=True)  # fmt: skip
    assert answer.stdout.strip() == ""


# ---- writing -------------------------------------------------------------------------------------------------------


def test_writing_over_the_file_that_was_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    file.write(every_kind(), path)
    loaded = file.read(path)
    file.write(loaded, path)
    assert file.read(path).fingerprint == loaded.fingerprint


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        file.write(every_kind(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_the_file_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        file.write(every_kind(), tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o644


def test_only_float32_is_written(tmp_path: Path) -> None:
    dense = Dense(name="d", inputs=("x",), kernel=np.ones((2, 3)))
    graph = Graph((tensor_spec("x", None, (2,)),), (dense,), ("d",))
    with pytest.raises(BadModelFile, match="'d/kernel' should be float32, is float64"):
        file.write(graph, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


# ---- the container -------------------------------------------------------------------------------------------------


def test_a_missing_file_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file.read(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("length", [0, 1, 7])
def test_too_short(tmp_path: Path, sound: bytes, length: int) -> None:
    assert "too few" in refused(tmp_path, sound[:length])


@pytest.mark.parametrize("length", [0, 5, 2**31, 2**40, 2**64 - 1])
def test_absurd_header_length(tmp_path: Path, sound: bytes, length: int) -> None:
    refused(tmp_path, length.to_bytes(8, "little") + sound[8:])


@pytest.mark.parametrize("kept", [8, 9, 100, 1000, -400, -4, -1])
def test_truncated(tmp_path: Path, sound: bytes, kept: int) -> None:
    refused(tmp_path, sound[:kept])


def test_bytes_behind_the_tensors(tmp_path: Path, sound: bytes) -> None:
    assert "should hold" in refused(tmp_path, sound + b"\0")


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[1]", b"null", b"{", b"[" * 200_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_a_header_that_is_no_json_object(tmp_path: Path, text: bytes) -> None:
    refused(tmp_path, len(text).to_bytes(8, "little") + text)


def test_another_safetensors_file(tmp_path: Path) -> None:
    from safetensors.numpy import save

    assert "not one that fastgru wrote" in refused(tmp_path, save({"w": np.ones(3, np.float32)}))


Edit = Callable[[dict[str, Any]], None]


def set_in(*keys: Any, to: Any) -> Edit:
    """An edit that sets header[k1][k2]… to a value."""

    def edit(header: dict[str, Any]) -> None:
        inner = header
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to

    return edit


def drop(*keys: Any) -> Edit:
    def edit(header: dict[str, Any]) -> None:
        inner = header
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]

    return edit


TENSOR_FAULTS: dict[str, tuple[Edit, str]] = {
    "dtype float64": (set_in("g/kernel", "dtype", to="F64"), "dtype should be F32 or F16 or I8 or U16, is 'F64'"),
    "dtype unknown": (set_in("g/kernel", "dtype", to=["F32"]), "dtype should be F32"),
    "no dtype": (drop("g/kernel", "dtype"), "should have dtype, shape"),
    "entry no object": (set_in("g/kernel", to=3), "should have dtype, shape"),
    "shape negative": (set_in("g/kernel", "shape", to=[-4, -9]), "positive sizes"),
    "shape zero": (set_in("g/kernel", "shape", to=[0, 9]), "positive sizes"),
    "shape float": (set_in("g/kernel", "shape", to=[4.0, 9]), "positive sizes"),
    "shape bool": (set_in("g/kernel", "shape", to=[True, 36]), "positive sizes"),
    "shape huge": (set_in("g/kernel", "shape", to=[2**40, 2**40]), "positive sizes"),
    "shape of many axes": (set_in("g/kernel", "shape", to=[1] * 99 + [36]), "positive sizes"),
    "shape and bytes disagree": (set_in("g/kernel", "shape", to=[4, 10]), "does not take 144 bytes"),
    "shape transposed": (set_in("g/kernel", "shape", to=[9, 4]), "kernel should have shape (4, 9), has (9, 4)"),
    "offsets backwards": (set_in("g/kernel", "data_offsets", to=[8, 4]), "outside the file"),
    "offsets negative": (set_in("g/kernel", "data_offsets", to=[-144, 0]), "outside the file"),
    "offsets past the end": (set_in("g/kernel", "data_offsets", to=[2**50, 2**50 + 144]), "outside the file"),
    "offsets no pair": (set_in("g/kernel", "data_offsets", to=[0]), "two whole numbers"),
    "offsets float": (set_in("g/kernel", "data_offsets", to=[0.0, 144.0]), "two whole numbers"),
    "tensor missing": (drop("e/table"), "'e' lacks its table"),
    "tensor of no layer": (set_in("z/kernel", to={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}), "'z'"),
    "tensor of no field": (set_in("g/w", to={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}), "no tensor 'w'"),
    "metadata no object": (set_in("__metadata__", to=[]), "strings to strings"),
    "metadata of numbers": (set_in("__metadata__", "fastgru_format", to=1), "strings to strings"),
    "no format": (drop("__metadata__", "fastgru_format"), "not one that fastgru wrote"),
    "format newer": (set_in("__metadata__", "fastgru_format", to="4"), "fastgru format 4, this version reads up to 3"),
    "format zero": (set_in("__metadata__", "fastgru_format", to="0"), "positive whole number"),
    "format words": (set_in("__metadata__", "fastgru_format", to="one"), "positive whole number"),
    "format superscript": (set_in("__metadata__", "fastgru_format", to="²"), "positive whole number"),
    "format endless": (set_in("__metadata__", "fastgru_format", to="9" * 5000), "positive whole number"),
    "no graph": (drop("__metadata__", "graph"), "no graph"),
    "graph no JSON": (set_in("__metadata__", "graph", to="{"), "its graph is no JSON"),
    "graph a list": (set_in("__metadata__", "graph", to="[]"), "graph should be an object"),
    "graph too deep": (set_in("__metadata__", "graph", to="[" * 100_000), "its graph is no JSON"),
    "notes of numbers": (set_in("__metadata__", "notes", to="[1]"), "notes should be"),
    "notes a string": (set_in("__metadata__", "notes", to='"note"'), "notes should be"),
    "text a list": (set_in("__metadata__", "text", to="[]"), "text should be"),
}


@pytest.mark.parametrize(("edit", "says"), TENSOR_FAULTS.values(), ids=TENSOR_FAULTS)
def test_faults_of_the_header(tmp_path: Path, sound: bytes, edit: Edit, says: str) -> None:
    header, tensors = split(sound)
    edit(header)
    assert says in refused(tmp_path, join(header, tensors))


# ---- the network ---------------------------------------------------------------------------------------------------

E, DROP, MASK, G, ACT, RESHAPE, DENSE, CONCATENATE = range(8)
GRAPH_FAULTS: dict[str, tuple[Edit, str]] = {
    "no layers": (drop("layers"), "graph should be an object"),
    "one key too many": (set_in("device", to="gpu"), "graph should be an object"),
    "layers an object": (set_in("layers", to={}), "layers should be list"),
    "layer a string": (set_in("layers", G, to="GRU"), "object with a kind and a name"),
    "kind a list": (set_in("layers", G, "kind", to=["GRU"]), "object with a kind and a name"),
    "kind unknown": (set_in("layers", G, "kind", to="LSTM"), "unknown kind 'LSTM'"),
    "name missing": (drop("layers", G, "name"), "object with a kind and a name"),
    "name twice": (set_in("layers", RESHAPE, "name", to="s"), "used twice"),
    "inputs missing": (drop("layers", G, "inputs"), "lacks its inputs"),
    "inputs none": (set_in("layers", DROP, "inputs", to=[]), "should have 1 inputs, has 0"),
    "inputs too many": (set_in("layers", DENSE, "inputs", to=["r", "r"]), "should have 1 inputs, has 2"),
    "inputs too few": (set_in("layers", CONCATENATE, "inputs", to=["r"]), "should have 2 or more inputs, has 1"),
    "inputs that do not fit": (set_in("layers", CONCATENATE, "inputs", to=["r", "h0"]), "does not fit beside 'r'"),
    "inputs of masks": (set_in("layers", CONCATENATE, "inputs", to=["r", "m:mask"]), "needs float32 values"),
    "time order without direction": (set_in("layers", G, "go_backwards", to=False), "time_order needs go_backwards"),
    "inputs a string": (set_in("layers", DENSE, "inputs", to="r"), "inputs should be"),
    "inputs of numbers": (set_in("layers", DENSE, "inputs", to=[1]), "inputs should be"),
    "input undefined": (set_in("layers", DENSE, "inputs", to=["nowhere"]), "nothing before it defines"),
    "input from later": (set_in("layers", DROP, "inputs", to=["r"]), "nothing before it defines"),
    "attribute foreign": (set_in("layers", G, "stateful", to=True), "no attribute 'stateful'"),
    "attribute is a tensor": (set_in("layers", G, "kernel", to=[1]), "no attribute 'kernel'"),
    "units missing": (drop("layers", G, "units"), "lacks its units"),
    "units a bool": (set_in("layers", G, "units", to=True), "units should be int, is True"),
    "units a float": (set_in("layers", G, "units", to=3.0), "units should be int"),
    "units a string": (set_in("layers", G, "units", to="3"), "units should be int"),
    "units zero": (set_in("layers", G, "units", to=0), "units should be positive"),
    "units negative": (set_in("layers", G, "units", to=-3), "units should be positive"),
    "units huge": (set_in("layers", G, "units", to=10**30), "units should be int"),
    "units of another size": (set_in("layers", G, "units", to=4), "should have shape"),
    "reset_after a number": (set_in("layers", G, "reset_after", to=1), "reset_after should be bool"),
    "clip a word": (set_in("layers", G, "clip", to="far"), "clip should be float"),
    "clip a bool": (set_in("layers", G, "clip", to=True), "clip should be float"),
    "clip NaN": (set_in("layers", G, "clip", to=float("nan")), "clip should be positive and finite"),
    "clip infinite": (set_in("layers", G, "clip", to=float("inf")), "clip should be positive and finite"),
    "clip beneath float32": (set_in("layers", G, "clip", to=1e-50), "clip should be positive and finite"),
    "clip below 0": (set_in("layers", G, "clip", to=-1), "clip should be positive and finite"),
    "mask a number": (set_in("layers", G, "mask", to=1), "mask should be"),
    "mask no mask": (set_in("layers", G, "mask", to="m"), "is not a mask"),
    "mask_value a list": (set_in("layers", MASK, "mask_value", to=[1.0]), "mask_value should be float"),
    "activation a string": (set_in("layers", G, "activation", to="tanh"), "activation should be Activation"),
    "activation unknown": (set_in("layers", G, "activation", "activation", to="warp"), "unknown activation 'warp'"),
    "activation row-wise": (set_in("layers", G, "activation", to={"activation": "softmax", "params": []}), "whole row"),
    "activation of a list": (set_in("layers", G, "activation", "activation", to=["relu"]), "should be Activation"),
    "parameters too few": (set_in("layers", G, "activation", "params", to=[1.0]), "takes 3 parameters"),
    "parameter a word": (set_in("layers", G, "activation", "params", to=["six", 0, 0]), "should be Activation"),
    "parameter NaN": (set_in("layers", G, "activation", "params", to=[float("nan"), 0, 0]), "NaN parameter"),
    "parameter huge": (set_in("layers", G, "activation", "params", to=[10**400, 0, 0]), "should be Activation"),
    "target empty": (set_in("layers", RESHAPE, "target", to=[]), "target"),
    "target zero": (set_in("layers", RESHAPE, "target", to=[0, 3]), "target"),
    "target twice free": (set_in("layers", RESHAPE, "target", to=[-1, -1]), "target"),
    "target of words": (set_in("layers", RESHAPE, "target", to=["a"]), "target should be"),
    "outputs empty": (set_in("outputs", to=[]), "one input and one output"),
    "output undefined": (set_in("outputs", to=["nowhere"]), "not defined"),
    "graph's name a number": (set_in("name", to=3), "name should be str"),
    "no inputs": (set_in("inputs", to=[]), "nothing before it defines"),
    "input a string": (set_in("inputs", 0, to="x"), "an input should be an object"),
    "input without axes": (drop("inputs", 0, "axes"), "an input should be an object"),
    "input of odd dtype": (set_in("inputs", 0, "dtype", to="float16"), "unknown dtype"),
    "input's axes too few": (set_in("inputs", 0, "axes", to=["batch"]), "do not fit shape"),
    "input's axes swapped": (set_in("inputs", 0, "axes", to=["time", "batch"]), "do not fit shape"),
    "input's features free": (set_in("inputs", 1, "shape", to=[None, None]), "only batch and time"),
    "input's features huge": (set_in("inputs", 1, "shape", to=[None, 2**63]), "shape should be"),
    "input's features zero": (set_in("inputs", 1, "shape", to=[None, 0]), "only batch and time"),
    "input's steps zero": (set_in("inputs", 0, "shape", to=[None, 0]), "only batch and time"),
}


@pytest.mark.parametrize(("edit", "says"), GRAPH_FAULTS.values(), ids=GRAPH_FAULTS)
def test_faults_of_the_graph(tmp_path: Path, sound: bytes, edit: Edit, says: str) -> None:
    header, tensors = split(sound)
    structure = json.loads(header["__metadata__"]["graph"])
    edit(structure)
    header["__metadata__"]["graph"] = json.dumps(structure)
    assert says in refused(tmp_path, join(header, tensors))


def test_every_attribute_of_every_layer_has_a_rule() -> None:
    """A new kind of attribute in graph.py needs an entry in the table of types in file.py."""
    for cls in set(LAYERS.values()):
        for key, hint in file._hints(cls).items():
            if key not in cls.tensor_fields:
                assert file._fits(object(), hint) is False


# ---- damage --------------------------------------------------------------------------------------------------------


def loads_or_is_refused(path: Path, data: bytes) -> None:
    """A damaged file may by luck be sound; whatever else comes than BadModelFile is a fault of `read`."""
    path.write_bytes(data)
    with contextlib.suppress(BadModelFile):
        graph = file.read(path)
        assert graph.specs.keys() >= set(graph.outputs)


@given(st.data())
def test_flipped_bytes(tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "flipped.safetensors", bytes(damaged))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("inf") | st.just("x:mask"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, *at: Any) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, item in inner for path in [(*at, key), *places(item, *at, key)]]


@given(st.data())
def test_junk_in_the_graph(tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject) -> None:
    header, tensors = split(sound)
    structure = json.loads(header["__metadata__"]["graph"])
    for _ in range(data.draw(st.integers(1, 2))):
        set_in(*data.draw(st.sampled_from(places(structure))), to=data.draw(JUNK))(structure)
    header["__metadata__"]["graph"] = json.dumps(structure)
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "junk.safetensors", join(header, tensors))


@given(st.data())
def test_junk_in_the_header(tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject) -> None:
    header, tensors = split(sound)
    set_in(*data.draw(st.sampled_from(places(header))), to=data.draw(JUNK))(header)
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "junk.safetensors", join(header, tensors))

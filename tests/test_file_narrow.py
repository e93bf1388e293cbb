"""The fastgru file of networks with narrow weights: format 3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import building
from fastgru import file
from fastgru.graph import NARROW, Graph, NarrowArray
from fastgru.narrowing import dtype_of, narrow
from test_file import JUNK, Edit, drop, every_kind, join, loads_or_is_refused, places, refused, set_in, split

DTYPES = tuple(NARROW)
STORED = {"bfloat16": "U16", "float16": "F16", "int8": "I8"}


def written(graph: Graph, folder: Path) -> tuple[Path, dict[str, Any]]:
    """A file, and its header."""
    path = folder / "model.safetensors"
    file.write(graph, path)
    return path, split(path.read_bytes())[0]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good file of int8 weights."""
    return written(narrow(every_kind(), "int8"), tmp_path_factory.mktemp("sound"))[0].read_bytes()


@pytest.mark.parametrize("keep", [(), ("g", "td/i/a/g")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_keeps_everything(tmp_path: Path, dtype: str, keep: tuple[str, ...]) -> None:
    graph = narrow(every_kind(), dtype, keep)
    path, header = written(graph, tmp_path)
    loaded = file.read(path)
    assert loaded.fingerprint == graph.fingerprint
    assert loaded.structure() == graph.structure()
    assert header["__metadata__"]["fastgru_format"] == "3"
    for (name, before), (_, after) in zip(graph.tensors, loaded.tensors, strict=True):
        assert type(after) is type(before), name
        assert np.array_equal(np.asarray(before), np.asarray(after)), name
        if isinstance(after, NarrowArray):
            assert header[name]["dtype"] == STORED[dtype]
            assert (f"{name}:scale" in header) == (dtype == "int8")


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    loaded = file.read(written(narrow(every_kind(), "int8"), tmp_path)[0])
    for _, tensor in loaded.tensors:
        for array in (tensor.data, tensor.scale) if isinstance(tensor, NarrowArray) else (tensor,):
            assert not array.flags.owndata
            assert not array.flags.writeable


def test_networks_without_narrow_weights_keep_their_format(tmp_path: Path) -> None:
    header = written(every_kind(), tmp_path)[1]
    assert header["__metadata__"]["fastgru_format"] == "2"
    assert "dtypes" not in header["__metadata__"]
    plain = building.chain(building.floats(3), building.gru(np.random.default_rng(0), 3, 4))
    assert written(plain, tmp_path)[1]["__metadata__"]["fastgru_format"] == "1"


@pytest.mark.parametrize(("dtype", "share"), [("bfloat16", 0.52), ("float16", 0.52), ("int8", 0.3)])
def test_files_are_as_much_smaller_as_their_weights(tmp_path: Path, dtype: str, share: float) -> None:
    rng = np.random.default_rng(2)
    head = building.dense(rng, 64, 40, name="head", source="gru", function="softmax")
    graph = building.chain(building.tokens(), building.embedding(rng, 2000, 64),
                           building.gru(rng, 64, 64, source="embedding", without=("initial_state",)), head)  # fmt: skip
    whole = written(graph, tmp_path)[0].stat().st_size
    assert written(narrow(graph, dtype), tmp_path)[0].stat().st_size < share * whole


def test_rows_of_another_layout_are_written_as_they_look(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    dense = building.dense(rng, 4, 6, name="d", source="x", function="linear")
    graph = narrow(building.chain(building.floats(4), dense), "int8")
    kernel = graph.layers[0].kernel
    turned = NarrowArray("int8", np.asfortranarray(kernel.data), np.repeat(kernel.scale, 2)[::2])
    object.__setattr__(graph.layers[0], "kernel", turned)
    assert np.array_equal(np.asarray(file.read(written(graph, tmp_path)[0]).layers[0].kernel), np.asarray(kernel))


# ---- hostile files -------------------------------------------------------------------------------------------------


def dtypes(**changes: str | None) -> Edit:
    """An edit of the table of dtypes; ``__`` in a name stands for the slash, None takes it out."""

    def edit(header: dict[str, Any]) -> None:
        table = json.loads(header["__metadata__"]["dtypes"])
        for key, dtype in changes.items():
            name = key.replace("__", "/")
            if dtype is None:
                del table[name]
            else:
                table[name] = dtype
        header["__metadata__"]["dtypes"] = json.dumps(table)

    return edit


def renamed(old: str, new: str) -> Edit:
    def edit(header: dict[str, Any]) -> None:
        header[new] = header.pop(old)

    return edit


FAULTS: dict[str, tuple[Edit, str]] = {
    "no scale": (renamed("g/kernel:scale", "z/kernel:scale"), "tensor 'g/kernel': int8 weights should have a scale"),
    "scale of another tensor": (renamed("g/kernel:scale", "g/bias:scale"), "tensor 'g/kernel': int8 weights should"),
    "scale too short": (
        lambda header: header.update({"g/kernel:scale": header["e/table:scale"]}),
        "tensor 'g/kernel': int8 weights (4, 9) should have a scale (9,) float32, have (7,) float32",
    ),
    "scale of another shape": (set_in("g/kernel:scale", "shape", to=[1, 9]), "have (1, 9) float32"),
    "scale of a float32 tensor": (dtypes(g__kernel=None), "tensor 'g/kernel' should be float32, is int8"),
    "bits of another dtype": (dtypes(g__kernel="bfloat16"), "bfloat16 weights should be held in uint16, are in int8"),
    "float16 for int8": (dtypes(g__kernel="float16"), "float16 weights should be held in float16, are in int8"),
    "float32 named int8": (dtypes(kinked__alpha="int8"), "tensor 'kinked/alpha' should be float32, is 'int8'"),
    "scale named narrow": (dtypes(**{"g__kernel:scale": "int8"}), "'g/kernel:scale' should be float32, is 'int8'"),
    "unknown dtype": (dtypes(g__kernel="int4"), "narrow weights are bfloat16, float16, int8, not 'int4'"),
    "tensor that is not there": (dtypes(z__kernel="int8"), "its dtypes name 'z/kernel', of which there is no tensor"),
    "no dtypes": (drop("__metadata__", "dtypes"), "should be float32, is int8"),
    "dtypes a list": (set_in("__metadata__", "dtypes", to="[]"), "its dtypes should map tensors to dtypes"),
    "dtypes of numbers": (set_in("__metadata__", "dtypes", to='{"g/kernel": 3}'), "its dtypes should map tensors"),
    "dtypes no JSON": (set_in("__metadata__", "dtypes", to="{"), "its dtypes is no JSON"),
    "format newer": (set_in("__metadata__", "fastgru_format", to="4"), "fastgru format 4, this version reads up to 3"),
    "shape transposed": (set_in("g/kernel", "shape", to=[9, 4]), "int8 weights (9, 4) should have a scale (4,)"),
}


@pytest.mark.parametrize(("edit", "says"), FAULTS.values(), ids=FAULTS)
def test_faults_of_the_header(tmp_path: Path, sound: bytes, edit: Edit, says: str) -> None:
    header, tensors = split(sound)
    edit(header)
    assert says in refused(tmp_path, join(header, tensors))


def test_a_newer_format_is_told_before_what_its_tensors_are(tmp_path: Path, sound: bytes) -> None:
    header, tensors = split(sound)
    set_in("g/kernel", "dtype", to="F8_E4M3")(header)
    assert "tensor 'g/kernel': the dtype should be" in refused(tmp_path, join(header, tensors))
    set_in("__metadata__", "fastgru_format", to="4")(header)
    assert "fastgru format 4, this version reads up to 3" in refused(tmp_path, join(header, tensors))


@pytest.mark.parametrize("scale", [np.nan, np.inf, 0.0, -1.0, 1e-40, 3e38])
def test_scales_that_are_none(tmp_path: Path, sound: bytes, scale: float) -> None:
    header, tensors = split(sound)
    first = header["g/kernel:scale"]["data_offsets"][0]
    damaged = tensors[:first] + np.float32(scale).tobytes() + tensors[first + 4 :]
    assert "tensor 'g/kernel': a scale of int8 weights should lie in" in refused(tmp_path, join(header, damaged))


def test_a_weight_of_minus_128(tmp_path: Path, sound: bytes) -> None:
    header, tensors = split(sound)
    first = header["g/kernel"]["data_offsets"][0]
    damaged = tensors[:first] + b"\x80" + tensors[first + 1 :]
    assert "tensor 'g/kernel': int8 weights should lie in [-127, 127]" in refused(tmp_path, join(header, damaged))


def test_two_narrow_dtypes(tmp_path: Path) -> None:
    graph = narrow(every_kind(), "bfloat16")
    path, header = written(graph, tmp_path)
    header["g/kernel"]["dtype"] = header["g/recurrent_kernel"]["dtype"] = "F16"
    dtypes(g__kernel="float16", g__recurrent_kernel="float16")(header)
    said = refused(tmp_path, join(header, split(path.read_bytes())[1]))
    assert "one narrow dtype, not of bfloat16 and float16" in said


def test_half_a_narrow_layer(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    graph = narrow(building.chain(building.floats(3), building.gru(rng, 3, 4)), "bfloat16")
    path, header = written(graph, tmp_path)
    header["gru/recurrent_kernel"] |= {"dtype": "F16"}
    dtypes(gru__recurrent_kernel="float16")(header)
    said = refused(tmp_path, join(header, split(path.read_bytes())[1]))
    assert "all its weights should be of one dtype, but kernel is bfloat16, recurrent_kernel is float16" in said


@given(st.data())
def test_flipped_bytes(tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "flipped.safetensors", bytes(damaged))


@given(st.data())
def test_junk_in_the_header_and_the_dtypes(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject
) -> None:
    header, tensors = split(sound)
    table = json.loads(header["__metadata__"]["dtypes"])
    if data.draw(st.booleans()):
        set_in(*data.draw(st.sampled_from(places(table))), to=data.draw(JUNK))(table)
        header["__metadata__"]["dtypes"] = json.dumps(table)
    else:
        set_in(*data.draw(st.sampled_from(places(header))), to=data.draw(JUNK))(header)
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "junk.safetensors", join(header, tensors))


def test_dtype_of_what_was_read(tmp_path: Path) -> None:
    assert dtype_of(file.read(written(narrow(every_kind(), "float16"), tmp_path)[0])) == "float16"

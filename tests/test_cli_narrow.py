"""--dtype and --keep-float32 of every command that reads a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import building
import fastgru
from commands import command, fail, succeed
from fastgru import file
from fastgru.graph import NARROW, dtype_name

DTYPES = tuple(NARROW)
DEMO = fastgru.demo_path()
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embedding, GRU and Dense, nearly all of it weights."""
    rng = np.random.default_rng(8)
    layers = (
        building.embedding(rng, 500, 48), building.gru(rng, 48, 48, source="embedding", return_sequences=True),
        building.dense(rng, 48, 500, name="head", source="gru", function="softmax"),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    file.write(building.chain(building.tokens(), *layers), path)
    return path


@pytest.mark.parametrize(("dtype", "share"), [("bfloat16", 0.52), ("float16", 0.52), ("int8", 0.3)])
def test_convert_writes_smaller_files(network, tmp_path, dtype, share):
    target = tmp_path / "narrow.safetensors"
    printed = succeed("convert", network, target, "--dtype", dtype)
    assert target.stat().st_size < share * network.stat().st_size
    assert f"weights: {dtype}, " in printed
    assert "read back and compared" in printed
    assert fastgru.load(target).dtype == dtype
    assert fastgru.load(target).fingerprint == fastgru.load(network, dtype=dtype).fingerprint


def test_convert_keeps_layers_and_widens(network, tmp_path):
    narrow, wide = tmp_path / "narrow.safetensors", tmp_path / "wide.safetensors"
    succeed("convert", network, narrow, "--dtype", "int8", "--keep-float32", "emb*", "--keep-float32", "head")
    held = {name: dtype_name(value) for name, value in file.read(narrow).tensors}
    assert {name for name, dtype in held.items() if dtype == "int8"} == {"gru/kernel", "gru/recurrent_kernel"}
    assert "weights:" not in succeed("convert", narrow, wide, "--dtype", "float32")
    assert {dtype_name(value) for _, value in file.read(wide).tensors} == {"float32"}
    assert "are int8 already" in fail("convert", narrow, tmp_path / "half.safetensors", "--dtype", "float16")
    assert not (tmp_path / "half.safetensors").exists()


def test_inspect_shows_what_is_narrow(network):
    assert "weights  " not in succeed("inspect", network)
    printed = succeed("inspect", network, "--dtype", "int8", "--keep-float32", "head")
    assert "weights      int8, " in printed
    assert [line.split()[-1] for line in printed.splitlines() if line.startswith(("embedding", "gru", "head"))] == [
        "int8", "int8", "float32",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_run_gives_what_python_gives(network, tmp_path, dtype):
    x = np.random.default_rng(1).integers(0, 500, (3, 9))
    np.save(tmp_path / "x.npy", x)
    succeed("run", network, tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--dtype", dtype, "--keep-float32", "head")
    wanted = fastgru.load(network, dtype=dtype, keep_float32="head")(x)
    assert np.array_equal(np.load(tmp_path / "y.npy"), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_generate_takes_a_dtype(network, dtype):
    options = ("--temperature", "0", "--max-tokens", "6", "--no-echo")
    printed = succeed("generate", network, "3 1 4", *options, "--dtype", dtype)
    made = fastgru.generate(fastgru.load(network, dtype=dtype), [3, 1, 4], temperature=0.0, max_tokens=6)
    assert printed.split() == [str(token.id) for token in made]


def test_convert_says_when_nothing_is_narrow(network, tmp_path):
    target = tmp_path / "kept.safetensors"
    said = succeed("convert", network, target, "--dtype", "int8", "--keep-float32", "*")
    assert "weights: float32, for none is left to round to int8" in said
    assert fastgru.load(target).dtype == "float32"


def test_bench_tells_the_dtype(network):
    options = ("--seconds", "0.001", "--batch", "1", "--steps", "3", "--threads", "1")
    assert json.loads(succeed("bench", network, *options, "--json", "--dtype", "int8"))["dtype"] == "int8"
    assert json.loads(succeed("bench", network, *options, "--json"))["dtype"] == "float32"
    assert "3 steps, bfloat16 weights, " in succeed("bench", network, *options, "--dtype", "bfloat16")
    realtime = ("--realtime", "--seconds", "0.01", "--period", "1ms", "--json", "--dtype", "int8")
    assert json.loads(succeed("bench", network, *realtime))["dtype"] == "int8"


@pytest.mark.parametrize("dtype", DTYPES)
def test_verify_has_a_tolerance_for_each_dtype(dtype):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it runs ONNX files")
    pytest.importorskip("onnx", reason="onnx is not installed: it reads ONNX files")
    path = DATA / "onnx" / "loop_before.onnx"
    printed = succeed("verify", path, "--dtype", dtype)
    assert f"loop_before.onnx in {dtype} beside onnxruntime" in printed
    assert "agrees" in printed
    strict = command("verify", path, "--dtype", dtype, "--tolerance", "1e-6")
    assert strict.exit_code == 1
    assert "differs" in strict.stdout
    layers = ("--keep-float32", "*")
    assert "agrees" in succeed("verify", path, "--dtype", dtype, *layers, "--tolerance", "1e-5")


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        ("inspect", ()), ("convert", ("out.safetensors",)), ("run", ("x.npy",)), ("generate", ("1",)), ("bench", ()),
    ],
)  # fmt: skip
def test_wrong_dtypes_and_names_are_one_sentence(network, tmp_path, command, rest):
    rest = [tmp_path / name if "." in name else name for name in rest]
    np.save(tmp_path / "x.npy", np.zeros((1, 2), np.int64))
    assert "'int4' is not one of" in fail(command, network, *rest, "--dtype", "int4")
    said = fail(command, network, *rest, "--dtype", "int8", "--keep-float32", "lstm")
    assert said == "fastgru: keep_float32 names no layer: lstm; those with weights: embedding, gru, head"
    said = fail(command, network, *rest, "--keep-float32", "gru")
    assert said == "fastgru: keep_float32 goes with a dtype of bfloat16, float16, int8; dtype is None"

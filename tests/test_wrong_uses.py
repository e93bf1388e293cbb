"""Wrong and odd uses: the documented result, or the documented error: what was expected, what came and where."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import BadInput, BadModelFile, Model, StateMismatch, UnsupportedModel
from fastgru.graph import Embedding, Graph, Reshape, tensor_spec
from tolerances import check

GOLDEN = Path(__file__).parent / "data" / "golden"
FEATURES, UNITS, VOCABULARY = 3, 4, 7


def says(error: pytest.ExceptionInfo[BaseException], *words: object) -> None:
    """Fail unless the message holds every word, whatever its case."""
    message = str(error.value)
    missing = [str(word) for word in words if str(word).lower() not in message.lower()]
    assert not missing, f"{message!r} does not say {missing}"


def refused(
    kind: type[Exception], words: tuple[object, ...], call: Callable[..., Any], *args: Any, **options: Any
) -> None:
    with pytest.raises(kind) as error:
        call(*args, **options)
    says(error, *words)


def of_floats(*, return_sequences: bool = False, **options: Any) -> Model:
    layer = gru(np.random.default_rng(1), FEATURES, UNITS, mask="x:mask", return_sequences=return_sequences, **options)
    return Model(Graph((floats(FEATURES),), (layer,), ("gru", "gru:state")))


def of_tokens() -> Model:
    rng = np.random.default_rng(2)
    layer = gru(rng, 5, UNITS, source="embedding", mask="embedding:mask")
    head = dense(rng, UNITS, 1, name="out", source="gru", function="sigmoid")
    return Model(chain(tokens(), embedding(rng, VOCABULARY, 5, mask_zero=True, mask="x:mask"), layer, head))


def sequence(*shape: int) -> np.ndarray:
    return uniform(np.random.default_rng(3), *shape)


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none.h5", "none.keras", "none.safetensors", "none.hdf5", "none"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    refused(FileNotFoundError, (name,), fastgru.load, tmp_path / name)


STRANGERS = {
    "text": (b"I am no network\n", "text"),
    "empty": (b"", "empty"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "web page"),
    "pickle": (b"\x80\x04\x95\x10\0\0\0", "pickle"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
    "bytes": (bytes(range(200, 256)), "c8 c9"),
}


@pytest.mark.parametrize(("content", "word"), STRANGERS.values(), ids=STRANGERS)
def test_something_else_named_h5(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    refused(BadModelFile, ("model.h5", word), fastgru.load, path)


def test_a_directory(tmp_path: Path) -> None:
    refused(BadModelFile, (tmp_path.name, "directory"), fastgru.load, tmp_path)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("name", ["stock.h5", "regression.keras", "demo.safetensors"])
def test_truncated_file(tmp_path: Path, name: str, part: float) -> None:
    whole = (fastgru.demo_path() if name == "demo.safetensors" else GOLDEN / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(part * len(whole))])
    refused(BadModelFile, (name,), fastgru.load, path)


def repacked(path: Path, target: Path, replace: dict[str, bytes], drop: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.namelist():
            if member not in drop:
                copy.writestr(member, replace.get(member, source.read(member)))
    return target


def test_keras_archive_without_weights(tmp_path: Path) -> None:
    path = repacked(GOLDEN / "regression.keras", tmp_path / "m.keras", {}, drop=("model.weights.h5",))
    refused(BadModelFile, ("m.keras", "model.weights.h5"), fastgru.load, path)


def test_keras_archive_without_config(tmp_path: Path) -> None:
    path = repacked(GOLDEN / "regression.keras", tmp_path / "m.keras", {}, drop=("config.json",))
    refused(BadModelFile, ("m.keras", "config.json"), fastgru.load, path)


def archive_with(tmp_path: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """The regression network with its list of layers changed: [InputLayer, GRU 64, GRU 32, Dense 1]."""
    with zipfile.ZipFile(GOLDEN / "regression.keras") as archive:
        config = json.loads(archive.read("config.json"))
    change(config["config"]["layers"])
    return repacked(GOLDEN / "regression.keras", tmp_path / "m.keras", {"config.json": json.dumps(config).encode()})


def test_two_unsupported_layers_are_both_named(tmp_path: Path) -> None:
    def change(layers: list[dict[str, Any]]) -> None:
        layers[1] |= {"class_name": "LSTM", "config": layers[1]["config"] | {"name": "memory"}}
        layers[2] |= {"class_name": "ConvLSTM1D", "config": layers[2]["config"] | {"name": "picture"}}

    with pytest.raises(UnsupportedModel) as error:
        fastgru.load(archive_with(tmp_path, change))
    says(error, "memory", "LSTM", "picture", "ConvLSTM1D")
    assert len(error.value.reasons) == 2


@pytest.mark.parametrize("kind", ["LSTM", "SimpleRNN"])
def test_another_recurrent_layer_beside_a_gru(tmp_path: Path, kind: str) -> None:
    def change(layers: list[dict[str, Any]]) -> None:
        layers[1] |= {"class_name": kind, "config": layers[1]["config"] | {"name": "other_cell"}}

    with pytest.raises(UnsupportedModel) as error:
        fastgru.load(archive_with(tmp_path, change))
    says(error, kind, "other_cell")
    assert len(error.value.reasons) == 1


def test_an_attribute_that_is_not_understood(tmp_path: Path) -> None:
    def change(layers: list[dict[str, Any]]) -> None:
        layers[1]["config"]["peephole"] = True

    path = archive_with(tmp_path, change)
    refused(UnsupportedModel, ("peephole", "GRU"), fastgru.load, path)


def test_weights_of_another_size(tmp_path: Path) -> None:
    def change(layers: list[dict[str, Any]]) -> None:
        layers[2]["config"]["units"] = 33

    refused(BadModelFile, ("m.keras", "gru", "(64, 99)", "(64, 96)"), fastgru.load, archive_with(tmp_path, change))


def test_weights_without_architecture() -> None:
    with pytest.raises((BadInput, BadModelFile)) as error:
        fastgru.load(GOLDEN / "relu.hdf5")
    says(error, "relu.hdf5", "config")


def test_config_of_another_network() -> None:
    with pytest.raises(BadModelFile) as error:
        fastgru.load(GOLDEN / "relu.hdf5", config=GOLDEN / "characters.json")
    says(error, "relu.hdf5")


def test_missing_config() -> None:
    refused(FileNotFoundError, ("none.json",), fastgru.load, GOLDEN / "relu.hdf5", config=GOLDEN / "none.json")


def test_a_newer_fastgru_file(tmp_path: Path) -> None:
    data = fastgru.demo_path().read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = re.sub(rb'("fastgru_format": ?)"\d+"', rb'\1"999"', data[8 : 8 + length])
    path = tmp_path / "newer.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    refused(BadModelFile, ("newer.safetensors", "999"), fastgru.load, path)


# ---- options -------------------------------------------------------------------------------------------------------

OPTIONS = {
    "unknown dtype": ({"dtype": "float64"}, ("dtype", "float64", "float32")),
    "unknown matmul": ({"matmul": "mkl"}, ("matmul", "mkl", "auto")),
    "no threads": ({"threads": 0}, ("threads", 0)),
    "negative threads": ({"threads": -2}, ("threads", -2)),
    "half a thread": ({"threads": 1.5}, ("threads", 1.5)),
    "threads as text": ({"threads": "2"}, ("threads", "'2'")),
    "an option of no importer": ({"opset": 13}, ("opset", "demo.safetensors")),
    "config beside a whole network": ({"config": {}}, ("config", "demo.safetensors")),
}


@pytest.mark.parametrize(("options", "words"), OPTIONS.values(), ids=OPTIONS)
def test_wrong_options_of_load(options: dict[str, Any], words: tuple[object, ...]) -> None:
    refused(BadInput, words, fastgru.load, fastgru.demo_path(), **options)


@pytest.mark.parametrize("threads", [0, -1, 2.0, "2", True, 2**40])
def test_wrong_threads_of_a_call(threads: Any) -> None:
    refused(BadInput, ("threads", repr(threads)), of_floats(), sequence(1, 2, FEATURES), threads=threads)


# ---- arrays of floats ----------------------------------------------------------------------------------------------

WRONG_FLOATS = {
    "one axis": (np.zeros(5), ("batch, time", "(5,)")),
    "no batch": (np.zeros((5, FEATURES)), ("batch, time", f"(5, {FEATURES})")),
    "an axis too many": (np.zeros((1, 1, 5, FEATURES)), ("batch, time", f"(1, 1, 5, {FEATURES})")),
    "a feature too many": (np.zeros((1, 5, FEATURES + 1)), ("features", FEATURES, FEATURES + 1)),
    "no features": (np.zeros((1, 5, 0)), ("features", FEATURES, "(1, 5, 0)")),
    "a number": (3.0, ("batch, time",)),
    "nothing": (None, ("batch, time", "None")),
    "text": (np.full((1, 2, FEATURES), "a"), ("float", "dtype", "U1")),
    "objects": (np.full((1, 2, FEATURES), None), ("float", "object")),
    "complex numbers": (np.zeros((1, 2, FEATURES), complex), ("float", "complex128")),
    "dates": (np.zeros((1, 2, FEATURES), "datetime64[s]"), ("float", "datetime64")),
    "a list of arrays": ([np.zeros((2, FEATURES))] * 2, ("list", "stack")),
    "a list of arrays of several lengths": ([np.zeros((2, FEATURES)), np.zeros((3, FEATURES))], ("list", "pad")),
    "a ragged list": ([[[0.0] * FEATURES], [[0.0] * FEATURES] * 2], ("list", "pad")),
}


@pytest.mark.parametrize(("x", "words"), WRONG_FLOATS.values(), ids=WRONG_FLOATS)
def test_wrong_floats(x: Any, words: tuple[object, ...]) -> None:
    refused(BadInput, ("x", *words), of_floats(), x)
    with of_floats().stream() as stream:
        refused(BadInput, ("x", *words), stream.run, x)


def test_bad_input_is_a_value_error() -> None:
    refused(ValueError, ("x", "(5,)"), of_floats(), np.zeros(5))


def test_arrays_are_refused_before_anything_is_written() -> None:
    model = of_floats()
    out = tuple(np.full((1, UNITS), 9, np.float32) for _ in model.outputs)
    refused(BadInput, ("features",), model, np.zeros((1, 5, FEATURES + 1)), out=out)
    assert all((array == 9).all() for array in out)


WHOLE = sequence(4, 6, FEATURES)
ACCEPTED = {
    "float64": WHOLE.astype(np.float64),
    "longdouble": WHOLE.astype(np.longdouble),
    "big-endian": WHOLE.astype(">f4"),
    "Fortran order": np.asfortranarray(WHOLE),
    "every second step of a longer one": np.repeat(WHOLE, 2, axis=1)[:, ::2],
    "backwards in memory": WHOLE[:, ::-1].copy()[:, ::-1],
    "features apart": np.repeat(WHOLE, 2, axis=2)[:, :, ::2],
    "time first in memory": WHOLE.transpose(1, 0, 2).copy().transpose(1, 0, 2),
    "not aligned": np.frombuffer(b"\0" + WHOLE.tobytes(), np.uint8)[1:].view(np.float32).reshape(WHOLE.shape),
    "read-only": np.frombuffer(WHOLE.tobytes(), np.float32).reshape(WHOLE.shape),
    "nested lists of numbers": WHOLE.astype(float).tolist(),
}


@pytest.mark.parametrize("x", ACCEPTED.values(), ids=ACCEPTED)
def test_other_forms_of_the_same_numbers(x: Any) -> None:
    model = of_floats(return_sequences=True)
    assert same(model(x), model(WHOLE))
    with model.stream(batch_size=4) as stream:
        assert same(stream.run(x), model(WHOLE))
    steps = np.moveaxis(x, 1, 0) if isinstance(x, np.ndarray) else [[row[t] for row in x] for t in range(6)]
    with model.stream(batch_size=4) as stream:
        for step in steps:
            last = stream.step(step)
        assert same(last[:1], model(WHOLE)[0][None, :, -1])


def test_float16_is_widened() -> None:
    x = WHOLE.astype(np.float16)
    assert same(of_floats()(x), of_floats()(x.astype(np.float32)))


def test_a_broadcast_view_is_read_as_it_looks() -> None:
    x = np.broadcast_to(sequence(1, 1, FEATURES), (2, 5, FEATURES))
    assert same(of_floats()(x), of_floats()(x.copy()))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_odd_numbers_stay_in_their_row(value: float) -> None:
    model, x = of_floats(return_sequences=True), WHOLE.copy()
    x[1, 2, 0] = value
    y, state = model(x)
    clean, clean_state = model(WHOLE)
    others = [0, 2, 3]
    assert same((y[others], state[others]), (clean[others], clean_state[others]))
    assert same((y[1, :2],), (clean[1, :2],)), "steps before it"
    assert np.isnan(y[1, 2:]).all() == np.isnan(value)
    assert np.isnan(state[1]).all() == np.isnan(value)


# ---- token ids -----------------------------------------------------------------------------------------------------

WRONG_TOKENS = {
    "negative": ([[0, -1]], ("-1", "(0, 1)", VOCABULARY - 1)),
    "too large": ([[0, 1], [VOCABULARY, 0]], (VOCABULARY, "(1, 0)", VOCABULARY - 1)),
    "wraps to a small one": (np.array([[2**32 + 1]]), (2**32 + 1,)),
    "does not fit int64": (np.array([[2**64 - 1]], np.uint64), (2**64 - 1,)),
    "a fraction": ([[1.0, 1.5]], ("whole", "float64")),
    "NaN": ([[np.nan]], ("whole",)),
    "infinite": ([[np.inf]], ("whole",)),
    "a huge float": ([[1e30]], ("1",)),
    "a negative float": ([[-1.0]], ("-1",)),
    "bool": ([[True]], ("bool",)),
    "text": ([["good", "film"]], ("dtype",)),
    "one axis": ([1, 2, 3], ("batch, time", "(3,)")),
    "one-hot": (np.eye(VOCABULARY)[None], ("batch, time", f"(1, {VOCABULARY}, {VOCABULARY})")),
}


@pytest.mark.parametrize(("x", "words"), WRONG_TOKENS.values(), ids=WRONG_TOKENS)
def test_wrong_tokens(x: Any, words: tuple[object, ...]) -> None:
    x = np.array(x)
    refused(BadInput, ("x", *words), of_tokens(), x)
    with of_tokens().stream(batch_size=len(x)) as stream:
        refused(BadInput, ("x", *words), stream.run, x)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i8", "u8", "f2", "f4", "f8", ">i4", ">f8"])
def test_whole_numbers_of_any_dtype_are_ids(dtype: Any) -> None:
    ids = np.array([[1, 2, 6, 0], [3, 4, 5, 1]], np.int32)
    model = of_tokens()
    assert same(model(ids.astype(dtype)), model(ids))
    assert same(model(np.asfortranarray(ids.astype(dtype))), model(ids))
    with model.stream(batch_size=2) as stream:
        for step in ids.T:
            y = stream.step(step.astype(dtype))
        assert same(y, model(ids))


def test_a_wrong_token_of_a_step_leaves_the_stream_as_it_was() -> None:
    model = of_tokens()
    with model.stream() as stream:
        stream.step([3])
        before = stream.get_state()
        for wrong in ([VOCABULARY], [-1], [0.5], [1, 2], [[1, 2]], 1):
            refused(BadInput, (), stream.step, np.array(wrong))
        assert same(stream.get_state().values(), before.values())
        assert same(stream.step([4]), model([[3, 4]]))


# ---- nothing at all ------------------------------------------------------------------------------------------------


def test_empty_batch() -> None:
    y, state = of_floats(return_sequences=True)(np.zeros((0, 5, FEATURES)))
    assert (y.shape, state.shape) == ((0, 5, UNITS), (0, UNITS))
    assert of_tokens()(np.zeros((0, 5), np.int32)).shape == (0, 1)
    assert of_tokens()(np.zeros((0, 0), np.int32), lengths=[]).shape == (0, 1)
    assert of_tokens().predict(np.zeros((0, 5), np.int32)).shape == (0, 1)


@pytest.mark.parametrize("without", [("initial_state",), ()], ids=["from zero", "from a constant"])
def test_no_steps(without: tuple[str, ...]) -> None:
    """A sequence is empty, the last output that of a fully masked row: zero; the state is the initial one."""
    x = np.zeros((2, 0, FEATURES))
    model = of_floats(return_sequences=True, without=without)
    y, state = model(x)
    initial = model.graph.layers[0].tensors.get("initial_state", np.zeros(UNITS, np.float32))
    assert y.shape == (2, 0, UNITS)
    assert same((state,), (np.stack([initial] * 2),))
    last, state = of_floats(without=without)(x)
    assert same((last, state), (np.zeros((2, UNITS), np.float32), np.stack([initial] * 2)))


def test_no_steps_through_a_head() -> None:
    model = of_tokens()
    nothing = model(np.zeros((2, 0), np.int32))
    assert same(nothing, model(np.zeros((2, 3), np.int32))), "mask_zero masks every step"
    (expected,) = oracle.run(model.graph, {"x": np.zeros((2, 3), np.int32)})
    check(nothing, expected, "oracle")


def test_a_chunk_without_steps_answers_what_the_last_one_did() -> None:
    model = of_tokens()
    with model.stream(batch_size=2) as stream:
        fresh = stream.run(np.zeros((2, 0), np.int32))
        assert same(fresh, model(np.zeros((2, 0), np.int32)))
        y = stream.run(np.array([[1, 2], [3, 4]]))
        before = stream.get_state()
        assert same(stream.run(np.zeros((2, 0), np.int32)), y)
        assert same(stream.get_state().values(), before.values())


# ---- lengths and masks ---------------------------------------------------------------------------------------------

WRONG_LENGTHS = {
    "too long": ([2, 6], ("lengths[1]", 6, 5)),
    "negative": ([-1, 2], ("lengths[0]", -1)),
    "one for two rows": ([5], ("lengths", 2, "(1,)")),
    "three for two rows": ([5, 5, 5], ("lengths", 2, "(3,)")),
    "two axes": ([[5, 5]], ("lengths", "(1, 2)")),
    "a number": (5, ("lengths", 2)),
    "fractions": ([1.5, 2.0], ("lengths", "whole")),
    "text": (["5", "5"], ("lengths", "whole")),
    "ragged": ([[1], [1, 2]], ("lengths",)),
    "not there": ([None, 2], ("lengths", "whole")),
    "wrap to small ones": ([2**32 + 1, 2], ("lengths[0]", 2**32 + 1)),
}


@pytest.mark.parametrize(("lengths", "words"), WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
def test_wrong_lengths(lengths: Any, words: tuple[object, ...]) -> None:
    x = np.zeros((2, 5, FEATURES))
    refused(BadInput, words, of_floats(), x, lengths=lengths)
    with of_floats().stream(batch_size=2) as stream:
        refused(BadInput, words, stream.run, x, lengths=lengths)


WRONG_MASKS = {
    "too short": (np.ones((2, 4), bool), ("mask", "(2, 5)", "(2, 4)")),
    "of another batch": (np.ones((1, 5), bool), ("mask", "(2, 5)", "(1, 5)")),
    "one axis": (np.ones(5, bool), ("mask", "(5,)")),
    "with features": (np.ones((2, 5, 1), bool), ("mask", "(2, 5, 1)")),
    "floats": (np.ones((2, 5)), ("mask", "bool", "float64")),
    "text": (np.full((2, 5), "yes"), ("mask", "bool")),
    "ragged": ([[True], [True, False]], ("mask", "(2, 5)")),
    "a number": (1, ("mask", "(2, 5)")),
}


@pytest.mark.parametrize(("mask", "words"), WRONG_MASKS.values(), ids=WRONG_MASKS)
def test_wrong_masks(mask: Any, words: tuple[object, ...]) -> None:
    refused(BadInput, words, of_floats(), np.zeros((2, 5, FEATURES)), mask=mask)


def test_length_zero_is_a_row_without_steps() -> None:
    x = sequence(2, 5, FEATURES)
    for part, alone in zip(of_floats()(x, lengths=[0, 5]), of_floats()(x[1:]), strict=True):
        assert same((part,), (np.concatenate([np.zeros((1, UNITS), np.float32), alone]),))


@pytest.mark.parametrize("given", [{"lengths": [1, 2]}, {"mask": np.ones((2, 3), bool)}], ids=["lengths", "mask"])
def test_a_mask_that_a_layer_drops(given: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    shape = Reshape(name="regroup", inputs=("x",), target=(FEATURES,), per_step=True, drops_mask=True)
    flat = Reshape(name="flat", inputs=("x",), target=(3 * FEATURES,), drops_mask=True)
    networks = {
        "regroup": chain(floats(FEATURES), shape, gru(rng, FEATURES, UNITS, source="regroup")),
        "flat": chain(floats(FEATURES, 3), flat, dense(rng, 9, 2, name="out", source="flat", function="linear")),
    }
    for name, graph in networks.items():
        refused(BadInput, (name, "mask"), Model(graph), np.zeros((2, 3, FEATURES)), **given)


def test_lengths_of_a_stream_whose_mask_a_layer_drops() -> None:
    """A row runs its own steps there, so only lengths that there cannot be are refused."""
    shape = Reshape(name="regroup", inputs=("x",), target=(FEATURES,), per_step=True, drops_mask=True)
    graph = chain(floats(FEATURES), shape, gru(np.random.default_rng(4), FEATURES, UNITS, source="regroup"))
    with Model(graph).stream() as stream:
        refused(BadInput, ("lengths", 4, 3), stream.run, np.zeros((1, 3, FEATURES)), lengths=[4])
        refused(BadInput, ("lengths", "(2,)"), stream.run, np.zeros((1, 3, FEATURES)), lengths=[1, 2])
        assert stream.run(np.zeros((1, 3, FEATURES))).shape == (1, UNITS)


def test_lengths_that_nothing_reads() -> None:
    """Silently ignoring them would give a wrong answer."""
    graph = chain(floats(FEATURES), gru(np.random.default_rng(4), FEATURES, UNITS))
    refused(BadInput, ("gru", "mask"), Model(graph), np.zeros((2, 3, FEATURES)), lengths=[1, 2])


def without_time() -> Model:
    head = dense(np.random.default_rng(5), 3, 2, name="out", source="x", function="tanh")
    return Model(chain(tensor_spec("x", False, (3,)), head))


def test_lengths_for_a_network_without_time() -> None:
    refused(BadInput, ("lengths", "time"), without_time(), np.zeros((2, 3)), lengths=[1, 1])


# ---- several inputs ------------------------------------------------------------------------------------------------


def of_two() -> Model:
    layer = gru(np.random.default_rng(6), FEATURES, UNITS, inputs=("x", "h0"))
    return Model(Graph((floats(FEATURES), tensor_spec("h0", False, (UNITS,))), (layer,), ("gru",)))


X, H0 = np.zeros((2, 3, FEATURES), np.float32), np.zeros((2, UNITS), np.float32)
WRONG_CALLS = {
    "none": ((), ("2", "x", "h0")),
    "one of two": ((X,), ("2", "x", "h0", "1")),
    "three of two": ((X, H0, H0), ("2", "3")),
    "a name missing": (({"x": X},), ("h0",)),
    "a foreign name": (({"x": X, "initial_h": H0},), ("h0", "initial_h")),
    "a name too many": (({"x": X, "h0": H0, "c0": H0},), ("c0",)),
    "swapped": ((H0, X), ("x", "(2, 4)")),
    "several batch sizes": ((X, H0[:1]), ("h0", "1", "2")),
    "a list of the inputs": (([X, H0],), ("2", "x", "h0")),
    "units": ((X, np.zeros((2, UNITS + 1))), ("h0", UNITS, UNITS + 1)),
    "an initial state with time": ((X, H0[:, None]), ("h0", "(2, 1, 4)")),
}


@pytest.mark.parametrize(("inputs", "words"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_wrong_sets_of_inputs(inputs: tuple[Any, ...], words: tuple[object, ...]) -> None:
    refused(BadInput, words, of_two(), *inputs)


def test_a_known_number_of_steps_is_kept_to() -> None:
    flat = Reshape(name="flat", inputs=("x",), target=(6,))
    model = Model(chain(floats(3, 2), flat))
    refused(BadInput, ("time", 2, "(1, 5, 3)"), model, np.zeros((1, 5, 3)))


# ---- out= ----------------------------------------------------------------------------------------------------------

FROZEN = np.zeros((2, UNITS), np.float32)
FROZEN.setflags(write=False)
WRONG_OUT = {
    "shape": (np.zeros((2, UNITS + 1), np.float32), ("out", f"(2, {UNITS})", f"(2, {UNITS + 1})")),
    "a larger batch": (np.zeros((3, UNITS), np.float32), ("out", f"(2, {UNITS})", f"(3, {UNITS})")),
    "dtype": (np.zeros((2, UNITS)), ("out", "float32", "float64")),
    "byte order": (np.zeros((2, UNITS), ">f4"), ("out", "float32")),
    "read-only": (FROZEN, ("out", "writ")),
    "not contiguous": (np.zeros((2, 2 * UNITS), np.float32)[:, ::2], ("out", "contiguous")),
    "a list": ([[0.0] * UNITS] * 2, ("out",)),
}


def of_one() -> Model:
    return Model(chain(floats(FEATURES), gru(np.random.default_rng(7), FEATURES, UNITS)))


@pytest.mark.parametrize(("out", "words"), WRONG_OUT.values(), ids=WRONG_OUT)
def test_wrong_out(out: Any, words: tuple[object, ...]) -> None:
    refused(BadInput, words, of_one(), X, out=out)
    with of_one().stream(batch_size=2) as stream:
        refused(BadInput, words, stream.run, X, out=out)
        refused(BadInput, words, stream.step, X[:, 0], out=out)
        assert not any(state.any() for state in stream.get_state().values()), "a refused call moved the state"


def test_out_for_several_outputs() -> None:
    model = of_floats()
    one = np.zeros((2, UNITS), np.float32)
    refused(BadInput, ("out", 2, 1), model, X, out=(one,))
    refused(BadInput, ("out", 2), model, X, out=one)
    refused(BadInput, ("out", "overlap"), model, X, out=(one, one))


def test_out_that_is_the_input() -> None:
    model = Model(chain(floats(UNITS), gru(np.random.default_rng(7), UNITS, UNITS, return_sequences=True)))
    x = sequence(2, 5, UNITS)
    refused(BadInput, ("out", "overlap"), model, x, out=x)


# ---- predict -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [-1, 2.5, None, "4", True])
def test_wrong_batch_size_of_predict(batch_size: Any) -> None:
    refused(BadInput, ("batch_size", repr(batch_size)), of_one().predict, X, batch_size=batch_size)


@pytest.mark.parametrize("number", [np.int32(2), np.int64(2), np.uint8(2)], ids=lambda number: type(number).__name__)
def test_numpys_whole_numbers_are_whole_numbers(number: Any) -> None:
    model = of_one()
    y = model(X)
    assert same(model.predict(X, batch_size=number), y)
    assert same(model(X, threads=number), y)
    with model.stream(batch_size=number, threads=number) as stream:
        assert same(stream.run(X), y)


def test_wrong_arguments_of_predict() -> None:
    refused(BadInput, ("batch",), of_one().predict, [])
    refused(BadInput, ("rows", 1, 2), of_two().predict, (X, H0[:1]))
    refused(BadInput, ("lengths", "batches"), of_floats().predict, iter([X]), lengths=[1, 1])
    refused(BadInput, ("lengths", 2, "(1,)"), of_floats().predict, X, lengths=[1])
    refused(BadInput, ("lengths", 2, "(3,)"), of_floats().predict, X, lengths=[1, 1, 1])
    refused(BadInput, ("mask", "2 rows", "(3, 3)"), of_floats().predict, X, mask=np.ones((3, 3), bool))
    refused(BadInput, ("x", "()"), of_one().predict, np.float32(1))
    refused(BadInput, ("lengths",), of_floats().predict, X, lengths="ab")
    refused(BadInput, ("mask",), of_floats().predict, X, mask=True)


@pytest.mark.parametrize("x", [None, 3])
def test_predict_of_no_array_and_no_batches(x: Any) -> None:
    refused(BadInput, ("batches", type(x).__name__), of_one().predict, x)


# ---- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [-1, 2.5, None, "4", True, 2**70])
def test_wrong_batch_size_of_a_stream(batch_size: Any) -> None:
    refused(BadInput, ("batch_size", repr(batch_size)), of_one().stream, batch_size=batch_size)


WRONG_STEPS = {
    "rows": (np.zeros((3, FEATURES)), (2, 3, "(3, 3)")),
    "features": (np.zeros((2, FEATURES + 2)), ("features", FEATURES, FEATURES + 2)),
    "a time axis": (np.zeros((2, 1, FEATURES)), ("batch, features", "(2, 1, 3)")),
    "one axis": (np.zeros(FEATURES), ("batch, features", "(3,)")),
    "nothing": (None, ("batch, features", "None")),
}


@pytest.mark.parametrize(("x", "words"), WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_wrong_steps(x: Any, words: tuple[object, ...]) -> None:
    with of_one().stream(batch_size=2) as stream:
        refused(BadInput, words, stream.step, x)


def test_another_batch_size_than_the_streams() -> None:
    with of_one().stream(batch_size=2) as stream:
        refused(BadInput, ("batch_size", 2, 3), stream.run, np.zeros((3, 1, FEATURES)))
        refused(BadInput, ("batch_size", 2, 0), stream.run, np.zeros((0, 1, FEATURES)))


@pytest.mark.parametrize("rows", [2, -1, [0, 5], [True], ["a"], 1.5, [0.0]])
@pytest.mark.parametrize("method", ["reset", "get_state"])
def test_wrong_rows(method: str, rows: Any) -> None:
    with of_one().stream(batch_size=2) as stream:
        refused(BadInput, ("rows", "0", "1"), getattr(stream, method), rows)


def test_state_of_another_network() -> None:
    rng = np.random.default_rng(8)
    other = Model(chain(floats(FEATURES), gru(rng, FEATURES, UNITS + 1))).stream()
    renamed = Model(chain(floats(FEATURES), gru(rng, FEATURES, UNITS, name="cell"))).stream()
    stream = of_one().stream()
    refused(StateMismatch, ("gru/h", "(1, 4)", "(1, 5)"), stream.set_state, other.get_state())
    refused(StateMismatch, ("gru/h", "cell/h"), stream.set_state, renamed.get_state())
    refused(StateMismatch, ("gru/h",), stream.set_state, {})
    assert not stream.get_state()["gru/h"].any()


def test_state_of_another_number_of_rows() -> None:
    stream, three = of_one().stream(batch_size=2), of_one().stream(batch_size=3)
    refused(StateMismatch, ("gru/h", "(2, 4)", "(3, 4)"), stream.set_state, three.get_state())
    refused(StateMismatch, ("gru/h", "(1, 4)", "(2, 4)"), stream.set_state, stream.get_state(), rows=1)


@pytest.mark.parametrize("value", ["abc", None, [["a"] * UNITS], [[None] * UNITS], [[1j] * UNITS], [[1.0], [2.0, 3.0]]])
def test_state_that_is_no_numbers(value: Any) -> None:
    refused(StateMismatch, ("gru/h",), of_one().stream().set_state, {"gru/h": value})


@pytest.mark.parametrize("state", [None, [1.0], "gru/h"])
def test_state_that_is_no_dict(state: Any) -> None:
    refused(StateMismatch, ("gru/h", type(state).__name__), of_one().stream().set_state, state)


def test_last_output_of_another_state() -> None:
    stream = of_floats().stream()
    state = stream.get_state() | {"gru/last_output": sequence(1, UNITS)}
    refused(StateMismatch, ("gru/last_output",), stream.set_state, state)


def test_inputs_of_a_stream() -> None:
    model = of_two()
    refused(BadInput, ("inputs", "h0"), model.stream)
    refused(BadInput, ("inputs", "h0", "c0"), model.stream, inputs={"c0": H0[:1]})
    refused(BadInput, ("inputs", "h0", "x"), model.stream, inputs={"h0": H0[:1], "x": X})
    refused(BadInput, ("h0", "(2, 4)", 1), model.stream, inputs={"h0": H0})
    refused(BadInput, ("h0", UNITS), model.stream, inputs={"h0": np.zeros((1, UNITS + 1))})
    refused(BadInput, ("h0",), model.stream, inputs={"h0": np.full((1, UNITS), "a")})
    refused(BadInput, ("inputs",), of_one().stream, inputs={"h0": H0[:1]})
    refused(BadInput, ("inputs", "h0"), model.stream, inputs=[H0[:1]])


def test_networks_that_cannot_stream_name_every_layer() -> None:
    rng = np.random.default_rng(9)
    backwards = gru(rng, FEATURES, UNITS, name="back", go_backwards=True, return_sequences=True)
    flat = Reshape(name="flatten", inputs=("back",), target=(2 * UNITS,))
    with pytest.raises(UnsupportedModel) as error:
        Model(chain(floats(FEATURES, 2), backwards, flat)).stream()
    says(error, "back", "flatten", "stream")
    assert len(error.value.reasons) == 2


def test_a_network_without_time_cannot_stream() -> None:
    refused(UnsupportedModel, ("time", "stream"), without_time().stream)


def test_tokens_without_time() -> None:
    """A network may look up one id a row."""
    table = uniform(np.random.default_rng(10), VOCABULARY, 2)
    spec = tensor_spec("x", False, (), "int32")
    model = Model(chain(spec, Embedding(name="embedding", inputs=("x",), table=table)))
    assert same(model(np.array([3, 1])), table[[3, 1]])
    refused(BadInput, ("x", VOCABULARY), model, np.array([3, VOCABULARY]))

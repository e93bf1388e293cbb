"""`fastgru quantize`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import fastgru
from building import chain, dense, embedding, floats, gru, tokens
from commands import command, fail, succeed
from fastgru import file
from fastgru.graph import Graph, NarrowArray, tensor_spec
from fastgru.narrowing import narrow
from fastgru.quantization import measure

DEMO = fastgru.demo_path()
TEXTS = ("A warm, funny film with a big heart.", "Two hours of my life that I will never get back.", "Fine.")
FEATURES, UNITS, CLASSES = 5, 12, 4
ROWS, STEPS = 6, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Networks and data."""
    made, rng = tmp_path_factory.mktemp("quantize"), np.random.default_rng(2)
    first = dense(rng, FEATURES, UNITS, name="first", source="x", function="relu")
    second = dense(rng, UNITS, UNITS, name="second", source="first", function="tanh")
    first.kernel[:, 0] = first.bias[0] = 0  # the first unit is always 0, and what it is multiplied by does not matter:
    second.kernel[0] = 1000.0  # … but to int8
    steps = gru(rng, UNITS, UNITS, name="steps", source="second", return_sequences=True, mask="x:mask")
    head = dense(rng, UNITS, CLASSES, name="head", source="steps", function="softmax")
    head.bias[:] = 0  # answers vary
    file.write(chain(floats(FEATURES), first, second, steps, head), made / "steps.safetensors")
    words = embedding(rng, 9, FEATURES)
    last = gru(rng, FEATURES, UNITS, source="embedding")
    file.write(chain(tokens(), words, last), made / "last.safetensors")
    x, h = floats(FEATURES), tensor_spec("h", False, (UNITS,))
    carried = gru(rng, FEATURES, UNITS, return_sequences=True)
    carried = type(carried)(**{**vars(carried), "inputs": ("x", "h")})
    graph = Graph((x, h), (carried,), ("gru", "gru:state"), states=(("h", "gru:state"),))
    file.write(graph, made / "carried.safetensors")
    np.save(made / "x.npy", rng.normal(size=(ROWS, STEPS, FEATURES)).astype(np.float32))
    np.savez(made / "both.npz", x=np.load(made / "x.npy"), h=rng.normal(size=(ROWS, UNITS)))
    np.savez(made / "other.npz", y=np.zeros(3))
    model = fastgru.load(made / "steps.safetensors")
    np.save(made / "labels.npy", model(np.load(made / "x.npy")).argmax(-1))
    (made / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    np.save(made / "opinions.npy", [1, 0, 1])
    (made / "ids.csv").write_text("1,2,3\n4,5,8\n", encoding="utf-8")
    return made


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Speed is measured for a moment only."""
    from fastgru import quantization

    timed = quantization.compare_speed
    monkeypatch.setattr(quantization, "compare_speed", lambda *args, **given: timed(*args, **given, seconds=0.01))


def line(text: str, word: str) -> list[str]:
    """The cells of the first line of a table that begins with a word."""
    return next(re.split(r" {2,}", row.strip()) for row in text.splitlines() if row.strip().startswith(f"{word} "))


def test_report_of_sequences(folder):
    shown = succeed("quantize", folder / "steps.safetensors", "--data", folder / "x.npy")
    model = fastgru.load(folder / "steps.safetensors")
    small = fastgru.Model(narrow(model.graph, "int8"))
    (output,) = measure(model, small, np.load(folder / "x.npy")).outputs
    cells = line(shown, "head")
    assert cells[1] == f"{ROWS * STEPS * CLASSES:,}"
    assert cells[2] == f"{output.largest:.1e}"
    assert cells[4] == f"{output.snr:.1f} dB"
    assert cells[5].endswith(f"% of {ROWS * STEPS}")
    assert "the error of output 'head' does not grow: rms times" in shown
    costs = [row.split()[0] for row in shown.splitlines() if " dB" in row and ("Dense" in row or "GRU" in row)]
    assert costs[0] == "second"
    assert sorted(costs) == ["first", "head", "second", "steps"]
    assert "calls on the first rows of the data, at most 1,000 steps, 1 thread; medians of" in shown
    assert "the same again" not in shown, "nothing was written"


def test_the_suggestion_is_written_and_its_command_repeats_it(folder, tmp_path):
    out = tmp_path / "small network.safetensors"
    shown = succeed("quantize", folder / "steps.safetensors", "--data", folder / "x.npy", "--min-snr", "35", "-o", out)
    assert "a signal-to-noise ratio of at least 35 dB is met with second kept in float32 (" in shown
    model, small = fastgru.load(folder / "steps.safetensors"), fastgru.load(out)
    kinds = {layer.name: isinstance(layer.kernel, NarrowArray) for layer in small.graph.layers}
    assert kinds == {"first": True, "second": False, "steps": True, "head": True}
    assert measure(model, small, np.load(folder / "x.npy")).snr >= 35
    (repeating,) = re.findall(r"the same again: (fastgru convert .+)", shown)
    words = shlex.split(repeating)
    assert words[1:3] == ["convert", str(folder / "steps.safetensors")]
    again = tmp_path / "again.safetensors"
    succeed(*(str(again) if word == str(out) else word for word in words[1:]))
    assert fastgru.load(again).fingerprint == small.fingerprint


def test_the_metric_is_said_and_bounded(folder, tmp_path):
    given = ("quantize", folder / "steps.safetensors", "--data", folder / "x.npy", "--labels", folder / "labels.npy")
    shown = succeed(*given, "--max-drop", "0.01", "--json", tmp_path / "all.json")
    assert "metric: accuracy of output 'head': labels are ids of 4 classes" in shown
    assert "accuracy: 100.00% in float32, " in shown
    assert "a drop of at most 0.01 is met with second kept in float32" in shown
    assert "accuracy drops by" in shown
    said = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert said["report"]["metric"]["before"] == 1.0
    assert said["report"]["metric"]["drop"] > 0.01
    assert said["suggestion"]["keep_float32"] == ["second"]
    assert said["suggestion"]["report"]["metric"]["drop"] <= 0.01
    assert len(said["report"]["outputs"][0]["steps"]["rms"]) == STEPS
    assert set(said["layers"]) == {"first", "second", "steps", "head"}
    assert {speed["rows"] for speed in said["speed"]} == {1, ROWS}
    assert "perplexity: " in succeed(*given, "--metric", "perplexity", "--dtype", "bfloat16")


def test_json_has_no_infinity(folder, tmp_path):
    table = embedding(np.random.default_rng(0), 9, 4)
    table.table[:] = 1.0  # which every dtype expresses
    file.write(chain(tokens(), table), tmp_path / "ones.safetensors")
    shown = succeed(
        "quantize", tmp_path / "ones.safetensors", "--data", folder / "ids.csv", "--json", tmp_path / "all.json"
    )
    assert line(shown, "embedding")[4] == "no error"
    assert json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))["report"]["outputs"][0]["snr"] is None


def test_what_only_float32_meets_is_not_written(folder, tmp_path):
    result = command(
        "quantize", folder / "steps.safetensors", "--data", folder / "x.npy", "--min-snr", "300",
        "-o", tmp_path / "o.safetensors", "--max-runs", "3",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "at least 300 dB cannot be met with any layer in int8, as far as was tried" in result.stdout
    assert not (tmp_path / "o.safetensors").exists()


def test_layers_that_are_kept_anyway(folder, tmp_path):
    out = tmp_path / "o.safetensors"
    shown = succeed(
        "quantize", folder / "steps.safetensors", "--data", folder / "x.npy", "--keep-float32", "second",
        "--keep-float32", "f*", "--dtype", "float16", "-o", out,
    )  # fmt: skip
    kinds = {layer.name: isinstance(layer.kernel, NarrowArray) for layer in fastgru.load(out).graph.layers}
    assert kinds == {"first": False, "second": False, "steps": True, "head": True}
    assert "--dtype float16 --keep-float32 second --keep-float32 'f*'" in shown


def test_texts(folder):
    given = ("quantize", DEMO, "--data", folder / "texts.txt", "--text")
    shown = succeed(*given, "--labels", folder / "opinions.npy", "--threads", "2")
    assert "labels are 0 or 1, yes from 0.5 on" in shown
    assert line(shown, "dense")[1] == "3"
    assert "at most 2 threads" in shown
    assert "along the sequence" not in shown
    shown = succeed(*given, "--labels", folder / "opinions.npy", "--metric", "mse")
    assert "metric: mse of output 'dense': labels are numbers" in shown


def test_ids_a_sequence_a_line(folder):
    shown = succeed("quantize", folder / "last.safetensors", "--data", folder / "ids.csv")
    assert line(shown, "gru")[1] == f"{2 * UNITS}"


def test_states_begin_at_zero_or_are_given(folder):
    model = fastgru.load(folder / "carried.safetensors")
    small = fastgru.Model(narrow(model.graph, "int8"))
    x, h = (np.load(folder / "both.npz")[name] for name in "xh")
    for given, state in (("x.npy", np.zeros_like(h)), ("both.npz", h)):
        shown = succeed("quantize", folder / "carried.safetensors", "--data", folder / given)
        expected = measure(model, small, {"x": x, "h": state}).outputs
        assert line(shown, "gru")[2] == f"{expected[0].largest:.1e}"
        assert line(shown, "gru:state")[2] == f"{expected[1].largest:.1e}"


def test_lengths(folder):
    shown = succeed(
        "quantize", folder / "steps.safetensors", "--data", folder / "x.npy", "--lengths", "1,2,3,4,5,6",
        "--batch-size", "4",
    )  # fmt: skip
    assert line(shown, "head")[1] == f"{21 * CLASSES}"
    assert "too few steps" in shown


def test_plot(folder, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: NO PLOT IS DRAWN")
    path = tmp_path / "error.png"
    shown = succeed("quantize", folder / "steps.safetensors", "--data", folder / "x.npy", "--plot", path)
    assert f"error along the sequence: {path}" in shown
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "--data"),
        (("--data", "nowhere.npy"), "nowhere.npy"),
        (("--data", "x.txt"), "should be a .npy or .csv file"),
        (("--data", "x.npy", "--text"), "no vocabulary for --text"),
        (("--data", "other.npz"), "expected arrays for the inputs x; got y"),
        (("--data", "x.npy", "--dtype", "int4"), "--dtype"),
        (("--data", "x.npy", "--metric", "bleu"), "--metric"),
        (("--data", "x.npy", "--metric", "mse"), "metric 'mse' needs labels"),
        (("--data", "x.npy", "--max-drop", "0.1"), "max_drop is about a metric, and so needs labels"),
        (("--data", "x.npy", "--max-drop", "-1"), "--max-drop"),
        (("--data", "x.npy", "--labels", "opinions.npy"), "have shape (3,)"),
        (("--data", "x.npy", "--labels", "ids.csv"), "labels should be a .npy or .npz file"),
        (("--data", "x.npy", "--keep-float32", "decoder"), "decoder"),
        (("--data", "x.npy", "--keep-float32", "*"), "no layer is left whose weights could be int8"),
        (("--data", "x.npy", "-o", "out.npy"), "OUT should end in .safetensors"),
        (("--data", "x.npy", "-o", "no/out.safetensors"), "there is no folder"),
        (("--data", "x.npy", "-o", "steps.safetensors"), "are the same file"),
        (("--data", "x.npy", "--plot", "error.svg"), "should end in .png"),
        (("--data", "x.npy", "--lengths", "1,2"), "lengths should have 6 rows"),
        (("--data", "x.npy", "--batch-size", "0"), "--batch-size"),
    ],
)
def test_wrong_uses_are_one_sentence(folder, monkeypatch, args, words):
    monkeypatch.chdir(folder)
    assert words in fail("quantize", "steps.safetensors", *args)


def test_nothing_to_plot(folder, monkeypatch):
    monkeypatch.chdir(folder)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: NO PLOT IS DRAWN")
    assert "no output has a time axis" in fail("quantize", "last.safetensors", "--data", "ids.csv", "--plot", "e.png")
    assert "is narrow" not in fail("quantize", "last.safetensors", "--data", "x.npy")


def test_a_narrow_file_is_no_reference(folder, tmp_path):
    model = fastgru.load(folder / "steps.safetensors")
    fastgru.Model(narrow(model.graph, "int8")).save(tmp_path / "small.safetensors")
    assert "should be float32" in fail("quantize", tmp_path / "small.safetensors", "--data", folder / "x.npy")

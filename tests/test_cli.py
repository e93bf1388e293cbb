"""Every command on real files, and every wrong use: one sentence on stderr, exit code 2, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastgru
from commands import fail, program, succeed
from fastgru import file
from fastgru.graph import GRU, Activation, Dense, Embedding, Graph, tensor_spec

DEMO = fastgru.demo_path()
GOLDEN = Path(__file__).parent / "data" / "golden"
FEATURES, UNITS, VOCABULARY = 3, 5, 11
COMMANDS = ("demo", "inspect", "convert", "run", "generate", "verify", "quantize", "bench")


def gru(rng: np.random.Generator, name: str, source: str, size: int, **options) -> GRU:
    def weights(*shape: int) -> np.ndarray:
        return rng.uniform(-0.5, 0.5, shape).astype(np.float32)

    tensors = {
        "kernel": weights(size, 3 * UNITS),
        "recurrent_kernel": weights(UNITS, 3 * UNITS),
        "bias": weights(3 * UNITS),
    }
    return GRU(name=name, inputs=(source,), units=UNITS, **tensors, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Networks of each kind of input, as fastgru files."""
    made, rng = tmp_path_factory.mktemp("networks"), np.random.default_rng(5)
    x, tokens = tensor_spec("x", None, (FEATURES,)), tensor_spec("tokens", None, (), "int32")
    flat = tensor_spec("flat", False, (FEATURES,))
    one = gru(rng, "gru", "x", FEATURES, return_sequences=True, mask="x:mask")
    vectors = rng.normal(size=(VOCABULARY, FEATURES)).astype(np.float32)
    table = Embedding(name="table", inputs=("tokens",), table=vectors, mask="tokens:mask")
    last = gru(rng, "gru", "table", FEATURES, mask="table:mask")
    dense = Dense(
        name="dense", inputs=("flat",), kernel=np.eye(FEATURES, dtype=np.float32), activation=Activation("tanh")
    )
    back = gru(rng, "gru", "x", FEATURES, go_backwards=True)
    for name, graph in {
        "steps": Graph((x,), (one,), ("gru",), name="steps", notes=("made for a test",)),
        "tokens": Graph((tokens,), (table, last), ("gru",)),
        "flat": Graph((flat,), (dense,), ("dense",)),
        "two": Graph((x,), (one,), ("gru", "gru:state")),
        "back": Graph((x,), (back,), ("gru",)),
    }.items():
        file.write(graph, made / f"{name}.safetensors")
    return made


def sequence(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape, dtype=np.float32)


# ---- help and usage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name):
    text = succeed(name, "--help")
    assert f"Example: fastgru {name}" in text


@pytest.mark.parametrize("args", [(), ("--help",)])
def test_help_names_every_command(args):
    text = succeed(*args)
    assert all(name in text for name in COMMANDS)


def test_version():
    assert succeed("--version").strip() == f"fastgru {fastgru.__version__}"


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("runn",), "runn"),
        (("inspect",), "MODEL"),
        (("inspect", DEMO, "extra"), "extra"),
        (("run", DEMO), "INPUT"),
        (("bench", DEMO, "--threads", "0"), "--threads"),
        (("bench", DEMO, "--batch", "x"), "--batch"),
        (("run", DEMO, "x.npy", "--batch-size", "0"), "--batch-size"),
        (("demo", "--loud"), "--loud"),
    ],
)
def test_bad_usage_is_one_sentence(args, word):
    sentence = fail(*args)
    assert word in sentence
    assert "\n" not in sentence


# ---- demo ------------------------------------------------------------------------------------------------------------


def test_demo_judges_given_texts():
    text = succeed("demo", "I loved every minute of it.", "A dull, pointless mess.")
    good, bad = (line for line in text.splitlines() if "µs" in line)
    assert good.split()[0] == "positive"
    assert bad.split()[0] == "negative"
    assert good.rstrip().endswith("I loved every minute of it.")


def test_demo_has_sentences_of_its_own():
    text = succeed("demo")
    assert text.count("µs") == 5
    assert "held-out" in text


def test_demo_shows_markup_as_it_is():
    assert "[bold]great[/bold] film" in succeed("demo", "[bold]great[/bold] film")


@pytest.mark.parametrize("text", ["", "  "])
def test_demo_refuses_a_text_without_words(text):
    assert "holds no words" in fail("demo", text)


# ---- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect_shows_the_network(folder):
    text = succeed("inspect", folder / "steps.safetensors")
    parameters = 3 * UNITS * (FEATURES + UNITS + 1)
    for word in (
        "x (batch, time, 3) float32",
        "gru (batch, time, 5) float32",
        f"{parameters} parameters",
        "made for a test",
    ):
        assert word in text
    assert f"{3 * UNITS * (FEATURES + UNITS)} multiply-adds" in text
    assert fastgru.load(folder / "steps.safetensors").fingerprint in text


def test_inspect_shows_the_text_front_end():
    shown = succeed("inspect", DEMO).splitlines()
    assert "answers      negative / positive" in shown
    assert "input 'tokens' takes texts: lower, words, 6,000 tokens" in shown


@pytest.mark.parametrize("name", COMMANDS[1:])
def test_missing_model(name, tmp_path):
    rest = {
        "convert": [tmp_path / "out.safetensors"],
        "run": [tmp_path / "x.npy"],
        "generate": ["a"],
        "quantize": ["--data", tmp_path / "x.npy"],
    }.get(name, [])
    assert "nowhere.h5" in fail(name, tmp_path / "nowhere.h5", *rest)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_damaged_model(content, tmp_path):
    (tmp_path / "bad.h5").write_bytes(content)
    assert "bad.h5" in fail("inspect", tmp_path / "bad.h5")


def test_folder_for_a_model(tmp_path):
    assert str(tmp_path) in fail("inspect", tmp_path)


def test_damaged_text_front_end(tmp_path):
    graph = file.read(DEMO)
    object.__setattr__(graph, "text", {**graph.text, "split": "sentences"})
    file.write(graph, tmp_path / "bad.safetensors")
    assert "'split' should be one of" in fail("inspect", tmp_path / "bad.safetensors")


# ---- convert ---------------------------------------------------------------------------------------------------------


def test_convert_a_keras_file(tmp_path):
    target = tmp_path / "model.safetensors"
    text = succeed("convert", GOLDEN / "regression.keras", target)
    x = np.load(GOLDEN / "regression.npz")["x"]
    np.testing.assert_array_equal(fastgru.load(target)(x), fastgru.load(GOLDEN / "regression.keras")(x))
    assert fastgru.load(target).fingerprint in text


def test_convert_weights_with_config(tmp_path):
    target, weights = tmp_path / "model.safetensors", GOLDEN / "relu.hdf5"
    assert "config" in fail("convert", weights, target)
    assert not target.exists()
    succeed("convert", weights, target, "--config", GOLDEN / "relu.json")
    assert fastgru.load(target).fingerprint == fastgru.load(weights, config=GOLDEN / "relu.json").fingerprint


def test_convert_keeps_the_text_front_end(tmp_path):
    succeed("convert", DEMO, tmp_path / "copy.safetensors")
    assert file.read(tmp_path / "copy.safetensors").text == file.read(DEMO).text


def test_convert_refuses_other_endings_and_the_source_itself(folder, tmp_path):
    source = folder / "steps.safetensors"
    assert "should end in .safetensors" in fail("convert", source, tmp_path / "model.h5")
    assert "same file" in fail("convert", source, source)
    assert "nowhere" in fail("convert", source, tmp_path / "nowhere" / "model.safetensors")


# ---- run -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_run_on_npy(folder, tmp_path, batch_size):
    x, model = sequence(5, 4, FEATURES), folder / "steps.safetensors"
    np.save(tmp_path / "x.npy", x)
    text = succeed(
        "run", model, tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--batch-size", batch_size, "--threads", 1
    )
    assert "(5, 4, 3)" in text
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fastgru.load(model)(x))


def test_run_on_a_keras_file_gives_what_keras_gave(tmp_path):
    with np.load(GOLDEN / "stock.npz") as golden:
        np.save(tmp_path / "x.npy", golden["x"])
        expected = golden["float64"]
    succeed("run", GOLDEN / "stock.h5", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"), expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max())
    )


@pytest.mark.parametrize("given", ["1,4,2", "npy"])
def test_run_with_lengths(folder, tmp_path, given):
    x, model = sequence(3, 4, FEATURES), folder / "steps.safetensors"
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "n.npy", np.array([1, 4, 2]))
    lengths = tmp_path / "n.npy" if given == "npy" else given
    succeed("run", model, tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--lengths", lengths, "--batch-size", 2)
    y = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(y, fastgru.load(model)(x, lengths=[1, 4, 2]))
    np.testing.assert_array_equal(y[0, 1:], y[0, :1].repeat(3, axis=0), err_msg="masked steps repeat the last output")


@pytest.mark.parametrize("heading", ["", "a,b,c\n"])
def test_run_on_csv_steps(folder, tmp_path, heading):
    x, model = sequence(4, FEATURES), folder / "steps.safetensors"
    rows = "\n".join(",".join(map(repr, map(float, row))) for row in x)
    (tmp_path / "x.csv").write_text(f"{heading}{rows}\n\n")
    succeed("run", model, tmp_path / "x.csv", "-o", tmp_path / "y.csv")
    y = np.loadtxt(tmp_path / "y.csv", delimiter=",", dtype=np.float32)
    np.testing.assert_array_equal(y, fastgru.load(model)(x[None])[0])


def test_run_on_csv_rows_without_time(folder, tmp_path):
    (tmp_path / "x.csv").write_text("1,2,3\n4,5,6\n")
    text = succeed("run", folder / "flat.safetensors", tmp_path / "x.csv")
    assert np.array([line.split(",") for line in text.split()], float).shape == (2, FEATURES)


def test_run_on_csv_tokens_of_any_length(folder, tmp_path):
    model = fastgru.load(folder / "tokens.safetensors")
    (tmp_path / "x.csv").write_text("1,2,3\n4\n10,0\n")
    succeed("run", folder / "tokens.safetensors", tmp_path / "x.csv", "-o", tmp_path / "y.npy")
    expected = np.concatenate([model(np.array([ids])) for ids in ([1, 2, 3], [4], [10, 0])])
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_run_on_texts(tmp_path):
    texts = ["I loved every minute of it.", "A mess."]
    (tmp_path / "x.txt").write_text("\n\n".join(texts) + "\n")
    succeed("run", DEMO, tmp_path / "x.txt", "--text", "-o", tmp_path / "y.npy")
    model = fastgru.load(DEMO)
    expected = np.concatenate([model([text]) for text in texts])
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_run_with_several_outputs(folder, tmp_path):
    x, model = sequence(2, 4, FEATURES), folder / "two.safetensors"
    np.save(tmp_path / "x.npy", x)
    assert "ends in .npz" in fail("run", model, tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    succeed("run", model, tmp_path / "x.npy", "-o", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as got:
        for name, expected in zip(("gru", "gru:state"), fastgru.load(model)(x), strict=True):
            np.testing.assert_array_equal(got[name], expected)


@pytest.mark.parametrize(
    ("network", "name", "content", "words"),
    [
        ("steps", "x.csv", b"1,2,3\n4,5\n", "2 to 3 columns"),
        ("steps", "x.csv", b"1,2,3\n4,five,6\n", "line 2"),
        ("steps", "x.csv", b"1,two,3\n4,5,6\n", "line 1"),
        ("steps", "x.csv", b"", "no rows"),
        ("steps", "x.csv", b"a,b,c\n", "no rows"),
        ("steps", "x.csv", b"\xff\xfe\x00", "UTF-8"),
        ("steps", "x.csv", b"1,2\n", "3"),
        ("tokens", "x.csv", b"1,2.5\n", "token ids"),
        ("tokens", "x.csv", b"1,99999999999999999999\n", "token ids"),
        ("tokens", "x.csv", b"1,11\n", "11"),
        ("tokens", "x.csv", b"1,-1\n", "-1"),
        ("steps", "x.npy", b"nothing", "not a .npy file"),
        ("steps", "x.npy", b"", "not a .npy file"),
        ("steps", "x.txt", b"1,2,3\n", ".npy or .csv"),
    ],
)
def test_run_refuses_bad_inputs(folder, tmp_path, network, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert words in fail("run", folder / f"{network}.safetensors", tmp_path / name)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 4, FEATURES + 1), np.float32), "4"),
        (np.zeros((4, FEATURES), np.float32), "(4, 3)"),
        (np.float32(1), "batch"),
        (np.array(["a"]), "<U1"),
        (np.array([{}], object), "not a .npy file"),
    ],
)
def test_run_refuses_bad_arrays(folder, tmp_path, array, words):
    np.save(tmp_path / "x.npy", array)
    assert words in fail("run", folder / "steps.safetensors", tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--lengths", "1,b"), "--lengths"),
        (("--lengths", "1,2"), "3"),
        (("--lengths", "1,2,9"), "9"),
        (("--lengths", "nowhere.npy"), "nowhere.npy"),
        (("-o", "y.txt"), ".npy, .npz or .csv"),
        (("-o", "nowhere/y.npy"), "nowhere"),
        (("--text",), "no vocabulary"),
        ((), "doesn't fit a .csv"),
    ],
)
def test_run_refuses_bad_options(folder, tmp_path, options, words):
    np.save(tmp_path / "x.npy", sequence(3, 4, FEATURES))
    assert words in fail("run", folder / "steps.safetensors", tmp_path / "x.npy", *options)


@pytest.mark.parametrize(("content", "words"), [(b"\n \n", "no text"), (b"\xff", "UTF-8")])
def test_run_refuses_bad_texts(tmp_path, content, words):
    (tmp_path / "x.txt").write_bytes(content)
    assert words in fail("run", DEMO, tmp_path / "x.txt", "--text")


def test_run_missing_input(folder, tmp_path):
    for name in ("x.npy", "x.csv"):
        assert name in fail("run", folder / "steps.safetensors", tmp_path / name)


# ---- bench -----------------------------------------------------------------------------------------------------------

QUICK = ("--seconds", 0.01, "--threads", 1)


@pytest.mark.parametrize("network", ["steps", "tokens", "flat", "two", "back"])
def test_bench_json(folder, network):
    path = folder / f"{network}.safetensors"
    result = json.loads(succeed("bench", path, *QUICK, "--json", "--steps", 7, "--batch", 2, "--batch", 3))
    assert result["fingerprint"] == fastgru.load(path).fingerprint
    assert result["steps"] == (1 if network == "flat" else 7)
    assert [row["batch"] for row in result["throughput"]] == [2, 3]
    assert all(row["steps_per_second"] >= row["rows_per_second"] > 0 for row in result["throughput"])
    call = result["call"]
    assert 0 < call["p50"] <= call["p90"] <= call["p99"] <= call["p99.9"]
    assert ("unsupported" in result["step"]) == (network in ("flat", "back"))


def test_bench_tables(folder):
    text = succeed("bench", folder / "steps.safetensors", *QUICK, "--batch", 4)
    for word in ("call", "step", "p50", "p99.9", "rows/s", "100 steps", "µs"):
        assert word in text
    assert "'gru'" in succeed("bench", folder / "back.safetensors", *QUICK, "--batch", 4)


def test_bench_profile_json(folder):
    result = json.loads(succeed("bench", folder / "tokens.safetensors", *QUICK, "--profile", "--json", "--batch", 2))
    (row,) = result["profile"]
    assert (row["batch"], row["steps"], row["threads"]) == (2, 100, 1)
    assert [(layer["name"], layer["kind"], layer["folded"]) for layer in row["layers"]] == [
        ("table", "Embedding", True), ("gru", "GRU", False),
    ]  # fmt: skip
    spent = [sum(layer["seconds"].values()) for layer in row["layers"]]
    assert row["rest"] > 0
    assert sum(spent) + row["rest"] == pytest.approx(row["seconds"])
    assert [layer["share"] for layer in row["layers"]] == pytest.approx([one / row["seconds"] for one in spent])
    last = row["layers"][1]
    assert last["gflops"] == pytest.approx(2 * 2 * 100 * 3 * UNITS * UNITS / 1e9 / spent[1])
    assert last["bound"] == row["bound"] > 0
    assert row["limits"]["gflops"] > 0


def test_bench_profile_tables(folder):
    text = succeed("bench", folder / "steps.safetensors", *QUICK, "--profile", "--steps", 7)
    for word in (
        "profile, batch 1, steps 7",
        "products",
        "outside the layers",
        "GFLOP/s",
        "of the bound",
        "1 thread, whose",
    ):
        assert word in text
    assert (
        "batch 1"
        not in succeed("bench", folder / "flat.safetensors", *QUICK, "--profile", "--batch", 3).split("profile")[1]
    )
    text = succeed("bench", folder / "tokens.safetensors", "--seconds", 0.01, "--threads", 2, "--profile")
    assert "Embedding, folded" in text
    assert "the calling thread of at most 2" in text
    assert "profile" not in succeed("bench", folder / "steps.safetensors", *QUICK)


# ---- as a program ----------------------------------------------------------------------------------------------------


def test_program_exit_codes():
    assert program("--version").returncode == 0
    wrong = program("inspect", "nowhere.h5")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_program_without_its_extra(package):
    hidden = (
        f"from importlib import util as u; f = u.find_spec; u.find_spec = lambda n: None if n == '{package}' else f(n)"
    )
    result = program("--help", prelude=hidden)
    assert result.returncode == 2
    assert result.stderr.strip().endswith("pip install 'fastgru[cli]'")
    assert len(result.stderr.splitlines()) == 1


def test_help_imports_nothing_heavy():
    report = "print([m for m in ('h5py', 'keras', 'safetensors') if m in sys.modules])"
    assert program("--help", prelude=f"import atexit; atexit.register(lambda: {report})").stdout.rstrip().endswith("[]")


# ---- options of importers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inspect", "convert", "run", "verify", "bench"])
def test_options_reach_the_importer_of_every_command(name, tmp_path):
    others = {"convert": [tmp_path / "made.safetensors"], "run": [tmp_path / "x.npy"], "generate": ["a"]}.get(name, [])
    said = fail(name, GOLDEN / "tagging.keras", *others, "--option", "node=GRU_12")
    assert "is a Keras file, which has no option node; its options: config, keras_version, custom_layers" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [("node", "--option should be NAME=VALUE"), ("=x", "--option should be NAME=VALUE"),
     ("axes=time", "axes.INPUT=WORDS"), ("node.x=1", "axes.INPUT=WORDS"),
     ("assume_torch_gru=1", "should say true or false"), ("custom_layers=f", "is for Python")],
)  # fmt: skip
def test_options_that_say_nothing_are_refused(given, said):
    assert said in fail("inspect", DEMO, "--option", given)


def test_an_option_is_given_once():
    assert "node is given twice" in fail("inspect", DEMO, "--option", "node=a", "--option", "node=b")
    twice = ("--option", "axes.x=batch time", "--option", "axes.x=time batch")
    assert "axes.x is given twice" in fail("inspect", DEMO, *twice)


def test_an_option_says_how_a_file_is_read():
    assert "keras_version" in fail("inspect", GOLDEN / "tagging.keras", "--option", "keras_version=new")

"""What docs/ and examples/ show really runs, and what they name really exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastgru
from building import chain, dense, embedding, floats, gru, tokens
from fastgru.importers.keras import layers, text
from keras_files import write_legacy

ROOT = Path(__file__).parents[1]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"


def fenced(page: str, language: str) -> str:
    """The blocks of one language as one text, each at the lines where it stands on the page."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    kept, inside = [], False
    for line in lines:
        inside = line == f"```{language}" or (inside and line != "```")
        kept.append("" if line.startswith("```") or not inside else line)
    return "\n".join(kept)


def run(*command: str | Path, stdin: str = "") -> str:
    """Standard output of a Python program that succeeds."""
    result = subprocess.run(
        [sys.executable, "-X", "utf8", *map(str, command)],
        input=stdin, capture_output=True, text=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


# ---- docs/ ---------------------------------------------------------------------------------------------------------


PAGES = [("python.md", 4), ("architecture.md", 0), ("realtime.md", 0), ("generation.md", 0), ("quantization.md", 0)]


@pytest.mark.parametrize(("page", "errors"), PAGES)
def test_python_blocks_run(
    page: str, errors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Messages shown behind a print(error) are those that are printed."""
    monkeypatch.chdir(tmp_path)
    source = fenced(page, "python")
    assert "assert " in source
    exec(compile(source, str(DOCS / page), "exec"), {"__name__": page})
    printed = capsys.readouterr().out
    shown = re.findall(r"print\(error\) +# (.+)", source)
    assert len(shown) == errors
    for words in shown:
        assert words.removeprefix("… ") in printed


def write_ocr(path: Path, squeeze: dict[str, object]) -> None:
    """A file as Keras 2 writes it: Conv2D over all of the second axis, the layer that drops it, GRU(5)."""
    rng = np.random.default_rng(0)
    source = {"batch_input_shape": [None, None, 2, 3], "name": "x", "dtype": "float32"}
    written = [
        ("InputLayer", source, []),
        ("Conv2D", {"name": "conv", "filters": 4, "kernel_size": [3, 2]}, [(3, 2, 3, 4), (4,)]),
        (squeeze["class_name"], squeeze["config"], []),
        ("GRU", {"name": "gru", "units": 5, "recurrent_activation": "sigmoid"}, [(4, 15), (5, 15), (15,)]),
    ]
    layers = [{"class_name": class_name, "config": config} for class_name, config, _ in written]
    arrays = {str(config["name"]): [rng.normal(size=shape) for shape in shapes] for _, config, shapes in written}
    write_legacy(path, {"class_name": "Sequential", "config": {"name": "ocr", "layers": layers}}, arrays, "2.15.0")


def test_a_class_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_ocr(tmp_path / "ocr.h5", {"class_name": "SqueezeLayer", "config": {"name": "squeeze", "axis": 2}})
    source = fenced("adding.md", "python")
    namespace: dict[str, object] = {"__name__": "adding.md"}
    exec(compile(source, str(DOCS / "adding.md"), "exec"), namespace)
    (shown,) = re.findall(r"print\(error\) +# (.+)", source)
    assert capsys.readouterr().out.strip() == shown
    reshape = {"class_name": "Reshape", "config": {"name": "squeeze", "target_shape": [-1, 4]}}
    write_ocr(tmp_path / "plain.h5", reshape)
    x = np.random.default_rng(1).normal(size=(3, 7, 2, 3)).astype(np.float32)
    assert (namespace["model"](x) == fastgru.load(tmp_path / "plain.h5")(x)).all()
    write_ocr(tmp_path / "wrong.h5", {"class_name": "SqueezeLayer", "config": {"name": "s", "axis": 1, "mode": "x"}})
    with pytest.raises(fastgru.UnsupportedModel, match="the option mode='x' is not known"):
        fastgru.load(tmp_path / "wrong.h5", custom_layers={"SqueezeLayer": namespace["squeeze"]})


def test_tables_of_layers_are_the_importers_own() -> None:
    tables = run(ROOT / "tools" / "list_supported.py")
    for names in (layers.READERS, layers.OPERATIONS, layers.REFUSED, text.CLASSES, text.REFUSED):
        assert {name for name in names if f"`{name}`" not in tables} == set()
    assert "| `CuDNNGRU` | of Keras 2," in tables, "with the reader's note"
    page = (DOCS / "formats.md").read_text(encoding="utf-8")
    mark = "<!-- {}: tools/list_supported.py -->\n".format
    onnx = "<!-- {}: tools/list_supported.py, ONNX -->\n".format
    tables, operators = tables.split(onnx("begin"))
    assert onnx("begin") + operators + onnx("end") in page, "run: python tools/list_supported.py --write"
    assert mark("begin") + tables + mark("end") in page, "run: python tools/list_supported.py --write"


def test_the_file_shown_loads(tmp_path: Path) -> None:
    """The first JSON in formats.md beside tensors as the text describes them, written by safetensors itself."""
    structure, _ = json.JSONDecoder().raw_decode(fenced("formats.md", "json").lstrip())
    shapes = {"gru/kernel": (4, 48), "gru/recurrent_kernel": (16, 48), "head/kernel": (16, 2)}
    tensors = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    metadata = {"fastgru_format": "1", "graph": json.dumps(structure)}
    save_file(tensors, tmp_path / "model.safetensors", metadata)
    model = fastgru.load(tmp_path / "model.safetensors")
    assert model.graph.structure() == structure, "every key that is written is shown, with the value that is written"


def shown_with(page: str, word: str) -> str:
    """The one Python block of a page that holds a word."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if word in block)
    return str(block)


def test_gru_nodes_are_loaded_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a file whose other operator is refused."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")
    from onnx_build import model as onnx_model

    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(1, 12, 3)), "r": rng.normal(size=(1, 12, 4)), "k": rng.normal(size=(1, 1, 3, 3))}
    body = "y, y_h = GRU <hidden_size = 4> (x, w, r, , , h) z = ConvTranspose (i, k)"
    made = onnx_model(
        "float[T, B, 3] x, float[1, B, 4] h, float[1, 1, 8, 8] i", "y, y_h, z", body,
        {name: array.astype(np.float32) for name, array in weights.items()},
    )  # fmt: skip
    made.graph.node[0].name = "GRU_700"
    onnx.save(made, tmp_path / "enhancer.onnx")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fastgru.UnsupportedModel, match="ConvTranspose"):
        fastgru.load("enhancer.onnx")
    given = {"x": rng.normal(size=(7, 2, 3)), "h": np.zeros((1, 2, 4)), "fastgru": fastgru}
    exec(shown_with("formats.md", "onnx_gru_nodes"), given)
    assert given["Y"].shape == (7, 1, 2, 4)
    assert given["Y_h"].shape == (1, 2, 4)
    assert capsys.readouterr().out == "GRU_700 3 4 forward ('X', 'initial_h')\n"


def test_layers_of_a_checkpoint_are_read_as_shown() -> None:
    from fastgru.importers.tf1 import config

    shown: dict[str, list[dict[str, str]]] = {}
    exec(shown_with("formats.md", '"kind": "GRUCell"'), shown)
    rng = np.random.default_rng(0)
    first, second = shown["layers"][1]["scope"], shown["layers"][2]["scope"]
    shapes = {
        "embedding": (9, 3), f"{first}/gates/kernel": (7, 8), f"{first}/gates/bias": (8,),
        f"{first}/candidate/kernel": (7, 4), f"{first}/candidate/bias": (4,),
        f"{second}/gates/kernel": (9, 10), f"{second}/gates/bias": (10,),
        f"{second}/candidate/input_projection/kernel": (4, 5), f"{second}/candidate/input_projection/bias": (5,),
        f"{second}/candidate/hidden_projection/kernel": (5, 5), f"{second}/candidate/hidden_projection/bias": (5,),
        "dense/kernel": (5, 2), "dense/bias": (2,),
    }  # fmt: skip
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    model = fastgru.Model(config.build(arrays, shown["layers"]))
    assert [spec.name for spec in model.inputs] == ["x"]
    assert model([[1, 2, 3]], lengths=[2]).shape == (1, 2)


def test_the_description_of_arrays_is_read_as_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "emb.weight": (9, 4), "rnn.weight_ih_l0": (15, 4), "rnn.weight_hh_l0": (15, 5), "rnn.bias_ih_l0": (15,),
        "rnn.bias_hh_l0": (15,), "fc.weight": (1, 5), "fc.bias": (1,),
    }  # fmt: skip
    np.savez(tmp_path / "weights.npz", **{name: rng.normal(size=shape) for name, shape in shapes.items()})
    (shown,) = re.findall(r'^    (\{"layers": .+\})$', (DOCS / "formats.md").read_text(encoding="utf-8"), re.MULTILINE)
    (tmp_path / "layers.json").write_text(shown, encoding="utf-8")
    model = fastgru.load(tmp_path / "weights.npz", config=tmp_path / "layers.json")
    assert model([[1, 2, 3]]).shape == (1, 3, 1)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_lead_to_pages_and_headings(page: str) -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", (DOCS / page).read_text("utf-8")):
        path = DOCS / (target or page)
        assert path.is_file()
        if heading:
            heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}


@cache
def tree() -> dict[str, str]:
    """The text of every file of the project that the docs may name, by its path."""
    patterns = (
        "*.py",
        "*.md",
        "*.toml",
        "csrc/**/*.[ch]",
        "src/**/*.py*",
        "src/**/*.px[di]",
        "tests/*.py",
        "tools/**/*.py",
        "docs/*.md",
    )
    paths = {path for pattern in patterns for path in ROOT.glob(pattern) if path.suffix != ".pyc"}
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


@pytest.mark.parametrize("page", ["adding.md", "architecture.md"])
def test_files_and_names_of_the_docs_exist(page: str) -> None:
    """A checklist that names what is gone leads nowhere."""
    if not (ROOT / "csrc").exists():
        pytest.skip("csrc is not beside the tests: the names in the docs are NOT checked")
    prose = re.sub(r"^```.*?^```", "", tree()[f"docs/{page}"], flags=re.MULTILINE | re.DOTALL)
    spans = set(re.findall(r"`([^`\n]+)`", prose))
    paths = {span for span in spans if re.fullmatch(r"[\w/.]+\.(py|pyx|pxd|c|h|md|toml)", span)}
    names = {span for span in spans - paths if re.fullmatch(r"[A-Za-z_]\w{3,}(\.[A-Za-z_]\w+)?", span)}
    assert min(len(paths), len(names)) >= 10
    assert {path for path in paths if not any(f"/{file}".endswith(f"/{path}") for file in tree())} == set()
    code = (text for file, text in tree().items() if not file.endswith((".md", Path(__file__).name)))
    words = set(re.findall(r"\w+", "\n".join(code)))
    assert {name for name in names if not words.issuperset(name.split("."))} == set()


# ---- examples/ -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_examples_are_short_and_explain_themselves(name: str) -> None:
    lines = len((EXAMPLES / name).read_text(encoding="utf-8").splitlines())
    assert lines < (90 if name == "shakespeare.py" else 60), "one of them also trains"
    assert f"python examples/{name}" in run(EXAMPLES / name, "--help")


@pytest.mark.parametrize("saved", [False, True], ids=["its own network", "a file"])
def test_sensor_goes_on_where_it_ended(saved: bool, tmp_path: Path) -> None:
    model = []
    if saved:
        rng = np.random.default_rng(0)
        cell = gru(rng, 3, 5, mask="x:mask")
        head = dense(rng, 5, 2, name="head", source="gru", function="linear")
        fastgru.Model(chain(floats(3), cell, head)).save(tmp_path / "model.safetensors")
        model = [tmp_path / "model.safetensors"]
    command = (EXAMPLES / "stream_sensor.py", *model)
    whole = run(*command, "--steps", "7")
    assert [line.split()[0] for line in whole.splitlines()] == list("0123456")
    state = ("--state", tmp_path / "state.npz")
    assert run(*command, "--steps", "3", *state) + run(*command, "--steps", "4", *state) == whole


@pytest.mark.parametrize("name", [None, "stateful", "stateful_time_major", "plain"])
def test_frames_of_an_onnx_network(name: str | None) -> None:
    """Frame by frame the program prints what a call gives for all frames at once."""
    file = [] if name is None else [Path(__file__).parent / "data" / "onnx" / "torch" / f"{name}.onnx"]
    lines = [line.split() for line in run(EXAMPLES / "stream_onnx.py", *file, "--frames", "7").splitlines()]
    assert [line[0] for line in lines] == list("0123456")
    printed = np.array([line[1:] for line in lines], np.float32)
    if name is None:
        assert printed.shape == (7, 3)
        assert ((printed > 0) & (printed < 1)).all(), "gains"
        return
    model = fastgru.load(file[0])
    frames, *states = model.inputs
    time = frames.axes.index("time")
    x = np.random.default_rng(1).standard_normal((7, 1, frames.features), dtype=np.float32)
    zeros = [np.zeros([1 if size is None else size for size in state.shape], np.float32) for state in states]
    whole = model(x if time == 0 else x.swapaxes(0, 1), *zeros)
    y = whole[0] if isinstance(whole, tuple) else whole
    np.testing.assert_array_equal(printed, y.reshape(7, -1))


def test_texts_are_classified() -> None:
    program = EXAMPLES / "classify_text.py"
    lines = run(program, stdin="I loved every minute of it.\n\nA dull, pointless mess.\n").splitlines()
    assert [line.split()[0] for line in lines] == ["positive", "negative"]
    assert lines[0].endswith("%  I loved every minute of it.")
    assert len(run(program).splitlines()) == 3, "sentences of its own"


def test_a_network_without_vocabulary_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "model.safetensors"
    fastgru.Model(chain(tokens(), embedding(rng, 9, 4), gru(rng, 4, 5, source="embedding"))).save(path)
    result = subprocess.run([sys.executable, EXAMPLES / "classify_text.py", path], capture_output=True, text=True)
    assert result.returncode == 1
    assert "has no vocabulary" in result.stderr


@pytest.mark.parametrize("form", ["embedding", "one-hot"])
def test_shakespeare_trains_and_writes_on(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps on a small text; what comes out is that of the network and the vocabulary that were saved."""
    if not (find_spec("keras") and find_spec("jax")):
        pytest.skip("keras or jax is not installed: examples/shakespeare.py does NOT run")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    around = "*** {} OF THE PROJECT GUTENBERG EBOOK HAMLET ***".format
    body = "To be, or not to be: that is the question.\n" * 40
    (tmp_path / "hamlet.txt").write_text(f"HEADER\n{around('START')}\n{body}{around('END')}\nLICENCE {{}}", "utf-8")
    sizes = {"steps": 3, "units": 8, "batch": 4, "window": 10, "characters": 15, "write": 60}
    options = [f"--{name}={size}" for name, size in sizes.items()] + ["--one-hot"] * (form == "one-hot")
    path = tmp_path / "made.keras"
    shown = run(EXAMPLES / "shakespeare.py", path, "--texts", tmp_path, "--prompt", "to be", *options)
    vocabulary = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert len(vocabulary) == 15, "of 17 characters"
    assert set(vocabulary) < set(body), "of the play alone"
    loss, text = re.findall(r"(?s)\nheld out: ([\d.]+) nats a character\n(to be.+)\n\Z", shown)[0]
    assert 1 < float(loss) < 4
    model = fastgru.load(path)
    assert (model.inputs[0].dtype == "float32") is (form == "one-hot")
    made = fastgru.generate(model, "to be", vocabulary=vocabulary, temperature=0.7, seed=0, max_tokens=60)
    assert text == "to be" + "".join(token.text for token in made)


def test_shakespeare_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("To be, or not to be.", encoding="utf-8")
    command = [sys.executable, EXAMPLES / "shakespeare.py", tmp_path / "made.keras", "--texts", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "20 characters are too few for --batch 64 and --window 100" in result.stderr

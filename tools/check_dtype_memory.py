"""Measure files and resident memory by dtype of weights; exit 1 where int8 takes more than 30 % of float32.

KERAS_BACKEND=numpy python tools/check_dtype_memory.py

Networks dominated by their weights: three GRUs of 1,024 units, and an embedding of 20,000 tokens before a GRU of 256
units. Each is loaded from a .keras, an .h5 and an .onnx file, which are float32, and from a fastgru file of the dtype.
Resident memory is what it adds to a process of its own, which has loaded a network of a few weights from a file of the
same kind, when all its weights have been used; pages of mapped files count.
"""

from __future__ import annotations

import argparse
import gc
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

DTYPES = ("float32", "bfloat16", "float16", "int8")
FORMATS = (".keras", ".h5", ".onnx", ".safetensors")
ALLOWED = 0.30
#: units of the stack, of which there are `LAYERS`; vocabulary and width of the embedding
NETWORKS = {"stack": (1024,), "tokens": (20_000, 256)}
SMALL = {"stack": (8,), "tokens": (10, 8)}
LAYERS = 3


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(shape[0]))


def keras_network(network: str, sizes: tuple[int, ...]):
    import keras

    if network == "stack":
        layers = [keras.layers.GRU(sizes[0], return_sequences=True) for _ in range(LAYERS)]
        model = keras.Sequential([keras.Input((None, sizes[0])), *layers])
    else:
        layers = [keras.layers.Embedding(*sizes), keras.layers.GRU(sizes[1], return_sequences=True)]
        model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    rng = np.random.default_rng(0)
    model.set_weights([weights(rng, *array.shape) for array in model.get_weights()])
    return model


def onnx_network(network: str, sizes: tuple[int, ...]):
    from onnx import helper, numpy_helper, parser

    rng, units, body, last, arrays = np.random.default_rng(0), sizes[-1], "", "x", {}
    if network == "tokens":
        arrays["e"] = weights(rng, *sizes)
        body, last = "v = Gather (e, x) ", "v"
    for i in range(LAYERS if network == "stack" else 1):
        arrays |= {f"{key}{i}": weights(rng, units, 3 * units).T[None].copy() for key in "wr"}
        arrays |= {f"b{i}": weights(rng, 1, 6 * units), f"a{i}": np.array([1])}
        body += f"s{i} = GRU <hidden_size = {units}, linear_before_reset = 1> ({last}, w{i}, r{i}, b{i}) "
        body += f"y{i} = Squeeze (s{i}, a{i}) "
        last = f"y{i}"
    given = f"float[T, B, {units}] x" if network == "stack" else "int32[T, B] x"
    graph = parser.parse_graph(f"g ({given}) => (float[T, B, {units}] {last}) {{ {body} }}")
    graph.initializer.extend([numpy_helper.from_array(array, name) for name, array in arrays.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write(folder: Path, network: str, name: str, sizes: tuple[int, ...]) -> None:
    """The network in all formats; fastgru files with the dtype in their name."""
    import fastgru

    model = keras_network(network, sizes)
    model.save(folder / f"{name}.keras")
    model.save(folder / f"{name}.h5")
    (folder / f"{name}.onnx").write_bytes(onnx_network(network, sizes).SerializeToString())
    for dtype in DTYPES:
        fastgru.load(folder / f"{name}.keras", dtype=dtype).save(folder / f"{name}-{dtype}.safetensors")


def resident() -> dict[str, float]:
    """MB of resident memory now, of mapped files in it, and the most there was."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return {key: int(re.search(rf"{key}:\s+(\d+)", status)[1]) / 1e3 for key in ("VmRSS", "RssFile", "VmHWM")}


def run(path: str, dtype: str):
    """Load and run a step, or all tokens: every weight is used, and arrays are small."""
    import fastgru
    from fastgru.graph import Embedding

    model = fastgru.load(path, dtype=None if path.endswith(".safetensors") else dtype, threads=1)
    (spec,) = model.inputs
    tables = [layer.table for layer in model.graph.layers if isinstance(layer, Embedding)]
    if tables:
        with model.stream() as stream:
            for token in range(tables[0].shape[0]):
                stream.step(np.array([token], np.int32))
    else:
        model(np.zeros([1 if size is None else size for size in spec.shape], spec.dtype))
    return model


def measure(small: str, large: str, dtype: str) -> None:
    """The work of a child: prints what the large one adds."""
    from fastgru._openmp import core

    first = run(small, dtype)
    core.release_pages()  # as loading the large one will
    before = resident()
    second = run(large, dtype)
    after = resident()
    assert first.dtype == second.dtype == dtype
    print(after["VmRSS"] - before["VmRSS"], after["RssFile"] - before["RssFile"], after["VmHWM"] - before["VmRSS"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure files and resident memory by dtype.")
    parser.add_argument("--child", nargs=3, metavar=("SMALL", "LARGE", "DTYPE"), help=argparse.SUPPRESS)
    child = parser.parse_args().child
    if child:
        measure(*child)
        return 0
    failed = []
    for network, sizes in NETWORKS.items():
        print(f"| {network} {sizes} | dtype | file MB | resident MB | of float32 | mapped MB | most MB |")
        print("|---|---|--:|--:|--:|--:|--:|")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder, network, "small", SMALL[network])
            write(folder, network, "large", sizes)
            for suffix in FORMATS:
                base = {}
                for dtype in DTYPES:
                    end = f"-{dtype}{suffix}" if suffix == ".safetensors" else suffix
                    small, large = (str(folder / f"{which}{end}") for which in ("small", "large"))
                    command = [sys.executable, __file__, "--child", small, large, dtype]
                    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    memory, mapped, most = map(float, answer.split())
                    size = Path(large).stat().st_size / 1e6
                    base.setdefault("file", size)
                    base.setdefault("memory", memory)
                    ratio, file_ratio = memory / base["memory"], size / base["file"]
                    figures = f"{memory:.1f} | {ratio:.1%} | {mapped:.1f} | {most:.1f}"
                    print(f"| {suffix} | {dtype} | {size:.1f} | {figures} |", flush=True)
                    if dtype == "int8" and (ratio > ALLOWED or (suffix == FORMATS[-1] and file_ratio > ALLOWED)):
                        failed.append(f"{network} from {suffix}")
    for name in failed:
        print(f"int8 takes more than {ALLOWED:.0%}: {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Characters one by one at batch 1: fastgru beside LiteRT and ONNX Runtime driven from Python, and beside Keras.

    pip install tensorflow-cpu==2.21.0 keras==3.15.1 onnx==1.23.2 onnxruntime==1.31.1 ai-edge-litert==2.3.0
    python tools/bench/generate.py
    python tools/bench/generate.py --model shakespeare.keras --json generate.jsonl --markdown generate.md
    python tools/bench/generate.py --model shakespeare.keras --dtype int8

The network is [Embedding,] GRU, Dense: by default of random weights, Embedding(65, 64) · GRU(256) · Dense(65), else a
file and the vocabulary beside it, as examples/shakespeare.py writes them. All run in this process, on one thread each,
and take turns. Before anything is timed, everyone's logits are held against Keras' (1e-4), and everyone's text of 300
characters against that of a NumPy sampler on Keras' own logits. With `--dtype`, fastgru's weights are narrow: its
logits may differ by as much of the largest one as compare.TOLERANCES says, and its text is held against that of the
NumPy sampler on its own steps.

1. Logits: a step of each runtime, token in and logits out as NumPy arrays; the fastest way of each counts.
2. Generation: `fastgru.generate`, its sampler in the core, against the same steps with a sampler in NumPy.
3. Keras: `model(x)` and `model.predict` of a step of a stateful network and `model(x)` of all text so far, as tutorials
   have it; and a step as one compiled `tf.function`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import report
from generate_peers import PEERS, Array, Network, Stepper, fastgru_steppers

import fastgru
from fastgru import passes
from fastgru.bench.compare import TOLERANCES
from fastgru.narrowing import DTYPES

HERE = Path(__file__).resolve().parent
CHARACTERS = "\n !\"',-.:;?[]" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"
#: a runtime, and how it is driven
Way = tuple[str, str]
#: characters of the text that everyone must write alike
SAME_TEXT = 300


def main() -> None:
    options = parse()
    keras_network, vocabulary = network_of(options)
    network = Network.of(keras_network)
    held = {"dtype": options.dtype, "threads": 1}
    model = fastgru.load(options.model, **held) if options.model else fastgru.from_keras(keras_network, **held)
    reading_ids = fastgru.Model(passes.tokens_for_one_hot(model.graph) or model.graph, threads=1)
    steppers = {"fastgru": fastgru_steppers(reading_ids)} | {name: make(network) for name, make in PEERS.items()}
    prompt = [vocabulary.index(char) for char in options.prompt]
    keras_steps = KerasSteps(keras_network, network)
    ids = np.random.default_rng(0).integers(0, len(vocabulary), 200)
    checked = check_logits(steppers, keras_steps, ids, options.dtype)
    text = reference_text(keras_steps, prompt, vocabulary, options)

    settings = {"vocabulary": vocabulary, "temperature": options.temperature, "seed": options.seed}

    def generate(count: int, **changes: float) -> str:
        made = fastgru.generate(model, options.prompt, max_tokens=count, **(settings | changes))
        return "".join(token.text for token in made)

    def drawn(step: Callable[[int], Array], reset: Callable[[], object], count: int) -> str:
        return written(numpy_sampler(step, reset, prompt, fast_draw(options, len(vocabulary))), count, vocabulary)

    expected, whose = text, "Keras'"
    if options.dtype != "float32":
        own = steppers["fastgru"][0]
        tokens = numpy_sampler(own.step, own.reset, prompt, plain_draw(options))
        expected, whose = written(tokens, SAME_TEXT, vocabulary), "its own"
    if (found := generate(SAME_TEXT)) != expected:
        sys.exit(f"fastgru.generate writes another text than NumPy on {whose} logits:\n{found}\n\n{expected}")
    ids = np.random.default_rng(1).integers(0, len(vocabulary), options.tokens).tolist()
    steps: dict[Way, Callable[[], object]] = {
        (name, one.name): lambda one=one: run(one, ids) for name, found in steppers.items() for one in found
    }
    steps["fastgru", "the steps of a greedy generate"] = lambda: generate(options.tokens, temperature=0)
    logits = take_turns(steps, options.tokens, options.repetitions)
    loops: dict[Way, Callable[[], object]] = {("fastgru", "generate"): lambda: generate(options.tokens)}
    for name in PEERS:
        one = min(steppers[name], key=lambda one: logits[name, one.name])
        if drawn(one.step, one.reset, SAME_TEXT) != text:
            sys.exit(f"{name} with a NumPy sampler writes another text")
        loops[name, f"{one.name}, NumPy sampler"] = lambda one=one: drawn(one.step, one.reset, options.tokens)
    generation = take_turns(loops, options.tokens, options.repetitions)
    tutorial: dict[Way, Callable[[], object]] = {
        ("Keras", name): lambda step=step: drawn(step, keras_steps.reset, options.keras_tokens)
        for name, step in keras_steps.ways.items()
    }
    keras_loops = take_turns(tutorial, options.keras_tokens, 3)
    keras_loops["fastgru", "generate"] = generation["fastgru", "generate"]
    deliver(options, {"logits": logits, "generation": generation, "Keras": keras_loops}, checked, text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a .keras file, with the vocabulary as .json beside it")
    parser.add_argument("--one-hot", action="store_true", help="random weights without an Embedding")
    parser.add_argument("--prompt", default="ROMEO.\n")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of fastgru's weights")
    parser.add_argument("--tokens", type=int, default=2000, help="of each turn")
    parser.add_argument("--keras-tokens", type=int, default=50, help="of each turn of Keras")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--json", type=Path, help="JSON lines: what was measured where, then a line a way")
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def network_of(options: argparse.Namespace) -> tuple[Any, list[str]]:
    """The Keras network and its vocabulary; TensorFlow is held to one thread."""
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if options.model:
        vocabulary = json.loads(options.model.with_suffix(".json").read_text(encoding="utf-8"))
        return keras.saving.load_model(options.model), vocabulary
    keras.utils.set_random_seed(0)
    size = len(CHARACTERS)
    x = keras.Input((None, size)) if options.one_hot else keras.Input((None,), dtype="int32")
    vectors = x if options.one_hot else keras.layers.Embedding(size, 64, keras.initializers.RandomNormal(stddev=1.0))(x)
    head = keras.layers.Dense(size, kernel_initializer=keras.initializers.RandomNormal(stddev=0.3))
    return keras.Model(x, head(keras.layers.GRU(256, return_sequences=True)(vectors))), list(CHARACTERS)


class KerasSteps:
    """Ways to the next logits through Keras; all but the growing one through a stateful copy of the network."""

    def __init__(self, network: Any, parts: Network) -> None:
        import keras
        import tensorflow as tf

        self.encode = (lambda ids: parts.vectors[ids]) if parts.table is None else (lambda ids: ids)
        shape, dtype = ((1, None), "int32") if parts.table is not None else ((1, None, len(parts.vectors)), "float32")
        x = y = keras.Input(batch_shape=shape, dtype=dtype)
        for layer in (layer for layer in network.layers if layer.weights):
            changes = {"stateful": True} if isinstance(layer, keras.layers.GRU) else {}
            y = type(layer).from_config(layer.get_config() | changes)(y)
        self.network, self.whole = keras.Model(x, y), network
        self.network.set_weights(network.get_weights())
        self.text: list[int] = []
        compiled = tf.function(lambda x: self.network(x, training=False))
        self.ways = {
            "model(x), stateful": lambda token: self.network(self.one(token))[0, -1].numpy(),
            "model.predict(x), stateful": lambda token: self.network.predict(self.one(token), verbose=0)[0, -1],
            "model(x), all text so far": self.growing,
            "tf.function, stateful": lambda token: compiled(tf.constant(self.one(token)))[0, -1].numpy(),
        }

    def one(self, token: int) -> Array:
        return self.encode(np.array([[token]], np.int32))  # type: ignore[no-any-return]

    def growing(self, token: int) -> Array:
        self.text.append(token)
        return self.whole(self.encode(np.array([self.text], np.int32)))[0, -1].numpy()  # type: ignore[no-any-return]

    def reset(self) -> None:
        self.text.clear()
        for layer in self.network.layers:
            if hasattr(layer, "reset_state"):
                layer.reset_state()


# ---- what must be equal ----------------------------------------------------------------------------------------------


def check_logits(
    steppers: dict[str, list[Stepper]], keras_steps: KerasSteps, ids: Array, dtype: str
) -> dict[str, float]:
    """The largest difference from Keras' logits of the whole sequence, of each runtime, of which fastgru has weights of
    `dtype`; ends where that is too large."""
    expected, worst = keras_steps.whole(keras_steps.encode(ids[None]))[0].numpy(), dict.fromkeys(steppers, 0.0)
    narrow = TOLERANCES[dtype] * float(np.abs(expected).max())
    for name, found in steppers.items():
        tolerance = narrow if name == "fastgru" and dtype != "float32" else TOLERANCES["float32"]
        for one in found:
            one.reset()
            off = max(float(np.abs(one.step(int(token)) - row).max()) for token, row in zip(ids, expected, strict=True))
            if not off <= tolerance:
                sys.exit(f"{name}, {one.name}: logits differ from Keras' by {off:.1e}")
            worst[name] = max(worst[name], off)
    return worst


def numpy_sampler(
    step: Callable[[int], Array], reset: Callable[[], object], prompt: Sequence[int], draw: Callable[[Array], int]
) -> Iterator[int]:
    """Tokens that are drawn from the logits of a step, each read by the next."""
    reset()
    for token in prompt:
        logits = step(token)
    while True:
        token = draw(logits)
        yield token
        logits = step(token)


def plain_draw(options: argparse.Namespace) -> Callable[[Array], int]:
    """By the definition: softmax in float64, a number in [0, 1) a token, sums in the order of ids."""
    rng = np.random.Generator(np.random.Philox(key=[options.seed, 0]))

    def draw(logits: Array) -> int:
        scaled = logits.astype(np.float64) / options.temperature
        sums = np.exp(scaled - scaled.max()).cumsum()
        return int(sums.searchsorted(rng.random() * sums[-1], side="right"))

    return draw


def fast_draw(options: argparse.Namespace, tokens: int) -> Callable[[Array], int]:
    """The same in as few and as cheap calls of NumPy as it takes: nothing is allocated but numbers."""
    random = np.random.Generator(np.random.Philox(key=[options.seed, 0])).random
    odds, sums, scale = np.empty(tokens, np.float32), np.empty(tokens), np.float32(1 / options.temperature)
    largest, subtract, multiply, exp, add_up = np.maximum.reduce, np.subtract, np.multiply, np.exp, np.add.accumulate

    def draw(logits: Array) -> int:
        subtract(logits, largest(logits), odds)
        multiply(odds, scale, odds)
        exp(odds, odds)
        add_up(odds, 0, None, sums)
        return int(sums.searchsorted(random() * sums[-1], "right"))

    return draw


def written(tokens: Iterator[int], count: int, vocabulary: Sequence[str]) -> str:
    return "".join(vocabulary[token] for token in islice(tokens, count))


def reference_text(
    keras_steps: KerasSteps, prompt: Sequence[int], vocabulary: Sequence[str], options: argparse.Namespace
) -> str:
    step = keras_steps.ways["tf.function, stateful"]
    return written(numpy_sampler(step, keras_steps.reset, prompt, plain_draw(options)), SAME_TEXT, vocabulary)


# ---- times -----------------------------------------------------------------------------------------------------------


def run(stepper: Stepper, ids: Sequence[int]) -> None:
    step = stepper.step
    for token in ids:
        step(token)


def take_turns(ways: dict[Way, Callable[[], object]], count: int, turns: int) -> dict[Way, float]:
    """Seconds a token of each way: the median of its turns, after one that is not counted."""
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    for turn in range(turns + 1):
        for way, call in ways.items():
            start = time.perf_counter()
            call()
            if turn:
                seconds[way].append((time.perf_counter() - start) / count)
    return {way: statistics.median(found) for way, found in seconds.items()}


def deliver(
    options: argparse.Namespace, parts: dict[str, dict[Way, float]], worst: dict[str, float], text: str
) -> None:
    lines, tables = [], []
    for part, times in parts.items():
        ours = min(seconds for (name, _), seconds in times.items() if name == "fastgru")
        rows = []
        for (name, way), seconds in times.items():
            rows.append((f"{name}: {way}", report.number(seconds * 1e6), report.number(seconds / ours)))
            lines.append({"part": part, "runtime": name, "way": way, "seconds": seconds, "ratio": seconds / ours})
        others = {way: seconds for (name, way), seconds in times.items() if name != "fastgru"}
        fastest = min(others, key=lambda way: others[way])
        reached = f"Fastest besides fastgru: {fastest}, {others[fastest] / ours:.2f} times its time."
        tables.append(f"## {part}\n\n{report.table((part, 'µs a token', 'ratio'), rows)}\n\n{reached}")
    packages = ("tensorflow-cpu", "keras", "onnxruntime", "ai-edge-litert", "numpy")
    head = {
        "machine": report.machine(), "isa": fastgru.cpu_info()["isa"], "commit": report.commit(HERE),
        "versions": {"fastgru": fastgru.__version__} | {name: version(name) for name in packages},
        "dtype": options.dtype, "differences": worst, "text": text,
    }  # fmt: skip
    about = ", ".join(f"{name} {number}" for name, number in head["versions"].items())
    off = ", ".join(f"{name} {difference:.0e}" for name, difference in worst.items())
    same = "all write" if options.dtype == "float32" else "all in float32 write"
    checked = f"Logits differ from Keras' by at most: {off}; {same} the same {SAME_TEXT} characters."
    intro = f"{head['machine']['cpu']}, {head['isa']}, fastgru in {options.dtype}; {about}. {checked}"
    report.deliver("\n\n".join([intro, *tables]), [head, *lines], options.markdown, options.json)


if __name__ == "__main__":
    main()

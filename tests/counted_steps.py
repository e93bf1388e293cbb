"""A program: makes steps of many Streams and prints what each of them cost after its first ones.

Run by tests/test_realtime.py with the library of tests/native/counting.c preloaded; prints a JSON object: by case,
``counted`` (`Counters.read`), and of the thread ``faults`` (of pages) and ``switches`` (voluntary ones).
"""

from __future__ import annotations

import gc
import json
import mmap
import resource
import sys
from collections.abc import Callable, Sequence
from itertools import count, repeat
from typing import Any

import numpy as np

from building import chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import Model
from fastgru.bench.counters import Counters
from fastgru.graph import Activation, Combine, Concatenate, Conv, Graph, Masking, Pool, TimeDistributed, tensor_spec
from fastgru.layers.base import Layer

STEPS = 10_000
#: the kernel may move a page at any time; a page that steps touch for the first time is touched in every attempt
ATTEMPTS = 3

#: cases of slow steps
FEWER = ("fresh_memory", "two_threads", "two_threads_on_rows")

#: a step, and how often it is made before anything is counted
Made = tuple[Callable[[], Any], int]
CASES: dict[str, Callable[[], Made]] = {}


def case(make: Callable[[], Made]) -> Callable[[], Made]:
    CASES[make.__name__] = make
    return make


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def into(call: Callable[..., Any], x: Any) -> Made:
    """Results go into an array of the caller's: the first step is the only one that may differ."""
    out = np.empty_like(call(x))
    return lambda: call(x, out=out), 0


def returned(call: Callable[..., Any], x: Any) -> Made:
    """Results that nobody keeps are used again: the third step finds those of the first two."""
    return lambda: call(x), 3


def in_turn(items: Sequence[Any]) -> Callable[[], Any]:
    """Gives one after the other, again and again, and allocates nothing."""
    calls, size = count(), len(items)
    return lambda: items[next(calls) % size]


def sequences(**options: Any) -> Model:
    """A stack of GRUs with a head, one output a step."""
    return Model(
        chain(
            floats(4),
            gru(rng(), 4, 20, name="first", return_sequences=True, mask="x:mask", **options),
            gru(rng(), 20, 33, source="first", return_sequences=True, mask="x:mask", **options),
            dense(rng(), 33, 5, name="out", source="gru", function="softmax"),
        )
    )


@case
def gru_alone() -> Made:
    return into(Model(chain(floats(64), gru(rng(), 64, 64))).stream().step, uniform(rng(), 1, 64))


@case
def gru_of_many_units() -> Made:
    """Its two copies of a row's state lie in several pages."""
    return into(Model(chain(floats(3), gru(rng(), 3, 700))).stream().step, uniform(rng(), 1, 3))


@case
def stack_with_softmax() -> Made:
    return into(sequences().stream().step, uniform(rng(), 1, 4))


@case
def stack_without_out() -> Made:
    return returned(sequences().stream().step, uniform(rng(), 1, 4))


@case
def reset_before() -> Made:
    return into(sequences(reset_after=False).stream().step, uniform(rng(), 1, 4))


@case
def several_rows() -> Made:
    return into(sequences().stream(batch_size=7).step, uniform(rng(), 7, 4))


@case
def many_rows() -> Made:
    return into(sequences().stream(batch_size=300).step, uniform(rng(), 300, 4))


@case
def chunks() -> Made:
    return into(sequences().stream(batch_size=2).run, uniform(rng(), 2, 9, 4))


@case
def chunks_without_out() -> Made:
    return returned(sequences().stream(batch_size=2).run, uniform(rng(), 2, 9, 4))


@case
def chunks_of_several_blocks() -> Made:
    return into(sequences().stream().run, uniform(rng(), 1, 300, 4))


def windows(**options: Any) -> Model:
    """A convolution and a pool, both causal, before a GRU."""
    kernel = uniform(rng(), 5, 4, 20)
    conv = Conv(name="conv", inputs=("x",), kernel=kernel, pads=(12, 0), dilation=(3,))
    pool = Pool(name="pool", inputs=("conv",), function="average", size=(3,), pads=(2, 0), **options)
    return Model(chain(floats(4), conv, pool, gru(rng(), 20, 16, source="pool")))


@case
def windows_over_time() -> Made:
    return into(windows().stream(batch_size=2).step, uniform(rng(), 2, 4))


@case
def windows_with_strides() -> Made:
    """Every third chunk of one step completes a step of the pool: the third reserves what all need."""
    call, _ = into(windows(strides=(3,)).stream().run, uniform(rng(), 1, 1, 4))
    return call, 3


@case
def steps_and_chunks_in_turn() -> Made:
    stream, x = sequences().stream(), uniform(rng(), 1, 9, 4)
    chunk, one, first = np.empty((1, 9, 5), np.float32), np.empty((1, 5), np.float32), x[:, 0].copy()

    def work() -> None:
        stream.run(x, out=chunk)
        stream.step(first, out=one)

    work()
    return work, 0


@case
def tokens_folded() -> Made:
    model = Model(chain(tokens(), embedding(rng(), 50, 8), gru(rng(), 8, 16, source="embedding")))
    return into(model.stream().step, np.array([7], np.int32))


@case
def tokens_of_64_bits() -> Made:
    model = Model(chain(tokens(), embedding(rng(), 50, 8), gru(rng(), 8, 16, source="embedding")))
    return into(model.stream(batch_size=3).step, np.array([7, 0, 49]))


@case
def tokens_with_a_mask() -> Made:
    """Half of the steps are masked."""
    layers = embedding(rng(), 50, 8, mask_zero=True), gru(rng(), 8, 16, source="embedding", mask="embedding:mask")
    step, taken = Model(chain(tokens(), *layers)).stream().step, [np.array([7], np.int32), np.array([0], np.int32)]
    out = np.empty((1, 16), np.float32)

    def work() -> None:
        taken.reverse()
        step(taken[0], out=out)

    work()
    return work, 0


@case
def masking() -> Made:
    layers = Masking(name="m", inputs=("x",)), gru(rng(), 4, 16, source="m", mask="m:mask")
    x = np.zeros((2, 4), np.float32)
    x[1] = 1
    return into(Model(chain(floats(4), *layers)).stream(batch_size=2).step, x)


@case
def network_on_each_step() -> Made:
    inner = Graph(
        (tensor_spec("x", False, (6,)),), (dense(rng(), 6, 9, name="d", source="x", function="tanh"),), ("d",)
    )
    layers: tuple[Layer, ...] = (
        TimeDistributed(name="each", inputs=("x",), graph=inner),
        gru(rng(), 9, 16, source="each"),
    )
    return into(Model(chain(floats(6), *layers)).stream().step, uniform(rng(), 1, 6))


@case
def several_inputs() -> Made:
    graph = Graph(
        (tensor_spec("a", None, (3,)), tensor_spec("b", None, (3,))),
        (Combine(name="sum", inputs=("a", "b"), operation="add"), gru(rng(), 3, 8, source="sum")),
        ("gru",),
    )
    return returned(Model(graph).stream().step, (uniform(rng(), 1, 3), uniform(rng(), 1, 3)))


@case
def several_outputs() -> Made:
    layers = gru(rng(), 3, 8), dense(rng(), 8, 2, name="head", source="gru", function="tanh")
    return returned(Model(Graph((floats(3),), layers, ("gru", "head"))).stream().step, uniform(rng(), 1, 3))


def with_state() -> Model:
    """x, h → y, and the state behind it."""
    layers = (
        gru(rng(), 3, 8, inputs=("x", "h"), return_sequences=True),
        dense(rng(), 8, 2, name="y", source="gru", function="tanh"),
    )
    inputs = floats(3), tensor_spec("h", False, (8,))
    return Model(Graph(inputs, layers, ("y", "gru:state")))


@case
def native_state() -> Made:
    return returned(with_state().stream(state={"h": "gru:state"}).step, uniform(rng(), 1, 3))


def cell() -> Model:
    """One step as a whole network."""
    layers = (
        Concatenate(name="joined", inputs=("x", "h")),
        dense(rng(), 7, 4, name="next", source="joined", function="tanh"),
        dense(rng(), 4, 2, name="y", source="next", function="sigmoid"),
    )
    return Model(Graph((tensor_spec("x", False, (3,)), tensor_spec("h", False, (4,))), layers, ("y", "next")))


@case
def feedback() -> Made:
    """Works through Python's dicts and NumPy's arrays."""
    return returned(cell().stream(state={"h": "next"}).step, uniform(rng(), 1, 3))


@case
def some_rows_of_many() -> Made:
    """Another third of the rows each time, in no order."""
    stream, x = sequences().stream(batch_size=30), uniform(rng(), 10, 4)
    order = rng().permutation(stream.rows)
    turn, out = in_turn([order[i::3].copy() for i in range(3)]), np.empty((10, 5), np.float32)

    def work() -> None:
        stream.step(x, rows=turn(), out=out)

    work()
    return work, 0


@case
def rows_that_come_and_go() -> Made:
    """Rows whose first step is counted, and whose places others have left."""
    stream, x = sequences().stream(batch_size=4), uniform(rng(), 5, 4)
    out = np.empty((5, 5), np.float32)
    stream.open()
    stream.step(x, out=out)
    opened = []
    for _ in range(700):
        opened.append(stream.open())
    for row in opened[::2]:
        stream.close(row)
    opened = [stream.open() for _ in range(600)]
    turn = in_turn([np.array(opened[i : i + 5]) for i in range(0, 600, 5)])

    def work() -> None:
        stream.step(x, rows=turn(), out=out)

    return work, 0


@case
def one_row_of_many() -> Made:
    stream, x = sequences().stream(batch_size=1000), uniform(rng(), 1, 4)
    out, turn = np.empty((1, 5), np.float32), in_turn([np.array([row]) for row in stream.rows])

    def work() -> None:
        stream.step(x, rows=turn(), out=out)

    work()
    return work, 0


@case
def chunks_of_some_rows() -> Made:
    stream, x = sequences().stream(batch_size=8), uniform(rng(), 3, 9, 4)
    out, rows = np.empty((3, 9, 5), np.float32), np.array([7, 0, 2])
    stream.run(x, rows=rows, out=out)
    return lambda: stream.run(x, rows=rows, out=out), 0


@case
def numbers_of_rows() -> Made:
    """The largest call first."""
    stream, x = sequences().stream(batch_size=200), uniform(rng(), 200, 4)
    counts = [200, 7, 60, 1, 199]
    turn = in_turn([(x[:n], stream.rows[:n].copy(), np.empty((n, 5), np.float32)) for n in counts])

    def work() -> None:
        x, rows, out = turn()
        stream.step(x, rows=rows, out=out)

    work()
    return work, 0


def convolved(**options: Any) -> Model:
    """Windows over the last steps before a GRU: a convolution with dilation, another, the largest of some steps."""
    function = Activation.of("relu")
    layers: tuple[Layer, ...] = (
        Conv(
            name="c1", inputs=("x",), kernel=uniform(rng(), 3, 4, 8), bias=uniform(rng(), 8), activation=function,
            dilation=(2,), pads=(4, 0),
        ),
        Conv(
            name="c2", inputs=("c1",), kernel=uniform(rng(), 5, 8, 6), bias=uniform(rng(), 6), activation=function,
            pads=(4, 0),
        ),
        Pool(name="p", inputs=("c2",), function="maximum", size=(2,), **options),
        gru(rng(), 6, 16, source="p", return_sequences=True),
    )  # fmt: skip
    return Model(chain(floats(4), *layers))


@case
def causal_windows() -> Made:
    return into(convolved(strides=(1,), pads=(1, 0)).stream().step, uniform(rng(), 1, 4))


@case
def causal_windows_of_rows() -> Made:
    return into(convolved(strides=(1,), pads=(1, 0)).stream(batch_size=6).run, uniform(rng(), 6, 5, 4))


@case
def strides() -> Made:
    """Two steps in, one out."""
    return into(convolved(strides=(2,)).stream(batch_size=3).run, uniform(rng(), 3, 2, 4))


@case
def strides_that_do_not_fit() -> Made:
    """Three steps in, one or two out."""
    run, x = convolved(strides=(2,)).stream().run, uniform(rng(), 1, 3, 4)

    def work() -> None:
        run(x)

    return work, 5


@case
def large_results() -> Made:
    """Above 1,024 numbers, without `out=`: each is a new array."""
    return returned(Model(chain(floats(3), gru(rng(), 3, 1100))).stream().step, uniform(rng(), 1, 3))


@case
def large_results_with_out() -> Made:
    return into(Model(chain(floats(3), gru(rng(), 3, 1100))).stream().step, uniform(rng(), 1, 3))


@case
def fresh_memory() -> Made:
    """No network at all: what the kernel counts is seen."""
    return lambda: mmap.mmap(-1, mmap.PAGESIZE).write(b"x"), 0


@case
def two_threads() -> Made:
    """A team on one row, until a few trials say that one thread is faster; so it is both."""
    model = Model(chain(floats(64), gru(rng(), 64, 512, return_sequences=True)))
    return into(model.stream(threads=2).run, uniform(rng(), 1, 12, 64))


@case
def two_threads_on_rows() -> Made:
    model = Model(chain(floats(64), gru(rng(), 64, 256)))
    return into(model.stream(batch_size=64, threads=2).step, uniform(rng(), 64, 64))


def measured(make: Callable[[], Made], counters: Counters, steps: int) -> dict[str, Any]:
    work, warm = make()
    for _ in repeat(None, warm):
        work()
    gc.collect()
    gc.disable()
    counters.clear()
    usage, thread = resource.getrusage, resource.RUSAGE_THREAD
    before = usage(thread)
    counters.flag.value = 1
    for _ in repeat(None, steps):
        work()
    counters.flag.value = 0
    after = usage(thread)
    gc.enable()
    return {
        "counted": counters.read(),
        "faults": after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt,
        "switches": after.ru_nvcsw - before.ru_nvcsw,
    }


def main() -> None:
    counters = Counters.find()
    assert counters is not None, "nothing counts: the library is not preloaded"
    found = {}
    for name in sys.argv[1:] or CASES:
        measured(CASES[name], counters, 10)  # Python's own caches
        steps = STEPS // 10 if name in FEWER else STEPS
        for _ in range(ATTEMPTS):
            found[name] = measured(CASES[name], counters, steps)
            if not found[name]["faults"]:
                break
    print(json.dumps(found))


if __name__ == "__main__":
    main()

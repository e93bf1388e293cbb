"""Threads, processes, kernel sets, floating-point modes: what surrounds a run neither changes it nor is changed."""

from __future__ import annotations

import ctypes
import ctypes.util
import dataclasses
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from building import ISAS, SETS, chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import BadInput, Model, StreamBusy
from fastgru.graph import GRU, Activation, Embedding, Graph

#: much longer than any of these takes; what hangs is killed and fails
PATIENCE = 60
#: (batch, time, units): many rows share out among threads by row, a wide step of one row by unit
BY_ROW, BY_UNIT = (64, 30, 128), (1, 50, 512)
FEATURES = 8


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def network(units: int, **options: Any) -> Graph:
    rng = np.random.default_rng(units)
    cell = gru(rng, FEATURES, units, **{"return_sequences": True} | options)
    return chain(floats(FEATURES), cell, dense(rng, units, 5, name="out", source="gru", function="softmax"))


def sequence(batch: int, steps: int) -> np.ndarray:
    return uniform(np.random.default_rng(3), batch, steps, FEATURES)


def counter() -> Model:
    """A GRU whose state is the sum of all that it was given, exact as long as it is below 2²⁴."""
    kernel, recurrent_kernel = np.float32([[0, 0, 1]]), np.float32([[0, 0, 1]])
    z_is_0_and_r_is_1 = np.float32([-9, 9, 0])
    cell = GRU(
        name="count", inputs=("x",), units=1, kernel=kernel, recurrent_kernel=recurrent_kernel, bias=z_is_0_and_r_is_1,
        activation=Activation("linear"), recurrent_activation=Activation.of("hard_sigmoid"),
    )  # fmt: skip
    return Model(chain(floats(1), cell))


def program(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, without the settings of this one."""
    tests = str(Path(__file__).parent)
    source = str(Path(fastgru.__file__).parents[1])
    settings = ("FASTGRU_ISA", "FASTGRU_NUM_THREADS", "OMP_NUM_THREADS")
    clean = {key: value for key, value in os.environ.items() if key not in settings}
    clean["PYTHONPATH"] = os.pathsep.join([tests, source])
    head = "import os, sys, numpy as np, fastgru\n"
    return subprocess.run(
        [sys.executable, "-c", head + body], capture_output=True, text=True, timeout=PATIENCE, env=clean | environment
    )


def printed(body: str, **environment: str) -> str:
    result = program(body, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# ---- one Model, many threads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_serves_many_threads_at_once(threads: int) -> None:
    """Runs with and without the GIL, of many sizes, masks and outputs of their own, all mixed."""
    model = Model(network(96, mask="x:mask"), threads=threads)
    calls: list[dict[str, Any]] = []
    for batch, steps in [(1, 1), (1, 20), (3, 7), (16, 40), (2, 0), (0, 3), (33, 11), (5, 2)]:
        x = sequence(batch, steps)
        calls += [{"x": x}, {"x": x, "lengths": np.arange(batch) % (steps + 1)}, {"x": x.astype(np.float64)}]

    def answer(call: dict[str, Any]) -> np.ndarray:
        return model(call["x"], lengths=call.get("lengths"))

    expected = [answer(call) for call in calls]
    together = threading.Barrier(8)

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(calls)), 12))
        together.wait(PATIENCE)
        for index in order:
            assert same(answer(calls[index]), expected[index])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8), timeout=PATIENCE))


def test_models_are_loaded_and_dropped_by_many_threads_at_once() -> None:
    expected = fastgru.load(fastgru.demo_path())([[1, 2, 3]])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: fastgru.load(fastgru.demo_path())([[1, 2, 3]]), range(48), timeout=PATIENCE))
    assert all(same(y, expected) for y in answers)


def test_streams_of_one_model_in_many_threads() -> None:
    model, x = Model(network(64)), sequence(8, 300)
    expected = model(x)

    def work(row: int) -> np.ndarray:
        with model.stream() as stream:
            return np.stack([stream.step(x[row : row + 1, t])[0] for t in range(300)])

    with ThreadPoolExecutor(8) as pool:
        assert same(np.stack(list(pool.map(work, range(8), timeout=PATIENCE))), expected)


# ---- one Stream, two threads ---------------------------------------------------------------------------------------


def wait_until_busy(stream: fastgru.Stream) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            stream.get_state()
        except StreamBusy:
            return
    pytest.fail("the stream was never busy")


def test_a_second_thread_in_a_stream_is_an_error() -> None:
    model = Model(network(128), threads=1)
    x = sequence(1, 100_000)
    stream, answers = model.stream(), []
    thread = threading.Thread(target=lambda: answers.append(stream.run(x)))
    calls = {
        "step": lambda: stream.step(x[:, 0]), "run": lambda: stream.run(x[:, :2]), "reset": stream.reset,
        "get_state": stream.get_state, "close": stream.close,
    }  # fmt: skip
    thread.start()
    try:
        wait_until_busy(stream)
        for name, call in calls.items():
            with pytest.raises(StreamBusy, match="thread"):
                call()
            assert thread.is_alive(), f"the run ended before {name} was tried"
    finally:
        thread.join(PATIENCE)
    assert same(answers[0], model(x)), "the refused calls changed nothing"
    assert stream.step(x[:, 0]).shape == (1, 5), "free again"


def test_threads_that_race_for_a_stream_lose_or_win_whole() -> None:
    """Every call that returns has added exactly its own numbers."""
    stream = counter().stream()
    interval, together = sys.getswitchinterval(), threading.Barrier(4)

    def work(value: int) -> int:
        added, x = 0, np.full((1, value, 1), value)
        together.wait(PATIENCE)
        for _ in range(10_000):
            try:
                stream.run(x)
                added += value * value
            except StreamBusy:
                pass
        return added

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            added = sum(pool.map(work, range(1, 5), timeout=PATIENCE))
    finally:
        sys.setswitchinterval(interval)
    assert stream.get_state()["count/h"].item() == added


def test_an_input_that_closes_its_own_stream_does_not_crash() -> None:
    """An array-like is code: converting it may reach the stream that it is given to."""
    body = """
from building import chain, floats, gru
stream = fastgru.Model(chain(floats(3), gru(np.random.default_rng(0), 3, 4))).stream()
class Sly:
    def __array__(self, *args, **options):
        stream.close()
        return np.zeros((1, 2, 3), np.float32)
try:
    stream.run(Sly())
except (fastgru.StreamBusy, fastgru.Closed) as error:
    print(type(error).__name__)
"""
    assert printed(body) in ("StreamBusy", "Closed")


# ---- the same bits with more threads -------------------------------------------------------------------------------


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize("shape", [BY_ROW, BY_UNIT, (2, 20, 512), (7, 10, 300), (9, 40, 100)], ids=str)
def test_two_threads_give_the_bits_of_one(shape: tuple[int, int, int], reset_after: bool) -> None:
    batch, steps, units = shape
    model, x = Model(network(units, reset_after=reset_after)), sequence(batch, steps)
    alone = model(x, threads=1)
    for threads in (2, 3, 5):
        assert same(model(x, threads=threads), alone)
    with model.stream(batch_size=batch, threads=2) as stream:
        assert same(np.concatenate([stream.run(x[:, :7]), stream.run(x[:, 7:])], axis=1), alone)


def test_many_threaded_runs_one_after_the_other() -> None:
    """A lost wake-up or a share done twice would show as a hang or as wrong bits."""
    model, x = Model(network(512), threads=2), sequence(1, 4)
    expected = model(x, threads=1)
    for _ in range(300):
        assert same(model(x), expected)


def test_small_runs_in_quick_succession() -> None:
    """A run too short to wake a thread for takes one that is still awake: with or without it, the same bits."""
    model = Model(network(128), threads=2)
    calls = [sequence(batch, steps) for batch in (1, 2, 5, 24) for steps in (3, 20)]
    expected = [model(x, threads=1) for x in calls]
    for _ in range(30):
        answers = [model(x) for x in calls for _ in range(3)]
        assert all(same(y, expected[i // 3]) for i, y in enumerate(answers))


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and sets affinity")


@linux
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs to leave one of them")
def test_threads_that_share_one_cpu() -> None:
    """A member of a team that has no CPU has its share done by the others, each share once and in its place."""
    body = """
from concurrent.futures import ThreadPoolExecutor
from building import bidirectional, chain, dense, floats, gru
from fastgru.graph import Graph
rng, options = np.random.default_rng(0), {"mask": "x:mask", "return_sequences": True}
layers = (
    *bidirectional(rng, 8, 100, mask="x:mask"),
    gru(rng, 200, 150, name="before", source="both", reset_after=False, **options),
    gru(rng, 150, 120, name="last", source="before", **options),
    dense(rng, 120, 40, name="out", source="last", function="softmax"),
)
model = fastgru.Model(Graph((floats(8),), layers, ("both", "out")), threads=2)
x = rng.standard_normal((3, 200, 8), np.float32)
calls = [{}, {"mask": rng.random((3, 200)) < 0.7}]
expected = [model(x, threads=1, **call) for call in calls]
lone = [y[:1] for y in expected[0]]
model(x)  # two threads on two CPUs; from here on on one
for task in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(task), {min(os.sched_getaffinity(0))})
def check(_):
    for call, ys in zip(calls, expected):
        assert all(map(np.array_equal, model(x, **call), ys))
    assert all(map(np.array_equal, model(x[:1]), lone))
for i in range(5): check(i)
with ThreadPoolExecutor(3) as pool: list(pool.map(check, range(6)))
print(len(os.listdir("/proc/self/task")) > 1)
"""
    assert printed(body) == "True"


THREADS = "len(os.listdir('/proc/self/task'))"
MODELS = """
from building import chain, floats, gru
def model(units): return fastgru.Model(chain(floats(3), gru(np.random.default_rng(0), 3, units)), threads=2)
small, large, x = model(8), model(512), np.zeros((64, 20, 3), np.float32)
"""

@linux
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: no run starts threads")
def test_a_small_run_starts_no_threads_and_a_large_one_does() -> None:
    body = (
        MODELS
        + f"""
first = {THREADS}
small(x[:1]); small.stream().step(x[:1, 0]); large.stream(64).run(x); large(x, threads=1)
second = {THREADS}
large(x)
print(second - first, {THREADS} - second)
"""
    )
    assert printed(body) == "0 1"


@linux
def test_nothing_spins_between_runs() -> None:
    body = (
        MODELS
        + """
import time
for _ in range(5): large(x)
time.sleep(0.05)
start = time.process_time()
time.sleep(0.5)
print(time.process_time() - start)
"""
    )
    assert float(printed(body)) < 0.05


# ---- forks ---------------------------------------------------------------------------------------------------------


def answer_of(pipe: Any, model: Model, x: np.ndarray, threads: int, depth: int) -> None:
    if depth:
        pipe.send(in_a_child(model, x, threads, depth - 1))
    else:
        pipe.send([model(x, threads=threads), Model(model.graph)(x, threads=threads)])


def in_a_child(model: Model, x: np.ndarray, threads: int, depth: int = 0) -> list[np.ndarray]:
    """What a forked child answers; one that hangs is killed."""
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    child = context.Process(target=answer_of, args=(its, model, x, threads, depth))
    child.start()
    its.close()
    try:
        assert mine.poll(PATIENCE / 4), "the child hangs"
        return mine.recv()
    finally:
        child.kill()
        child.join(PATIENCE)


forks = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
# Python warns of forks beside threads, which is what is tested here
in_spite_of_threads = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@forks
@in_spite_of_threads
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [BY_ROW, BY_UNIT], ids=["by row", "by unit"])
def test_a_forked_child_computes_the_same_bits(shape: tuple[int, int, int], threads: int) -> None:
    batch, steps, units = shape
    model, x = Model(network(units)), sequence(batch, steps)
    expected = model(x, threads=2)
    for depth in (0, 1):
        assert all(same(y, expected) for y in in_a_child(model, x, threads, depth))
    assert same(model(x, threads=2), expected), "the parent goes on"


@forks
@in_spite_of_threads
def test_a_child_forked_while_the_model_runs() -> None:
    batch, steps, units = BY_ROW
    model, x = Model(network(units)), sequence(batch, steps)
    expected, stop = model(x, threads=2), threading.Event()

    def work() -> None:
        while not stop.is_set():
            model(x, threads=2)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(3):
            assert all(same(y, expected) for y in in_a_child(model, x, threads=2))
    finally:
        stop.set()
        thread.join(PATIENCE)


@forks
@in_spite_of_threads
def test_a_child_forked_by_a_thread() -> None:
    batch, steps, units = BY_UNIT
    model, x = Model(network(units)), sequence(batch, steps)
    expected = model(x, threads=2)
    with ThreadPoolExecutor(1) as pool:
        assert all(same(y, expected) for y in pool.submit(in_a_child, model, x, 2).result(PATIENCE))


@forks
@in_spite_of_threads
def test_a_stream_goes_on_in_a_child() -> None:
    model, x = Model(network(64)), sequence(1, 20)
    stream = model.stream()
    head = stream.run(x[:, :10])
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    child = context.Process(target=lambda: its.send(stream.run(x[:, 10:])))
    child.start()
    try:
        assert mine.poll(PATIENCE / 4), "the child hangs"
        assert same(np.concatenate([head, mine.recv()], axis=1), model(x))
    finally:
        child.kill()
        child.join(PATIENCE)
    assert same(stream.run(x[:, 10:]), model(x)[:, 10:]), "the parent's own goes on from where it was"


def test_a_spawned_process_takes_a_pickled_model() -> None:
    model = fastgru.load(fastgru.demo_path())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert same(pool.apply_async(model, ([[1, 2, 3]],)).get(PATIENCE), model([[1, 2, 3]]))


# ---- how many threads ----------------------------------------------------------------------------------------------

LIMIT = "print(fastgru.load(fastgru.demo_path()).threads, fastgru.cpu_info()['threads'])"
ENVIRONMENTS = [
    ({"FASTGRU_NUM_THREADS": "3"}, 3),
    ({"OMP_NUM_THREADS": "5"}, 5),
    ({"OMP_NUM_THREADS": "4,2,1"}, 4),
    ({"OMP_NUM_THREADS": " 6 "}, 6),
    ({"FASTGRU_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
    ({"FASTGRU_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, 5),
    ({"FASTGRU_NUM_THREADS": "1", "OMP_NUM_THREADS": "x"}, 1),
]


@pytest.mark.parametrize(("environment", "threads"), ENVIRONMENTS, ids=str)
def test_threads_by_environment(environment: dict[str, str], threads: int) -> None:
    assert printed(LIMIT, **environment) == f"{threads} {threads}"


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "2x", "²"])
def test_a_wrong_number_of_threads_is_said_at_load(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FASTGRU_NUM_THREADS", value)
    with pytest.raises(BadInput, match="FASTGRU_NUM_THREADS") as error:
        fastgru.load(fastgru.demo_path())
    assert value in str(error.value)
    assert printed("print('imported')", FASTGRU_NUM_THREADS=value) == "imported"


def test_an_argument_stands_above_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRU_NUM_THREADS", "3")
    assert fastgru.load(fastgru.demo_path(), threads=2).threads == 2


@linux
def test_threads_by_affinity() -> None:
    body = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + LIMIT
    assert printed(body) == "1 1"


# ---- which kernels -------------------------------------------------------------------------------------------------


def test_forced_kernels(isa: str) -> None:
    assert fastgru.cpu_info()["isa"] == isa
    model = fastgru.load(fastgru.demo_path())
    assert model.isa == isa
    assert isa in model.summary()


def test_forced_kernels_by_the_environment_of_the_process() -> None:
    body = "m = fastgru.load(fastgru.demo_path()); print(m.isa, fastgru.cpu_info()['isa'])"
    for name in ISAS:
        assert printed(body, FASTGRU_ISA=name) == f"{name} {name}"


@pytest.mark.skipif("avx2" not in ISAS, reason="needs AVX2 beside scalar")
def test_the_scalar_kernels_really_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without FMA its last bits are its own: equal bits would mean that other kernels ran."""
    answers = {}
    for name in ("scalar", "avx2"):
        monkeypatch.setenv("FASTGRU_ISA", name)
        answers[name] = Model(network(64))(sequence(4, 20))
    assert not same(answers["scalar"], answers["avx2"])
    assert np.abs(answers["scalar"] - answers["avx2"]).max() < 1e-5


def test_the_best_kernels_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        monkeypatch.delenv("FASTGRU_ISA", raising=False)
        if value is not None:
            monkeypatch.setenv("FASTGRU_ISA", value)
        assert fastgru.load(fastgru.demo_path()).isa == fastgru.cpu_info()["isas"][-1] == SETS[-1]


@pytest.mark.parametrize("name", ["neon", "sse9", "AVX2 ", "avx512_fp16", "avx512_bf16"])
def test_kernels_that_the_machine_lacks_are_refused_at_load(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name in SETS:
        pytest.skip(f"this machine has {name}")
    assert printed("print('imported')", FASTGRU_ISA=name) == "imported"
    monkeypatch.setenv("FASTGRU_ISA", name)
    with pytest.raises(BadInput, match="FASTGRU_ISA") as error:
        fastgru.load(fastgru.demo_path())
    assert name.strip() in str(error.value)
    assert "scalar" in str(error.value), "names what there is"


def test_kernels_are_chosen_at_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRU_ISA", "scalar")
    model = fastgru.load(fastgru.demo_path())
    monkeypatch.setenv("FASTGRU_ISA", ISAS[-1])
    assert model.isa == "scalar"


# ---- the caller's floating-point environment -----------------------------------------------------------------------

TINY = np.float32(1e-40)
UPWARD = {"x86_64": 0x800, "AMD64": 0x800, "aarch64": 0x400000}
libm = ctypes.CDLL(ctypes.util.find_library("m"))


def denormals_live() -> bool:
    return bool((np.full(32, TINY) * np.float32(0.5) != 0).all() and (np.full(32, TINY) + np.float32(0) != 0).all())


@pytest.mark.parametrize("threads", [1, 2])
def test_the_callers_denormals_live_on(threads: int, isa: str) -> None:
    assert denormals_live()
    batch, steps, units = BY_ROW
    model, x = Model(network(units)), sequence(batch, steps)
    model(x, threads=threads)
    assert denormals_live()
    with model.stream() as stream:
        stream.step(x[:1, 0])
        assert denormals_live()
        with pytest.raises(BadInput):
            stream.step(x[:1, 0, :2])
    assert denormals_live()


def test_the_callers_rounding_is_kept_and_not_used(isa: str) -> None:
    upward = UPWARD.get(os.uname().machine)
    if upward is None:
        pytest.skip("FE_UPWARD is not known on this machine")
    batch, steps, units = BY_ROW
    model, x = Model(network(units)), sequence(batch, steps)
    expected = [model(x, threads=threads) for threads in (1, 2)]
    nearest = libm.fegetround()
    assert libm.fesetround(upward) == 0
    try:
        answers = [model(x, threads=threads) for threads in (1, 2)]
        with model.stream(batch_size=batch) as stream:
            step = stream.step(x[:, 0])
        kept = libm.fegetround()
    finally:
        libm.fesetround(nearest)
    assert kept == upward
    assert all(same(*pair) for pair in zip(answers, expected, strict=True))
    assert same(step, expected[0][:, 0])


def test_a_network_loaded_under_another_rounding(isa: str) -> None:
    """What is computed beforehand, sums of biases and the projections of an embedding, is computed like all else."""
    upward = UPWARD.get(os.uname().machine)
    if upward is None:
        pytest.skip("FE_UPWARD is not known on this machine")
    rng = np.random.default_rng(0)
    cell = gru(rng, 40, 30, source="embedding")
    graph = chain(tokens(), embedding(rng, 50, 40), cell)
    ids = rng.integers(0, 50, (3, 10))
    expected = Model(graph)(ids)
    nearest = libm.fegetround()
    assert libm.fesetround(upward) == 0
    try:
        model = Model(graph)
        kept = libm.fegetround()
    finally:
        libm.fesetround(nearest)
    assert kept == upward
    assert same(model(ids), expected)


def test_denormal_vectors_of_an_embedding_are_zero(isa: str) -> None:
    """As in the product that their projections stand for."""
    cell = gru(np.random.default_rng(0), 4, 8, source="embedding", return_sequences=True)
    cell = dataclasses.replace(cell, kernel=np.full((4, 24), 1e38, np.float32))
    table = Embedding(name="embedding", inputs=("x",), table=np.full((3, 4), TINY))
    ids = np.array([[0, 1, 2]])
    alone = Model(chain(floats(4), dataclasses.replace(cell, inputs=("x",))))
    assert same(Model(chain(tokens(), table, cell))(ids), alone(table.table[ids]))
    assert denormals_live()


@pytest.mark.parametrize("threads", [1, 2])
def test_denormal_weights_and_inputs_are_zero(threads: int, isa: str) -> None:
    """Flushed on every thread alike: the answer is that of zeros, to the bit."""

    def filled(value: np.float32) -> Model:
        cell = gru(np.random.default_rng(0), FEATURES, 256, return_sequences=True)
        tensors = {key: np.full_like(array, value) for key, array in cell.tensors.items()}
        return Model(chain(floats(FEATURES), dataclasses.replace(cell, **tensors)))

    x = np.full((16, 20, FEATURES), TINY)
    y = filled(TINY)(x, threads=threads)
    assert np.isfinite(y).all()
    assert (y == filled(np.float32(0))(np.zeros_like(x), threads=threads)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45])
@pytest.mark.parametrize("threads", [1, 2])
def test_odd_inputs_do_not_crash_and_stay_in_their_row(value: float, threads: int, isa: str) -> None:
    batch, steps, units = BY_ROW
    model, x = Model(network(units)), sequence(batch, steps)
    clean = model(x, threads=threads)
    x[5, 2:] = value
    y = model(x, threads=threads)
    others = np.arange(batch) != 5
    assert same(y[others], clean[others])
    assert same(y[5, :2], clean[5, :2])
    if np.isnan(value):
        assert np.isnan(y[5, 2:]).all()
    if np.isfinite(value):
        assert np.isfinite(y).all()

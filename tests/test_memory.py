"""Resident memory stays flat; `tools/check_memory.py` says so at full length."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastgru
from building import chain, dense, embedding, floats, gru, tokens
from fastgru import Model

GOLDEN = Path(__file__).parent / "data" / "golden"
STATM = Path("/proc/self/statm")
PAGE = 4096
#: growth that is noise of the allocator, not a leak
ALLOWED = 512 * 1024

pytestmark = pytest.mark.skipif(not STATM.exists(), reason="reads /proc")


def resident() -> int:
    """Bytes of resident memory, without what glibc holds back for later."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
    return int(STATM.read_text().split()[1]) * PAGE


def growth(work: Callable[[], object], warm_up: int, count: int) -> int:
    """Bytes that resident memory grows by in `count` calls after the first `warm_up`."""
    for _ in range(warm_up):
        work()
    before = resident()
    for _ in range(count):
        work()
    return resident() - before


def network(*, return_sequences: bool = True, **options: object) -> Model:
    rng = np.random.default_rng(1)
    cell = gru(rng, 3, 16, mask="x:mask", return_sequences=return_sequences, **options)
    return Model(chain(floats(3), cell, dense(rng, 16, 2, name="out", source="gru", function="softmax")))


def of_tokens() -> Model:
    rng = np.random.default_rng(1)
    return Model(chain(tokens(), embedding(rng, 9, 4), gru(rng, 4, 16, source="embedding")))


def steps_of_floats() -> Callable[[], object]:
    stream, x = network().stream(), np.zeros((1, 3), np.float32)
    return lambda: stream.step(x)


def converted_steps() -> Callable[[], object]:
    stream, x = network().stream(), np.zeros((1, 3))
    return lambda: stream.step(x)


def steps_of_tokens() -> Callable[[], object]:
    stream, x = of_tokens().stream(), np.array([3])
    return lambda: stream.step(x)


def refused_steps() -> Callable[[], object]:
    stream, x = of_tokens().stream(), np.array([99])

    def work() -> None:
        with pytest.raises(fastgru.BadInput):
            stream.step(x)

    return work


def chunks() -> Callable[[], object]:
    stream, x = network().stream(), np.zeros((1, 5, 3), np.float32)
    return lambda: stream.run(x, lengths=[3])


def states() -> Callable[[], object]:
    stream = network().stream(batch_size=3)

    def work() -> None:
        stream.set_state(stream.get_state(rows=[2, 0]), rows=[0, 1])
        stream.reset(2)

    return work


def calls() -> Callable[[], object]:
    model, x = network(), np.zeros((4, 5, 3))
    return lambda: (model(x, lengths=[1, 2, 3, 4]), model({"x": x}), model.predict(x, batch_size=3))


def threaded_calls() -> Callable[[], object]:
    rng = np.random.default_rng(1)
    model, x = Model(chain(floats(3), gru(rng, 3, 200))), np.zeros((64, 3, 3), np.float32)
    return lambda: model(x, threads=2)


def new_streams() -> Callable[[], object]:
    model, x = network(), np.zeros((8, 50, 3), np.float32)

    def work() -> None:
        with model.stream(batch_size=8) as stream:
            stream.run(x)
        model.stream(batch_size=8).run(x)

    return work


WORK = {
    steps_of_floats: 50_000, converted_steps: 20_000, steps_of_tokens: 50_000, refused_steps: 5_000, chunks: 20_000,
    states: 5_000, calls: 5_000, threaded_calls: 500, new_streams: 2_000,
}  # fmt: skip


@pytest.mark.parametrize(("make", "count"), WORK.items(), ids=[make.__name__ for make in WORK])
def test_runs_leave_memory_flat(make: Callable[[], Callable[[], object]], count: int) -> None:
    assert growth(make(), warm_up=count // 5, count=count) < ALLOWED


@pytest.mark.parametrize("name", ["demo.safetensors", "stock.h5", "regression.keras"])
def test_loading_and_discarding_leaves_memory_flat(name: str) -> None:
    path = fastgru.demo_path() if name == "demo.safetensors" else GOLDEN / name
    if name != "demo.safetensors":
        pytest.importorskip("h5py")

    def work() -> None:
        model = fastgru.load(path)
        model(np.ones((1, 2, *(() if model.inputs[0].dtype == "int32" else model.inputs[0].inner)), np.float32))

    count = 300 if name == "demo.safetensors" else 40
    assert growth(work, warm_up=count // 3, count=count) < 2 * ALLOWED


def test_failed_loads_leave_memory_flat(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(fastgru.demo_path().read_bytes()[:-100])

    def work() -> None:
        with pytest.raises(fastgru.BadModelFile):
            fastgru.load(path)

    assert growth(work, warm_up=100, count=300) < ALLOWED


@pytest.mark.parametrize("batch", [1, 32])
def test_the_workspace_of_a_causal_network_does_not_grow_with_time(batch: int) -> None:
    """Long inputs are walked in blocks; only what is shorter than a block may take less."""
    sizes = {}
    for steps in (10, 1_000, 20_000):
        with network().stream(batch_size=batch) as stream:
            stream.run(np.zeros((batch, steps, 3), np.float32))
            sizes[steps] = stream.nbytes
    assert sizes[10] <= sizes[1_000] == sizes[20_000], sizes
    with network().stream(batch_size=batch) as stream:
        stream.step(np.zeros((batch, 3), np.float32))
        assert stream.nbytes <= sizes[10]


def test_a_long_plain_call_takes_little_beside_its_arrays() -> None:
    steps = 500_000
    model, x = network(return_sequences=False), np.zeros((1, steps, 3), np.float32)
    assert growth(lambda: model(x), warm_up=0, count=1) < 4 * ALLOWED < x.nbytes


def test_a_model_holds_its_weights_about_twice() -> None:
    """Once in the Graph, once packed; and nothing else of their size."""
    graph = chain(floats(512), gru(np.random.default_rng(1), 512, 512))
    weights, models = 4 * graph.parameters, []
    taken = growth(lambda: models.append(Model(graph)), warm_up=1, count=4) / 4
    assert taken < 1.3 * weights, "packed weights of each"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_loading_leaves_the_weights_in_their_dtype_and_nothing_else(dtype: str, tmp_path: Path) -> None:
    """Twice, as above; what was float32 on the way is back with the system when `load` returns."""
    rng, units = np.random.default_rng(1), 600
    arrays = {name: rng.standard_normal((3 * units, units), np.float32) for name in ("w_ih", "w_hh")}
    config = {"layers": [{"gru": "", "batch_first": True}]}
    np.savez(tmp_path / "large.npz", **arrays)
    np.savez(tmp_path / "small.npz", **{name: array[:3, :1] for name, array in arrays.items()})
    fastgru.load(tmp_path / "small.npz", config=config, dtype=dtype)
    before = resident()
    model = fastgru.load(tmp_path / "large.npz", config=config, dtype=dtype)
    taken = int(STATM.read_text().split()[1]) * PAGE - before
    weights = {"float32": 4, "int8": 1}.get(dtype, 2) * 6 * units**2
    huge_page = 2 << 20
    assert taken < 2.2 * weights + huge_page + ALLOWED
    assert model.dtype == dtype

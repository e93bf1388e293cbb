"""Steps in a loop under a deadline: nothing in them may wait, nothing may grow slow; and `fastgru bench --realtime`."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import counted_steps
import counting
import fastgru
from building import chain, dense, embedding, floats, gru, tokens
from fastgru import BadInput, Model, UnsupportedModel
from fastgru.bench import realtime as bench
from fastgru.bench.counters import KINDS
from fastgru.bench.realtime import Schedule, realtime
from fastgru.graph import GRU, Combine, Graph, StepMask, tensor_spec

HERE = Path(__file__).parent
#: cases of counted_steps.py that break a rule, with the reason
ALLOCATING = {"large_results": "a new array each", "fresh_memory": "no network"}
#: steps above some 50 µs let other Python threads run: the interpreter's lock is given back and taken again
RELEASING = (
    "gru_of_many_units", "many_rows", "chunks_of_several_blocks", "large_results", "large_results_with_out",
    "fresh_memory", "numbers_of_rows",
)  # fmt: skip
THREADED = ("two_threads", "two_threads_on_rows")

# ---- what a step does ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = counting.obstacle()
    if reason is not None:
        pytest.skip(reason)
    return counting.compiled(tmp_path_factory.mktemp("counting"))


def run_counted(library: Path, *program: str) -> Any:
    env = counting.environment(library)
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), str(Path(fastgru.__file__).parents[1]), env.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, *program], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found(library: Path) -> dict[str, Any]:
    return run_counted(library, str(HERE / "counted_steps.py"))


@pytest.mark.parametrize("name", counted_steps.CASES)
def test_a_step_after_the_first_allocates_nothing(found: dict[str, Any], name: str) -> None:
    counts = found[name]["counted"]["all"]
    allocations = {kind: counts[kind] for kind in ("allocations", "frees", "mappings")}
    if name in ALLOCATING:
        assert sum(allocations.values()) >= counted_steps.STEPS // 10, "the counter counts"
    else:
        assert allocations == dict.fromkeys(allocations, 0)
    assert (found[name]["faults"] == 0) == (name != "fresh_memory")


@pytest.mark.parametrize("name", [name for name in counted_steps.CASES if name not in THREADED])
def test_a_step_on_one_thread_takes_no_lock_and_waits_for_nobody(found: dict[str, Any], name: str) -> None:
    counts = found[name]["counted"]
    assert found[name]["switches"] == 0
    assert counts["core"] == dict.fromkeys(KINDS, 0)
    assert (counts["all"]["locks"] == counts["all"]["waits"] == 0) == (name not in RELEASING)


# ---- worst cases -----------------------------------------------------------------------------------------------------


def decaying(units: int) -> Model:
    """Without input the state halves each step: z is 1/2, the candidate 0."""
    kernel = np.zeros((1, 3 * units), np.float32)
    kernel[0, 2 * units :] = 1
    recurrent = np.zeros((units, 3 * units), np.float32)
    layer = GRU(
        name="gru", inputs=("x",), units=units, kernel=kernel, recurrent_kernel=recurrent, return_sequences=True
    )
    return Model(chain(floats(1), layer))


@pytest.mark.parametrize(("batch", "units", "threads"), [(1, 5, 1), (3, 33, 1), (64, 128, 2), (1, 512, 2)])
def test_a_state_that_decays_ends_at_zero_and_never_in_denormals(
    isa: str, batch: int, units: int, threads: int
) -> None:
    """Sums of denormals would take many times as long on some CPUs."""
    steps = 10_000 if batch * units < 1000 else 300
    x = np.zeros((batch, steps, 1), np.float32)
    x[:, 0] = 1
    y = decaying(units).stream(batch_size=batch, threads=threads).run(x)
    smallest = np.finfo(np.float32).tiny
    assert (y[:, 100] > 0).all()
    assert ((y >= smallest) | (y == 0)).all()
    assert (y[:, 140:] == 0).all()
    with np.errstate(under="ignore"):
        assert 0 < y[0, 100, 0] * np.float32(0.5) ** 40 < smallest, "this test knows denormals where it sees them"


def test_denormal_inputs_are_zeros(isa: str) -> None:
    rng = np.random.default_rng(3)
    model = Model(chain(floats(4), gru(rng, 4, 20), dense(rng, 20, 3, name="out", source="gru", function="linear")))
    zeros = np.zeros((2, 6, 4), np.float32)
    denormals = np.full_like(zeros, 1e-41)
    assert 0 < denormals[0, 0, 0] < np.finfo(np.float32).tiny
    assert np.array_equal(model(zeros), model(denormals))


# ---- the benchmark ---------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(2)
QUICK = Schedule(period=0.001, seconds=0.02)


def of_floats() -> Model:
    return Model(chain(floats(3), gru(RNG, 3, 8)))


def of_tokens() -> Model:
    return Model(chain(tokens(), embedding(RNG, 9, 4), gru(RNG, 4, 8, source="embedding")))


def of_a_start() -> Model:
    """An input without time."""
    return Model(Graph((floats(3), tensor_spec("h", False, (8,))), (gru(RNG, 3, 8, inputs=("x", "h")),), ("gru",)))


def of_lengths() -> Model:
    inputs = floats(3), tensor_spec("n", False, (), "int32")
    layers = StepMask(name="mask", inputs=("x", "n")), gru(RNG, 3, 8, mask="mask")
    return Model(Graph(inputs, layers, ("gru",)))


NETWORKS = {
    "floats": of_floats, "tokens": of_tokens, "start": of_a_start, "lengths": of_lengths,
    "several outputs": lambda: counted_steps.sequences(),
}  # fmt: skip


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_runs_at_a_rate(name: str, steps: int) -> None:
    result = realtime(NETWORKS[name](), Schedule(0.001, 0.02, steps), rows=2)
    assert (result["ticks"], result["rows"], result["steps_per_tick"], result["counted"]) == (20, 2, steps, None)
    for times in result["step"], result["from_tick"]:
        assert 0 < times["p50"] <= times["p99"] <= times["p99.9"] <= times["max"]
    assert result["step"]["max"] < result["from_tick"]["max"]
    assert result["out"] == (name in ("floats", "tokens", "several outputs"))
    json.dumps(result)


@pytest.mark.parametrize(("make", "how"), [(counted_steps.with_state, "native"), (counted_steps.cell, "feedback")])
def test_carried_states_run_at_a_rate(make: Any, how: str) -> None:
    graph = make().graph
    states = (("h", graph.output_names[1]),)
    result = realtime(Model(Graph(graph.inputs, graph.layers, graph.outputs, states=states)), QUICK)
    assert [one["how"] for one in result["states"]] == [how]
    assert not result["out"]


def test_several_inputs_run_at_a_rate() -> None:
    inputs = tensor_spec("a", None, (3,)), tensor_spec("b", None, (3,))
    layers = Combine(name="sum", inputs=("a", "b"), operation="add"), gru(RNG, 3, 8, source="sum")
    assert realtime(Model(Graph(inputs, layers, ("gru",))), QUICK, rows=3, threads=2)["threads"] == 2


def test_what_cannot_stream_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match="back"):
        realtime(Model(chain(floats(3), gru(RNG, 3, 4, name="back", go_backwards=True))), QUICK)
    plain = dense(RNG, 3, 2, name="d", source="x", function="tanh")
    with pytest.raises(UnsupportedModel, match="time axis"):
        realtime(Model(Graph((tensor_spec("x", False, (3,)),), (plain,), ("d",))), QUICK)


def walk(call: Any, ticks: int, period: float = 0.001) -> tuple[np.ndarray, np.ndarray, list[int]]:
    return bench._walk(call, ["x"], Schedule(period, ticks * period), None)


def test_ticks_are_due_however_late_the_ones_before_were() -> None:
    begun, ended, _ = walk(lambda x: time.sleep(0.003), ticks=10)
    due = np.arange(10) * 0.001
    assert (begun >= due).all()
    assert (np.diff(begun) >= 0.003).all(), "each waits for the one before"
    assert ended[-1] - due[-1] >= 10 * 0.003 - 9 * 0.001, "the delay adds up"


def test_late_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = np.array([0.5, 1.9, 3.5, 3.9]) * 1e-3  # the third one ends after the fourth tick
    monkeypatch.setattr(bench, "_walk", lambda *_: (ends - 1e-4, ends, [0, 0, 0, 0]))
    result = realtime(of_floats(), Schedule(0.001, 0.004))
    assert result["missed"] == 1
    assert result["from_tick"]["max"] == pytest.approx(1.5e-3)
    assert result["step"]["p50"] == pytest.approx(1e-4)


def test_usage_is_that_of_steps() -> None:
    _, _, used = walk(lambda x: (mmap.mmap(-1, 8).write(b"x"), time.sleep(1e-3)), ticks=5, period=0.01)
    assert used[0] >= 5
    assert 5 <= used[2] < 10, "the sleeps in the calls, not those until the ticks"
    assert walk(lambda x: None, ticks=5, period=0.01)[2][:3] == [0, 0, 0]


def test_spinning_begins_on_time() -> None:
    schedule = Schedule(0.002, 0.04, spin=0.002)
    begun, _, _ = bench._walk(lambda x: None, ["x"], schedule, None)
    assert (begun >= np.arange(20) * 0.002).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"period": 0}, "above 0"), ({"seconds": -1.0}, "above 0"), ({"spin": 0.5}, "spin should be from 0"),
     ({"seconds": 1e6}, "more than 10,000,000")],
)  # fmt: skip
def test_schedules_that_make_no_sense(fields: dict[str, float], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Schedule(**{"period": 0.001, "seconds": 1.0} | fields)


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    of_tokens().save(tmp_path / "tokens.safetensors")
    return tmp_path / "tokens.safetensors"


RATE = ("--realtime", "--period", "1ms", "--seconds", 0.05)


def test_the_command_as_json(path: Path) -> None:
    from commands import succeed

    more = ("--rows", 2, "--steps-per-tick", 3, "--spin", "100us")
    result = json.loads(succeed("bench", path, *RATE, *more, "--json"))
    assert result["fingerprint"] == fastgru.load(path).fingerprint
    kept = [result[key] for key in ("period", "ticks", "rows", "steps_per_tick", "spin", "threads")]
    assert kept == [0.001, 50, 2, 3, 1e-4, 1]
    assert "call" not in result, "nothing else is measured"


def test_the_command_as_tables(path: Path) -> None:
    from commands import succeed

    text = succeed("bench", path, *RATE)
    for word in ("50 ticks of 1 ms", "p99.9", "from the tick", "missed deadlines", "page faults", "context switches"):
        assert word in text
    assert "counted" not in text


def test_the_command_counts(path: Path, library: Path) -> None:
    pytest.importorskip("typer")
    code = "import sys; sys.argv[0] = 'fastgru'; from fastgru.cli import main; main()"
    result = run_counted(library, "-c", code, "bench", str(path), *map(str, RATE), "--json")
    assert result["counted"] == {who: dict.fromkeys(KINDS, 0) for who in ("all", "core")}
    assert result["in_steps"]["minor_faults"] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [((*RATE, "--batch", 2, "--profile"), "--batch, --profile can only be given without --realtime"),
     (("--period", "1ms", "--rows", 2), "--period, --rows can only be given with --realtime"),
     (("--realtime", "--period", "10"), "a duration is a number with its unit"),
     (("--realtime", "--period", "0ms"), "above 0")],
)  # fmt: skip
def test_the_command_refuses(path: Path, options: tuple[Any, ...], said: str) -> None:
    from commands import fail

    assert said in fail("bench", path, *options)

"""The benchmark's arithmetic, and that its processes run a case right; no test looks at how fast anything is."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import oracle
from fastgru import BadInput, FastGRUError, UnsupportedModel, file, narrowing
from fastgru.bench import against, compare, peers, worker
from fastgru.bench import alone as alone_module
from fastgru.bench.cases import CHECKED_STEPS, Case, Row, random_case, reference
from fastgru.graph import GRU, Activation, Concatenate, Graph, Layer, tensor_spec

sys.path.insert(0, str(Path(__file__).parent.parent / "tools" / "bench"))
import layers
import length
import limits
import neighbour
import network_peers
import networks
import pool
import report
import rows

TINY = [
    Row.parse(text)
    for text in (
        "1,1,3,5", "1,1,3,5/before", "2,4,3,5", "2,4,3,5/before", "3,7,3,5/lengths", "1,1,3,5/bidirectional",
        "2,4,3,5/bidirectional", "2,4,3,5/before/bidirectional", "3,7,3,5/lengths/bidirectional",
    )
]  # fmt: skip
#: 10 GB/s everywhere; a gate costs 2 ns, an FMA's latency is 1 ns
FLAT = limits.Limits(1, 100.0, 1.0, 2.0, 30.0, [(1 << 12, 409.6), (1 << 26, 6710886.4)])


def graph_of(case: Case) -> Graph:
    layers: list[Layer] = [
        GRU(
            name=name, inputs=("x",), units=case.row.units, reset_after=case.row.reset_after, return_sequences=True,
            go_backwards=name == "back", time_order=name == "back", mask="x:mask", zero_output_for_mask=True,
            **vars(weights),
        )
        for name, weights in zip(("gru", "back"), case.directions, strict=False)
    ]  # fmt: skip
    if case.row.bidirectional:
        layers.append(Concatenate(name="both", inputs=("gru", "back")))
    return Graph((tensor_spec("x", None, (case.row.inputs,)),), tuple(layers), (layers[-1].name,))


# ---- rows and cases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TINY)
def test_a_row_is_its_text(row):
    assert Row.parse(str(row)) == row


@pytest.mark.parametrize("text", ["1,1,3", "1,1,3,0", "1,1,3,5/after", "a,b,c,d", ""])
def test_what_is_no_row(text):
    with pytest.raises(BadInput, match="batch,steps,input,hidden"):
        Row.parse(text)


def test_the_same_row_has_the_same_numbers():
    first, second = random_case(TINY[-1]), random_case(TINY[-1])
    np.testing.assert_equal(first.to_dict(), second.to_dict())
    one, other = (weights.kernel for weights in first.directions)
    assert not np.array_equal(one, other)


def test_a_case_survives_the_way_to_a_worker():
    case = random_case(TINY[-1])
    back = Case.from_dict(case.to_dict())
    assert back.row == case.row
    np.testing.assert_equal(back.to_dict(), case.to_dict())


@pytest.mark.parametrize("row", TINY)
def test_the_reference_is_the_oracle(row):
    case = random_case(row)
    x = np.repeat(case.x, CHECKED_STEPS, axis=1) if row.is_step else case.x
    lengths = np.full(len(x), x.shape[1]) if case.lengths is None else case.lengths
    mask = np.arange(x.shape[1]) < lengths[:, None]
    expected = oracle.run(graph_of(case), {"x": x}, {"x": mask})[0]
    np.testing.assert_allclose(reference(case), expected[:, -1:] if row.is_step else expected, atol=1e-12)


def test_padding_is_not_counted():
    case = random_case(Row.parse("3,8,3,5/lengths"))
    assert case.lengths is not None
    assert case.lengths.max() == 8
    assert case.row_steps == case.lengths.sum() < 24
    assert random_case(Row.parse("3,8,3,5")).row_steps == 24


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def test_geometric_mean():
    assert compare.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert compare.geometric_mean([3.0]) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="no values"):
        compare.geometric_mean([])


def test_a_sweep_is_interpolated_between_sizes():
    steps = limits.Limits(1, 100.0, 1.0, 2.0, 30.0, [(1 << 10, 10.24), (1 << 12, 409.6)])
    assert steps.gigabytes(1 << 10) == pytest.approx(100)
    assert steps.gigabytes(1 << 11) == pytest.approx(55)  # halfway, by ratio
    assert steps.gigabytes(1 << 20) == pytest.approx(10)  # past the last: the last


def test_the_bound_of_a_batch_is_its_products():
    case = random_case(Row(64, 10, 32, 32))
    found = limits.bound(case, FLAT)
    assert found["products"] == pytest.approx(2 * 640 * 3 * 32 * 64 / 100 / 1e3)
    assert found["gates"] == pytest.approx(640 * 32 * 2 / 1e3)
    assert found["by"] == "products"
    assert found["total"] == pytest.approx(found["products"] + found["gates"])


def test_the_bound_of_a_sequence_is_its_weights():
    found = limits.bound(random_case(Row(1, 10, 64, 64)), FLAT)
    moved = 10 * 3 * 64 * 64 + 3 * 64 * 64 + 10 * 128
    assert found["bytes"] == pytest.approx(4 * moved / 10 / 1e3)
    assert found["by"] == "bytes"


def test_the_bound_of_a_small_step_is_its_chain():
    fast = limits.Limits(1, 1e6, 1.0, 2.0, 30.0, [(1 << 12, 1.0), (1 << 26, 1e3)])
    after, before = (limits.bound(random_case(Row(1, 1, 8, 4, flag)), fast) for flag in (True, False))
    assert (after["by"], before["by"]) == ("chain", "chain")
    assert after["chain"] == pytest.approx(0.012)  # input + hidden multiply-adds
    assert before["chain"] == pytest.approx(0.016)  # the candidate waits for r · h
    assert after["gates"] == pytest.approx(0.030)  # the latency, not 4 · 2 ns


def test_threads_share_all_but_the_chain():
    case = random_case(Row(64, 10, 32, 32))
    one, two = limits.bound(case, FLAT), limits.bound(case, limits.Limits(2, 100.0, 1.0, 2.0, 30.0, FLAT.sweeps))
    assert two["products"] == pytest.approx(one["products"] / 2)
    assert two["bytes"] == pytest.approx(one["bytes"] / 2)
    assert two["gates"] == pytest.approx(one["gates"] / 2)
    assert two["chain"] == one["chain"]


def test_two_directions_are_twice_the_work_but_wait_once():
    one, two = (limits.bound(random_case(Row(64, 10, 32, 32, bidirectional=both)), FLAT) for both in (False, True))
    assert two["products"] == pytest.approx(2 * one["products"])
    assert two["gates"] == pytest.approx(2 * one["gates"])
    x = 4 * 640 * 32 / 10 / 1e3  # read once
    assert two["bytes"] == pytest.approx(2 * one["bytes"] - x)
    assert two["chain"] == one["chain"]
    one, two = (limits.bound(random_case(Row(1, 10, 4, 4, bidirectional=both)), FLAT) for both in (False, True))
    assert two["gates"] == one["gates"] == pytest.approx(0.3)  # ten times the latency


def test_the_better_of_two_measurements():
    other = limits.Limits(1, 90.0, 0.9, 3.0, 29.0, [(1 << 12, 400.0), (1 << 26, 7e6)])
    assert FLAT.better(other) == limits.Limits(1, 100.0, 0.9, 2.0, 29.0, [(1 << 12, 400.0), (1 << 26, 6710886.4)])


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_limits_are_measured():
    found = limits.measure("scalar", 1)
    assert found.fma_gflops > 0
    assert found.gates_latency_ns > found.fma_latency_ns > 0
    sizes = [size for size, _ in found.sweeps]
    assert sizes == sorted(set(sizes))
    assert all(ns > 0 for _, ns in found.sweeps)


# ---- the report ------------------------------------------------------------------------------------------------------


def run(seconds: float, dtype: str = "float32", difference: float = 1e-7) -> dict:
    return {"seconds": seconds, "route": "r", "dtype": dtype, "difference": difference}


def result(row: str, own: float, **others: float) -> dict:
    fastest = min(others, key=lambda name: others[name])
    runs = {name: run(seconds) for name, seconds in {"fastgru": own, **others}.items()}
    ratios = {"fastgru": others[fastest] / own}
    return {
        "row": row, "runs": runs, "skipped": {}, "alone": True, "fastest_peer": fastest, "ratio": ratios["fastgru"],
        "ratios": ratios,
    }  # fmt: skip


def with_int8(found: dict, seconds: float, difference: float, rival: float) -> dict:
    """The same result with fastgru-int8 and a narrow peer."""
    narrow = {"fastgru-int8": run(seconds, "int8", difference), "openvino-bf16": run(rival, "bfloat16", 2e-2)}
    fastest = found["runs"][found["fastest_peer"]]["seconds"]
    ratios = {**found["ratios"], "fastgru-int8": fastest / seconds}
    return {**found, "runs": {**found["runs"], **narrow}, "ratios": ratios}


RESULTS = [result("1,1,8,8", 1e-6, torch=8e-6, litert=4e-6), result("8,10,8,8", 1e-6, torch=1e-6)]
HEAD = {
    "machine": report.machine(), "isa": "avx2", "threads": 1, "repetitions": 3, "versions": {"torch": "2"},
    "missing": {"openvino": "ImportError"}, "limits": None, "commit": None,
    "seconds": 1.0,
}  # fmt: skip


def test_means_by_group():
    means = report.summary(RESULTS)
    assert means["all rows"] == pytest.approx({"fastest peer": 2.0, "torch": 8**0.5, "litert": 4.0})
    assert means["batches"] == pytest.approx({"fastest peer": 1.0, "torch": 1.0})
    assert "one sequence" not in means


def test_the_markdown_names_all():
    text = report.markdown(HEAD, RESULTS)
    assert "| 1,1,8,8 | 1 | 8 | 4 | litert | 4.00 |" in text
    assert "| 8,10,8,8 | 1 | 1 | – | torch | 1.00 |" in text
    assert "- openvino did not take part: ImportError" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({line.count("|") for line in block.splitlines()}) == 1 for block in tables)


def test_narrow_weights_are_compared_with_float32_and_with_narrow_peers():
    found = [with_int8(RESULTS[0], 0.5e-6, 3e-3, 2e-6), with_int8(RESULTS[1], 0.8e-6, 1e-3, 0.4e-6)]
    assert report.summary(found)["all rows"].keys() == {"fastest peer", "torch", "litert", "openvino-bf16"}
    assert report.narrow_names(found) == ["fastgru-int8"]
    means = report.narrow_summary(found)["fastgru-int8"]
    assert means["all rows"] == {
        "fastest peer": pytest.approx((8 * 1.25) ** 0.5), "fastgru": pytest.approx((2 * 1.25) ** 0.5),
        "openvino-bf16": pytest.approx((4 * 0.5) ** 0.5), "slowest": ["8,10,8,8", pytest.approx(1.25)],
        "difference": ["1,1,8,8", 3e-3],
    }  # fmt: skip
    assert means["batches"]["fastest peer"] == pytest.approx(1.25)
    text = report.markdown(HEAD, found)
    assert "| fastgru-int8: batches | 1.25 | 1.25 | 0.50 | 1.25 (8,10,8,8) | 1.0e-03 (8,10,8,8) |" in text
    assert "| 1,1,8,8 | 0.5 | litert | 8.00 | 2.00 | 4.00 | 3.0e-03 | 2.0e-02 |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({line.count("|") for line in block.splitlines()}) == 1 for block in tables)
    assert "fastgru-int8" not in tables[0]


def test_a_narrow_fastgru_without_peers():
    alone = with_int8(result("1,1,8,8", 1e-6, torch=1e-6), 0.5e-6, 1e-3, 1e-6)
    alone["runs"] = {name: alone["runs"][name] for name in ("fastgru", "fastgru-int8")}
    alone |= {"fastest_peer": None, "ratio": None, "ratios": {}}
    assert report.narrow_summary([alone])["fastgru-int8"]["all rows"].keys() == {"fastgru", "slowest", "difference"}
    assert "| 1,1,8,8 | 0.5 | – | – | 2.00 | 1.0e-03 |" in report.markdown(HEAD, [alone])


def test_the_usual_rows():
    assert sum(report.is_usual(Row.parse(row)) for row in layers.ROWS) == 17
    assert all(Row.parse(row).batch >= 8 for row in layers.ROWS if report.GROUPS["batches"](row))


def test_dtypes_of_the_command_line():
    assert layers.dtypes("bfloat16,int8") == ["bfloat16", "int8"]
    with pytest.raises(argparse.ArgumentTypeError, match="int4: expected some of float32, bfloat16"):
        layers.dtypes("int8,int4")


def test_the_bounds_are_shown():
    with_bound = {**RESULTS[0], "bound": limits.bound(random_case(Row(1, 1, 8, 8)), FLAT), "share": 0.5}
    assert "Bounds" not in report.markdown(HEAD, RESULTS)
    assert "| 50% |" in report.markdown(HEAD, [with_bound]).split("Bounds")[1]


def test_rows_on_shared_cores_are_named():
    results = [{**RESULTS[0], "alone": False}, *RESULTS[1:]]
    notes = report.markdown(HEAD, results).split("\n")
    assert f"- others computed on the same cores in most turns, so all turns count: {RESULTS[0]['row']}" in notes
    assert "same cores" not in report.markdown(HEAD, RESULTS)


def test_the_plot_is_a_png(tmp_path):
    pytest.importorskip("matplotlib")
    report.plot(HEAD, RESULTS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


# ---- processes -------------------------------------------------------------------------------------------------------


NARROW_ONES = peers.own_names(["bfloat16", "float16", "int8"])


@pytest.fixture(scope="module")
def comparison():
    everyone = [*compare.contenders(["numpy", *NARROW_ONES]), compare.Contender("nobody", "nobody")]
    with compare.Comparison(everyone, 1) as made:
        yield made


@pytest.mark.parametrize("known", [peers.PEERS, network_peers.PEERS], ids=["layers", "networks"])
def test_fastgru_takes_part_in_every_dtype(known):
    assert peers.DTYPES == narrowing.DTYPES
    assert [known[name].dtype for name in peers.own_names(narrowing.DTYPES)] == list(narrowing.DTYPES)


def test_who_cannot_run_is_named(comparison):
    assert set(comparison.versions) == {"fastgru", "numpy", *NARROW_ONES}
    assert list(comparison.missing) == ["nobody"]


@pytest.mark.parametrize("row", TINY)
def test_a_row_in_its_own_processes(comparison, row, monkeypatch):
    monkeypatch.setattr(compare, "TURN", 1e-4)
    found = comparison.measure(random_case(row), 3)
    assert found["skipped"] == {}
    assert set(found["runs"]) == {"fastgru", "numpy", *NARROW_ONES}
    assert all(run["seconds"] > 0 for run in found["runs"].values())
    assert all(run["difference"] < 1e-6 for run in found["runs"].values() if run["dtype"] == "float32")
    assert found["fastest_peer"] == "numpy"
    seconds = {name: run["seconds"] for name, run in found["runs"].items()}
    assert found["ratio"] == seconds["numpy"] / seconds["fastgru"]
    assert found["ratios"] == {name: seconds["numpy"] / seconds[name] for name in ("fastgru", *NARROW_ONES)}


def rates_of(*first, then):
    """In place of `CoreWatch.rate`."""
    rates = itertools.chain(first, itertools.repeat(then))

    def rate(self):
        found = next(rates)
        self.best = max(self.best, found)
        return found

    return rate


@pytest.mark.parametrize(
    ("first", "then", "turns", "alone"),
    [
        ([], 1.0, 2, [2, 2]),
        ([0.98, 1.0], 0.975, 2, [2, 2]),
        ([1.0] * 2 + [0.5] * 5, 1.0, 4, [3, 2]),  # not in numpy's first two turns, and fastgru's second one
        ([0.5] * 4, 1.0, 3, [2, 2]),  # the best rate comes late
        ([1.0] * 4, 0.5, 10, [1, 1]),  # half as many as asked for: they count
        ([1.0] * 2, 0.5, 10, [1, 0]),  # too few
    ],
)
def test_turns_count_that_have_the_cores_alone(monkeypatch, first, then, turns, alone):
    monkeypatch.setattr(compare, "TURN", 1e-4)
    monkeypatch.setattr(alone_module.CoreWatch, "rate", rates_of(*first, then=then))
    with compare.Comparison(compare.contenders(["numpy"]), 1) as comparison:
        found = comparison.measure(random_case(TINY[2]), 2)
    runs = found["runs"]
    assert [run["turns"] for run in runs.values()] == [turns] * 2
    assert [run["turns_alone"] for run in runs.values()] == alone
    assert found["alone"] == (min(alone) > 0)
    if not found["alone"]:
        assert all(run["seconds"] == run["seconds_of_all"] for run in runs.values())


def test_only_turns_alone_make_the_median(monkeypatch):
    times = iter([3.0, 9.0, 8.0, 5.0])
    case = random_case(TINY[2])
    monkeypatch.setattr(alone_module.CoreWatch, "rate", rates_of(1.0, 1.0, 0.5, 1.0, 1.0, 0.5, then=1.0))
    with compare.Comparison(compare.contenders([]), 1) as comparison:
        prepared = {"route": "r", "seconds": 1.0, "output": reference(case)}
        monkeypatch.setattr(
            comparison.workers["fastgru"], "ask",
            lambda command, *rest: prepared if command == "prepare" else {"seconds": next(times)},
        )  # fmt: skip
        run = comparison.measure(case, 2)["runs"]["fastgru"]
    assert run["seconds"] == 4.0  # of 3 and 5
    assert run["seconds_of_all"] == 6.5
    assert (run["turns"], run["turns_alone"]) == (4, 2)


def test_the_watch_goes_to_its_cpus_and_back():
    before = os.sched_getaffinity(0)
    watch = alone_module.CoreWatch(before)
    rates = [watch.rate() for _ in range(3)]
    assert os.sched_getaffinity(0) == before
    assert all(0.01 < rate <= watch.best < 20 for rate in rates)  # GHz
    assert watch.was_alone(watch.best)
    assert not watch.was_alone(0.8 * watch.best)


def test_narrow_weights_are_what_narrow_contenders_run(comparison, monkeypatch):
    monkeypatch.setattr(compare, "TURN", 1e-4)
    runs = comparison.measure(random_case(Row(2, 20, 24, 32)), 1)["runs"]
    assert [runs[name]["dtype"] for name in NARROW_ONES] == ["bfloat16", "float16", "int8"]
    off = {run["dtype"]: run["difference"] for run in runs.values()}
    assert 0 < off["float32"] < 1e-6 < 1e-5 < off["float16"] < off["bfloat16"] < off["int8"] < 0.05


def test_a_narrow_peer_is_no_yardstick(comparison, monkeypatch):
    monkeypatch.setattr(compare, "TURN", 1e-4)
    monkeypatch.setattr(comparison.workers["numpy"], "dtype", "bfloat16")
    found = comparison.measure(random_case(TINY[2]), 1)
    assert found["runs"]["numpy"]["seconds"] > 0
    assert (found["fastest_peer"], found["ratio"], found["ratios"]) == (None, None, {})


@pytest.mark.parametrize(("off", "is_timed"), [(0.05, True), (0.2, False)])
def test_narrow_outputs_have_bounds_of_their_own(comparison, monkeypatch, off, is_timed):
    case = random_case(TINY[2])
    answers = {"route": "r", "seconds": 1.0, "output": reference(case) + off}
    monkeypatch.setattr(comparison.workers["fastgru-int8"], "ask", lambda *request: answers)
    found = comparison.measure(case, 1)
    assert ("fastgru-int8" in found["runs"]) == is_timed
    if not is_timed:
        assert "differs from the right one by 2.0e-01, more than 1e-01" in found["skipped"]["fastgru-int8"]


def test_a_wrong_peer_is_not_timed(comparison, monkeypatch):
    case = random_case(TINY[2])
    right = reference(case)
    answers = {"route": "r", "seconds": 1.0, "output": right + 1e-3}
    monkeypatch.setattr(comparison.workers["numpy"], "ask", lambda *request: answers)
    found = comparison.measure(case, 1)
    assert "differs from the right one by 1.0e-03" in found["skipped"]["numpy"]
    assert "numpy" not in found["runs"]
    assert found["ratio"] is None


@pytest.mark.parametrize("output", [np.zeros((2, 4, 5)), np.full((2, 4, 5), np.nan), np.zeros((1, 4, 5))])
def test_a_wrong_fastgru_is_an_error(comparison, monkeypatch, output):
    answers = {"route": "r", "seconds": 1.0, "output": output}
    monkeypatch.setattr(comparison.workers["fastgru"], "ask", lambda *request: answers)
    with pytest.raises(FastGRUError, match="row 2,4,3,5: wrong output"):
        comparison.measure(random_case(TINY[2]), 1)


@pytest.mark.parametrize("name", ["onnxruntime", "torch", "openvino", "litert", "tract"])
def test_peers_agree(name, monkeypatch):
    monkeypatch.setattr(compare, "TURN", 1e-4)
    cannot = {
        "torch": {row for row in TINY if not row.reset_after},
        "litert": {row for row in TINY if not row.is_step},
        "tract": {row for row in TINY if row.padded},
    }
    with compare.Comparison(compare.contenders([name]), 1) as comparison:
        if name in comparison.missing:
            pytest.skip(comparison.missing[name])
        for row in TINY:
            skipped = comparison.measure(random_case(row), 1)["skipped"]
            assert bool(skipped) == (row in cannot.get(name, ())), skipped


def test_openvino_in_bfloat16(monkeypatch):
    monkeypatch.setattr(compare, "TURN", 1e-4)
    with compare.Comparison(compare.contenders(["openvino", "openvino-bf16"]), 1) as comparison:
        if comparison.missing:
            pytest.skip(comparison.missing["openvino-bf16"])
        found = comparison.measure(random_case(Row(2, 20, 24, 32)), 1)
        if "openvino-bf16" in found["skipped"]:
            pytest.skip(found["skipped"]["openvino-bf16"])
        assert found["fastest_peer"] == "openvino"
        assert found["runs"]["openvino"]["difference"] < 1e-6 < 1e-4 < found["runs"]["openvino-bf16"]["difference"]


def test_a_cpu_without_bfloat16_is_named():
    class Compiled:
        def get_property(self, name):
            assert name == "INFERENCE_PRECISION_HINT"
            return self

        def to_string(self):
            return "f32"

    peers.check_precision(Compiled(), "f32")
    with pytest.raises(peers.Skipped, match="computes in f32 on this CPU, not in bf16"):
        peers.check_precision(Compiled(), "bf16")


def test_the_fastest_route_is_kept():
    class Two(peers.NumPy):
        def routes(self, case):
            right = reference(case)
            slow = peers.Route("slow", lambda: time.sleep(0.01), lambda _: right)
            return [slow, peers.Route("fast", lambda: None, lambda _: right)]

    chosen, answer = worker.prepare(Two(1), random_case(TINY[2]))
    assert chosen.name == answer["route"] == "fast"


def test_another_version_takes_part_as_itself(tmp_path):
    (tmp_path / "fastgru.py").write_text('__version__ = "other"\ndef cpu_info(): return {"isa": "avx3"}\n')
    other = compare.Contender("fastgru@other", "fastgru", {"PYTHONPATH": str(tmp_path)})
    with compare.Comparison([other], 1) as comparison:
        assert comparison.versions == {"fastgru@other": "other avx3"}


def test_unknown_peer():
    with pytest.raises(BadInput, match=r"'tensorrt'.*onnxruntime"):
        compare.contenders(["torch", "tensorrt"])


# ---- whole networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "route"), [("2,4,3,5", "model"), ("3,1,3,5", "step")])
def test_a_network_in_its_own_process(tmp_path, monkeypatch, row, route):
    monkeypatch.setattr(compare, "TURN", 1e-4)
    monkeypatch.setattr(worker, "TRIAL", 1e-3)
    case = random_case(Row.parse(row))
    graph = graph_of(case)
    file.write(graph, tmp_path / "n.safetensors")
    np.save(tmp_path / "n-2.x.npy", case.x)
    program = (network_peers.__file__,)
    asked = {"network": str(tmp_path / "n.safetensors"), "stem": str(tmp_path / "n-2")}
    with compare.Comparison([compare.Contender("fastgru", "fastgru", program=program)], 1) as comparison:
        found = comparison.compare("n, batch 2", asked, reference(case), 1)
        assert found["row"] == "n, batch 2"
        assert found["runs"]["fastgru"]["difference"] < 1e-6
        with pytest.raises(FastGRUError, match="row n, batch 2: wrong output"):
            comparison.compare("n, batch 2", asked, reference(case) + 1e-3, 1)
    narrow = network_peers.PEERS["fastgru-int8"](1)
    off = narrow.routes(network_peers.NetworkCase(**asked))[0]
    assert 1e-6 < np.abs(off.output(off.call()) - reference(case)).max() < 0.05
    peer = network_peers.FastGRU(1)
    assert any(one.name.startswith(route) for one in peer.routes(network_peers.NetworkCase(**asked)))


def test_an_export_that_failed_is_skipped_with_its_reason(tmp_path):
    case = network_peers.NetworkCase("n.keras", str(tmp_path / "n-1"))
    assert case.exported("onnx") == str(tmp_path / "n-1.onnx")
    (tmp_path / "n-1.onnx.failed").write_text("does not convert: because")
    with pytest.raises(peers.Skipped, match="does not convert: because"):
        case.exported("onnx")


def test_the_networks_have_files_and_peers():
    own = {"fastgru", "fastgru-from-onnx", *NARROW_ONES}
    assert set(networks.PEERS) == set(network_peers.PEERS) - own
    pytest.importorskip("keras_live", reason="no keras", exc_type=ImportError)  # sets a backend that is there
    import network_files

    assert list(networks.NETWORKS) == list(network_files.NETWORKS)
    openvino = ValueError("Check 'false' failed\nSummary:\n-- No rule for: TensorList\nTo facilitate the use\n\nmore")
    assert network_files.reason(openvino) == "ValueError: No rule for: TensorList"
    assert network_files.reason(KeyError()) == "KeyError: "


def test_unsteady_networks_are_named():
    rows = [result(name, 1e-6, litert=4e-6, predict=1e-3) for name in ("calm", "noisy")]
    for row in rows:
        for run in row["runs"].values():
            run.update(difference=1e-7, spread=0.0)
        row["runs"]["predict"]["spread"] = 1.0  # neither fastgru nor the fastest peer: no part of the ratio
    rows[1]["runs"]["litert"]["spread"] = 2e-6
    assert networks.remarks(rows) == (
        "Largest difference from Keras in float32: 1e-07.\n\n"
        "Unsteady: noisy; the quartiles' distance by the median: litert 50%."
    )


def test_networks_in_the_report():
    rows = [result(f"{name}, batch {batch}", 1e-6, litert=4e-6) for name in ("a", "b") for batch in (1, 64)]
    groups = {"batch 64": lambda row: row.endswith(", batch 64")}
    assert report.summary(rows, groups) == {"batch 64": pytest.approx({"fastest peer": 4.0, "litert": 4.0})}
    text = report.markdown(HEAD, rows, groups, "network")
    assert "| network | fastgru, µs | litert, µs | fastest peer | ratio |" in text
    assert "| a, batch 64 | 1 | 4 | litert | 4.00 |" in text


# ---- fastgru bench --against -----------------------------------------------------------------------------------------


def test_the_largest_layer_is_taken():
    case = random_case(Row(1, 1, 3, 5))
    small = graph_of(case).layers[0]
    large = graph_of(random_case(Row(1, 1, 5, 6))).layers[0]
    assert isinstance(small, GRU)
    both = Graph(
        (tensor_spec("x", None, (3,)),),
        (small, GRU(**{**vars(large), "name": "large", "inputs": ("gru",), "mask": None})),
        ("large",),
    )
    assert against.largest_gru(both).name == "large"
    made = against.case_of(against.largest_gru(both), 2, 4)
    assert made.row == Row(2, 4, 5, 6)
    assert np.array_equal(made.directions[0].kernel, large.kernel)


def test_other_gates_are_refused():
    layer = graph_of(random_case(TINY[2])).layers[0]
    graph = Graph(
        (tensor_spec("x", None, (3,)),), (GRU(**{**vars(layer), "activation": Activation.of("relu")}),), ("gru",)
    )
    with pytest.raises(UnsupportedModel, match="'gru' has the activations sigmoid and relu"):
        against.largest_gru(graph)


def test_the_command(tmp_path, monkeypatch):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    from typer.testing import CliRunner

    from fastgru.cli._app import app

    monkeypatch.setattr(compare, "TURN", 1e-4)
    monkeypatch.setattr(against, "REPETITIONS", 3)
    file.write(graph_of(random_case(TINY[2])), tmp_path / "gru.safetensors")
    command = ["bench", str(tmp_path / "gru.safetensors"), "--seconds", "0.01", "--steps", "4", "--batch", "2"]
    text = CliRunner().invoke(app, [*command, "--against", "numpy", "--threads", "1"]).stdout
    assert "GRU layer 'gru' alone" in text
    assert "2,4,3,5" in text
    rows = json.loads(CliRunner().invoke(app, [*command, "--against", "numpy", "--json"]).stdout)["against"]["rows"]
    assert [row["row"] for row in rows] == ["1,1,3,5", "2,4,3,5"]
    narrow = CliRunner().invoke(app, [*command, "--against", "numpy", "--dtype", "int8", "--json"]).stdout
    runs = [row["runs"] for row in json.loads(narrow)["against"]["rows"]]
    assert [set(one) for one in runs] == [{"fastgru", "fastgru-int8", "numpy"}] * 2
    # everyone has the numbers that the int8 weights stand for: these differ by nothing but their activations
    assert all(one["fastgru"]["difference"] < 1e-6 and one["fastgru-int8"]["difference"] < 0.01 for one in runs)
    text = CliRunner().invoke(app, [*command, "--against", "numpy", "--dtype", "int8"]).stdout
    assert "× fastgru-int8" in text
    with monkeypatch.context() as shared:
        shared.setattr(alone_module.CoreWatch, "rate", rates_of(1.0, then=0.5))
        text = CliRunner().invoke(app, [*command, "--against", "numpy"]).stdout
    assert "2,4,3,5: others computed on the same cores" in text
    failed = CliRunner().invoke(app, [*command, "--against", "tensorrt"])
    assert "unknown peer 'tensorrt'" in failed.stderr


# ---- rows and pool ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_rows_and_pools_hold_weights_as_told(dtype):
    assert rows.network(4, dtype).dtype == pool.network(4, dtype).dtype == dtype


# ---- length and neighbour --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", length.NETWORKS)
def test_the_formula_of_memory(name):
    options = argparse.Namespace(steps=(1, 100, 300), threads=1, repetitions=1)
    results = [result for batch in (1, 3) for result in length.measure(name, batch, options)]
    assert [result["nbytes"] for result in results] == [result["formula"] for result in results]


def test_what_breaks_the_promise_of_length():
    good = {"network": "GRU", "batch": 1, "steps": 128, "ratio": 1.0, "nbytes": 9, "formula": 9, "resident_growth": 9}
    assert length.faults([good, {**good, "steps": 1_000, "ratio": 1.09}]) == []
    assert "1.11 of the time" in length.faults([good, {**good, "ratio": 1.11}])[0]
    assert "by the formula 8" in length.faults([{**good, "formula": 8}])[0]
    assert "resident memory grew" in length.faults([{**good, "resident_growth": 10 << 20}])[0]
    assert "workspaces of [9, 10]" in length.faults([good, {**good, "nbytes": 10, "formula": 10}])[0]
    assert length.faults([{**good, "steps": 100, "nbytes": 8, "formula": 8}, good]) == []  # less than a block


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_the_neighbour_spins_and_goes():
    with neighbour.neighbour(min(os.sched_getaffinity(0))) as process:
        time.sleep(0.3)
        spent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11]
        assert int(spent) > 0  # ticks of CPU time
    assert process.poll() is not None

"""Random networks as ONNX files of many makers: fastgru against onnxruntime and the framework that wrote them.

    python tools/judge_onnx_files.py torch [--count 100] [--seed 0] [--keep folder] [--verbose]

Sources: torch (both exporters), keras (Keras 3 and tf2onnx), tf_keras, written (by hand). Prints how many networks
agreed, were refused and why, or were wrong, and the largest error, relative to max(1, max|y|); exits with 1 where a
number is wrong (above 1e-5) or an error is raised that is no refusal.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import re
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import fastgru
from onnx_networks import Case, NotExported

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from tolerances import error

BOUND = 1e-5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", choices=("torch", "keras", "tf_keras", "written"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep files that are refused or wrong here")
    parser.add_argument("--verbose", action="store_true", help="every network that does not agree")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(4)
    source = importlib.import_module(f"onnx_networks.{options.source}_source")
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    reasons: dict[str, list[str]] = defaultdict(list)
    worst, start = 0.0, time.time()
    for index, case in enumerate(source.cases(options.seed, options.count)):
        if isinstance(case, NotExported):
            verdict, detail = "not exported", case.reason
        else:
            verdict, detail, off = judged(case)
            worst = max(worst, off)
        counts[verdict] += 1
        if verdict == "agreed":
            continue
        for reason in detail.split("\n"):
            reasons[f"{verdict}: {kind_of(reason)}"].append(case.name)
        if options.verbose and verdict != "not exported":
            print(f"{verdict}: {case.name}\n    {detail}", flush=True)
        if options.keep and isinstance(case, Case):
            onnx.save(case.proto, options.keep / f"{index}.onnx")
    for reason, names in sorted(reasons.items(), key=lambda item: (item[0][:5], -len(item[1]))):
        print(f"{len(names):4} {reason}    e.g. {names[0]}")
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    print(f"largest error {worst:.1e}; {time.time() - start:.0f} s")
    return int(bool(counts["WRONG"] or counts["RAISED"]))


def judged(case: Case) -> tuple[str, str, float]:
    """What became of a network, why, and the largest error where it agreed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx.save(case.proto, path)
        try:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            runs = [session.run(None, one) for one in case.feeds]
        except Exception as fault:
            return "not run by onnxruntime", str(fault).strip().splitlines()[0][:150], 0.0
        try:
            model = fastgru.load(path, **options_of(case))
        except fastgru.UnsupportedModel as fault:
            return "refused", "\n".join(map(str, getattr(fault, "reasons", [fault]))), 0.0
        except fastgru.FastGRUError as fault:
            return "REFUSED ODDLY", f"{type(fault).__name__}: {fault}", 0.0
        except Exception as fault:
            return "RAISED", f"{type(fault).__name__}: {fault}", 0.0
    worst, off_framework = 0.0, 0.0
    for index, (one, theirs) in enumerate(zip(case.feeds, runs, strict=True)):
        try:
            ours = model(one)
        except fastgru.FastGRUError as fault:
            return "NOT RUN", f"{type(fault).__name__}: {fault}", 0.0
        except Exception as fault:
            return "RAISED", f"{type(fault).__name__}: {fault}", 0.0
        ours = ours if isinstance(ours, tuple) else (ours,)
        if len(ours) != len(theirs) or any(a.dtype != b.dtype for a, b in zip(ours, theirs, strict=True)):
            return "WRONG", f"outputs {[y.dtype for y in ours]}, not {[y.dtype for y in theirs]}", 0.0
        worst = max(worst, *(error(a, b) for a, b in zip(ours, theirs, strict=True)))
        if case.answers:
            off_framework = max(off_framework, *(error(a, b) for a, b in zip(ours, case.answers[index], strict=True)))
    if not worst <= BOUND:
        shapes = [(y.shape, z.shape) for y, z in zip(ours, theirs, strict=True)]
        if off_framework <= BOUND:
            return "agreed with the framework alone", f"off from onnxruntime by {worst:.1e}", 0.0
        return "WRONG", f"off by {worst:.1e} {shapes if not np.isfinite(worst) else ''}", 0.0
    if not off_framework <= BOUND:
        return "agreed with onnxruntime alone", f"off from the framework by {off_framework:.1e}", worst
    return "agreed", "", worst


def options_of(case: Case) -> dict[str, object]:
    """Files of torch's dynamo exporter whose GRUs lack linear_before_reset are read as onnxruntime reads them."""
    return {"assume_torch_gru": False} if " dynamo " in case.name else {}


def kind_of(reason: str) -> str:
    """A reason without what differs from file to file."""
    reason = re.sub(r"'[^']*'", "…", reason)
    return re.sub(r"\d+(\.\d+)?(e-?\d+)?", "#", reason)[:170]


if __name__ == "__main__":
    sys.exit(main())

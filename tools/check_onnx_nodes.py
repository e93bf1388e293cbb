"""Hold 300 generated GRU nodes, over all attributes, opsets and forms, against ONNX Runtime and the float64 oracle.

    python tools/check_onnx_nodes.py
    python tools/check_onnx_nodes.py --first 300 --count 2000

Every node is written to a file and loaded from it. ONNX Runtime judges those that it runs in float32, and the others in
the form that it takes (opset 14, time first, float32); the oracle of `tests/onnx_oracle.py` judges all. Prints what
disagrees or fails, and the largest differences. Exit code 1 unless all agree. The same generator feeds
`tests/test_onnx_gru.py`.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import fastgru
from onnx_cases import random_case
from onnx_files import onnxruntime_answer
from tolerances import TOLERANCES, error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="seed of the first node")
    parser.add_argument("--count", type=int, default=300)
    arguments = parser.parse_args()
    refusals: collections.Counter[str] = collections.Counter()
    worst: dict[str, float] = collections.defaultdict(float)
    judged: collections.Counter[str] = collections.Counter()
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.first, arguments.first + arguments.count):
            case = random_case(seed)
            path = case.write(Path(folder) / f"{seed}.onnx")
            try:
                model = fastgru.load(path)
                given = model(case.feeds)
            except Exception as fault:  # the count tells of it
                print(f"{seed}: {type(fault).__name__}: {fault}")
                failures += 1
                continue
            answers = dict(zip(case.outputs, given if isinstance(given, tuple) else (given,), strict=True))
            judges = {"oracle": case.expected}
            peer = onnxruntime_answer(path, case.feeds)
            if isinstance(peer, str):
                refusals[peer.split(" : ")[2]] += 1
            if isinstance(peer, dict) and case.dtype == "float32":  # others it rounds to fewer bits
                judges["onnxruntime"] = peer
            else:
                plain = onnxruntime_answer(case.plain.model, case.plain.feeds)
                if isinstance(plain, str):
                    print(f"{seed}: ONNX Runtime refuses even its plain form: {plain}")
                else:
                    judges["onnxruntime, another form"] = case.turned(plain)
            for judge, expected in judges.items():
                off = max(error(answers[key], expected[key]) for key in case.outputs)
                worst[judge] = max(worst[judge], off)
                judged[judge] += 1
                if not off <= TOLERANCES[judge.partition(",")[0]]:
                    print(f"{seed}: off from {judge} by {off:.2e}: {case.attributes}")
                    failures += 1
    print(f"{arguments.count} nodes, {failures} failures")
    for judge, count in judged.items():
        print(f"{judge}: {count} nodes, off by at most {worst[judge]:.1e}")
    print(f"ONNX Runtime refuses {sum(refusals.values())}: {dict(refusals)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

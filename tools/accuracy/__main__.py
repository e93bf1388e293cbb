"""What narrow weights cost: networks in bfloat16, float16 and int8 against float32, and against bounds::

    python tools/accuracy WORK                               all checks, all dtypes, the machine's best kernels
    python tools/accuracy WORK sentiment medaka --dtype int8 --isa avx2 --isa avx512_vnni
    python tools/accuracy WORK --json all.json --page docs/accuracy.md     also into the tables of that page
    python tools/accuracy WORK --figure docs/figures/int8-error.png        only the error along 10,000 steps

WORK is a folder for what is fetched with pip, made up and trained; none of that belongs into the project. Prints a
table for each check; a number beyond its bound is bold, and the exit code is then 1. Checks whose packages or files are
missing are skipped, which is said and leaves the exit code at 1 as well: sentiment trains with keras 3, denoiser needs
espeak-ng and onnx, medaka h5py, drift all of these but keras. layers shows openvino beside where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from network import DTYPES, Network
from report import fill, shown, table

import fastgru

CHECKS = ("sentiment", "denoiser", "characters", "medaka", "layers", "drift")


@contextlib.contextmanager
def kernels(isa: str | None) -> Iterator[None]:
    """The kernel set of every Model made inside; None: whichever the environment says."""
    before = os.environ.get("FASTGRU_ISA")
    if isa:
        os.environ["FASTGRU_ISA"] = isa
    yield
    if isa:
        os.environ.pop("FASTGRU_ISA")
        if before is not None:
            os.environ["FASTGRU_ISA"] = before


def figures(network: Network, dtypes: list[str], isas: list[str | None]) -> Iterator[dict[str, Any]]:
    """Every number of a network, with its bound and whether it holds."""

    def figure(measure: str, dtype: str, isa: str, value: float) -> dict[str, Any]:
        bound = network.bounds.get((measure, dtype))
        return {
            "network": network.name, "measure": measure, "dtype": dtype, "isa": isa, "value": float(value),
            "bound": bound and str(bound), "holds": bound is None or bound.holds(value),
        }  # fmt: skip

    expected = network.expected
    for (measure, whose), value in network.facts(expected).items():
        yield figure(measure, whose, "", value)
    for isa in isas:
        for dtype in (dtype for dtype in dtypes if dtype in network.dtypes):
            with kernels(isa):
                model = network.model(dtype)
                found = network.answer(model)
            for measure, value in network.judge(expected, found).items():
                yield figure(measure, dtype, model.isa, value)


def check(name: str, work: Path, dtypes: list[str], isas: list[str | None], only: str) -> list[dict[str, Any]]:
    """All numbers of a check; none, after saying why, where it cannot be made."""
    found: list[dict[str, Any]] = []
    try:
        for network in importlib.import_module(name).networks(work):
            if only in network.name:
                found += figures(network, dtypes, isas)
                print(f"{network.name} …", file=sys.stderr, flush=True)
    except (ImportError, FileNotFoundError) as error:
        print(f"SKIPPED  {name}: {type(error).__name__}: {error}", flush=True)
        return []
    return [{"check": name, **figure} for figure in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder that holds data and networks; made if it is missing")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; all unless told")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="repeatable; all unless told")
    parser.add_argument("--isa", action="append", help="a kernel set, repeatable; else what the machine does best")
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--json", type=Path, help="also write every number here")
    parser.add_argument("--page", type=Path, help="also put the tables between the marks of this page")
    parser.add_argument("--figure", type=Path, help="only draw the error along 10,000 steps, as a PNG")
    said = parser.parse_args()
    if unknown := set(said.checks) - set(CHECKS):
        parser.error(f"no checks: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    said.work.mkdir(parents=True, exist_ok=True)
    if said.figure:
        importlib.import_module("drift").draw(said.work, said.figure)
        return 0
    dtypes = [dtype for dtype in DTYPES if dtype in (said.dtype or DTYPES)]
    print(f"fastgru {fastgru.__version__}, {platform.machine()}, kernels {fastgru.cpu_info()['isa']}")
    wanted, found = said.checks or CHECKS, []
    for name in wanted:
        figures_of = check(name, said.work, dtypes, said.isa or [None], said.only)
        print(f"\n## {name}\n\n{table(figures_of)}", flush=True)
        found += figures_of
    if said.json:
        said.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if said.page:
        fill(said.page, found)
    beyond = [item for item in found if not item["holds"]]
    print(f"\n{len(found)} numbers, {len(beyond)} beyond their bounds")
    for item in beyond:
        where = ", ".join(item[key] for key in ("network", "measure", "dtype", "isa"))
        print(f"  {where}: {shown(item['value'])}, {item['bound']}")
    return 1 if beyond or {item["check"] for item in found} < set(wanted) else 0


if __name__ == "__main__":
    sys.exit(main())

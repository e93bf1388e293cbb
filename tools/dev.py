"""One command each: build, test, sanitize, bench, check. Run with the interpreter of a development environment.

python tools/dev.py build            the extension in place
python tools/dev.py test [ARGS]      the whole test suite
python tools/dev.py dtypes [DTYPE]   the tests that hold for every dtype, on each of its kernel sets
python tools/dev.py sanitize         the tests under AddressSanitizer and UndefinedBehaviorSanitizer
python tools/dev.py bench [ARGS]     one GRU layer against other runtimes (tools/bench/layers.py)
python tools/dev.py check            ruff, C warnings and format, the quick tests
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
#: what `check` leaves to `test`: the sweeps over sizes, sets of kernels and random networks
SLOW = ("test_networks.py", "test_same_bits.py", "test_memory.py", "test_build.py")


def run(*command: str | Path, **env: str) -> None:
    """Run one command in the project's root; end with its exit code if it fails."""
    print("$", *command, flush=True)
    # this tree's package, whatever the environment has installed
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]), **env}
    code = subprocess.run([str(part) for part in command], cwd=ROOT, env=env).returncode
    if code:
        sys.exit(code)


def build(*_: str, **env: str) -> None:
    run(PYTHON, "setup.py", "-q", "build_ext", "--inplace", "--force", **env)


def test(*args: str) -> None:
    run(PYTHON, "-m", "pytest", "-q", *args)


def dtypes(*chosen: str) -> None:
    """Run all cases of the tests that are marked so (tests/dtypes.py), where a plain run takes a few of each."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    from building import sets_of

    for dtype in chosen or ("bfloat16", "float16", "int8"):
        for isa in sets_of(dtype):
            run(PYTHON, "-m", "pytest", "-q", "tests", "--dtype", dtype, FASTGRU_ISA=isa)


def sanitize(*args: str) -> None:
    """Build with sanitizers, test, and build again without."""
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    build(FASTGRU_SANITIZE="address,undefined")
    try:
        chosen = args or ("tests/test_gru.py", "tests/test_model.py", "tests/test_stream.py", "tests/test_same_bits.py")
        # leak checking stops at Python's own arenas; verify_asan_link_order: Python itself is not instrumented
        run(
            PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen,
            LD_PRELOAD=" ".join(libraries), ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="halt_on_error=1",
        )  # fmt: skip
    finally:
        build()


def bench(*args: str) -> None:
    run(PYTHON, "tools/bench/layers.py", *args)


def check(*_: str) -> None:
    run(PYTHON, "-m", "ruff", "check", ".")
    warnings = ["-Wall", "-Wextra", "-Wshadow", "-Werror", "-std=c11", "-fopenmp", "-fsyntax-only", "-mavx2", "-mfma"]
    run(
        "gcc",
        *warnings,
        *sorted((ROOT / "csrc").glob("*.c")),
        *sorted((ROOT / "tests" / "native").glob("*.c")),
        ROOT / "csrc/simd/isa_scalar.c",
        ROOT / "csrc/simd/isa_avx2.c",
    )
    if shutil.which("clang-format"):
        sources = sorted(path for folder in ("csrc", "tests/native") for path in (ROOT / folder).rglob("*.[ch]"))
        run("clang-format", "--dry-run", "--Werror", *sources)
    else:
        print("clang-format is not installed: C format not checked")
    test(*(f"--ignore=tests/{name}" for name in SLOW))


COMMANDS = {"build": build, "test": test, "dtypes": dtypes, "sanitize": sanitize, "bench": bench, "check": check}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])

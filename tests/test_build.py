"""What the build promises: each object runs on its CPUs whatever CFLAGS say, and the package stays light and quiet."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastgru
from fastgru import _core

ROOT = Path(__file__).parents[1]
#: what a user may have set for the sake of other programs, each of which would break a promise of ours
HOSTILE = "-Ofast -ffast-math -march=native -mfma -mavx2 -ffp-contract=fast"
#: to end, to write to the terminal, to jump away: none of the core's business
FORBIDDEN = re.compile(
    r"(__)?v?[fd]?printf(_chk)?|f?puts|f?putc(har)?|fwrite|perror|err|warn|abort|_?exit|quick_exit|__assert_fail"
    r"|raise|signal|(__)?longjmp(_chk)?|system|popen|exec[vl]p?e?"
)
PACKAGES = (
    "h5py", "typer", "rich", "onnx", "torch", "tensorflow", "keras", "tf_keras", "scipy", "jax", "scipy_openblas32",
)  # fmt: skip


def output(*command: str | Path, **options: Any) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


# ---- the objects ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every object that setup.py makes under hostile CFLAGS; an empty file stands in for the Cython part."""
    pytest.importorskip("setuptools")
    for tool in ("gcc", "objdump", "nm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: the objects of the core are NOT checked")
    if not (ROOT / "setup.py").exists():
        pytest.skip("setup.py is not beside the tests: the objects of the core are NOT checked")
    tree = tmp_path_factory.mktemp("build")
    for name in ("setup.py", "csrc"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    (tree / "src" / "fastgru").mkdir(parents=True)
    (tree / "src" / "fastgru" / "_core.c").write_text("int placeholder;\n")
    (tree / "Cython").mkdir()
    (tree / "Cython" / "__init__.py").touch()
    (tree / "Cython" / "Build.py").write_text(
        "def cythonize(extensions, **options):\n"
        "    for extension in extensions:\n"
        "        extension.sources = [source.replace('.pyx', '.c') for source in extension.sources]\n"
        "    return extensions\n"
    )
    # debug information takes half of the compiler's time and no part in what is tested
    (tree / "cc").write_text('#!/bin/sh\nexec gcc "$@" -g0\n')
    (tree / "cc").chmod(0o755)
    switches = ("FASTGRU_DEBUG", "FASTGRU_SANITIZE")
    environment = {key: value for key, value in os.environ.items() if key not in switches}
    environment |= {"CFLAGS": HOSTILE, "CC": str(tree / "cc"), "PYTHONPATH": str(tree)}
    output(
        sys.executable, "setup.py", "build_ext", "--build-temp", "temp", "--build-lib", "lib", cwd=tree, env=environment
    )
    found = {path.stem: path for path in (tree / "temp").rglob("*.o") if "csrc" in path.parts}
    sources = {path.stem for path in (ROOT / "csrc").rglob("*.c")}
    assert found.keys() == sources, "one object for each source"
    (library,) = (tree / "lib").rglob("*.so")
    return found | {"library": library}


def stubs(objects: dict[str, Path]) -> dict[str, Path]:
    return {name.removeprefix("isa_"): path for name, path in objects.items() if name.startswith("isa_")}


def code(path: Path) -> str:
    return output("objdump", "-d", "--no-show-raw-insn", path)


x86_64 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="registers of x86-64")


@x86_64
def test_the_baseline_runs_on_every_cpu(objects: dict[str, Path]) -> None:
    baseline = {name: path for name, path in objects.items() if not name.startswith("isa_") and name != "library"}
    baseline |= {name: path for name, path in objects.items() if name.startswith("isa_scalar")}
    assert len(baseline) > 5
    for name, path in baseline.items():
        text = code(path)
        assert re.search(r"\tret\b", text), "the listing is real"
        assert not re.search(r"%[yz]mm", text), f"{name} uses wide registers"
        assert not re.search(r"\tv(?!err|erw)[a-z]+", text), f"{name} uses AVX instructions"


@x86_64
def test_each_isa_keeps_to_its_own(objects: dict[str, Path]) -> None:
    avx2, avx512 = (code(stubs(objects)[name]) for name in ("avx2", "avx512"))
    assert re.search(r"\tvfn?m(add|sub)[0-9]+ps .*%ymm", avx2), "the products are FMA chains"
    assert not re.search(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]", avx2), "AVX-512 in the AVX2 kernels"
    assert re.search(r"\tvfn?m(add|sub)[0-9]+ps .*%zmm", avx512)


@x86_64
@pytest.mark.parametrize(("vector", "register"), [("avx2", "%ymm"), ("avx512", "%zmm")])
def test_weights_of_16_bits_are_widened_or_multiplied_in_pairs(
    objects: dict[str, Path], vector: str, register: str
) -> None:
    widened = {dtype: code(stubs(objects)[f"{vector}_{dtype}"]) for dtype in ("bfloat16", "float16")}
    for text in widened.values():
        assert re.search(rf"\tvfmadd[0-9]+ps .*{register}", text), "the products are FMA chains"
        assert "vdpbf16ps" not in text
        assert vector != "avx2" or "%zmm" not in text, "AVX-512 in the AVX2 kernels"
    assert re.search(rf"\tvpslld .*{register}", widened["bfloat16"])
    assert re.search(rf"\tvcvtph2ps .*{register}", widened["float16"])
    native = code(stubs(objects)["avx512_bf16_bfloat16"])
    assert re.search(r"\tvdpbf16ps .*%zmm", native)
    assert re.search(r"\tvcvtne2ps2bf16 .*%zmm", native)


def test_each_stub_exports_its_tables_alone(objects: dict[str, Path]) -> None:
    assert len(stubs(objects)) >= 1
    for name, path in stubs(objects).items():
        symbols = [line.split()[-1] for line in output("nm", "-g", "--defined-only", path).splitlines()]
        isa, _, dtype = name.rpartition("_")
        narrow = dtype in ("int8", "bfloat16", "float16")
        assert sorted(symbols) == ([f"fg_{dtype}_{isa}"] if narrow else [f"fg_common_{name}", f"fg_float32_{name}"])


@x86_64
@pytest.mark.parametrize(
    ("stub", "multiplies", "beyond"),
    [
        ("avx2_int8", r"vpmaddwd .*%ymm", r"vpdpbusd|%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]"),
        ("avx2_vnni_int8", r"vpdpbusd .*%ymm", r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]"),
        ("avx2_vnni_evex_int8", r"vpdpbusd .*%ymm", r"vpdpbusd .*%zmm"),  # gcc copies by zmm, which its CPUs have
        ("avx512_int8", r"vpmaddwd .*%zmm", r"vpdpbusd"),
        ("avx512_vnni_int8", r"vpdpbusd .*%zmm", r"vdpbf16ps"),
    ],
)
def test_how_int8_weights_are_multiplied(objects: dict[str, Path], stub: str, multiplies: str, beyond: str) -> None:
    text = code(stubs(objects)[stub])
    assert re.search(multiplies, text)
    assert not re.search(beyond, text)


def test_the_core_never_prints_aborts_or_exits(objects: dict[str, Path]) -> None:
    called = set()
    for name, path in objects.items():
        if name == "library":
            continue
        symbols = {line.split()[-1].split("@")[0] for line in output("nm", "-u", path).splitlines() if line.strip()}
        assert not (bad := {symbol for symbol in symbols if FORBIDDEN.fullmatch(symbol)}), f"{name} calls {bad}"
        called |= symbols
    assert called & {"malloc", "calloc", "posix_memalign", "aligned_alloc"}, "the list of symbols is real"


def test_fast_math_does_not_reach_the_process(objects: dict[str, Path]) -> None:
    """Linked with -ffast-math, a library may switch denormals off for the whole process as soon as it is loaded."""
    body = f"""
import ctypes, sys
ctypes.CDLL({str(objects["library"])!r})
print(sys.float_info.min / 4 > 0)
"""
    assert output(sys.executable, "-c", body).strip() == "True"


def test_the_extension_exports_its_init_function_alone() -> None:
    if shutil.which("nm") is None or not _core.__file__.endswith(".so"):
        pytest.skip("nm is missing: the exports of the extension are NOT checked")
    lines = output("nm", "-D", "--defined-only", _core.__file__).splitlines()
    names = {line.split()[-1].split("@")[0] for line in lines}
    assert {name for name in names if not name.startswith("_")} == {"PyInit__core"}


def test_intrinsics_live_in_one_room() -> None:
    if not (ROOT / "csrc").exists():
        pytest.skip("csrc is not beside the tests: its sources are NOT checked")
    sources = (ROOT / "csrc").rglob("*.[ch]")
    users = {path for path in sources if re.search(r"immintrin\.h|arm_neon\.h|\b_mm(256|512)?_\w+\(", path.read_text())}
    assert users
    assert all(path.parent.name == "simd" and path.name.startswith(("vec_", "ints_")) for path in users), users


# ---- the package ---------------------------------------------------------------------------------------------------


def python(body: str) -> list[str]:
    """Words printed by a program in a process of its own, with this fastgru."""
    environment = os.environ | {"PYTHONPATH": str(Path(fastgru.__file__).parents[1])}
    return output(sys.executable, "-c", body, env=environment).split()


RUN = "import fastgru; m = fastgru.load(fastgru.demo_path()); m([[1, 2]]); m.stream().step([1]); fastgru.cpu_info()"


def test_optional_packages_are_not_imported() -> None:
    body = f"{RUN}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    modules = python(body)
    assert "numpy" in modules
    assert not set(PACKAGES) & set(modules)


def test_a_fastgru_file_runs_where_the_optional_packages_are_missing() -> None:
    body = f"import sys\nsys.modules.update(dict.fromkeys({PACKAGES!r}))\n{RUN}\nprint(m([[1, 2]]).shape)"
    assert python(body) == ["(1,", "1)"]


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path) -> None:
    golden = Path(__file__).parent / "data" / "golden" / "stock.h5"
    body = f"""
import sys
sys.modules["h5py"] = None
import fastgru
try:
    fastgru.load({str(golden)!r})
except fastgru.MissingExtra as error:
    assert isinstance(error, ImportError)
    print(error)
"""
    text = " ".join(python(body))
    assert "h5py" in text
    assert "fastgru[keras]" in text


def test_nothing_is_started_and_nobody_is_called() -> None:
    """Neither a shell nor a process nor the net, from import to answer."""
    body = f"""
import sys
import numpy
events = set()
sys.addaudithook(lambda event, arguments: events.add(event))
{RUN}
unwanted = "subprocess", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "socket", "urllib", "pickle"
print("open" in events, *[event for event in events if event.startswith(unwanted)])
"""
    assert python(body) == ["True"]


def test_importing_is_quiet() -> None:
    result = subprocess.run([sys.executable, "-W", "error", "-c", RUN], capture_output=True, text=True, timeout=60,
                            env=os.environ | {"PYTHONPATH": str(Path(fastgru.__file__).parents[1])})  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_importing_leaves_the_environment_alone() -> None:
    body = "import os; before = dict(os.environ); import numpy\nimport fastgru; print(dict(os.environ) == before)"
    assert python(body) == ["True"]


def test_the_version_comes_from_one_place() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(dev|a|b|rc)\d*)?", fastgru.__version__)
    setup = ROOT / "pyproject.toml"
    if setup.exists():
        assert 'dynamic = ["version"]' in setup.read_text()
        assert fastgru.__version__ not in setup.read_text()


def test_every_public_name_is_there_and_documented() -> None:
    for name in fastgru.__all__:
        value = getattr(fastgru, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name

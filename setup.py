"""Builds the extension `fastgru._core`: the C core, its kernels compiled once per ISA, and the Cython door to them.

Switches (environment variables): FASTGRU_DEBUG=1 builds without optimisation and with debug information;
FASTGRU_SANITIZE=address,undefined builds with those sanitizers (see tools/dev.py).
"""

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("FASTGRU_DEBUG", "0") not in ("", "0")
SANITIZE = os.environ.get("FASTGRU_SANITIZE", "")
X86_64 = platform.machine() in ("x86_64", "AMD64")

# After the user's CFLAGS, so that neither -ffast-math nor -march=native of theirs changes a bit or reaches an object
# that must run on every CPU. Without errno sqrt is an instruction, not a call.
COMMON = ["-std=c11", "-ffp-contract=off", "-fno-fast-math", "-fno-math-errno", "-fopenmp", "-fvisibility=hidden"]
COMMON += ["-O0"] if DEBUG else ["-O3"]
COMMON += ["-g"] if DEBUG or SANITIZE else ["-g0"]
COMMON += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer"] if SANITIZE else []
BASELINE = ["-march=x86-64", "-mno-avx", "-mtune=generic"] if X86_64 else []
# gcc links a start-up file that switches denormals off for the whole process where it sees -ffast-math or -Ofast last
LINK = ["-fopenmp", "-O3", "-fno-fast-math", *([f"-fsanitize={SANITIZE}"] if SANITIZE else [])]

AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw"]
#: stub in csrc/simd → the flags of its ISA
ISA_FLAGS = {
    "isa_scalar.c": [],
    "isa_scalar_bfloat16.c": [],
    "isa_scalar_float16.c": [],
    "isa_scalar_int8.c": [],
}
if X86_64:
    ISA_FLAGS |= {
        "isa_avx2.c": AVX2,
        "isa_avx2_bfloat16.c": AVX2,
        "isa_avx2_float16.c": AVX2,
        "isa_avx2_int8.c": AVX2,
        "isa_avx2_vnni_int8.c": [*AVX2, "-mavxvnni"],
        "isa_avx2_vnni_evex_int8.c": [*AVX2, "-mavx512vl", "-mavx512vnni"],
        "isa_avx512.c": AVX512,
        "isa_avx512_bfloat16.c": AVX512,
        "isa_avx512_float16.c": AVX512,
        "isa_avx512_int8.c": AVX512,
        "isa_avx512_vnni_int8.c": [*AVX512, "-mavx512vnni"],
        "isa_avx512_bf16_bfloat16.c": [*AVX512, "-mavx512bf16"],
    }

SOURCES = sorted(path for path in glob("csrc/*.c"))
HEADERS = sorted(glob("csrc/**/*.h", recursive=True))
STUBS = [f"csrc/simd/{name}" for name in ISA_FLAGS]


class BuildExt(build_ext):
    """Compiles each ISA stub with its own flags; setuptools knows only one set of flags per extension."""

    def build_extension(self, ext: Extension) -> None:
        def compiled(stub: str) -> list[str]:
            flags = COMMON + BASELINE + ISA_FLAGS[os.path.basename(stub)]
            return self.compiler.compile(
                [stub], output_dir=self.build_temp, extra_postargs=flags, depends=[stub, *HEADERS]
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for objects in pool.map(compiled, STUBS):
                ext.extra_objects += objects
        super().build_extension(ext)


core = Extension(
    "fastgru._core",
    sources=["src/fastgru/_core.pyx", *SOURCES],
    include_dirs=["csrc", numpy.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
    extra_compile_args=COMMON + BASELINE,
    extra_link_args=LINK,
    depends=[*SOURCES, *HEADERS, *STUBS, *sorted(glob("src/fastgru/*.px[di]"))],
)

setup(
    ext_modules=cythonize([core], language_level=3, build_dir="build/cython"),
    cmdclass={"build_ext": BuildExt},
)

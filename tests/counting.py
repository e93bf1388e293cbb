"""Programs that run with the library of native/counting.c, which counts allocations, locks and waits."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "native" / "counting.c"


def obstacle() -> str | None:
    """Why nothing can be counted here; None where it can."""
    if platform.libc_ver()[0] != "glibc":
        return "counting.c takes the place of glibc's functions, and this is another C library"
    if shutil.which("gcc") is None:
        return "no gcc to compile counting.c with"
    if os.environ.get("LD_PRELOAD"):
        return f"another library is preloaded already: {os.environ['LD_PRELOAD']}"
    return None


def compiled(folder: Path) -> Path:
    """The library, made in a folder."""
    library = folder / "counting.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def environment(library: Path) -> dict[str, str]:
    """That of a program whose doings are counted."""
    return {**os.environ, "LD_PRELOAD": str(library)}

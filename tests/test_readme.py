"""The README: its Python blocks run in order in one namespace, its test command is marked, its links lead somewhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
DATA = Path(__file__).parent / "data"
KERAS_FILE, ONNX_FILE = DATA / "golden" / "regression.keras", DATA / "onnx" / "torch" / "stateful.onnx"
TEXT = README.read_text(encoding="utf-8")


def fenced(language: str) -> list[tuple[int, str]]:
    """Blocks of one language with the lines at which they begin."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [(TEXT[: match.start()].count("\n") + 1, match[1]) for match in found]


def test_python_blocks_run(tmp_path, monkeypatch):
    blocks = fenced("python")
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    shutil.copy(KERAS_FILE, tmp_path / "model.keras")
    shutil.copy(ONNX_FILE, tmp_path / "model.onnx")
    namespace: dict = {}
    for line, block in blocks:
        exec(compile("\n" * line + block, str(README), "exec"), namespace)


def test_first_example_is_short():
    lines = [line for line in fenced("python")[0][1].splitlines() if line.strip()]
    assert len(lines) <= 10


def test_test_command_is_marked_for_ci():
    marked = re.search(r"^<!-- ci: test command -->\n```sh\n(.+)\n```$", TEXT, re.MULTILINE)
    assert marked is not None
    assert marked[1].endswith("-m pytest -q")


def test_linked_files_exist():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert links
    assert [link for link in links if not (README.parent / link).is_file()] == []

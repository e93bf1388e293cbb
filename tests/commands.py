"""The command line in this process and as a program; importing this skips the tests that need its packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

from fastgru.cli._app import app


def command(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def succeed(*args: object) -> str:
    result = command(*args)
    assert result.exit_code == 0, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout


def fail(*args: object) -> str:
    """The sentence on stderr of a command that should be refused."""
    result = command(*args)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert result.stderr.startswith("fastgru: ")
    assert "Traceback" not in result.stderr
    return result.stderr.strip()


def program(*args: object, prelude: str = "pass") -> subprocess.CompletedProcess[str]:
    code = f"import sys; {prelude}; sys.argv[0] = 'fastgru'; from fastgru.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60)

"""The command line. One module a command; nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from ..errors import MissingExtra


def main() -> None:
    """Run the command line on `sys.argv`; every expected error is one sentence on stderr and exit code 2."""
    for package in ("typer", "rich"):
        if find_spec(package) is None:
            print(f"fastgru: {MissingExtra.of(package, 'cli', 'the command line')}", file=sys.stderr)
            raise SystemExit(2)
    from ._app import app

    app(prog_name="fastgru")

"""Numbers of checks as tables of Markdown; also put into a page again, between its marks::

    python tools/accuracy/report.py all.json docs/accuracy.md
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
from pathlib import Path
from typing import Any


def shown(value: float) -> str:
    """Three digits, and more of a percentage that three would make 100."""
    return f"{value:.4f}" if 99 < value < 100 else f"{value:.3g}"


def table(found: list[dict[str, Any]]) -> str:
    """A row for each network and kernel set, a column for each measure that the check shows and each dtype.

    A number beyond its bound is bold. What does not come from fastgru's kernels stands in each row of its network.
    """
    columns, rows = [], {}
    for measure in importlib.import_module(found[0]["check"]).COLUMNS if found else ():
        columns += dict.fromkeys((measure, item["dtype"]) for item in found if item["measure"] == measure)
    isas = list(dict.fromkeys(item["isa"] for item in found if item["isa"]))
    for item in found:
        for isa in [item["isa"]] if item["isa"] else isas:
            cell = shown(item["value"])
            cells = rows.setdefault((item["network"], isa), {})
            cells[item["measure"], item["dtype"]] = cell if item["holds"] else f"**{cell}**"
    heads = ["network", *(["kernels"] if len(isas) > 1 else []), *(f"{measure}: {dtype}" for measure, dtype in columns)]
    lines = [heads, ["---"] * (len(heads) - len(columns)) + ["---:"] * len(columns)]
    for (network, isa), cells in rows.items():
        lines.append([network, *([isa] if len(isas) > 1 else []), *(cells.get(column, "") for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(page: Path, found: list[dict[str, Any]]) -> None:
    """Put the table of each check between ``<!-- check -->`` and ``<!-- end -->``; others stay as they are."""
    text = page.read_text(encoding="utf-8")
    for name in dict.fromkeys(item["check"] for item in found):
        lines = table([item for item in found if item["check"] == name])
        pattern = rf"(?s)(<!-- {name} -->\n).*?(\n<!-- end -->)"
        text, count = re.subn(pattern, lambda match, lines=lines: f"{match[1]}{lines}{match[2]}", text)
        if count != 1:
            raise SystemExit(f"{page} has {count} places for {name}, should have one")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path)
    parser.add_argument("page", type=Path)
    options = parser.parse_args()
    fill(options.page, json.loads(options.json.read_text(encoding="utf-8")))

"""Choose networks that together hold whatever the folders hold, and pack them for the tests::

python tools/keras_networks/pack.py networks3 networks2
"""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

PACK = Path(__file__).parents[2] / "tests" / "data" / "keras_networks.zip"


def words(entry: dict[str, Any]) -> set[str]:
    """What a network is chosen for."""
    return {*entry["holds"], f"file {entry['kind']}", f"policy {entry['policy']}", f"theme {entry['theme']}"}


def chosen(folder: Path, entries: list[dict[str, Any]], most: int, largest: int) -> list[dict[str, Any]]:
    """At most so many of the networks, each the one that adds most for its size."""

    def size(entry: dict[str, Any]) -> int:
        return sum((folder / entry[key]).stat().st_size for key in ("file", "config", "arrays") if key in entry)

    left = [entry for entry in entries if size(entry) <= largest]
    found: list[dict[str, Any]] = []
    held: set[str] = set()
    while len(found) < most:
        best = max(left, key=lambda entry: len(words(entry) - held) / (20_000 + size(entry)) ** 0.5)
        if not words(best) - held:
            break
        held |= words(best)
        found.append(best)
        left.remove(best)
    return sorted(found, key=lambda entry: entry["number"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=34, help="networks of a folder")
    parser.add_argument("--largest", type=int, default=90_000, help="bytes of a network")
    parser.add_argument("--without", nargs="*", default=[], help="words of networks that are left out")
    options = parser.parse_args()
    listed = []
    with zipfile.ZipFile(PACK, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as pack:
        for folder in options.folders:
            manifest = json.loads((folder / "manifest.json").read_text())
            entries = [entry for entry in manifest["networks"] if not words(entry) & set(options.without)]
            for entry in chosen(folder, entries, options.most, options.largest):
                place = f"keras{manifest['generation']}"
                files = sorted(folder.glob(f"network_{entry['number']:04}*"))  # shards of weights among them
                for path in files:
                    pack.writestr(zipfile.ZipInfo(f"{place}/{path.name}"), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
                listed.append({"folder": place, "keras": manifest["keras"], "seed": manifest["seed"], **entry})
        pack.writestr(zipfile.ZipInfo("manifest.json"), json.dumps(listed, indent=1), zipfile.ZIP_DEFLATED, 9)
    print(f"{len(listed)} networks, {PACK.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""Make tests/data/tf1.zip: graphs of TensorFlow 1 as fastgru reads them, with what TensorFlow computes.

Run it where tensorflow and tf_keras are installed:

    python tools/make_tf1_golden.py [file]

The networks are those of `tf1_networks.py`. Each was saved with a Saver and frozen; recorded are the nodes of both
files and the arrays, in the form of `tests/tf1_records.py`. Digits, whose graph holds its training, was trained for 60
rounds; the other networks have weights drawn from U(-0.7, 0.7).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import tf1_records
from fastgru.importers.tf1 import reading
from tf1_networks import NETWORKS, save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=tf1_records.PACK)
    target = parser.parse_args().file
    with zipfile.ZipFile(target, "w") as pack:
        for network in NETWORKS:
            with tempfile.TemporaryDirectory() as folder:
                saved = save(network, Path(folder))
                checkpoint = reading.Checkpoint(saved.prefix)
                meta = reading.read_meta(saved.prefix.with_name("model.meta"), checkpoint)
                # the optimizer's arrays are as large as the network's, and nobody reads them
                variables = {name: value for name, value in checkpoint.items() if "Adam" not in name}
                known = {name: value for name, value in meta.arrays.items() if "Adam" not in name}
                sources = {"frozen": reading.read_frozen(saved.frozen), "meta": replace(meta, arrays=known)}
                outputs = dict(saved.outputs)
            recorded = tf1_records.Recorded(network.name, sources, variables, network.config, saved.inputs, outputs)
            tf1_records.save(pack, recorded)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

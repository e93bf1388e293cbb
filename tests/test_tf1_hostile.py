"""Damaged and hostile files of TensorFlow 1. TensorFlow's readers raise what they like; here it is one named fault."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import BadInput, BadModelFile, FastGRUError, MissingExtra, importers
from fastgru.importers import tf1


def test_without_tensorflow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "model.index").write_bytes(b"")
    for path in (tmp_path, tmp_path / "model", tmp_path / "model.index"):
        assert importers.recognise(path) is importers.TF1
        with pytest.raises(MissingExtra, match=r"'tensorflow': pip install 'fastgru\[tensorflow\]'"):
            fastgru.load(path)


def test_options_that_are_no_names(tmp_path: Path) -> None:
    for names in ([], [3]):
        with pytest.raises(BadInput, match="outputs= should be names of nodes"):
            tf1.read(tmp_path / "model", outputs=names)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("tensorflow", reason="tensorflow is not installed: its own readers read its files")
    pytest.importorskip("tf_keras", reason="tf_keras is not installed: it has TensorFlow 1's cells")
    sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
    networks = pytest.importorskip("tf1_networks")
    network = next(network for network in networks.NETWORKS if network.name == "relu")
    return networks.save(network, tmp_path_factory.mktemp("tf1"))


def copied(saved: Any, folder: Path) -> Path:
    for file in saved.prefix.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / "model"


def read(path: Path) -> None:
    tf1.read(path, outputs=["y/BiasAdd"])


@pytest.mark.parametrize("name", ["model.index", "model.data-00000-of-00001", "model.meta", "checkpoint", "frozen.pb"])
def test_files_cut_anywhere(saved: Any, tmp_path: Path, name: str) -> None:
    """A shorter file is an error that names it, or one of ours that names what is missing; never another."""
    copied(saved, tmp_path)
    whole = (tmp_path / name).read_bytes()
    path = {"checkpoint": tmp_path, "frozen.pb": tmp_path / name}.get(name, tmp_path / "model")
    refused = 0
    for size in {*range(0, len(whole), max(1, len(whole) // 25)), len(whole) - 1}:
        (tmp_path / name).write_bytes(whole[:size])
        try:
            read(path)
        except FastGRUError:
            refused += 1
    assert refused >= (20 if name != "checkpoint" else 1)


@pytest.mark.parametrize("name", ["model.index", "model.data-00000-of-00001", "model.meta", "frozen.pb"])
def test_bytes_flipped(saved: Any, tmp_path: Path, name: str) -> None:
    copied(saved, tmp_path)
    whole = bytearray((tmp_path / name).read_bytes())
    path = tmp_path / (name if name == "frozen.pb" else "model")
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        (tmp_path / name).write_bytes(changed)
        with contextlib.suppress(FastGRUError):  # some bytes, such as those of weights, may be anything
            read(path)


def test_the_error_names_the_file(saved: Any, tmp_path: Path) -> None:
    prefix = copied(saved, tmp_path)
    (tmp_path / "frozen.pb").write_bytes((tmp_path / "frozen.pb").read_bytes()[:-3])
    with pytest.raises(BadModelFile, match=r"frozen\.pb is damaged, or no GraphDef"):
        read(tmp_path / "frozen.pb")
    data = tmp_path / "model.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-400])
    with pytest.raises(BadModelFile, match=r"cannot read|but its data has"):
        read(prefix)
    data.unlink()
    with pytest.raises(BadModelFile, match="model"):
        read(prefix)
    (tmp_path / "model.index").write_bytes(b"no index")
    with pytest.raises(BadModelFile, match=r"model\.index is damaged"):
        read(prefix)


def test_a_folder_names_a_checkpoint_of_its_own(saved: Any, tmp_path: Path) -> None:
    copied(saved, tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model"\n')
    read(tmp_path)  # the folder was moved
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "../../etc/other"\n')
    with pytest.raises(BadModelFile, match="names 'other', which is not in the folder"):
        read(tmp_path)
    (tmp_path / "checkpoint").write_text("")
    with pytest.raises(BadModelFile, match=r"checkpoint is damaged: Invalid|names no checkpoint"):
        read(tmp_path)
    (tmp_path / "checkpoint").unlink()
    read(tmp_path)
    (tmp_path / "second.index").write_bytes(b"")
    with pytest.raises(FastGRUError):
        read(tmp_path)


def test_sizes_that_lie(saved: Any, tmp_path: Path) -> None:
    """A constant of a few bytes may not take terabytes, nor any memory before it is refused."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(saved.frozen.read_bytes())
    kernel = next(node for node in graph.node if node.op == "Const" and node.name.endswith("gates/kernel"))
    tensor = kernel.attr["value"].tensor
    for sizes in ([1 << 40, 10], [1 << 62, 1 << 62], [-1, 10], [3, 3]):
        for dim, size in zip(tensor.tensor_shape.dim, sizes, strict=True):
            dim.size = size
        (tmp_path / "lying.pb").write_bytes(graph.SerializeToString())
        with pytest.raises(BadModelFile, match=r"lying\.pb: node '.*gates/kernel'"):
            read(tmp_path / "lying.pb")
    tensor.ClearField("tensor_content")
    tensor.float_val.append(0.5)
    for dim in tensor.tensor_shape.dim:
        dim.size = 1 << 20
    (tmp_path / "lying.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(BadModelFile, match="claims to hold 1099511627776 numbers"):
        read(tmp_path / "lying.pb")


def test_two_nodes_of_one_name(saved: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(saved.frozen.read_bytes())
    graph.node.append(graph.node[0])
    (tmp_path / "twice.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(BadModelFile, match="two nodes are called"):
        read(tmp_path / "twice.pb")


def test_importing_the_importer_imports_no_tensorflow() -> None:
    import subprocess

    code = "import sys, fastgru.importers.tf1; sys.exit('tensorflow' in sys.modules)"
    paths = os.pathsep.join(sys.path)
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}).returncode == 0

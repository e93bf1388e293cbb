"""The Keras importer: damaged and hostile files. Each gives one named fault; none takes memory or follows a link."""

from __future__ import annotations

import copy
import json
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastgru import importers
from fastgru.errors import BadModelFile, UnsupportedModel
from keras_files import KERAS2, KERNEL, PAIRS, copied, layer, read, run, tagging
from tolerances import check


@pytest.fixture
def document() -> dict:
    return tagging()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        importers.read(tmp_path / "none.h5")
    with pytest.raises(FileNotFoundError):
        importers.read(KERAS2 / "tagging.weights.h5", config=tmp_path / "none.json")


STRANGERS = {
    b"": "is empty",
    b"just some words\n": "looks like text",
    "Größe, naïve".encode(): "looks like text",
    b"{}": "looks like JSON",
    b"<!DOCTYPE html>": "looks like a web page",
    b"version https://git-lfs.github.com/spec/v1": "Git LFS pointer",
    b"\x80\x04\x95": "pickle",
    b"\x09\x07\x12\x00\xff\xff": "begins with 09 07",
}


@pytest.mark.parametrize("content", STRANGERS, ids=STRANGERS.values())
def test_strangers_named_like_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    with pytest.raises(BadModelFile, match=STRANGERS[content]) as caught:
        importers.read(path)
    assert str(path) in str(caught.value)
    assert ".keras" in str(caught.value)


def test_directories(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="is a directory"):
        importers.read(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(BadModelFile, match="SavedModel"):
        importers.read(tmp_path)


@pytest.mark.parametrize("name", ["tagging.h5", "tagging.keras", "tagging_weights.hdf5"])
def test_truncated_anywhere(tmp_path: Path, name: str) -> None:
    content = (KERAS2 / name).read_bytes()
    path = tmp_path / name
    options = {"config": KERAS2 / "tagging.json"} if "weights" in name else {}
    for size in range(16, len(content) - 1, 997):
        path.write_bytes(content[:size])
        with pytest.raises(BadModelFile, match=re.escape(name)):
            importers.read(path, **options)


def test_flipped_bytes_in_an_archive(tmp_path: Path) -> None:
    """An archive has checksums. (HDF5 by itself has none, and some flips make libhdf5 itself loop for ever.)"""
    content = (KERAS2 / "tagging.keras").read_bytes()
    path = tmp_path / "tagging.keras"
    rng = np.random.default_rng(5)
    for _ in range(500):
        damaged = bytearray(content)
        damaged[rng.integers(4, len(content))] ^= rng.integers(1, 256)
        path.write_bytes(damaged)
        try:
            graph = importers.read(path)
        except (BadModelFile, UnsupportedModel):
            continue
        # what was hit then is a date or an attribute of the archive
        check(run(graph, PAIRS["tagging_x"]), PAIRS["tagging_y"], "keras")


ODD = [
    None, True, 0, -1, 1.5, 10**400, float("nan"), "", "x",
    [], [[]], [None], {}, {"class_name": []}, {"config": {"config": {}}},
]  # fmt: skip


def nodes(value: object) -> list[tuple[object, object]]:
    """Every place in a JSON value, as container and key."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in nodes(value[key])]


def test_odd_values_anywhere_in_a_configuration(document: dict) -> None:
    outcomes = {"read": 0, "refused": 0}
    for place in range(len(nodes(document))):
        for odd in ODD:
            changed = copy.deepcopy(document)
            container, key = nodes(changed)[place]
            container[key] = odd
            try:
                read(changed)
                outcomes["read"] += 1
            except (BadModelFile, UnsupportedModel):
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 500


def repacked(path: Path, target: Path, **members: bytes | None) -> Path:
    """A copy of a zip archive with some members replaced, added or (None) left out."""
    changes = {name.replace("_json", ".json").replace("_h5", ".h5"): content for name, content in members.items()}
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for name in {**dict.fromkeys(source.namelist()), **changes}:
            content = changes.get(name, source.read(name) if name in source.namelist() else None)
            if content is not None:
                out.writestr(name, content)
    return target


def test_archives(tmp_path: Path) -> None:
    source, target = KERAS2 / "tagging.keras", tmp_path / "m.keras"
    check(run(importers.read(repacked(source, target)), PAIRS["tagging_x"]), PAIRS["tagging_y"], "keras")
    faults = {
        "holds no weights": {"model.weights_h5": None},
        "without a config.json": {"config_json": None},
        "config.json is not JSON": {"config_json": b"{" * 100_000},
        "architecture should be a JSON object": {"config_json": b"7"},
        "damaged HDF5": {"model.weights_h5": b"text"},
        "declares 70000000 bytes": {"config_json": b" " * 70_000_000},
        "but stores": {"model.weights_h5": bytes(50_000_000)},
    }
    for fault, members in faults.items():
        with pytest.raises(BadModelFile, match=fault) as caught:
            importers.read(repacked(source, target, **members))
        assert str(target) in str(caught.value)


def test_encrypted_archive(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    content = bytearray((KERAS2 / "tagging.keras").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = content.find(signature)
        while position >= 0:
            content[position + offset] |= 1
            position = content.find(signature, position + 4)
    path.write_bytes(content)
    with pytest.raises(BadModelFile, match="encrypted"):
        importers.read(path)


@pytest.fixture
def spoilt(tmp_path: Path):
    """A copy of tagging.h5 open for writing; closed, it should be refused with these words."""

    def spoil(change, fault: str) -> None:
        path = copied(tmp_path, "tagging.h5")
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(BadModelFile, match=fault) as caught:
            importers.read(path)
        assert str(caught.value).startswith(str(path))

    return spoil


def replaced(name: str, **options: object):
    """A change: the dataset `name` becomes another."""

    def change(file) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def linked(name: str, link: object):
    def change(file) -> None:
        del file[name]
        file[name] = link

    return change


def attribute(group: str, name: str, value: object):
    def change(file) -> None:
        file[group].attrs[name] = value

    return change


def removed(name: str):
    def change(file) -> None:
        del file[name]

    return change


def group_instead(file) -> None:
    del file[KERNEL]
    file.create_group(KERNEL)


def extra_layer(file) -> None:
    root = file["model_weights"]
    group = root.create_group("more")
    group["w"] = np.zeros(3, np.float32)
    group.attrs["weight_names"] = ["w"]
    root.attrs["layer_names"] = [*root.attrs["layer_names"], "more"]


SPOILT = {
    "shape": (
        replaced(KERNEL, data=np.zeros((4, 9), "f4")),
        r"'gru' .GRU.: kernel should have shape .4, 15., has .4, 9.",
    ),
    "objects": (replaced(KERNEL, data=["a", "b"]), "kernel should have shape"),
    "strings": (replaced(KERNEL, data=np.full((4, 15), "a", "S4")), "not floating-point"),
    "integers": (replaced(KERNEL, data=np.zeros((4, 15), "i1")), "int8, not floating-point"),
    "long doubles": (replaced(KERNEL, data=np.zeros((4, 15), np.longdouble)), "not floating-point"),
    "external values": (
        replaced(KERNEL, shape=(4, 15), dtype="f4", external=[("/etc/passwd", 0, 240)]),
        "another file, which is not opened",
    ),
    "external link": (linked(KERNEL, h5py.ExternalLink("/etc/passwd", "/x")), "ExternalLink; links are not followed"),
    "soft link": (linked(KERNEL, h5py.SoftLink("/model_weights")), "SoftLink; links are not followed"),
    "no dataset": (removed(KERNEL), "there is no such dataset"),
    "no layer": (removed("model_weights/gru"), "there is no such group"),
    "no weights": (removed("model_weights"), "no group 'model_weights'"),
    "group for a dataset": (group_instead, "there is no such dataset"),
    "one array less": (
        attribute("model_weights/gru", "weight_names", [f"gru/gru_cell/{name}:0" for name in ("kernel", "bias")]),
        r"3 arrays \(kernel, recurrent_kernel, bias\), the file holds 2",
    ),
    "one array more": (
        attribute("model_weights/embedding", "weight_names", ["embedding/embeddings:0"] * 2),
        "1 arrays more than",
    ),
    "one layer more": (extra_layer, "no layer of the architecture takes: more"),
    "one layer less": (attribute("model_weights/gru", "weight_names", np.zeros(0)), "should have"),
    "no names": (lambda file: file["model_weights"].attrs.__delitem__("layer_names"), "no attribute 'layer_names'"),
    "numbers for names": (attribute("model_weights", "layer_names", [1, 2]), "should hold text"),
    "config of no JSON": (attribute("/", "model_config", "{"), "model_config is not JSON"),
    "config of numbers": (attribute("/", "model_config", 5), "should hold text"),
    "config of nothing": (attribute("/", "model_config", "{}"), "no list of layers"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_hdf5(spoilt, case: str) -> None:
    spoilt(*SPOILT[case])


def test_declared_sizes_are_checked_before_memory_is_taken(tmp_path: Path, document: dict) -> None:
    """A table of 400 GB in a file of a few KB: of chunks that were never written."""
    path = copied(tmp_path, "tagging.h5")
    rows = 100_000_000_000 // 4
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layer(config, 1)["config"]["input_dim"] = rows
        file.attrs["model_config"] = json.dumps(config)
        name = "model_weights/embedding/embedding/embeddings:0"
        del file[name]
        file.create_dataset(name, shape=(rows, 4), dtype="f4", chunks=(1024, 4), compression="gzip")
    with pytest.raises(BadModelFile, match="declares 400000000000 bytes but stores 0"):
        importers.read(path)


def test_circular_groups(tmp_path: Path) -> None:
    """A group is entered once, so a circle adds nothing and ends."""
    path = copied(tmp_path, "tagging.weights.h5")
    sound = importers.read(path, config=KERAS2 / "tagging.json")
    with h5py.File(path, "r+") as file:
        file["layers/gru/again"] = file["layers"]
    assert importers.read(path, config=KERAS2 / "tagging.json").fingerprint == sound.fingerprint


def test_weights_left_over_in_a_tree(tmp_path: Path) -> None:
    cases = {"layers/gru/cell/vars/3": "does not ask for: cell/vars/3", "layers/gru_2/vars/0": "takes: gru_2"}
    for name, fault in cases.items():
        path = copied(tmp_path, "tagging.weights.h5")
        with h5py.File(path, "r+") as file:
            file[name] = np.zeros(3, np.float32)
        with pytest.raises(BadModelFile, match=fault):
            importers.read(path, config=KERAS2 / "tagging.json")


def test_hdf5_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(BadModelFile, match="not of Keras"):
        importers.read(tmp_path / "data.h5")


def test_names_do_not_reach_a_terminal_as_commands(document: dict) -> None:
    layer(document, 2)["config"]["name"] = "gru\x1b[2J\nok"
    names = [layer.name for layer in read(document).layers]
    assert "gru_[2J_ok" in names
    assert all(name.isprintable() for name in names)

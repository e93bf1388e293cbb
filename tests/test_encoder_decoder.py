"""Encoder–decoder networks with attention, decoded greedily: the words and probabilities that Keras gave."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import fastgru
from tolerances import check

PACKED = Path(__file__).parent / "data" / "translation.tar.xz"
EXAMPLE = Path(__file__).parents[1] / "examples" / "translate.py"
NETWORKS = ["additive_keras3", "multiplicative_keras2"]
SENTENCES, MOST_STEPS = 12, 8
START, END = 1, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("translation")
    with tarfile.open(PACKED) as archive:
        archive.extractall(path, filter="data")
    return path


def answers(path: Path) -> dict[str, np.ndarray]:
    with np.load(path / "answers.npz") as arrays:
        return dict(arrays)


def decode(
    encoder: fastgru.Model, decoder: fastgru.Model, source: np.ndarray, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Words (batch, steps) and their probabilities (batch, steps, vocabulary)."""
    encoded, state = encoder(source)
    mask = [source != 0] if len(decoder.inputs) == 4 else []
    words, found = [np.full(batch, START)], []
    while len(found) < MOST_STEPS and not (np.stack(words) == END).any(axis=0).all():
        probabilities, state = decoder(words[-1][:, None], state, encoded, *mask)
        found.append(probabilities[:, 0])
        words.append(found[-1].argmax(axis=-1))
    return np.stack(words[1:], axis=1), np.stack(found, axis=1)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_sentences_are_decoded_as_keras_decodes_them(name: str, kind: str, folder: Path) -> None:
    encoder, decoder = (fastgru.load(folder / name / f"{part}.{kind}") for part in ("encoder", "decoder"))
    expected = answers(folder / name)
    for row in range(SENTENCES):
        words = expected["source"][row : row + 1]
        if name.startswith("multiplicative"):  # has no mask, so Keras was given sentences without padding
            words = words[:, : np.count_nonzero(words)]
        found, probabilities = decode(encoder, decoder, words, 1)
        assert found[0].tolist() == expected[f"words_{row}"].tolist()
        check(probabilities[0], expected[f"probabilities_{row}"], "keras")


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_batch_is_decoded_as_its_sentences_are(kind: str, folder: Path) -> None:
    name = NETWORKS[0]
    encoder, decoder = (fastgru.load(folder / name / f"{part}.{kind}") for part in ("encoder", "decoder"))
    expected = answers(folder / name)
    found, probabilities = decode(encoder, decoder, expected["source"], SENTENCES)
    for row in range(SENTENCES):
        words = expected[f"words_{row}"]
        assert found[row, : len(words)].tolist() == words.tolist()
        check(probabilities[row, : len(words)], expected[f"probabilities_{row}"], "keras")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_the_network_that_was_trained(name: str, kind: str, folder: Path) -> None:
    """All words at once, each after the right ones."""
    expected = answers(folder / name)
    model = fastgru.load(folder / name / f"training.{kind}")
    check(model(expected["source"], expected["target"]), expected["teacher"], "keras")


@pytest.mark.parametrize("name", NETWORKS)
def test_saved_and_loaded_again(name: str, folder: Path, tmp_path: Path) -> None:
    def again(model: fastgru.Model) -> fastgru.Model:
        model.save(tmp_path / "model.safetensors")
        return fastgru.load(tmp_path / "model.safetensors")

    row = answers(folder / name)["source"][:1]
    models = [fastgru.load(folder / name / f"{part}.keras") for part in ("encoder", "decoder")]
    for once, twice in zip(decode(*models, row, 1), decode(*map(again, models), row, 1), strict=True):
        assert np.array_equal(once, twice)


def test_a_mask_that_is_an_input(folder: Path) -> None:
    """Of shape (batch, time); truth values or 0 and 1. What it masks has no effect."""
    decoder = fastgru.load(folder / NETWORKS[0] / "decoder.keras")
    rng = np.random.default_rng(0)
    word, state, encoded = np.array([[5]]), rng.normal(size=(1, 20)), rng.normal(size=(1, 4, 20))
    mask = np.array([[True, False, True, False]])
    expected = decoder(word, state, encoded[:, ::2], np.ones((1, 2), bool))
    for given in mask, mask.astype("i4"), mask.astype("f4"):
        for got, want in zip(decoder(word, state, encoded, given), expected, strict=True):
            check(got, want, "oracle")
    with pytest.raises(fastgru.BadInput, match="input 'mask'"):
        decoder(word, state, encoded, mask[:, :3])
    with pytest.raises(fastgru.BadInput, match="outside the vocabulary 0 … 1"):
        decoder(word, state, encoded, np.array([[1, 2, 1, 0]]))
    with pytest.raises(fastgru.BadInput, match="got dtype bool"):
        decoder(word > 0, state, encoded, mask)


def example(folder: Path, name: str, *options: str, lines: list[str]) -> subprocess.CompletedProcess[str]:
    files = [folder / name / "encoder.keras", folder / name / "decoder.h5", folder / "vocabulary.json"]
    return subprocess.run(
        [sys.executable, "-X", "utf8", EXAMPLE, *files, *options],
        input="\n".join(lines), capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_example(name: str, folder: Path) -> None:
    vocabulary = json.loads((folder / "vocabulary.json").read_text("utf-8"))
    expected = answers(folder / name)
    lines = [" ".join(vocabulary["source"][word] for word in row if word) for row in expected["source"]]
    result = example(folder, name, "--beams", "1", lines=lines)
    assert result.returncode == 0, result.stderr
    targets = [[vocabulary["target"][word] for word in expected[f"words_{row}"][:-1]] for row in range(SENTENCES)]
    assert result.stdout.splitlines() == list(map(" ".join, targets))
    result = example(folder, name, lines=["three hundred two", "", "three hundred nix"])
    assert result.returncode == 1
    assert result.stdout.splitlines() == ["drei hundert zwei", ""]
    assert "token 2, 'nix', is not in the vocabulary" in result.stderr

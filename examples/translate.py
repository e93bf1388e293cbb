"""Translate sentences, one a line, with an encoder and a decoder as Keras users save them.

    python examples/translate.py encoder.keras decoder.keras vocabulary.json < sentences.txt

The encoder takes word ids and gives its outputs and a state; the decoder takes [last word, state, encoder's outputs]
and, if it has a fourth input, their mask, and gives the probabilities of the next word and the new state. The
vocabulary is {"source": words, "target": words}, padding first, with <start> and <end> in the target.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import fastgru


def translate(encoder: fastgru.Model, decoder: fastgru.Model, source: np.ndarray, start: int, end: int) -> list[int]:
    """The likeliest next word, again and again, until the end; source is (1, words)."""
    encoded, state = encoder(source)
    mask = [source != 0] if len(decoder.inputs) == 4 else []
    words = [start]
    for _ in range(2 * source.size + 10):
        probabilities, state = decoder(np.array([words[-1:]]), state, encoded, *mask)
        words.append(int(probabilities[0, -1].argmax()))
        if words[-1] == end:
            return words[1:-1]
    return words[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("encoder", "decoder", "vocabulary"):
        parser.add_argument(name)
    options = parser.parse_args()
    encoder, decoder = fastgru.load(options.encoder), fastgru.load(options.decoder)
    vocabulary = json.loads(Path(options.vocabulary).read_text("utf-8"))
    source, target = ({word: i for i, word in enumerate(vocabulary[key])} for key in ("source", "target"))
    for line in sys.stdin:
        words = line.split()
        if unknown := [word for word in words if word not in source]:
            sys.exit(f"not in the vocabulary: {' '.join(unknown)}")
        ids = np.array([[source[word] for word in words]])
        found = translate(encoder, decoder, ids, target["<start>"], target["<end>"]) if words else []
        print(*(vocabulary["target"][word] for word in found))


if __name__ == "__main__":
    main()

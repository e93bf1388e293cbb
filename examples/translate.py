"""Translate sentences, one a line, with an encoder and a decoder as Keras users save them.

    python examples/translate.py encoder.keras decoder.keras vocabulary.json < sentences.txt

The encoder takes word ids and gives its outputs and a state; the decoder takes the last word, the state, the encoder's
outputs and, if it wants that, their mask, and gives the probabilities of the next word and the new state. The
vocabulary is {"source": words, "target": words}, padding first, with <start> and <end> in the target.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import fastgru


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("encoder", "decoder", "vocabulary"):
        parser.add_argument(name)
    parser.add_argument("--beams", type=int, default=4, help="translations kept at each word; 1: the likeliest word")
    options = parser.parse_args()
    pair = fastgru.load(options.encoder), fastgru.load(options.decoder)
    words = json.loads(Path(options.vocabulary).read_text("utf-8"))
    choices = {"vocabulary": (words["source"], words["target"]), "start": "<start>", "stop": "<end>"}
    for line in sys.stdin:
        if not line.strip():
            print()
            continue
        longest = 2 * len(line.split()) + 10
        try:
            best, *_ = fastgru.generate(pair, line, beams=options.beams, max_tokens=longest, **choices)
        except fastgru.BadInput as error:
            sys.exit(str(error))
        print(best.text)


if __name__ == "__main__":
    main()

"""Classify texts, one a line, with a network that carries its vocabulary: by default the one that ships with fastgru.

    python examples/classify_text.py < reviews.txt
    echo "A dull, pointless mess." | python examples/classify_text.py

Without lines on stdin it takes three sentences of its own. Each line of the answer is a label, its probability and the
text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import fastgru

SENTENCES = (
    "Sharp, generous and very funny.",
    "I left after half an hour and regret the half hour.",
    "Not a great film, but a good evening.",
)


def classify(model: fastgru.Model, labels: Sequence[str], texts: list[str]) -> Iterator[tuple[str, float]]:
    """The likeliest label of each text and its probability."""
    for row in model.predict(texts):
        scores = (1 - row[0], row[0]) if len(row) == 1 else row  # one sigmoid, or a softmax
        best = max(range(len(scores)), key=lambda i: scores[i])
        yield labels[best], float(scores[best])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=fastgru.demo_path(), help="a fastgru file with a vocabulary")
    options = parser.parse_args()
    model = fastgru.load(options.model)
    if model.front_end is None or not model.front_end.labels:
        sys.exit(f"{options.model} has no vocabulary with labels, so it can't say what a text is")
    labels = model.front_end.labels
    lines = [] if sys.stdin.isatty() else [line.strip() for line in sys.stdin]
    texts = [line for line in lines if line] or list(SENTENCES)
    for text, (label, probability) in zip(texts, classify(model, labels, texts), strict=True):
        print(f"{label}  {probability:6.1%}  {text}")


if __name__ == "__main__":
    main()
